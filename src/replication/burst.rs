//! How a source that shuts down shows: it asks again and again whether all was received.

use std::time::{Duration, Instant};

use crate::error::{Error, SqlState};

/// This many keepalives in a row that ask for a reply, within a second and without data, mean that the
/// source is shutting down and waits for us.
const BURST: u32 = 50;

/// Keepalives that ask for a reply, in a row.
#[derive(Default)]
pub(super) struct Burst {
    since: Option<Instant>,
    count: u32,
}

impl Burst {
    /// Counts one more; whether they are as many as no living server sends.
    pub(super) fn is_full(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > Duration::from_secs(1) {
            *self = Burst {
                since: Some(Instant::now()),
                count: 0,
            };
        }
        self.count += 1;
        self.count >= BURST
    }
}

/// What that means for the connection.
pub(super) fn source_stopping() -> Error {
    // The state that the server itself would give: the table of remedies knows what to do about it.
    Error::server(
        SqlState::from_bytes(b"57P01"),
        "the source is shutting down and waits for zemi: closed the replication connection",
    )
}
