//! The destination: its session, its tables, the progress, and the batches that move both.

pub mod accounting;
pub mod connect;
pub mod connector;
mod copy;
pub mod ddl;
pub mod durable;
mod fallback;
mod forms;
pub mod gap;
pub mod package_trigger;
pub mod progress;
pub mod removal;
pub mod schema;
pub mod session;
mod statements;
pub mod tables;
mod verdict;
pub mod write;

pub use connector::Connector;
pub use durable::Durable;
pub use session::Session;
