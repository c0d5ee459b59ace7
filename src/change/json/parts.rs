//! The interfaces between the writer and the converters of arrays, composites and `hstore`, whose parts are
//! values again.

use super::outcome::Written;
use super::types::ValueType;
use crate::error::Result;
use crate::lsn::Oid;

/// Computes the casts to json that only the source can compute.
pub trait Ask {
    /// Appends the JSON text that `to_jsonb` gives for the value of this type with this text; false where
    /// the source answered that it gives none. What was appended is checked by the caller, and taken back
    /// where it is not JSON.
    ///
    /// # Errors
    /// The source did not answer: the value is not known yet, and nothing may be written in its place.
    fn to_json(&mut self, type_oid: Oid, text: &[u8], out: &mut Vec<u8>) -> Result<bool>;
}

/// Computes no cast: every [`ValueType::Cast`] is replaced by its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskNothing;

impl Ask for AskNothing {
    fn to_json(&mut self, _: Oid, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }
}

/// Writes the parts of a value.
pub(super) trait PartWriter {
    /// Appends one value of any depth, in another form if its own form is refused.
    fn value(
        &mut self,
        out: &mut Vec<u8>,
        value_type: &ValueType,
        text: &[u8],
        ask: &mut dyn Ask,
    ) -> Written;

    /// Runs `body` with an empty scratch buffer.
    fn with_scratch<T>(&mut self, body: impl FnOnce(&mut Self, &mut Vec<u8>) -> T) -> T;
}
