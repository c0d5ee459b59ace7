//! Values that jsonb or the destination's table cannot hold: each arrives in another form, is counted
//! and logged once, and the rows around it are untouched.

use crate::support::replay::assert_unique;
use crate::support::scene::{PATIENCE, caught_up, settings, streaming, with};
use crate::support::{Scene, Server, Sql, wait_until};

/// A table of rows that stand around the poison.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, j json, v text)";

/// `after` of the row with this key.
fn after(scene: &mut Scene, id: i32) -> serde_json::Value {
    let text = scene.changes_where(&format!("primary_key = '{id}'"), "after");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{id}: {e}: {text}"))
}

#[test]
fn json_that_jsonb_refuses_is_kept_as_its_text() {
    let (mut scene, zemi) = Scene::one(15).before(TABLE).streaming();
    let deep = format!("{}{}", "[".repeat(6_000), "]".repeat(6_000));
    let poison = [
        r#"{"a": "\u0000"}"#.to_owned(),
        r#"["\ud800"]"#.to_owned(),
        r#"["\udc00 \ud800x"]"#.to_owned(),
        format!("1{}", "0".repeat(140_000)),
        "1e200000".to_owned(),
        "-1e999999999999".to_owned(),
        deep,
    ];
    for (n, text) in poison.iter().enumerate() {
        scene.sql.run(&format!(
            "INSERT INTO t VALUES ({}, '{{\"good\": 1}}', 'a')",
            n * 10 + 1
        ));
        scene.sql.run(&format!(
            "INSERT INTO t VALUES ({}, '{text}', 'b')",
            n * 10 + 2
        ));
        scene.sql.run(&format!(
            "INSERT INTO t VALUES ({}, ' [1, 2] ', 'c')",
            n * 10 + 3
        ));
    }
    for (n, text) in poison.iter().enumerate() {
        let n = n as i32 * 10;
        let kept = after(&mut scene, n + 2);
        assert_eq!(kept["j"].as_str(), Some(text.as_str()), "number {n}");
        assert_eq!(kept["v"], "b");
        assert_eq!(
            after(&mut scene, n + 1)["j"],
            serde_json::json!({"good": 1})
        );
        assert_eq!(after(&mut scene, n + 3)["j"], serde_json::json!([1, 2]));
    }
    // A large number is no poison: it is refused by neither side.
    scene.sql.run("INSERT INTO t VALUES (99, '1e100000')");
    let same = scene.changes_where("primary_key = '99'", "(after->'j') = '1e100000'::jsonb");
    assert_eq!(same, "t");
    assert_eq!(
        zemi.log().matches("another form").count(),
        // Once for each reason.
        4,
        "{}",
        zemi.log()
    );
}

#[test]
fn keys_too_long_for_their_column_or_index_arrive() {
    let existing = "CREATE TABLE changes (id uuid PRIMARY KEY, primary_key varchar(255), before jsonb, \
        after jsonb, database text, schema text, \"table\" text, operation text, \
        committed_at timestamptz, queued_at timestamptz, transaction_id bigint, position bigint, \
        context jsonb); CREATE TABLE long (id text PRIMARY KEY, v int)";
    let (mut scene, _zemi) = Scene::one(15).before(existing).streaming();
    scene
        .sql
        .run("INSERT INTO long VALUES ('short', 1), (repeat('é', 2000), 2), ('last', 3)");
    assert_eq!(
        scene.changes_of(
            "long",
            "after->>'v', length(primary_key), length(after->>'id')"
        ),
        "1|5|5\n2|255|2000\n3|4|4"
    );

    // Without a limit of its own the column is indexed, and an index takes some 2,700 bytes.
    let (mut scene, _zemi) = Scene::one(15)
        .before("CREATE TABLE long (id text, v int)")
        .streaming();
    scene.sql.run("ALTER TABLE long REPLICA IDENTITY FULL");
    // Random text, so that compression does not make it fit.
    scene.sql.run(
        "INSERT INTO long VALUES ('first', 1);
         INSERT INTO long SELECT string_agg(md5(g::text), ''), 2 FROM generate_series(1, 400) g;
         INSERT INTO long VALUES ('last', 3)",
    );
    let lengths = scene.changes_of("long", "after->>'v', length(after->>'id')");
    assert_eq!(lengths, "1|5\n2|12800\n3|4");
    let cut = scene.changes_where(
        "after->>'v' = '2'",
        "starts_with(after->>'id', primary_key) AND length(primary_key) >= 500",
    );
    assert_eq!(cut, "t");
}

#[test]
fn names_of_sixty_three_bytes_with_quotes_and_emoji_arrive() {
    let (mut scene, _zemi) = Scene::one(15).streaming();
    let table = format!("{}\"'\\{}", "🐘".repeat(10), "x".repeat(20));
    let column = format!("{}\"'\\{}", "🦀".repeat(12), "y".repeat(12));
    assert_eq!((table.len(), column.len()), (63, 63));
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    scene.sql.run(&format!(
        "CREATE TABLE {t} ({c} int PRIMARY KEY); INSERT INTO {t} VALUES (7);
         UPDATE {t} SET {c} = 8; DELETE FROM {t}",
        t = quoted(&table),
        c = quoted(&column)
    ));
    let seen = scene.changes_where("true", "operation, primary_key, \"table\", after::text");
    let json = serde_json::to_string(&column).unwrap();
    assert_eq!(
        seen,
        format!(
            "CREATE|7|{table}|{{{json}: 7}}\nUPDATE|8|{table}|{{{json}: 8}}\nDELETE|8|{table}|{{}}"
        )
    );
}

