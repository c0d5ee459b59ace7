//! Replica identities: what is known of the old row, and what names the row in `primary_key`.

use crate::support::replay::{assert_replays, assert_unique};
use crate::support::{Scene, Sql, Zemi};

/// Fails unless the last `after` of the table's row with this `primary_key` is what `to_jsonb` says.
fn assert_is_the_row(scene: &mut Scene, table: &str, key: &str) {
    let same = scene.sql.text(&format!(
        "SELECT after = (SELECT to_jsonb(t) FROM {table} t) FROM changes \
         WHERE \"table\" = '{table}' AND primary_key = '{key}' ORDER BY position DESC LIMIT 1"
    ));
    assert_eq!(same, "t", "{table} {key}");
}

fn replays(scene: &mut Scene, table: &str, key: &[&str]) {
    let mut destination = Sql::open(&scene.source, "postgres");
    assert_replays(&mut scene.sql, &mut destination, table, key);
}

#[test]
fn composite_keys_are_joined_in_the_order_of_the_key() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    scene.sql.run(
        "CREATE TABLE t (a int, v text, b text, PRIMARY KEY (a, b));
         CREATE TABLE turned (a int, v text, b text, PRIMARY KEY (b, a));
         INSERT INTO t VALUES (1, 'x', 'one'), (1, NULL, 'two'), (2, 'y', 'a,b'), (3, 'z', ''),
             (4, 'q', 'say \"a\"'), (5, 'r', E'a\\r\\nb');
         INSERT INTO turned VALUES (1, 'x', 'one');
         UPDATE t SET v = 'changed' WHERE b = 'two';
         UPDATE t SET b = 'deux' WHERE b = 'two';
         UPDATE t SET a = a + 10, v = NULL WHERE b = 'one';
         DELETE FROM t WHERE b = 'a,b';
         UPDATE turned SET a = 2;
         DELETE FROM turned",
    );
    assert_eq!(
        scene.changes_of("t", "operation, replace(primary_key, E'\\r', ''), before"),
        r#"CREATE|1,one|{}
CREATE|1,two|{}
CREATE|2,"a,b"|{}
CREATE|3,|{}
CREATE|4,"say ""a"""|{}
CREATE|5,"a
b"|{}
UPDATE|1,two|{}
UPDATE|1,deux|{"a": 1, "b": "two"}
UPDATE|11,one|{"a": 1, "b": "one"}
DELETE|2,"a,b"|{"a": 2, "b": "a,b"}"#
    );
    assert_eq!(
        scene.changes_of("turned", "operation, primary_key, before, after"),
        r#"CREATE|one,1|{}|{"a": 1, "b": "one", "v": "x"}
UPDATE|one,2|{"a": 1, "b": "one"}|{"a": 2, "b": "one", "v": "x"}
DELETE|one,2|{"a": 2, "b": "one"}|{}"#
    );
    replays(&mut scene, "t", &["a", "b"]);
    replays(&mut scene, "turned", &["a", "b"]);
    assert_unique(&mut scene.sql);
}

