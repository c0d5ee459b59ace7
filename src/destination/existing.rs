//! An existing table of changes: whether it takes zemi's rows, and what it requires of them.

use super::tables::TableNames;
use crate::change::RowShape;
use crate::config::{ChangesFormat, Config};
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;
use crate::wire::{Connection, ResultSet, identifier};

/// The columns that a row fills, and the types that take its binary fields.
const COLUMNS: [(&str, &[&str]); 13] = [
    ("id", &["uuid"]),
    ("primary_key", &["text", "varchar"]),
    ("before", &["jsonb"]),
    ("after", &["jsonb"]),
    ("database", &["text", "varchar"]),
    ("schema", &["text", "varchar"]),
    ("table", &["text", "varchar"]),
    ("operation", &["text", "varchar"]),
    ("committed_at", &["timestamptz"]),
    ("queued_at", &["timestamptz"]),
    ("transaction_id", &["int8"]),
    ("position", &["int8"]),
    ("context", &["jsonb"]),
];

/// The hint for a table of changes that lacks a column.
const OTHER_SHAPE: &str = "where Bemi made it, run its migrations to their end; else rename the table \
                           and let zemi make its own";

/// What the table requires of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Requirements {
    /// How many characters `primary_key` takes.
    pub(super) primary_key_limit: Option<usize>,
    /// Which columns a row needs.
    pub(super) shape: RowShape,
}

/// What there is of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Existing {
    /// What it requires of a row.
    pub(super) requirements: Requirements,
    /// An index begins with `position`.
    pub(super) position_indexed: bool,
    /// An ordinary or a partitioned table, and not a view or a foreign one.
    pub(super) lockable: bool,
}

/// A column of the table.
#[derive(Debug, Clone, Copy)]
struct Column<'a> {
    name: &'a str,
    type_name: &'a str,
    /// `atttypmod`: of `varchar(n)` it is n + 4, without a length -1.
    type_modifier: i32,
    not_null: bool,
    has_default: bool,
}

impl Column<'_> {
    fn all(rows: &ResultSet) -> Vec<Column<'_>> {
        (0..rows.rows.len())
            .filter_map(|row| Column::read(rows, row))
            .collect()
    }

    fn read(rows: &ResultSet, row: usize) -> Option<Column<'_>> {
        let value = |column| rows.value(row, column);
        Some(Column {
            name: value("attname")?,
            type_name: value("typname")?,
            type_modifier: value("atttypmod")?.parse().ok()?,
            not_null: value("attnotnull")? == "t",
            has_default: value("has_default")? == "t",
        })
    }
}

/// Checks that the table takes zemi's rows.
///
/// # Errors
/// [`Kind::Setting`] where it does not; the destination's connection.
pub(super) fn check(
    session: &mut Connection,
    names: &TableNames,
    changes: Oid,
    config: &Config,
) -> Result<Existing> {
    let sets = session.query(&format!(
        "SELECT a.attname, t.typname, a.atttypmod, a.attnotnull, \
         a.atthasdef OR a.attidentity <> '' AS has_default FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         WHERE a.attrelid = {changes} AND a.attnum > 0 AND NOT a.attisdropped; \
         SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = {changes} \
         AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'position') AS position_indexed, \
         (SELECT relkind IN ('r', 'p') FROM pg_catalog.pg_class WHERE oid = {changes}) AS lockable, \
         (SELECT min(pg_catalog.quote_ident(k.conname)) FROM pg_catalog.pg_constraint k \
         WHERE k.conrelid = {changes} AND k.contype = 'c' \
         AND pg_catalog.pg_get_constraintdef(k.oid) LIKE '%operation% = ANY (ARRAY[%''CREATE''%' \
         AND pg_catalog.pg_get_constraintdef(k.oid) NOT LIKE '%''INSERT''%') AS bemi_operations"
    ))?;
    let fact = |column| sets.get(1).and_then(|set| set.value(0, column));
    let columns = sets.first().map(Column::all).unwrap_or_default();
    let constraint = fact("bemi_operations");
    Ok(Existing {
        requirements: requirements(names, &columns, constraint, config.changes_format)?,
        position_indexed: fact("position_indexed") == Some("t"),
        lockable: fact("lockable") == Some("t"),
    })
}

