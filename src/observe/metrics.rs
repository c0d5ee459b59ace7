//! Counters and gauges, shared by all threads. No pipeline module is imported here.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What is counted. All start at zero and only grow, except where the text says otherwise.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: Metric,)*
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
    /// Gaps that were found.
    gaps,
    /// XLogData messages.
    wal_messages,
    /// Keepalives of the source.
    keepalives,
    /// Bytes received from the source.
    bytes_received,
    /// Messages that could not be decoded.
    decode_errors,
    /// Attempts to write that failed.
    persist_errors,
    /// Times the destination was connected again.
    storage_reconnections,
    /// Times the source was connected again.
    replication_reconnections,
    /// A gauge: the last position received from the source.
    last_received_lsn,
    /// A gauge: the last position that is durable in the destination.
    last_flushed_lsn,
}

impl Metrics {
    /// Durable changes of every kind.
    pub fn changes(&self) -> u64 {
        self.inserts.get() + self.updates.get() + self.deletes.get() + self.truncates.get()
    }
}
