//! Encoded rows between decoder and writer, and where transactions end among them.

use super::context;
use super::copy::{self, Tuples};
use super::shape::RowShape;
use super::table_counts::TableCounts;
use crate::lsn::{Lsn, PgTimestamp, Xid};

/// A batch is handed over at the latest when it holds this many bytes …
pub const BYTES_LIMIT: usize = 512 * 1024;

/// … or this many rows.
pub const ROWS_LIMIT: u32 = 8 * 1024;

/// A buffer that a large row made grow beyond this is not kept for the next batch.
const KEPT_CAPACITY: usize = 2 * BYTES_LIMIT;

/// How many changes of each kind a batch holds, and what was left out or replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of INSERT (and COPY).
    pub insert: u64,
    /// Rows of UPDATE.
    pub update: u64,
    /// Rows of DELETE.
    pub delete: u64,
    /// Tables truncated.
    pub truncate: u64,
    /// Transactions that left at least one row.
    pub transactions: u64,
    /// Changes of tables that are not tracked.
    pub filtered: u64,
    /// Replaced values: written in another form, since jsonb refuses them.
    pub replaced: u64,
}

impl Counts {
    /// All changes.
    pub fn changes(&self) -> u64 {
        self.insert + self.update + self.delete + self.truncate
    }

    /// Counts a row. `operation` is its place in [`super::table_counts::ByOperation`].
    pub(super) fn count(&mut self, operation: usize) {
        match operation {
            0 => self.insert += 1,
            1 => self.update += 1,
            2 => self.delete += 1,
            _ => self.truncate += 1,
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Counts) {
        self.insert += other.insert;
        self.update += other.update;
        self.delete += other.delete;
        self.truncate += other.truncate;
        self.transactions += other.transactions;
        self.filtered += other.filtered;
        self.replaced += other.replaced;
    }
}

/// A context that came after rows that it belongs to, when those had gone with an earlier batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The transaction of the rows.
    pub xid: Xid,
    /// When it committed: numbers and positions are given out again after a failover.
    pub commit_time: PgTimestamp,
    /// The position of the first row without context.
    pub first: Lsn,
    /// The position of the last row without context.
    pub last: Lsn,
    /// The context, as JSON that jsonb accepts.
    pub context: Vec<u8>,
    /// Some of the rows have a context that says more: it is kept.
    pub has_members: bool,
}

/// The rows of one TRUNCATE of several tables. Another tracker may have written all of them at the position
/// of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TruncatedTables {
    /// The transaction.
    pub xid: Xid,
    /// The position of the statement's WAL record.
    pub first: Lsn,
    /// The position of the last row.
    pub last: Lsn,
}

/// Encoded rows: whole transactions, or a fragment of one that is larger than a batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Tuples for binary COPY, without header and trailer.
    pub rows: Vec<u8>,
    /// How many tuples.
    pub count: u32,
    /// The position to confirm when the batch is durable; zero while no transaction has ended.
    pub end: Lsn,
    /// The first row continues a transaction whose earlier rows went with the batch before.
    pub continues: bool,
    /// The last row's transaction goes on in the next batch.
    pub open: bool,
    /// Late contexts, to be applied after the rows and before COMMIT.
    pub patches: Vec<Patch>,
    /// TRUNCATEs of several tables; those of a transaction that was dropped may be among them.
    pub truncated: Vec<TruncatedTables>,
    /// Which columns the rows have.
    pub shape: RowShape,
    /// The changes in the batch.
    pub counts: Counts,
    /// The same by table.
    pub table_counts: TableCounts,
    /// When the first transaction in the batch committed.
    pub commit_time: Option<PgTimestamp>,
    /// The epoch of the stream; the writer discards batches of an epoch that was given up.
    pub epoch: u64,
    /// Up to where whole transactions reach.
    committed: Savepoint,
    /// What the transaction that is still open has counted.
    open_counts: Counts,
    open_commit_time: Option<PgTimestamp>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Savepoint {
    bytes: usize,
    count: u32,
    patches: usize,
    /// At least one transaction ended here, with rows or without.
    ended: bool,
}