#[test]
fn what_is_too_large_for_jsonb_is_left_out_with_its_size() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    scene.sql.run("INSERT INTO t VALUES (1, '1', 'before')");
    // One byte more than a string of jsonb may have; and two that fit, in a row that does not.
    scene
        .sql
        .run("INSERT INTO t VALUES (2, '2', repeat('x', 268435456))");
    scene.sql.run("INSERT INTO t VALUES (3, '3', 'after')");
    scene
        .sql
        .run("INSERT INTO t VALUES (4, to_json(repeat('x', 150000000)), repeat('y', 150000000))");
    scene.sql.run("INSERT INTO t VALUES (5, '5', 'last')");
    let omitted = after(&mut scene, 2);
    assert_eq!(omitted["j"], 2);
    assert_eq!(omitted["v"]["bytes"], 268_435_456, "{omitted}");
    assert!(omitted["v"]["zemi_omitted"].is_string());
    assert_eq!(after(&mut scene, 1)["v"], "before");
    assert_eq!(after(&mut scene, 3)["v"], "after");
    assert_eq!(after(&mut scene, 5)["v"], "last");
    let whole = after(&mut scene, 4);
    assert!(whole["zemi_omitted"].is_string(), "{whole}");
    assert!(whole["bytes"].as_u64() > Some(300_000_000), "{whole}");
}

#[test]
fn rows_that_the_destination_cannot_spell_do_not_stop_the_stream() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    sql.run("CREATE TABLE t (id text PRIMARY KEY, v text)");
    let more = [("DEST_DB_NAME", "latin")];
    let _zemi = streaming(&with(&settings(&server, None), &more));
    sql.run("INSERT INTO t VALUES ('a', 'straße'), ('5 €', '6 €'), ('c', 'plain')");
    // A transaction in pieces, with a context that comes late.
    sql.run(
        "BEGIN; INSERT INTO t SELECT 'n' || n, repeat('x', 1000) FROM generate_series(1, 2000) n; \
         SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": \"€\"}'); COMMIT",
    );
    caught_up(&mut sql);
    let mut there = Sql::open(&server, "latin");
    there.run("SET client_encoding = 'UTF8'");
    assert_eq!(
        there.text(
            "SELECT primary_key, after->>'v' FROM changes WHERE primary_key !~ '^n' ORDER BY position"
        ),
        "a|straße\n5 \\u{20ac}|6 \\u{20ac}\nc|plain"
    );
    assert_eq!(
        there.text("SELECT context->>'user', count(*) FROM changes GROUP BY 1 ORDER BY 2"),
        "-|3\n\\u{20ac}|2000"
    );
}

#[test]
fn rows_that_the_destination_cannot_spell_are_known_when_they_come_again() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    sql.run("CREATE TABLE \"€\" (id text PRIMARY KEY); CREATE TABLE t (id text PRIMARY KEY)");
    let settings = with(&settings(&server, None), &[("DEST_DB_NAME", "latin")]);
    let mut zemi = streaming(&settings);
    sql.run("SELECT pg_create_logical_replication_slot('again', 'pgoutput')");
    sql.run("INSERT INTO \"€\" VALUES ('a'), ('b'); INSERT INTO t VALUES ('5 €'), ('6')");
    caught_up(&mut sql);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(PATIENCE), Some(0));
    let mut there = Sql::open(&server, "latin");
    let before = there.text("SELECT id FROM changes ORDER BY 1");
    assert_eq!(before.lines().count(), 4);
    let zemi = streaming(&with(&settings, &[("SLOT_NAME", "again")]));
    sql.run("INSERT INTO t VALUES ('7')");
    wait_until("the new row arrives", PATIENCE, || {
        there.value("SELECT count(*) FROM changes WHERE primary_key = '7'") == "1"
    });
    there.run("DELETE FROM changes WHERE primary_key = '7'");
    assert_eq!(there.text("SELECT id FROM changes ORDER BY 1"), before);
    drop(zemi);
}

#[test]
fn a_row_that_is_refused_at_commit_or_by_an_internal_error_is_found_and_written_safely() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let _zemi = streaming(&settings(&server, None));
    sql.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
         IF NEW.after->>'v' = TG_ARGV[0] THEN RAISE EXCEPTION 'no' USING ERRCODE = TG_ARGV[0]; \
         END IF; RETURN NEW; END$$; \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION refuse('23514'); \
         CREATE TRIGGER internal BEFORE INSERT ON changes FOR EACH ROW \
         EXECUTE FUNCTION refuse('XX000'); \
         CREATE TRIGGER raised BEFORE INSERT ON changes FOR EACH ROW \
         EXECUTE FUNCTION refuse('P0001'); \
         CREATE INDEX ON changes ((after->>'v'))",
    );
    sql.run(
        "INSERT INTO t SELECT n, CASE n WHEN 3 THEN '23514' WHEN 50 THEN 'XX000' WHEN 70 THEN 'P0001' \
         WHEN 90 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i) \
         ELSE 'fine' END FROM generate_series(1, 100) n",
    );
    caught_up(&mut sql);
    let strange = "SELECT string_agg(primary_key, ' ' ORDER BY position) FROM changes \
                   WHERE jsonb_typeof(after) <> 'object'";
    assert_eq!(sql.text(strange), "3 50 70 90");
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "100");
    // ON CONFLICT knows no deferrable constraint.
    sql.run(
        "ALTER TABLE changes DROP CONSTRAINT changes_position_table_schema_database_operation_unique; \
         ALTER TABLE changes ADD UNIQUE (position, \"table\", schema, database, operation) \
         DEFERRABLE INITIALLY DEFERRED",
    );
    sql.run("INSERT INTO t VALUES (101, 'fine'), (102, 'XX000'), (103, 'fine')");
    caught_up(&mut sql);
    assert_eq!(sql.text(strange), "3 50 70 90 102");
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "103");
    assert_unique(&mut sql);
}
