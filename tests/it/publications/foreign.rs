//! Publications that zemi did not make are used as they are, whatever zemi's role may do.

use super::{all_of, findings, fix_of};
use crate::support::{Scene, Zemi};

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY, v text, secret text);
     CREATE TABLE b (id int PRIMARY KEY, v text);
     CREATE SCHEMA app; CREATE TABLE app.c (id int PRIMARY KEY)";

/// Starts zemi on publications that were made by these statements, with these settings; what is written in
/// all tables then, and what is said about it. The publications stay as they are.
fn used(
    major: u32,
    publications: &str,
    settings: &[(&str, &str)],
) -> (String, Vec<(String, String)>) {
    let before = format!("{TABLES};{publications}");
    let mut scene = Scene::one(major).before(&before).with(settings).ready();
    let made = all_of(&mut scene.sql);
    let mut zemi = scene.start();
    scene.sql.run(
        "INSERT INTO a VALUES (1, 'x', 's'), (200, 'x', 's'); INSERT INTO b VALUES (1, 'x');
         INSERT INTO app.c VALUES (1); UPDATE a SET v = 'y' WHERE id = 1; DELETE FROM b",
    );
    let written = scene.changes("\"table\", operation, \"after\"");
    let found = findings(&scene.settings);
    let log = zemi.log();
    for (what, fix) in &found {
        if what.contains("which zemi did not make,") {
            assert!(
                log.contains(&format!("{what}. Hint: {fix}")),
                "{what}\n{log}"
            );
        }
    }
    assert_eq!(all_of(&mut scene.sql), made, "{log}");
    zemi.stop();
    let (code, out, errors) = Zemi::says(&["cleanup", "--yes"], &scene.settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.contains("stays: it was not made by zemi"), "{out}");
    assert_eq!(all_of(&mut scene.sql), made);
    (written, found)
}

const Z: &str = "publication \"zemi\", which zemi did not make,";

fn rows_and_columns(major: u32) {
    let made = "CREATE PUBLICATION zemi FOR TABLE a (id, v) WHERE (id < 100)";
    for settings in [&[][..], &[("TABLES", "a")]] {
        let (written, found) = used(major, made, settings);
        assert_eq!(
            written,
            "a|CREATE|{\"v\": \"x\", \"id\": 1}\na|UPDATE|{\"v\": \"y\", \"id\": 1}"
        );
        let a = "\"public\".\"a\"";
        let again = format!(
            "ALTER PUBLICATION \"zemi\" DROP TABLE {a}; ALTER PUBLICATION \"zemi\" ADD TABLE {a}"
        );
        let rows = format!("{Z} publishes rows of {a} where (id < 100) alone");
        assert_eq!(fix_of(&found, &rows), again);
        assert_eq!(
            fix_of(&found, &format!("{Z} leaves out columns of {a}: secret")),
            again
        );
        let missing = format!("{Z} does not publish");
        let is_named = found.iter().any(|(found, _)| found.starts_with(&missing));
        assert_eq!(is_named, settings.is_empty());
    }
}

#[test]
fn row_filters_and_lists_of_columns_on_15() {
    rows_and_columns(15);
}

#[test]
fn row_filters_and_lists_of_columns_on_18() {
    rows_and_columns(18);
}

#[test]
fn tables_of_a_schema() {
    let (written, found) = used(15, "CREATE PUBLICATION zemi FOR TABLES IN SCHEMA app", &[]);
    assert_eq!(written, "c|CREATE|{\"id\": 1}");
    let fix = fix_of(
        &found,
        &format!("{Z} does not publish \"public\".\"a\", \"public\".\"b\""),
    );
    assert_eq!(
        fix,
        "ALTER PUBLICATION \"zemi\" ADD TABLE \"public\".\"a\", \"public\".\"b\""
    );
}

fn inserts_alone(major: u32) {
    let made = "CREATE PUBLICATION zemi FOR ALL TABLES WITH (publish = 'insert')";
    let (written, found) = used(major, made, &[]);
    assert_eq!(written.lines().count(), 4);
    assert!(
        written.lines().all(|line| line.contains("|CREATE|")),
        "{written}"
    );
    assert_eq!(
        fix_of(
            &found,
            &format!("{Z} does not publish update, delete, truncate of")
        ),
        "ALTER PUBLICATION \"zemi\" SET (publish = 'insert, update, delete, truncate')"
    );
}

