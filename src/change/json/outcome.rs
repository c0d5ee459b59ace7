//! The outcome of writing a value, and of a converter inside it.

use std::fmt;

/// The form in which a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written as `to_jsonb` gives it.
    Ok,
    /// Written, but the value or a part of it in another form, for this (first) reason. To be
    /// counted.
    Replaced(Reason),
    /// Nothing was written: the text of a composite does not fit its catalog facts, so it was
    /// written before or after an `ALTER TYPE`. Read the catalog and try again, then use
    /// [`write_as_text`](super::write_as_text).
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
    /// Nested more than [`MAX_DEPTH`](super::MAX_DEPTH) levels.
    TooDeep,
    /// More array elements or object pairs than the server can collect in memory.
    TooManyElements,
    /// Beyond [`JSONB_MAX_BYTES`](super::JSONB_MAX_BYTES).
    TooLarge,
    /// The source gave no text for a value that came in binary.
    NoText,
    /// The source answered that it gives no JSON for the value, of a type that has a cast to json.
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
            Reason::NoText => "a value in binary for which the source gives no text",
            Reason::CastFailed => "a value that the source cannot cast to json",
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

/// The reason why a converter failed. The writer removes what it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The value goes out as a string, for this reason.
    Text(Reason),
    /// See [`Outcome::Mismatch`].
    Mismatch,
    /// The source did not answer. The writer keeps its error.
    Unanswered,
}

/// The refusal of a text that is not an output of its type.
pub(super) const MALFORMED: Refusal = Refusal::Text(Reason::Malformed);

/// The result of a converter: `None` if the value is written as by `to_jsonb`, `Some` with the reason of the
/// first part that had to be replaced.
pub(super) type Written = Result<Option<Reason>, Refusal>;