impl Batch {
    /// Whether the batch has reached a limit.
    pub fn is_full(&self) -> bool {
        let patches: usize = self.patches.iter().map(|patch| patch.context.len()).sum();
        self.rows.len().saturating_add(patches) >= BYTES_LIMIT || self.count >= ROWS_LIMIT
    }

    /// Whether the batch holds whole transactions only, and something to write or confirm.
    pub fn is_ready(&self) -> bool {
        self.rows.len() == self.committed.bytes && (self.count > 0 || self.end > Lsn::ZERO)
    }

    /// Whether the batch holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.end == Lsn::ZERO && !self.continues
    }

    /// The rows of the transaction that is still open.
    pub fn open_rows(&self) -> &[u8] {
        self.rows.get(self.committed.bytes..).unwrap_or_default()
    }

    /// Whether rows of the open transaction went with an earlier batch.
    pub fn continues_open(&self) -> bool {
        self.continues && !self.committed.ended
    }

    /// Counts for the transaction that is still open.
    pub fn open_counts(&mut self) -> &mut Counts {
        &mut self.open_counts
    }

    /// Notes that a transaction began which committed at this time.
    pub fn begin(&mut self, commit_time: PgTimestamp) {
        self.open_commit_time = Some(commit_time);
    }

    /// Notes that the open transaction ended at `end`.
    pub fn commit(&mut self, end: Lsn) {
        let rows = self.rows.len() > self.committed.bytes || self.continues_open();
        if rows {
            self.open_counts.transactions += 1;
            self.commit_time = self.commit_time.or(self.open_commit_time);
        }
        self.open_commit_time = None;
        self.counts.add(&std::mem::take(&mut self.open_counts));
        self.table_counts.end();
        self.end = self.end.max(end);
        self.committed = Savepoint {
            bytes: self.rows.len(),
            count: self.count,
            patches: self.patches.len(),
            ended: true,
        };
    }

    /// Notes the row of a TRUNCATE that is not at the position of the statement.
    pub fn note_truncate(&mut self, row: TruncatedTables) {
        if row.last == row.first {
            return;
        }
        match self.truncated.last_mut() {
            Some(same) if same.first == row.first && same.xid == row.xid => same.last = row.last,
            _ => self.truncated.push(row),
        }
    }

    /// Notes that everything before `end` was seen, between transactions.
    pub fn advance(&mut self, end: Lsn) {
        self.end = self.end.max(end);
    }

    /// Drops the rows of the open transaction. True when the transaction began in an earlier batch, which
    /// then has to be rolled back.
    pub fn drop_open(&mut self) -> bool {
        self.rows.truncate(self.committed.bytes);
        self.count = self.committed.count;
        self.patches.truncate(self.committed.patches);
        self.open_counts = Counts::default();
        self.table_counts.drop_open();
        self.open_commit_time = None;
        let began_earlier = self.continues_open();
        if began_earlier {
            self.continues = false;
        }
        began_earlier
    }

    /// Prepares a full batch for the writer. Whole transactions in front go alone, and the rows of the
    /// open one move into `next`; without a whole one, the batch goes as a fragment of the open one.
    pub fn split(&mut self, next: &mut Batch) {
        next.epoch = self.epoch;
        next.shape = self.shape;
        next.open_commit_time = self.open_commit_time.take();
        if self.committed.ended {
            // The shorter part is copied: a large row is in memory once.
            if self.open_rows().len() <= self.committed.bytes {
                next.rows.extend_from_slice(self.open_rows());
                self.rows.truncate(self.committed.bytes);
            } else {
                let whole = self.rows.get(..self.committed.bytes).unwrap_or_default();
                next.rows.extend_from_slice(whole);
                std::mem::swap(&mut self.rows, &mut next.rows);
                next.rows.drain(..self.committed.bytes.min(next.rows.len()));
            }
            next.count = self.count - self.committed.count;
            next.patches = self.patches.split_off(self.committed.patches);
            // Which of them are of the open transaction is not known, and need not be.
            next.truncated.clone_from(&self.truncated);
            next.open_counts = std::mem::take(&mut self.open_counts);
            self.table_counts.move_open(&mut next.table_counts);
            self.count = self.committed.count;
        } else {
            self.counts.add(&std::mem::take(&mut self.open_counts));
            self.table_counts.end();
            self.open = true;
            next.continues = true;
        }
    }

    /// When the oldest transaction in the batch committed, the open one included.
    pub fn oldest_commit(&self) -> Option<PgTimestamp> {
        self.commit_time.or(self.open_commit_time)
    }

    /// Gives the rows of the open transaction in this batch a context, beside what theirs says already.
    /// Returns false, with nothing changed, where that would make the batch larger than its limit.
    pub fn rewrite_open_context(&mut self, context: &[u8]) -> bool {
        let rows = (self.count - self.committed.count) as usize;
        let grown = self
            .rows
            .len()
            .saturating_add(rows.saturating_mul(context.len()));
        if grown > BYTES_LIMIT {
            return false;
        }
        let old = self.rows.split_off(self.committed.bytes);
        let mut merged = Vec::new();
        for tuple in Tuples::new(&old) {
            // The context is the last field of a row.
            let last = copy::fields(tuple).last().flatten().unwrap_or_default();
            let kept = tuple
                .get(..tuple.len().saturating_sub(last.len() + 4))
                .unwrap_or_default();
            self.rows.extend_from_slice(kept);
            match last.get(1..).and_then(context::added_member) {
                None => jsonb(&mut self.rows, context),
                Some(member) => {
                    context::with_member(context, member, &mut merged);
                    jsonb(&mut self.rows, &merged);
                }
            }
        }
        true
    }

    /// Empties the batch. Its buffer is kept where that is of the usual size.
    pub fn clear(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.shrink_to(KEPT_CAPACITY);
        let mut table_counts = std::mem::take(&mut self.table_counts);
        table_counts.clear();
        *self = Batch {
            rows,
            table_counts,
            epoch: self.epoch,
            ..Batch::default()
        };
    }
}

