//! The same texts read another way: what the library is compared with.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zemi::fuzzing::change::json;

/// Fails where the bytes are not one JSON value that jsonb takes, by another parser than our own.
pub fn assert_jsonb(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("JSON is UTF-8");
    if let Err(error) = serde_json::from_str::<Box<RawValue>>(text) {
        panic!("{error}: {text}");
    }
    assert_eq!(json::check(bytes), Ok(()), "{text}");
    assert!(depth(bytes) <= json::MAX_DEPTH);
    if depth(bytes) < 100
        && let Err(error) = serde_json::from_str::<Value>(text)
    {
        panic!("{error}: {text}");
    }
}

/// Whether this is JSON without anything that only jsonb refuses, as far as can be told simply.
pub fn is_plain_json(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let poison = |word: &str| text.to_ascii_lowercase().contains(word);
    let long_number = text
        .split(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
        .any(|number| number.len() > 4000 || number.contains(['e', 'E']) && number.len() > 3);
    depth(bytes) < 100
        && !poison("\\u0000")
        && !long_number
        && serde_json::from_str::<Value>(text).is_ok()
}

/// How deep brackets and braces outside of strings go.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A text as it should stand in JSON: what is not UTF-8, and a zero byte, is U+FFFD.
pub fn string(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).replace('\0', "\u{FFFD}"))
}

/// Reads what `array_out` prints for an array of text; `None` where it is no such thing.
pub fn array(text: &[u8], delimiter: u8) -> Option<Value> {
    let text = match text {
        [b'[', ..] => {
            let (bounds, rest) = text.split_at(text.iter().position(|&b| b == b'=')?);
            if !bounds.iter().all(|b| b"0123456789+-:[]".contains(b)) {
                return None;
            }
            &rest[1..]
        }
        _ => text,
    };
    if text == b"{}" {
        return Some(Value::Array(Vec::new()));
    }
    let (read, depth, rest) = level(text, delimiter, 6)?;
    (rest.is_empty() && depth <= 6).then_some(read)
}

/// One level of braces: what is in it, how many levels it has, and what follows.
fn level(text: &[u8], delimiter: u8, levels: usize) -> Option<(Value, usize, &[u8])> {
    let mut rest = text.strip_prefix(b"{").filter(|_| levels > 0)?;
    let mut items = Vec::new();
    let mut below = None;
    loop {
        let (item, depth, after) = match rest.first()? {
            b'{' => level(rest, delimiter, levels - 1)?,
            _ => {
                let (item, after) = element(rest, delimiter)?;
                (item, 0, after)
            }
        };
        if *below.get_or_insert(depth) != depth {
            return None;
        }
        items.push(item);
        match after.split_first()? {
            (b'}', after) => return Some((Value::Array(items), 1 + depth, after)),
            (byte, after) if *byte == delimiter => rest = after,
            _ => return None,
        }
    }
}

fn element(text: &[u8], delimiter: u8) -> Option<(Value, &[u8])> {
    if text.first() == Some(&b'"') {
        let mut content = Vec::new();
        let mut bytes = text.iter().enumerate().skip(1);
        loop {
            match bytes.next()? {
                (at, b'"') => return Some((string(&content), &text[at + 1..])),
                (_, b'\\') => content.push(*bytes.next()?.1),
                (_, byte) => content.push(*byte),
            }
        }
    }
    let special = |b: &u8| *b == delimiter || b"{}\"\\".contains(b);
    let end = text.iter().position(special)?;
    if end == 0 || !(text[end] == delimiter || text[end] == b'}') {
        return None;
    }
    let item = match &text[..end] {
        b"NULL" => Value::Null,
        content => string(content),
    };
    Some((item, &text[end..]))
}

/// Reads what `record_out` prints for a row of texts; `None` where it is no such thing.
pub fn composite(text: &[u8], names: &[&str]) -> Option<Value> {
    let inner = text.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut fields = Vec::new();
    let mut rest = Some(inner);
    while let Some(text) = rest {
        let (field, after) = field(text)?;
        fields.push(field);
        rest = match after.split_first() {
            None => None,
            Some((b',', after)) => Some(after),
            Some(_) => return None,
        };
    }
    let pairs = names
        .iter()
        .map(|name| (*name).to_owned())
        .zip(fields.iter().cloned());
    (fields.len() == names.len()).then(|| Value::Object(pairs.collect::<Map<_, _>>()))
}

fn field(text: &[u8]) -> Option<(Value, &[u8])> {
    if text.first() != Some(&b'"') {
        let end = text.iter().position(|&b| b == b',').unwrap_or(text.len());
        let content = &text[..end];
        if content.iter().any(|b| b"()\"\\".contains(b)) {
            return None;
        }
        let null = content.is_empty();
        return Some((
            if null { Value::Null } else { string(content) },
            &text[end..],
        ));
    }
    let mut content = Vec::new();
    let mut at = 1;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'"', Some(b'"')) => at += 1,
            (b'"', _) => return Some((string(&content), &text[at + 1..])),
            (b'\\', _) => at += 1,
            _ => {}
        }
        content.push(*text.get(at)?);
        at += 1;
    }
}

/// What a source may say that a character of another encoding is in UTF-8: none for some.
pub fn character(bytes: &[u8]) -> Option<String> {
    let last = *bytes.last()?;
    let first = char::from(*bytes.first()?);
    (last % 8 != 0).then(|| [first, char::from(last)].iter().collect())
}
