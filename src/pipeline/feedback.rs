//! Standby status updates: which position is confirmed to the source, and when.

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
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The walsender at the other end of the replication connection.
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
    fn send(&mut self, ask: bool) {
        if let Some(walsender) = self.walsender.as_mut() {
            // The reader meets the error of a failed connection at its next read.
            let _ = walsender
                .transport
                .write_all(&status_update(self.durable, now(), ask));
            walsender.last_sent = Instant::now();
        }
    }
}

/// The epoch of the stream, the durable position, and the connection that confirms it. The writer confirms;
/// the reader sends status updates in between.
#[derive(Default)]
pub struct Feedback(Mutex<State>);

impl Feedback {
    /// The current epoch, and the position up to which everything is durable in the destination; zero before
    /// the first start.
    pub fn epoch(&self) -> (u64, Lsn) {
        let state = lock(&self.0);
        (state.epoch, state.durable)
    }

    /// Begins another epoch at this position and returns its number: whatever carries an earlier one is to be
    /// discarded.
    pub fn new_epoch(&self, position: Lsn) -> u64 {
        let mut state = lock(&self.0);
        state.epoch += 1;
        state.durable = position;
        state.epoch
    }

    /// Raises the position of this epoch and sends it at once: a COMMIT may wait for it
    /// (`synchronous_standby_names`). An earlier epoch confirms nothing.
    pub fn confirm(&self, epoch: u64, durable: &Durable) {
        let position = durable.lsn();
        let mut state = lock(&self.0);
        if state.epoch == epoch && state.durable < position {
            state.durable = position;
            state.send(false);
        }
    }

    /// Sends by this connection from now on; `None` when it has ended.
    pub(crate) fn set_walsender(&self, transport: Option<Arc<dyn Transport>>) {
        lock(&self.0).walsender = transport.map(|transport| Walsender {
            transport,
            last_sent: Instant::now(),
        });
    }

    /// Ends the connection: nothing is confirmed any more, and the server frees the slot.
    pub(crate) fn close(&self) {
        if let Some(walsender) = lock(&self.0).walsender.take() {
            // Terminate (frontend message `X`); the server may be gone.
            let _ = walsender
                .transport
                .set_write_timeout(Some(Duration::from_millis(100)));
            let _ = walsender.transport.write_all(&[b'X', 0, 0, 0, 4]);
            walsender.transport.shutdown(Shutdown::Both);
        }
    }

    /// Sends a status update now.
    pub(crate) fn send(&self) {
        lock(&self.0).send(false);
    }

    /// Sends a status update that asks the server for a reply.
    pub(crate) fn ask(&self) {
        lock(&self.0).send(true);
    }

    /// Sends a status update when the last one is long enough ago.
    pub(crate) fn send_if_due(&self) {
        let mut state = lock(&self.0);
        if state
            .walsender
            .as_ref()
            .is_some_and(|walsender| walsender.last_sent.elapsed() >= INTERVAL)
        {
            state.send(false);
        }
    }
}

/// The time of this host's clock.
pub(crate) fn now() -> PgTimestamp {
    PgTimestamp::from_unix_micros(i64::try_from(clock::unix_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::Batch;
    use std::io;

    /// A batch without rows is durable at its end.
    fn durable(end: u64) -> Durable {
        let mut batch = Batch::default();
        batch.advance(Lsn(end));
        Durable::without_rows(&batch).unwrap()
    }

    /// Keeps the positions of the status updates that are written to it.
    #[derive(Default)]
    struct Positions(Mutex<Vec<u64>>);

    impl Transport for Positions {
        fn read(&self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
            let flushed = bytes.get(6..14).and_then(|b| b.first_chunk());
            lock(&self.0).extend(flushed.map(|b| u64::from_be_bytes(*b)));
            Ok(())
        }
        fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        fn shutdown(&self, _: Shutdown) {}
    }

    #[test]
    fn only_the_current_epoch_is_confirmed_and_never_backwards() {
        let sent = Arc::new(Positions::default());
        let feedback = Feedback::default();
        feedback.set_walsender(Some(Arc::clone(&sent) as _));
        let first = feedback.new_epoch(Lsn(10));
        for position in [20, 15, 20] {
            feedback.confirm(first, &durable(position));
        }
        let second = feedback.new_epoch(Lsn(12));
        feedback.confirm(first, &durable(30));
        assert_eq!(feedback.epoch(), (second, Lsn(12)));
        feedback.confirm(second, &durable(13));
        feedback.send_if_due();
        assert_eq!(*lock(&sent.0), [20, 13]);
    }

    #[test]
    fn nothing_is_sent_after_the_end_and_the_position_is_kept() {
        let sent = Arc::new(Positions::default());
        let feedback = Feedback::default();
        let epoch = feedback.new_epoch(Lsn(10));
        feedback.set_walsender(Some(Arc::clone(&sent) as _));
        feedback.close();
        feedback.confirm(epoch, &durable(20));
        feedback.send();
        assert!(lock(&sent.0).is_empty());
        assert_eq!(feedback.epoch().1, Lsn(20));
    }
}
