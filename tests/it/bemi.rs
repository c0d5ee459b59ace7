//! Taking over a table that Bemi made and filled.

use super::support::replay::assert_replays;
use super::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use super::support::{Server, Sql, Zemi};

/// As Bemi makes it, with what an operator may have added.
const TABLE: &str = r#"
    CREATE FUNCTION public.uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()';
    CREATE TABLE changes (
        id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
        created_at timestamptz(0) NOT NULL DEFAULT now(),
        primary_key varchar(255),
        before jsonb NOT NULL DEFAULT '{}', after jsonb NOT NULL DEFAULT '{}',
        context jsonb NOT NULL DEFAULT '{}',
        database varchar(255) NOT NULL, schema varchar(255) NOT NULL, "table" varchar(255) NOT NULL,
        operation text NOT NULL CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE', 'TRUNCATE')),
        committed_at timestamptz(0) NOT NULL, queued_at timestamptz(0) NOT NULL,
        transaction_id bigint NOT NULL, position bigint NOT NULL,
        note text DEFAULT 'ours',
        CONSTRAINT changes_position_table_schema_database_operation_unique
            UNIQUE (position, "table", schema, database, operation));
    CREATE INDEX somebodys ON changes (note, committed_at)"#;

/// The settings for another slot.
fn with_slot(settings: &[(String, String)], name: &str) -> Vec<(String, String)> {
    let mut settings = settings.to_vec();
    settings.push(("SLOT_NAME".into(), name.into()));
    settings
}

#[test]
fn rows_that_are_there_already_stay_as_they_are_and_the_rest_is_added() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    let mut dest = Sql::open(&destination, "postgres");
    dest.run(TABLE);
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let settings = settings(&source, Some(&destination));

    // Another tracker: its slot sees the same changes as ours, which is made now and read later.
    let mut other = streaming(&with_slot(&settings, "other"));
    sql.run("SELECT pg_create_logical_replication_slot('zemi', 'pgoutput')");
    sql.run("INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g");
    sql.run("UPDATE t SET v = 'changed' WHERE id <= 10");
    sql.run("DELETE FROM t WHERE id > 490");
    let last = sql.value("SELECT pg_current_wal_insert_lsn()");
    sql.run("SELECT pg_logical_emit_message(true, 'test', '')");
    super::support::wait_until("the other tracker is done", PATIENCE, || {
        sql.value(&format!(
            "SELECT confirmed_flush_lsn >= '{last}' FROM pg_replication_slots WHERE slot_name = 'other'"
        )) == "t"
    });
    other.sigterm();
    assert_eq!(other.wait_exit(PATIENCE), Some(0));
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
    sql.run(TABLE);
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
    dest.run(TABLE);
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&source, Some(&destination));
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    super::support::wait_until("the slot can be dropped", PATIENCE, || {
        sql.try_rows("SELECT pg_drop_replication_slot('zemi')")
            .is_ok()
    });
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
