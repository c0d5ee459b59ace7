//! The source's side: who it is, what it publishes, its slot, the stream, and what it is told.

mod burst;
pub mod catalog;
pub mod chunk;
pub mod failover;
pub mod feedback;
pub mod message;
mod notice;
pub mod predecessor;
pub mod publication;
pub mod reader;
pub mod source;
pub mod start;
mod types;