/// Decides by the columns. `bemi_operations` is a constraint that lets Bemi's names of operations in, and not
/// those of `CHANGES_FORMAT=sql`.
fn requirements(
    names: &TableNames,
    columns: &[Column<'_>],
    bemi_operations: Option<&str>,
    format: ChangesFormat,
) -> Result<Requirements> {
    let table = names.changes();
    let unfit = |problem: String| Error::new(Kind::Setting, format!("table {table}: {problem}"));
    let mut found = Requirements {
        primary_key_limit: None,
        shape: RowShape::Plain,
    };
    for (name, types) in COLUMNS {
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            return Err(unfit(format!("expected a column {name}, found none")).hint(OTHER_SHAPE));
        };
        if !types.contains(&column.type_name) {
            return Err(unfit(format!(
                "expected column {name} to be {}, found {}",
                types.join(" or "),
                column.type_name
            ))
            .hint(OTHER_SHAPE));
        }
        if name == "primary_key" {
            let length = column.type_modifier.checked_sub(4);
            found.primary_key_limit = length.and_then(|length| usize::try_from(length).ok());
        }
        let side = name == "before" || name == "after";
        if side && format == ChangesFormat::Sql && column.not_null {
            return Err(unfit(format!(
                "CHANGES_FORMAT=sql writes NULL, and column {name} is NOT NULL"
            ))
            .hint(format!(
                "ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL"
            )));
        }
    }
    if let Some(constraint) = bemi_operations.filter(|_| format == ChangesFormat::Sql) {
        return Err(unfit(format!(
            "CHANGES_FORMAT=sql writes the operation INSERT, which constraint {constraint} refuses"
        ))
        .hint(format!("ALTER TABLE {table} DROP CONSTRAINT {constraint}")));
    }
    for column in columns {
        let known = COLUMNS.iter().any(|(name, _)| *name == column.name);
        if known || !column.not_null || column.has_default {
            continue;
        }
        // Bemi's worker fills it, and its migrations give it no default.
        if column.name == "created_at" && column.type_name == "timestamptz" {
            found.shape = RowShape::WithCreatedAt;
            continue;
        }
        return Err(unfit(format!(
            "column {} is NOT NULL without a default, and zemi does not fill it",
            column.name
        ))
        .hint(format!(
            "ALTER TABLE {table} ALTER COLUMN {0} DROP NOT NULL; or give it a default: ALTER COLUMN {0} SET \
             DEFAULT …",
            identifier(column.name)
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bemi() -> Vec<Column<'static>> {
        let column = |(name, types): (&'static str, &[&'static str])| Column {
            name,
            type_name: types[types.len() - 1],
            type_modifier: if types.len() > 1 { 259 } else { -1 },
            not_null: name != "primary_key",
            has_default: false,
        };
        let mut columns: Vec<Column<'_>> = COLUMNS.into_iter().map(column).collect();
        columns.push(Column {
            name: "created_at",
            type_name: "timestamptz",
            type_modifier: -1,
            not_null: true,
            has_default: false,
        });
        columns
    }

    fn decide(columns: &[Column<'_>], format: ChangesFormat) -> Result<Requirements> {
        let names = TableNames::in_schema("public");
        requirements(&names, columns, Some("changes_operation_check"), format)
    }

    #[test]
    fn bemis_table_is_taken_and_gets_created_at_only_where_it_has_to() {
        let mut columns = bemi();
        let found = decide(&columns, ChangesFormat::Bemi).unwrap();
        assert_eq!(found.primary_key_limit, Some(255));
        assert_eq!(found.shape, RowShape::WithCreatedAt);
        columns[13].has_default = true;
        let found = decide(&columns, ChangesFormat::Bemi).unwrap();
        assert_eq!(found.shape, RowShape::Plain);
        columns[1].type_modifier = -1;
        let found = decide(&columns[..13], ChangesFormat::Bemi).unwrap();
        assert_eq!(
            (found.shape, found.primary_key_limit),
            (RowShape::Plain, None)
        );
    }

    #[test]
    fn what_a_table_lacks_is_named_with_the_sql_that_mends_it() {
        let refusal = |change: &dyn Fn(&mut Vec<Column<'static>>), format| {
            let mut columns = bemi();
            change(&mut columns);
            decide(&columns, format).unwrap_err().to_string()
        };
        let bemi = ChangesFormat::Bemi;
        let found = refusal(&|columns| columns.truncate(2), bemi);
        assert!(
            found.contains("expected a column before, found none"),
            "{found}"
        );
        assert!(found.contains("run its migrations to their end"), "{found}");
        let found = refusal(&|columns| columns[10].type_name = "int4", bemi);
        assert!(
            found.contains("transaction_id to be int8, found int4"),
            "{found}"
        );
        let found = refusal(&|columns| columns[13].name = "tenant", bemi);
        assert!(
            found.contains("ALTER COLUMN \"tenant\" DROP NOT NULL"),
            "{found}"
        );

        let sql = ChangesFormat::Sql;
        let found = refusal(&|_| (), sql);
        assert!(
            found.contains("ALTER COLUMN before DROP NOT NULL"),
            "{found}"
        );
        let nullable = |columns: &mut Vec<Column<'_>>| {
            columns[2].not_null = false;
            columns[3].not_null = false;
        };
        let found = refusal(&nullable, sql);
        let fix = "ALTER TABLE public.changes DROP CONSTRAINT changes_operation_check";
        assert!(found.ends_with(fix), "{found}");
    }
}
