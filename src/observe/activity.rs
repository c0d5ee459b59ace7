//! What the process is doing, derived from the metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::metrics::Metrics;
use crate::clock;

/// A batch that the destination holds for longer than this, without an error, is stuck: behind a lock, or
/// behind a synchronous standby that does not answer. A batch is at most a few megabytes.
const STALL_AFTER: Duration = Duration::from_secs(60);

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A thread ended with an error, and the process is about to end.
    Failed,
    /// The end was asked for.
    Stopping,
    /// Both connections are up.
    Streaming,
    /// Both connections are up, and the destination has held a batch for longer than [`STALL_AFTER`].
    DestinationStalls,
    /// No position is durable yet and no error has occurred.
    Starting,
    /// The replication connection is down.
    SourceAway,
    /// The destination's connection is down.
    DestinationAway,
    /// Both connections are down.
    BothAway,
}

impl Activity {
    /// The words of `/healthz` and the status page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Activity::Failed => "failed",
            Activity::Stopping => "stopping",
            Activity::Streaming => "streaming",
            Activity::DestinationStalls => "destination stalls",
            Activity::Starting => "starting",
            Activity::SourceAway => "source away",
            Activity::DestinationAway => "destination away",
            Activity::BothAway => "both sides away",
        }
    }
}

impl Metrics {
    /// What the process is doing, and since when.
    pub(crate) fn activity(&self) -> (Activity, SystemTime) {
        let at = |micros| UNIX_EPOCH + Duration::from_micros(micros);
        if self.failed_since.get() > 0 {
            return (Activity::Failed, at(self.failed_since.get()));
        }
        if self.stopping_since.get() > 0 {
            return (Activity::Stopping, at(self.stopping_since.get()));
        }
        let (source, destination) = (self.source.state(), self.destination.state());
        let both = source.since.max(destination.since);
        let busy = self.writer_busy_since.get();
        let stalls = busy > 0 && u128::from(clock::micros_since(busy)) > STALL_AFTER.as_micros();
        let no_error = source.errors.is_empty() && destination.errors.is_empty();
        match (source.connected, destination.connected) {
            (true, true) if stalls => (Activity::DestinationStalls, at(busy)),
            (true, true) => (Activity::Streaming, both),
            _ if self.last_flushed_lsn.get() == 0 && no_error => (Activity::Starting, self.started),
            (false, true) => (Activity::SourceAway, source.since),
            (true, false) => (Activity::DestinationAway, destination.since),
            (false, false) => (Activity::BothAway, both),
        }
    }

    /// Whether no thread has failed: what `/healthz` says. A server that is away is no reason to restart the
    /// process.
    pub(crate) fn is_alive(&self) -> bool {
        self.failed_since.get() == 0
    }

    /// Whether changes are read and written: what `/readyz` says.
    pub(crate) fn is_ready(&self) -> bool {
        self.activity().0 == Activity::Streaming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_makes_the_process_unready_and_not_dead() {
        let metrics = Metrics::default();
        assert_eq!(metrics.activity(), (Activity::Starting, metrics.started));
        metrics.source.up();
        metrics.destination.up();
        assert!(metrics.is_ready() && metrics.is_alive());
        assert_eq!(metrics.activity().1, metrics.destination.state().since);
        metrics.destination.down(&"connection refused");
        let since = metrics.destination.state().since;
        assert_eq!(metrics.activity(), (Activity::DestinationAway, since));
        assert!(!metrics.is_ready() && metrics.is_alive());
        metrics.source.closed();
        assert_eq!(metrics.activity().0, Activity::BothAway);
        metrics.destination.up();
        assert_eq!(metrics.activity().0, Activity::SourceAway);
        metrics.stopping_since.set(1);
        assert_eq!(metrics.activity().0, Activity::Stopping);
        assert!(metrics.is_alive());
        metrics.failed_since.set(1);
        assert_eq!(metrics.activity().0, Activity::Failed);
        assert!(!metrics.is_alive() && !metrics.is_ready());
    }

    #[test]
    fn a_destination_that_holds_a_batch_and_does_not_answer_is_not_ready() {
        let metrics = Metrics::default();
        metrics.source.up();
        metrics.destination.up();
        metrics.writer_busy_since.set(clock::unix_micros());
        assert!(metrics.is_ready());
        let long_ago = clock::unix_micros() - 61_000_000;
        metrics.writer_busy_since.set(long_ago);
        assert!(!metrics.is_ready() && metrics.is_alive());
        let since = UNIX_EPOCH + Duration::from_micros(long_ago);
        assert_eq!(metrics.activity(), (Activity::DestinationStalls, since));
        metrics.writer_busy_since.set(0);
        assert!(metrics.is_ready());
    }
}
