//! The destination: its session, its tables, the progress, and the batches that move both.

pub(crate) mod accounting;
pub(crate) mod connect;
pub(crate) mod connector;
mod copy;
pub(crate) mod ddl;
pub(crate) mod durable;
mod existing;
mod fallback;
mod forms;
pub(crate) mod gap;
pub(crate) mod identity;
mod login;
pub(crate) mod package_trigger;
pub mod progress;
pub(crate) mod removal;
pub(crate) mod schema;
pub(crate) mod session;
mod statements;
pub(crate) mod tables;
mod verdict;
pub(crate) mod write;

pub(crate) use connector::Connector;
pub use durable::Durable;
pub(crate) use session::Session;
