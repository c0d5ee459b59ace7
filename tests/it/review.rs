//! What a hostile reader of the pipeline expected to go wrong: each test is named after it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

const MOMENT: Duration = Duration::from_secs(20);

fn with(mut settings: Vec<(String, String)>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.extend(more.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())));
    settings
}

#[test]
fn a_stop_does_not_wait_for_a_destination_that_does_not_answer() {
    let server = Server::start(15, &[]);
    let mut other = Sql::open(&server, "postgres");
    // Making the table waits for whoever is making it, for ever.
    other.run("BEGIN; CREATE TABLE public.changes (id int)");
    let settings = with(settings(&server, None), &[("SHUTDOWN_TIMEOUT", "1")]);
    let mut zemi = Zemi::start(&settings);
    let mut sql = Sql::open(&server, "postgres");
    wait_until("zemi waits for the lock", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
    });
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    other.run("ROLLBACK");
}

#[test]
fn a_stop_does_not_wait_for_a_table_that_somebody_locks() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nameless (v int); CREATE TABLE late (id int PRIMARY KEY)");
    sql.run("ALTER TABLE late REPLICA IDENTITY NOTHING");
    let mut zemi = streaming(&with(settings(&server, None), &[("SHUTDOWN_TIMEOUT", "3")]));
    sql.run("ALTER TABLE late REPLICA IDENTITY DEFAULT");
    let mut other = Sql::open(&server, "postgres");
    other.run("BEGIN; LOCK TABLE late IN SHARE UPDATE EXCLUSIVE MODE");
    let waiting = |sql: &mut Sql| {
        wait_until("zemi waits for the lock", PATIENCE, || {
            sql.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
        });
    };
    sql.run("INSERT INTO late VALUES (1)");
    waiting(&mut sql);
    // The lock is not waited for without end, and the stream does not wait at all.
    caught_up(&mut sql);
    zemi.wait_for_log("lock timeout", PATIENCE);
    sql.run("INSERT INTO nameless VALUES (1)");
    waiting(&mut sql);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    assert!(!zemi.log().contains("SHUTDOWN_TIMEOUT"), "{}", zemi.log());
    other.run("ROLLBACK");
}

#[test]
fn a_gap_is_recorded_when_zemi_is_killed_while_it_makes_the_slot_anew() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    wait_until("the slot can be dropped", PATIENCE, || {
        sql.try_rows("SELECT pg_drop_replication_slot('zemi')")
            .is_ok()
    });
    sql.run("INSERT INTO t VALUES (2)");
    // The new slot waits for this transaction; its backend outlives the process that asked for it.
    let mut other = Sql::open(&server, "postgres");
    other.run("BEGIN; SELECT txid_current()");
    let mut zemi = Zemi::start(&settings);
    zemi.wait_for_log("creating the slot waits", PATIENCE);
    wait_until("the slot is under way", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_replication_slots") == "1"
    });
    zemi.kill();
    other.run("COMMIT");
    wait_until("the slot is there", PATIENCE, || {
        let ready = "NOT active AND confirmed_flush_lsn IS NOT NULL";
        sql.value(&format!(
            "SELECT count(*) FROM pg_replication_slots WHERE {ready}"
        )) == "1"
    });
    let gaps = "SELECT context->'zemi_gap'->>'reason' FROM changes WHERE operation = 'MESSAGE'";
    assert_eq!(sql.text(gaps), "");
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (3)");
    caught_up(&mut sql);
    assert_eq!(sql.text(gaps), "slot_gone");
    // Once: the next start has nothing to announce.
    zemi.kill();
    let _zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (4)");
    caught_up(&mut sql);
    assert_eq!(sql.text(gaps), "slot_gone");
    assert_eq!(
        sql.text("SELECT slot_name FROM zemi_progress WHERE timeline > 0"),
        "zemi"
    );
}

