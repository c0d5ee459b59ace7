//! The state of one of the two connections: up or not, since when, and the last errors.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::threads::lock;

/// The number of errors that are kept for a connection.
const MAX_ERRORS: usize = 5;

/// The longest message that is kept, in characters: its length is in the hands of the server.
const MAX_MESSAGE: usize = 500;

/// The connection to the source or the destination.
#[derive(Debug)]
pub struct ConnectionStatus(Mutex<State>);

/// A copy of the state at a moment.
#[derive(Debug, Clone)]
pub struct State {
    /// Whether a connection is up.
    pub connected: bool,
    /// Since when it has been up or down.
    pub since: SystemTime,
    /// The last errors, oldest first.
    pub errors: VecDeque<LastError>,
}

/// An error. It holds no secrets and no row values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When it happened last.
    pub time: SystemTime,
    /// The error, with its hint.
    pub message: String,
    /// How many times in a row it happened.
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
        let message: String = error.to_string().chars().take(MAX_MESSAGE).collect();
        let mut state = lock(&self.0);
        let mut times = 1;
        if state
            .last_error()
            .is_some_and(|last| last.message == message)
        {
            times += state.errors.pop_back().map_or(0, |last| last.times);
        }
        if state.errors.len() >= MAX_ERRORS {
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
        let mut state = lock(&self.0);
        if state.connected != connected {
            state.connected = connected;
            state.since = SystemTime::now();
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_keeps_its_beginning_and_the_last_error_outlives_it() {
        let connection = ConnectionStatus::default();
        connection.up();
        connection.down(&"first");
        let since = connection.state().since;
        connection.down(&"second");
        assert_eq!(connection.state().since, since);
        connection.up();
        let state = connection.state();
        assert!(state.connected);
        let last = state.last_error().map(|e| e.message.as_str());
        assert_eq!(last, Some("second"));
    }

    #[test]
    fn errors_are_few_and_short_and_the_same_one_is_counted() {
        let connection = ConnectionStatus::default();
        for n in 0..20 {
            connection.down(&format!("{n}"));
        }
        for _ in 0..3 {
            connection.note(&"ä".repeat(10_000));
        }
        let errors = connection.state().errors;
        assert_eq!(errors.len(), MAX_ERRORS);
        let last = errors.back().map(|e| (e.message.chars().count(), e.times));
        assert_eq!(last, Some((MAX_MESSAGE, 3)));
        assert_eq!(errors.front().map(|e| e.message.as_str()), Some("16"));
    }
}
