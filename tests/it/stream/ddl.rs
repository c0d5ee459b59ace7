//! Tables whose shape, name or place changes between two changes. PostgreSQL itself says what each row
//! was when it was written.

use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{PATIENCE, caught_up, settings, wait_for_locked, with};
use crate::support::{Scene, Server, Sql, Zemi};

/// The rows as `to_jsonb` gave them at the moment they were written, in order.
#[derive(Default)]
struct Judge(Vec<String>);

impl Judge {
    /// Runs a statement that returns `to_jsonb` of the rows that it writes.
    fn write(&mut self, scene: &mut Scene, sql: &str) {
        let rows = scene.sql.rows(sql).into_iter();
        self.0.extend(rows.map(|mut row| row.remove(0).unwrap()));
    }

    /// Fails unless the changes that meet the condition brought exactly these rows.
    fn decide(&self, scene: &mut Scene, condition: &str) {
        let condition = format!("operation IN ('CREATE', 'UPDATE') AND {condition}");
        let found = scene.changes_where(&condition, "after");
        assert_eq!(found, self.0.join("\n"));
        assert_unique(&mut scene.sql);
    }
}

#[test]
fn columns_come_go_and_change_between_two_changes() {
    let (mut scene, _zemi) = Scene::one(15)
        .before("CREATE TYPE mood AS ENUM ('sad', 'glad')")
        .streaming();
    // First each statement by itself, then all of them in one transaction.
    for (table, before, after) in [("apart", "", ""), ("together", "BEGIN", "COMMIT")] {
        let mut judge = Judge::default();
        let write = |values: &str| {
            format!("INSERT INTO {table} VALUES ({values}) RETURNING to_jsonb({table})")
        };
        let steps = [
            ("", "1, 'one', 1.5"),
            (
                "ADD COLUMN extra jsonb DEFAULT '{\"a\": null}'",
                "2, 'two', 2.50",
            ),
            ("DROP COLUMN n", "3, 'three', '[]'"),
            ("ALTER COLUMN v TYPE int USING length(v)", "4, 44, '4'"),
            ("ALTER COLUMN extra TYPE text", "5, 55, '{\"not\": json'"),
            ("RENAME COLUMN v TO renamed", "6, 66, 'x'"),
            (
                "ADD COLUMN v timestamptz",
                "7, 77, 'x', '2024-05-06 07:08:09+02'",
            ),
            (
                "ADD COLUMN \"mood\" mood, DROP COLUMN extra",
                "8, 88, now(), 'glad'",
            ),
            ("ALTER COLUMN id TYPE numeric(8, 2)", "9, 99, NULL, NULL"),
        ];
        scene.sql.run("SET timezone = 'UTC'");
        scene.sql.run(before);
        scene.sql.run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, v text, n numeric)"
        ));
        for (alter, values) in steps {
            if !alter.is_empty() {
                scene.sql.run(&format!("ALTER TABLE {table} {alter}"));
                let old =
                    format!("UPDATE {table} SET id = id WHERE id = 1 RETURNING to_jsonb({table})");
                judge.write(&mut scene, &old);
            }
            judge.write(&mut scene, &write(values));
        }
        scene.sql.run(after);
        assert_eq!(judge.0.len(), 17);
        judge.decide(&mut scene, &format!("\"table\" = '{table}'"));
        assert_eq!(
            scene.changes_of(table, "primary_key || ' ' || operation"),
            "1 CREATE\n1 UPDATE\n2 CREATE\n1 UPDATE\n3 CREATE\n1 UPDATE\n4 CREATE\n1 UPDATE\n5 CREATE\n\
             1 UPDATE\n6 CREATE\n1 UPDATE\n7 CREATE\n1 UPDATE\n8 CREATE\n1.00 UPDATE\n9.00 CREATE"
        );
    }
}

