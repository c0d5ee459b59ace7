//! How the program ends: the exit codes of each reason, and the one line that names it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::process::exit::{BUSY, CONFIG, REFUSED, USAGE};
use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{
    PATIENCE, caught_up, changes, drop_slot, settings, streaming, wait_for_locked, with,
};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// Much less than the default of `SHUTDOWN_TIMEOUT`, which is 30 s.
const MOMENT: Duration = Duration::from_secs(20);

/// Runs zemi to its end, which must come with this code and exactly one error; returns that line.
fn ends(code: i32, settings: &[(String, String)]) -> String {
    let mut zemi = Zemi::start(settings);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(code), "{}", zemi.log());
    let log = zemi.log();
    let errors: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    errors[0].to_owned()
}

/// Standard output and exit code of zemi with these arguments.
fn says(args: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zemi"));
    let output = command.args(args).env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code())
}

#[test]
fn help_and_version_are_said_and_other_arguments_refused() {
    for help in ["--help", "-h"] {
        let (text, code) = says(&[help]);
        assert_eq!(code, Some(0));
        for part in [
            "Usage: zemi",
            "Exit codes: 0 ",
            "  DEST_DB_HOST (as DB_HOST)",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let version = concat!("zemi ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(says(&["--version"]), (version.to_owned(), Some(0)));
    for bad in [&["--verbose"][..], &["chek"], &["--help", "me"]] {
        let none: &[(&str, String)] = &[];
        let mut zemi = Zemi::with_args(bad, none);
        assert_eq!(zemi.wait_exit(PATIENCE), Some(USAGE), "{bad:?}");
        assert!(zemi.log().contains(bad[bad.len() - 1]), "{}", zemi.log());
    }
}

#[test]
fn every_bad_setting_is_refused_by_name() {
    let long = "x".repeat(64);
    for (name, value) in [
        ("DB_HOST", "postgres://u:s3cret@h/d"),
        ("DB_PORT", "0"),
        ("DB_PORT", "65536"),
        ("DB_PORT", "five"),
        ("DB_NAME", "postgres://h/d"),
        ("DB_PASSWORD_FILE", "/nonexistent/s3cret"),
        ("DEST_DB_HOST", "two words"),
        ("DEST_DB_PORT", "-1"),
        ("DESTINATION_DB_PORT", "-1"),
        ("CONNECT_TIMEOUT", "-1"),
        ("SLOT_NAME", "a-b"),
        ("SLOT_NAME", &long),
        ("PUBLICATION_NAME", &long),
        ("PUBLISH_VIA_PARTITION_ROOT", "maybe"),
        ("TABLES", "a.b.c"),
        ("TABLES", ","),
        ("EXCLUDE_TABLES", "\"a"),
        ("EXCLUDE_COLUMNS", "column"),
        ("HASH_COLUMNS", "t.c"),
        ("HASH_KEY", "s3cret"),
        ("CHANGES_FORMAT", "xml"),
        ("JSON_TYPE_COERCION", "2"),
        ("SHUTDOWN_TIMEOUT", "soon"),
        ("CLEANUP_ON_SHUTDOWN", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("MAX_TRANSACTION_CHANGES", "many"),
        ("HEALTH_PORT", "http"),
        ("METRICS_PORT", "-1"),
        ("HTTP_BIND", "example.org"),
        ("DB_SSL_MODE", "prefer"),
        ("DEST_DB_SSL_CERT", "/nonexistent/s3cret"),
        // What this version does not do yet.
        ("INITIAL_SNAPSHOT", "true"),
        ("SLOT_FAILOVER", "maybe"),
    ] {
        let line = ends(CONFIG, &[(name.to_owned(), value.to_owned())]);
        assert!(line.contains(name), "{name}={value}: {line}");
        assert!(!line.contains("s3cret"), "{name}: {line}");
    }
}

#[test]
fn an_unknown_variable_is_warned_about_with_the_nearest_name() {
    let unreachable = [
        ("DB_HOST", "/nonexistent"),
        ("DB_PASWORD", "s3cret"),
        ("DEST_DB_HOSTNAME", "h"),
        ("DESTINATION_DB_USR", "u"),
        ("DB_PORT_5432_TCP", "tcp://10.0.0.1:5432"),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut zemi = Zemi::start(&unreachable);
    zemi.wait_for_log("trying again", PATIENCE);
    zemi.sigterm();
    assert_eq!(
        zemi.wait_exit(PATIENCE),
        Some(0),
        "nothing is there to drain"
    );
    let log = zemi.log();
    for line in [
        "DB_PASWORD is no setting of zemi and has no effect; the nearest one is DB_PASSWORD",
        "DEST_DB_HOSTNAME is no setting of zemi and has no effect; the nearest one is DEST_DB_",
        "DESTINATION_DB_USR is no setting of zemi and has no effect; the nearest one is \
         DESTINATION_DB_USER",
    ] {
        assert!(log.contains(line), "{log}");
    }
    assert!(!log.contains("DB_PORT_5432"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_server_that_cannot_be_followed_is_named_with_what_mends_it() {
    let server = Server::start(15, &[("wal_level", "replica")]);
    let good = settings(&server, None);
    let line = ends(CONFIG, &good);
    assert!(line.contains("expected wal_level = logical, found replica"));
    let (_, hint) = line.split_once("Hint: ").unwrap();
    let mut sql = Sql::open(&server, "postgres");
    sql.run(hint.split(';').next().unwrap());

    let line = ends(REFUSED, &with(&good, &[("DB_PASSWORD", "wr0ng")]));
    assert!(line.contains("password authentication failed"), "{line}");
    assert!(!line.contains("wr0ng"), "{line}");
    let line = ends(REFUSED, &with(&good, &[("DB_USER", "nobody")]));
    assert!(line.contains("nobody"), "{line}");
    let line = ends(CONFIG, &with(&good, &[("DB_NAME", "nowhere")]));
    assert!(
        line.contains("database \"nowhere\" does not exist"),
        "{line}"
    );

    drop(sql);
    server.restart("fast");
    let bad = [("DEST_DB_NAME", "nowhere"), ("DEST_DB_USER", "postgres")];
    let line = ends(CONFIG, &with(&good, &bad));
    assert!(line.contains("destination: "), "{line}");
    let line = ends(
        REFUSED,
        &with(&good, &[("DESTINATION_DB_PASSWORD", "wr0ng")]),
    );
    assert!(line.contains("destination: "), "{line}");
    drop(streaming(&good));
}

#[test]
fn slots_that_cannot_be_used_are_refused_and_left_alone() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "SELECT pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true); \
         SELECT pg_create_logical_replication_slot('decoding', 'test_decoding'); \
         SELECT pg_create_physical_replication_slot('physical')",
    );
    sql.run("CREATE DATABASE other");
    Sql::open(&server, "other")
        .run("SELECT pg_create_logical_replication_slot('other', 'pgoutput')");
    let good = settings(&server, None);
    for (slot, expected) in [
        (
            "two_phase",
            "slot two_phase: expected two_phase = off, found on",
        ),
        (
            "decoding",
            "slot decoding: expected a logical slot of pgoutput, found logical test_decoding",
        ),
        (
            "physical",
            "slot physical: expected a logical slot of pgoutput",
        ),
        (
            "other",
            "slot other: expected database postgres, found other",
        ),
    ] {
        let line = ends(CONFIG, &with(&good, &[("SLOT_NAME", slot)]));
        assert!(line.contains(expected), "{line}");
        assert!(line.contains("SLOT_NAME"), "{line}");
    }
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots), \
                (SELECT count(*) FROM pg_publication)";
    assert_eq!(sql.text(left), "4|0");
}

#[test]
fn a_second_instance_on_the_slot_gives_way_and_leaves_the_first_as_it_was() {
    let (mut scene, zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .streaming();
    // It would follow less, so it must not touch the publication either.
    let second = [("TABLES", "nothing"), ("CLEANUP_ON_SHUTDOWN", "true")];
    let line = ends(BUSY, &with(&settings(&scene.source, None), &second));
    assert!(line.contains("is active for PID"), "{line}");
    scene.sql.run("INSERT INTO t VALUES (1)");
    assert_eq!(scene.changes_where("true", "primary_key"), "1");
    assert_eq!(
        scene
            .sql
            .value("SELECT puballtables FROM pg_publication WHERE pubname = 'zemi'"),
        "t"
    );
    let log = zemi.log();
    assert!(!log.contains(" WARN "), "{log}");
}

/// Source and destination apart, so that a lock on the destination's table does not concern the source.
fn apart(more: &[(&str, &str)]) -> Scene {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let setup = Scene::one(15)
        .destination_database("audit", "")
        .before(table);
    setup.with(more).ready()
}

/// Locks `changes`, commits a row on the source, and waits until zemi waits for the lock with it.
fn block(scene: &mut Scene) {
    scene
        .there
        .run("BEGIN; LOCK TABLE public.changes IN ACCESS EXCLUSIVE MODE");
    scene.sql.run("INSERT INTO t VALUES (1, 'held')");
    wait_for_locked(&mut scene.sql, 1);
}

/// Gives back the lock of [`block`]: the next zemi writes its row, once.
fn written_once_by_the_next(scene: &mut Scene) {
    scene.there.run("COMMIT");
    let _zemi = streaming(&scene.settings);
    caught_up(&mut scene.sql);
    assert_eq!(changes(&mut scene.there, "primary_key"), "1");
}

#[test]
fn asked_to_stop_it_writes_and_confirms_what_it_has_read() {
    for signal in ["TERM", "INT"] {
        let mut scene = apart(&[]);
        let mut zemi = streaming(&scene.settings);
        block(&mut scene);
        zemi.signal(signal);
        zemi.wait_for_log("stopping: writing what was received", PATIENCE);
        scene.there.run("COMMIT");
        assert_eq!(zemi.wait_exit(PATIENCE), Some(0), "{}", zemi.log());
        assert_eq!(changes(&mut scene.there, "primary_key"), "1");
        let position = changes(&mut scene.there, "position");
        let confirmed = format!(
            "SELECT confirmed_flush_lsn > '0/0'::pg_lsn + {position} FROM pg_replication_slots"
        );
        // The server takes note of the last word of a walsender that has gone.
        wait_until("it was confirmed", PATIENCE, || {
            scene.sql.value(&confirmed) == "t"
        });
    }
}

#[test]
fn a_second_signal_does_not_wait_and_nothing_is_lost() {
    let mut scene = apart(&[("SHUTDOWN_TIMEOUT", "600")]);
    let mut zemi = streaming(&scene.settings);
    block(&mut scene);
    zemi.sigterm();
    zemi.wait_for_log("stopping: writing what was received", PATIENCE);
    assert_eq!(zemi.wait_exit(Duration::from_millis(300)), None);
    zemi.signal("INT");
    assert_eq!(zemi.wait_exit(PATIENCE), Some(0), "{}", zemi.log());
    assert!(zemi.log().contains("stopped at once"), "{}", zemi.log());
    written_once_by_the_next(&mut scene);
}

#[test]
fn a_stop_takes_no_longer_than_it_may_and_nothing_is_lost() {
    let mut scene = apart(&[("SHUTDOWN_TIMEOUT", "1")]);
    let mut zemi = streaming(&scene.settings);
    block(&mut scene);
    zemi.stop();
    assert!(zemi.log().contains("SHUTDOWN_TIMEOUT is over"));
    written_once_by_the_next(&mut scene);
}

#[test]
fn stops_under_load_lose_nothing_and_write_nothing_twice() {
    let mut scene = apart(&[]);
    let enough = AtomicBool::new(false);
    let mut writer = Sql::open(&scene.source, "postgres");
    let mut zemi = streaming(&scene.settings);
    let transactions = std::thread::scope(|threads| {
        let load = threads.spawn(|| {
            let mut n = 0;
            while !enough.load(Ordering::SeqCst) {
                let (from, to) = (n * 20, n * 20 + 19);
                // Paced, so that there is not too much to judge at the end.
                writer.run(&format!(
                    "SELECT pg_sleep(0.002); \
                     INSERT INTO t SELECT i, 'new' FROM generate_series({from}, {to}) i; \
                     UPDATE t SET v = 'changed' WHERE id = {from}; DELETE FROM t WHERE id = {to}"
                ));
                n += 1;
            }
            n
        });
        let mut seen = 0;
        for signal in ["TERM", "INT", "TERM", "INT"] {
            // Each run has written something of its own.
            let before = seen;
            wait_until("changes arrive", PATIENCE, || {
                let count = scene.there.value("SELECT count(*) FROM changes");
                seen = count.parse().unwrap();
                seen > before
            });
            zemi.signal(signal);
            assert_eq!(zemi.wait_exit(PATIENCE), Some(0), "{}", zemi.log());
            zemi = streaming(&scene.settings);
        }
        enough.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    caught_up(&mut scene.sql);
    let count = assert_replays(&mut scene.sql, &mut scene.there, "t", &["id"]);
    assert_eq!(count, transactions * 22);
    assert_unique(&mut scene.there);
}

#[test]
fn cleaning_up_leaves_only_the_changes() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .with(&[("CLEANUP_ON_SHUTDOWN", "true")])
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    assert_eq!(scene.changes_where("true", "primary_key"), "1");
    zemi.stop();
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots), \
                (SELECT count(*) FROM pg_publication), \
                (SELECT count(*) FROM zemi_progress), (SELECT count(*) FROM changes)";
    assert_eq!(scene.sql.text(left), "0|0|0|1");
    // The next start is a first one.
    let zemi = streaming(&settings(&scene.source, None));
    assert!(!zemi.log().contains("may be missing"), "{}", zemi.log());
}

#[test]
fn cleaning_up_waits_until_everything_is_written() {
    let clean_up = [("CLEANUP_ON_SHUTDOWN", "true"), ("SHUTDOWN_TIMEOUT", "2")];
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let mut scene = Scene::two(15).before(table).with(&clean_up).ready();
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots), \
                (SELECT count(*) FROM pg_publication WHERE pubname = 'zemi')";
    let dropped_nothing = |zemi: &mut Zemi, scene: &mut Scene, wanted: &str| {
        zemi.sigterm();
        assert_eq!(zemi.wait_exit(MOMENT), Some(69), "{}", zemi.log());
        let log = zemi.log();
        assert!(log.contains(wanted), "{log}");
        assert_eq!(scene.sql.text(left), "1|1");
    };
    let not_written = "CLEANUP_ON_SHUTDOWN has dropped nothing: changes between";

    // The time is over.
    let mut zemi = scene.start();
    scene
        .there
        .run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    scene.insert(1, 1);
    let mut watcher = Sql::open(scene.destination(), "postgres");
    wait_for_locked(&mut watcher, 1);
    dropped_nothing(&mut zemi, &mut scene, not_written);
    scene.there.run("COMMIT");

    // The destination is away.
    let mut zemi = scene.start();
    scene.destination().stop("fast");
    scene.insert(2, 2);
    zemi.wait_for_log("trying again in", PATIENCE);
    dropped_nothing(&mut zemi, &mut scene, not_written);

    // It was away from the start on.
    let mut zemi = Zemi::start(&scene.settings);
    zemi.wait_for_log("trying again in", PATIENCE);
    dropped_nothing(&mut zemi, &mut scene, "stopped before it streamed");

    // There is more than what was received.
    for from in (0..60).map(|n| n * 1000 + 1000) {
        scene.insert(from, from + 999);
    }
    scene
        .sql
        .run("UPDATE t SET v = repeat('x', 1500) WHERE id >= 1000");
    scene.destination().up();
    scene.there = Sql::open(scene.destination(), "postgres");
    let mut zemi = scene.start();
    dropped_nothing(
        &mut zemi,
        &mut scene,
        "CLEANUP_ON_SHUTDOWN has dropped nothing",
    );
    let mut zemi = scene.start();
    scene.judge(120_002);
    zemi.stop();
    assert_eq!(scene.sql.text(left), "0|0");
}

#[test]
fn a_slot_that_is_gone_leaves_a_gap_that_is_logged_and_recorded() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    assert_eq!(scene.changes_where("true", "primary_key"), "1");
    let from = scene.sql.value("SELECT flushed_lsn FROM zemi_progress");
    zemi.stop();
    drop_slot(&mut scene.sql, "zemi");
    scene.sql.run("INSERT INTO t VALUES (2)");
    let zemi = streaming(&settings(&scene.source, None));
    scene.sql.run("INSERT INTO t VALUES (3)");
    let columns = "operation, \"table\", primary_key, context->'zemi_gap'->>'from', \
                   context->'zemi_gap'->>'reason', context->'zemi_gap'->>'slot'";
    assert_eq!(
        scene.changes_where("true", columns),
        format!("CREATE|t|1|-|-|-\nMESSAGE||-|{from}|slot_gone|zemi\nCREATE|t|3|-|-|-")
    );
    let to = "SELECT (context->'zemi_gap'->>'to')::pg_lsn > '";
    let to = format!("{to}{from}' FROM changes WHERE operation = 'MESSAGE'");
    assert_eq!(scene.sql.value(&to), "t");
    let log = zemi.log();
    assert!(log.contains(" ERROR "), "{log}");
    assert!(
        log.contains(&format!("changes between {from} and ")),
        "{log}"
    );
}

#[test]
fn a_stop_does_not_wait_for_a_destination_that_does_not_answer() {
    let server = Server::start(15, &[]);
    let mut other = Sql::open(&server, "postgres");
    // Making the table waits for the transaction that is making it, without end.
    other.run("BEGIN; CREATE TABLE public.changes (id int)");
    let settings = with(&settings(&server, None), &[("SHUTDOWN_TIMEOUT", "1")]);
    let mut zemi = Zemi::start(&settings);
    let mut sql = Sql::open(&server, "postgres");
    wait_for_locked(&mut sql, 1);
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
    let mut zemi = streaming(&with(
        &settings(&server, None),
        &[("SHUTDOWN_TIMEOUT", "3")],
    ));
    let mut other = Sql::open(&server, "postgres");
    // A look between the two would publish the table.
    zemi.signal("STOP");
    sql.run("ALTER TABLE late REPLICA IDENTITY DEFAULT");
    other.run("BEGIN; LOCK TABLE late IN SHARE UPDATE EXCLUSIVE MODE");
    zemi.signal("CONT");
    sql.run("INSERT INTO late VALUES (1)");
    wait_for_locked(&mut sql, 1);
    // The lock is not waited for without end, and the stream does not wait at all.
    caught_up(&mut sql);
    zemi.wait_for_log("lock timeout", PATIENCE);
    sql.run("INSERT INTO nameless VALUES (1)");
    wait_for_locked(&mut sql, 1);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    assert!(!zemi.log().contains("SHUTDOWN_TIMEOUT"), "{}", zemi.log());
    other.run("ROLLBACK");
}
