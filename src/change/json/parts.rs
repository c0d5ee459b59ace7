//! The interfaces between the writer and the converters of arrays, composites and `hstore`, whose parts are
//! values again.

use super::outcome::Written;
use super::types::ValueType;

/// Computes the casts to json that only the source can compute.
pub trait Ask {
    /// Appends the JSON text of `to_jsonb(text::type_name)`; false where the source gave none.
    /// What was appended is checked here, and taken back where it is not JSON.
    fn to_json(&mut self, type_name: &str, text: &[u8], out: &mut Vec<u8>) -> bool;
}

/// Computes no cast: every [`ValueType::Cast`] is replaced by its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskNothing;

impl Ask for AskNothing {
    fn to_json(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
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
