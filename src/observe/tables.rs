//! Durable changes by table, for the status page.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::threads::lock;

/// The number of tables that are counted by name. Further ones are counted together, so that memory stays
/// bounded.
const MAX_TABLES: usize = 200;

/// The name under which all other tables are counted.
const OTHERS: &str = "(other tables)";

/// Changes of one table: CREATE, UPDATE, DELETE, TRUNCATE.
pub type ByOperation = [u64; 4];

/// Changes by table.
#[derive(Debug, Default)]
pub struct Tables(Mutex<BTreeMap<String, ByOperation>>);

impl Tables {
    /// Adds changes of a table.
    pub fn add(&self, table: &str, changes: &ByOperation) {
        let mut tables = lock(&self.0);
        let name = match tables.contains_key(table) || tables.len() < MAX_TABLES {
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

    /// The counts of all tables, by name.
    pub fn read(&self) -> BTreeMap<String, ByOperation> {
        let tables = lock(&self.0);
        tables.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_the_limit_are_counted_together() {
        let tables = Tables::default();
        for n in 0..MAX_TABLES + 10 {
            tables.add(&format!("t{n}"), &[1, 0, 0, 2]);
        }
        tables.add("t0", &[1, 1, 1, 1]);
        let read = tables.read();
        assert_eq!(read.len(), MAX_TABLES + 1);
        assert_eq!(read.get("t0"), Some(&[2, 1, 1, 3]));
        assert_eq!(read.get(OTHERS), Some(&[10, 0, 0, 20]));
    }
}
