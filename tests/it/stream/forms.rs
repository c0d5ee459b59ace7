//! Changes that the walsender cannot send in the usual form: the stream goes on in another one, and back.

use std::time::Duration;

use crate::support::{Scene, Zemi, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often the stream has gone back to the usual form.
fn times_back(zemi: &Zemi) -> usize {
    zemi.log()
        .matches("what could not be sent as usual is behind")
        .count()
}

#[test]
fn a_text_that_cannot_be_converted_does_not_change_the_form_for_good() {
    let (mut scene, zemi) = Scene::one(15)
        .source_database(
            "shop",
            "ENCODING 'WIN1252' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    let insert = |id: u32, bytes: &str| format!("INSERT INTO t VALUES ({id}, E'{bytes}')");
    scene.sql.run("SET client_encoding = 'SQL_ASCII'");
    scene.sql.run(&insert(1, "caf\\xe9"));
    scene.caught_up();
    assert_eq!(times_back(&zemi), 0);
    scene.sql.run(&insert(2, "x\\x81\\xe9"));
    wait_until("the usual form", PATIENCE, || times_back(&zemi) == 1);
    scene.sql.run(&insert(3, "caf\\xe9"));
    scene.caught_up();
    assert_eq!(
        zemi.log().matches("cannot convert to UTF-8").count(),
        1,
        "{}",
        zemi.log()
    );
    assert_eq!(
        scene.changes("primary_key, after ->> 'v'"),
        "1|café\n2|x\u{FFFD}é\n3|café"
    );
}

#[test]
fn a_database_without_encoding_is_streamed_in_one_form() {
    let (mut scene, zemi) = Scene::one(15)
        .source_database(
            "shop",
            "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1, E'\\xe9'), (2, E'\\xc3\\xa9')");
    assert_eq!(
        scene.changes("primary_key, after ->> 'v'"),
        "1|\u{FFFD}\n2|é"
    );
    assert!(!zemi.log().contains("connecting again"), "{}", zemi.log());
}

#[test]
fn a_large_logical_message_of_another_program_takes_no_memory() {
    const SIZE: u64 = 400_000_000;
    let (mut scene, zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    let message = |transactional: bool| {
        format!("SELECT pg_logical_emit_message({transactional}, 'debezium', repeat('x', {SIZE}))")
    };
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO t VALUES (1, 'a'); {}; INSERT INTO t VALUES (2, 'b'); COMMIT; {}; \
         INSERT INTO t VALUES (3, 'c')",
        message(true),
        message(false)
    ));
    assert_eq!(scene.changes("primary_key"), "1\n2\n3");
    let peak = zemi.peak_memory();
    assert!(peak < SIZE / 10, "{peak} bytes");
}

/// A value that is longer than 1 GB as text, in SQL.
const HUGE: &str = "convert_to(repeat('0123456789', 55000000), 'UTF8')";

#[test]
fn a_row_longer_than_1_gb_as_text_comes_all_the_same_and_what_follows_as_usual() {
    let (mut scene, zemi) = Scene::one(16)
        .before(
            "CREATE TABLE t (id numeric, at timestamptz, b bytea, secret bytea, n numeric, \
             PRIMARY KEY (id, at)); ALTER TABLE t REPLICA IDENTITY FULL",
        )
        .with(&[
            ("HASH_COLUMNS", "t.secret,t.n"),
            ("HASH_KEY", "0123456789abcdef"),
        ])
        .streaming();
    let row = |id: u32| {
        format!(
            "INSERT INTO t VALUES ({id}.50, '2026-01-02 03:04:05.6+00', '\\x00ff', '\\xab', 1.0)"
        )
    };
    scene.sql.run(&row(1));
    scene.sql.run(&format!(
        "BEGIN; {}; INSERT INTO t VALUES (3.50, '2026-01-02', {HUGE}, '\\xab', 1.0); \
         UPDATE t SET n = 1.00 WHERE id = 3.50; COMMIT",
        row(2)
    ));
    wait_until("the usual form", PATIENCE * 2, || times_back(&zemi) > 0);
    scene.sql.run(&row(4));
    let at = "2026-01-02 03:04:05.6+00";
    let omitted = "{\"bytes\": 1100000002, \"zemi_omitted\": \"larger than jsonb can be\"}";
    assert_eq!(
        scene.changes("operation, primary_key, after->'b'"),
        format!(
            "CREATE|1.50,{at}|\"\\\\x00ff\"\n\
             CREATE|2.50,{at}|\"\\\\x00ff\"\n\
             CREATE|3.50,2026-01-02 00:00:00+00|{omitted}\n\
             UPDATE|3.50,2026-01-02 00:00:00+00|{omitted}\n\
             CREATE|4.50,{at}|\"\\\\x00ff\""
        )
    );
    // The hash of a value does not depend on the form.
    let hashes = scene.changes("after->>'secret', after->>'n'");
    let lines: Vec<&str> = hashes.lines().collect();
    assert_eq!(lines[0].len(), 64 + 1 + 64);
    for line in [1, 2, 4] {
        assert_eq!(lines[line], lines[0], "{hashes}");
    }
    println!("peak: {} MB", zemi.peak_memory() >> 20);
}

#[test]
fn a_row_that_no_form_can_bring_ends_it_with_the_way_out_and_a_gap() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY, b bytea, a aclitem[])")
        .streaming();
    scene.sql.run("INSERT INTO t VALUES (1)");
    // No array of the type can be sent in binary.
    scene.sql.run(&format!(
        "INSERT INTO t VALUES (2, {HUGE}, '{{postgres=r/postgres}}')"
    ));
    scene.sql.run("INSERT INTO t VALUES (3)");
    assert_eq!(zemi.wait_exit(PATIENCE), Some(69), "{}", zemi.log());
    let log = zemi.log();
    assert!(log.contains("cannot send the change at 0/"), "{log}");
    let sql = "SELECT pg_drop_replication_slot('zemi')";
    assert!(log.contains(sql), "{log}");
    scene.sql.run(sql);
    let _zemi = scene.start();
    scene.sql.run("INSERT INTO t VALUES (4)");
    scene.caught_up();
    let found = scene.changes("operation, primary_key, context->'zemi_gap'->>'reason'");
    assert_eq!(found, "CREATE|1|-\nMESSAGE|-|slot_gone\nCREATE|4|-");
}
