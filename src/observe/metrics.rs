//! Counters, gauges and histograms, shared by all threads. No pipeline module is imported here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::connection_status::ConnectionStatus;
use super::histogram::Histogram;
use super::history::History;
use super::tables::Tables;
use crate::clock;

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What is counted. All start at zero and only grow, except where the text says otherwise.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: Metric,)*
            /// From the commit on the source to the commit at the destination. Every transaction of
            /// a batch counts with the time of its first one, so the truth is never longer. The two
            /// clocks are those of the source and of this host.
            pub commit_to_durable: Histogram,
            /// How long the destination took for a batch.
            pub persist_duration: Histogram,
            /// How long the decoder took for a chunk of the stream, without waiting for the writer.
            pub decode_duration: Histogram,
            /// How many rows a batch held.
            pub batch_rows: Histogram,
            /// The replication connection.
            pub source: ConnectionStatus,
            /// The destination's connection.
            pub destination: ConnectionStatus,
            /// Durable changes by table.
            pub tables: Tables,
            /// The last hour.
            pub history: History,
            /// When the process started.
            pub started: SystemTime,
        }

        impl Default for Metrics {
            fn default() -> Metrics {
                Metrics {
                    $($name: Metric::default(),)*
                    commit_to_durable: Histogram::of_microseconds(),
                    persist_duration: Histogram::of_microseconds(),
                    decode_duration: Histogram::of_microseconds(),
                    batch_rows: Histogram::of_rows(),
                    source: ConnectionStatus::default(),
                    destination: ConnectionStatus::default(),
                    tables: Tables::default(),
                    history: History::default(),
                    started: SystemTime::now(),
                }
            }
        }
    };
}

/// One number.
#[derive(Debug, Default)]
pub struct Metric(AtomicU64);

impl Metric {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises it to this value.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

metrics! {
    /// Rows of INSERT and COPY that are durable.
    inserts,
    /// Rows of UPDATE that are durable.
    updates,
    /// Rows of DELETE that are durable.
    deletes,
    /// Truncated tables whose row is durable.
    truncates,
    /// Changes of tables that are not tracked.
    filtered,
    /// Changes that were in the table already, written by Bemi or another tracker.
    duplicated,
    /// Transactions that are durable and left at least one row.
    transactions,
    /// Values written in their safe form.
    replaced,
    /// Batches that were committed.
    batches,
    /// Fragments of transactions larger than a batch that were sent before the transaction's end.
    early_flushes,
    /// Gaps that were found.
    gaps,
    /// XLogData messages.
    wal_messages,
    /// Keepalives of the source.
    keepalives,
    /// Bytes received from the source.
    bytes_received,
    /// Bytes handed to the decoder.
    bytes_queued,
    /// Bytes that the decoder has done with.
    bytes_decoded,
    /// Messages that could not be decoded.
    decode_errors,
    /// Attempts to reach the destination or to write there that failed.
    persist_errors,
    /// Times the destination was connected again.
    storage_reconnections,
    /// Times the source was connected again.
    replication_reconnections,
    /// Errors of the source's side after which it was tried again.
    source_transient_errors,
    /// Errors of the source's side that ended the process.
    source_permanent_errors,
    /// A gauge: the last position received from the source.
    last_received_lsn,
    /// A gauge: the last position that is durable in the destination.
    last_flushed_lsn,
    /// A gauge: the end of the source's WAL, as far as it has said.
    source_wal_end,
    /// A gauge: how much WAL the slot kept on the source when somebody looked last, in bytes.
    slot_retained,
    /// A gauge: bytes of rows in the batch that is being filled.
    filling_bytes,
    /// A gauge: bytes of rows that the writer holds.
    writing_bytes,
    /// A gauge: when the first transaction of the batch that is being filled committed, in
    /// microseconds since 1970; 0 where it is empty.
    filling_since,
    /// A gauge: the same for the batch that the writer holds.
    writing_since,
    /// A gauge: when the writer took the batch that it holds, in microseconds since 1970; 0 without one.
    writer_busy_since,
    /// A gauge: when the end was asked for, in microseconds since 1970; 0 before.
    stopping_since,
    /// A gauge: when a thread ended with an error, so that the process is about to end, in the same unit.
    failed_since,
}

impl Metrics {
    /// Durable changes of every kind.
    pub fn changes(&self) -> u64 {
        self.inserts.get() + self.updates.get() + self.deletes.get() + self.truncates.get()
    }

    /// Counts an error of the source's side: whether it is tried again after it.
    pub fn source_failed(&self, again: bool) {
        match again {
            true => self.source_transient_errors.add(1),
            false => self.source_permanent_errors.add(1),
        }
    }

    /// How much WAL the source has written that is not yet done with, in bytes, as far as it has said.
    pub fn lag_bytes(&self) -> u64 {
        match self.last_flushed_lsn.get() {
            // Nothing is known before the first position is.
            0 => 0,
            flushed => self.source_wal_end.get().saturating_sub(flushed),
        }
    }

    /// How long ago the oldest transaction was committed that was received and is not yet durable, in
    /// seconds; zero where there is none. The clocks are those of the source and of this host.
    pub fn lag_seconds(&self) -> f64 {
        let pending = [self.writing_since.get(), self.filling_since.get()];
        let oldest = pending.into_iter().filter(|&since| since > 0).min();
        oldest.map_or(0.0, |since| clock::micros_since(since) as f64 * 1e-6)
    }

    /// Bytes between the socket of the source and that of the destination.
    pub fn queue_bytes(&self) -> u64 {
        let waiting = self.bytes_queued.get();
        waiting.saturating_sub(self.bytes_decoded.get())
            + self.filling_bytes.get()
            + self.writing_bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_unknown_until_a_position_is_and_never_below_zero() {
        let metrics = Metrics::default();
        metrics.source_wal_end.raise(500);
        assert_eq!(metrics.lag_bytes(), 0);
        metrics.last_flushed_lsn.set(200);
        assert_eq!(metrics.lag_bytes(), 300);
        metrics.last_flushed_lsn.set(700);
        assert_eq!(metrics.lag_bytes(), 0);
    }

    #[test]
    fn lag_in_time_is_that_of_the_oldest_transaction_on_its_way() {
        let metrics = Metrics::default();
        assert!(metrics.lag_seconds() == 0.0);
        let now = clock::unix_micros();
        metrics.filling_since.set(now - 2_000_000);
        metrics.writing_since.set(now - 5_000_000);
        let lag = metrics.lag_seconds();
        assert!((5.0..60.0).contains(&lag), "{lag}");
        metrics.writing_since.set(0);
        assert!(metrics.lag_seconds() < lag);
        // A source whose clock is ahead.
        metrics.filling_since.set(now + 90_000_000);
        assert!(metrics.lag_seconds() == 0.0);
    }
}