/// A `jsonb` field with this JSON text.
pub fn jsonb(out: &mut Vec<u8>, json: &[u8]) {
    let at = copy::open(out);
    out.push(copy::JSONB_VERSION);
    out.extend_from_slice(json);
    copy::close(out, at);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn add(batch: &mut Batch, size: usize) {
        copy::tuple(&mut batch.rows, 2);
        copy::field(&mut batch.rows, &vec![b'x'; size]);
        jsonb(&mut batch.rows, b"{}");
        batch.count += 1;
        batch.open_counts().insert += 1;
    }

    #[test]
    fn whole_transactions_go_first_and_the_open_one_moves_on() {
        let mut batch = Batch::default();
        add(&mut batch, 10);
        batch.commit(Lsn(7));
        add(&mut batch, 20);
        add(&mut batch, 30);
        assert!(!batch.is_ready());
        let mut next = Batch::default();
        batch.split(&mut next);
        assert!(batch.is_ready() && !batch.open);
        assert_eq!(
            (batch.count, batch.counts.insert, batch.end),
            (1, 1, Lsn(7))
        );
        assert!(!next.continues);
        next.commit(Lsn(9));
        assert_eq!(
            (next.count, next.counts.insert, next.counts.transactions),
            (2, 2, 1)
        );
        assert_eq!(Tuples::new(&next.rows).count(), 2);
    }

    #[test]
    fn rows_keep_their_place_whichever_part_is_longer() {
        for (first, second) in [(10, 300), (300, 10)] {
            let mut batch = Batch::default();
            add(&mut batch, first);
            batch.commit(Lsn(7));
            let whole = batch.rows.clone();
            add(&mut batch, second);
            let open = batch.open_rows().to_vec();
            let mut next = Batch::default();
            batch.split(&mut next);
            assert!(
                batch.rows == whole && next.rows == open,
                "{first}, {second}"
            );
        }
    }

    #[test]
    fn a_transaction_larger_than_a_batch_goes_in_fragments() {
        let mut batch = Batch::default();
        add(&mut batch, 10);
        let mut next = Batch::default();
        batch.split(&mut next);
        assert!(batch.open && next.continues);
        assert_eq!((batch.count, batch.end), (1, Lsn::ZERO));
        next.commit(Lsn(9));
        assert!(next.is_ready());
        assert_eq!(next.counts.transactions, 1);
    }

    #[test]
    fn an_open_transaction_can_be_dropped() {
        let mut batch = Batch::default();
        add(&mut batch, 10);
        batch.commit(Lsn(7));
        add(&mut batch, 20);
        assert!(!batch.drop_open());
        assert_eq!((batch.count, batch.counts.insert), (1, 1));
        assert!(batch.is_ready());
        let mut later = Batch {
            continues: true,
            ..Batch::default()
        };
        add(&mut later, 5);
        assert!(later.drop_open());
        assert!(later.is_empty());
    }

    #[test]
    fn a_late_context_reaches_only_the_rows_of_its_transaction() {
        let mut batch = Batch::default();
        add(&mut batch, 10);
        batch.commit(Lsn(7));
        add(&mut batch, 20);
        add(&mut batch, 3);
        assert!(batch.rewrite_open_context(br#"{"a":1}"#));
        let contexts: Vec<_> = Tuples::new(&batch.rows)
            .map(|t| copy::fields(t).last().unwrap().unwrap().to_vec())
            .collect();
        assert_eq!(
            contexts,
            [&b"\x01{}"[..], b"\x01{\"a\":1}", b"\x01{\"a\":1}"]
        );
        assert!(!batch.rewrite_open_context(&vec![b' '; BYTES_LIMIT]));
    }

    #[test]
    fn a_late_context_leaves_what_a_row_says_of_its_partition() {
        let mut batch = Batch::default();
        for context in [&b"{}"[..], br#"{"zemi_partition":{"table":"p"}}"#] {
            copy::tuple(&mut batch.rows, 1);
            jsonb(&mut batch.rows, context);
            batch.count += 1;
        }
        assert!(batch.rewrite_open_context(b"[1]"));
        let contexts: Vec<_> = Tuples::new(&batch.rows)
            .map(|t| copy::fields(t).last().unwrap().unwrap().to_vec())
            .collect();
        assert_eq!(
            contexts,
            [
                &b"\x01[1]"[..],
                b"\x01{\"zemi_context\":[1],\"zemi_partition\":{\"table\":\"p\"}}"
            ]
        );
    }

    #[test]
    fn late_contexts_count_towards_the_limit() {
        let mut batch = Batch::default();
        let context = vec![b' '; BYTES_LIMIT / 2];
        for end in 1..=2 {
            assert!(!batch.is_full());
            add(&mut batch, 1);
            let (first, last) = (Lsn(end), Lsn(end));
            batch.patches.push(Patch {
                xid: Xid(1),
                commit_time: PgTimestamp(0),
                first,
                last,
                context: context.clone(),
                has_members: false,
            });
            batch.commit(Lsn(end));
        }
        assert!(batch.is_full());
    }

    #[test]
    fn a_large_row_does_not_stay_in_memory() {
        let mut batch = Batch::default();
        add(&mut batch, 4 * KEPT_CAPACITY);
        batch.clear();
        assert!(batch.rows.capacity() <= KEPT_CAPACITY && batch.is_empty());
    }
}
