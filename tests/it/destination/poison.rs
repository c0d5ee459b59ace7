//! Values that jsonb or the destination's table cannot hold: each arrives in a safe form, is counted
//! and logged once, and the rows around it are untouched.

use crate::support::Stage;

/// A table of rows that stand around the poison.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, j json, v text)";

/// `after` of the row with this key.
fn after(stage: &mut Stage, id: i32) -> serde_json::Value {
    let text = stage.changes_where(&format!("primary_key = '{id}'"), "after");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{id}: {e}: {text}"))
}

#[test]
fn json_that_jsonb_refuses_is_kept_as_its_text() {
    let mut stage = Stage::new(15, TABLE, &[]);
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
        stage.sql.run(&format!(
            "INSERT INTO t VALUES ({}, '{{\"good\": 1}}', 'a')",
            n * 10 + 1
        ));
        stage.sql.run(&format!(
            "INSERT INTO t VALUES ({}, '{text}', 'b')",
            n * 10 + 2
        ));
        stage.sql.run(&format!(
            "INSERT INTO t VALUES ({}, ' [1, 2] ', 'c')",
            n * 10 + 3
        ));
    }
    for (n, text) in poison.iter().enumerate() {
        let n = n as i32 * 10;
        let kept = after(&mut stage, n + 2);
        assert_eq!(kept["j"].as_str(), Some(text.as_str()), "number {n}");
        assert_eq!(kept["v"], "b");
        assert_eq!(
            after(&mut stage, n + 1)["j"],
            serde_json::json!({"good": 1})
        );
        assert_eq!(after(&mut stage, n + 3)["j"], serde_json::json!([1, 2]));
    }
    // A large number is no poison: it is refused by neither side.
    stage.sql.run("INSERT INTO t VALUES (99, '1e100000')");
    let same = stage.changes_where("primary_key = '99'", "(after->'j') = '1e100000'::jsonb");
    assert_eq!(same, "t");
    assert_eq!(
        stage.zemi.log().matches("safe form").count(),
        // Once for each reason.
        4,
        "{}",
        stage.zemi.log()
    );
}

#[test]
fn keys_too_long_for_their_column_or_index_arrive() {
    let existing = "CREATE TABLE changes (id uuid PRIMARY KEY, primary_key varchar(255), before jsonb, \
        after jsonb, database text, schema text, \"table\" text, operation text, \
        committed_at timestamptz, queued_at timestamptz, transaction_id bigint, position bigint, \
        context jsonb); CREATE TABLE long (id text PRIMARY KEY, v int)";
    let mut stage = Stage::new(15, existing, &[]);
    stage
        .sql
        .run("INSERT INTO long VALUES ('short', 1), (repeat('é', 2000), 2), ('last', 3)");
    assert_eq!(
        stage.changes_of(
            "long",
            "after->>'v', length(primary_key), length(after->>'id')"
        ),
        "1|5|5\n2|255|2000\n3|4|4"
    );

    // Without a limit of its own the column is indexed, and an index takes some 2,700 bytes.
    let mut stage = Stage::new(15, "CREATE TABLE long (id text, v int)", &[]);
    stage.sql.run("ALTER TABLE long REPLICA IDENTITY FULL");
    // Random text, so that compression does not make it fit.
    stage.sql.run(
        "INSERT INTO long VALUES ('first', 1);
         INSERT INTO long SELECT string_agg(md5(g::text), ''), 2 FROM generate_series(1, 400) g;
         INSERT INTO long VALUES ('last', 3)",
    );
    let lengths = stage.changes_of("long", "after->>'v', length(after->>'id')");
    assert_eq!(lengths, "1|5\n2|12800\n3|4");
    let cut = stage.changes_where(
        "after->>'v' = '2'",
        "starts_with(after->>'id', primary_key) AND length(primary_key) >= 500",
    );
    assert_eq!(cut, "t");
}

#[test]
fn names_of_sixty_three_bytes_with_quotes_and_emoji_arrive() {
    let mut stage = Stage::new(15, "", &[]);
    let table = format!("{}\"'\\{}", "🐘".repeat(10), "x".repeat(20));
    let column = format!("{}\"'\\{}", "🦀".repeat(12), "y".repeat(12));
    assert_eq!((table.len(), column.len()), (63, 63));
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    stage.sql.run(&format!(
        "CREATE TABLE {t} ({c} int PRIMARY KEY); INSERT INTO {t} VALUES (7);
         UPDATE {t} SET {c} = 8; DELETE FROM {t}",
        t = quoted(&table),
        c = quoted(&column)
    ));
    let seen = stage.changes_where("true", "operation, primary_key, \"table\", after::text");
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
    let mut stage = Stage::new(15, TABLE, &[]);
    stage.sql.run("INSERT INTO t VALUES (1, '1', 'before')");
    // One byte more than a string of jsonb may have; and two that fit, in a row that does not.
    stage
        .sql
        .run("INSERT INTO t VALUES (2, '2', repeat('x', 268435456))");
    stage.sql.run("INSERT INTO t VALUES (3, '3', 'after')");
    stage
        .sql
        .run("INSERT INTO t VALUES (4, to_json(repeat('x', 150000000)), repeat('y', 150000000))");
    stage.sql.run("INSERT INTO t VALUES (5, '5', 'last')");
    let omitted = after(&mut stage, 2);
    assert_eq!(omitted["j"], 2);
    assert_eq!(omitted["v"]["bytes"], 268_435_456, "{omitted}");
    assert!(omitted["v"]["zemi_omitted"].is_string());
    assert_eq!(after(&mut stage, 1)["v"], "before");
    assert_eq!(after(&mut stage, 3)["v"], "after");
    assert_eq!(after(&mut stage, 5)["v"], "last");
    let whole = after(&mut stage, 4);
    assert!(whole["zemi_omitted"].is_string(), "{whole}");
    assert!(whole["bytes"].as_u64() > Some(300_000_000), "{whole}");
}
