//! Statements of many rows and of many tables: each row and table is one change with a position of
//! its own, although PostgreSQL writes many of them in one WAL record.

use std::fmt::Write;

use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{caught_up, changes};
use crate::support::{Scene, Server, Sql};

/// How many changes of the table follow directly on the one before: those that share its WAL record.
/// No record is so short that the next one begins a byte later.
fn sharing_a_record(sql: &mut Sql, table: &str) -> u64 {
    let count = format!(
        "SELECT count(*) FROM (SELECT position - lag(position) OVER (ORDER BY position) AS step \
         FROM changes WHERE \"table\" = '{table}') s WHERE step = 1"
    );
    sql.value(&count).parse().unwrap()
}

#[test]
fn each_table_of_a_truncate_is_one_change() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    scene.sql.run(
        "CREATE TABLE a (id int PRIMARY KEY);
         CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
         CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b);
         CREATE TABLE d (id serial PRIMARY KEY);
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1); INSERT INTO d VALUES (1)",
    );
    scene.sql.run("TRUNCATE d, a CASCADE");
    scene.sql.run(
        "BEGIN; INSERT INTO d VALUES (2); TRUNCATE a, b, c, d RESTART IDENTITY; TRUNCATE d; COMMIT",
    );
    let truncates = "operation = 'TRUNCATE'";
    let tables = scene.changes_where(truncates, "\"table\"");
    let tables: Vec<&str> = tables.lines().collect();
    let mut cascaded = tables[..4].to_vec();
    cascaded.sort_unstable();
    assert_eq!(cascaded, ["a", "b", "c", "d"]);
    let mut named = tables[4..8].to_vec();
    named.sort_unstable();
    assert_eq!(named, ["a", "b", "c", "d"]);
    assert_eq!(tables[8..], ["d"]);
    assert_eq!(
        scene.changes_where(
            truncates,
            "DISTINCT ON (position) primary_key, before, after, context, schema, database"
        ),
        ["-|{}|{}|{}|public|postgres"; 9].join("\n")
    );
    let steps = scene.sql.text(
        "SELECT count(*), count(DISTINCT position), max(position) - min(position) \
         FROM changes WHERE operation = 'TRUNCATE' GROUP BY transaction_id ORDER BY min(position)",
    );
    let mut steps = steps.lines();
    // One record held all four, so their positions are next to each other.
    assert_eq!(steps.next(), Some("4|4|3"));
    assert!(steps.next().unwrap().starts_with("5|5|"));
    assert_eq!(
        scene.changes_of("d", "operation"),
        "CREATE\nTRUNCATE\nCREATE\nTRUNCATE\nTRUNCATE"
    );
    assert_unique(&mut scene.sql);
}

#[test]
fn each_row_of_a_copy_is_one_change_in_order() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    scene
        .sql
        .run("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE wide (id int PRIMARY KEY, v text)");
    let mut lines = String::new();
    for id in 1..=1000 {
        writeln!(lines, "{id}\trow {id}").unwrap();
    }
    assert_eq!(scene.sql.copy("COPY t FROM STDIN", &lines), 1000);
    caught_up(&mut scene.sql);
    assert_eq!(
        scene.sql.value(
            "SELECT count(DISTINCT (position, \"table\", schema, database, operation)) FROM changes"
        ),
        "1000"
    );
    let keys: Vec<String> = (1..=1000).map(|id| id.to_string()).collect();
    assert_eq!(scene.changes_of("t", "primary_key"), keys.join("\n"));
    // The case that this is about did occur.
    assert!(sharing_a_record(&mut scene.sql, "t") > 900);

    // Rows stored out of line: their pieces come between, as records of their own.
    scene.sql.run(
        "ALTER TABLE wide ALTER v SET STORAGE EXTERNAL;
         BEGIN; INSERT INTO wide VALUES (0, 'first')",
    );
    let mut lines = String::new();
    for id in 1..=50 {
        writeln!(
            lines,
            "{id}\t{}",
            "x".repeat(if id % 2 == 0 { 9000 } else { 9 })
        )
        .unwrap();
    }
    scene.sql.copy("COPY wide FROM STDIN", &lines);
    scene.sql.copy("COPY t FROM STDIN", "1001\tsecond table\n");
    scene
        .sql
        .run("UPDATE wide SET id = 51 WHERE id = 50; COMMIT");
    caught_up(&mut scene.sql);
    assert!(sharing_a_record(&mut scene.sql, "wide") > 10);
    let Scene { source, sql, .. } = &mut scene;
    let mut destination = Sql::open(source, "postgres");
    assert_eq!(assert_replays(sql, &mut destination, "wide", &["id"]), 52);
    assert_eq!(assert_replays(sql, &mut destination, "t", &["id"]), 1001);
    assert_unique(&mut destination);
}

