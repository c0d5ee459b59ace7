//! The source: sessions with it, what it is, and the objects on it that the stream needs.

pub mod catalog;
pub mod failover;
pub mod message;
pub mod predecessor;
pub mod publication;
pub mod server;
pub mod session;
pub mod slot;
mod types;

pub use server::{Identity, Server, check, identify, position, system_identifier, wal_end};
pub use session::{
    APPLICATION, BEGIN_DDL, FRESH, SourceSessions, is_unconvertible, open_replication,
    open_session, take_bytes_as_stored,
};
pub use slot::{create_slot, drop_slot, kept_by_slot, log_open_transactions, read_slot};
