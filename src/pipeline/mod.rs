//! The threads, and what they share: channels, feedback, control.

pub mod channel;
pub mod control;
pub mod decoder;
pub mod feedback;
mod late_tables;
pub mod publication_refresh;
pub mod reader;
mod schedule;
mod shutdown;
mod signals;
pub mod stream_decoder;
pub mod supervisor;
pub mod table_watch;
pub mod writer;
