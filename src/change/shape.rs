//! Which columns a row of `changes` has.

/// Which columns a row has; the context comes last, where it can be replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowShape {
    /// Those that every table of changes has. `created_at` is left to its default.
    #[default]
    Plain,
    /// Also `created_at`, which is NOT NULL without a default in the table that Bemi's migrations make.
    WithCreatedAt,
}

impl RowShape {
    /// The columns in the order of the fields, quoted for SQL.
    pub fn columns(self) -> &'static str {
        match self {
            RowShape::Plain => {
                "id, primary_key, before, after, database, schema, \"table\", operation, \
                 committed_at, queued_at, transaction_id, position, context"
            }
            RowShape::WithCreatedAt => {
                "id, primary_key, before, after, database, schema, \"table\", operation, \
                 committed_at, queued_at, transaction_id, position, created_at, context"
            }
        }
    }

    /// How many fields the tuple of binary COPY has.
    pub(super) fn fields(self) -> i16 {
        match self {
            RowShape::Plain => 13,
            RowShape::WithCreatedAt => 14,
        }
    }
}
