//! Values of PostgreSQL, from the text that the walsender sends to the JSON that `to_jsonb` gives.
//!
//! The text is what the type's output function prints under `DateStyle=ISO`,
//! `IntervalStyle=postgres`, `extra_float_digits=3`, `TimeZone=UTC`, `bytea_output=hex` and UTF-8.
//! The rules are those of `to_jsonb` (PostgreSQL documentation, "JSON Functions and Operators",
//! table "JSON Creation Functions"). The destination parses the JSON by `jsonb_in`, so only the
//! jsonb has to be equal.
//!
//! Whatever the bytes are, what is written is one valid JSON value that jsonb accepts. A value that
//! it would refuse is written as a JSON string of its text or, where that is too large as well, as
//! `{"zemi_omitted":"<reason>","bytes":n}`.

mod array;
mod check;
mod composite;
mod datetime;
mod escape;
mod hstore;
#[cfg(test)]
mod judged;
mod number;
mod quoted;
#[cfg(test)]
mod tests;
mod types;
mod weigh;

use std::fmt;

pub use check::{MAX_DEPTH, check};
pub use escape::write_string;
pub use types::{CompositeField, ValueType, builtin};
use weigh::{JSONB, Limits};
pub use weigh::{JSONB_MAX_BYTES, WEIGH_FROM, jsonb_size};

/// The form in which a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written as `to_jsonb` gives it.
    Ok,
    /// Written, but the value or a part of it in a safe form, for this (first) reason. To be
    /// counted.
    Replaced(Reason),
    /// Nothing was written: the text of a composite does not fit its catalog facts, so it was
    /// written before or after an `ALTER TYPE`. Read the catalog and try again, then use
    /// [`write_as_text`].
    Mismatch,
}

impl From<Option<Reason>> for Outcome {
    fn from(reason: Option<Reason>) -> Outcome {
        reason.map_or(Outcome::Ok, Outcome::Replaced)
    }
}

/// The reason why a value is not written as `to_jsonb` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Bytes that are not UTF-8: each invalid sequence became U+FFFD.
    NotUtf8,
    /// A NUL byte, which jsonb cannot hold: it became U+FFFD.
    NulByte,
    /// Text that is no output of its type.
    Malformed,
    /// `\u0000` in a `json` value.
    NulEscape,
    /// Half a surrogate pair in a `json` value.
    LoneSurrogate,
    /// A number beyond the range of `numeric`, which jsonb stores numbers as.
    NumberRange,
    /// Nested more than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More array elements or object pairs than the server can collect in memory.
    TooManyElements,
    /// Beyond [`JSONB_MAX_BYTES`].
    TooLarge,
    /// The source gave no usable JSON for a type that has a cast to json.
    CastFailed,
    /// The composite's text has other fields than the catalog says.
    TypeChanged,
    /// A primary key longer than the column that takes it: it was cut.
    LongKey,
}

impl Reason {
    /// The reason in words, for the log and for `zemi_omitted`. Holds nothing that JSON would
    /// escape.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NotUtf8 => "bytes that are not UTF-8",
            Reason::NulByte => "a NUL byte",
            Reason::Malformed => "text that is not an output of its type",
            Reason::NulEscape => "json with an escaped NUL character",
            Reason::LoneSurrogate => "json with half a surrogate pair",
            Reason::NumberRange => "a number beyond the range of numeric",
            Reason::TooDeep => "json nested too deep",
            Reason::TooManyElements => "more elements than jsonb can be built from",
            Reason::TooLarge => "larger than jsonb can be",
            Reason::CastFailed => "no answer to a cast to json",
            Reason::TypeChanged => "a composite type that changed since",
            Reason::LongKey => "a primary key longer than the column that takes it",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Computes the casts to json that only the source can compute.
pub trait Ask {
    /// Appends the JSON text of `to_jsonb(text::type_name)`; false where the source gave none.
    /// What was appended is checked here, and taken back where it is not JSON.
    fn to_json(&mut self, type_name: &str, text: &[u8], out: &mut Vec<u8>) -> bool;
}

/// Computes no cast: every [`ValueType::Cast`] is replaced by its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskNobody;

impl Ask for AskNobody {
    fn to_json(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }
}

/// The reason why a converter failed. [`Writer::value`] removes what it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The value goes out as a string, for this reason.
    Text(Reason),
    /// See [`Outcome::Mismatch`].
    Mismatch,
}

const MALFORMED: Refusal = Refusal::Text(Reason::Malformed);

/// The result of a converter: `None` if the value is written as by `to_jsonb`, `Some` with the reason of the
/// first part that had to be replaced.
type Written = Result<Option<Reason>, Refusal>;

/// The limit for arrays and composites inside each other. PostgreSQL has none, but the quoting of their text
/// doubles with each level, which keeps real values far below it.
const MAX_NESTED_TYPES: u32 = 100;

/// Scratch buffers above this size, in bytes, are freed after use, so that one large value does not hold
/// memory for the life of the process.
const MAX_KEPT_SCRATCH: usize = 1 << 20;

/// Converts values. It keeps scratch buffers, so that common values are written without allocation.
#[derive(Debug, Default)]
pub struct Writer {
    spare: Vec<Vec<u8>>,
    nested: u32,
    composites: u32,
    limits: Limits,
}