#[test]
fn a_table_made_again_under_its_name_is_another_one() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    let mut judge = Judge::default();
    let shapes = [
        ("id int PRIMARY KEY, v text", "1, 'a'"),
        (
            "v text, id uuid PRIMARY KEY",
            "'b', '00000000-0000-0000-0000-000000000001'",
        ),
        ("k bool PRIMARY KEY", "true"),
        (
            "id int, other date[], PRIMARY KEY (id, other)",
            "1, '{2024-01-02,infinity}'",
        ),
    ];
    for transaction in [false, true] {
        if transaction {
            scene.sql.run("BEGIN");
        }
        for (columns, values) in shapes {
            scene.sql.run(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t ({columns})"
            ));
            judge.write(
                &mut scene,
                &format!("INSERT INTO t VALUES ({values}) RETURNING to_jsonb(t)"),
            );
        }
    }
    scene.sql.run("COMMIT");
    judge.decide(&mut scene, "\"table\" = 't'");
    assert_eq!(
        scene.changes_of("t", "primary_key"),
        "1\n00000000-0000-0000-0000-000000000001\nt\n1,\"{2024-01-02,infinity}\"\n1\n\
         00000000-0000-0000-0000-000000000001\nt\n1,\"{2024-01-02,infinity}\""
    );
}

#[test]
fn changes_carry_the_name_that_the_table_had() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    scene.sql.run(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
         ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (2);
         CREATE SCHEMA app; ALTER TABLE u SET SCHEMA app; INSERT INTO app.u VALUES (3);
         CREATE SCHEMA shop; ALTER TABLE app.u SET SCHEMA shop; INSERT INTO shop.u VALUES (4);
         BEGIN; INSERT INTO shop.u VALUES (5);
         ALTER TABLE shop.u RENAME TO v; INSERT INTO shop.v VALUES (6);
         CREATE TABLE shop.u (id int PRIMARY KEY); INSERT INTO shop.u VALUES (7);
         CREATE SCHEMA late CREATE TABLE t (id int PRIMARY KEY); INSERT INTO late.t VALUES (8);
         COMMIT",
    );
    assert_eq!(
        scene.changes_where("true", "schema, \"table\", primary_key, database"),
        "public|t|1|postgres\npublic|u|2|postgres\napp|u|3|postgres\nshop|u|4|postgres\n\
         shop|u|5|postgres\nshop|v|6|postgres\nshop|u|7|postgres\nlate|t|8|postgres"
    );
}

/// Before version 16 the server itself keeps calling it by the old name until the table changes.
#[test]
fn changes_carry_the_name_that_the_schema_had() {
    let (mut scene, _zemi) = Scene::one(16)
        .before("CREATE SCHEMA app CREATE TABLE t (id int PRIMARY KEY)")
        .streaming();
    scene.sql.run(
        "INSERT INTO app.t VALUES (1); ALTER SCHEMA app RENAME TO shop; INSERT INTO shop.t VALUES (2)",
    );
    assert_eq!(scene.changes_of("t", "schema"), "app\nshop");
}

#[test]
fn rows_of_partitions_can_be_changes_of_the_leaves() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(
            "CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p_mid PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
         CREATE TABLE p_mid_leaf PARTITION OF p_mid FOR VALUES FROM (10) TO (20);
         CREATE TABLE p_high (v text, dropped int, id int PRIMARY KEY);
         ALTER TABLE p_high DROP COLUMN dropped",
        )
        .with(&[("PUBLISH_VIA_PARTITION_ROOT", "false")])
        .streaming();
    scene
        .sql
        .run("INSERT INTO p VALUES (1, 'a'), (11, 'b'); INSERT INTO p_low VALUES (2, 'c')");
    // Rows that were there already are no changes.
    scene.sql.run(
        "INSERT INTO p_high VALUES ('own', 21);
         ALTER TABLE p ATTACH PARTITION p_high FOR VALUES FROM (20) TO (30);
         INSERT INTO p VALUES (22, 'attached');
         UPDATE p SET id = 12 WHERE id = 2;
         UPDATE p SET v = 'same leaf' WHERE id = 22;
         ALTER TABLE p DETACH PARTITION p_low; INSERT INTO p_low VALUES (100, 'alone');
         DELETE FROM p WHERE id = 11; TRUNCATE p",
    );
    let found = scene.changes_where("true", "operation, \"table\", primary_key, before, after");
    let (rows, truncates) = found.split_at(found.find("TRUNCATE").unwrap());
    assert_eq!(
        rows,
        r#"CREATE|p_low|1|{}|{"v": "a", "id": 1}
CREATE|p_mid_leaf|11|{}|{"v": "b", "id": 11}
CREATE|p_low|2|{}|{"v": "c", "id": 2}
CREATE|p_high|21|{}|{"v": "own", "id": 21}
CREATE|p_high|22|{}|{"v": "attached", "id": 22}
DELETE|p_low|2|{"id": 2}|{}
CREATE|p_mid_leaf|12|{}|{"v": "c", "id": 12}
UPDATE|p_high|22|{}|{"v": "same leaf", "id": 22}
CREATE|p_low|100|{}|{"v": "alone", "id": 100}
DELETE|p_mid_leaf|11|{"id": 11}|{}
"#
    );
    let mut truncates: Vec<&str> = truncates.lines().collect();
    truncates.sort_unstable();
    assert_eq!(
        truncates,
        ["TRUNCATE|p_high|-|{}|{}", "TRUNCATE|p_mid_leaf|-|{}|{}"]
    );
    let mut destination = Sql::open(&scene.source, "postgres");
    for leaf in ["p_low", "p_mid_leaf", "p_high"] {
        assert_replays(&mut scene.sql, &mut destination, leaf, &["id"]);
    }
}

