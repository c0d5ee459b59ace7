//! Errors of decoding.

use std::fmt;

use crate::error::{Error, Kind};

/// Bytes that are no message of protocol version 1: which message, which field, where, and why.
///
/// Holds no values of a row; at most the one byte that was found in the place of a tag or of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// The message as the PostgreSQL documentation names it; `"message"` where its tag is not
    /// known.
    pub message: &'static str,
    /// The field that could not be read.
    pub field: &'static str,
    /// The column, counted from 1, where the field belongs to one.
    pub column: Option<u16>,
    /// Where the field begins, in bytes from the message's tag.
    pub offset: usize,
    /// The problem.
    pub problem: Problem,
}

/// The problem of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The field takes `wanted` bytes and only `found` are left.
    Truncated {
        /// Bytes that the field takes.
        wanted: usize,
        /// Bytes that are left.
        found: usize,
    },
    /// A string without its terminating zero byte.
    Unterminated {
        /// Bytes that are left, none of them zero.
        found: usize,
    },
    /// A length or count below zero.
    Negative(i32),
    /// A byte that has another meaning, or none, in this place.
    Unexpected {
        /// The bytes that would be right here.
        expected: &'static str,
        /// The byte that is here.
        found: u8,
    },
    /// A position of zero, which PostgreSQL never sends here.
    NoPosition,
    /// Bytes after the message's end.
    Trailing(usize),
    /// A message that only a later protocol version has.
    LaterVersion(u8),
    /// A tag that no protocol version has.
    UnknownTag(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pgoutput {}", self.message)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ", {} at offset {}: ", self.field, self.offset)?;
        match self.problem {
            Problem::Truncated { wanted, found } => {
                write!(f, "expected {wanted} bytes, found {found}")
            }
            Problem::Unterminated { found } => {
                write!(
                    f,
                    "expected a terminating zero byte, found none in {found} bytes"
                )
            }
            Problem::Negative(value) => write!(f, "expected 0 or more, found {value}"),
            Problem::Unexpected { expected, found } => {
                write!(f, "expected {expected}, found {}", Byte(found))
            }
            Problem::NoPosition => f.write_str("expected a position, found 0/0"),
            Problem::Trailing(count) => write!(f, "expected no more bytes, found {count}"),
            Problem::LaterVersion(version) => {
                write!(
                    f,
                    "expected protocol version 1, found a message of version {version}"
                )
            }
            Problem::UnknownTag(tag) => {
                write!(
                    f,
                    "expected one of B C O R Y I U D T M, found {}",
                    Byte(tag)
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        let hint = match error.problem {
            Problem::LaterVersion(_) => {
                "START_REPLICATION must ask for proto_version '1' without streaming, and the slot \
                 must not have two_phase on"
            }
            _ => {
                "something between zemi and the source changed the stream, or the source's \
                 pgoutput is newer than this zemi"
            }
        };
        Error::new(Kind::Decode, error.to_string()).hint(hint)
    }
}

/// A byte as its character where it has one, and always as its number.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}' (0x{:02X})", char::from(self.0), self.0)
        } else {
            write!(f, "0x{:02X}", self.0)
        }
    }
}
