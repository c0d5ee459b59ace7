//! Zemi's own tables beside what it follows: no loop, and no write without a change.

use std::time::{Duration, Instant};

use crate::support::scene::{PATIENCE, caught_up, changes, confirmed, settings, streaming, with};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// How long nothing may be written: longer than any interval by which zemi looks for something.
const IDLE: Duration = Duration::from_secs(6);

/// Bemi's columns without its constraints, for tables that are made before zemi starts.
const COLUMNS: &str = "id uuid NOT NULL DEFAULT gen_random_uuid(), primary_key text, \
     before jsonb NOT NULL DEFAULT '{}', after jsonb NOT NULL DEFAULT '{}', \
     context jsonb NOT NULL DEFAULT '{}', database varchar(255) NOT NULL, \
     schema varchar(255) NOT NULL, \"table\" varchar(255) NOT NULL, operation text NOT NULL, \
     committed_at timestamptz NOT NULL, queued_at timestamptz NOT NULL, \
     transaction_id bigint NOT NULL, position bigint NOT NULL, \
     created_at timestamptz NOT NULL DEFAULT now()";

/// A server without background work that writes.
fn quiet_server() -> Server {
    Server::start(15, &[("autovacuum", "off"), ("checkpoint_timeout", "1h")])
}

/// Lets `IDLE` pass and returns the WAL records of that time that belong to a statement: the server's
/// own checkpoints and snapshots of running transactions come without any.
fn written_while_idle(sql: &mut Sql) -> String {
    let from = sql.value("SELECT pg_current_wal_insert_lsn()");
    let until = Instant::now() + IDLE;
    wait_until("time passes", IDLE * 2, || Instant::now() >= until);
    let to = sql.value("SELECT pg_current_wal_insert_lsn()");
    if from == to {
        return String::new();
    }
    // The records' own ends: the insert position can lie behind a page header.
    sql.run("CHECKPOINT");
    sql.text(&format!(
        "SELECT resource_manager, record_type FROM pg_get_wal_records_info_till_end_of_wal('{from}') \
         WHERE start_lsn < '{to}' AND resource_manager NOT IN ('Standby', 'XLOG')"
    ))
}

fn rows_of_changes(sql: &mut Sql) -> String {
    sql.value("SELECT count(*) FROM public.changes")
}

#[test]
fn own_rows_are_not_changes_and_an_idle_zemi_writes_nothing() {
    let server = quiet_server();
    Sql::open(&server, "postgres").run("CREATE DATABASE busy");
    let prepare = "CREATE EXTENSION pg_walinspect; CREATE TABLE t (id int PRIMARY KEY)";
    let (mut scene, _zemi) = Scene::on(server, None).before(prepare).streaming();
    scene
        .sql
        .run("INSERT INTO t SELECT generate_series(1, 3); UPDATE t SET id = -id WHERE id = 3");
    assert_eq!(
        scene.changes_where("true", "\"table\", operation, primary_key"),
        "t|CREATE|1\nt|CREATE|2\nt|CREATE|3\nt|UPDATE|-3"
    );
    assert_eq!(written_while_idle(&mut scene.sql), "");
    assert_eq!(rows_of_changes(&mut scene.sql), "4");

    // Another database of the cluster is busy: the slot advances, and still nothing is written.
    let row = "SELECT xmin, ctid, flushed_lsn FROM public.zemi_progress";
    let before = scene.sql.text(row);
    let mut busy = Sql::open(&scene.source, "busy");
    busy.run("CREATE TABLE b AS SELECT generate_series(1, 10000) AS id");
    let target = scene.sql.value("SELECT pg_current_wal_insert_lsn()");
    wait_until("the slot lets go of WAL", PATIENCE, || {
        let kept = format!(
            "SELECT restart_lsn >= '{target}' AND confirmed_flush_lsn >= '{target}' FROM pg_replication_slots"
        );
        // It may when a snapshot of the running transactions was logged and confirmed.
        busy.run("INSERT INTO b VALUES (0); CHECKPOINT");
        scene.sql.value(&kept) == "t"
    });
    wait_until("the slot advances", PATIENCE, || {
        let confirmed = "SELECT confirmed_flush_lsn >= '";
        let slot = format!("{confirmed}{target}' FROM pg_replication_slots");
        busy.run("INSERT INTO b VALUES (0)");
        scene.sql.value(&slot) == "t"
    });
    assert_eq!(scene.sql.text(row), before);
    assert_eq!(rows_of_changes(&mut scene.sql), "4");
}

#[test]
fn a_transaction_of_untracked_rows_writes_nothing() {
    let server = quiet_server();
    let prepare = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (id int PRIMARY KEY)";
    let (mut scene, _zemi) = Scene::on(server, None)
        .before(prepare)
        .with(&[("EXCLUDE_TABLES", "noise")])
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut scene.sql);
    let row = "SELECT xmin, ctid, flushed_lsn FROM public.zemi_progress";
    let before = scene.sql.text(row);
    scene
        .sql
        .run("INSERT INTO noise SELECT generate_series(1, 1000)");
    caught_up(&mut scene.sql);
    assert_eq!(scene.sql.text(row), before);
    assert_eq!(rows_of_changes(&mut scene.sql), "1");
}

