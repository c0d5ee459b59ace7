//! A table that another session keeps locked cannot be listed, and hinders nothing else.

use std::time::{Duration, Instant};

use super::listed;
use crate::support::{Scene, Sql, wait_until};

const LIMIT: Duration = Duration::from_secs(40);

fn one_locked_table(major: u32) {
    let before = "CREATE TABLE a0 (id int PRIMARY KEY)";
    let (mut scene, zemi) = Scene::one(major).before(before).streaming();
    let mut other = Sql::open(&scene.source, "postgres");
    other.run("CREATE TABLE la (id int PRIMARY KEY)");
    other.run("BEGIN");
    other.run("LOCK TABLE la IN SHARE UPDATE EXCLUSIVE MODE");
    scene.sql.run(
        "CREATE TABLE lb (id int PRIMARY KEY, n int); CREATE TABLE nk (i int);
         INSERT INTO nk VALUES (0); INSERT INTO lb VALUES (1, 0)",
    );
    let locked = Instant::now();
    wait_until("UPDATE of the table without a key", LIMIT, || {
        scene.sql.try_rows("UPDATE nk SET i = 1").is_ok()
    });
    let refused = locked.elapsed();
    assert!(
        refused < Duration::from_secs(15),
        "{refused:?}\n{}",
        zemi.log()
    );
    wait_until("the other table of the list", LIMIT, || {
        listed(&mut scene.sql, "zemi_updates") == "a0 lb"
    });
    let left_out =
        "not done yet: ALTER PUBLICATION \"zemi_updates\" ADD TABLE ONLY \"public\".\"la\"";
    zemi.wait_for_log(left_out, LIMIT);
    other.run("COMMIT");
    scene
        .sql
        .run("ANALYZE la; CREATE TABLE again (id int PRIMARY KEY)");
    wait_until("the table that was locked", LIMIT, || {
        listed(&mut scene.sql, "zemi_updates") == "a0 la lb again"
    });
    scene
        .sql
        .run("INSERT INTO la VALUES (1); UPDATE la SET id = 2");
    assert_eq!(scene.changes_of("la", "operation"), "CREATE\nUPDATE");
}

#[test]
fn one_locked_table_on_15() {
    one_locked_table(15);
}

#[test]
fn one_locked_table_on_18() {
    one_locked_table(18);
}

#[test]
fn a_start_does_not_wait_for_a_locked_table() {
    let before = "CREATE TABLE a0 (id int PRIMARY KEY); CREATE TABLE la (id int PRIMARY KEY)";
    let mut scene = Scene::one(15)
        .before(before)
        .with(&[("TABLES", "a0,la")])
        .ready();
    let mut other = Sql::open(&scene.source, "postgres");
    other.run("BEGIN");
    other.run("LOCK TABLE la IN SHARE UPDATE EXCLUSIVE MODE");
    let _zemi = scene.start();
    scene
        .sql
        .run("INSERT INTO a0 VALUES (1); UPDATE a0 SET id = 2");
    assert_eq!(scene.changes_of("a0", "operation"), "CREATE\nUPDATE");
    assert_eq!(listed(&mut scene.sql, "zemi"), "a0");
    other.run("COMMIT");
    scene.sql.run("CREATE TABLE other (id int)");
    wait_until("the table that was locked", LIMIT, || {
        listed(&mut scene.sql, "zemi") == "a0 la"
    });
}