#[test]
fn before_is_what_the_replica_identity_sends() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    for (table, identity) in [
        ("by_default", "DEFAULT"),
        ("by_index", "USING INDEX by_index_code"),
        ("by_all", "FULL"),
        ("by_nothing", "NOTHING"),
    ] {
        scene.sql.run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, code text NOT NULL, v text);
             CREATE UNIQUE INDEX {table}_code ON {table} (code);
             ALTER TABLE {table} REPLICA IDENTITY {identity};
             INSERT INTO {table} VALUES (1, 'one', 'a'), (2, 'two', NULL)"
        ));
        // The table that cannot publish them is taken out as soon as its first row was seen.
        let update = format!("UPDATE {table} SET v = 'b' WHERE id = 1");
        crate::support::wait_until("an UPDATE works", crate::support::scene::PATIENCE, || {
            scene.sql.try_rows(&update).is_ok()
        });
    }
    // By then those that can are in the list of those whose updates are published.
    crate::support::wait_until(
        "the others are listed",
        crate::support::scene::PATIENCE,
        || {
            scene.sql.value(
                "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'zemi_updates' \
                 AND tablename LIKE 'by_%'",
            ) == "3"
        },
    );
    for table in ["by_default", "by_index", "by_all", "by_nothing"] {
        scene.sql.run(&format!(
            "UPDATE {table} SET v = 'c' WHERE id = 1;
             UPDATE {table} SET id = 10 WHERE id = 1;
             UPDATE {table} SET code = 'uno' WHERE id = 10;
             UPDATE {table} SET id = 11, code = 'un', v = NULL WHERE id = 10;
             DELETE FROM {table} WHERE id = 2"
        ));
    }
    let shown = "operation, primary_key, before, after->>'id', after->>'code', after->>'v'";
    let later = |table: &str| {
        format!(
            "\"table\" = '{table}' AND NOT (operation = 'UPDATE' AND after->>'v' = 'b' AND primary_key = '1')"
        )
    };
    let created = "CREATE|1|{}|1|one|a\nCREATE|2|{}|2|two|-";
    let found = scene.changes_where(&later("by_default"), shown);
    assert_eq!(
        found,
        [
            created,
            r#"UPDATE|1|{}|1|one|c
UPDATE|10|{"id": 1}|10|one|c
UPDATE|10|{}|10|uno|c
UPDATE|11|{"id": 10}|11|un|-
DELETE|2|{"id": 2}|-|-|-"#
        ]
        .join("\n")
    );
    let found = scene.changes_where(&later("by_index"), shown);
    // The index's column is all that is known of the row that is gone: not its primary key.
    assert_eq!(
        found,
        [
            created,
            r#"UPDATE|1|{}|1|one|c
UPDATE|10|{}|10|one|c
UPDATE|10|{"code": "one"}|10|uno|c
UPDATE|11|{"code": "uno"}|11|un|-
DELETE|-|{"code": "two"}|-|-|-"#
        ]
        .join("\n")
    );
    let found = scene.changes_where(&later("by_all"), shown);
    assert_eq!(
        found,
        [
            created,
            r#"UPDATE|1|{"v": "b", "id": 1, "code": "one"}|1|one|c
UPDATE|10|{"v": "c", "id": 1, "code": "one"}|10|one|c
UPDATE|10|{"v": "c", "id": 10, "code": "one"}|10|uno|c
UPDATE|11|{"v": "c", "id": 10, "code": "uno"}|11|un|-
DELETE|2|{"v": null, "id": 2, "code": "two"}|-|-|-"#
        ]
        .join("\n")
    );
    assert_eq!(scene.changes_of("by_nothing", shown), created);
}

#[test]
fn two_keys_never_look_alike_and_one_column_is_as_it_is() {
    let (mut scene, _zemi) = Scene::one(18).streaming();
    scene.sql.run(
        "CREATE TABLE two (a text, b text, PRIMARY KEY (a, b)); CREATE TABLE one (a text PRIMARY KEY);
         INSERT INTO two VALUES ('a,b', 'c'), ('a', 'b,c'), ('\"a', 'b\"'), ('\"a,b\"', '');
         INSERT INTO one VALUES ('a,\"b\"')",
    );
    assert_eq!(
        scene.changes_where("true", "primary_key"),
        "\"a,b\",c\na,\"b,c\"\n\"\"\"a\",\"b\"\"\"\n\"\"\"a,b\"\"\",\na,\"b\""
    );
}