#[test]
fn a_users_own_table_of_the_same_name_is_tracked() {
    let (mut scene, _zemi) = Scene::one(15)
        .before("CREATE SCHEMA other; CREATE TABLE other.changes (id int PRIMARY KEY)")
        .streaming();
    scene
        .sql
        .run("INSERT INTO other.changes VALUES (1); DELETE FROM other.changes");
    assert_eq!(
        scene.changes_where("true", "schema, \"table\", operation, after"),
        "other|changes|CREATE|{\"id\": 1}\nother|changes|DELETE|{}"
    );
}

#[test]
fn a_users_own_table_in_the_source_database_is_tracked_into_another_database_of_the_cluster() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE DATABASE audit");
    sql.run("CREATE TABLE public.changes (id int PRIMARY KEY)");
    let mut settings = settings(&server, None);
    settings.push(("DEST_DB_NAME".into(), "audit".into()));
    let zemi = streaming(&settings);
    sql.run("INSERT INTO public.changes VALUES (7); DELETE FROM public.changes");
    caught_up(&mut sql);
    let mut audit = Sql::open(&server, "audit");
    assert_eq!(
        changes(
            &mut audit,
            "database, schema, \"table\", operation, primary_key"
        ),
        "postgres|public|changes|CREATE|7\npostgres|public|changes|DELETE|7"
    );
    drop(zemi);
}

/// Follows a database that holds `changes` in parts, and leaves it with the rows that it must have.
fn no_loop(make_changes: &str, settings: &[(&str, &str)]) -> (Scene, Zemi) {
    let prepare = format!("{make_changes}; CREATE TABLE t (id int PRIMARY KEY, v text)");
    let (mut scene, zemi) = Scene::one(15).before(&prepare).with(settings).streaming();
    scene.sql.run("INSERT INTO t VALUES (1, 'a')");
    // The context comes late, so that rows of `changes` are updated too.
    scene.sql.run(
        "BEGIN; UPDATE t SET v = 'b'; SELECT pg_logical_emit_message(true, '_bemi', '{\"u\":1}'); \
         INSERT INTO t VALUES (2, 'c'); COMMIT",
    );
    for _ in 0..3 {
        caught_up(&mut scene.sql);
    }
    assert_eq!(
        scene.changes_where("true", "\"table\", operation, context"),
        "t|CREATE|{}\nt|UPDATE|{\"u\": 1}\nt|CREATE|{\"u\": 1}"
    );
    let log = zemi.log();
    assert!(!log.contains("not tracked"), "{log}");
    // Whoever keeps the table small can go on, though its parts have no replica identity.
    scene
        .sql
        .run("DELETE FROM public.changes WHERE position < 0");
    (scene, zemi)
}

#[test]
fn a_partitioned_table_of_changes_does_not_loop() {
    let make = format!(
        "CREATE TABLE public.changes ({COLUMNS}) PARTITION BY RANGE (committed_at); \
         CREATE TABLE public.changes_old PARTITION OF public.changes \
         FOR VALUES FROM (MINVALUE) TO ('2020-01-01'); \
         CREATE TABLE public.changes_new PARTITION OF public.changes \
         FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY LIST (operation); \
         CREATE TABLE public.changes_new_created PARTITION OF public.changes_new \
         FOR VALUES IN ('CREATE'); \
         CREATE TABLE public.changes_new_rest PARTITION OF public.changes_new DEFAULT"
    );
    no_loop(&make, &[]);
    let (mut scene, _zemi) = no_loop(&make, &[("TABLES", "*")]);
    let published = scene
        .sql
        .text("SELECT DISTINCT tablename FROM pg_publication_tables");
    assert_eq!(published, "t");
}

#[test]
fn a_table_of_changes_with_children_does_not_loop() {
    // A trigger moves the rows into a child, as TimescaleDB does with its chunks.
    let make = format!(
        "CREATE TABLE public.changes ({COLUMNS}); \
         CREATE TABLE public.chunk () INHERITS (public.changes); \
         CREATE FUNCTION public.to_chunk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO public.chunk SELECT (NEW).*; RETURN NULL; END $$; \
         CREATE TRIGGER to_chunk BEFORE INSERT ON public.changes FOR EACH ROW \
         EXECUTE FUNCTION public.to_chunk()"
    );
    let (mut scene, _zemi) = no_loop(&make, &[]);
    assert_eq!(
        scene.sql.value("SELECT count(*) FROM ONLY public.changes"),
        "0"
    );
}

