//! Pure: the forms in which a row is written that the destination refuses as it is. Each keeps less of the
//! row than the one before.

use crate::change::{copy, json};

/// The places of fields in [`crate::change::RowShape::columns`].
const KEY: usize = 1;
const SIDES: [usize; 2] = [2, 3];
const NAMES: [usize; 4] = [4, 5, 6, 7];
const POSITION: usize = 11;

/// A primary key is cut to this many characters when its index refuses it: a B-tree takes about 2,700
/// bytes, and a character has up to four.
const SHORT_KEY: usize = 600;

/// How much of a row is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    All,
    /// The primary key cut.
    ShortKey,
    /// JSON values as strings of their text.
    Strings,
    /// JSON values left out.
    Omitted,
}

/// A form of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    kept: Kept,
    /// Each character beyond ASCII is written as `\u{…}`, which a database takes whose encoding lacks it.
    ascii: bool,
}

impl Form {
    /// The row as it is.
    pub(crate) const WHOLE: Form = Form {
        kept: Kept::All,
        ascii: false,
    };

    /// The next form to try; `untranslatable` says that this one was refused for a character that the
    /// destination's encoding lacks. `None` behind the last one.
    pub(crate) fn next(self, untranslatable: bool) -> Option<Form> {
        if untranslatable && !self.ascii {
            return Some(Form {
                ascii: true,
                ..self
            });
        }
        let kept = match self.kept {
            Kept::All => Kept::ShortKey,
            Kept::ShortKey => Kept::Strings,
            Kept::Strings => Kept::Omitted,
            Kept::Omitted => return None,
        };
        Some(Form { kept, ..self })
    }

    /// The row in this form. `key_limit` is how many characters the column `primary_key` takes.
    pub(crate) fn of(self, tuple: &[u8], key_limit: Option<usize>) -> Vec<u8> {
        let last = copy::fields(tuple).count().saturating_sub(1);
        each_field(tuple, |place, field| {
            if SIDES.contains(&place) || place == last {
                return Some(with_version(self.json(json_of(field))));
            }
            let text = (place == KEY || NAMES.contains(&place)).then(|| self.text(field, ""));
            match text {
                Some(key) if place == KEY && self.kept != Kept::All => {
                    let limit = key_limit.unwrap_or(SHORT_KEY).min(SHORT_KEY);
                    Some(first_characters(key, limit))
                }
                other => other,
            }
        })
    }

    /// JSON in this form.
    pub(crate) fn json(self, json: &[u8]) -> Vec<u8> {
        match self.kept {
            Kept::All | Kept::ShortKey => self.text(json, "\\"),
            Kept::Strings => {
                let mut string = Vec::new();
                json::write_string(&mut string, json);
                self.text(&string, "\\")
            }
            Kept::Omitted => {
                let bytes = json.len();
                format!("{{\"zemi_omitted\":\"refused by the destination\",\"bytes\":{bytes}}}")
                    .into_bytes()
            }
        }
    }

    /// Text in this form; in JSON, where strings alone hold more than ASCII, `escape` is `\`.
    fn text(self, text: &[u8], escape: &str) -> Vec<u8> {
        if !self.ascii {
            return text.to_vec();
        }
        let mut out = Vec::with_capacity(text.len());
        for c in String::from_utf8_lossy(text).chars() {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => out.push(byte),
                _ => {
                    out.extend_from_slice(escape.as_bytes());
                    out.extend(c.escape_unicode().map(|c| c as u8));
                }
            }
        }
        out
    }
}

/// The row at another position, and with another id where one is given.
pub(crate) fn moved(tuple: &[u8], position: i64, id: Option<[u8; 16]>) -> Vec<u8> {
    each_field(tuple, |place, _| match (place, id) {
        (0, Some(id)) => Some(id.to_vec()),
        (POSITION, _) => Some(position.to_be_bytes().to_vec()),
        _ => None,
    })
}

fn first_characters(text: Vec<u8>, limit: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(&text);
    let end = text.char_indices().nth(limit).map(|(end, _)| end);
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or_default()
        .as_bytes()
        .to_vec()
}

fn json_of(field: &[u8]) -> &[u8] {
    field.strip_prefix(&[copy::JSONB_VERSION]).unwrap_or(field)
}

fn with_version(mut json: Vec<u8>) -> Vec<u8> {
    json.insert(0, copy::JSONB_VERSION);
    json
}

