//! Counters, gauges and histograms, shared by all threads, and the Prometheus families that show them: one
//! table declares the field, the name, the type and the help text.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::connection_status::ConnectionStatus;
use super::histogram::{Histogram, Reading};
use super::history::History;
use super::tables::Tables;
use crate::clock;

/// A metric family (prometheus.io, "Data model"): all samples of one name.
pub(super) struct Family {
    /// The name behind the prefix.
    pub(super) name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(super) kind: &'static str,
    /// The help text.
    pub(super) help: &'static str,
    /// Reads the samples.
    pub(super) read: fn(&Metrics) -> Samples,
}

/// What a family holds at a moment.
pub(super) enum Samples {
    /// One sample.
    Integer(u64),
    /// One sample.
    Float(f64),
    /// A sample for each value of a label.
    ByLabel(&'static str, Vec<(&'static str, u64)>),
    /// The samples of a histogram.
    Histogram(Reading),
}

/// Declares the fields of [`Metrics`] and the tables of families. A family shows a counter or gauge that is
/// a field of its own (`= field`), a histogram (`in field`), or what a function reads (`=> function`).
macro_rules! metrics {
    (
        fields { $($(#[$doc:meta])* $inner:ident,)* }
        $(
            $(#[$table_doc:meta])*
            $table:ident {
                $(
                    $kind:ident $name:literal $help:literal
                    $(= $field:ident)? $(in $histogram:ident $empty:expr)? $(=> $read:expr)?;
                )*
            }
        )*
    ) => {
        /// What is counted. All start at zero and only grow, except for gauges.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[$doc])* pub $inner: Metric,)*
            $($($(#[doc = $help] pub $field: Metric,)?)*)*
            $($($(#[doc = $help] pub $histogram: Histogram,)?)*)*
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
                    $($inner: Metric::default(),)*
                    $($($($field: Metric::default(),)?)*)*
                    $($($($histogram: $empty,)?)*)*
                    source: ConnectionStatus::default(),
                    destination: ConnectionStatus::default(),
                    tables: Tables::default(),
                    history: History::default(),
                    started: SystemTime::now(),
                }
            }
        }

        $(
            $(#[$table_doc])*
            pub(super) const $table: &[Family] = &[$(
                Family {
                    name: $name,
                    kind: stringify!($kind),
                    help: $help,
                    read: $(|metrics| Samples::Integer(metrics.$field.get()))?
                        $(|metrics| Samples::Histogram(metrics.$histogram.read()))?
                        $($read)?,
                },
            )*];
        )*
    };
}

/// A number that threads change without a lock.
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
    fields {
        /// Rows of INSERT and COPY that are durable.
        inserts,
        /// Rows of UPDATE that are durable.
        updates,
        /// Rows of DELETE that are durable.
        deletes,
        /// Truncated tables whose row is durable.
        truncates,
        /// Bytes handed to the decoder.
        bytes_queued,
        /// Bytes that the decoder has done with.
        bytes_decoded,
        /// A gauge: the end of the source's WAL, as far as the source has said, as a number of bytes.
        source_wal_end,
        /// A gauge: bytes of rows in the batch that is being filled.
        filling_bytes,
        /// A gauge: bytes of rows that the writer holds.
        writing_bytes,
        /// A gauge: when the first transaction of the batch that is being filled committed, in microseconds
        /// since 1970; 0 while the batch is empty.
        filling_since,
        /// A gauge: the same for the batch that the writer holds.
        writing_since,
        /// A gauge: when the writer took the batch that it holds, in microseconds since 1970; 0 without one.
        writer_busy_since,
        /// A gauge: when the end was asked for, in microseconds since 1970; 0 before.
        stopping_since,
        /// A gauge: when a thread ended with an error, so that the process is about to end, in microseconds
        /// since 1970; 0 before.
        failed_since,
    }

    /// Families that the Zig program of the same name does not have.
    OWN_FAMILIES {
        counter "changes_total" "Changes that are durable in the destination."
            => |metrics| metrics.by_operation(["insert", "update", "delete", "truncate"]);
        counter "transactions_total" "Transactions that are durable." = transactions;
        counter "values_replaced_total" "Values written in another form." = replaced;
        counter "gaps_total" "Times changes may have been lost by a server." = gaps;
        counter "bytes_received_total" "Bytes received from the source." = bytes_received;
        counter "batches_total" "Batches committed at the destination." = batches;
        gauge "start_time_seconds" "When the process started, since 1970."
            => |metrics| Samples::Float(clock::since_epoch(metrics.started).as_secs_f64());
        gauge "replication_lag_seconds"
            "Age of the oldest transaction that was received and is not durable; 0 without one."
            => |metrics| Samples::Float(metrics.lag_seconds());
        gauge "slot_retained_bytes" "WAL that the source keeps for the slot, looked up every minute."
            = slot_retained;
        gauge "ready" "What /readyz says: changes are read and written (1) or not (0)."
            => |metrics| Samples::Integer(metrics.is_ready().into());
        gauge "queue_bytes" "Bytes between the two connections."
            => |metrics| Samples::Integer(metrics.queue_bytes());
        gauge "build_info" "Always 1; the version is a label."
            => |_| Samples::ByLabel("version", vec![(env!("CARGO_PKG_VERSION"), 1)]);
        // Every transaction of a batch counts with the commit time of the first one, so the truth is never
        // longer. The two clocks are those of the source and of this host.
        histogram "commit_to_durable_seconds"
            "From the commit on the source to the commit at the destination, at most."
            in commit_to_durable Histogram::of_microseconds();
        histogram "batch_rows" "Rows in a batch." in batch_rows Histogram::of_rows();
    }

    /// Families that the Zig program exports too, under its names and labels.
    SHARED_FAMILIES {
        counter "changes_processed_total" "As zemi_changes_total, by the operations that the rows name."
            => |metrics| metrics.by_operation(["CREATE", "UPDATE", "DELETE", "TRUNCATE"]);
        counter "changes_filtered_total" "Changes of tables that are not tracked." = filtered;
        counter "changes_duplicated_total" "Changes that were there already." = duplicated;
        counter "transactions_processed_total" "As zemi_transactions_total."
            => |metrics| Samples::Integer(metrics.transactions.get());
        counter "wal_messages_received_total" "Messages of the stream." = wal_messages;
        counter "keepalives_received_total" "Keepalives of the source." = keepalives;
        counter "decode_errors_total" "Messages that could not be decoded." = decode_errors;
        counter "persist_errors_total"
            "Attempts to reach the destination or to write there that failed." = persist_errors;
        counter "storage_reconnections_total" "Times the destination was connected again."
            = storage_reconnections;
        counter "replication_reconnections_total" "Times the source was connected again."
            = replication_reconnections;
        counter "transaction_early_flushes_total"
            "Fragments of transactions larger than a batch that were sent before the transaction's end."
            = early_flushes;
        counter "replication_transient_errors_total"
            "Times the replication connection failed or could not be made, and was tried again."
            = source_transient_errors;
        counter "replication_permanent_errors_total"
            "Times it failed in a way that retrying does not mend: the process ends."
            = source_permanent_errors;
        gauge "last_received_lsn" "The last position received, as a number of bytes." = last_received_lsn;
        gauge "last_flushed_lsn" "The last position that is durable, as a number of bytes."
            = last_flushed_lsn;
        gauge "replication_connected" "Whether the stream of the source is read (1) or not (0)."
            => |metrics| Samples::Integer(metrics.source.state().connected.into());
        gauge "storage_connected" "Whether the destination is connected (1) or not (0)."
            => |metrics| Samples::Integer(metrics.destination.state().connected.into());
        gauge "replication_lag_bytes" "WAL that the source has written and that is not done with."
            => |metrics| Samples::Integer(metrics.lag_bytes());
        gauge "uptime_seconds" "How long the process has run."
            => |metrics| Samples::Float(metrics.started.elapsed().unwrap_or_default().as_secs_f64());
        histogram "persist_duration_seconds" "How long the destination took for a batch."
            in persist_duration Histogram::of_microseconds();
        histogram "decode_duration_seconds"
            "How long it took to make rows of a chunk of the stream, apart from waiting for the destination."
            in decode_duration Histogram::of_microseconds();
    }
}

impl Metrics {
    /// Durable changes of every kind.
    pub fn changes(&self) -> u64 {
        self.inserts.get() + self.updates.get() + self.deletes.get() + self.truncates.get()
    }

    fn by_operation(&self, names: [&'static str; 4]) -> Samples {
        let counts = [&self.inserts, &self.updates, &self.deletes, &self.truncates];
        let counts = counts.map(Metric::get);
        Samples::ByLabel("operation", names.into_iter().zip(counts).collect())
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
