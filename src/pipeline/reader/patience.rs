//! Pure: whether the reader connects again after an error, and how.

use std::time::{Duration, Instant};

use crate::error::{Error, Exit, Remedy};

/// How long to stay away from a source that is shutting down, at least.
const STAY_AWAY: Duration = Duration::from_secs(10);

/// How long a new process waits for a slot that another session holds: a walsender whose client was killed
/// needs a moment to notice.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Connect again.
    Again {
        /// The backoff may ask for more.
        at_least: Duration,
    },
    /// Leave.
    GiveUp,
}

/// What is remembered of earlier connections to judge an error by.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// There was a stream since the process started.
    streamed: bool,
    /// Since when the slot is held by another session, with no stream in between.
    busy_since: Option<Instant>,
}

impl Patience {
    /// Notes that a stream has started; true when it is not the first one.
    pub(super) fn note_stream(&mut self) -> bool {
        self.busy_since = None;
        std::mem::replace(&mut self.streamed, true)
    }

    /// Judges the error that ended a connection, or an attempt at one.
    pub(super) fn judge(&mut self, error: &Error, now: Instant) -> Verdict {
        const AGAIN: Verdict = Verdict::Again {
            at_least: Duration::ZERO,
        };
        if error.is_server_stopping() {
            return Verdict::Again {
                at_least: STAY_AWAY,
            };
        }
        match error.remedy() {
            Remedy::Retry => AGAIN,
            Remedy::Stop(Exit::Busy) => {
                let since = *self.busy_since.get_or_insert(now);
                let patient = self.streamed || now.saturating_duration_since(since) < BUSY_PATIENCE;
                if patient { AGAIN } else { Verdict::GiveUp }
            }
            Remedy::Stop(_) => Verdict::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Kind, SqlState};

    const AT_ONCE: Verdict = Verdict::Again {
        at_least: Duration::ZERO,
    };

    fn server(code: &str) -> Error {
        Error::server(SqlState::from_bytes(code.as_bytes()), "x")
    }

    #[test]
    fn an_error_alone_decides_between_again_later_and_leaving() {
        let away = Verdict::Again {
            at_least: Duration::from_secs(10),
        };
        for (error, verdict) in [
            (Error::new(Kind::Transient, "x"), AT_ONCE),
            (Error::new(Kind::Protocol, "x"), AT_ONCE),
            (server("53300"), AT_ONCE),
            (server("57P01"), away),
            (server("57P03"), away),
            (server("28P01"), Verdict::GiveUp),
            (server("3D000"), Verdict::GiveUp),
            (Error::new(Kind::Setting, "x"), Verdict::GiveUp),
            (Error::new(Kind::Bug, "x"), Verdict::GiveUp),
        ] {
            let found = Patience::default().judge(&error, Instant::now());
            assert_eq!(found, verdict, "{error}");
        }
    }

    #[test]
    fn a_slot_that_is_held_is_waited_for_a_while_and_after_a_stream_for_ever() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let busy = Error::new(Kind::Busy, "x");
        let mut patience = Patience::default();
        for (seconds, verdict) in [(0, AT_ONCE), (4, AT_ONCE), (5, Verdict::GiveUp)] {
            assert_eq!(patience.judge(&busy, at(seconds)), verdict, "{seconds} s");
        }
        // The server says the same by 55006.
        assert_eq!(patience.judge(&server("55006"), at(6)), Verdict::GiveUp);
        assert!(!patience.note_stream());
        for seconds in [7, 1000] {
            assert_eq!(patience.judge(&busy, at(seconds)), AT_ONCE);
        }
        assert!(patience.note_stream());
    }
}
