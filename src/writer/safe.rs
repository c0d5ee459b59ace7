//! Rows in forms that the destination cannot refuse: what is beyond ASCII spelt out, what is large left
//! out. Only for single rows that it has refused otherwise.

use super::careful::SAFE_KEY;
use crate::change::copy;

/// What a field holds, by its place in [`crate::change::row::COLUMNS`].
const KEY: usize = 1;
const JSON: [usize; 3] = [2, 3, 12];
const NAMES: [usize; 4] = [4, 5, 6, 7];

/// The row with each character beyond ASCII as `\u{…}`: a database whose encoding lacks it takes that.
pub fn in_ascii(tuple: &[u8]) -> Vec<u8> {
    each_field(tuple, |place, field| match place {
        KEY => Some(text_in_ascii(field, "")),
        _ if JSON.contains(&place) => Some(with_version(json_in_ascii(json_of(field)))),
        _ if NAMES.contains(&place) => Some(text_in_ascii(field, "")),
        _ => None,
    })
}

/// The row with its JSON left out and its key cut.
pub fn omitted(tuple: &[u8]) -> Vec<u8> {
    each_field(tuple, |place, field| match place {
        KEY => {
            let mut key = text_in_ascii(field, "");
            key.truncate(SAFE_KEY);
            Some(key)
        }
        _ if JSON.contains(&place) => Some(with_version(json_omitted(json_of(field)))),
        _ if NAMES.contains(&place) => Some(text_in_ascii(field, "")),
        _ => None,
    })
}

/// JSON in which each character beyond ASCII, which only strings can hold, is the text `\u{…}`.
pub fn json_in_ascii(json: &[u8]) -> Vec<u8> {
    text_in_ascii(json, "\\")
}

/// What stands for JSON that was left out.
pub fn json_omitted(json: &[u8]) -> Vec<u8> {
    let bytes = json.len();
    format!("{{\"zemi_omitted\":\"refused by the destination\",\"bytes\":{bytes}}}").into_bytes()
}

fn json_of(field: &[u8]) -> &[u8] {
    field.strip_prefix(&[copy::JSONB_VERSION]).unwrap_or(field)
}

fn with_version(json: Vec<u8>) -> Vec<u8> {
    let mut field = json;
    field.insert(0, copy::JSONB_VERSION);
    field
}

fn text_in_ascii(text: &[u8], before: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).chars() {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => out.push(byte),
            _ => {
                out.extend_from_slice(before.as_bytes());
                out.extend(c.escape_unicode().map(|c| c as u8));
            }
        }
    }
    out
}

fn each_field(tuple: &[u8], form: impl Fn(usize, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = tuple.get(..2).unwrap_or_default().to_vec();
    for (place, field) in copy::fields(tuple).enumerate() {
        match field {
            None => copy::null(&mut out),
            Some(field) => match form(place, field) {
                Some(safe) => copy::field(&mut out, &safe),
                None => copy::field(&mut out, field),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row() -> Vec<u8> {
        let mut out = Vec::new();
        copy::tuple(&mut out, 13);
        for place in 0..13 {
            match place {
                2 => copy::null(&mut out),
                3 | 12 => copy::field(&mut out, "\u{1}{\"a\":\"5 €\"}".as_bytes()),
                KEY => copy::field(&mut out, "€".repeat(900).as_bytes()),
                6 => copy::field(&mut out, "straße".as_bytes()),
                _ => copy::field(&mut out, b"\x00\xFF"),
            }
        }
        out
    }

    #[test]
    fn safe_rows_are_whole_and_plain() {
        let fields = |row: &[u8]| -> Vec<Option<Vec<u8>>> {
            assert_eq!(
                copy::Tuples::new(row).map(<[u8]>::len).sum::<usize>(),
                row.len()
            );
            copy::fields(row).map(|f| f.map(<[u8]>::to_vec)).collect()
        };
        let (ascii, omitted) = (fields(&in_ascii(&row())), fields(&omitted(&row())));
        for safe in [&ascii, &omitted] {
            assert_eq!((safe.len(), &safe[2]), (13, &None));
            assert_eq!(safe[11].as_deref(), Some(&b"\x00\xFF"[..]));
            assert_eq!(safe[6].as_deref(), Some(&b"stra\\u{df}e"[..]));
        }
        assert_eq!(
            ascii[3].as_deref(),
            Some(&b"\x01{\"a\":\"5 \\\\u{20ac}\"}"[..])
        );
        assert_eq!(ascii[KEY].as_ref().unwrap().len(), 900 * 8);
        assert_eq!(omitted[KEY].as_ref().unwrap().len(), SAFE_KEY);
        let left_out = String::from_utf8(omitted[12].clone().unwrap()).unwrap();
        assert!(left_out.ends_with("\"bytes\":13}"), "{left_out}");
    }
}