impl Writer {
    /// A writer without buffers; they come with the first value that needs unquoting.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Appends to `out` the JSON of one value that is not NULL.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        value_type: &ValueType,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Outcome {
        let start = out.len();
        if matches!(value_type, ValueType::Text) {
            return string_or_omitted(&self.limits, out, start, text).into();
        }
        match self.value(out, value_type, text, ask) {
            Ok(reason) => match self.limits.fits(&out[start..]) {
                Ok(()) => reason.into(),
                Err(large) => {
                    out.truncate(start);
                    string_or_omitted(&self.limits, out, start, text);
                    Outcome::Replaced(large)
                }
            },
            Err(_) => {
                out.truncate(start);
                Outcome::Mismatch
            }
        }
    }

    /// One value of any depth, in the safe form where its own form does not do.
    fn value(
        &mut self,
        out: &mut Vec<u8>,
        value_type: &ValueType,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Written {
        let start = out.len();
        match self.own_form(out, value_type, text, ask) {
            // Attributes can be dropped and added so that only the types of the fields differ.
            Err(Refusal::Text(Reason::Malformed)) if self.composites > 0 => Err(Refusal::Mismatch),
            Err(Refusal::Text(reason)) => {
                out.truncate(start);
                write_string(out, text);
                Ok(Some(reason))
            }
            written => written,
        }
    }

    fn own_form(
        &mut self,
        out: &mut Vec<u8>,
        value_type: &ValueType,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Written {
        match value_type {
            ValueType::Text => Ok(write_string(out, text)),
            ValueType::Bool => boolean(out, text),
            ValueType::Number => number::write(out, text),
            ValueType::Float => number::write_float(out, text),
            ValueType::Json => embedded(out, text),
            ValueType::Date => datetime::write_date(out, text),
            ValueType::Timestamp => datetime::write_timestamp(out, text, false),
            ValueType::TimestampTz => datetime::write_timestamp(out, text, true),
            ValueType::Hstore => hstore::write(self, out, text),
            ValueType::Cast { type_name } => cast(out, type_name, text, ask),
            ValueType::Int2Vector => array::write_vector(out, text, number::write),
            ValueType::OidVector => {
                array::write_vector(out, text, |out, oid| Ok(write_string(out, oid)))
            }
            ValueType::Array { element, delimiter } => {
                self.nest(|writer| array::write(writer, out, element, *delimiter, text, ask))
            }
            ValueType::Composite(fields) => {
                self.composites += 1;
                let written = self.nest(|writer| composite::write(writer, out, fields, text, ask));
                self.composites -= 1;
                written
            }
        }
    }

    /// Runs `body` one level of types deeper.
    fn nest(&mut self, body: impl FnOnce(&mut Writer) -> Written) -> Written {
        if self.nested >= MAX_NESTED_TYPES {
            return Err(Refusal::Text(Reason::TooDeep));
        }
        self.nested += 1;
        let written = body(self);
        self.nested -= 1;
        written
    }

    /// Runs `body` with an empty scratch buffer.
    fn with_scratch<T>(&mut self, body: impl FnOnce(&mut Writer, &mut Vec<u8>) -> T) -> T {
        let mut scratch = self.spare.pop().unwrap_or_default();
        let done = body(self, &mut scratch);
        if scratch.capacity() <= MAX_KEPT_SCRATCH {
            scratch.clear();
            self.spare.push(scratch);
        }
        done
    }
}

/// Writes the text of a value as a JSON string from `start` on, in place of whatever was there.
///
/// For values whose own form cannot be computed; the outcome is always [`Outcome::Replaced`].
pub fn write_as_text(out: &mut Vec<u8>, start: usize, text: &[u8], reason: Reason) -> Outcome {
    out.truncate(start);
    string_or_omitted(&JSONB, out, start, text);
    Outcome::Replaced(reason)
}

/// Writes the form of a value that is too large: `{"zemi_omitted":"<reason>","bytes":n}`.
pub fn write_omitted(out: &mut Vec<u8>, bytes: usize, reason: Reason) {
    out.extend_from_slice(b"{\"zemi_omitted\":\"");
    out.extend_from_slice(reason.as_str().as_bytes());
    out.extend_from_slice(b"\",\"bytes\":");
    out.extend_from_slice(bytes.to_string().as_bytes());
    out.push(b'}');
}

/// A JSON string, or the omitted form where jsonb cannot hold one so long.
fn string_or_omitted(
    limits: &Limits,
    out: &mut Vec<u8>,
    start: usize,
    text: &[u8],
) -> Option<Reason> {
    // A byte of the text takes at least one byte of the jsonb string.
    if text.len() <= limits.bytes {
        let reason = write_string(out, text);
        if limits.fits(&out[start..]).is_ok() {
            return reason;
        }
        out.truncate(start);
    }
    write_omitted(out, text.len(), Reason::TooLarge);
    Some(Reason::TooLarge)
}

fn boolean(out: &mut Vec<u8>, text: &[u8]) -> Written {
    out.extend_from_slice(match text {
        b"t" => b"true",
        b"f" => b"false",
        _ => return Err(MALFORMED),
    });
    Ok(None)
}

fn embedded(out: &mut Vec<u8>, text: &[u8]) -> Written {
    check(text).map_err(Refusal::Text)?;
    out.extend_from_slice(text);
    Ok(None)
}

fn cast(out: &mut Vec<u8>, type_name: &str, text: &[u8], ask: &mut dyn Ask) -> Written {
    let start = out.len();
    let answered = ask.to_json(type_name, text, out);
    match out.get(start..).map(check) {
        Some(Ok(())) if answered => Ok(None),
        _ => Err(Refusal::Text(Reason::CastFailed)),
    }
}
