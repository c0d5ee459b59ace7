//! What is remarkable about a relation, for the log: once for each relation.

/// A remark about a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// It is gone from the catalog, and filters are set: the tables that it belonged to are not known.
    UnknownTables,
    /// It may have been a partition of a table whose filters apply to its columns.
    MaybeDetached,
    /// It is gone from the catalog: the columns of its key come in the order of the table.
    UnknownKeyOrder,
    /// Types of its columns are gone from the catalog: their values are written as text.
    LostTypes,
    /// Its replica identity is an index without the primary key: what is deleted has no `primary_key`.
    KeyNotSent {
        /// REPLICA IDENTITY DEFAULT would send it.
        by_default: bool,
    },
}
