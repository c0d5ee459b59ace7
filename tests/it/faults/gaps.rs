//! Changes that cannot be known any more are recorded as a gap, and the stream goes on.

use crate::support::proxy::NetworkFault;
use crate::support::scene::{PATIENCE, caught_up, changes, drop_slot, settings, streaming};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// Publications that are dropped while zemi is away, and while it runs.
fn dropped_publications(major: u32) {
    let source = Server::start(major, &[]);
    let destination = Server::start(major, &[]);
    let mut sql = Sql::open(&source, "postgres");
    let mut dest = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&source, Some(&destination));
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    sql.run("INSERT INTO t VALUES (2)");
    sql.run("DROP PUBLICATION zemi, zemi_updates");
    sql.run("INSERT INTO t VALUES (3)");
    let zemi = streaming(&settings);
    zemi.wait_for_log("may be missing: the publications were gone", PATIENCE);
    wait_until("zemi streams again", PATIENCE, || {
        zemi.log().ends_with("\n")
            && zemi
                .log()
                .lines()
                .last()
                .unwrap()
                .contains("streaming from")
    });
    sql.run("INSERT INTO t VALUES (4)");
    caught_up(&mut sql);
    let seen = changes(&mut dest, "operation, primary_key");
    assert_eq!(seen, "CREATE|1\nCREATE|2\nMESSAGE|-\nCREATE|4");
    let gap = dest
        .value("SELECT context->'zemi_gap'->>'reason' FROM changes WHERE operation = 'MESSAGE'");
    assert_eq!(gap, "publication_gone");

    sql.run("DROP PUBLICATION zemi, zemi_updates");
    sql.run("INSERT INTO t VALUES (5)");
    wait_until("zemi finds another gap", PATIENCE, || {
        zemi.log().matches("may be missing").count() > 1
    });
    wait_until("zemi streams again", PATIENCE, || {
        zemi.log()
            .lines()
            .last()
            .unwrap()
            .contains("streaming from")
    });
    sql.run("INSERT INTO t VALUES (6)");
    caught_up(&mut sql);
    let last = "SELECT operation, primary_key FROM changes ORDER BY position DESC LIMIT 2";
    assert_eq!(dest.text(last), "CREATE|6\nMESSAGE|-");
}

#[test]
fn publications_that_were_dropped_leave_a_gap_on_15() {
    dropped_publications(15);
}

#[test]
fn publications_that_were_dropped_leave_a_gap_on_18() {
    dropped_publications(18);
}

/// The publication of updates is dropped while a table without a key keeps both in use.
fn dropped_updates(major: u32) {
    let server = Server::start(major, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE keyless (i int)");
    let zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (1, 0), (2, 0)");
    sql.run("DROP PUBLICATION zemi_updates");
    sql.run("UPDATE t SET v = 1 WHERE id = 1");
    zemi.wait_for_log(
        "the publication of updates and deletes could not be used",
        PATIENCE,
    );
    zemi.wait_for_log("publication zemi and zemi_updates, from", PATIENCE);
    wait_until("both are streamed again", PATIENCE, || {
        let log = zemi.log();
        let streams: Vec<&str> = log
            .lines()
            .filter(|l| l.contains("streaming from"))
            .collect();
        let last = streams.last().unwrap();
        streams.len() > 2 && last.contains("zemi_updates, from")
    });
    // Every update that follows that line is there.
    sql.run("UPDATE t SET v = 2 WHERE id = 2");
    sql.run("DELETE FROM t WHERE id = 1");
    caught_up(&mut sql);
    let seen = changes(&mut sql, "operation, primary_key");
    let seen: Vec<&str> = seen.lines().filter(|line| *line != "UPDATE|1").collect();
    assert_eq!(
        seen,
        ["CREATE|1", "CREATE|2", "MESSAGE|-", "UPDATE|2", "DELETE|1"]
    );
    let gap =
        sql.value("SELECT context->'zemi_gap'->>'reason' FROM changes WHERE operation = 'MESSAGE'");
    assert_eq!(gap, "updates_unpublished");
}

#[test]
fn a_publication_of_updates_that_was_dropped_leaves_a_gap_and_no_update_behind_it_is_lost_on_15() {
    dropped_updates(15);
}

#[test]
fn a_publication_of_updates_that_was_dropped_leaves_a_gap_and_no_update_behind_it_is_lost_on_18() {
    dropped_updates(18);
}

/// The next start took the gap for recorded.
#[test]
fn a_gap_that_the_destination_does_not_take_is_recorded_by_a_later_start() {
    let (mut scene, zemi) = Scene::two(15)
        .networked()
        .before("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE keyless (i int)")
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1, 0)");
    scene.caught_up();
    // Gaps are recorded by a session of their own; the writer keeps its own.
    scene.nets[1].set(NetworkFault::Refusing);
    scene.sql.run("DROP PUBLICATION zemi_updates");
    scene.sql.run("UPDATE t SET v = 1 WHERE id = 1");
    wait_until("it is tried again", PATIENCE, || {
        zemi.log().matches("connecting again").count() > 3
    });
    assert!(!zemi.log().contains("could not be used for a while"));
    scene.nets[1].set(NetworkFault::None);
    let gap = "SELECT context->'zemi_gap'->>'reason' FROM changes WHERE operation = 'MESSAGE'";
    wait_until("the gap is recorded", PATIENCE, || {
        scene.there.value(gap) == "updates_unpublished"
    });
    scene.caught_up();
    assert_eq!(
        zemi.log().matches("could not be used for a while").count(),
        1
    );
}

