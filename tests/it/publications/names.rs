//! What publications may be called, and that two Zemis do not alter the same ones.

use std::time::Duration;

use super::findings;
use crate::support::scene::{streaming, with};
use crate::support::{Scene, Zemi};

#[test]
fn a_backslash() {
    let before = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE bare (id int)";
    let setup = Scene::one(15).before(before);
    let (mut scene, _zemi) = setup
        .with(&[("PUBLICATION_NAME", r"we\ird 'n")])
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 2");
    assert_eq!(scene.changes_of("t", "operation"), "CREATE\nUPDATE");
}

fn one_for_two(major: u32) {
    let before = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)";
    let (mut scene, _first) = Scene::one(major).before(before).streaming();
    scene.sql.run("CREATE DATABASE audit");
    let other = [
        ("SLOT_NAME", "other"),
        ("DEST_DB_NAME", "audit"),
        ("TABLES", "a"),
    ];
    let settings = with(&scene.settings, &other);
    let is_named = |settings: &[(String, String)]| {
        let found = findings(settings);
        let found = found
            .iter()
            .find(|(found, _)| found.contains("another zemi, by slot zemi"));
        found.is_some_and(|(_, fix)| fix.contains("PUBLICATION_NAME"))
    };
    assert!(is_named(&settings));
    assert!(!is_named(&scene.settings), "its own walsender");
    let mut second = Zemi::start(&settings);
    assert_eq!(
        second.wait_exit(Duration::from_secs(30)),
        Some(78),
        "{}",
        second.log()
    );
    assert_eq!(
        scene
            .sql
            .value("SELECT puballtables FROM pg_publication WHERE pubname = 'zemi'"),
        "t"
    );
    assert_eq!(
        scene.sql.value("SELECT count(*) FROM pg_replication_slots"),
        "1"
    );
    let settings = with(&settings, &[("PUBLICATION_NAME", "other")]);
    assert!(!is_named(&settings));
    drop(streaming(&settings));
}

#[test]
fn one_for_two_on_14() {
    one_for_two(14);
}

#[test]
fn one_for_two_on_18() {
    one_for_two(18);
}
