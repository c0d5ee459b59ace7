//! Compares what is written with what PostgreSQL itself said (`judged/table.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod table;

use serde_json::{Number, Value};

use super::*;
use crate::lsn::Oid;

/// Values of one type: each the text of a value and what `to_jsonb` gave.
enum Judged {
    /// A built-in type, by its OID.
    Builtin(u32, &'static [(&'static str, &'static str)]),
    /// A type that was made for the judgement, see [`made`].
    Made(&'static str, &'static [(&'static str, &'static str)]),
}

fn composite(fields: &[(&str, ValueType)]) -> ValueType {
    let field =
        |(name, value_type): &(&str, ValueType)| CompositeField::new(name, value_type.clone());
    ValueType::Composite(fields.iter().map(field).collect())
}

/// The types that the server was given, besides its own: `pair` is `(a int, b text)`, `dpair`,
/// `dj`, `darr` and `posint` are domains, `dropped` had a third attribute between its two.
fn made(name: &str) -> ValueType {
    if let Some(element) = name.strip_suffix("[]") {
        return ValueType::array_of(made(element));
    }
    let pair = || composite(&[("a", ValueType::Number), ("b", ValueType::Text)]);
    let numbers = ValueType::array_of(ValueType::Number);
    match name {
        "mood" | "citext" | "ltree" | "lquery" | "cube" | "ir" => ValueType::Text,
        "posint" => ValueType::Number,
        "dj" => ValueType::Json,
        "darr" => numbers,
        "pair" | "dpair" | "dropped" => pair(),
        "empty" => composite(&[]),
        "hstore" => ValueType::Hstore,
        "odd" => composite(&[
            ("a b", ValueType::Number),
            ("q\"q", ValueType::Text),
            ("ünï", ValueType::Bool),
            ("back\\slash", ValueType::Json),
        ]),
        "withdom" => composite(&[
            ("i", ValueType::Number),
            ("j", ValueType::Json),
            ("p", pair()),
            ("a", numbers),
        ]),
        "deep" => composite(&[
            ("p", pair()),
            ("ps", ValueType::array_of(pair())),
            ("j", ValueType::Json),
            ("jb", ValueType::Json),
            ("d", ValueType::Date),
            ("ts", ValueType::Timestamp),
            ("tz", ValueType::TimestampTz),
            ("ok", ValueType::Bool),
            ("f", ValueType::Float),
            ("n", ValueType::Float),
            ("m", ValueType::Text),
            ("h", ValueType::Hstore),
            ("o", ValueType::Text),
            ("iv", ValueType::Int2Vector),
        ]),
        _ => panic!("no type {name}"),
    }
}

/// JSON with every number as jsonb prints it: no exponent, no negative zero, the digits after the
/// point kept.
fn as_jsonb(json: &str) -> Value {
    fn normal(value: Value) -> Value {
        match value {
            Value::Number(number) => {
                let plain = plain_number(&number.to_string());
                Value::Number(Number::from_string_unchecked(plain))
            }
            Value::Array(values) => values.into_iter().map(normal).collect(),
            Value::Object(pairs) => pairs
                .into_iter()
                .map(|(key, value)| (key, normal(value)))
                .collect(),
            other => other,
        }
    }
    normal(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}")))
}

fn plain_number(number: &str) -> String {
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number),
    };
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().unwrap();
    let scale = fraction.len() as i32 - exponent;
    let mut digits = format!("{whole}{fraction}");
    if scale < 0 {
        digits.push_str(&"0".repeat(scale.unsigned_abs() as usize));
    }
    let scale = scale.max(0) as usize;
    let digits = format!("{}{digits}", "0".repeat(scale + 1));
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
    let sign = if zero { "" } else { sign };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

#[test]
fn every_value_is_what_to_jsonb_says() {
    let mut writer = Writer::new();
    let mut compared = 0;
    for judged in table::TABLE {
        let (name, value_type, values) = match judged {
            Judged::Builtin(oid, values) => (oid.to_string(), builtin(Oid(*oid)), values),
            Judged::Made(name, values) => ((*name).to_owned(), Some(made(name)), values),
        };
        let value_type = value_type.unwrap_or_else(|| panic!("no built-in type {name}"));
        for (text, said) in *values {
            let mut out = Vec::new();
            let outcome = writer.write(&mut out, &value_type, text.as_bytes(), &mut AskNothing);
            let outcome = outcome.unwrap();
            let json = String::from_utf8(out).unwrap();
            assert_eq!(outcome, Outcome::Ok, "{name}: {text} gave {json}");
            assert_eq!(as_jsonb(&json), as_jsonb(said), "{name}: {text}");
            compared += 1;
        }
    }
    assert_eq!((table::TABLE.len(), compared), (160, 413));
}

#[test]
fn numbers_are_compared_as_jsonb_prints_them() {
    for (number, plain) in [
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("1e+20", "100000000000000000000"),
        ("1.50e-3", "0.00150"),
        ("-12.5e1", "-125"),
        ("0e5", "0"),
        ("0.05", "0.05"),
    ] {
        assert_eq!(plain_number(number), plain, "{number}");
    }
}
