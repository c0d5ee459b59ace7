//! What is known of one of the two servers: connected or not, since when, and the last errors.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// So many errors are kept for each side.
const MOST: usize = 5;

/// The longest message that is kept, in characters: a server may say anything.
const LONGEST: usize = 500;

/// The source or the destination.
#[derive(Debug)]
pub struct ConnectionStatus(Mutex<State>);

/// What was so at a moment.
#[derive(Debug, Clone)]
pub struct State {
    /// Whether a connection is up.
    pub connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// The last errors, the newest last.
    pub errors: VecDeque<LastError>,
}

/// An error. It holds no secrets and no row values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When it happened last.
    pub time: SystemTime,
    /// What was wrong.
    pub message: String,
    /// How often it happened in a row.
    pub times: u64,
}

impl State {
    /// The newest error.
    pub fn last_error(&self) -> Option<&LastError> {
        self.errors.back()
    }
}

impl Default for ConnectionStatus {
    fn default() -> ConnectionStatus {
        ConnectionStatus(Mutex::new(State {
            connected: false,
            since: SystemTime::now(),
            errors: VecDeque::new(),
        }))
    }
}

impl ConnectionStatus {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection is up.
    pub fn up(&self) {
        self.change(true);
    }

    /// Notes that the connection ended, or could not be made, and why.
    pub fn down(&self, error: &dyn std::fmt::Display) {
        self.change(false);
        self.note(error);
    }

    /// Notes that the connection ended as it should.
    pub fn closed(&self) {
        self.change(false);
    }

    /// Notes an error that ends no connection.
    pub fn note(&self, error: &dyn std::fmt::Display) {
        let message: String = error.to_string().chars().take(LONGEST).collect();
        let mut state = self.lock();
        let mut times = 1;
        if state
            .last_error()
            .is_some_and(|last| last.message == message)
        {
            times += state.errors.pop_back().map_or(0, |last| last.times);
        }
        if state.errors.len() >= MOST {
            state.errors.pop_front();
        }
        let time = SystemTime::now();
        state.errors.push_back(LastError {
            time,
            message,
            times,
        });
    }

    fn change(&self, connected: bool) {
        let mut state = self.lock();
        if state.connected != connected {
            state.connected = connected;
            state.since = SystemTime::now();
        }
    }

    /// What is so now.
    pub fn state(&self) -> State {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_keeps_its_beginning_and_the_last_error_outlives_it() {
        let side = ConnectionStatus::default();
        side.up();
        side.down(&"first");
        let since = side.state().since;
        side.down(&"second");
        assert_eq!(side.state().since, since);
        side.up();
        let state = side.state();
        assert!(state.connected);
        let last = state.last_error().map(|e| e.message.as_str());
        assert_eq!(last, Some("second"));
    }

    #[test]
    fn errors_are_few_and_short_and_the_same_one_is_counted() {
        let side = ConnectionStatus::default();
        for n in 0..20 {
            side.down(&format!("{n}"));
        }
        for _ in 0..3 {
            side.note(&"ä".repeat(10_000));
        }
        let errors = side.state().errors;
        assert_eq!(errors.len(), MOST);
        let last = errors.back().map(|e| (e.message.chars().count(), e.times));
        assert_eq!(last, Some((LONGEST, 3)));
        assert_eq!(errors.front().map(|e| e.message.as_str()), Some("16"));
    }
}
