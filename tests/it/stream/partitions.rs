//! Partitions, children and chunks: by which name their rows are known, and which filters reach them.

use crate::support::proxy::NetworkFault;
use crate::support::scene::PATIENCE;
use crate::support::{Scene, Zemi};

/// The key for `HASH_COLUMNS`.
const KEY: (&str, &str) = ("HASH_KEY", "0123456789abcdef");

const FALSE: (&str, &str) = ("PUBLISH_VIA_PARTITION_ROOT", "false");

/// `p` has the leaves `p_low`, `p_mid_a`, `p_mid_b` (below `p_mid`) and `p_high`.
const TREE: &str =
    "CREATE TABLE p (id int PRIMARY KEY, v text, secret text) PARTITION BY RANGE (id);
     CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (10);
     CREATE TABLE p_mid PARTITION OF p FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
     CREATE TABLE p_mid_a PARTITION OF p_mid FOR VALUES FROM (10) TO (20);
     CREATE TABLE p_mid_b PARTITION OF p_mid FOR VALUES FROM (20) TO (30);
     CREATE TABLE p_high (secret text, gone int, v text, id int PRIMARY KEY);
     ALTER TABLE p_high DROP COLUMN gone;
     ALTER TABLE p ATTACH PARTITION p_high FOR VALUES FROM (30) TO (40);";

#[test]
fn rows_of_partitions_carry_the_name_of_the_topmost_table() {
    for major in [15, 18] {
        let (mut scene, _zemi) = Scene::one(major).before(TREE).streaming();
        scene.sql.run(
            "INSERT INTO p VALUES (1, 'a'), (11, 'b'), (21, 'c');
             INSERT INTO p_high (id, v) VALUES (31, 'd');
             UPDATE p SET id = 12 WHERE id = 1; DELETE FROM p_mid_b;
             CREATE SCHEMA late CREATE TABLE q (id int PRIMARY KEY, v text, secret text);
             ALTER TABLE p ATTACH PARTITION late.q FOR VALUES FROM (40) TO (50);
             INSERT INTO late.q VALUES (41)",
        );
        scene.caught_up();
        scene
            .sql
            .run("ALTER TABLE p DETACH PARTITION late.q; INSERT INTO late.q VALUES (99)");
        assert_eq!(
            scene.changes_where("true", "operation, schema, \"table\", primary_key, before"),
            r#"CREATE|public|p|1|{}
CREATE|public|p|11|{}
CREATE|public|p|21|{}
CREATE|public|p|31|{}
DELETE|public|p|1|{"id": 1}
CREATE|public|p|12|{}
DELETE|public|p|21|{"id": 21}
CREATE|public|p|41|{}
CREATE|late|q|99|{}"#,
            "{major}"
        );
    }
}

#[test]
fn the_truncate_of_a_partition_says_which_rows_and_that_of_the_table_is_one() {
    for (major, via_root) in [(15, true), (18, true), (15, false)] {
        let root = via_root.to_string();
        let (mut scene, _zemi) = Scene::one(major)
            .before(&[TREE, "CREATE TABLE t (id int PRIMARY KEY)"].concat())
            .with(&[("PUBLISH_VIA_PARTITION_ROOT", root.as_str())])
            .streaming();
        scene.sql.run("INSERT INTO p VALUES (1), (11), (21), (31)");
        scene.caught_up();
        let shown = "\"table\", context";
        let mut said = |sql: &str| {
            scene.sql.run(sql);
            let found = scene.changes_where("operation = 'TRUNCATE'", shown);
            scene
                .sql
                .run("DELETE FROM changes WHERE operation = 'TRUNCATE'");
            let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
            found.sort_unstable();
            found.join("\n")
        };
        let part = |table: &str, low: u32| {
            format!(
                "{table}|{{\"zemi_partition\": {{\"table\": \"p\", \"bounds\": \"((id IS NOT NULL) AND \
                 (id >= {low}) AND (id < {}))\", \"schema\": \"public\"}}}}",
                low + 10
            )
        };
        assert_eq!(
            said("TRUNCATE p_low"),
            part("p_low", 0),
            "{major} {via_root}"
        );
        assert_eq!(said("TRUNCATE t"), "t|{}");
        let mid_b = said("TRUNCATE p_mid_b");
        assert!(mid_b.starts_with("p_mid_b|{\"zemi_partition\""), "{mid_b}");
        if via_root {
            let mid = said("TRUNCATE p_mid");
            assert!(mid.starts_with("p_mid|{\"zemi_partition\""), "{mid}");
            assert!(
                mid.contains("(id >= 10) AND (id < 30)") && mid.lines().count() == 1,
                "{mid}"
            );
            assert_eq!(said("TRUNCATE p"), "p|{}");
            assert_eq!(
                said("TRUNCATE p_low, t, p_mid_a, p_high, p_mid_b"),
                "p|{}\nt|{}"
            );
            let both = said("TRUNCATE p_low, p_mid_a, p_mid_b");
            let tables: Vec<&str> = both.lines().map(|l| l.split('|').next().unwrap()).collect();
            assert_eq!(tables, ["p_low", "p_mid"]);
        } else {
            assert_eq!(said("TRUNCATE p").lines().count(), 4);
        }
        // Every relation of the message has a position of its own.
        scene.sql.run("TRUNCATE p, t; INSERT INTO t VALUES (1)");
        scene.caught_up();
        crate::support::replay::assert_unique(&mut scene.sql);
    }
}

