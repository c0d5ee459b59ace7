//! Where `changes` and `zemi_progress` are, and which columns a row of `changes` needs.

use std::sync::Mutex;

use crate::change::RowShape;
use crate::error::Result;
use crate::lsn::Oid;
use crate::source::catalog::{OwnNames, OwnTables};
use crate::threads::lock;
use crate::wire::{Connection, identifier};

/// The names of the two tables, which are in one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableNames {
    schema: String,
    quoted_schema: String,
    changes: String,
    progress: String,
}

impl TableNames {
    /// The tables in this schema, whether they exist or not.
    pub(crate) fn in_schema(schema: &str) -> TableNames {
        let quoted = match schema {
            "public" => schema.to_owned(),
            other => identifier(other),
        };
        TableNames {
            schema: schema.to_owned(),
            changes: format!("{quoted}.changes"),
            progress: format!("{quoted}.zemi_progress"),
            quoted_schema: quoted,
        }
    }

    /// The schema, unquoted.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema, quoted for SQL.
    pub(crate) fn quoted_schema(&self) -> &str {
        &self.quoted_schema
    }

    /// The table of changes, qualified and quoted for SQL.
    pub(crate) fn changes(&self) -> &str {
        &self.changes
    }

    /// The table of the progress, qualified and quoted for SQL.
    pub(crate) fn progress(&self) -> &str {
        &self.progress
    }
}

/// The tables as they were found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Their names.
    pub(crate) names: TableNames,
    /// The OID of the table of changes.
    pub(crate) changes: Oid,
    /// The OID of the table of the progress.
    pub(crate) progress: Oid,
    /// How many characters `primary_key` takes.
    pub(crate) primary_key_limit: Option<usize>,
    /// Which columns a row needs.
    pub(crate) shape: RowShape,
    /// An index begins with `position`.
    pub(crate) position_indexed: bool,
    /// The table of changes is an ordinary or a partitioned one, and not a view or a foreign one.
    pub(crate) lockable: bool,
}

/// Finds the schema of the tables. That is `public`, unless the role's own `search_path` finds a `changes`
/// with Bemi's columns earlier: a tracker that names no schema has made or found it there. A schema that
/// holds `zemi_progress` too is in use, and goes before one that does not.
pub(crate) fn locate(session: &mut Connection) -> Result<TableNames> {
    let columns = RowShape::Plain.columns();
    let found = session.query(&format!(
        "BEGIN READ ONLY; SET LOCAL search_path TO DEFAULT; \
         WITH path AS (SELECT name, place FROM \
           pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path(name, place)), \
         schemas AS (SELECT * FROM path WHERE place < \
             coalesce((SELECT place FROM path WHERE name = 'public'), 1000000) \
           UNION ALL SELECT 'public', 1000000), \
         tables AS (SELECT s.name, s.place, n.oid AS schema, c.oid FROM schemas s \
           JOIN pg_catalog.pg_namespace n ON n.nspname = s.name \
           JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'changes' \
           AND c.relkind IN ('r', 'p', 'v', 'f', 'm')) \
         SELECT name FROM tables t WHERE name = 'public' OR '{{{columns}}}'::name[] <@ \
           (SELECT pg_catalog.array_agg(attname) FROM pg_catalog.pg_attribute \
            WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped) \
         ORDER BY EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = t.schema \
           AND relname = 'zemi_progress') DESC, place LIMIT 1; COMMIT"
    ))?;
    let row = found.get(2);
    let schema = row.and_then(|set| set.value(0, "name")).unwrap_or("public");
    Ok(TableNames::in_schema(schema))
}

#[derive(Debug, Default)]
struct Facts {
    tables: Option<Tables>,
    is_source: bool,
    /// The tables that were found so far, where they are in the source's database: one that was renamed
    /// away holds what was written to it.
    oids: Vec<Oid>,
}

/// How many OIDs of earlier tables are kept.
const KEPT_OIDS: usize = 64;

/// The destination's tables as they were last found; they can be made anew while zemi runs.
#[derive(Debug, Default)]
pub struct Destination(Mutex<Facts>);

impl Destination {
    /// Notes the tables, and whether they are in the source's own database.
    pub(crate) fn set(&self, tables: Tables, is_source: bool) {
        let mut facts = lock(&self.0);
        if is_source {
            for oid in [tables.changes, tables.progress] {
                facts.oids.retain(|known| *known != oid);
                facts.oids.push(oid);
            }
            let excess = facts.oids.len().saturating_sub(KEPT_OIDS);
            facts.oids.drain(..excess);
        }
        facts.tables = Some(tables);
        facts.is_source = is_source;
    }

    /// Which columns a row needs, and how many characters the column `primary_key` takes.
    pub(crate) fn row_shape(&self) -> (RowShape, Option<usize>) {
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
    fn in_source(&self) -> OwnNames {
        let facts = lock(&self.0);
        let Some(tables) = facts.tables.as_ref().filter(|_| facts.is_source) else {
            return OwnNames::default();
        };
        let schema = tables.names.schema();
        let name = |table: &str| (schema.to_owned(), table.to_owned());
        OwnNames {
            oids: facts.oids.clone(),
            names: vec![name("changes"), name("zemi_progress")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_unless_they_mean_themselves() {
        let names = TableNames::in_schema("public");
        assert_eq!(names.changes(), "public.changes");
        let names = TableNames::in_schema("My \"Schema\"");
        assert_eq!(names.progress(), "\"My \"\"Schema\"\"\".zemi_progress");
        assert_eq!(names.schema(), "My \"Schema\"");
    }
}
