//! From the recorded messages: each alone, whole streams, and the values in them with their types.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use targets::input::put_bytes;
use targets::stream::put_message;
use zemi::fuzzing::change::json::{ValueType, builtin};
use zemi::lsn::{Lsn, Oid};
use zemi::fuzzing::pgoutput::{ColumnValue, Message, TupleData, decode};

use super::Corpus;

pub fn write(corpus: &Corpus, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path
            .file_stem()
            .filter(|_| path.extension().is_some_and(|e| e == "hex"))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let messages: Vec<(Lsn, Vec<u8>)> = lines
            .map(|line| line.split_once(' ').unwrap())
            .map(|(lsn, hex)| (lsn.parse().unwrap(), unhex(hex)))
            .collect();
        stream(corpus, &name.to_string_lossy(), &messages);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len() / 2).map(|n| &text[2 * n..2 * n + 2]);
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

/// One input of the target `stream`, and what its messages are to the others.
pub fn stream(corpus: &Corpus, name: &str, messages: &[(Lsn, Vec<u8>)]) {
    let mut types: HashMap<Oid, Vec<Oid>> = HashMap::new();
    // Different settings for different streams.
    let mut input = vec![
        name.bytes()
            .fold(0, |sum: u8, b| sum.wrapping_mul(31).wrapping_add(b)),
    ];
    let mut last = 0;
    for (n, (lsn, bytes)) in messages.iter().enumerate() {
        let advance = match lsn.0 {
            0 => 255,
            at => at.saturating_sub(last).min(200) as u8,
        };
        last = last.max(lsn.0);
        put_message(&mut input, advance, bytes);
        let name = format!("{name}-{n}");
        corpus.add("pgoutput", &name, bytes);
        corpus.add("messages", &name, bytes);
        match decode(bytes) {
            Ok(Message::Relation(relation)) => {
                let columns = relation.columns.iter().map(|c| c.type_oid);
                types.insert(relation.relation, columns.collect());
            }
            Ok(Message::Logical(message)) => {
                corpus.add("context", &name, &[&[2], message.content].concat());
            }
            Ok(Message::Insert(insert)) => {
                values(corpus, &name, types.get(&insert.relation), &insert.new);
            }
            Ok(Message::Update(update)) => {
                values(corpus, &name, types.get(&update.relation), &update.new);
            }
            _ => {}
        }
    }
    corpus.add("stream", name, &input);
}

fn values(corpus: &Corpus, name: &str, types: Option<&Vec<Oid>>, tuple: &TupleData<'_>) {
    let mut row = Vec::new();
    for (n, (value, oid)) in tuple.values().zip(types.into_iter().flatten()).enumerate() {
        let ColumnValue::Text(text) = value else {
            row.push(0);
            continue;
        };
        row.push(1);
        put_bytes(&mut row, text);
        let choice: &[u8] = match builtin(*oid) {
            Some(ValueType::Bool) => &[1],
            Some(ValueType::Number) => &[2],
            Some(ValueType::Float) => &[3],
            Some(ValueType::Json) => &[4],
            Some(ValueType::Date) => &[5],
            Some(ValueType::Timestamp) => &[6],
            Some(ValueType::TimestampTz) => &[7],
            Some(ValueType::Int2Vector) => &[8],
            Some(ValueType::OidVector) => &[9],
            Some(ValueType::Array { element, .. }) if *element == ValueType::Text => &[13, 0],
            Some(ValueType::Array { .. }) => &[13, 3],
            _ if text.starts_with(b"(") => &[15, 2, 0, 0],
            _ if text.starts_with(b"{") => &[13, 0],
            _ => &[0],
        };
        corpus.add("value", &format!("{name}-{n}"), &[choice, text].concat());
    }
    // Some rows of these fields, then the end of a transaction.
    let rows = [
        &[4, tuple.len() as u8 % 12],
        row.as_slice(),
        &[2, b'{', b'}', 0],
    ]
    .concat();
    corpus.add("rows", name, &rows);
    corpus.add("literals", name, &row);
}