#[test]
fn inherited_rows_are_changes_of_the_child() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(
            "CREATE TABLE parent (id int PRIMARY KEY, v text);
         CREATE TABLE child (more int, PRIMARY KEY (id)) INHERITS (parent)",
        )
        .streaming();
    scene.sql.run(
        "INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c', 22);
         UPDATE parent SET v = 'both'; ALTER TABLE parent ADD COLUMN late bool DEFAULT true;
         INSERT INTO child VALUES (3, 'd', 33); DELETE FROM parent WHERE id = 2",
    );
    assert_eq!(
        scene.changes_where("true", "operation, \"table\", before, after"),
        r#"CREATE|parent|{}|{"v": "p", "id": 1}
CREATE|child|{}|{"v": "c", "id": 2, "more": 22}
UPDATE|parent|{}|{"v": "both", "id": 1}
UPDATE|child|{}|{"v": "both", "id": 2, "more": 22}
CREATE|child|{}|{"v": "d", "id": 3, "late": true, "more": 33}
DELETE|child|{"id": 2}|{}"#
    );
}

#[test]
fn what_the_server_does_not_publish_is_not_there() {
    let before =
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
         ALTER TABLE t REPLICA IDENTITY FULL;
         CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
         CREATE MATERIALIZED VIEW seen AS SELECT id FROM t";
    let (mut scene, _zemi) = Scene::one(15).before(before).streaming();
    scene.sql.run(
        "CREATE TEMP TABLE private (id int PRIMARY KEY); INSERT INTO private VALUES (1);
         INSERT INTO unlogged VALUES (1); TRUNCATE unlogged;
         INSERT INTO t VALUES (1, 2); UPDATE t SET n = 3; REFRESH MATERIALIZED VIEW seen;
         SELECT 5 AS five INTO made FROM t",
    );
    assert_eq!(
        scene.changes_where("true", "operation, \"table\", before, after"),
        r#"CREATE|t|{}|{"n": 2, "id": 1}
UPDATE|t|{"n": 2, "id": 1}|{"n": 3, "id": 1}
CREATE|made|{}|{"five": 5}"#
    );
    let row = "SELECT after = (SELECT to_jsonb(t) - 'twice' FROM t) FROM changes \
               WHERE operation = 'UPDATE'";
    assert_eq!(scene.sql.value(row), "t");
}

#[test]
fn names_are_kept_to_the_letter() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    let emoji = "🦀".repeat(15) + "xyz";
    let long = "n".repeat(63);
    assert_eq!((emoji.len(), long.len()), (63, 63));
    let names = [
        "Upper Case",
        "say \"hi\"",
        "back\\slash",
        "o'clock",
        "dot.ted, list",
        "*",
        "ключ",
        " ",
        "{\"a\": 1}",
        "tab\tand\nline",
        "\u{1}",
        &emoji,
        &long,
    ];
    let mut judge = Judge::default();
    for name in names {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        scene.sql.run(&format!(
            "CREATE SCHEMA {name}; CREATE TABLE {name}.{name} ({name} int, v text, PRIMARY KEY (v, {name}))"
        ));
        judge.write(
            &mut scene,
            &format!("INSERT INTO {name}.{name} AS t VALUES (1, 'x') RETURNING to_jsonb(t)"),
        );
        judge.write(
            &mut scene,
            &format!("UPDATE {name}.{name} t SET {name} = 2 RETURNING to_jsonb(t)"),
        );
    }
    judge.decide(&mut scene, "true");
    let found = scene
        .sql
        .rows("SELECT schema, \"table\", primary_key, before FROM changes ORDER BY position");
    for (name, pair) in names.iter().zip(found.chunks(2)) {
        for (row, key) in pair.iter().zip(["x,1", "x,2"]) {
            let row: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap()).collect();
            assert_eq!(row[..3], [*name, *name, key]);
        }
        let before: serde_json::Value =
            serde_json::from_str(pair[1][3].as_deref().unwrap()).unwrap();
        assert_eq!(before, serde_json::json!({ *name: 1, "v": "x" }));
    }
    assert_eq!(found.len(), 2 * names.len());
}

