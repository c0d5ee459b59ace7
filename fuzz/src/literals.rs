//! Values of any type, printed as PostgreSQL prints them, are read back as what they are.

use serde_json::{Map, Value, json};
use zemi::fuzzing::change::json::{AskNothing, CompositeField, Outcome, ValueType, Writer};

use super::input::Input;
use super::meter;

/// A type together with how its values are printed.
enum Shape {
    Text,
    Bool,
    Number,
    Float,
    Json,
    Timestamp,
    Vector,
    Hstore,
    Array(Box<Shape>, u8),
    Composite(Vec<Shape>),
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = shape(&mut input, 3);
    let (text, wanted) = value(&shape, &mut input);
    let value_type = value_type(&shape);
    // Quotes double with each level.
    meter::within(text.len() + data.len(), 64, 64 * 1024, || {
        let mut out = Vec::new();
        let outcome = Writer::new().write(&mut out, &value_type, text.as_bytes(), &mut AskNothing);
        let outcome = outcome.expect("nothing is asked");
        assert_eq!(outcome, Outcome::Ok, "{text}");
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found, wanted, "{text}");
    });
}

fn shape(input: &mut Input<'_>, levels: usize) -> Shape {
    match input.below(if levels == 0 { 8 } else { 12 }) {
        0 => Shape::Text,
        1 => Shape::Bool,
        2 => Shape::Number,
        3 => Shape::Float,
        4 => Shape::Json,
        5 => Shape::Timestamp,
        6 => Shape::Vector,
        7 => Shape::Hstore,
        8 => Shape::Array(Shape::Text.into(), b';'),
        // An array in an array is one of a domain over an array.
        9 | 10 => Shape::Array(shape(input, levels - 1).into(), b','),
        _ => Shape::Composite(
            (0..input.below(4))
                .map(|_| shape(input, levels - 1))
                .collect(),
        ),
    }
}

fn value_type(shape: &Shape) -> ValueType {
    match shape {
        Shape::Text => ValueType::Text,
        Shape::Bool => ValueType::Bool,
        Shape::Number => ValueType::Number,
        Shape::Float => ValueType::Float,
        Shape::Json => ValueType::Json,
        Shape::Timestamp => ValueType::TimestampTz,
        Shape::Vector => ValueType::Int2Vector,
        Shape::Hstore => ValueType::Hstore,
        Shape::Array(element, delimiter) => ValueType::Array {
            element: value_type(element).into(),
            delimiter: *delimiter,
        },
        Shape::Composite(fields) => {
            let fields = fields.iter().enumerate();
            let fields = fields.map(|(n, f)| CompositeField::new(&name(n), value_type(f)));
            ValueType::Composite(fields.collect())
        }
    }
}

fn name(n: usize) -> String {
    format!("attribute \"{n}\"")
}

/// A value: its text, and its JSON.
fn value(shape: &Shape, input: &mut Input<'_>) -> (String, Value) {
    match shape {
        Shape::Text => {
            let text = input.text();
            (text.clone(), Value::String(text))
        }
        Shape::Bool => match input.flag() {
            true => ("t".into(), Value::Bool(true)),
            false => ("f".into(), Value::Bool(false)),
        },
        Shape::Number => {
            let number = input.u64() as i64;
            (number.to_string(), json!(number))
        }
        Shape::Float => match input.below(5) {
            0 => ("NaN".into(), json!("NaN")),
            1 => ("-Infinity".into(), json!("-Infinity")),
            2 => number(format!("{}.{:04}", input.u32() as i32, input.below(256))),
            3 => number(format!("{}e-{:02}", input.byte(), input.below(200))),
            _ => number(format!(
                "{}.{}e+{:02}",
                input.below(10),
                input.byte(),
                input.below(200)
            )),
        },
        Shape::Json => {
            let value = json!({ "k": input.text(), "l": [input.byte(), null_or(input)] });
            (value.to_string(), value)
        }
        Shape::Timestamp => {
            let (year, day) = (1 + input.u32() % 294_276, 1 + input.below(28));
            let (micro, bc) = (
                input.u32() % 1_000_000,
                if input.flag() { " BC" } else { "" },
            );
            let (zone, minutes) = if input.flag() {
                ("+05:30", "")
            } else {
                ("+00", ":00")
            };
            let (date, time) = (
                format!("{year:04}-02-{day:02}"),
                format!("03:04:05.{micro:06}"),
            );
            (
                format!("{date} {time}{zone}{bc}"),
                json!(format!("{date}T{time}{zone}{minutes}{bc}")),
            )
        }
        Shape::Vector => {
            let numbers: Vec<i16> = (0..input.below(5)).map(|_| input.u32() as i16).collect();
            let texts: Vec<String> = numbers.iter().map(i16::to_string).collect();
            (texts.join(" "), json!(numbers))
        }
        Shape::Hstore => hstore(input),
        Shape::Array(element, delimiter) => array(element, *delimiter, input),
        Shape::Composite(fields) => composite(fields, input),
    }
}

