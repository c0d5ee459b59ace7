//! Encrypted connections and the ways to log in.

pub mod authority;
mod between;
mod duplex;
mod logins;
mod modes;
mod peers;
mod pipeline;
mod secrets;
pub mod server;
