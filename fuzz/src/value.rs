//! A value of any type with any text, to JSON.

use serde_json::Value;
use zemi::error::Result;
use zemi::fuzzing::change::json::{
    self, Ask, CompositeField, Outcome, Reason, ValueType, Writer, builtin,
};
use zemi::lsn::Oid;

use super::input::Input;
use super::{meter, oracle};

/// Answers a cast with what the input says: half of the text.
struct HalfOfIt;

impl Ask for HalfOfIt {
    fn to_json(&mut self, _: Oid, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.extend_from_slice(&text[text.len() / 2..]);
        Ok(!text.is_empty())
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let value_type = value_type(&mut input, 3);
    let text = input.rest();
    // A control character takes six bytes of JSON, and each level of types holds its part of the text.
    meter::within(data.len(), 64, 64 * 1024, || {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new();
        let outcome = writer.write(&mut out, &value_type, text, &mut HalfOfIt);
        let outcome = outcome.expect("each cast is answered");
        assert!(out.starts_with(b"before"));
        if outcome == Outcome::Mismatch {
            assert_eq!(out.len(), 6, "nothing was written");
            assert!(has_composite(&value_type));
            let replaced = json::write_as_text(&mut out, 6, text, Reason::TypeChanged);
            assert_eq!(replaced, Outcome::Replaced(Reason::TypeChanged));
        }
        let written = &out[6..];
        oracle::assert_jsonb(written);
        compare(&value_type, text, written, outcome);
        // A second value with the same writer is not touched by the first.
        let mut again = Vec::new();
        let outcome = writer.write(&mut again, &value_type, text, &mut HalfOfIt);
        if outcome.expect("each cast is answered") != Outcome::Mismatch {
            assert_eq!(again, written);
        }
    });
}

/// A type that the bytes choose, with at most so many levels.
pub fn value_type(input: &mut Input<'_>, levels: u8) -> ValueType {
    let scalars = [
        ValueType::Text,
        ValueType::Bool,
        ValueType::Number,
        ValueType::Float,
        ValueType::Json,
        ValueType::Date,
        ValueType::Timestamp,
        ValueType::TimestampTz,
        ValueType::Int2Vector,
        ValueType::OidVector,
        ValueType::Hstore,
        ValueType::Cast {
            type_oid: Oid(20_000),
        },
    ];
    let choice = input.below(16);
    if let Some(scalar) = scalars.into_iter().nth(choice) {
        return scalar;
    }
    match choice {
        // box[], whose delimiter is a semicolon.
        12 => builtin(Oid(1020)).unwrap(),
        _ if levels == 0 => ValueType::Text,
        13 => ValueType::array_of(value_type(input, levels - 1)),
        14 => ValueType::Array {
            element: value_type(input, levels - 1).into(),
            delimiter: input.byte(),
        },
        _ => {
            let fields = (0..input.below(5))
                .map(|n| CompositeField::new(NAMES[n], value_type(input, levels - 1)));
            ValueType::Composite(fields.collect())
        }
    }
}

const NAMES: [&str; 5] = ["a", "b\"", "c", "d", "e"];

fn has_composite(value_type: &ValueType) -> bool {
    match value_type {
        ValueType::Composite(_) => true,
        ValueType::Array { element, .. } => has_composite(element),
        _ => false,
    }
}

/// Against what the same text is to another reader.
fn compare(value_type: &ValueType, text: &[u8], written: &[u8], outcome: Outcome) {
    if oracle::depth(written) >= 100 {
        return;
    }
    let found: Value = serde_json::from_slice(written).unwrap();
    let as_text = oracle::string(text);
    let own = match value_type {
        ValueType::Text => Some(as_text.clone()),
        ValueType::Bool if text == b"t" => Some(Value::Bool(true)),
        ValueType::Bool if text == b"f" => Some(Value::Bool(false)),
        ValueType::Float if [&b"NaN"[..], b"Infinity", b"-Infinity"].contains(&text) => {
            Some(as_text.clone())
        }
        ValueType::Number | ValueType::Float => match number(text) {
            // Whether its size is right is not known here.
            Some(number) if outcome != Outcome::Ok && !oracle::is_plain_json(text) => {
                assert!(number.is_number());
                return assert_eq!(found, as_text);
            }
            number => number,
        },
        ValueType::Json if oracle::is_plain_json(text) => serde_json::from_slice(text).ok(),
        ValueType::Json if outcome == Outcome::Ok => {
            return assert_eq!(written, text, "json stays as it is");
        }
        ValueType::Date | ValueType::Timestamp | ValueType::TimestampTz => {
            if outcome == Outcome::Ok {
                return time(value_type, text, &found);
            }
            None
        }
        ValueType::Array { element, delimiter } if **element == ValueType::Text => {
            oracle::array(text, *delimiter).filter(|_| is_sane(*delimiter))
        }
        ValueType::Composite(fields) if is_of_texts(fields) && outcome != Outcome::Mismatch => {
            let names = &NAMES[..fields.len()];
            let read = oracle::composite(text, names);
            let malformed = outcome == Outcome::Replaced(Reason::Malformed);
            assert!(read.is_some() || malformed, "this is no composite");
            read
        }
        _ => return,
    };
    match own {
        Some(own) => assert_eq!(found, own, "{}", String::from_utf8_lossy(text)),
        None if matches!(value_type, ValueType::Array { delimiter, .. } if !is_sane(*delimiter)) => {
        }
        None => {
            assert_ne!(outcome, Outcome::Ok, "{}", String::from_utf8_lossy(text));
            assert_eq!(found, as_text);
        }
    }
}

/// A delimiter that a type can have: none that the literal means something by.
fn is_sane(delimiter: u8) -> bool {
    !b"{}\"\\".contains(&delimiter)
}

fn is_of_texts(fields: &[CompositeField]) -> bool {
    let texts = NAMES.iter().take(fields.len());
    !fields.is_empty()
        && fields.iter().eq(&texts
            .map(|name| CompositeField::new(name, ValueType::Text))
            .collect::<Vec<_>>())
}

/// A text that is a JSON number, of any size.
fn number(text: &[u8]) -> Option<Value> {
    let is_number = text
        .first()
        .is_some_and(|b| *b == b'-' || b.is_ascii_digit());
    let plain = text.iter().all(|b| b"0123456789.-+eE".contains(b));
    (is_number && plain)
        .then(|| serde_json::from_slice(text).ok())
        .flatten()
}

/// A time that was taken: the way back from ISO 8601 gives the text.
fn time(value_type: &ValueType, text: &[u8], found: &Value) {
    let (text, found) = (std::str::from_utf8(text).unwrap(), found.as_str().unwrap());
    if text.ends_with("infinity") || *value_type == ValueType::Date {
        assert_eq!(found, text);
        return;
    }
    let back = found.replacen('T', " ", 1);
    let without_minutes = back.replacen(":00 BC", " BC", 1);
    let short = without_minutes
        .strip_suffix(":00")
        .unwrap_or(&without_minutes);
    assert!(
        back == text || without_minutes == text || short == text,
        "{text}: {found}"
    );
    assert!(found.contains('T') && !text.contains('T'));
}
