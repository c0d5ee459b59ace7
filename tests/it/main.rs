//! Tests of the whole: the `zemi` program against real PostgreSQL servers.
//!
//! One binary for all of them, so that they are linked once and run side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod destination;
mod faults;
mod operations;
mod publications;
mod stream;
mod support;