#[test]
fn each_row_of_an_insert_is_one_change_in_order() {
    let (mut scene, mut zemi) = Scene::one(15).streaming();
    scene.sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         CREATE TABLE log (n serial PRIMARY KEY, id int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO log (id) VALUES (NEW.id); RETURN NEW; END';
         CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
    );
    scene.sql.run(
        "INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '');
         INSERT INTO t VALUES (1, 'x'), (4, 'd') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
         INSERT INTO t VALUES (1, 'y'), (5, 'e') ON CONFLICT DO NOTHING;
         WITH gone AS (DELETE FROM t WHERE id = 2 RETURNING id) INSERT INTO t SELECT id + 10 FROM gone;
         MERGE INTO t USING (VALUES (3), (6)) s (id) ON s.id = t.id
             WHEN MATCHED THEN UPDATE SET v = 'merged' WHEN NOT MATCHED THEN INSERT VALUES (s.id)",
    );
    assert_eq!(
        scene.changes_of("t", "operation, primary_key, after->>'v'"),
        "CREATE|1|a\nCREATE|2|-\nCREATE|3|\nUPDATE|1|x\nCREATE|4|d\nCREATE|5|e\nDELETE|2|-\n\
         CREATE|12|-\nUPDATE|3|merged\nCREATE|6|-"
    );
    // What a trigger writes is there as well.
    assert_eq!(
        scene.changes_of("log", "after->>'id'"),
        "1\n2\n3\n4\n5\n12\n6"
    );
    let Scene { source, sql, .. } = &mut scene;
    let mut destination = Sql::open(source, "postgres");
    assert_replays(sql, &mut destination, "t", &["id"]);
    assert_replays(sql, &mut destination, "log", &["n"]);
    assert_unique(&mut destination);
    zemi.stop();
}

#[test]
fn prepared_transactions_arrive_when_they_are_committed() {
    let source = Server::start(15, &[("max_prepared_transactions", "5")]);
    let mut scene = Scene::on(source, Some(Server::start(15, &[])))
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .ready();
    let mut zemi = scene.start();
    scene.sql.run(
        "BEGIN; INSERT INTO t VALUES (1, 'kept'); PREPARE TRANSACTION 'kept'; \
         BEGIN; INSERT INTO t VALUES (2, 'undone'); PREPARE TRANSACTION 'undone'",
    );
    scene.insert(3, 3);
    scene.caught_up();
    assert_eq!(changes(&mut scene.there, "primary_key"), "3");
    // They outlive servers and zemi.
    zemi.kill();
    scene.source.restart("immediate");
    let _zemi = scene.start();
    scene.sql = Sql::open(&scene.source, "postgres");
    scene.sql.run("ROLLBACK PREPARED 'undone'");
    scene.sql.run("COMMIT PREPARED 'kept'");
    scene.caught_up();
    let seen = "SELECT primary_key FROM changes ORDER BY created_at";
    assert_eq!(scene.there.text(seen), "3\n1");
}
