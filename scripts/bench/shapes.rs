//! The tables on the source, and the rows that are written into them.

use std::fmt::{Display, Write};

/// A table and how to fill it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The columns behind `id bigint PRIMARY KEY`; given the number of columns.
    columns: fn() -> String,
    /// The expressions for them, over `i`.
    values: fn() -> String,
    /// REPLICA IDENTITY FULL instead of DEFAULT.
    pub full: bool,
}

/// A row of an ordinary table, whose change takes about 280 bytes.
pub const PLAIN: Shape = Shape {
    columns: plain_columns,
    values: plain_values,
    full: false,
};

/// The same with all of the old row in the write-ahead log.
pub const FULL: Shape = Shape {
    full: true,
    ..PLAIN
};

/// Sixty columns of the types that applications have most of.
pub const WIDE: Shape = Shape {
    columns: wide_columns,
    values: wide_values,
    full: false,
};

impl Shape {
    /// Makes the table anew. TRUNCATE would be a change.
    pub fn create(&self, table: &str) -> String {
        let identity = if self.full { "FULL" } else { "DEFAULT" };
        format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id bigint PRIMARY KEY, {}); \
             ALTER TABLE {table} REPLICA IDENTITY {identity}",
            (self.columns)()
        )
    }

    /// Inserts rows with these numbers, or expressions for them.
    pub fn insert(&self, table: &str, from: impl Display, to: impl Display) -> String {
        format!(
            "INSERT INTO {table} SELECT i, {} FROM generate_series({from}::bigint, {to}::bigint) AS i",
            (self.values)()
        )
    }
}

fn plain_columns() -> String {
    "customer uuid NOT NULL, name text NOT NULL, amount numeric(12,2), active boolean, \
     created_at timestamptz, details jsonb, note text"
        .into()
}

fn plain_values() -> String {
    "md5(i::text)::uuid, 'Customer number ' || i, (i % 1000000) / 100.0, i % 3 = 0, \
     timestamptz '2024-01-01' + i * interval '1 second', \
     jsonb_build_object('sku', 'sku-' || i % 5000, 'quantity', i % 10, \
     'tags', jsonb_build_array('new', 'gift')), \
     'delivered to ' || repeat(md5((i * 7)::text), 3)"
        .into()
}

/// Columns of [`WIDE`] beside the key.
const WIDE_COLUMNS: usize = 59;

fn wide(kinds: [&str; 6]) -> String {
    let mut list = String::new();
    for column in 0..WIDE_COLUMNS {
        let kind = kinds[column % kinds.len()];
        let _ = write!(
            list,
            "{}{}",
            if column > 0 { ", " } else { "" },
            kind.replace('#', &column.to_string())
        );
    }
    list
}

fn wide_columns() -> String {
    wide([
        "count_# int",
        "title_# text",
        "amount_# numeric(12,2)",
        "seen_at_# timestamptz",
        "active_# boolean",
        "ratio_# double precision",
    ])
}

fn wide_values() -> String {
    wide([
        "(i + #)::int",
        "'title # of ' || i",
        "(i % 1000000) / 100.0",
        "timestamptz '2024-01-01' + i * interval '# second'",
        "i % 2 = 0",
        "(i + #) / 7.0::float8",
    ])
}
