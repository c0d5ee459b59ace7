//! Taking over a table that Bemi made and filled.

use crate::support::replay::assert_replays;
use crate::support::scene::{PATIENCE, caught_up, changes, drop_slot, settings, streaming, with};
use crate::support::{Scene, Server, Sql, Zemi, bemi};

/// As Bemi's migrations leave it, with what an operator may have added.
fn table() -> String {
    format!(
        "{}; ALTER TABLE changes ADD note text DEFAULT 'ours'; \
         CREATE INDEX somebodys ON changes (note, committed_at)",
        bemi::migrated(bemi::ALL)
    )
}

#[test]
fn rows_that_are_there_already_stay_as_they_are_and_the_rest_is_added() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    let mut dest = Sql::open(&destination, "postgres");
    dest.run(&table());
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let settings = settings(&source, Some(&destination));

    // Another tracker: its slot sees the same changes as ours, which is made now and read later.
    let mut other = streaming(&with(&settings, &[("SLOT_NAME", "other")]));
    sql.run("SELECT pg_create_logical_replication_slot('zemi', 'pgoutput')");
    sql.run("INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g");
    sql.run("UPDATE t SET v = 'changed' WHERE id <= 10");
    sql.run("DELETE FROM t WHERE id > 490");
    let last = sql.value("SELECT pg_current_wal_insert_lsn()");
    sql.run("SELECT pg_logical_emit_message(true, 'test', '')");
    crate::support::wait_until("the other tracker is done", PATIENCE, || {
        sql.value(&format!(
            "SELECT confirmed_flush_lsn >= '{last}' FROM pg_replication_slots WHERE slot_name = 'other'"
        )) == "t"
    });
    other.stop();
    // It had its own ids, lost some rows, and one place is taken by a change of a lost timeline.
    dest.run(
        "UPDATE changes SET id = uuid_generate_v4();
         DELETE FROM changes WHERE operation = 'CREATE' AND primary_key::int BETWEEN 100 AND 199;
         UPDATE changes SET transaction_id = 77, context = '{\"lost\": true}', after = '{\"id\": 0}'
             WHERE operation = 'CREATE' AND primary_key = '300'",
    );
    let kept = dest.text("SELECT id FROM changes WHERE transaction_id <> 77 ORDER BY position");

    let zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1000, 'new')");
    caught_up(&mut sql);
    let ids = dest.text("SELECT id FROM changes ORDER BY position");
    for id in kept.lines() {
        assert!(ids.contains(id), "the row {id} was replaced");
    }
    assert_eq!(
        dest.value("SELECT count(*) FROM changes WHERE transaction_id <> 77"),
        "521"
    );
    // What was in the way is still there, and the change itself came next to it.
    assert_eq!(
        dest.text(
            "SELECT o.context, n.after->>'v', n.position - o.position <= 501 FROM changes o, changes n \
             WHERE o.transaction_id = 77 AND n.transaction_id <> 77 AND n.primary_key = '300' \
             AND n.operation = 'CREATE'"
        ),
        "{\"lost\": true}|v300|t"
    );
    dest.run("DELETE FROM changes WHERE transaction_id = 77");
    assert_eq!(
        dest.value("SELECT count(*) - count(DISTINCT (position, operation)) FROM changes"),
        "0"
    );
    assert_eq!(
        dest.value("SELECT count(*) FROM changes WHERE note = 'ours'"),
        "521"
    );
    assert_replays(&mut sql, &mut dest, "t", &["id"]);
    drop(zemi);
}

#[test]
fn a_table_that_lacks_a_column_is_named_with_it_and_left_alone() {
    let source = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run(&table());
    sql.run("ALTER TABLE changes DROP COLUMN queued_at");
    let mut zemi = Zemi::start(&settings(&source, None));
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
    assert!(
        zemi.log()
            .contains("expected a column queued_at, found none"),
        "{}",
        zemi.log()
    );
    sql.run("ALTER TABLE changes ADD queued_at timestamptz NOT NULL, DROP COLUMN before");
    sql.run("ALTER TABLE changes ADD before text");
    let mut zemi = Zemi::start(&settings(&source, None));
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
    assert!(
        zemi.log()
            .contains("expected column before to be jsonb, found text"),
        "{}",
        zemi.log()
    );
}

#[test]
fn a_gap_is_logged_where_the_table_allows_no_message() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    let mut dest = Sql::open(&destination, "postgres");
    dest.run(&table());
    dest.run(
        "ALTER TABLE changes DROP CONSTRAINT changes_operation_check, \
         ADD CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE', 'TRUNCATE'))",
    );
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&source, Some(&destination));
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    drop_slot(&mut sql, "zemi");
    let zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (2)");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut dest, "operation, primary_key"),
        "CREATE|1\nCREATE|2"
    );
    assert!(zemi.log().contains("may be missing"), "{}", zemi.log());
    assert!(
        zemi.log().contains("the gap could not be recorded"),
        "{}",
        zemi.log()
    );
}

