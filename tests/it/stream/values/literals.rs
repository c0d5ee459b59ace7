//! Array and composite literals of any content, against the server's own reading of them.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use zemi::fuzzing::change::json::{AskNothing, CompositeField, Outcome, ValueType, Writer};
use zemi::wire::literal;

use crate::support::{Server, Sql};

/// How many values of each shape go to the server, in one statement.
const CASES: usize = 400;

/// A string that has to be quoted, or looks as if it had.
fn string() -> impl Strategy<Value = Option<String>> {
    let part = prop_oneof![
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("NULL".to_owned()),
        Just("{},()[]=:; '\t\n\r\u{b}\u{c}|".to_owned()),
        "[{}(),;\"\\\\ \\t\\n\\x0b\\x0c\\x01'a-cNUL]{0,6}",
        "[^\\x00]{0,4}",
    ];
    let string = proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat());
    prop_oneof![1 => Just(None), 5 => string.prop_map(Some)]
}

/// `ARRAY[…]` of SQL of one to three dimensions, with lower bounds at times.
fn array() -> impl Strategy<Value = String> {
    let sizes = proptest::collection::vec(1usize..4, 0..4);
    (sizes, any::<bool>(), -3i32..4).prop_flat_map(|(sizes, bounds, low)| {
        let count = sizes.iter().product::<usize>() * usize::from(!sizes.is_empty());
        proptest::collection::vec(string(), count).prop_map(move |strings| {
            let mut strings = strings.into_iter();
            let text = if sizes.is_empty() {
                "'{}'".to_owned()
            } else {
                nested(&sizes, &mut strings)
            };
            if !bounds || sizes.is_empty() {
                return format!("{text}::text[]");
            }
            let ranges = sizes.iter().fold(String::new(), |mut ranges, size| {
                let high = low + i32::try_from(*size).unwrap() - 1;
                write!(ranges, "[{low}:{high}]").unwrap();
                ranges
            });
            format!("('{ranges}=' || {text}::text[]::text)::text[]")
        })
    })
}

fn nested(sizes: &[usize], strings: &mut impl Iterator<Item = Option<String>>) -> String {
    let Some((size, inner)) = sizes.split_first() else {
        return sql(strings.next().unwrap());
    };
    let parts: Vec<String> = (0..*size).map(|_| nested(inner, strings)).collect();
    format!("ARRAY[{}]", parts.join(","))
}

fn sql(string: Option<String>) -> String {
    string.map_or("NULL".into(), |text| literal(&text))
}

/// `ROW(…)` of SQL: a string, an array, and a composite of two strings in another one.
fn row() -> impl Strategy<Value = String> {
    (string(), array(), string(), string(), any::<bool>()).prop_map(|(a, array, b, c, null)| {
        let (a, b, c) = (sql(a), sql(b), sql(c));
        let inner = if null {
            "NULL".into()
        } else {
            format!("ROW({b},{c})::two")
        };
        format!("ROW({a},{array},{inner},ARRAY[{inner},ROW({a},NULL)::two,NULL]::two[])::mixed")
    })
}

fn types() -> (ValueType, ValueType) {
    let strings = ValueType::array_of(ValueType::Text);
    let composite = |fields: &[(&str, ValueType)]| {
        let fields = fields.iter();
        ValueType::Composite(
            fields
                .map(|(n, t)| CompositeField::new(n, t.clone()))
                .collect(),
        )
    };
    let two = composite(&[("x", ValueType::Text), ("y", ValueType::Text)]);
    let mixed = composite(&[
        ("a", ValueType::Text),
        ("b", strings.clone()),
        ("c", two.clone()),
        ("d", ValueType::array_of(two)),
    ]);
    (strings, mixed)
}

/// Gives each expression to the server; compares its `to_jsonb` with what is made of its text.
fn compare(server: &mut Sql, expressions: &[String], value_type: &ValueType) {
    let rows = expressions.iter().map(|e| format!("({e})"));
    let rows = rows.collect::<Vec<_>>().join(",\n");
    let answers = server.rows(&format!(
        "SELECT v::text, to_jsonb(v) FROM (VALUES {rows}) AS s(v)"
    ));
    assert_eq!(answers.len(), expressions.len());
    let mut writer = Writer::new();
    for (answer, expression) in answers.iter().zip(expressions) {
        let (text, said) = (answer[0].as_deref().unwrap(), answer[1].as_deref().unwrap());
        let mut out = Vec::new();
        let outcome = writer.write(&mut out, value_type, text.as_bytes(), &mut AskNothing);
        let outcome = outcome.unwrap();
        assert_eq!(outcome, Outcome::Ok, "{expression}: {text}");
        let found: Value = serde_json::from_slice(&out).unwrap();
        let said: Value = serde_json::from_str(said).unwrap();
        assert_eq!(found, said, "{expression}: {text}");
    }
}

#[test]
fn literals_of_any_content_are_read_as_the_server_reads_them() {
    let server = Server::start(18, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TYPE two AS (x text, y text); CREATE TYPE mixed AS (a text, b text[], c two, d two[])");
    // The same cases each time.
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(Config::default().rng_algorithm),
    );
    let (strings, mixed) = types();
    let mut arrays = Vec::new();
    let mut rows = Vec::new();
    for _ in 0..CASES {
        arrays.push(array().new_tree(&mut runner).unwrap().current());
        rows.push(row().new_tree(&mut runner).unwrap().current());
    }
    compare(&mut sql, &arrays, &strings);
    compare(&mut sql, &rows, &mixed);
}