#[test]
fn contexts_and_what_is_said_of_a_partition_stand_side_by_side() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(&[TREE, "CREATE TABLE t (id int PRIMARY KEY, v text)"].concat())
        .streaming();
    let say = |text: &str| format!("SELECT pg_logical_emit_message(true, '_bemi', '{text}')");
    let object = r#"{"user": "ada"}"#;
    // Before, behind it in the same batch, no object, none at all.
    for transaction in [
        format!("{}; TRUNCATE p_low", say(object)),
        format!(
            "TRUNCATE p_low; INSERT INTO t VALUES (1, ''); {}",
            say(object)
        ),
        format!("TRUNCATE p_low; {}", say("[1]")),
        format!("{}; TRUNCATE p_low", say("{oops")),
        "TRUNCATE p_low; INSERT INTO t VALUES (2, '')".to_owned(),
        // Behind rows that fill batches: patched in the table.
        format!(
            "TRUNCATE p_low; INSERT INTO t SELECT g, repeat('x', 100) \
             FROM generate_series(10, 20000) g; {}",
            say(object)
        ),
        format!(
            "TRUNCATE p_low; INSERT INTO t SELECT g, repeat('x', 100) \
             FROM generate_series(20001, 40000) g; {}",
            say("[1]")
        ),
    ] {
        scene.sql.run(&format!("BEGIN; {transaction}; COMMIT"));
    }
    let of_partition = "context->'zemi_partition'->>'table', context - 'zemi_partition'";
    assert_eq!(
        scene.changes_of("p_low", of_partition),
        [
            r#"p|{"user": "ada"}"#,
            r#"p|{"user": "ada"}"#,
            r#"p|{"zemi_context": [1]}"#,
            r#"p|{"zemi_invalid": "{oops"}"#,
            "p|{}",
            r#"p|{"user": "ada"}"#,
            r#"p|{"zemi_context": [1]}"#,
        ]
        .join("\n")
    );
    let others =
        "SELECT context, count(*) FROM changes WHERE \"table\" = 't' GROUP BY 1 ORDER BY 2";
    assert_eq!(
        scene.sql.text(others),
        "{}|1\n{\"user\": \"ada\"}|19992\n[1]|20000"
    );
}

#[test]
fn filters_that_name_a_table_reach_all_below_it() {
    for (major, more) in [(15, FALSE), (18, ("LOG_LEVEL", "info"))] {
        let (mut scene, _zemi) = Scene::one(major)
            .before(
                &[
                    TREE,
                    "CREATE TABLE parent (id int PRIMARY KEY, v text, secret text);
                 CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
                 CREATE TABLE no (id int PRIMARY KEY) PARTITION BY LIST (id);
                 CREATE TABLE no_1 PARTITION OF no FOR VALUES IN (1);
                 CREATE SCHEMA _timescaledb_internal;
                 CREATE TABLE hyper (id int PRIMARY KEY, v text, secret text);
                 CREATE TABLE _timescaledb_internal.chunk (PRIMARY KEY (id)) INHERITS (hyper);
                 CREATE TABLE _timescaledb_internal.catalog (id int PRIMARY KEY)",
                ]
                .concat(),
            )
            .with(&[
                KEY,
                more,
                ("EXCLUDE_TABLES", "public.no"),
                ("HASH_COLUMNS", "p.secret, hyper.v"),
                ("EXCLUDE_COLUMNS", "parent.secret, hyper.secret, p.v"),
            ])
            .streaming();
        scene.sql.run(
            "INSERT INTO p VALUES (1, 'v', 'x'), (21, 'v', 'x');
             INSERT INTO p_high (id, secret) VALUES (31, 'x');
             INSERT INTO child VALUES (1, 'v', 'x'); INSERT INTO no VALUES (1);
             INSERT INTO _timescaledb_internal.chunk VALUES (1, 'v', 'x');
             INSERT INTO _timescaledb_internal.catalog VALUES (1);
             CREATE TABLE no_2 PARTITION OF no FOR VALUES IN (2); INSERT INTO no VALUES (2)",
        );
        let found = scene.changes_where("true", "\"table\", after");
        assert!(!found.contains("\"x\""), "{found}");
        let keys = "(SELECT string_agg(k || length(v), ' ' ORDER BY k) FROM jsonb_each_text(after) e(k, v))";
        let names = match more == FALSE {
            true => ["p_low", "p_mid_b", "p_high", "chunk"],
            false => ["p", "p", "p", "hyper"],
        };
        let rows = [
            ("id1 secret64", names[0]),
            ("id2 secret64", names[1]),
            ("id2 secret64", names[2]),
            ("id1 v1", "child"),
            ("id1 v64", names[3]),
        ];
        let wanted = rows.map(|(keys, table)| format!("{table}|{keys}"));
        assert_eq!(
            scene.changes_where("true", &format!("\"table\", {keys}")),
            wanted.join("\n"),
            "{major}"
        );
    }
}

