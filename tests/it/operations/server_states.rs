//! States of servers that hinder zemi or that it has to live with: said with what mends them.

use crate::support::process::exit::CONFIG;
use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

#[test]
fn what_check_says_of_the_indexes_of_a_partitioned_table_can_be_run() {
    let columns = "id uuid, primary_key text, before jsonb, after jsonb, context jsonb, database text, \
                   schema text, \"table\" text, operation text, committed_at timestamptz, \
                   queued_at timestamptz, transaction_id bigint, position bigint, created_at timestamptz \
                   DEFAULT now()";
    let scene = Scene::two(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .before_there(&format!(
            "CREATE TABLE changes ({columns}) PARTITION BY RANGE (committed_at); \
             CREATE TABLE changes_all PARTITION OF changes DEFAULT"
        ))
        .ready();
    let mut there = Sql::open(scene.destination(), "postgres");
    let (_, said, _) = Zemi::says(&["check"], &scene.settings);
    let line = said.lines().find(|line| line.contains("no valid index"));
    let (_, fix) = line.expect(&said).split_once("faster without): ").unwrap();
    for statement in fix.split("; ") {
        there.run(statement);
    }
    let (_, said, _) = Zemi::says(&["check"], &scene.settings);
    assert!(said.contains("has its indexes"), "{said}");
}

#[test]
fn a_source_that_gives_idle_slots_up_is_named_and_the_gap_recorded() {
    let server = Server::start(18, &[("idle_replication_slot_timeout", "1s")]);
    let settings = settings(&server, None);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let (_, said, _) = Zemi::says(&["check"], &settings);
    assert!(
        said.contains("idle_replication_slot_timeout is 1s"),
        "{said}"
    );
    streaming(&settings).stop();
    sql.run("INSERT INTO t VALUES (1)");
    let slot = "SELECT wal_status FROM pg_replication_slots";
    wait_until("the slot is given up", PATIENCE, || {
        sql.run("CHECKPOINT");
        sql.value(slot) == "lost"
    });
    let _zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (2)");
    caught_up(&mut sql);
    assert_eq!(
        changes(
            &mut sql,
            "operation, context->'zemi_gap'->>'reason', primary_key"
        ),
        "MESSAGE|slot_lost|-\nCREATE|-|2"
    );
}

#[test]
fn a_start_that_gets_no_slot_leaves_no_publication_behind() {
    for (slots, taken) in [("0", 0), ("1", 1)] {
        let server = Server::start(15, &[("max_replication_slots", slots)]);
        let mut sql = Sql::open(&server, "postgres");
        // One that a DBA made stays.
        sql.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION other FOR TABLE t");
        for _ in 0..taken {
            sql.run("SELECT pg_create_physical_replication_slot('taken')");
        }
        let settings = settings(&server, None);
        let (code, said, _) = Zemi::says(&["check"], &settings);
        assert_eq!(code, CONFIG, "{said}");
        assert!(said.contains("raise max_replication_slots"), "{said}");
        let mut zemi = Zemi::start(&settings);
        assert_eq!(zemi.wait_exit(PATIENCE), Some(CONFIG), "{}", zemi.log());
        let log = zemi.log();
        assert!(log.contains("raise max_replication_slots"), "{log}");
        assert_eq!(sql.text("SELECT pubname FROM pg_publication"), "other");
    }
}

#[test]
fn a_trigger_that_keeps_the_progress_where_it_is_is_named_until_it_is_gone() {
    for (event, rows) in [("UPDATE", 1), ("UPDATE", 20_000), ("INSERT", 1)] {
        let (mut scene, zemi) = Scene::two(15)
            .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
            .streaming();
        scene.there.run(&format!(
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$; \
             CREATE TRIGGER nothing BEFORE {event} ON zemi_progress FOR EACH ROW EXECUTE FUNCTION nothing()"
        ));
        if event == "INSERT" {
            scene.there.run("DELETE FROM zemi_progress");
        }
        let insert = "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series";
        scene.sql.run(&format!("{insert}(1, {rows}) g"));
        let said = "a row of public.zemi_progress could not be written";
        zemi.wait_for_log(said, PATIENCE);
        zemi.wait_for_log("WHERE tgrelid = 'public.zemi_progress'::regclass", PATIENCE);
        wait_until("it is tried again", PATIENCE, || {
            zemi.log().matches(said).count() > 1
        });
        assert!(zemi.log().lines().count() < 30, "{}", zemi.log());
        scene.there.run("DROP TRIGGER nothing ON zemi_progress");
        scene.judge(rows);
    }
}

#[test]
fn no_function_about_wal_is_needed_at_the_destination() {
    let (mut scene, mut zemi) = Scene::two(15)
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .before_there(
            "CREATE ROLE app LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO app; \
             REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn), pg_current_wal_insert_lsn(), \
             pg_current_wal_lsn(), pg_control_system() FROM PUBLIC",
        )
        .with(&[("DEST_DB_USER", "app"), ("DEST_DB_PASSWORD", "secret")])
        .streaming();
    scene.insert(1, 3);
    scene.caught_up();
    zemi.stop();
    let (code, said, _) = Zemi::says(&["check"], &scene.settings);
    assert_eq!(code, 0, "{said}");
    let mut zemi = scene.start();
    scene.insert(4, 5);
    scene.judge(5);
    zemi.stop();
    let (code, said, _) = Zemi::says(&["status"], &scene.settings);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_standby_as_the_source_is_no_server_to_promote() {
    let primary = Server::start(15, &[]);
    primary.stop("fast");
    let standby = primary.standby(&[]);
    primary.up();
    let (code, said, _) = Zemi::says(&["check"], &settings(&standby, Some(&primary)));
    assert_eq!(code, CONFIG, "{said}");
    assert!(said.contains("point DB_HOST to the primary"), "{said}");
    assert!(!said.contains("promote"), "{said}");
}
