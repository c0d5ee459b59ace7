//! Pure: when the process ends, and with which outcome.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// The threads that run, and the end that was asked for.
#[derive(Debug)]
pub(super) struct Shutdown {
    timeout: Duration,
    running: usize,
    deadline: Option<Instant>,
    failure: Option<Error>,
}

impl Shutdown {
    /// So many threads run; once the end is asked for, they have `timeout`.
    pub(super) fn new(timeout: Duration, running: usize) -> Shutdown {
        Shutdown {
            timeout,
            running,
            deadline: None,
            failure: None,
        }
    }

    /// The end was asked for; the first time counts.
    pub(super) fn ask(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + self.timeout);
    }

    /// A thread has ended, which is the end of all. True when this is the failure that the process ends with:
    /// the first one that is not a consequence of the end being asked for.
    pub(super) fn thread_ended(&mut self, name: &str, result: Result<()>, now: Instant) -> bool {
        self.running = self.running.saturating_sub(1);
        self.ask(now);
        match result {
            Err(error) if error.kind() != Kind::Stopped && self.failure.is_none() => {
                self.failure = Some(error.at(name));
                true
            }
            _ => false,
        }
    }

    /// Whether a thread still runs.
    pub(super) fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Until when the threads have time, once the end was asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the process ends with.
    pub(super) fn outcome(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn failed(kind: Kind, message: &str) -> Result<()> {
        Err(Error::new(kind, message))
    }

    #[test]
    fn the_first_request_sets_the_deadline_and_later_ones_leave_it() {
        let now = Instant::now();
        let mut shutdown = Shutdown::new(TIMEOUT, 2);
        assert_eq!(shutdown.deadline(), None);
        shutdown.ask(now);
        shutdown.ask(now + TIMEOUT);
        shutdown.thread_ended("reader", Ok(()), now + TIMEOUT);
        assert_eq!(shutdown.deadline(), Some(now + TIMEOUT));
    }

    #[test]
    fn the_end_of_one_thread_is_asked_of_all_and_awaited_of_each() {
        let now = Instant::now();
        let mut shutdown = Shutdown::new(TIMEOUT, 2);
        shutdown.thread_ended("reader", Ok(()), now);
        assert!(shutdown.is_running());
        assert_eq!(shutdown.deadline(), Some(now + TIMEOUT));
        shutdown.thread_ended("writer", Ok(()), now);
        assert!(!shutdown.is_running());
        assert!(shutdown.outcome().is_ok());
    }

    #[test]
    fn the_outcome_is_the_first_error_that_is_a_cause() {
        let now = Instant::now();
        let mut shutdown = Shutdown::new(TIMEOUT, 3);
        for (name, result, is_cause) in [
            (
                "decoder",
                failed(Kind::Stopped, "the writer has ended"),
                false,
            ),
            ("writer", failed(Kind::Refused, "a password"), true),
            ("reader", failed(Kind::Bug, "later"), false),
        ] {
            assert_eq!(shutdown.thread_ended(name, result, now), is_cause, "{name}");
        }
        let error = shutdown.outcome().unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.to_string(), "writer: a password");
    }

    #[test]
    fn threads_that_stopped_because_they_were_asked_to_leave_no_error() {
        let mut shutdown = Shutdown::new(TIMEOUT, 1);
        shutdown.thread_ended("writer", failed(Kind::Stopped, "stopped"), Instant::now());
        assert!(shutdown.outcome().is_ok());
    }
}
