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
mod outcome;
mod parts;
mod quoted;
mod types;
mod weigh;
mod writer;

pub use check::{MAX_DEPTH, check};
pub use escape::write_string;
pub use outcome::{Outcome, Reason};
pub use parts::{Ask, AskNothing};
pub use types::{CompositeField, ValueType, builtin};
pub use weigh::{JSONB_MAX_BYTES, WEIGH_FROM, jsonb_size};
pub use writer::{Writer, write_as_text, write_omitted};
