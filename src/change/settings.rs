//! The part of the settings that decides what a row looks like.

use super::encoding::Encoding;
use super::lineage::Lineage;
use super::mask::Masker;
use super::shape::RowShape;
use crate::config::{ChangesFormat, ColumnPattern, Config, Pattern};

/// Which tables are tracked: `TABLES` and `EXCLUDE_TABLES`.
#[derive(Debug, Clone)]
pub struct Tracked {
    tables: Option<Vec<Pattern>>,
    exclude_tables: Vec<Pattern>,
}

impl Tracked {
    /// From the settings.
    pub fn new(config: &Config) -> Tracked {
        Tracked {
            tables: config.tables.clone(),
            exclude_tables: config.exclude_tables.clone(),
        }
    }

    /// Whether changes of this table are written. A name in a filter covers a table and all below it.
    /// Tables of tools are left out, unless an entry of `TABLES` names their schema.
    pub fn tracks(&self, table: &Lineage) -> bool {
        let matches = |p: &Pattern| {
            table
                .names()
                .any(|(schema, table)| p.matches(schema, table))
        };
        let is_meant = |p: &&Pattern| !table.is_of_tool() || p.names_schema();
        let is_listed = match &self.tables {
            Some(tables) => tables.iter().filter(is_meant).any(matches),
            None => !table.is_of_tool(),
        };
        is_listed && !self.exclude_tables.iter().any(matches)
    }
}

/// What happens to the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnPolicy {
    /// Written as JSON.
    Keep,
    /// `EXCLUDE_COLUMNS`: neither in `before` nor in `after` nor in `primary_key`.
    LeaveOut,
    /// `HASH_COLUMNS`: a keyed hash of the text stands in its place.
    Hash,
}

/// What the row encoder has to know of the settings.
#[derive(Clone)]
pub struct Settings {
    pub(super) database: String,
    pub(super) format: ChangesFormat,
    pub(super) coerce: bool,
    tracked: Tracked,
    /// Rows name the topmost partitioned table, and not the partition.
    pub(super) via_root: bool,
    exclude_columns: Vec<ColumnPattern>,
    hash_columns: Vec<ColumnPattern>,
    pub(super) masker: Option<Masker>,
    /// Ten bits that tell apart the sources that write into one table, see [`super::uuid`].
    pub(super) id_source: u16,
    /// How many characters an existing `primary_key` column takes.
    pub(super) primary_key_limit: Option<usize>,
    /// Which columns a row has.
    pub(super) shape: RowShape,
    /// What the texts of the stream are encoded in.
    pub(super) encoding: Encoding,
}

impl Settings {
    /// Takes what it needs from the settings. `system_identifier` is the source's.
    pub fn new(config: &Config, system_identifier: &str) -> Settings {
        Settings {
            database: config.source.database.clone(),
            format: config.changes_format,
            coerce: config.json_type_coercion,
            tracked: Tracked::new(config),
            via_root: config.publish_via_partition_root,
            exclude_columns: config.exclude_columns.clone(),
            hash_columns: config.hash_columns.clone(),
            masker: config
                .hash_key
                .as_ref()
                .map(|key| Masker::new(key.expose())),
            id_source: id_source(system_identifier, &config.source.database),
            primary_key_limit: None,
            shape: RowShape::default(),
            encoding: Encoding::Utf8,
        }
    }

    /// Which tables are tracked.
    pub fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// Whether it matters to a filter what is above a table.
    pub(super) fn has_filters(&self) -> bool {
        let columns = self.exclude_columns.len() + self.hash_columns.len();
        columns > 0 || self.tracked.tables.is_some() || !self.tracked.exclude_tables.is_empty()
    }

    /// A name in a filter covers a table and all below it. Where `unknown`, the table may have been below any
    /// other one, so that the column's name alone counts: a value that should be masked is never written.
    pub(super) fn policy(&self, table: &Lineage, unknown: bool, column: &str) -> ColumnPolicy {
        let matches = |p: &ColumnPattern| {
            let mut names = table.names();
            unknown && p.matches_column(column)
                || names.any(|(schema, table)| p.matches(schema, table, column))
        };
        let any = |patterns: &[ColumnPattern]| patterns.iter().any(matches);
        if any(&self.exclude_columns) {
            ColumnPolicy::LeaveOut
        } else if any(&self.hash_columns) {
            ColumnPolicy::Hash
        } else {
            ColumnPolicy::Keep
        }
    }
}

/// FNV-1a over system identifier and database, folded to ten bits.
fn id_source(system_identifier: &str, database: &str) -> u16 {
    let mut hash: u32 = 0x811C_9DC5;
    for byte in system_identifier.bytes().chain([0]).chain(database.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    u16::try_from((hash ^ hash >> 10 ^ hash >> 20) & 0x03FF).unwrap_or(0)
}
