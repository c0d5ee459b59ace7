//! Encrypted connections and the ways to log in.

mod authority;
mod logins;
mod modes;
mod server;
