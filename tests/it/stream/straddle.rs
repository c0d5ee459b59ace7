//! Transactions that are open while the publications change: a walsender judges what they did before by
//! publications of after, and by lists of before.

use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// Two servers, and tables of which each transaction has one.
struct Scene {
    settings: Vec<(String, String)>,
    sql: Sql,
    /// The transaction that is open when it happens.
    open: Sql,
    there: Sql,
    _servers: [Server; 2],
}

impl Scene {
    fn new(major: u32) -> (Scene, Zemi) {
        let (source, destination) = (Server::start(major, &[]), Server::start(major, &[]));
        let mut sql = Sql::open(&source, "postgres");
        sql.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
        let settings = settings(&source, Some(&destination));
        let zemi = streaming(&settings);
        sql.run("INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)");
        caught_up(&mut sql);
        let scene = Scene {
            open: Sql::open(&source, "postgres"),
            there: Sql::open(&destination, "postgres"),
            settings,
            sql,
            _servers: [source, destination],
        };
        (scene, zemi)
    }

    /// The publications as they are now are read, then the transaction ends, and all of it is there.
    fn judge(&mut self) {
        self.sql.run("INSERT INTO b VALUES (5)");
        caught_up(&mut self.sql);
        self.open.run("UPDATE a SET id = 3 WHERE id = 2; COMMIT");
        caught_up(&mut self.sql);
        let columns = "operation, before->>'id', after->>'id'";
        let all = changes(&mut self.there, &format!("\"table\", {columns}"));
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
}

fn settings_that_change(major: u32) {
    let (mut scene, mut zemi) = Scene::new(major);
    zemi.kill();
    scene
        .open
        .run("BEGIN; INSERT INTO a VALUES (1); UPDATE a SET id = 2 WHERE id = 1");
    let mut listed = scene.settings.clone();
    listed.push(("TABLES".into(), "a,b".into()));
    let _zemi = streaming(&listed);
    scene.judge();
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
    let (mut scene, _zemi) = Scene::new(15);
    scene
        .open
        .run("BEGIN; INSERT INTO a VALUES (1); UPDATE a SET id = 2 WHERE id = 1");
    scene
        .sql
        .run("CREATE TABLE plain (v int); INSERT INTO plain VALUES (1)");
    wait_until("updates of the table work", PATIENCE, || {
        scene.sql.try_rows("UPDATE plain SET v = 2").is_ok()
    });
    scene.judge();
}