fn each_field(tuple: &[u8], form: impl Fn(usize, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = tuple.get(..2).unwrap_or_default().to_vec();
    for (place, field) in copy::fields(tuple).enumerate() {
        match field {
            None => copy::null(&mut out),
            Some(field) => match form(place, field) {
                Some(other) => copy::field(&mut out, &other),
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

    fn row(fields: usize) -> Vec<u8> {
        let mut out = Vec::new();
        copy::tuple(&mut out, i16::try_from(fields).unwrap());
        for place in 0..fields {
            match place {
                2 => copy::null(&mut out),
                3 => copy::field(&mut out, "\u{1}{\"a\":\"5 €\"}".as_bytes()),
                _ if place == fields - 1 => {
                    copy::field(&mut out, "\u{1}{\"a\":\"5 €\"}".as_bytes())
                }
                KEY => copy::field(&mut out, "€".repeat(900).as_bytes()),
                6 => copy::field(&mut out, "straße".as_bytes()),
                _ => copy::field(&mut out, b"\x00\xFF"),
            }
        }
        out
    }

    fn fields(row: &[u8]) -> Vec<Option<Vec<u8>>> {
        let length: usize = copy::Tuples::new(row).map(<[u8]>::len).sum();
        assert_eq!(length, row.len());
        copy::fields(row).map(|f| f.map(<[u8]>::to_vec)).collect()
    }

    const ASCII: Form = Form {
        kept: Kept::All,
        ascii: true,
    };

    #[test]
    fn each_form_keeps_less_and_an_encoding_costs_no_more_than_it_has_to() {
        let mut form = Form::WHOLE;
        let mut seen = Vec::new();
        while let Some(next) = form.next(false) {
            form = next;
            seen.push(form.kept);
        }
        assert_eq!(seen, [Kept::ShortKey, Kept::Strings, Kept::Omitted]);
        assert_eq!(Form::WHOLE.next(true), Some(ASCII));
        // The key is too long as well.
        let both = ASCII.next(false).unwrap();
        assert_eq!((both.kept, both.ascii), (Kept::ShortKey, true));
        assert_eq!(ASCII.next(true), Some(both));
    }

    #[test]
    fn rows_in_every_form_are_whole_whichever_columns_they_have() {
        for count in [13, 14] {
            let row = row(count);
            assert_eq!(Form::WHOLE.of(&row, None), row);
            let mut form = ASCII;
            while let Some(next) = form.next(false) {
                let found = fields(&form.of(&row, None));
                assert_eq!((found.len(), &found[2]), (count, &None));
                assert_eq!(found[POSITION].as_deref(), Some(&b"\x00\xFF"[..]));
                assert_eq!(found[6].as_deref(), Some(&b"stra\\u{df}e"[..]));
                form = next;
            }
            let left_out = fields(&form.of(&row, None)).pop().flatten().unwrap();
            assert_eq!(
                String::from_utf8(left_out).unwrap(),
                "\u{1}{\"zemi_omitted\":\"refused by the destination\",\"bytes\":13}"
            );
        }
    }

    #[test]
    fn json_is_spelt_out_made_a_string_and_left_out() {
        let json = "{\"a\":\"5 €\"}".as_bytes();
        assert_eq!(ASCII.json(json), b"{\"a\":\"5 \\\\u{20ac}\"}");
        let string = Form {
            kept: Kept::Strings,
            ascii: false,
        };
        assert_eq!(string.json(json), "\"{\\\"a\\\":\\\"5 €\\\"}\"".as_bytes());
    }

    #[test]
    fn a_key_is_cut_by_characters_and_to_what_its_column_takes() {
        let short = Form::WHOLE.next(false).unwrap();
        for (limit, expected) in [(None, SHORT_KEY), (Some(255), 255), (Some(9000), SHORT_KEY)] {
            let key = fields(&short.of(&row(13), limit)).swap_remove(KEY);
            assert_eq!(
                String::from_utf8(key.unwrap()).unwrap(),
                "€".repeat(expected)
            );
        }
    }

    #[test]
    fn a_moved_row_keeps_all_else() {
        let row = row(14);
        let mut expected = fields(&row);
        expected[POSITION] = Some(77_i64.to_be_bytes().to_vec());
        assert_eq!(fields(&moved(&row, 77, None)), expected);
        expected[0] = Some(vec![9; 16]);
        assert_eq!(fields(&moved(&row, 77, Some([9; 16]))), expected);
    }
}
