//! The interface of the fuzz targets (`fuzz/`) and of the replay of their corpora (`tests/fuzz_corpus.rs`):
//! items that are internal otherwise. Nothing else may use it, and it may change at any time.

pub use crate::observe::http::request::Request;
