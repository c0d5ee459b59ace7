//! Finds what jsonb refuses in a text that may be JSON: one pass, no recursion.
//!
//! The `json` type checks only the syntax, and keeps escapes and numbers that jsonb cannot hold
//! (PostgreSQL documentation, "JSON Types"). A `jsonb` value has none of these, but passes the same
//! check, since the bytes of the stream are not trusted.

use super::escape::plain_len;
use super::number;
use super::outcome::Reason;

/// The deepest nesting that is written as it is.
///
/// The JSON parser of the server recurses, within `max_stack_depth`. At the default of 2 MB,
/// optimised builds of PostgreSQL 14 to 18 on x86-64 take at least 13,000 levels (measured). A
/// fifth of that leaves room for other builds and processors, and for the arrays, composites and
/// the row around the value.
pub const MAX_DEPTH: usize = 2_500;

/// Whether `text` is JSON that `jsonb_in` takes, apart from its size (see [`super::jsonb_size`]).
pub fn check(text: &[u8]) -> Result<(), Reason> {
    if std::str::from_utf8(text).is_err() {
        return Err(Reason::NotUtf8);
    }
    let mut open = Open::default();
    let mut next = Next::Value;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        }
        next = match next {
            Next::Value | Next::ValueOrEnd => match byte {
                b'"' => {
                    at = string_end(text, at)?;
                    Next::AfterValue
                }
                b'-' | b'0'..=b'9' => {
                    at = number::end(text, at - 1)?;
                    Next::AfterValue
                }
                b'{' => {
                    open.push(Container::Object)?;
                    Next::KeyOrEnd
                }
                b'[' => {
                    open.push(Container::Array)?;
                    Next::ValueOrEnd
                }
                b't' | b'f' | b'n' => {
                    at += word_rest(&text[at - 1..]).ok_or(Reason::Malformed)?;
                    Next::AfterValue
                }
                b']' if matches!(next, Next::ValueOrEnd) => open.pop(Container::Array)?,
                _ => return Err(Reason::Malformed),
            },
            Next::Key | Next::KeyOrEnd => match byte {
                b'"' => {
                    at = string_end(text, at)?;
                    Next::Colon
                }
                b'}' if matches!(next, Next::KeyOrEnd) => open.pop(Container::Object)?,
                _ => return Err(Reason::Malformed),
            },
            Next::Colon => match byte {
                b':' => Next::Value,
                _ => return Err(Reason::Malformed),
            },
            Next::AfterValue => match (byte, open.innermost()) {
                (b',', Some(Container::Object)) => Next::Key,
                (b',', Some(Container::Array)) => Next::Value,
                (b'}', _) => open.pop(Container::Object)?,
                (b']', _) => open.pop(Container::Array)?,
                _ => return Err(Reason::Malformed),
            },
        };
    }
    match (next, open.innermost()) {
        (Next::AfterValue, None) => Ok(()),
        _ => Err(Reason::Malformed),
    }
}

/// The token that may follow.
#[derive(Clone, Copy)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    AfterValue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

const WORDS: usize = MAX_DEPTH.div_ceil(64);

/// The open containers, one bit each: set for an object.
struct Open {
    objects: [u64; WORDS],
    depth: usize,
}

impl Default for Open {
    fn default() -> Open {
        Open {
            objects: [0; WORDS],
            depth: 0,
        }
    }
}

impl Open {
    fn push(&mut self, container: Container) -> Result<(), Reason> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        let word = &mut self.objects[self.depth / 64];
        let bit = 1 << (self.depth % 64);
        match container {
            Container::Object => *word |= bit,
            Container::Array => *word &= !bit,
        }
        self.depth += 1;
        Ok(())
    }

    /// Closes the innermost container, which has to be of this kind.
    fn pop(&mut self, container: Container) -> Result<Next, Reason> {
        if self.innermost() != Some(container) {
            return Err(Reason::Malformed);
        }
        self.depth -= 1;
        Ok(Next::AfterValue)
    }

    fn innermost(&self) -> Option<Container> {
        let top = self.depth.checked_sub(1)?;
        match self.objects[top / 64] >> (top % 64) & 1 {
            0 => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}

/// The length of `true`, `false` or `null` at the beginning, without its first letter.
fn word_rest(text: &[u8]) -> Option<usize> {
    [&b"true"[..], b"false", b"null"]
        .into_iter()
        .find(|word| text.starts_with(word))
        .map(|word| word.len() - 1)
}

/// The index after the closing quote of the string whose content begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> Result<usize, Reason> {
    loop {
        at += plain_len(text.get(at..).ok_or(Reason::Malformed)?);
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(text, at + 1)?,
            _ => return Err(Reason::Malformed),
        }
    }
}

