//! What a hostile reader of the pipeline expected to go wrong: each test is named after it.

use std::time::Duration;

use super::support::replay::assert_replays;
use super::support::scene::{PATIENCE, caught_up, settings, streaming};
use super::support::{Server, Sql, Zemi, wait_until};

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
    assert_eq!(
        sql.value("SELECT count(*) FROM pg_replication_slots WHERE active"),
        "0"
    );
    sql.run("INSERT INTO t VALUES (11)");
    there.run("DROP TRIGGER full_disk ON changes");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 11);
}
