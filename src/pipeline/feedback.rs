//! What the source is told to be durable, and when.

use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock;
use crate::destination::Durable;
use crate::lsn::{Lsn, PgTimestamp};
use crate::source::message::status_update;
use crate::threads::lock;
use crate::wire::Transport;

/// A status update goes out at least this often: the server drops a standby that is silent for
/// `wal_sender_timeout`, which the startup packet sets to 60 s.
pub const INTERVAL: Duration = Duration::from_secs(10);

struct Walsender {
    transport: Arc<dyn Transport>,
    last_sent: Instant,
}

#[derive(Default)]
struct State {
    epoch: u64,
    durable: Lsn,
    walsender: Option<Walsender>,
}

impl State {
    fn send(&mut self) {
        if let Some(walsender) = self.walsender.as_mut() {
            // A connection that fails is noticed by its reader.
            let _ = walsender
                .transport
                .write_all(&status_update(self.durable, now()));
            walsender.last_sent = Instant::now();
        }
    }
}

/// The run of the stream, the durable position, and the way to tell it to the server. The writer
/// confirms, the reader keeps the line alive.
#[derive(Default)]
pub struct Feedback(Mutex<State>);

impl Feedback {
    /// The current run, and the position up to which everything is durable in the destination.
    pub fn epoch(&self) -> (u64, Lsn) {
        let state = lock(&self.0);
        (state.epoch, state.durable)
    }

    /// Begins another run at this position: what is on its way from the run before has to be discarded.
    pub fn new_epoch(&self, position: Lsn) -> u64 {
        let mut state = lock(&self.0);
        state.epoch += 1;
        state.durable = position;
        state.epoch
    }

    /// Raises the position of this run and tells the server at once, so that a commit that waits for its
    /// synchronous standby waits no longer than it must. A run that was given up confirms nothing.
    pub fn confirm(&self, epoch: u64, durable: &Durable) {
        let position = durable.lsn();
        let mut state = lock(&self.0);
        if state.epoch == epoch && state.durable < position {
            state.durable = position;
            state.send();
        }
    }

    /// Uses this connection from now on; `None` when it ended.
    pub fn set_walsender(&self, transport: Option<Arc<dyn Transport>>) {
        lock(&self.0).walsender = transport.map(|transport| Walsender {
            transport,
            last_sent: Instant::now(),
        });
    }

    /// Ends the connection: nothing is confirmed any more, and the server frees the slot.
    pub fn close(&self) {
        if let Some(walsender) = lock(&self.0).walsender.take() {
            // Terminate; the server may be gone.
            let _ = walsender
                .transport
                .set_write_timeout(Some(Duration::from_millis(100)));
            let _ = walsender.transport.write_all(&[b'X', 0, 0, 0, 4]);
            walsender.transport.shutdown(Shutdown::Both);
        }
    }

    /// Sends a status update now.
    pub fn send(&self) {
        lock(&self.0).send();
    }

    /// Sends a status update when the last one is long enough ago.
    pub fn send_if_due(&self) {
        let mut state = lock(&self.0);
        if state
            .walsender
            .as_ref()
            .is_some_and(|walsender| walsender.last_sent.elapsed() >= INTERVAL)
        {
            state.send();
        }
    }
}

/// The time of this host's clock.
pub fn now() -> PgTimestamp {
    PgTimestamp::from_unix_micros(i64::try_from(clock::unix_micros()).unwrap_or(i64::MAX))
}