#[test]
fn an_identity_without_the_primary_key_is_said_once_with_the_sql_that_mends_it() {
    for major in [15, 18] {
        let (mut scene, zemi) = Scene::one(major)
            .before(
                "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE);
                 ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key;
                 CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, code text NOT NULL UNIQUE);
                 ALTER TABLE late REPLICA IDENTITY USING INDEX late_code_key;
                 CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE other (code text NOT NULL UNIQUE);
                 ALTER TABLE other REPLICA IDENTITY USING INDEX other_code_key",
            )
            .streaming();
        for table in ["t", "late"] {
            scene.sql.run(&format!(
                "INSERT INTO {table} VALUES (1, 'a'); DELETE FROM {table};
                 ALTER TABLE {table} ADD COLUMN v int; INSERT INTO {table} VALUES (2, 'b')"
            ));
        }
        scene
            .sql
            .run("INSERT INTO keyed VALUES (1); INSERT INTO other VALUES ('a')");
        let keys = "CREATE|1\nDELETE|-\nCREATE|2";
        assert_eq!(scene.changes_of("t", "operation, primary_key"), keys);
        assert_eq!(scene.changes_of("late", "operation, primary_key"), keys);
        let log = zemi.log();
        let (_, check, _) = Zemi::says(&["check"], &scene.settings);
        for (table, identity) in [("t", "DEFAULT"), ("late", "FULL")] {
            let fix = format!("ALTER TABLE \"public\".\"{table}\" REPLICA IDENTITY {identity}");
            assert_eq!(log.matches(&fix).count(), 1, "{log}");
            assert!(check.contains(&fix), "{check}");
        }
        assert_eq!(log.matches("lacks the primary key").count(), 2, "{log}");
        scene
            .sql
            .run("ALTER TABLE t REPLICA IDENTITY DEFAULT; DELETE FROM t WHERE code = 'b'");
        assert_eq!(
            scene.changes_where("\"table\" = 't' AND operation = 'DELETE'", "primary_key"),
            "-\n2"
        );
    }
}

#[test]
fn a_key_that_was_sent_in_part_is_no_primary_key() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(
            "CREATE TABLE t (a int, b int, c int NOT NULL, PRIMARY KEY (a, b));
         CREATE UNIQUE INDEX t_a_c ON t (a, c);
         ALTER TABLE t REPLICA IDENTITY USING INDEX t_a_c",
        )
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1, 2, 3); UPDATE t SET c = 4; DELETE FROM t");
    assert_eq!(
        scene.changes_of("t", "operation, primary_key, before"),
        r#"CREATE|1,2|{}
UPDATE|1,2|{"a": 1, "c": 3}
DELETE|-|{"a": 1, "c": 4}"#
    );
}

#[test]
fn unchanged_values_out_of_line_come_from_the_old_row_or_are_left_out() {
    let setup = |table: &str, identity: &str| {
        format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, v text, big text, data jsonb, list int[]);
             ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL, ALTER data SET STORAGE EXTERNAL,
                 ALTER list SET STORAGE EXTERNAL, REPLICA IDENTITY {identity};"
        )
    };
    let before = setup("kept", "FULL") + &setup("left_out", "DEFAULT");
    let (mut scene, _zemi) = Scene::one(15).before(&before).streaming();
    for table in ["kept", "left_out"] {
        scene.sql.run(&format!(
            "INSERT INTO {table} SELECT 1, 'a', repeat('é\"', 10000), \
             jsonb_build_object('k', repeat('x', 9000)), array_agg(n) FROM generate_series(1, 5000) n;
             UPDATE {table} SET v = 'b';
             UPDATE {table} SET big = repeat('new', 5000);
             UPDATE {table} SET id = 2;
             UPDATE {table} SET big = NULL, data = '1'"
        ));
        let out_of_line = format!(
            "SELECT pg_relation_size(reltoastrelid) > 8000 FROM pg_class WHERE relname = '{table}'"
        );
        assert_eq!(scene.sql.value(&out_of_line), "t", "the case did occur");
    }
    let keys = |column: &str| {
        format!("(SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys({column}) k)")
    };
    let shown = format!("operation, {}, {}", keys("before"), keys("after"));
    let all = "big data id list v";
    assert_eq!(
        scene.changes_of("kept", &shown),
        format!(
            "CREATE|-|{all}\nUPDATE|{all}|{all}\nUPDATE|{all}|{all}\nUPDATE|{all}|{all}\nUPDATE|{all}|{all}"
        )
    );
    assert_eq!(
        scene.changes_of("left_out", &shown),
        format!(
            "CREATE|-|{all}\nUPDATE|-|id v\nUPDATE|-|big id v\nUPDATE|id|id v\nUPDATE|-|big data id v"
        )
    );
    assert_is_the_row(&mut scene, "kept", "2");
    // Each old row is the new row before it, with every value.
    assert_eq!(
        scene.sql.text(
            "SELECT before = lag(after) OVER (ORDER BY position) FROM changes \
             WHERE \"table\" = 'kept' ORDER BY position OFFSET 1"
        ),
        "t\nt\nt\nt"
    );
    replays(&mut scene, "kept", &["id"]);
    replays(&mut scene, "left_out", &["id"]);
}

