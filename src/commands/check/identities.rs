//! Replica identities that work, and bring less than their tables hold.

use super::super::finding::{Findings, Level};
use crate::change::{Ancestor, Lineage, Tracked};
use crate::config::Config;
use crate::error::Result;
use crate::source::own_tables;
use crate::wire::{Connection, ResultSet, identifier};

/// Finds tables whose identity lacks the primary key.
pub fn check(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let tracked = Tracked::new(config);
    let is_tracked = |found: &ResultSet, row: usize| {
        let text = |column: &str| found.value(row, column).unwrap_or_default();
        let root = Ancestor {
            schema: text("root_schema").to_owned(),
            table: text("root").to_owned(),
            partitioned: true,
        };
        tracked.tracks(&Lineage::new(text("nspname"), text("relname"), &[root]))
    };
    let name = |found: &ResultSet, row: usize| {
        let part = |column: &str| identifier(found.value(row, column).unwrap_or_default());
        format!("{}.{}", part("nspname"), part("relname"))
    };
    // The columns of the primary key that the identity does not hold.
    let without_key = session.rows(&format!(
        "SELECT n.nspname, c.relname, p.indimmediate AND p.indisvalid AS key_is_usable, \
         r.nspname AS root_schema, t.relname AS root FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class t ON t.oid = coalesce((SELECT relid::oid FROM pg_partition_ancestors(c.oid) \
         WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1), c.oid) \
         JOIN pg_namespace r ON r.oid = t.relnamespace \
         JOIN pg_index p ON p.indrelid = c.oid AND p.indisprimary \
         JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident = 'i' AND NOT {} \
         AND EXISTS (SELECT FROM unnest(p.indkey) WITH ORDINALITY k(attnum, place) \
         WHERE place <= p.indnkeyatts AND attnum <> ALL (i.indkey[0:i.indnkeyatts - 1])) ORDER BY 1, 2",
        own_tables::condition("c.oid")
    ))?;
    let (mut names, mut fixes) = (Vec::new(), Vec::new());
    for row in (0..without_key.rows.len()).filter(|row| is_tracked(&without_key, *row)) {
        let table = name(&without_key, row);
        // A deferrable key would make PostgreSQL refuse UPDATE and DELETE.
        let identity = match without_key.value(row, "key_is_usable") {
            Some("t") => "DEFAULT",
            _ => "FULL",
        };
        fixes.push(format!("ALTER TABLE {table} REPLICA IDENTITY {identity}"));
        names.push(table);
    }
    if !names.is_empty() {
        let found = "replica identity without the primary key, so that DELETE has no primary_key";
        findings.group(Level::Warn, "tables", found, names, fixes.join("; "));
    }
    Ok(())
}
