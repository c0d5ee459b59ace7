//! The SQL that makes the two tables.
//!
//! `CREATE TABLE … AS … WITH NO DATA` with an ALTER TABLE behind it, and not a plain CREATE TABLE: Bemi's
//! packages install an event trigger for the tag CREATE TABLE, whose procedure puts a trigger on every table
//! of the database. Where the role of this session does not own all of them, the procedure fails, and with it
//! the statement. CREATE TABLE AS has a tag of its own (PostgreSQL documentation, "Event Trigger Firing
//! Matrix").

use super::tables::TableNames;
use crate::config::ChangesFormat;
use crate::source::own_tables::COLUMN_MARK;
use crate::wire::identifier;

/// The constraint by which another tracker recognises a change that comes again.
const UNIQUE: &str = "changes_position_table_schema_database_operation_unique";

/// The columns with an index of their own, and its method: the indexes of Bemi's migrations.
pub(crate) const INDEXES: [(&str, Method); 7] = [
    ("committed_at", Method::BTree),
    ("table", Method::BTree),
    ("primary_key", Method::BTree),
    ("operation", Method::BTree),
    ("context", Method::Gin),
    ("before", Method::Gin),
    ("after", Method::Gin),
];

/// How an index of `changes` is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `btree`
    BTree,
    /// `gin` with `jsonb_path_ops`
    Gin,
}

/// The statement that makes the index of a column, with `CONCURRENTLY` or nothing behind `CREATE INDEX`.
pub(crate) fn create_index(
    names: &TableNames,
    column: &str,
    method: Method,
    concurrently: &str,
) -> String {
    let on = match method {
        Method::BTree => format!("({})", identifier(column)),
        Method::Gin => format!("USING gin ({} jsonb_path_ops)", identifier(column)),
    };
    format!(
        "CREATE INDEX {concurrently}changes_{column}_index ON {} {on}",
        names.changes()
    )
}

/// The statements that make the table of changes, with Bemi's columns, constraint and indexes.
pub(crate) fn create_changes(names: &TableNames, format: ChangesFormat) -> Vec<String> {
    let table = names.changes();
    let mut statements = vec![format!(
        "CREATE TABLE {table} AS SELECT NULL::uuid AS id, NULL::text AS primary_key, \
         NULL::jsonb AS before, NULL::jsonb AS after, NULL::jsonb AS context, \
         NULL::varchar(255) AS database, NULL::varchar(255) AS schema, NULL::varchar(255) AS \"table\", \
         NULL::text AS operation, NULL::timestamptz AS committed_at, NULL::timestamptz AS queued_at, \
         NULL::bigint AS transaction_id, NULL::bigint AS position, NULL::timestamptz AS created_at \
         WITH NO DATA"
    )];
    let mut alter = vec![
        "ALTER id SET DEFAULT pg_catalog.gen_random_uuid()".to_owned(),
        "ALTER created_at SET DEFAULT pg_catalog.now()".to_owned(),
        "ALTER context SET DEFAULT '{}'".to_owned(),
    ];
    let mut required = vec![
        "context",
        "database",
        "schema",
        "table",
        "operation",
        "committed_at",
        "queued_at",
        "transaction_id",
        "position",
        "created_at",
    ];
    if format == ChangesFormat::Bemi {
        for side in ["before", "after"] {
            alter.push(format!("ALTER {side} SET DEFAULT '{{}}'"));
            required.push(side);
        }
    }
    alter.extend(
        required
            .iter()
            .map(|column| format!("ALTER {} SET NOT NULL", identifier(column))),
    );
    alter.push("ADD CONSTRAINT changes_pkey PRIMARY KEY (id)".into());
    alter.push(format!(
        "ADD CONSTRAINT {UNIQUE} UNIQUE (position, \"table\", schema, database, operation)"
    ));
    statements.push(format!("ALTER TABLE {table} {}", alter.join(", ")));
    statements.extend(
        INDEXES
            .iter()
            .map(|(column, method)| create_index(names, column, *method, "")),
    );
    statements.push(mark(table, "position"));
    statements
}

/// The column of the table of the progress that bears the mark.
pub(crate) const MARKED: &str = "flushed_lsn";

/// The statement by which every zemi knows the table for one that a zemi writes.
fn mark(table: &str, column: &str) -> String {
    format!("COMMENT ON COLUMN {table}.{column} IS '{COLUMN_MARK}'")
}

/// The statement that marks the table of the progress.
pub(crate) fn mark_progress(names: &TableNames) -> String {
    mark(names.progress(), MARKED)
}

/// The statements that make the table of the progress.
pub(crate) fn create_progress(names: &TableNames) -> Vec<String> {
    let table = names.progress();
    let required = [
        "slot_name",
        "system_identifier",
        "database",
        "flushed_lsn",
        "timeline",
        "updated_at",
    ]
    .map(|column| format!("ALTER {column} SET NOT NULL"));
    vec![
        format!(
            "CREATE TABLE {table} AS SELECT NULL::text AS slot_name, NULL::text AS system_identifier, \
             NULL::text AS database, NULL::pg_lsn AS flushed_lsn, NULL::int AS timeline, \
             NULL::text AS destination_system, NULL::int AS destination_timeline, \
             NULL::timestamptz AS updated_at WITH NO DATA"
        ),
        format!(
            "ALTER TABLE {table} ALTER updated_at SET DEFAULT pg_catalog.now(), {}, \
             ADD CONSTRAINT zemi_progress_pkey PRIMARY KEY (slot_name, system_identifier, database)",
            required.join(", ")
        ),
        mark_progress(names),
    ]
}