#[test]
fn tables_names_a_table_with_all_its_partitions() {
    // Whatever the publication holds, the names decide.
    let (mut scene, _zemi) = Scene::one(15)
        .before(
            &[
                TREE,
                "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION zemi FOR ALL TABLES",
            ]
            .concat(),
        )
        .with(&[("TABLES", "p")])
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1); INSERT INTO p VALUES (1), (21)");
    let rows = scene.changes_where("true", "\"table\", primary_key");
    assert_eq!(rows, "p|1\np|21");
}

#[test]
fn a_partition_that_is_detached_or_dropped_before_its_rows_are_read_keeps_its_root() {
    for major in [15, 18] {
        let (mut scene, zemi) = Scene::two(major)
            .networked()
            .before(TREE)
            .with(&[KEY, ("HASH_COLUMNS", "p.secret")])
            .streaming();
        let rows = "INSERT INTO p VALUES (1, 'v', 'x'), (11, 'v', 'x')";
        scene.sql.run(&format!("{rows}; DELETE FROM p"));
        scene.caught_up();
        scene.nets[0].set(NetworkFault::Refusing);
        scene.nets[0].cut();
        scene.sql.run(rows);
        scene.sql.run(
            "ALTER TABLE p DETACH PARTITION p_low; INSERT INTO p_low VALUES (2, 'v', 'alone')",
        );
        scene.sql.run("DROP TABLE p");
        scene.nets[0].set(NetworkFault::None);
        let shown = "\"table\", primary_key, length(after->>'secret')";
        let found = scene.changes_where("operation = 'CREATE'", shown);
        assert_eq!(
            found,
            "p|1|64\np|11|64\np|1|64\np|11|64\np_low|2|5",
            "{major}: {}",
            zemi.log()
        );
    }
}

#[test]
fn a_partition_that_was_detached_or_dropped_before_zemi_ever_saw_it_shows_no_secret() {
    for major in [15, 18] {
        let (mut scene, mut zemi) = Scene::one(major)
            .before(TREE)
            .with(&[
                KEY,
                ("HASH_COLUMNS", "p.secret"),
                ("EXCLUDE_COLUMNS", "other.v"),
            ])
            .streaming();
        zemi.stop();
        scene
            .sql
            .run("INSERT INTO p VALUES (1, 'v', 'x'), (31, 'v', 'x')");
        scene
            .sql
            .run("ALTER TABLE p DETACH PARTITION p_high; INSERT INTO p_high (id, secret) VALUES (32, 'own')");
        let zemi = scene.start();
        let shown = "\"table\", length(after->>'secret'), after ? 'v'";
        assert_eq!(
            scene.changes_where("true", shown),
            "p|64|t\np_high|64|t\np_high|3|t",
            "{major}"
        );
        let said = "\"public\".\"p_high\" was altered after its rows were written";
        zemi.wait_for_log(said, PATIENCE);
        assert_eq!(zemi.log().matches(said).count(), 1, "{}", zemi.log());
        let mut zemi = zemi;
        zemi.stop();
        scene
            .sql
            .run("DELETE FROM changes; INSERT INTO p VALUES (2, 'v', 'x')");
        scene.sql.run("DROP TABLE p");
        let zemi = scene.start();
        let shown = "\"table\", length(after->>'secret'), after ? 'v'";
        assert_eq!(scene.changes_where("true", shown), "p_low|64|f", "{major}");
        let said = "\"public\".\"p_low\" is gone from the source's catalog";
        zemi.wait_for_log(said, PATIENCE);
        assert_eq!(zemi.log().matches(said).count(), 1);
    }
}

