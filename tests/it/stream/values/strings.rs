//! `JSON_TYPE_COERCION=false`: every value is the text that PostgreSQL prints, NULL stays null.

use crate::support::Scene;

#[test]
fn without_coercion_every_value_is_a_string_and_null_is_null() {
    let before =
        "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN num AS int;
         CREATE TABLE t (id int PRIMARY KEY, b bool, n numeric, f float8, j jsonb, js json, d date,
           ts timestamptz, i interval, a int[], aa text[], p pair, m num, y bytea, x text, z text);
         ALTER TABLE t REPLICA IDENTITY FULL; ALTER DATABASE postgres SET timezone = 'Asia/Kathmandu'";
    let (mut scene, _zemi) = Scene::one(16)
        .before(before)
        .with(&[("JSON_TYPE_COERCION", "false")])
        .streaming();
    scene.sql.run(
        "INSERT INTO t VALUES (1, true, 1.50, 'NaN', '{\"a\": 1}', '{ \"a\":1}', '0044-03-15 BC',
           '2024-01-02 03:04:05.6+00', '1 mon -1 day', '[0:1]={1,NULL}', '{\"a b\",\"\\\"\"}', '(1,\"x y\")',
           7, '\\x00ff', NULL, 'null');
         UPDATE t SET id = 2; DELETE FROM t",
    );
    let (one, two) = (row(1), row(2));
    assert_eq!(
        scene.changes_of("t", "operation, before, after, primary_key"),
        format!("CREATE|{{}}|{one}|1\nUPDATE|{one}|{two}|2\nDELETE|{two}|{{}}|2")
    );
    // All of it, by the server's own word on types.
    let kinds = scene.changes_where(
        "\"table\" = 't'",
        "(SELECT string_agg(DISTINCT jsonb_typeof(value), ' ' ORDER BY jsonb_typeof(value)) \
         FROM jsonb_each(before || after))",
    );
    assert_eq!(kinds, ["null string"; 3].join("\n"));
}

/// As jsonb orders the keys: by length, then by bytes.
fn row(id: u32) -> String {
    let row = format!(
        r#"{{"a": "[0:1]={{1,NULL}}", "b": "t", "d": "0044-03-15 BC", "f": "NaN", "i": "1 mon -1 days", 
"j": "{{\"a\": 1}}", "m": "7", "n": "1.50", "p": "(1,\"x y\")", "x": null, "y": "\\x00ff", "z": "null", 
"aa": "{{\"a b\",\"\\\"\"}}", "id": "{id}", "js": "{{ \"a\":1}}", "ts": "2024-01-02 03:04:05.6+00"}}"#
    );
    row.replace('\n', "")
}
