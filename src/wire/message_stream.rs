//! The messages of one connection, before and after authentication.

use std::sync::Arc;
use std::time::Instant;

use super::deadline::remaining;
use super::frame::Inbox;
use super::io_error::write_failed;
use super::response::log_notice;
use super::tls::encryption::Encryption;
use super::transport::Transport;
use crate::error::Result;

/// A transport with its input buffer: messages of the frontend/backend protocol, in either direction.
pub(super) struct MessageStream {
    transport: Arc<dyn Transport>,
    inbox: Inbox,
    /// The server, as the log names it.
    server: String,
    /// Bounds each read and write while the session is being set up.
    deadline: Option<Instant>,
    encryption: Option<Encryption>,
}

impl MessageStream {
    /// A stream over a connected transport, bounded by `deadline` until [`MessageStream::clear_deadline`].
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        encryption: Option<Encryption>,
        server: String,
        deadline: Instant,
    ) -> MessageStream {
        MessageStream {
            transport,
            inbox: Inbox::default(),
            server,
            deadline: Some(deadline),
            encryption,
        }
    }

    /// Ends the time limit.
    pub(super) fn clear_deadline(&mut self) -> Result<()> {
        self.deadline = None;
        self.transport
            .set_read_timeout(None)
            .and_then(|()| self.transport.set_write_timeout(None))
            .map_err(write_failed)
    }

    /// The transport below.
    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Takes the bytes that were received beyond the last message.
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        self.inbox.take_pending()
    }

    /// How the connection is encrypted, if it is.
    pub(super) fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref()
    }

    /// Sends bytes as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(deadline) = self.deadline {
            let left = remaining(deadline)?;
            self.transport
                .set_write_timeout(Some(left))
                .map_err(write_failed)?;
        }
        self.transport.write_all(bytes).map_err(write_failed)
    }

    /// The next message that is not a notice, a notification or a parameter.
    pub(super) fn read(&mut self, limit: usize) -> Result<(u8, &[u8])> {
        loop {
            if let Some(deadline) = self.deadline {
                let left = remaining(deadline)?;
                self.transport
                    .set_read_timeout(Some(left))
                    .map_err(write_failed)?;
            }
            let (tag, length) = {
                let (tag, body) = self.inbox.next(&*self.transport, limit)?;
                if tag == b'N' {
                    log_notice(&self.server, body);
                }
                (tag, body.len())
            };
            if !matches!(tag, b'N' | b'A' | b'S') {
                return Ok((tag, self.inbox.last(length)));
            }
        }
    }
}