#[test]
fn a_key_out_of_line_is_in_every_row() {
    let before =
        "CREATE TABLE t (k text PRIMARY KEY, v text); ALTER TABLE t ALTER k SET STORAGE EXTERNAL";
    let (mut scene, _zemi) = Scene::one(15).before(before).streaming();
    scene.sql.run(
        "INSERT INTO t VALUES (repeat('k', 2500), 'a');
         UPDATE t SET v = 'b';
         DELETE FROM t",
    );
    assert_eq!(
        scene
            .sql
            .value("SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE relname = 't'"),
        "t"
    );
    assert_eq!(
        scene.changes_of(
            "t",
            "operation, length(primary_key), length(before->>'k'), length(after->>'k'), after->>'v'"
        ),
        "CREATE|2500|-|2500|a\nUPDATE|2500|2500|2500|b\nDELETE|2500|2500|-|-"
    );
}

#[test]
fn primary_key_is_the_real_key_then_the_identity_index_then_id() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(
            "CREATE TABLE real_key (id int, x int, y int, PRIMARY KEY (y, x));
         ALTER TABLE real_key REPLICA IDENTITY FULL;
         CREATE TABLE index_only (id int, code text NOT NULL UNIQUE);
         ALTER TABLE index_only REPLICA IDENTITY USING INDEX index_only_code_key;
         CREATE TABLE id_only (v text, id text);
         ALTER TABLE id_only REPLICA IDENTITY FULL;
         CREATE TABLE none_at_all (v text, \"ID\" int);
         ALTER TABLE none_at_all REPLICA IDENTITY FULL;
         CREATE TABLE later (id int, n int NOT NULL);
         ALTER TABLE later REPLICA IDENTITY FULL",
        )
        .streaming();
    scene.sql.run(
        "INSERT INTO real_key VALUES (7, 1, 2); UPDATE real_key SET x = 3; DELETE FROM real_key;
         INSERT INTO index_only VALUES (7, 'c'); UPDATE index_only SET id = 8; DELETE FROM index_only;
         INSERT INTO id_only VALUES ('a', 'seven'), ('b', NULL);
         UPDATE id_only SET v = 'c' WHERE id = 'seven';
         DELETE FROM id_only;
         INSERT INTO none_at_all VALUES ('a', 1); UPDATE none_at_all SET v = 'b'; DELETE FROM none_at_all;
         INSERT INTO later VALUES (1, 100)",
    );
    for (table, keys) in [
        ("real_key", "2,1\n2,3\n2,3"),
        ("index_only", "c\nc\nc"),
        ("id_only", "seven\n-\nseven\n-\nseven"),
        ("none_at_all", "-\n-\n-"),
    ] {
        assert_eq!(scene.changes_of(table, "primary_key"), keys, "{table}");
    }
    // A key that is made or dropped later counts from then on. What came before is seen first, since
    // the catalog has no memory.
    assert_eq!(scene.changes_of("later", "primary_key"), "1");
    scene
        .sql
        .run("ALTER TABLE later ADD PRIMARY KEY (n); UPDATE later SET id = 2");
    assert_eq!(scene.changes_of("later", "primary_key"), "1\n100");
    scene
        .sql
        .run("ALTER TABLE later DROP CONSTRAINT later_pkey; UPDATE later SET n = 101");
    assert_eq!(scene.changes_of("later", "primary_key"), "1\n100\n2");
}
