//! The changes in a batch, counted by table.

use std::sync::Arc;

/// Changes of one table: INSERT, UPDATE, DELETE, TRUNCATE.
pub type ByOperation = [u64; 4];

/// Counts by table. The rows of a transaction that is still open are kept apart until it ends, since
/// they may move to the next batch or be dropped.
#[derive(Debug, Default)]
pub struct TableCounts {
    entries: Vec<Entry>,
    /// Entries that the open transaction has counted.
    open: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    table: Arc<str>,
    ended: ByOperation,
    open: ByOperation,
}

impl TableCounts {
    /// Counts a change of the open transaction. `operation` is its place in [`ByOperation`]; `index` is where
    /// this table was found the last time, kept by the caller.
    pub fn count(&mut self, table: &Arc<str>, operation: usize, index: &mut usize) {
        let is_it = |entry: &Entry| Arc::ptr_eq(&entry.table, table);
        if !self.entries.get(*index).is_some_and(is_it) {
            *index = self.index(table);
        }
        if let Some(entry) = self.entries.get_mut(*index) {
            if entry.open == [0; 4] {
                self.open.push(*index);
            }
            if let Some(count) = entry.open.get_mut(operation) {
                *count += 1;
            }
        }
    }

    fn index(&mut self, table: &Arc<str>) -> usize {
        let found = self
            .entries
            .iter()
            .position(|e| Arc::ptr_eq(&e.table, table));
        found.unwrap_or_else(|| {
            self.entries.push(Entry {
                table: Arc::clone(table),
                ended: [0; 4],
                open: [0; 4],
            });
            self.entries.len() - 1
        })
    }

    /// The open transaction has ended, or goes on in the next batch.
    pub fn end(&mut self) {
        self.each_open(|entry| {
            let open = std::mem::take(&mut entry.open);
            add(&mut entry.ended, &open);
        });
    }

    /// The rows of the open transaction are dropped.
    pub fn drop_open(&mut self) {
        self.each_open(|entry| entry.open = [0; 4]);
    }

    /// The rows of the open transaction move to an empty batch.
    pub fn move_open(&mut self, next: &mut TableCounts) {
        self.each_open(|entry| {
            next.open.push(next.entries.len());
            next.entries.push(Entry {
                table: Arc::clone(&entry.table),
                ended: [0; 4],
                open: std::mem::take(&mut entry.open),
            });
        });
    }

    fn each_open(&mut self, mut visit: impl FnMut(&mut Entry)) {
        for index in self.open.drain(..) {
            if let Some(entry) = self.entries.get_mut(index) {
                visit(entry);
            }
        }
    }

    /// Adds the ended transactions of another batch.
    pub fn add(&mut self, other: &TableCounts) {
        for (table, counts) in other.ended() {
            let index = self.index(table);
            if let Some(entry) = self.entries.get_mut(index) {
                add(&mut entry.ended, counts);
            }
        }
    }

    /// The changes of ended transactions, by table.
    pub fn ended(&self) -> impl Iterator<Item = (&Arc<str>, &ByOperation)> {
        let entries = self.entries.iter().map(|e| (&e.table, &e.ended));
        entries.filter(|(_, counts)| **counts != [0; 4])
    }

    /// Forgets everything and keeps its buffers.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.open.clear();
    }
}

fn add(to: &mut ByOperation, more: &ByOperation) {
    for (count, more) in to.iter_mut().zip(more) {
        *count += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table_counts: &TableCounts) -> Vec<(String, ByOperation)> {
        let ended = table_counts.ended();
        ended
            .map(|(table, counts)| (table.to_string(), *counts))
            .collect()
    }

    #[test]
    fn the_open_transaction_counts_when_it_ends_and_where_its_rows_are() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let (mut index_a, mut index_b) = (0, 0);
        let mut table_counts = TableCounts::default();
        table_counts.count(&a, 0, &mut index_a);
        table_counts.count(&b, 1, &mut index_b);
        assert_eq!(read(&table_counts), []);
        table_counts.end();
        table_counts.count(&b, 2, &mut index_b);
        table_counts.count(&a, 3, &mut index_a);
        table_counts.drop_open();
        table_counts.count(&b, 3, &mut index_b);
        let mut next = TableCounts::default();
        table_counts.move_open(&mut next);
        assert_eq!(
            read(&table_counts),
            [("a".into(), [1, 0, 0, 0]), ("b".into(), [0, 1, 0, 0])]
        );
        next.count(&a, 0, &mut index_a);
        next.count(&b, 0, &mut index_b);
        next.end();
        assert_eq!(
            read(&next),
            [("b".into(), [1, 0, 0, 1]), ("a".into(), [1, 0, 0, 0])]
        );
        next.add(&table_counts);
        assert_eq!(
            read(&next),
            [("b".into(), [1, 1, 0, 1]), ("a".into(), [2, 0, 0, 0])]
        );
    }

    #[test]
    fn an_index_of_a_batch_before_is_found_again() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let (mut index_a, mut index_b) = (0, 7);
        let mut table_counts = TableCounts::default();
        table_counts.count(&b, 0, &mut index_b);
        table_counts.count(&a, 0, &mut index_a);
        assert_eq!((index_b, index_a), (0, 1));
    }
}
