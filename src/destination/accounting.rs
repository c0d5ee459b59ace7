//! The metrics of the writer: what became durable is counted when it is, not before.

use std::time::Duration;

use super::fallback::Outcome;
use crate::change::table_counts::TableCounts;
use crate::change::{Batch, Counts};
use crate::clock;
use crate::lsn::PgTimestamp;
use crate::observe::metrics::Metrics;

/// Counts of the fragments in an open transaction, until it is durable.
#[derive(Debug, Default)]
pub(crate) struct Accounting {
    counts: Counts,
    by_table: TableCounts,
    /// Rows that the fallback found in the table already, and those that it wrote in another form.
    found: Outcome,
}

impl Accounting {
    /// A fragment was written and is not yet durable.
    pub(crate) fn fragment(&mut self, batch: &Batch, outcome: Outcome, metrics: &Metrics) {
        metrics.early_flushes.add(1);
        self.counts.add(&batch.counts);
        self.by_table.add(&batch.table_counts);
        self.add(outcome);
    }

    /// The last batch was written by the fallback.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.found.add(outcome);
    }

    /// The batch is durable, and with it the fragments before it.
    pub(crate) fn committed(mut self, batch: &Batch, metrics: &Metrics) {
        let mut counts = self.counts;
        counts.add(&batch.counts);
        let found = self.found;
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
        self.by_table.add(&batch.table_counts);
        for (table, changes) in self.by_table.ended() {
            let mut written = *changes;
            let already = found.duplicates.get(&**table);
            for (count, already) in written.iter_mut().zip(already.into_iter().flatten()) {
                *count = count.saturating_sub(*already);
            }
            metrics.tables.add(table, &written);
        }
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
pub(crate) fn received(batch: &Batch, metrics: &Metrics) {
    metrics.writing_bytes.set(batch.rows.len() as u64);
    metrics.writing_since.set(oldest_commit(batch));
    metrics.writer_busy_since.set(clock::unix_micros());
}

/// The writer has done with the batch, which took it so long.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn batch(table: &Arc<str>, insert: u64, truncate: u64) -> Batch {
        let mut batch = Batch::default();
        batch.open_counts().insert = insert;
        batch.open_counts().truncate = truncate;
        let mut index = 0;
        for (operation, count) in [(0, insert), (3, truncate)] {
            for _ in 0..count {
                batch.table_counts.count(table, operation, &mut index);
            }
        }
        batch.commit(crate::lsn::Lsn(9));
        batch
    }

    fn outcome(duplicates: [u64; 4], replaced: u64) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.duplicates.insert("s.t".into(), duplicates);
        outcome.replaced = replaced;
        outcome
    }

    #[test]
    fn a_transaction_counts_with_all_its_fragments_and_without_what_was_there() {
        let metrics = Metrics::default();
        let table = "s.t".into();
        let mut accounting = Accounting::default();
        accounting.fragment(&batch(&table, 5, 0), outcome([2, 0, 0, 0], 1), &metrics);
        assert_eq!(metrics.inserts.get(), 0);
        assert_eq!(metrics.early_flushes.get(), 1);
        accounting.add(outcome([1, 0, 0, 1], 0));
        accounting.committed(&batch(&table, 3, 2), &metrics);
        let counted = [&metrics.inserts, &metrics.truncates, &metrics.duplicated];
        assert_eq!(counted.map(|metric| metric.get()), [5, 1, 4]);
        assert_eq!(metrics.replaced.get(), 1);
        assert_eq!(metrics.last_flushed_lsn.get(), 9);
        let by_table = metrics.tables.read();
        assert_eq!(by_table.get("s.t"), Some(&[5, 0, 0, 1]));
    }
}
