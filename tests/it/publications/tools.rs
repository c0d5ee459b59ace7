//! Tools that copy tables while applications use them: pg_repack, itself where it is installed.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::cluster::PASSWORD;
use crate::support::{Scene, Sql};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
     INSERT INTO t SELECT g, repeat('v', 500) FROM generate_series(1, 2000) g;
     DELETE FROM t WHERE id % 2 = 0; CREATE TABLE other (id int PRIMARY KEY)";

/// The rows of the table that was copied are there once, and nothing of the tool's.
fn judge(scene: &mut Scene) {
    scene
        .sql
        .run("UPDATE t SET v = 'after' WHERE id = 3; INSERT INTO t VALUES (4, 'new')");
    assert_eq!(
        scene.changes_where(
            "primary_key <> '5'",
            "schema, \"table\", operation, primary_key"
        ),
        "public|t|UPDATE|1\npublic|t|UPDATE|3\npublic|t|CREATE|4"
    );
}

#[test]
fn a_table_is_repacked_while_zemi_runs() {
    const REPACK: &str = "/usr/lib/postgresql/15/bin/pg_repack";
    let mut scene = Scene::one(15).before(TABLE).ready();
    let extension = scene.sql.try_rows("CREATE EXTENSION pg_repack");
    if extension.is_err() || !std::path::Path::new(REPACK).exists() {
        eprintln!("skipped: pg_repack is not installed (postgresql-15-repack)");
        return;
    }
    let zemi = scene.start();
    scene.sql.run("UPDATE t SET v = 'before' WHERE id = 1");
    let file = "SELECT pg_relation_filenode('t')";
    let before = scene.sql.value(file);
    // The copy takes over what is changed meanwhile by UPDATE and DELETE.
    let working = Arc::new(AtomicBool::new(true));
    let application = thread::spawn({
        let mut sql = Sql::open(&scene.source, "postgres");
        let working = Arc::clone(&working);
        move || {
            while working.load(Ordering::Relaxed) {
                sql.run("UPDATE t SET v = v || 'x' WHERE id = 5");
            }
        }
    });
    let done = Command::new(REPACK)
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-t",
            "t",
            "-p",
        ])
        .arg(scene.source.port().to_string())
        .env("PGPASSWORD", PASSWORD)
        .output()
        .unwrap();
    working.store(false, Ordering::Relaxed);
    application.join().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_ne!(scene.sql.value(file), before, "it did not repack");
    judge(&mut scene);
    let log = zemi.log();
    assert!(!log.contains("repack"), "{log}");
}

/// What pg_repack does to tables of its own (`repack_one_table` in bin/pg_repack.c, and the view
/// `repack.tables` of lib/pg_repack.sql.in): a log with a key, filled by a trigger; a copy, without a key at
/// first; the log applied to the copy. It has a schema of its own from CREATE EXTENSION on.
#[test]
fn tables_of_a_tool_are_neither_refused_nor_recorded() {
    let before = format!("{TABLE}; CREATE SCHEMA repack");
    let (mut scene, mut zemi) = Scene::one(15).before(&before).streaming();
    let work = "CREATE TABLE repack.log_1 (id bigserial PRIMARY KEY, row t);
         CREATE TABLE repack.table_1 AS SELECT * FROM t;
         INSERT INTO repack.log_1 (row) SELECT t FROM t WHERE id = 5;
         UPDATE repack.table_1 SET v = 'x' WHERE id = 5; DELETE FROM repack.table_1 WHERE id = 7;
         DELETE FROM repack.log_1; DROP TABLE repack.log_1, repack.table_1";
    scene.sql.run("UPDATE t SET v = 'before' WHERE id = 1");
    scene.sql.run(work);
    judge(&mut scene);
    zemi.stop();
    // With TABLES the same; where that names the schema, its tables are tracked.
    scene.sql.run("TRUNCATE changes");
    let mut zemi = scene.start_with(&[("TABLES", "*")]);
    scene.sql.run(work);
    scene.sql.run("UPDATE t SET v = 'before' WHERE id = 1");
    assert_eq!(scene.changes("\"table\", operation"), "t|UPDATE");
    zemi.stop();
    scene
        .sql
        .run("CREATE TABLE repack.kept (id int PRIMARY KEY)");
    let _zemi = scene.start_with(&[("TABLES", "repack.kept")]);
    assert_eq!(super::listed(&mut scene.sql, "zemi_updates"), "repack.kept");
}