#[test]
fn a_partition_that_is_added_while_zemi_runs_does_not_loop() {
    let make = format!(
        "CREATE TABLE public.changes ({COLUMNS}) PARTITION BY LIST (\"table\"); \
         CREATE TABLE public.changes_t PARTITION OF public.changes FOR VALUES IN ('t')"
    );
    let (mut scene, _zemi) = no_loop(&make, &[]);
    scene.sql.run(
        "CREATE TABLE public.changes_u PARTITION OF public.changes FOR VALUES IN ('u'); \
         CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)",
    );
    for _ in 0..3 {
        caught_up(&mut scene.sql);
    }
    assert_eq!(
        scene.changes_where("position > 0 AND \"table\" <> 't'", "\"table\""),
        "u"
    );
}

#[test]
fn a_table_of_changes_that_is_swapped_by_renaming_does_not_loop() {
    for major in [15, 18] {
        let (mut scene, _zemi) = Scene::one(major)
            .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
            .streaming();
        scene.sql.run("INSERT INTO t VALUES (1, 'a')");
        scene.caught_up();
        for (number, copied) in [(1, "ALL"), (2, "ALL EXCLUDING COMMENTS")] {
            scene.sql.run(&format!(
                "BEGIN; ALTER TABLE changes RENAME TO changes_{number}; \
                 CREATE TABLE changes (LIKE changes_{number} INCLUDING {copied}); COMMIT"
            ));
            scene
                .sql
                .run("INSERT INTO t SELECT g, 'b' FROM generate_series(10, 14) g");
            scene.caught_up();
            scene.sql.run("DELETE FROM t WHERE v = 'b'");
            // What is tidied up in the old one is no change either.
            scene.sql.run(&format!(
                "DELETE FROM changes_{number} WHERE primary_key = '1'"
            ));
            for _ in 0..3 {
                caught_up(&mut scene.sql);
            }
            let rows =
                "SELECT \"table\", operation, count(*) FROM changes GROUP BY 1, 2 ORDER BY 2";
            assert_eq!(scene.sql.text(rows), "t|CREATE|5\nt|DELETE|5", "{major}");
        }
    }
}

#[test]
fn two_zemis_that_write_into_each_others_source_do_not_loop() {
    for major in [15, 18] {
        let server = Server::start(major, &[]);
        let mut sql = Sql::open(&server, "postgres");
        sql.run("CREATE DATABASE a");
        sql.run("CREATE DATABASE b");
        let mut sides = ["a", "b"].map(|name| Sql::open(&server, name));
        let zemis = [("a", "b"), ("b", "a")].map(|(from, to)| {
            let names = [("DB_NAME", from), ("DEST_DB_NAME", to), ("SLOT_NAME", from)];
            streaming(&with(&settings(&server, None), &names))
        });
        for (number, side) in sides.iter_mut().enumerate() {
            side.run(&format!(
                "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES ({number})"
            ));
        }
        for _ in 0..3 {
            for (side, slot) in sides.iter_mut().zip(["a", "b"]) {
                confirmed(side, slot);
            }
        }
        let [a, b] = &mut sides;
        assert_eq!(changes(a, "database, \"table\", after"), "b|t|{\"id\": 1}");
        assert_eq!(changes(b, "database, \"table\", after"), "a|t|{\"id\": 0}");
        drop(zemis);
    }
}

#[test]
fn a_second_zemi_does_not_record_what_the_first_one_writes() {
    // The first one's tables: made by a zemi, by an earlier version of it, and by Bemi.
    for (major, first) in [(15, ""), (18, "unmarked"), (15, "bemi")] {
        let server = Server::start(major, &[]);
        let mut sql = Sql::open(&server, "postgres");
        sql.run("CREATE DATABASE audit");
        if first == "bemi" {
            sql.run(&format!("CREATE TABLE changes ({COLUMNS})"));
        }
        let mut one = streaming(&settings(&server, None));
        if first == "unmarked" {
            sql.run(
                "COMMENT ON COLUMN changes.position IS NULL; \
                 COMMENT ON COLUMN zemi_progress.flushed_lsn IS NULL",
            );
            one.stop();
            one = streaming(&settings(&server, None));
            let marks = "SELECT count(*) FROM pg_description WHERE description = 'written by zemi'";
            assert_eq!(sql.value(marks), "1");
        }
        let names = [
            ("DEST_DB_NAME", "audit"),
            ("SLOT_NAME", "two"),
            ("PUBLICATION_NAME", "two"),
        ];
        let two = streaming(&with(&settings(&server, None), &names));
        sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)");
        caught_up(&mut sql);
        confirmed(&mut sql, "two");
        let mut audit = Sql::open(&server, "audit");
        for session in [&mut sql, &mut audit] {
            assert_eq!(
                changes(session, "\"table\", primary_key"),
                "t|7",
                "{major} {first}"
            );
        }
        drop((one, two));
    }
}
