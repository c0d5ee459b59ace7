//! Thousands of tables, on a server with as few locks as it can have.

use super::findings;
use crate::support::scene::PATIENCE;
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// So many tables do not fit into the lock table of this server.
const TABLES: u32 = 2_000;

fn scene() -> Scene {
    let options = [
        ("max_locks_per_transaction", "10"),
        ("max_connections", "40"),
    ];
    let mut scene = Scene::on(Server::start(15, &options), None).ready();
    scene.sql.run(
        "CREATE PROCEDURE make(tables int) LANGUAGE plpgsql AS $$BEGIN FOR n IN 1..tables LOOP
         EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', n);
         IF n % 50 = 0 THEN COMMIT; END IF; END LOOP; END$$",
    );
    scene.sql.run(&format!("CALL make({TABLES})"));
    let at_once = scene.sql.try_rows(
        "DO $$BEGIN EXECUTE (SELECT 'CREATE PUBLICATION x FOR TABLE ' || string_agg(relname, ', ')
         FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relkind = 'r'); END$$",
    );
    let error = at_once.expect_err("the locks are too few for all tables");
    assert!(error.to_string().contains("53200"), "{error}");
    scene
}

fn number(sql: &mut Sql, publication: &str) -> u32 {
    let number = sql.value(&format!(
        "SELECT count(*) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
         WHERE pubname = '{publication}'"
    ));
    number.parse().unwrap()
}

/// A row of a table in front and of one in the back comes and changes.
fn use_some(scene: &mut Scene, id: u32) {
    scene.sql.run(&format!(
        "INSERT INTO t1 VALUES ({id}); UPDATE t1 SET id = id + 1; DELETE FROM t1;
         INSERT INTO t{TABLES} VALUES ({id}); UPDATE t{TABLES} SET id = id + 1; DELETE FROM t{TABLES}"
    ));
    let found = scene.changes_where(
        &format!("primary_key IN ('{id}', '{}')", id + 1),
        "operation",
    );
    assert_eq!(found, ["CREATE\nUPDATE\nDELETE"; 2].join("\n"));
}

fn is_quiet(log: &str) {
    for word in ["53200", "WARN", "ERROR"] {
        assert!(!log.contains(word), "{log}");
    }
}

#[test]
fn thousands_of_tables_are_published_with_few_locks() {
    let mut scene = scene();
    let (code, out, errors) = Zemi::says(&["check"], &scene.settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(!out.contains("53200"), "{out}");

    let mut zemi = scene.start();
    use_some(&mut scene, 10);
    assert_eq!(number(&mut scene.sql, "zemi_updates"), TABLES);
    is_quiet(&zemi.log());
    zemi.stop();

    // A list takes the place of FOR ALL TABLES, and FOR ALL TABLES that of a list.
    scene.set(&[("TABLES", "t*")]);
    let mut zemi = scene.start();
    use_some(&mut scene, 20);
    let sql = &mut scene.sql;
    wait_until("the list is in its place", PATIENCE, || {
        number(sql, "zemi") == TABLES
    });
    is_quiet(&zemi.log());
    zemi.stop();
    let checked = findings(&scene.settings);
    assert!(
        !checked.iter().any(|(found, _)| found.contains("53200")),
        "{checked:#?}"
    );
    scene.set(&[("TABLES", "")]);
    let mut zemi = scene.start();
    use_some(&mut scene, 30);
    let for_all = "SELECT puballtables FROM pg_publication WHERE pubname = 'zemi'";
    assert_eq!(scene.sql.value(for_all), "t");
    assert_eq!(scene.sql.value("SELECT count(*) FROM pg_publication"), "2");
    is_quiet(&zemi.log());
    zemi.stop();

    let (code, out, errors) = Zemi::says(&["cleanup", "--yes"], &scene.settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert_eq!(scene.sql.value("SELECT count(*) FROM pg_publication"), "0");
}

#[test]
fn the_check_of_a_first_start_locks_no_table() {
    let mut scene = Scene::one(15)
        .before("CREATE TABLE t (id int PRIMARY KEY)")
        .ready();
    let mut other = Sql::open(&scene.source, "postgres");
    other.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    scene.set(&[("TABLES", "t")]);
    let found = findings(&scene.settings);
    assert!(
        found
            .iter()
            .any(|(found, _)| found.starts_with("zemi is not there yet")),
        "{found:#?}"
    );
    other.run("ROLLBACK");
}
