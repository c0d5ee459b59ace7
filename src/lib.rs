//! Zemi follows the write-ahead log of a PostgreSQL server by logical replication and writes every
//! INSERT, UPDATE, DELETE and TRUNCATE as one row of a `changes` table, exactly once.

pub mod backoff;
pub mod change;
pub mod config;
pub mod control;
pub mod decoder;
pub mod error;
pub mod lsn;
pub mod observe;
pub mod pgoutput;
pub mod replication;
pub mod supervisor;
pub mod wire;
pub mod writer;
