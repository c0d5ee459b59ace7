//! State that all threads share beside the channels: the end that was asked for, the outage of the
//! destination, and the replication connection, so that any thread can end it.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::source::catalog::StreamControl;
use crate::threads::lock;
use crate::wire::Transport;

/// Since when the destination is away, and whether the source stops with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the first attempt failed.
    pub since: Instant,
    /// The destination is in the source's cluster, which is shutting down: it waits for its walsender, so the
    /// replication connection is closed at once.
    pub source_stopping: bool,
}

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    /// The replication connection, while the reader has one.
    reader: Option<Arc<dyn Transport>>,
    /// Since when it has none, after it had one.
    reader_ended: Option<Instant>,
}

/// Shared by all threads.
#[derive(Default)]
pub struct Control {
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    /// Asks every thread to finish what it has and to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let state = lock(&self.state);
        if let Some(transport) = &state.reader {
            // Wakes the reader. The other direction stays: the last position is still to be confirmed.
            transport.shutdown(Shutdown::Read);
        }
        self.changed.notify_all();
    }

    /// Whether the operator or a failed thread asked for the end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends the replication connection, so that the stream starts again.
    pub fn end_stream(&self) {
        if let Some(transport) = &lock(&self.state).reader {
            transport.shutdown(Shutdown::Both);
        }
    }

    /// Registers the replication connection, so that its reader can be woken; `None` when it has ended.
    pub fn set_reader(&self, transport: Option<Arc<dyn Transport>>) {
        let mut state = lock(&self.state);
        state.reader_ended = match transport {
            Some(_) => None,
            None if state.reader.is_some() => Some(Instant::now()),
            None => state.reader_ended,
        };
        state.reader = transport;
        if self.stopping()
            && let Some(transport) = &state.reader
        {
            transport.shutdown(Shutdown::Read);
        }
    }

    /// How long there has been no replication connection, after there was one; zero while there is one.
    pub fn source_away_for(&self) -> Duration {
        let ended = lock(&self.state).reader_ended;
        ended.map_or(Duration::ZERO, |ended| ended.elapsed())
    }

    /// Notes that the destination cannot be reached; the first report sets the time.
    pub fn destination_down(&self, source_stopping: bool) {
        let mut state = lock(&self.state);
        let since = state
            .outage
            .map_or_else(Instant::now, |outage| outage.since);
        state.outage = Some(Outage {
            since,
            source_stopping,
        });
        if source_stopping && let Some(transport) = &state.reader {
            transport.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Notes that the destination answers again.
    pub fn destination_up(&self) {
        lock(&self.state).outage = None;
        self.changed.notify_all();
    }

    /// Whether the destination is away.
    pub fn outage(&self) -> Option<Outage> {
        lock(&self.state).outage
    }

    /// Waits until the destination is not away. False when the end was asked for.
    pub fn wait_for_destination(&self) -> bool {
        let mut state = lock(&self.state);
        while state.outage.is_some() && !self.stopping() {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !self.stopping()
    }

    /// Sleeps for `time`, or until the end is asked for. False when it was.
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = lock(&self.state);
        while !self.stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        false
    }
}

impl StreamControl for Control {
    fn pause(&self, time: Duration) -> bool {
        Control::pause(self, time)
    }

    fn end_stream(&self) {
        Control::end_stream(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_pause_ends_when_the_end_is_asked_for() {
        let control = Arc::new(Control::default());
        assert!(control.pause(Duration::from_millis(1)));
        let other = Arc::clone(&control);
        let waiting = thread::spawn(move || other.pause(Duration::from_secs(600)));
        control.stop();
        assert!(matches!(waiting.join(), Ok(false)));
    }

    #[test]
    fn an_outage_keeps_its_first_time_and_its_end_wakes_the_reader() {
        let control = Arc::new(Control::default());
        control.destination_down(false);
        let first = control.outage();
        control.destination_down(true);
        assert_eq!(control.outage().map(|o| o.since), first.map(|o| o.since));
        let other = Arc::clone(&control);
        let waiting = thread::spawn(move || other.wait_for_destination());
        control.destination_up();
        assert!(matches!(waiting.join(), Ok(true)));
    }
}
