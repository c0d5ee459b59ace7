//! Pure: the signs that a source waits for its walsender before it can shut down.

use std::time::{Duration, Instant};

use crate::error::{Error, SqlState};
use crate::sqlstate;

/// This many keepalives in succession that ask for a reply, within [`WINDOW`] and without data, mean that
/// the source is shutting down: its walsender asks in a loop until everything is confirmed.
const BURST: u32 = 50;

const WINDOW: Duration = Duration::from_secs(1);

/// Keepalives that ask for a reply, in succession.
#[derive(Default)]
pub(super) struct Burst {
    since: Option<Instant>,
    count: u32,
}

impl Burst {
    /// Counts one more; true when a source that stays up would not have sent so many.
    pub(super) fn add(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > WINDOW {
            *self = Burst {
                since: Some(now),
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
        SqlState::from_bytes(sqlstate::ADMIN_SHUTDOWN.as_bytes()),
        "the source is shutting down and waits for zemi: closed the replication connection",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds as many keepalives as a burst has, this far apart; whether any of them completed it.
    fn full(apart: Duration) -> bool {
        let mut burst = Burst::default();
        let began = Instant::now();
        (0..BURST).any(|n| burst.add(began + apart * n))
    }

    #[test]
    fn only_many_keepalives_in_a_short_time_are_a_burst() {
        assert!(full(Duration::ZERO));
        assert!(full(Duration::from_millis(20)));
        assert!(!full(Duration::from_millis(21)));
        let mut burst = Burst::default();
        let now = Instant::now();
        assert!((1..BURST).all(|_| !burst.add(now)));
        assert!(burst.add(now));
    }
}
