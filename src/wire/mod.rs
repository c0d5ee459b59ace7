//! The only module that touches a PostgreSQL socket: transports, TLS, connecting, authentication, sessions.
//!
//! The modules above use a [`Connection`] (one thread) or its [`Transport`] (any thread); encryption changes
//! nothing for them.

mod auth;
mod connect;
mod connection;
mod deadline;
pub(crate) mod frame;
pub(crate) mod frontend;
mod io_error;
mod login_hint;
mod message_stream;
mod pooler;
pub(crate) mod quote;
pub(crate) mod response;
pub(crate) mod result_set;
pub(crate) mod session_settings;
pub(crate) mod tls;
pub(crate) mod transport;
mod value_text;

pub use connection::Connection;
pub use quote::literal;
pub use result_set::ResultSet;

pub(crate) use connection::unexpected;
pub(crate) use frame::{FRAME_LIMIT, FrameHead, HEAD, grown};
pub(crate) use frontend::{COPY_DONE, copy_data_head, query_message};
pub(crate) use io_error::{closed, read_failed};
pub(crate) use login_hint::with_login_hint;
pub(crate) use quote::identifier;
pub(crate) use response::server_error;
pub(crate) use result_set::command_tag;
pub(crate) use tls::encryption::Encryption;
pub(crate) use transport::Transport;
