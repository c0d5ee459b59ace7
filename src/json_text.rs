//! Writes JSON texts: health, status, log lines, reports. The values of rows are written by `change::json`.
//!
//! ```text
//! object(|object| {
//!     object.key("lsn").string("0/16B3748");
//!     object.key("sizes").array(|sizes| sizes.item().number(7));
//! })
//! {"lsn":"0/16B3748","sizes":[7]}
//! ```

use std::fmt::{self, Display, Write};

/// A JSON object as a text of its own.
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::with_capacity(512);
    Value(&mut out).object(fill);
    out
}

/// A JSON array as a text of its own.
pub fn array(fill: impl FnOnce(&mut Array<'_>)) -> String {
    let mut out = String::with_capacity(512);
    Value(&mut out).array(fill);
    out
}

/// The members of an object that is being written.
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Object<'_> {
    /// Begins a member; the value has to follow. Keys are not checked for being unique.
    pub fn key(&mut self, name: &str) -> Value<'_> {
        separate(self.out, &mut self.empty);
        Value(self.out).string(name);
        self.out.push(':');
        Value(self.out)
    }
}

/// The items of an array that is being written.
pub struct Array<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Array<'_> {
    /// Begins an item; the value has to follow.
    pub fn item(&mut self) -> Value<'_> {
        separate(self.out, &mut self.empty);
        Value(self.out)
    }
}

fn separate(out: &mut String, empty: &mut bool) {
    if !*empty {
        out.push(',');
    }
    *empty = false;
}

/// The place of one value at the end of a text.
#[must_use = "a JSON text with a missing value is not JSON"]
pub struct Value<'a>(&'a mut String);

// Writing to a String fails only where a Display fails; what it wrote until then stays.
impl<'a> Value<'a> {
    /// The place at the end of this text.
    pub fn at_end_of(out: &'a mut String) -> Value<'a> {
        Value(out)
    }

    /// A string.
    pub fn string(self, text: &str) {
        self.display(text);
    }

    /// A string of what `Display` gives.
    pub fn display(self, text: impl Display) {
        self.0.push('"');
        let _ = write!(Escaped(self.0), "{text}");
        self.0.push('"');
    }

    /// A string, or `null`.
    pub fn string_or_null(self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// An integer.
    pub fn number(self, number: impl Into<i128>) {
        let _ = write!(self.0, "{}", number.into());
    }

    /// A floating-point number; `null` for NaN and infinities, which JSON does not have.
    pub fn float(self, number: f64) {
        match number.is_finite() {
            true => drop(write!(self.0, "{number}")),
            false => self.null(),
        }
    }

    /// A number of seconds with three decimals; it must be finite.
    pub fn seconds(self, seconds: f64) {
        let _ = write!(self.0, "{seconds:.3}");
    }

    /// `true` or `false`.
    pub fn boolean(self, value: bool) {
        self.0.push_str(if value { "true" } else { "false" });
    }

    /// `null`.
    pub fn null(self) {
        self.0.push_str("null");
    }

    /// A value that is JSON already.
    pub fn json(self, text: &str) {
        self.0.push_str(text);
    }

    /// An object.
    pub fn object(self, fill: impl FnOnce(&mut Object<'_>)) {
        self.0.push('{');
        fill(&mut Object {
            out: self.0,
            empty: true,
        });
        self.0.push('}');
    }

    /// An array.
    pub fn array(self, fill: impl FnOnce(&mut Array<'_>)) {
        self.0.push('[');
        fill(&mut Array {
            out: self.0,
            empty: true,
        });
        self.0.push(']');
    }
}

/// Escapes what is written through it for the inside of a JSON string.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                // All of them are below U+10000, so that no surrogate pair is needed.
                c if is_unsafe(c) => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Whether a character could break a line, steer a terminal or reorder text: control characters, line and
/// paragraph separators, and the bidirectional marks of Unicode (UAX #9, section 2).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || c == '\u{61c}'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_kind_of_value_is_json() {
        let text = object(|object| {
            object.key("a").string("b");
            object.key("n").number(-3_i64);
            object.key("most").number(u64::MAX);
            object.key("f").float(0.5);
            object.key("nan").float(f64::NAN);
            object.key("s").seconds(1.23456);
            object.key("yes").boolean(true);
            object.key("none").string_or_null(None);
            object.key("raw").json("[1]");
            object.key("empty").object(|_| {});
            object.key("list").array(|array| {
                array.item().number(1);
                array.item().array(|_| {});
                array.item().display(format_args!("{}-{}", 1, 2));
            });
        });
        assert_eq!(
            text,
            "{\"a\":\"b\",\"n\":-3,\"most\":18446744073709551615,\"f\":0.5,\"nan\":null,\"s\":1.235,\
             \"yes\":true,\"none\":null,\"raw\":[1],\"empty\":{},\"list\":[1,[],\"1-2\"]}"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(array(|_| {}), "[]");
    }

    #[test]
    fn keys_and_strings_are_escaped() {
        let odd = "q\" b\\ n\n r\r t\t e\u{1b} d\u{7f} c\u{9b} l\u{2028} o\u{202e} m\u{61c} é 🐘";
        let text = object(|object| object.key(odd).string(odd));
        let escaped = "\"q\\\" b\\\\ n\\n r\\r t\\t e\\u001b d\\u007f c\\u009b l\\u2028 o\\u202e \
                       m\\u061c é 🐘\"";
        assert_eq!(text, format!("{{{escaped}:{escaped}}}"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read[odd], odd);
    }
}
