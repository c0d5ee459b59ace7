//! Transactions that are open while the publications change: a walsender judges what they did before by
//! publications of after, and by lists of before.

use crate::support::scene::PATIENCE;
use crate::support::{Scene, Sql, Zemi, wait_until};

/// Two servers with two tables, zemi, and a session for the transaction that is open meanwhile.
fn two_tables(major: u32) -> (Scene, Zemi, Sql) {
    let tables = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)";
    let (mut scene, zemi) = Scene::two(major).before(tables).streaming();
    scene
        .sql
        .run("INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)");
    scene.caught_up();
    let open = Sql::open(&scene.source, "postgres");
    (scene, zemi, open)
}

/// The publications as they are now are read, then the transaction ends, and all of it is there.
fn judge(scene: &mut Scene, open: &mut Sql) {
    scene.sql.run("INSERT INTO b VALUES (5)");
    scene.caught_up();
    open.run("UPDATE a SET id = 3 WHERE id = 2; COMMIT");
    let all = scene.changes("\"table\", operation, before->>'id', after->>'id'");
    let of_a: Vec<&str> = all.lines().filter(|l| l.starts_with("a|")).collect();
    assert_eq!(
        of_a,
        [
            "a|CREATE|-|0",
            "a|CREATE|-|1",
            "a|UPDATE|1|2",
            "a|UPDATE|2|3"
        ]
    );
}

fn settings_that_change(major: u32) {
    let (mut scene, mut zemi, mut open) = two_tables(major);
    zemi.kill();
    open.run("BEGIN; INSERT INTO a VALUES (1); UPDATE a SET id = 2 WHERE id = 1");
    let _zemi = scene.start_with(&[("TABLES", "a,b")]);
    judge(&mut scene, &mut open);
}

#[test]
fn a_transaction_that_is_open_while_tables_are_named_is_whole_on_15() {
    settings_that_change(15);
}

#[test]
fn a_transaction_that_is_open_while_tables_are_named_is_whole_on_18() {
    settings_that_change(18);
}

#[test]
fn a_transaction_that_is_open_while_a_table_without_identity_comes_is_whole() {
    let (mut scene, _zemi, mut open) = two_tables(15);
    open.run("BEGIN; INSERT INTO a VALUES (1); UPDATE a SET id = 2 WHERE id = 1");
    scene
        .sql
        .run("CREATE TABLE plain (v int); INSERT INTO plain VALUES (1)");
    wait_until("updates of the table work", PATIENCE, || {
        scene.sql.try_rows("UPDATE plain SET v = 2").is_ok()
    });
    judge(&mut scene, &mut open);
}