#[test]
fn a_key_that_a_partition_sent_has_no_invented_nulls() {
    for major in [15, 18] {
        let (mut scene, _zemi) = Scene::one(major)
            .before(
                "CREATE TABLE p (region text, id int, n int, v text) PARTITION BY RANGE (id);
                 CREATE TABLE by_key PARTITION OF p FOR VALUES FROM (0) TO (10);
                 CREATE TABLE by_both (v text, gone int, region text, n int, id int,
                     PRIMARY KEY (id, region));
                 ALTER TABLE by_both DROP COLUMN gone;
                 ALTER TABLE p ATTACH PARTITION by_both FOR VALUES FROM (10) TO (20);
                 CREATE TABLE whole PARTITION OF p FOR VALUES FROM (20) TO (30);
                 ALTER TABLE by_key ADD PRIMARY KEY (id);
                 ALTER TABLE by_key ALTER v SET STORAGE EXTERNAL;
                 ALTER TABLE p REPLICA IDENTITY FULL; ALTER TABLE whole REPLICA IDENTITY FULL;
                 CREATE PUBLICATION zemi FOR ALL TABLES WITH (publish_via_partition_root = true)",
            )
            .streaming();
        scene.sql.run(
            "INSERT INTO p VALUES ('r', 1, 5, repeat('long', 2500)), ('r', 11, 5, 'new'),
                 ('r', 21, NULL, 'new'),
                 ('r', 22, NULL, NULL);
             UPDATE p SET id = id + 5 WHERE id < 20; UPDATE p SET n = 6 WHERE id = 21; DELETE FROM p",
        );
        let after = "(SELECT string_agg(k, ' ') FROM jsonb_object_keys(after) k)";
        assert_eq!(
            scene.changes_where(
                "operation <> 'CREATE'",
                &format!("operation, before, {after}")
            ),
            r#"UPDATE|{"id": 1}|n id region
UPDATE|{"id": 11, "region": "r"}|n v id region
UPDATE|{"n": null, "v": "new", "id": 21, "region": "r"}|n v id region
DELETE|{"id": 6}|-
DELETE|{"id": 16, "region": "r"}|-
DELETE|{"id": 22, "region": "r"}|-
DELETE|{"n": 6, "v": "new", "id": 21, "region": "r"}|-"#,
            "{major}"
        );
        let (_, said, _) = Zemi::says(&["check"], &scene.settings);
        for part in ["by_both", "by_key"] {
            let fix = format!("ALTER TABLE \"public\".\"{part}\" REPLICA IDENTITY FULL");
            assert!(said.contains(&fix), "{said}");
        }
        assert!(
            said.contains("by a root with REPLICA IDENTITY FULL"),
            "{said}"
        );
    }
}

#[test]
fn an_update_of_columns_that_are_left_out_makes_no_row() {
    for major in [15, 18] {
        let (mut scene, _zemi) = Scene::one(major)
            .before(
                "CREATE TABLE t (id int PRIMARY KEY, v text, seen int, secret text, big text);
                 ALTER TABLE t REPLICA IDENTITY FULL, ALTER big SET STORAGE EXTERNAL;
                 CREATE TABLE by_key (id int PRIMARY KEY, seen int);
                 CREATE TABLE plain (id int PRIMARY KEY, v text); ALTER TABLE plain REPLICA IDENTITY FULL",
            )
            .with(&[
                KEY,
                ("EXCLUDE_COLUMNS", "t.seen,by_key.seen"),
                ("HASH_COLUMNS", "t.secret"),
            ])
            .streaming();
        scene.sql.run(
            "INSERT INTO t VALUES (1, 'a', 1, 's', repeat('x', 9000)); INSERT INTO by_key VALUES (1, 1);
             INSERT INTO plain VALUES (1, 'a');
             UPDATE t SET seen = 2; UPDATE t SET secret = 'other'; UPDATE t SET v = 'b', seen = 3",
        );
        // A late context in a transaction without rows.
        scene.sql.run(
            "UPDATE t SET seen = 4; SELECT pg_logical_emit_message(true, '_bemi', '{\"u\": 1}')",
        );
        scene
            .sql
            .run("UPDATE by_key SET seen = 2; UPDATE plain SET v = 'a'; DELETE FROM t");
        assert_eq!(
            scene.changes_where(
                "operation <> 'CREATE'",
                "operation, \"table\", after->>'v', context"
            ),
            "UPDATE|t|a|{}\nUPDATE|t|b|{}\nUPDATE|by_key|-|{}\nUPDATE|plain|a|{}\nDELETE|t|-|{}",
            "{major}"
        );
    }
}

