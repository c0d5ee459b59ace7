//! The interface of the fuzz targets (`fuzz/`), of the replay of their corpora (`tests/fuzz_corpus.rs`) and
//! of the comparison of values with a server (`tests/it/values/`): items that are internal otherwise. Nothing
//! else may use it, and it may change at any time.

use std::sync::Arc;
use std::time::Instant;

use crate::config::Endpoint;
pub use crate::config::pattern::{ColumnPattern, Pattern};
pub use crate::config::settings::SETTINGS;
use crate::error::Result;
pub use crate::observe::http::request::Request;
pub use crate::pipeline::channel::Chunk;
pub use crate::pipeline::stream_decoder::{Sink, StreamDecoder};
pub use crate::resume::StreamStart;
use crate::wire::Connection;
pub use crate::wire::frame::{FRAME_LIMIT, FrameHead, HEAD};
pub use crate::wire::frontend::query_message;
pub use crate::wire::quote::identifier;
pub use crate::wire::response::server_error;
pub use crate::wire::result_set::{command_tag, rows_of_tag};
pub use crate::wire::tls::certificate::Certificate;
pub use crate::wire::transport::Transport;
pub use crate::{change, pgoutput, source};

/// Authenticates over a transport that plays a server.
///
/// # Errors
/// As for [`Connection::open`], without the address of the server.
pub fn connect_over(
    transport: Arc<dyn Transport>,
    endpoint: &Endpoint,
    parameters: &[(&str, &str)],
    deadline: Instant,
) -> Result<Connection> {
    Connection::over(transport, endpoint, parameters, deadline)
}
