//! Replica identities that work, and bring less than their tables hold.

use super::super::finding::{Findings, Level};
use crate::change::{Ancestor, Lineage, Tracked};
use crate::config::Config;
use crate::error::Result;
use crate::source::own_tables;
use crate::wire::{Connection, ResultSet, identifier, literal};

/// Finds tables whose identity lacks the primary key, and partitions that send their key in the name of a
/// table with REPLICA IDENTITY FULL.
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
    let parts = session.rows(&format!(
        "WITH RECURSIVE down(root, oid) AS (SELECT c.oid, c.oid FROM pg_class c \
         WHERE c.relkind = 'p' AND c.relreplident = 'f' AND EXISTS (SELECT FROM pg_publication_tables t \
         JOIN pg_namespace n ON n.nspname = t.schemaname WHERE t.pubname IN ({}, {}) \
         AND n.oid = c.relnamespace AND t.tablename = c.relname) \
         UNION ALL SELECT root, inhrelid FROM pg_inherits, down WHERE inhparent = down.oid) \
         SELECT n.nspname, c.relname, r.nspname AS root_schema, p.relname AS root FROM down d \
         JOIN pg_class c ON c.oid = d.oid AND c.relkind = 'r' AND c.relreplident <> 'f' \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class p ON p.oid = d.root JOIN pg_namespace r ON r.oid = p.relnamespace \
         ORDER BY 3, 4, 1, 2",
        literal(&config.publication_name),
        literal(&format!("{}_updates", config.publication_name))
    ))?;
    let mut roots: Vec<(String, Vec<String>)> = Vec::new();
    for row in (0..parts.rows.len()).filter(|row| is_tracked(&parts, *row)) {
        let part = |column: &str| identifier(parts.value(row, column).unwrap_or_default());
        let root = format!("{}.{}", part("root_schema"), part("root"));
        let leaf = name(&parts, row);
        match roots.last_mut() {
            Some((last, leaves)) if *last == root => leaves.push(leaf),
            _ => roots.push((root, vec![leaf])),
        }
    }
    for (root, leaves) in roots {
        let alter = |leaf: &String| format!("ALTER TABLE {leaf} REPLICA IDENTITY FULL");
        let fix: Vec<String> = leaves.iter().map(alter).collect();
        let found = format!(
            "{root} is published by its own name with REPLICA IDENTITY FULL, and `before` holds the key \
             alone where a partition has another one"
        );
        findings.group(Level::Warn, "tables", found, leaves, fix.join("; "));
    }
    Ok(())
}
