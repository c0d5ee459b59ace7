//! What the other threads need to know of the destination.

use std::sync::Mutex;

use super::tables::Tables;
use crate::change::RowShape;
use crate::control::lock;
use crate::lsn::Oid;
use crate::replication::catalog::OwnTables;

#[derive(Debug, Default)]
struct Facts {
    tables: Option<Tables>,
    is_source: bool,
}

/// The destination's tables as they were last found; they can be made anew while zemi runs.
#[derive(Debug, Default)]
pub struct Destination(Mutex<Facts>);

impl Destination {
    /// Notes the tables, and whether they are in the source's own database.
    pub fn set(&self, tables: Tables, is_source: bool) {
        *lock(&self.0) = Facts {
            tables: Some(tables),
            is_source,
        };
    }

    /// Which columns a row needs, and how many characters the column `primary_key` takes.
    pub fn row_shape(&self) -> (RowShape, Option<usize>) {
        let facts = lock(&self.0);
        facts
            .tables
            .as_ref()
            .map_or_else(Default::default, |tables| {
                (tables.shape, tables.primary_key_limit)
            })
    }
}

impl OwnTables for Destination {
    fn in_source(&self) -> Vec<Oid> {
        let facts = lock(&self.0);
        match &facts.tables {
            Some(tables) if facts.is_source => vec![tables.changes, tables.progress],
            _ => Vec::new(),
        }
    }
}