#[test]
fn a_destination_that_answers_and_takes_nothing_does_not_hold_the_source_for_ever() {
    let (source, destination) = (Server::start(15, &[]), Server::start(15, &[]));
    let mut sql = Sql::open(&source, "postgres");
    let mut there = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let zemi = streaming(&settings(&source, Some(&destination)));
    there.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END$$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON changes EXECUTE FUNCTION full_disk()",
    );
    sql.run("INSERT INTO t SELECT generate_series(1, 10)");
    zemi.wait_for_log("closed the replication connection", 2 * PATIENCE);
    wait_until("the source lets its walsender go", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
    });
    sql.run("INSERT INTO t VALUES (11)");
    there.run("DROP TRIGGER full_disk ON changes");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 11);
}

/// The value of a metric, by the start of its line.
fn metric(port: &str, name: &str) -> u64 {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[test]
fn duplicates_are_not_counted_as_changes() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&server, None);
    let mut first = streaming(&settings);
    sql.run("SELECT pg_create_logical_replication_slot('second', 'pgoutput')");
    sql.run("INSERT INTO t SELECT generate_series(1, 5); UPDATE t SET id = 6 WHERE id = 5");
    caught_up(&mut sql);
    first.sigterm();
    assert_eq!(first.wait_exit(MOMENT), Some(0));
    let port = free_port();
    let more = [("SLOT_NAME", "second"), ("METRICS_PORT", &port)];
    let _second = streaming(&with(settings, &more));
    sql.run("INSERT INTO t VALUES (7)");
    wait_until("the new row is there", PATIENCE, || {
        sql.value("SELECT count(*) FROM changes WHERE primary_key = '7'") == "1"
    });
    wait_until("it is counted", PATIENCE, || {
        metric(&port, "zemi_changes_total{operation=\"insert\"") == 1
    });
    assert_eq!(metric(&port, "zemi_changes_total{operation=\"update\""), 0);
    assert_eq!(metric(&port, "zemi_changes_duplicated_total"), 6);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "7");
    assert_unique(&mut sql);
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn rows_that_the_destination_cannot_spell_do_not_stop_the_stream() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    sql.run("CREATE TABLE t (id text PRIMARY KEY, v text)");
    let more = [("DEST_DB_NAME", "latin")];
    let _zemi = streaming(&with(settings(&server, None), &more));
    sql.run("INSERT INTO t VALUES ('a', 'straße'), ('5 €', '6 €'), ('c', 'plain')");
    // A transaction in pieces, with a context that comes late.
    sql.run(
        "BEGIN; INSERT INTO t SELECT 'n' || n, repeat('x', 1000) FROM generate_series(1, 2000) n; \
         SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": \"€\"}'); COMMIT",
    );
    caught_up(&mut sql);
    let mut there = Sql::open(&server, "latin");
    there.run("SET client_encoding = 'UTF8'");
    assert_eq!(
        there.text(
            "SELECT primary_key, after->>'v' FROM changes WHERE primary_key !~ '^n' ORDER BY position"
        ),
        "a|straße\n5 \\u{20ac}|6 \\u{20ac}\nc|plain"
    );
    assert_eq!(
        there.text("SELECT context->>'user', count(*) FROM changes GROUP BY 1 ORDER BY 2"),
        "-|3\n\\u{20ac}|2000"
    );
}

#[test]
fn rows_that_the_destination_cannot_spell_are_known_when_they_come_again() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    sql.run("CREATE TABLE \"€\" (id text PRIMARY KEY); CREATE TABLE t (id text PRIMARY KEY)");
    let settings = with(settings(&server, None), &[("DEST_DB_NAME", "latin")]);
    let mut zemi = streaming(&settings);
    sql.run("SELECT pg_create_logical_replication_slot('again', 'pgoutput')");
    sql.run("INSERT INTO \"€\" VALUES ('a'), ('b'); INSERT INTO t VALUES ('5 €'), ('6')");
    caught_up(&mut sql);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(PATIENCE), Some(0));
    let mut there = Sql::open(&server, "latin");
    let before = there.text("SELECT id FROM changes ORDER BY 1");
    assert_eq!(before.lines().count(), 4);
    let zemi = streaming(&with(settings, &[("SLOT_NAME", "again")]));
    sql.run("INSERT INTO t VALUES ('7')");
    wait_until("the new row arrives", PATIENCE, || {
        there.value("SELECT count(*) FROM changes WHERE primary_key = '7'") == "1"
    });
    there.run("DELETE FROM changes WHERE primary_key = '7'");
    assert_eq!(there.text("SELECT id FROM changes ORDER BY 1"), before);
    drop(zemi);
}

