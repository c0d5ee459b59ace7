//! The destination: its session, its tables, the progress, and the batches that move both.

pub mod accounting;
pub mod connect;
pub mod copy;
pub mod ddl;
pub mod fallback;
mod forms;
pub mod gap;
pub mod package_trigger;
pub mod progress;
pub mod removal;
pub mod schema;
pub mod session;
pub mod tables;
