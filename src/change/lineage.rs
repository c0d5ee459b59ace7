//! By which names a table is known: its own, and those of the tables above it.

/// Schemas that TimescaleDB keeps to itself begin so. Chunks of hypertables are in one of them.
const TIMESCALE: &str = "_timescaledb_";

/// Schemas of tools that hold copies of tables, or bookkeeping, while they work: pg_repack's.
const TOOLS: [&str; 1] = ["repack"];

/// Whether a schema belongs to a tool, whose tables are left out unless `TABLES` names the schema.
pub fn is_tool_schema(schema: &str) -> bool {
    schema.starts_with(TIMESCALE) || TOOLS.contains(&schema)
}

/// A table above another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Its schema, as the catalog has it.
    pub schema: String,
    /// Its name, as the catalog has it.
    pub table: String,
    /// A partitioned table; else a parent by inheritance.
    pub partitioned: bool,
}

/// A table's own name and those of every table above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Its own name first, then from the nearest to the topmost.
    names: Vec<(String, String)>,
    /// Which of the names is that of the topmost partitioned table, or of the hypertable of a chunk: the
    /// table whose rows an application sees. 0 where there is none.
    root: usize,
}

impl Lineage {
    /// `ancestors` go from the nearest to the topmost.
    pub fn new(schema: &str, table: &str, ancestors: &[Ancestor]) -> Lineage {
        let mut names = vec![(schema.to_owned(), table.to_owned())];
        let above = ancestors
            .iter()
            .map(|a| (a.schema.clone(), a.table.clone()));
        names.extend(above);
        let partitioned = ancestors.iter().rposition(|a| a.partitioned);
        let is_hypertable = |a: &Ancestor| !is_tool_schema(&a.schema);
        let hypertable = match schema.starts_with(TIMESCALE) {
            true => ancestors.iter().rposition(is_hypertable),
            false => None,
        };
        let root = partitioned.or(hypertable).map_or(0, |place| place + 1);
        Lineage { names, root }
    }

    /// Schema and name of the table itself.
    pub fn own(&self) -> (&str, &str) {
        self.name(0)
    }

    /// Schema and name of the table whose rows an application sees; the table itself where no other is.
    pub fn root(&self) -> (&str, &str) {
        self.name(self.root)
    }

    /// Whether [`Lineage::root`] is another table.
    pub fn is_part(&self) -> bool {
        self.root > 0
    }

    /// The lineage of a table above this one, not beyond [`Lineage::root`]; `None` for any other name.
    pub(super) fn of_part(&self, schema: &str, table: &str) -> Option<Lineage> {
        let parts = self.names().take(self.root + 1).enumerate().skip(1);
        let (place, _) = parts
            .into_iter()
            .find(|(_, name)| *name == (schema, table))?;
        Some(Lineage {
            names: self.names.get(place..)?.to_vec(),
            root: self.root - place,
        })
    }

    /// All names: its own first, then from the nearest to the topmost.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names
            .iter()
            .map(|(schema, table)| (schema.as_str(), table.as_str()))
    }

    /// All names are in schemas of tools.
    pub fn is_of_tool(&self) -> bool {
        self.names().all(|(schema, _)| is_tool_schema(schema))
    }

    fn name(&self, place: usize) -> (&str, &str) {
        self.names().nth(place).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn above(names: &[(&str, &str, bool)]) -> Vec<Ancestor> {
        let ancestor = |&(schema, table, partitioned): &(&str, &str, bool)| Ancestor {
            schema: schema.into(),
            table: table.into(),
            partitioned,
        };
        names.iter().map(ancestor).collect()
    }

    #[test]
    fn rows_belong_to_the_topmost_partitioned_table_or_to_the_hypertable() {
        let root = |schema, ancestors: &[(&str, &str, bool)]| {
            let lineage = Lineage::new(schema, "t", &above(ancestors));
            let (schema, table) = lineage.root();
            format!("{schema}.{table}")
        };
        assert_eq!(root("s", &[]), "s.t");
        assert_eq!(root("s", &[("s", "p", true), ("a", "q", true)]), "a.q");
        // Children by inheritance are tables of their own.
        assert_eq!(root("s", &[("s", "parent", false)]), "s.t");
        assert_eq!(root("_timescaledb_internal", &[("s", "h", false)]), "s.h");
        let compressed = [("_timescaledb_internal", "c", false)];
        assert_eq!(
            root("_timescaledb_internal", &compressed),
            "_timescaledb_internal.t"
        );
    }

    #[test]
    fn a_chunk_is_no_table_of_the_tool_and_a_compressed_one_is() {
        let of_tool = |schema, ancestors: &[(&str, &str, bool)]| {
            Lineage::new(schema, "t", &above(ancestors)).is_of_tool()
        };
        assert!(of_tool("repack", &[]));
        assert!(of_tool("_timescaledb_catalog", &[]));
        assert!(of_tool(
            "_timescaledb_internal",
            &[("_timescaledb_internal", "c", false)]
        ));
        assert!(!of_tool("_timescaledb_internal", &[("s", "h", false)]));
        assert!(!of_tool("repacked", &[]));
    }
}