#[test]
fn tables_that_are_gone_when_zemi_comes_back_are_written_as_they_were() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before(
            "CREATE TABLE marked (v text, k int PRIMARY KEY);
         CREATE TABLE changed (id int PRIMARY KEY, v text)",
        )
        .streaming();
    zemi.stop();
    scene.sql.run(
        "INSERT INTO marked VALUES ('a', 7); UPDATE marked SET k = 8; DROP TABLE marked;
         INSERT INTO changed VALUES (1, 'text'); ALTER TABLE changed DROP COLUMN v, ADD COLUMN v int;
         INSERT INTO changed VALUES (2, 22); ALTER TABLE changed RENAME TO renamed",
    );
    let _zemi = scene.start();
    assert_eq!(
        scene.changes_where("true", "operation, \"table\", primary_key, before, after"),
        r#"CREATE|marked|7|{}|{"k": 7, "v": "a"}
UPDATE|marked|8|{"k": 7}|{"k": 8, "v": "a"}
CREATE|changed|1|{}|{"v": "text", "id": 1}
CREATE|changed|2|{}|{"v": 22, "id": 2}"#
    );
}

#[test]
fn what_a_dropped_table_or_type_no_longer_tells_is_said_once() {
    for major in [15, 18] {
        let (mut scene, mut zemi) = Scene::one(major)
            .before(
                "CREATE TYPE pair AS (a int, b text); CREATE TYPE mood AS ENUM ('sad');
                 CREATE TABLE typed (id int PRIMARY KEY, p pair, l pair[], m mood);
                 CREATE TABLE turned (a int, b int, PRIMARY KEY (b, a));
                 CREATE TABLE one (id int PRIMARY KEY)",
            )
            .streaming();
        zemi.stop();
        scene.sql.run(
            "INSERT INTO typed VALUES (1, '(1,x)', '{\"(2,y)\"}', 'sad'); ALTER TABLE typed ADD COLUMN n int;
             INSERT INTO typed VALUES (2, '(1,x)', NULL, 'sad');
             DROP TABLE typed; DROP TYPE pair, mood;
             INSERT INTO turned VALUES (1, 2); DROP TABLE turned; INSERT INTO one VALUES (1); DROP TABLE one",
        );
        let zemi = scene.start();
        assert_eq!(
            scene.changes_where("true", "\"table\", primary_key, after"),
            r#"typed|1|{"l": "{\"(2,y)\"}", "m": "sad", "p": "(1,x)", "id": 1}
typed|2|{"l": null, "m": "sad", "n": null, "p": "(1,x)", "id": 2}
turned|1,2|{"a": 1, "b": 2}
one|1|{"id": 1}"#
        );
        let log = zemi.log();
        for said in [
            "\"public\".\"typed\" has columns of types that are gone",
            "\"public\".\"turned\" is gone from the source's catalog before its rows were read: the columns",
        ] {
            assert_eq!(log.matches(said).count(), 1, "{log}");
        }
        assert_eq!(
            log.matches("gone from the source's catalog").count(),
            2,
            "{log}"
        );
    }
}

#[test]
fn a_table_that_is_dropped_while_it_is_published_does_not_end_the_start() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE stays (id int PRIMARY KEY); CREATE TABLE goes (id int PRIMARY KEY)");
    let mut other = Sql::open(&server, "postgres");
    other.run("BEGIN; DROP TABLE goes");
    let zemi = Zemi::start(&with(&settings(&server, None), &[("TABLES", "stays,goes")]));
    wait_for_locked(&mut sql, 1);
    other.run("COMMIT");
    zemi.wait_for_log("streaming from", PATIENCE);
    sql.run("INSERT INTO stays VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "1");
}
