//! `synchronous_standby_names = 'zemi'`: a COMMIT on the source returns when its rows are in the
//! destination, and zemi's own commits do not wait for zemi.

use std::thread::{self, JoinHandle};

use crate::support::scene::{PATIENCE, Settings, caught_up, changes, settings, streaming};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// A source whose commits wait for zemi. What tests prepare on this session does not wait.
fn source() -> (Server, Sql) {
    let server = Server::start(15, &[("synchronous_standby_names", "zemi")]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("SET synchronous_commit = local; CREATE TABLE t (id int PRIMARY KEY)");
    (server, sql)
}

/// Commits a row on a session of its own; the thread ends when COMMIT has returned. A wait for a standby
/// knows no time limit, so tests must not commit on their own thread.
fn commit(server: &Server, id: u32) -> JoinHandle<()> {
    let mut application = Sql::open(server, "postgres");
    thread::spawn(move || application.run(&format!("INSERT INTO t VALUES ({id})")))
}

fn returned(commit: JoinHandle<()>) {
    wait_until("COMMIT returns", PATIENCE, || commit.is_finished());
    commit.join().expect("it succeeded");
}

fn waits_for_standby(sql: &mut Sql) -> String {
    let query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let mut pid = String::new();
    wait_until("a COMMIT waits for its standby", PATIENCE, || {
        pid = sql.value(query);
        !pid.is_empty()
    });
    pid
}

#[test]
fn a_commit_returns_when_its_rows_are_in_the_destination_however_long_that_is_away() {
    let (server, mut sql) = source();
    let destination = Server::start(15, &[]);
    let zemi = streaming(&settings(&server, Some(&destination)));
    let mut away = Sql::open(&destination, "postgres");
    for id in 1..=20 {
        returned(commit(&server, id));
        let there = away.value("SELECT max(primary_key::int) FROM changes");
        assert_eq!(there, id.to_string());
    }

    drop(away);
    destination.stop("fast");
    let held = commit(&server, 21);
    waits_for_standby(&mut sql);
    zemi.wait_for_log("trying again", PATIENCE);
    assert!(!held.is_finished());
    destination.up();
    returned(held);
    let mut back = Sql::open(&destination, "postgres");
    let there = back.value("SELECT max(primary_key::int) FROM changes");
    assert_eq!(there, "21");
}

/// The bounds of a partition are asked for while the transaction that truncated it still holds it.
#[test]
fn the_truncate_of_a_partition_returns() {
    let (server, mut sql) = source();
    sql.run(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY LIST (id);
         CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE p_2 PARTITION OF p FOR VALUES IN (2)",
    );
    let destination = Server::start(15, &[]);
    let zemi = streaming(&settings(&server, Some(&destination)));
    for _ in 0..2 {
        let mut application = Sql::open(&server, "postgres");
        returned(thread::spawn(move || application.run("TRUNCATE p_1")));
    }
    let mut there = Sql::open(&destination, "postgres");
    let shown = "\"table\", context->'zemi_partition'->>'bounds'";
    let row = "p_1|FOR VALUES IN (1)";
    assert_eq!(changes(&mut there, shown), [row, row].join("\n"));
    drop(zemi);
}

#[test]
fn zemi_does_not_wait_for_itself_in_the_same_database() {
    let (server, mut sql) = source();
    let own = settings(&server, None);
    // The first start makes tables, publications and slot; a later one writes without an own start.
    let zemi = streaming(&own);
    returned(commit(&server, 1));
    assert_eq!(changes(&mut sql, "primary_key"), "1");
    // A new table without a replica identity: the publications are made anew by a running zemi.
    sql.run("CREATE TABLE plain (v int)");
    sql.run("INSERT INTO plain VALUES (2)");
    zemi.wait_for_log("UPDATE and DELETE of \"public\".\"plain\"", PATIENCE);
    drop(zemi);

    let held = commit(&server, 3);
    waits_for_standby(&mut sql);
    let zemi = streaming(&own);
    returned(held);
    assert_eq!(
        changes(&mut sql, "\"table\", operation"),
        "t|CREATE\nplain|CREATE\nt|CREATE"
    );
    drop(zemi);
}

#[test]
fn zemi_does_not_wait_for_itself_in_another_database_of_the_cluster() {
    let (server, mut sql) = source();
    sql.run("CREATE DATABASE audit");
    let mut settings = settings(&server, None);
    settings.push(("DEST_DB_NAME".into(), "audit".into()));
    let zemi = streaming(&settings);
    returned(commit(&server, 1));
    let mut audit = Sql::open(&server, "audit");
    assert_eq!(changes(&mut audit, "primary_key"), "1");
    drop(zemi);
}

#[test]
fn a_commit_that_already_waits_for_the_first_start_is_named_with_what_ends_it() {
    let (server, mut sql) = source();
    let held = commit(&server, 1);
    let pid = waits_for_standby(&mut sql);
    let zemi = Zemi::start(&settings(&server, None));
    let hint = format!("SELECT pg_cancel_backend({pid})");
    zemi.wait_for_log(&hint, PATIENCE);
    sql.run(&hint);
    returned(held);
    zemi.wait_for_log("streaming from", PATIENCE);
    returned(commit(&server, 2));
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "primary_key"), "2");
}

