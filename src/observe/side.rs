//! What is known of one of the two servers: connected or not, since when, and the last error.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The source or the destination.
#[derive(Debug)]
pub struct Side(Mutex<State>);

/// What was so at a moment.
#[derive(Debug, Clone)]
pub struct State {
    /// Whether a connection is up.
    pub connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// The last error and its time. Errors hold no secrets and no row values.
    pub last_error: Option<(SystemTime, String)>,
}

impl Default for Side {
    fn default() -> Side {
        Side(Mutex::new(State {
            connected: false,
            since: SystemTime::now(),
            last_error: None,
        }))
    }
}

impl Side {
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
        self.lock().last_error = Some((SystemTime::now(), error.to_string()));
    }

    /// Notes that the connection ended as it should.
    pub fn closed(&self) {
        self.change(false);
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
        let side = Side::default();
        side.up();
        side.down(&"first");
        let since = side.state().since;
        side.down(&"second");
        assert_eq!(side.state().since, since);
        side.up();
        let state = side.state();
        assert!(state.connected);
        assert_eq!(state.last_error.map(|e| e.1).as_deref(), Some("second"));
    }
}