fn number(text: String) -> (String, Value) {
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn null_or(input: &mut Input<'_>) -> Option<String> {
    input.flag().then(|| input.text())
}

fn hstore(input: &mut Input<'_>) -> (String, Value) {
    let mut pairs = Map::new();
    for _ in 0..input.below(4) {
        pairs.insert(input.text(), null_or(input).into());
    }
    let quoted = |text: &str| format!("\"{}\"", escape(text));
    let pair = |(key, value): (&String, &Value)| {
        let value = value.as_str().map_or("NULL".into(), quoted);
        format!("{}=>{value}", quoted(key))
    };
    let texts: Vec<String> = pairs.iter().map(pair).collect();
    (texts.join(", "), Value::Object(pairs))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// As `array_out` prints it, with one to three dimensions and perhaps bounds.
fn array(element: &Shape, delimiter: u8, input: &mut Input<'_>) -> (String, Value) {
    let sizes: Vec<usize> = (0..1 + input.below(3)).map(|_| input.below(4)).collect();
    if sizes.contains(&0) {
        return ("{}".into(), json!([]));
    }
    let mut bounds = String::new();
    if input.flag() {
        for size in &sizes {
            let from = i32::from(input.byte()) - 128;
            bounds.push_str(&format!("[{from}:{}]", from + *size as i32 - 1));
        }
        bounds.push('=');
    }
    let (text, json) = level(element, delimiter, &sizes, input);
    (bounds + &text, json)
}

fn level(
    element: &Shape,
    delimiter: u8,
    sizes: &[usize],
    input: &mut Input<'_>,
) -> (String, Value) {
    let Some((size, sizes)) = sizes.split_first() else {
        if input.below(6) == 0 {
            return ("NULL".into(), Value::Null);
        }
        let (text, json) = value(element, input);
        let special = |c: char| {
            c.is_ascii_whitespace() || "{}\"\\\u{b}".contains(c) || c == char::from(delimiter)
        };
        let quote = text.is_empty() || text.eq_ignore_ascii_case("NULL") || text.contains(special);
        return (
            if quote {
                format!("\"{}\"", escape(&text))
            } else {
                text
            },
            json,
        );
    };
    let parts = (0..*size).map(|_| level(element, delimiter, sizes, input));
    let (texts, values): (Vec<String>, Vec<Value>) = parts.unzip();
    let delimiter = char::from(delimiter).to_string();
    (
        format!("{{{}}}", texts.join(&delimiter)),
        Value::Array(values),
    )
}

/// As `record_out` prints it.
fn composite(fields: &[Shape], input: &mut Input<'_>) -> (String, Value) {
    let mut texts = Vec::new();
    let mut object = Map::new();
    for (n, field) in fields.iter().enumerate() {
        if input.below(6) == 0 {
            texts.push(String::new());
            object.insert(name(n), Value::Null);
            continue;
        }
        let (text, json) = value(field, input);
        object.insert(name(n), json);
        let special = |c: char| c.is_ascii_whitespace() || "(),\"\\\u{b}".contains(c);
        texts.push(match text.is_empty() || text.contains(special) {
            true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
            false => text,
        });
    }
    (format!("({})", texts.join(",")), Value::Object(object))
}