#[test]
fn a_transaction_of_untracked_rows_does_not_wait_for_ever() {
    let server = Server::start(15, &[]);
    let prepare = "CREATE TABLE noise (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)";
    let (mut scene, _zemi) = Scene::on(server, None)
        .before(prepare)
        .with(&[("EXCLUDE_TABLES", "noise")])
        .streaming();
    scene
        .sql
        .run("ALTER SYSTEM SET synchronous_standby_names = 'zemi'");
    scene.sql.run("SELECT pg_reload_conf()");
    let set = "SHOW synchronous_standby_names";
    wait_until("the setting holds", PATIENCE, || {
        scene.sql.value(set) == "zemi"
    });
    let mut application = Sql::open(&scene.source, "postgres");
    returned(thread::spawn(move || {
        for id in 1..=5 {
            application.run(&format!("INSERT INTO noise VALUES ({id})"));
            application.run("CREATE TABLE made (); DROP TABLE made");
        }
    }));
    returned(commit(&scene.source, 1));
    assert_eq!(changes(&mut scene.sql, "primary_key"), "1");
}

/// A type, a table with it and with a key that is not in the order of its columns, and a row, at once. (With
/// a composite type the walsender would wait for the transaction's lock on it, and that for the walsender.)
const MADE_AT_ONCE: &str = "BEGIN; CREATE DOMAIN amount AS int; \
     CREATE TABLE made (id int, kind int, v amount, PRIMARY KEY (kind, id)); \
     INSERT INTO made VALUES (1, 7, 5); COMMIT";

#[test]
fn what_a_transaction_that_waits_for_zemi_made_is_known_from_the_next_one_on() {
    let (server, mut sql) = source();
    let _zemi = streaming(&settings(&server, None));
    let mut application = Sql::open(&server, "postgres");
    returned(thread::spawn(move || {
        application.run(MADE_AT_ONCE);
        application.run("INSERT INTO made VALUES (2, 8, 6)");
    }));
    assert_eq!(
        changes(
            &mut sql,
            "primary_key || ' ' || (SELECT after = to_jsonb(m) FROM made m WHERE id = 2)"
        )
        .lines()
        .last(),
        Some("8,2 true")
    );
}

#[test]
fn what_a_transaction_made_was_asked_for_before_its_synchronous_standby_had_it() {
    let server = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let _zemi = streaming(&settings(&server, Some(&destination)));
    let mut sql = Sql::open(&server, "postgres");
    for set in [
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        sql.run(set);
    }
    let setting = "SHOW synchronous_standby_names";
    wait_until("the setting holds", PATIENCE, || {
        sql.value(setting) == "nobody"
    });
    let mut application = Sql::open(&server, "postgres");
    let held = thread::spawn(move || application.run(MADE_AT_ONCE));
    waits_for_standby(&mut sql);
    // It is the last thing that zemi asks the source until the standby has it.
    let asking = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'zemi' \
                  AND query LIKE '%pg_visible_in_snapshot%'";
    wait_until("zemi waits, too", PATIENCE, || sql.value(asking) == "1");
    for set in [
        "ALTER SYSTEM RESET synchronous_standby_names",
        "SELECT pg_reload_conf()",
    ] {
        sql.run(set);
    }
    returned(held);
    let mut there = Sql::open(&destination, "postgres");
    let wanted = "7,1|{\"v\": 5, \"id\": 1, \"kind\": 7}";
    caught_up(&mut sql);
    assert_eq!(changes(&mut there, "primary_key, after"), wanted);
}

/// Changes the setting and waits until new commits go by it.
fn set_names(server: &Server, names: &str) {
    let mut sql = Sql::open(server, "postgres");
    sql.run(&format!(
        "ALTER SYSTEM SET synchronous_standby_names = '{names}'"
    ));
    sql.run("SELECT pg_reload_conf()");
    wait_until("the setting holds", PATIENCE, || {
        sql.value("SHOW synchronous_standby_names") == names
    });
}

