//! Durable changes by table, for the status page.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// So many tables are counted by name; the rest together, so that memory stays bounded.
const MOST: usize = 200;

/// The name under which all other tables are counted.
pub const OTHERS: &str = "(other tables)";

/// Changes of one table: CREATE, UPDATE, DELETE, TRUNCATE.
pub type ByOperation = [u64; 4];

/// Changes by table.
#[derive(Debug, Default)]
pub struct Tables(Mutex<BTreeMap<String, ByOperation>>);

impl Tables {
    /// Adds changes of a table.
    pub fn add(&self, table: &str, changes: &ByOperation) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match tables.contains_key(table) || tables.len() < MOST {
            true => table,
            false => OTHERS,
        };
        if !tables.contains_key(name) {
            tables.insert(name.to_owned(), ByOperation::default());
        }
        if let Some(counts) = tables.get_mut(name) {
            for (count, more) in counts.iter_mut().zip(changes) {
                *count += more;
            }
        }
    }

    /// All of them, by name.
    pub fn read(&self) -> BTreeMap<String, ByOperation> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_the_limit_are_counted_together() {
        let tables = Tables::default();
        for n in 0..MOST + 10 {
            tables.add(&format!("t{n}"), &[1, 0, 0, 2]);
        }
        tables.add("t0", &[1, 1, 1, 1]);
        let read = tables.read();
        assert_eq!(read.len(), MOST + 1);
        assert_eq!(read.get("t0"), Some(&[2, 1, 1, 3]));
        assert_eq!(read.get(OTHERS), Some(&[10, 0, 0, 20]));
    }
}
