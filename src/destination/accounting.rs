//! What became durable, counted.

use std::time::Duration;

use super::fallback::Outcome;
use crate::change::table_counts::TableCounts;
use crate::change::{Batch, Counts};
use crate::clock;
use crate::lsn::PgTimestamp;
use crate::observe::metrics::Metrics;

/// Counts of the pieces of an open transaction, until it is durable.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pieces: Counts,
    by_table: TableCounts,
    /// What was found in the table already, and what was written in another form.
    found: Outcome,
}

impl Account {
    /// A piece was written and is not yet durable.
    pub(crate) fn piece(&mut self, batch: &Batch, metrics: &Metrics) {
        metrics.early_flushes.add(1);
        self.pieces.add(&batch.counts);
        self.by_table.add(&batch.tally);
    }

    /// A batch or a piece was written row by row where needed and is not yet durable.
    pub(crate) fn fallback(&mut self, outcome: Outcome) {
        self.found.replaced += outcome.replaced;
        for (table, more) in outcome.duplicates {
            let counts = self.found.duplicates.entry(table).or_default();
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
    }

    /// The pieces were given up.
    pub(crate) fn reset(&mut self) {
        self.found = Outcome::default();
        self.pieces = Counts::default();
        self.by_table.clear();
    }

    /// The batch is durable, and with it the pieces before it.
    pub(crate) fn landed(&mut self, batch: &Batch, metrics: &Metrics) {
        let mut counts = std::mem::take(&mut self.pieces);
        counts.add(&batch.counts);
        let found = std::mem::take(&mut self.found);
        let already = |i: usize| -> u64 { found.duplicates.values().map(|c| c[i]).sum() };
        for (metric, count, already) in [
            (&metrics.inserts, counts.insert, already(0)),
            (&metrics.updates, counts.update, already(1)),
            (&metrics.deletes, counts.delete, already(2)),
            (&metrics.truncates, counts.truncate, already(3)),
        ] {
            metric.add(count.saturating_sub(already));
            metrics.duplicated.add(already);
        }
        for (metric, count) in [
            (&metrics.transactions, counts.transactions),
            (&metrics.filtered, counts.filtered),
            (&metrics.replaced, counts.replaced + found.replaced),
        ] {
            metric.add(count);
        }
        self.by_table.add(&batch.tally);
        for (table, changes) in self.by_table.ended() {
            let mut written = *changes;
            let already = found.duplicates.get(&**table);
            for (count, already) in written.iter_mut().zip(already.into_iter().flatten()) {
                *count = count.saturating_sub(*already);
            }
            metrics.tables.add(table, &written);
        }
        self.by_table.clear();
        if counts.transactions > 0 {
            let since = clock::micros_since(oldest_commit(batch));
            metrics
                .commit_to_durable
                .observe(since, counts.transactions);
        }
        metrics.last_flushed_lsn.set(batch.end.0);
    }
}

/// The writer has received a batch.
pub(crate) fn taken(batch: &Batch, metrics: &Metrics) {
    metrics.writing_bytes.set(batch.rows.len() as u64);
    metrics.writing_since.set(oldest_commit(batch));
    metrics.writer_busy_since.set(clock::unix_micros());
}

/// The batch is no longer on its way.
pub(crate) fn done(batch: &Batch, took: Duration, metrics: &Metrics) {
    metrics.writing_bytes.set(0);
    metrics.writing_since.set(0);
    metrics.writer_busy_since.set(0);
    if batch.count > 0 {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        metrics.persist_duration.observe(took, 1);
        metrics.batch_rows.observe(u64::from(batch.count), 1);
    }
}

/// When the first transaction of the batch committed, in microseconds since 1970; 0 without one.
fn oldest_commit(batch: &Batch) -> u64 {
    let oldest = batch.oldest_commit().map(PgTimestamp::unix_micros);
    oldest.map_or(0, |micros| u64::try_from(micros).unwrap_or(0))
}