/// The role of README, for which the columns of `pg_stat_replication` are NULL.
fn of_zemi(server: &Server) -> Settings {
    let mut sql = Sql::open(server, "postgres");
    sql.run(
        "SET synchronous_commit = local; CREATE ROLE zemi LOGIN REPLICATION PASSWORD 'secret'; \
         GRANT CREATE ON SCHEMA public TO zemi; CREATE PUBLICATION zemi FOR ALL TABLES",
    );
    let mut settings = settings(server, None);
    for prefix in ["DB_", "DEST_DB_"] {
        settings.push((format!("{prefix}USER"), "zemi".into()));
        settings.push((format!("{prefix}PASSWORD"), "secret".into()));
    }
    settings
}

fn a_role_that_may_not_read_statistics_keeps_no_commit_waiting(major: u32) {
    let server = Server::start(major, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let own = of_zemi(&server);
    let mut zemi = streaming(&own);
    let names = [
        "zemi",
        "*",
        "FIRST 1 (nobody, \"ZEMI\")",
        "ANY 1 (nobody,zemi)",
    ];
    for (id, names) in (1..).zip(names) {
        set_names(&server, names);
        returned(commit(&server, id));
        let mut application = Sql::open(&server, "postgres");
        returned(thread::spawn(move || {
            application.run(&format!(
                "CREATE TABLE made_{id} (id int PRIMARY KEY); INSERT INTO made_{id} VALUES (1)"
            ));
        }));
    }
    zemi.stop();

    // It waits for zemi; meanwhile comes more than the channels and the batch hold.
    let held = commit(&server, 5);
    waits_for_standby(&mut sql);
    sql.run(
        "SET synchronous_commit = local; \
         SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)) FROM generate_series(1, 50)",
    );
    let also = commit(&server, 6);
    sql.run("INSERT INTO t SELECT g FROM generate_series(1000, 200000) g");
    let _zemi = streaming(&own);
    returned(held);
    returned(also);
    caught_up(&mut sql);
    let rows = "SELECT count(*) FROM changes WHERE \"table\" = 't'";
    assert_eq!(sql.value(rows), "199007");
}

#[test]
fn a_role_that_may_not_read_statistics_keeps_no_commit_waiting_on_15() {
    a_role_that_may_not_read_statistics_keeps_no_commit_waiting(15);
}

#[test]
fn a_role_that_may_not_read_statistics_keeps_no_commit_waiting_on_18() {
    a_role_that_may_not_read_statistics_keeps_no_commit_waiting(18);
}

/// A table and a row with a value of a composite type, all of one transaction.
const COMPOSITE_AT_ONCE: &str = "BEGIN; CREATE TYPE pair AS (a int, b int); \
     CREATE TABLE made (id int PRIMARY KEY, v pair); INSERT INTO made VALUES (1, (2, 3)); COMMIT";

#[test]
fn a_composite_type_of_a_transaction_that_waits_for_zemi_holds_it_for_a_moment_only() {
    let (server, mut sql) = source();
    let _zemi = streaming(&settings(&server, None));
    let mut application = Sql::open(&server, "postgres");
    returned(thread::spawn(move || application.run(COMPOSITE_AT_ONCE)));
    caught_up(&mut sql);
    assert_eq!(
        changes(
            &mut sql,
            "after->'v' IN ('\"(2,3)\"', '{\"a\": 2, \"b\": 3}')"
        ),
        "t"
    );
}

#[test]
fn a_role_that_may_not_end_that_wait_says_who_can() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    let zemi = streaming(&of_zemi(&server));
    set_names(&server, "zemi");
    let mut application = Sql::open(&server, "postgres");
    let held = thread::spawn(move || application.run(COMPOSITE_AT_ONCE));
    let pid = waits_for_standby(&mut sql);
    let hint = format!("SELECT pg_cancel_backend({pid})");
    zemi.wait_for_log(&hint, PATIENCE);
    sql.run(&hint);
    returned(held);
    sql.run("SET synchronous_commit = local");
    caught_up(&mut sql);
}

#[test]
fn commits_of_zemi_wait_for_other_standbys_until_zemi_is_one() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("SET synchronous_commit = local; CREATE TABLE t (id int PRIMARY KEY)");
    let _zemi = streaming(&settings(&server, None));
    set_names(&server, "another");
    sql.run("INSERT INTO t VALUES (1)");
    let own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'zemi' \
               AND wait_event = 'SyncRep'";
    wait_until("zemi waits for that standby", PATIENCE, || {
        sql.value(own) == "1"
    });
    set_names(&server, "another, zemi");
    set_names(&server, "ANY 1 (another, zemi)");
    // A new relation is looked at soon, and whether zemi waits for itself with it.
    sql.run("CREATE TABLE plain (v int); INSERT INTO plain VALUES (1)");
    returned(commit(&server, 2));
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "3");
}