#[test]
fn a_table_is_used_after_each_of_bemis_migrations_that_leaves_what_a_row_needs() {
    let source = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    for count in 1..=bemi::ALL {
        let database = format!("after_{count}");
        sql.run(&format!("CREATE DATABASE {database}"));
        let mut dest = Sql::open(&source, &database);
        dest.run(&bemi::migrated(count));
        let mut settings = settings(&source, None);
        settings.push(("DEST_DB_NAME".into(), database));
        let missing = match count {
            1 => "expected a column before, found none",
            2..=5 => "expected column transaction_id to be int8, found int4",
            _ => {
                let zemi = streaming(&settings);
                sql.run(&format!("INSERT INTO t VALUES ({count})"));
                caught_up(&mut sql);
                drop(zemi);
                assert_eq!(
                    changes(&mut dest, "operation, primary_key, created_at = queued_at"),
                    format!("CREATE|{count}|t")
                );
                let noted = dest.value("SELECT count(*) FROM _bemi_migrations");
                assert_eq!(noted, count.to_string());
                continue;
            }
        };
        let mut zemi = Zemi::start(&settings);
        assert_eq!(zemi.wait_exit(PATIENCE), Some(78), "{count}");
        let log = zemi.log();
        assert!(log.contains(missing), "{count}: {log}");
        assert!(log.contains("run its migrations to their end"), "{log}");
    }
}

#[test]
fn a_gap_is_recorded_in_bemis_table() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before(&format!(
            "{}; CREATE TABLE t (id int PRIMARY KEY)",
            bemi::migrated(bemi::ALL)
        ))
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut scene.sql);
    zemi.kill();
    drop_slot(&mut scene.sql, "zemi");
    let _zemi = scene.start();
    scene.sql.run("INSERT INTO t VALUES (2)");
    assert_eq!(
        scene.changes_where(
            "operation = 'MESSAGE'",
            "context ? 'zemi_gap', created_at IS NOT NULL"
        ),
        "t|t"
    );
}

#[test]
fn created_at_that_loses_its_default_or_goes_is_noticed_while_zemi_runs() {
    let (mut scene, _zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut scene.sql);
    scene
        .sql
        .run("ALTER TABLE changes ALTER created_at DROP DEFAULT");
    scene
        .sql
        .run("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)");
    let columns = "primary_key, created_at IS NOT NULL";
    assert_eq!(scene.changes_of("t", columns), "1|t\n2|t\n3|t");
    scene.sql.run("ALTER TABLE changes DROP COLUMN created_at");
    scene
        .sql
        .run("INSERT INTO t SELECT generate_series(4, 20000)");
    scene.sql.run("INSERT INTO t VALUES (20001)");
    caught_up(&mut scene.sql);
    let count = "SELECT count(*), count(DISTINCT primary_key) FROM changes";
    assert_eq!(scene.sql.text(count), "20001|20001");
}

#[test]
fn bemis_worker_goes_on_with_the_table_that_zemi_leaves() {
    for before in [bemi::migrated(bemi::ALL), String::new()] {
        let before = format!("{before}; CREATE TABLE t (id int PRIMARY KEY)");
        let (mut scene, mut zemi) = Scene::one(15).before(&before).streaming();
        scene.sql.run("INSERT INTO t VALUES (1); TRUNCATE t");
        assert_eq!(scene.changes_of("t", "operation"), "CREATE\nTRUNCATE");
        zemi.stop();
        // A new change, and one that is there.
        scene.sql.run(&bemi::insert("1000", "1000"));
        let there = "(SELECT max(position) FROM changes WHERE operation = 'CREATE')";
        scene.sql.run(&bemi::insert(there, "1000"));
        assert_eq!(scene.sql.value("SELECT count(*) FROM changes"), "3");
        let unread = "SELECT count(*) FROM changes WHERE before IS NULL OR after IS NULL OR context IS NULL \
             OR created_at IS NULL OR operation NOT IN ('CREATE', 'UPDATE', 'DELETE', 'TRUNCATE', 'MESSAGE')";
        assert_eq!(scene.sql.value(unread), "0");
    }
}

#[test]
fn a_format_that_bemis_table_refuses_is_said_at_the_start_with_what_lets_it_in() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE DATABASE audit");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut audit = Sql::open(&server, "audit");
    audit.run(&bemi::migrated(bemi::ALL));
    let settings = with(
        &settings(&server, None),
        &[("DEST_DB_NAME", "audit"), ("CHANGES_FORMAT", "sql")],
    );
    // Each hint is followed word by word.
    for _ in 0..3 {
        let mut zemi = Zemi::start(&settings);
        assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
        let log = zemi.log();
        let (_, fix) = log.split_once("Hint: ").expect("a hint");
        audit.run(fix.lines().next().unwrap());
    }
    let zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut audit, "operation, before IS NULL"), "INSERT|t");
    drop(zemi);
}