/// The index after the escape whose backslash is before `at`; a surrogate pair is one escape.
fn escape_end(text: &[u8], at: usize) -> Result<usize, Reason> {
    match text.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match four_hex(text, at + 1).ok_or(Reason::Malformed)? {
            0 => Err(Reason::NulEscape),
            0xDC00..=0xDFFF => Err(Reason::LoneSurrogate),
            0xD800..=0xDBFF => match (text.get(at + 5..at + 7), four_hex(text, at + 7)) {
                (Some(b"\\u"), Some(0xDC00..=0xDFFF)) => Ok(at + 11),
                _ => Err(Reason::LoneSurrogate),
            },
            _ => Ok(at + 5),
        },
        _ => Err(Reason::Malformed),
    }
}

fn four_hex(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |code, &byte| {
        Some(code << 4 | char::from(byte).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn json_is_taken_with_all_its_white_space_and_escapes() {
        for text in [
            "null",
            " true\n",
            "\tfalse\r",
            "0",
            "\"\"",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            r#" { "a" : [ 1 , { "" : null } , [ ] ] , "a" : { } } "#,
            r#"["\"\\\/\b\f\n\r\t\u0001\uFFFF\uffff"]"#,
            r#""\ud83d\uDE00 \uD800\uDC00""#,
            "\"\u{7F}\u{80}\u{1F600}\"",
            r#"[1,-0,1e5,true,"x",{"y":[[[]]]}]"#,
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "truefalse",
            "tru e",
            "True",
            "01",
            "1 2",
            "1.",
            "+1",
            "-",
            "[",
            "]",
            "{",
            "}",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1",
            "{a:1}",
            "{1:1}",
            "{,}",
            "{\"a\" 1}",
            "[\"a\":1]",
            "{\"a\",\"b\"}",
            "1,2",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\n\"",
            "\"\u{1}\"",
            "'a'",
            "\u{feff}1",
            "\u{a0}1",
            "[1]]",
            "{}{}",
            "NaN",
            "Infinity",
            "-Infinity",
            "/**/1",
            "\"\\U0041\"",
            ":",
            ",",
        ] {
            assert_eq!(check(text.as_bytes()), Err(Reason::Malformed), "{text}");
        }
        assert_eq!(check(b"1\0"), Err(Reason::Malformed));
        assert_eq!(check(b"\"a\0\""), Err(Reason::Malformed));
        assert_eq!(check(b"\"\xFF\""), Err(Reason::NotUtf8));
    }

    #[test]
    fn what_only_jsonb_refuses_is_named() {
        for (text, reason) in [
            (r#""\u0000""#, Reason::NulEscape),
            (r#"{"\u0000":1}"#, Reason::NulEscape),
            (r#""\ud800""#, Reason::LoneSurrogate),
            (r#""\udc00""#, Reason::LoneSurrogate),
            (r#""\ud800x\udc00""#, Reason::LoneSurrogate),
            (r#""\ud800\ud800\udc00""#, Reason::LoneSurrogate),
            (r#""\ud800\n""#, Reason::LoneSurrogate),
            (r#""\uD83D\uDE00\uDE00""#, Reason::LoneSurrogate),
            (r#""\ud800\u0041""#, Reason::LoneSurrogate),
            ("[1e131072]", Reason::NumberRange),
            ("{\"a\":1e-16384}", Reason::NumberRange),
        ] {
            assert_eq!(check(text.as_bytes()), Err(reason), "{text}");
        }
        // A backslash that is itself escaped begins no escape.
        assert_eq!(check(br#""\\u0000 \\ud800""#), Ok(()));
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(nested(MAX_DEPTH).as_bytes()), Ok(()));
        assert_eq!(
            check(nested(MAX_DEPTH + 1).as_bytes()),
            Err(Reason::TooDeep)
        );
        assert_eq!(check(&[b'['; 1_000_000]), Err(Reason::TooDeep));
        let mixed = |levels: usize| "{\"a\":[".repeat(levels) + &"]}".repeat(levels);
        assert_eq!(check(mixed(MAX_DEPTH / 2).as_bytes()), Ok(()));
        assert_eq!(
            check(mixed(MAX_DEPTH / 2 + 1).as_bytes()),
            Err(Reason::TooDeep)
        );
        // The kind of each level is kept beyond one word of bits.
        let wrong = mixed(100).replacen("]}", "}]", 1);
        assert_eq!(check(wrong.as_bytes()), Err(Reason::Malformed));
    }
}
