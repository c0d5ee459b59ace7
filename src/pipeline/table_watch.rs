//! How many changes the stream held of tables that are watched: the decoder counts, and the look at the
//! publications compares with the server's counters.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lsn::{Lsn, Oid};
use crate::threads::lock;

/// Inserts, updates and deletes of one table.
pub type Streamed = [u64; 3];

/// What is known of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watched {
    /// The changes of the table since it is watched.
    pub streamed: Streamed,
    /// All that committed before is among them.
    pub position: Lsn,
    /// How often the stream has started: what was on its way then may have been counted twice.
    pub starts: u64,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<Oid, Streamed>,
    position: Lsn,
    starts: u64,
}

/// The tables that are watched. Without one, the decoder pays for one atomic read a chunk.
#[derive(Debug, Default)]
pub struct TableWatch {
    active: AtomicBool,
    state: Mutex<State>,
}

impl TableWatch {
    /// Begins to watch a table; one that is watched already keeps its counts.
    pub fn add(&self, table: Oid) {
        let mut state = lock(&self.state);
        state.tables.entry(table).or_default();
        self.active.store(true, Ordering::Release);
    }

    /// Ends to watch tables.
    pub fn keep(&self, is_kept: impl Fn(Oid) -> bool) {
        let mut state = lock(&self.state);
        state.tables.retain(|&table, _| is_kept(table));
        self.active
            .store(!state.tables.is_empty(), Ordering::Release);
    }

    /// What is known of the stream, and of this table where it is watched.
    pub fn read(&self, table: Oid) -> Watched {
        let state = lock(&self.state);
        Watched {
            streamed: state.tables.get(&table).copied().unwrap_or_default(),
            position: state.position,
            starts: state.starts,
        }
    }

    /// Whether any table is watched.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Adds what was decoded up to `position`; `take` returns the counts of a table and sets them to zero.
    pub fn report(&self, position: Lsn, mut take: impl FnMut(Oid) -> Streamed) {
        let mut state = lock(&self.state);
        state.position = state.position.max(position);
        for (&table, streamed) in &mut state.tables {
            for (count, more) in streamed.iter_mut().zip(take(table)) {
                *count += more;
            }
        }
    }

    /// The stream has started again.
    pub fn started(&self) {
        lock(&self.state).starts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_watched_tables_are_counted() {
        let watch = TableWatch::default();
        assert!(!watch.is_active());
        watch.add(Oid(1));
        watch.report(Lsn(7), |table| [u64::from(table.0), 2, 0]);
        watch.report(Lsn(5), |_| [1, 0, 0]);
        watch.add(Oid(1));
        watch.started();
        let seen = watch.read(Oid(1));
        assert_eq!((seen.streamed, seen.position), ([2, 2, 0], Lsn(7)));
        assert_eq!(watch.read(Oid(2)).streamed, [0; 3]);
        assert_eq!(seen.starts, 1);
        watch.keep(|_| false);
        assert!(!watch.is_active());
    }
}