/// Two publications of an administrator disagreed on generated columns for a while: the stream of both fails
/// there, whatever they are now.
#[test]
fn a_stream_that_two_publications_broke_goes_on_by_one_of_them() {
    let server = Server::start(18, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED); \
         CREATE PUBLICATION zemi FOR ALL TABLES WITH (publish = 'insert, truncate'); \
         CREATE PUBLICATION zemi_updates FOR TABLE t WITH (publish = 'update, delete')",
    );
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1, 1)");
    caught_up(&mut sql);
    zemi.kill();
    sql.run("ALTER PUBLICATION zemi_updates SET (publish_generated_columns = stored)");
    sql.run("INSERT INTO t VALUES (2, 2); UPDATE t SET v = 3 WHERE id = 1");
    sql.run("ALTER PUBLICATION zemi_updates SET (publish_generated_columns = none)");
    let zemi = Zemi::start(&settings);
    zemi.wait_for_log("the publication of updates and deletes", PATIENCE);
    wait_until("both are streamed again", PATIENCE, || {
        let log = zemi.log();
        let last = log.lines().rfind(|l| l.contains("streaming from"));
        log.contains("could not be used") && last.is_some_and(|l| l.contains("zemi_updates, from"))
    });
    sql.run("UPDATE t SET v = 4 WHERE id = 2");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut sql, "operation, primary_key"),
        "CREATE|1\nCREATE|2\nMESSAGE|-\nUPDATE|2"
    );
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
    drop_slot(&mut sql, "zemi");
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
fn a_slot_whose_wal_was_removed_is_made_anew_and_leaves_a_gap() {
    let limits = [("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB")];
    let source = Server::start(15, &limits);
    let mut scene = Scene::on(source, Some(Server::start(15, &[])))
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .ready();
    let zemi = scene.start();
    scene.insert(1, 1);
    scene.caught_up();
    // The destination is away while the source writes more than it may keep.
    scene.destination().stop("fast");
    scene.insert(2, 2);
    zemi.wait_for_log("trying again", PATIENCE);
    wait_until("the slot is lost", PATIENCE, || {
        scene.sql.run(
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 8000000)); \
             SELECT pg_switch_wal(); CHECKPOINT",
        );
        let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'zemi'";
        scene.sql.value(status) == "lost"
    });
    scene.destination().up();
    zemi.wait_for_log("the source removed WAL that the slot needed", PATIENCE);
    wait_until("there is a slot again", PATIENCE, || {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active";
        scene.sql.value(active) == "1"
    });
    scene.insert(3, 3);
    scene.caught_up();
    let mut there = Sql::open(scene.destination(), "postgres");
    let seen = changes(
        &mut there,
        "coalesce(context->'zemi_gap'->>'reason', primary_key)",
    );
    let seen: Vec<&str> = seen.lines().filter(|line| *line != "2").collect();
    assert_eq!(seen, ["1", "slot_lost", "3"]);
}
