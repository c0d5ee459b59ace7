//! The only module that touches a socket: transports, TLS, connecting, authentication, sessions.
//!
//! Everything above works on a [`Connection`] (one thread) or on its [`Transport`] (any thread), so
//! that an encrypted transport changes nothing for the callers.

mod advice;
mod auth;
mod connect;
mod connection;
mod frame;
mod pooler;
mod quote;
mod response;
mod tls;
mod transport;

pub use advice::advise;
pub use connection::{
    COPY_DONE, Connection, ResultSet, command_tag, copy_data_head, query_message, rows_of_tag,
    unexpected,
};
pub use frame::{FRAME_LIMIT, FrameHead, HEAD, closed, grown, read_failed};
pub use quote::{identifier, literal};
pub use response::server_error;
pub use tls::{Certificate, Encryption};
pub use transport::Transport;
