//! The fuzz targets: each takes any bytes, calls the library, and panics where something does not hold.
//!
//! `fuzz_targets/` gives them to libFuzzer; `tests/fuzz_corpus.rs` of the program gives them the corpus,
//! without sanitizer and without nightly.

// What only the maker of the corpus uses is dead where the targets are a module of a test.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod answers;
pub mod certificate;
pub mod context;
pub mod frames;
pub mod http;
pub mod input;
pub mod literals;
pub mod messages;
mod meter;
mod oracle;
pub mod pgoutput;
pub mod rows;
pub mod session;
pub mod settings;
pub mod stream;
pub mod value;

use zemi::error::Error;

/// A target: any bytes, no answer.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("answers", answers::run),
    ("certificate", certificate::run),
    ("context", context::run),
    ("frames", frames::run),
    ("http", http::run),
    ("literals", literals::run),
    ("messages", messages::run),
    ("pgoutput", pgoutput::run),
    ("rows", rows::run),
    ("session", session::run),
    ("settings", settings::run),
    ("stream", stream::run),
    ("value", value::run),
];

/// An error has to be one short line of text, whatever the bytes were.
fn is_fit_to_print(error: &Error, length: usize) {
    let text = error.to_string();
    assert!(
        !text.is_empty() && text.len() <= 1024 + 16 * length,
        "{text}"
    );
}
