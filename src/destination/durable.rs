//! The proof that a batch is durable, without which nothing is confirmed to the source.

use crate::change::Batch;
use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;

/// Every transaction that ends at this position or before is durable at the destination, or left no row.
///
/// Only the answer to COMMIT, the progress as the destination shows it, and a batch without anything to write
/// give one.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the source keeps its WAL until the position is confirmed"]
pub struct Durable(Lsn);

impl Durable {
    /// By the command tag of the last statement. No other tag than `COMMIT` will do: COMMIT of a failed
    /// transaction answers `ROLLBACK` without an error.
    ///
    /// # Errors
    /// Another tag: nothing was written.
    pub(super) fn by_commit(tag: &str, end: Lsn) -> Result<Durable> {
        if tag == "COMMIT" {
            return Ok(Durable(end));
        }
        Err(Error::new(
            Kind::Transient,
            format!("expected the tag COMMIT, found {tag:?}: the transaction was not written"),
        ))
    }

    /// By `zemi_progress.flushed_lsn`, which was read at this position after a COMMIT without an answer.
    pub(super) fn by_progress(flushed: Lsn) -> Durable {
        Durable(flushed)
    }

    /// By the absence of rows: `None` where the batch holds something to write, or ends a transaction whose
    /// earlier rows are in an open transaction of the destination.
    pub fn without_rows(batch: &Batch) -> Option<Durable> {
        let empty = batch.count == 0 && batch.patches.is_empty() && !batch.continues;
        empty.then_some(Durable(batch.end))
    }

    /// The position.
    pub fn lsn(&self) -> Lsn {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_tag_commit_proves_a_commit() {
        assert_eq!(Durable::by_commit("COMMIT", Lsn(7)).unwrap().lsn(), Lsn(7));
        for tag in ["ROLLBACK", "", "COMMIT PREPARED", "COPY 3", "commit"] {
            assert!(Durable::by_commit(tag, Lsn(7)).is_err(), "{tag}");
        }
    }

    #[test]
    fn a_batch_with_something_to_write_proves_nothing() {
        let batch = |count, continues| {
            let mut batch = Batch::default();
            batch.advance(Lsn(7));
            batch.count = count;
            batch.continues = continues;
            batch
        };
        assert_eq!(
            Durable::without_rows(&batch(0, false)),
            Some(Durable(Lsn(7)))
        );
        assert_eq!(Durable::without_rows(&batch(1, false)), None);
        assert_eq!(Durable::without_rows(&batch(0, true)), None);
    }
}
