//! Messages of the stream that are damaged on their way: named, read again, and never skipped.

use crate::support::process::exit::BUG;
use crate::support::proxy::Damage;
use crate::support::scene::{PATIENCE, caught_up, changes};
use crate::support::{Scene, Zemi};

/// Two servers, a table `t` with a row, networks that can do damage, and zemi.
fn before_damage(major: u32) -> (Scene, Zemi) {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let (mut scene, zemi) = Scene::two(major).networked().before(table).streaming();
    scene.sql.run("INSERT INTO t VALUES (1, 'before')");
    scene.caught_up();
    (scene, zemi)
}

/// The OID of the table, and how it looks in an error.
fn relation(scene: &mut Scene) -> (u32, String) {
    let oid = scene.sql.value("SELECT 't'::regclass::oid");
    (
        oid.parse().unwrap(),
        format!("relation public.t (OID {oid}): "),
    )
}

/// Damages what the source sends.
fn damage(scene: &Scene, find: &[u8], put: &[u8], times: u32) {
    let (find, put) = (find.to_vec(), put.to_vec());
    scene.nets[0].damage(Some(Damage { find, put, times }));
}

/// The line of the log that holds this, and the position of the message that it names.
fn line(zemi: &Zemi, wanted: &str) -> (String, String) {
    let log = zemi.log();
    let line = log.lines().find(|line| line.contains(wanted));
    let line = line.unwrap_or_else(|| panic!("no `{wanted}` in:\n{log}"));
    let (_, after) = line.split_once("message at ").expect("a position");
    let position = after.split(' ').next().unwrap();
    (line.to_owned(), position.to_owned())
}

#[test]
fn a_damaged_message_is_named_in_full_and_comes_again() {
    let (mut scene, zemi) = before_damage(16);
    let (oid, relation) = relation(&mut scene);
    let head = [&b"I"[..], &oid.to_be_bytes(), b"N"].concat();
    let later = [&b"S"[..], &oid.to_be_bytes(), b"N"].concat();
    // The kind of a value; a length that reaches past the end; a tag of a later protocol version.
    let cases: [(&[u8], &[u8], String); 3] = [
        (
            b"t\0\0\0\x03xyz",
            b"?\0\0\0\x03xyz",
            relation.clone()
                + "pgoutput Insert, column 2, kind of value in the new tuple at offset 14: \
                   expected one of n u t b, found '?' (0x3F)",
        ),
        (
            b"t\0\0\0\x03xyz",
            b"t\0\0\x01\x03xyz",
            relation
                + "pgoutput Insert, column 2, value in the new tuple at offset 19: expected 259 bytes, \
                   found 3",
        ),
        (
            &head,
            &later,
            "pgoutput Stream Start, tag at offset 0: expected protocol version 1, found a message of \
             version 2"
                .into(),
        ),
    ];
    let mut id = 1;
    for (find, put, wanted) in cases {
        damage(&scene, find, put, 1);
        scene.sql.run(&format!(
            "INSERT INTO t VALUES ({}, 'xyz'), ({}, 'after')",
            id + 1,
            id + 2
        ));
        id += 2;
        zemi.wait_for_log(&wanted, PATIENCE);
        let (line, position) = line(&zemi, &wanted);
        assert!(line.contains("reading the stream again"), "{line}");
        assert!(line.contains(" of transaction "), "{line}");
        caught_up(&mut scene.sql);
        let near = format!(
            "SELECT '{position}'::pg_lsn < pg_current_wal_lsn() AND '{position}' > '0/0'::pg_lsn"
        );
        assert_eq!(scene.sql.value(&near), "t", "{line}");
        assert!(!line.contains("xyz"), "{line}");
    }
    let keys: Vec<String> = (1..=id).map(|n| n.to_string()).collect();
    assert_eq!(changes(&mut scene.there, "primary_key"), keys.join("\n"));
}

#[test]
fn a_message_that_fails_twice_ends_zemi_and_nothing_is_confirmed_past_it() {
    let (mut scene, mut zemi) = before_damage(15);
    damage(&scene, b"t\0\0\0\x03xyz", b"?\0\0\0\x03xyz", u32::MAX);
    scene.sql.run("INSERT INTO t VALUES (2, 'whole')");
    scene.sql.run("INSERT INTO t VALUES (3, 'xyz')");
    scene.sql.run("INSERT INTO t VALUES (4, 'after')");
    assert_eq!(zemi.wait_exit(PATIENCE), Some(BUG), "{}", zemi.log());
    let (line, position) = line(&zemi, "the same message failed twice");
    assert!(
        line.contains(" ERROR ") && line.contains("Please report it with this line"),
        "{line}"
    );
    assert_eq!(zemi.log().matches("reading the stream again").count(), 1);
    assert_eq!(changes(&mut scene.there, "primary_key"), "1\n2");
    let behind = format!("SELECT confirmed_flush_lsn <= '{position}' FROM pg_replication_slots");
    assert_eq!(scene.sql.value(&behind), "t");
    let behind = format!("SELECT flushed_lsn <= '{position}' FROM zemi_progress");
    assert_eq!(scene.there.value(&behind), "t");

    // With the damage gone, it goes on there.
    scene.nets[0].damage(None);
    let _zemi = scene.start();
    caught_up(&mut scene.sql);
    assert_eq!(changes(&mut scene.there, "primary_key"), "1\n2\n3\n4");
}