/// Two trees that take turns under the name `users`, and tables that come below `top` and `elder` later.
const TURNS: &str = "CREATE TABLE users (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
     CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (1000);
     CREATE TABLE users_new (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
     CREATE TABLE un_1 PARTITION OF users_new FOR VALUES FROM (0) TO (1000);
     CREATE SCHEMA s;
     CREATE TABLE s.q (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
     CREATE TABLE s.q_1 PARTITION OF s.q FOR VALUES FROM (0) TO (1000);
     CREATE TABLE top (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
     CREATE TABLE elder (id int, secret text); CREATE TABLE alone (id int PRIMARY KEY, secret text)";

#[test]
fn a_new_name_above_a_table_holds_from_the_first_row_behind_it() {
    for major in [15, 18] {
        let (mut scene, zemi) = Scene::one(major)
            .before(TURNS)
            .with(&[(
                "EXCLUDE_COLUMNS",
                "users.secret,past.q.secret,top.secret,elder.secret",
            )])
            .streaming();
        scene.sql.run(
            "INSERT INTO users VALUES (1, 'S'); INSERT INTO users_new VALUES (2, 'S');
             INSERT INTO s.q VALUES (3, 'S'); INSERT INTO alone VALUES (4, 'S')",
        );
        scene.caught_up();
        let swap = |old: &str, new: &str| {
            format!(
                "BEGIN; ALTER TABLE users RENAME TO {old}; ALTER TABLE {new} RENAME TO users; COMMIT"
            )
        };
        let mut rows = |sql: &str, wanted: &str| {
            scene.sql.run("DELETE FROM changes");
            for sql in sql.split(";; ") {
                // What committed before the new name was noticed is masked by both.
                match sql == "wait" {
                    true => scene.caught_up(),
                    false => scene.sql.run(sql),
                };
            }
            let found =
                scene.changes_where("true", "schema, \"table\", primary_key, after ? 'secret'");
            assert_eq!(found, wanted, "{major} {sql}: {}", zemi.log());
        };
        let insert =
            "INSERT INTO users VALUES (10, 'S');; wait;; INSERT INTO users_old VALUES (11, 'S')";
        rows(
            &format!("{};; {insert}", swap("users_old", "users_new")),
            "public|users|10|f\npublic|users_old|11|t",
        );
        // In the transaction itself, before its change and behind it.
        let insert = "INSERT INTO users VALUES (20, 'S')";
        let swap = swap("users_new", "users_old").replace("; COMMIT", "");
        rows(
            &format!(
                "{};; wait;; INSERT INTO users_new VALUES (21, 'S')",
                swap.replace("BEGIN;", &format!("BEGIN; {insert};"))
                    + "; INSERT INTO users VALUES (22, 'S'); COMMIT"
            ),
            "public|users_new|20|f\npublic|users|22|f\npublic|users_new|21|t",
        );
        rows(
            "ALTER SCHEMA s RENAME TO past;; INSERT INTO past.q VALUES (30, 'S')",
            "past|q|30|f",
        );
        rows(
            "ALTER SCHEMA past RENAME TO s;; INSERT INTO s.q VALUES (40, 'S');; wait;; DELETE FROM changes;; \
             INSERT INTO s.q VALUES (41, 'S')",
            "s|q|41|t",
        );
        rows(
            "ALTER TABLE top ATTACH PARTITION s.q FOR VALUES FROM (0) TO (1000);; \
             INSERT INTO s.q_1 VALUES (50, 'S');; wait;; ALTER TABLE top DETACH PARTITION s.q;; \
             INSERT INTO s.q_1 VALUES (51, 'S')",
            "public|top|50|f\ns|q|51|t",
        );
        rows(
            "ALTER TABLE alone INHERIT elder;; INSERT INTO alone VALUES (60, 'S');; wait;; \
             ALTER TABLE elder RENAME TO eldest;; INSERT INTO alone VALUES (61, 'S');; wait;; \
             INSERT INTO alone VALUES (62, 'S');; wait;; \
             ALTER TABLE eldest RENAME TO elder;; wait;; TRUNCATE alone;; INSERT INTO alone VALUES (63, 'S')",
            "public|alone|60|f\npublic|alone|61|f\npublic|alone|62|t\npublic|alone|-|f\npublic|alone|63|f",
        );
    }
}
