//! Writes one value of any type.

use super::check::check;
use super::escape::write_string;
use super::outcome::{MALFORMED, Outcome, Reason, Refusal, Written};
use super::parts::{Ask, PartWriter};
use super::types::ValueType;
use super::weigh::{JSONB, Limits};
use super::{array, composite, datetime, hstore, number};
use crate::error::{Error, Result};
use crate::lsn::Oid;

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
    /// Why the source did not answer, see [`Refusal::Unanswered`].
    unanswered: Option<Error>,
}

impl Writer {
    /// A writer without buffers; they come with the first value that needs unquoting.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Appends to `out` the JSON of one value that is not NULL.
    ///
    /// # Errors
    /// The source did not answer a question about the value: nothing was written.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        value_type: &ValueType,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Result<Outcome> {
        let start = out.len();
        if matches!(value_type, ValueType::Text) {
            return Ok(string_or_omitted(&self.limits, out, start, text).into());
        }
        Ok(match self.value(out, value_type, text, ask) {
            Ok(reason) => match self.limits.fits(&out[start..]) {
                Ok(()) => reason.into(),
                Err(large) => {
                    out.truncate(start);
                    string_or_omitted(&self.limits, out, start, text);
                    Outcome::Replaced(large)
                }
            },
            Err(refusal) => {
                out.truncate(start);
                match (refusal, self.unanswered.take()) {
                    (Refusal::Unanswered, Some(error)) => return Err(error),
                    _ => Outcome::Mismatch,
                }
            }
        })
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
            ValueType::Cast { type_oid } => self.cast(out, *type_oid, text, ask),
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

    fn cast(
        &mut self,
        out: &mut Vec<u8>,
        type_oid: Oid,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Written {
        let start = out.len();
        let answered = ask.to_json(type_oid, text, out).map_err(|error| {
            self.unanswered = Some(error);
            Refusal::Unanswered
        })?;
        match out.get(start..).map(check) {
            Some(Ok(())) if answered => Ok(None),
            _ => Err(Refusal::Text(Reason::CastFailed)),
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
}

impl PartWriter for Writer {
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

    fn with_scratch<T>(&mut self, body: impl FnOnce(&mut Self, &mut Vec<u8>) -> T) -> T {
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

#[cfg(test)]
mod tests;
