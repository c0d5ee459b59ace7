//! The source: sessions with it, what it is, and the objects on it that the stream needs.

mod cast;
pub mod catalog;
pub(crate) mod failover;
pub(crate) mod filters;
pub(crate) mod late;
pub mod message;
pub(crate) mod own_tables;
mod partitions;
pub(crate) mod predecessor;
pub(crate) mod publication;
mod relation_facts;
pub mod server;
pub mod session;
pub(crate) mod slot;
mod stored;
mod types;

pub use server::{Identity, identify};
pub(crate) use server::{Server, check, position, system_identifier, undone, wal_end};
pub use session::open_session;
pub(crate) use session::{FRESH, SourceSessions, open_replication};
pub(crate) use slot::{create_slot, drop_slot, kept_by_slot, read_slot};