#[test]
fn inserts_alone_on_14() {
    inserts_alone(14);
}

#[test]
fn inserts_alone_on_18() {
    inserts_alone(18);
}

#[test]
fn two_that_were_made_to_go_together() {
    let made = "CREATE TABLE bare (id int);
        CREATE PUBLICATION zemi FOR ALL TABLES WITH (publish = 'insert, truncate');
        CREATE PUBLICATION zemi_updates FOR TABLE a, b WITH (publish = 'update, delete')";
    let (written, found) = used(15, made, &[]);
    assert_eq!(written.lines().count(), 6, "{written}");
    assert!(
        !found
            .iter()
            .any(|(found, _)| found.contains("\"public\".\"a\"")),
        "{found:#?}"
    );
    assert_eq!(
        fix_of(
            &found,
            &format!("{Z} does not publish update, delete of \"app\".\"c\", \"public\".\"bare\"")
        ),
        "ALTER PUBLICATION \"zemi_updates\" ADD TABLE \"app\".\"c\""
    );
    assert_eq!(
        fix_of(&found, "no usable replica identity"),
        "ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL; and let the publication send its UPDATE and \
         DELETE"
    );
}

#[test]
fn publications_that_only_have_the_names_of_zemis() {
    let made = "CREATE PUBLICATION zemi_updates FOR TABLE a (id);
                CREATE PUBLICATION zemi_next FOR ALL TABLES WITH (publish = 'insert')";
    let before = format!("{TABLES};{made}; CREATE TABLE bare (id int)");
    let mut scene = Scene::one(15).before(&before).ready();
    let made = all_of(&mut scene.sql);
    let mut zemi = scene.start();
    scene.sql.run(
        "INSERT INTO a VALUES (1, 'x', 's'); UPDATE a SET v = 'y'; INSERT INTO bare VALUES (1);
         UPDATE bare SET id = 2; DELETE FROM a",
    );
    assert_eq!(
        scene.changes("\"table\", operation, \"after\" ->> 'secret'"),
        "a|CREATE|s\na|UPDATE|s\nbare|CREATE|-\na|DELETE|-"
    );
    // A list takes the place of FOR ALL TABLES by way of a third name.
    zemi.stop();
    scene.set(&[("TABLES", "a")]);
    let mut zemi = scene.start();
    scene
        .sql
        .run("INSERT INTO a VALUES (2, 'x', 's'); UPDATE a SET v = 'z'");
    assert_eq!(
        scene.changes_where("primary_key = '2'", "operation"),
        "CREATE\nUPDATE"
    );
    let ours = "SELECT string_agg(pubname, ' ' ORDER BY pubname) FROM pg_publication";
    assert_eq!(
        scene.sql.value(ours),
        "zemi zemi_next zemi_updates zemi_zemi_updates"
    );
    zemi.stop();
    let (code, out, errors) = Zemi::says(&["cleanup", "--yes"], &scene.settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert_eq!(all_of(&mut scene.sql), made);
}

#[test]
fn for_all_tables_with_generated_columns_on_18() {
    let before = "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE TABLE u (id int, g int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE u REPLICA IDENTITY FULL; CREATE TABLE bare (id int);
         CREATE PUBLICATION zemi FOR ALL TABLES;
         CREATE PUBLICATION zemi_updates FOR TABLE t WITH (publish = 'update, delete',
         publish_generated_columns = stored);
         COMMENT ON PUBLICATION zemi_updates IS 'made by zemi'";
    let (mut scene, _zemi) = Scene::one(18).before(before).streaming();
    // One of zemi's beside it would have other columns, and the stream would end.
    assert_eq!(
        scene
            .sql
            .value("SELECT string_agg(pubname, ' ') FROM pg_publication"),
        "zemi"
    );
    scene
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 2");
    assert_eq!(
        scene.changes_of("t", "operation, \"after\""),
        "CREATE|{\"id\": 1}\nUPDATE|{\"id\": 2}"
    );
    let found = findings(&scene.settings);
    let stored = "ALTER PUBLICATION \"zemi\" SET (publish_generated_columns = stored)";
    assert_eq!(
        fix_of(
            &found,
            &format!("{Z} leaves out the stored generated columns of")
        ),
        stored
    );
    let refused =
        |table: &str| format!("PostgreSQL refuses UPDATE and DELETE on \"public\".\"{table}\"");
    assert_eq!(fix_of(&found, &refused("u")), stored);
    assert_eq!(
        fix_of(&found, &refused("bare")),
        "ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL"
    );
    for table in ["u", "bare"] {
        scene
            .sql
            .run(&format!("INSERT INTO {table} (id) VALUES (1)"));
        let refused = scene.sql.try_rows(&format!("UPDATE {table} SET id = 2"));
        assert!(refused.is_err(), "{table}");
    }
    scene.sql.run(stored);
    scene
        .sql
        .run("ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL");
    scene.sql.run("UPDATE u SET id = 2; UPDATE bare SET id = 2");
    assert_eq!(
        scene.changes_of("u", "\"after\""),
        "{\"id\": 1}\n{\"g\": 4, \"id\": 2}"
    );
}

#[test]
fn two_that_disagree_are_not_followed_together_on_18() {
    let before = "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE PUBLICATION zemi FOR ALL TABLES;
         CREATE PUBLICATION zemi_updates FOR TABLE t WITH (publish = 'update, delete',
         publish_generated_columns = stored)";
    let (mut scene, zemi) = Scene::one(18).before(before).streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 2");
    assert_eq!(scene.changes_of("t", "operation"), "CREATE\nUPDATE");
    let log = zemi.log();
    assert!(
        log.contains("has other columns than \"zemi\": it is not followed"),
        "{log}"
    );
    let found = findings(&scene.settings);
    let fix = fix_of(
        &found,
        "publication \"zemi_updates\", which zemi did not make, has other columns",
    );
    assert_eq!(
        fix,
        "ALTER PUBLICATION \"zemi_updates\" SET (publish_generated_columns = none)"
    );
}

#[test]
fn by_the_root() {
    let made = "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
        ALTER TABLE p REPLICA IDENTITY FULL;
        CREATE PUBLICATION zemi FOR ALL TABLES WITH (publish_via_partition_root = true)";
    let (_, found) = used(15, made, &[]);
    let fix = fix_of(
        &found,
        &format!("{Z} publishes partitions by the name of their root"),
    );
    assert_eq!(
        fix,
        "ALTER PUBLICATION \"zemi\" SET (publish_via_partition_root = false)"
    );
    let begin =
        format!("{Z} publishes partitions by a root with REPLICA IDENTITY FULL, and 1 of them");
    assert_eq!(
        fix_of(&found, &begin),
        "ALTER TABLE \"public\".\"p1\" REPLICA IDENTITY FULL"
    );
}

#[test]
fn the_tables_that_readme_has_looked_for_are_those_that_are_refused() {
    let readme = include_str!("../../../README.md");
    let begin = readme.find("SELECT oid::regclass").expect("the statement");
    let (query, _) = readme[begin..].split_once(';').unwrap();
    let tables = "CREATE TABLE k (id int PRIMARY KEY); CREATE TABLE f (id int);
         ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE n (id int PRIMARY KEY);
         ALTER TABLE n REPLICA IDENTITY NOTHING; CREATE TABLE d (id int PRIMARY KEY DEFERRABLE);
         CREATE TABLE bare (id int); CREATE TABLE i (id int NOT NULL UNIQUE);
         ALTER TABLE i REPLICA IDENTITY USING INDEX i_id_key; CREATE UNLOGGED TABLE unlogged (id int);
         CREATE PUBLICATION p FOR ALL TABLES";
    let mut scene = Scene::one(15).before(tables).ready();
    let sql = &mut scene.sql;
    let mut refused: Vec<&str> = ["k", "f", "n", "d", "bare", "i", "unlogged"].into();
    refused.retain(|table| sql.try_rows(&format!("DELETE FROM {table}")).is_err());
    assert_eq!(refused, ["n", "d", "bare"]);
    let mut named: Vec<String> = sql.text(query).lines().map(str::to_owned).collect();
    named.sort_unstable();
    refused.sort_unstable();
    assert_eq!(named, refused);
}