#[test]
fn a_row_that_is_refused_at_commit_or_by_an_internal_error_is_found_and_written_safely() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let _zemi = streaming(&settings(&server, None));
    sql.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
         IF NEW.after->>'v' = TG_ARGV[0] THEN RAISE EXCEPTION 'no' USING ERRCODE = TG_ARGV[0]; \
         END IF; RETURN NEW; END$$; \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION refuse('23514'); \
         CREATE TRIGGER internal BEFORE INSERT ON changes FOR EACH ROW \
         EXECUTE FUNCTION refuse('XX000'); \
         CREATE TRIGGER raised BEFORE INSERT ON changes FOR EACH ROW \
         EXECUTE FUNCTION refuse('P0001'); \
         CREATE INDEX ON changes ((after->>'v'))",
    );
    sql.run(
        "INSERT INTO t SELECT n, CASE n WHEN 3 THEN '23514' WHEN 50 THEN 'XX000' WHEN 70 THEN 'P0001' \
         WHEN 90 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i) \
         ELSE 'fine' END FROM generate_series(1, 100) n",
    );
    caught_up(&mut sql);
    let strange = "SELECT string_agg(primary_key, ' ' ORDER BY position) FROM changes \
                   WHERE jsonb_typeof(after) <> 'object'";
    assert_eq!(sql.text(strange), "3 50 70 90");
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "100");
    // ON CONFLICT knows no deferrable constraint.
    sql.run(
        "ALTER TABLE changes DROP CONSTRAINT changes_position_table_schema_database_operation_unique; \
         ALTER TABLE changes ADD UNIQUE (position, \"table\", schema, database, operation) \
         DEFERRABLE INITIALLY DEFERRED",
    );
    sql.run("INSERT INTO t VALUES (101, 'fine'), (102, 'XX000'), (103, 'fine')");
    caught_up(&mut sql);
    assert_eq!(sql.text(strange), "3 50 70 90 102");
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "103");
    assert_unique(&mut sql);
}

#[test]
fn a_table_that_is_dropped_while_it_is_published_does_not_end_the_start() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE stays (id int PRIMARY KEY); CREATE TABLE goes (id int PRIMARY KEY)");
    let mut other = Sql::open(&server, "postgres");
    other.run("BEGIN; DROP TABLE goes");
    let zemi = Zemi::start(&with(settings(&server, None), &[("TABLES", "stays,goes")]));
    wait_until("zemi waits for the lock", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1"
    });
    other.run("COMMIT");
    zemi.wait_for_log("streaming from", PATIENCE);
    sql.run("INSERT INTO stays VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "1");
}

#[test]
fn a_table_of_changes_that_was_dropped_is_made_again_for_a_large_transaction_too() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let _zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (0, '')");
    caught_up(&mut sql);
    sql.run("DROP TABLE changes");
    sql.run("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) n");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "2000");
    assert_unique(&mut sql);
}

#[test]
fn a_batch_that_a_dead_process_left_in_flight_is_not_written_twice() {
    let (source, destination) = (Server::start(15, &[]), Server::start(15, &[]));
    let mut sql = Sql::open(&source, "postgres");
    let mut there = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = with(
        settings(&source, Some(&destination)),
        &[("SHUTDOWN_TIMEOUT", "1")],
    );
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (0)");
    caught_up(&mut sql);
    let mut blocker = Sql::open(&destination, "postgres");
    let mut waiting = |number: &str| {
        wait_until("zemi waits for the lock", PATIENCE, || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            there.value(waiting) == number
        });
    };
    blocker.run("BEGIN; LOCK TABLE changes IN EXCLUSIVE MODE");
    sql.run("INSERT INTO t SELECT generate_series(1, 100)");
    waiting("1");
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    // The backend of the first flight still has all of it; that of the second waits for its progress.
    let zemi = streaming(&settings);
    waiting("2");
    blocker.run("COMMIT");
    sql.run("INSERT INTO t VALUES (101)");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 102);
    assert_unique(&mut there);
    drop(zemi);
}
