//! The only module that touches a PostgreSQL socket: transports, TLS, connecting, authentication, sessions.
//!
//! The modules above use a [`Connection`] (one thread) or its [`Transport`] (any thread); encryption changes
//! nothing for them.

mod auth;
mod connect;
mod connection;
mod deadline;
mod frame;
mod frontend;
mod io_error;
mod login_hint;
mod message_stream;
mod pooler;
mod quote;
mod response;
mod result_set;
mod tls;
mod transport;

pub use connection::{Connection, unexpected};
pub use frame::{FRAME_LIMIT, FrameHead, HEAD, grown};
pub use frontend::{COPY_DONE, copy_data_head, query_message};
pub use io_error::{closed, read_failed};
pub use login_hint::with_login_hint;
pub use quote::{identifier, literal};
pub use response::server_error;
pub use result_set::{ResultSet, command_tag, rows_of_tag};
pub use tls::certificate::Certificate;
pub use tls::encryption::Encryption;
pub use transport::Transport;
