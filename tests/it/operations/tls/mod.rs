//! Encrypted connections and the ways to log in.

mod authority;
mod between;
mod duplex;
mod logins;
mod modes;
mod peers;
mod pipeline;
mod secrets;
mod server;
