//! The tracked tables: which of them will have a `primary_key`, and which a `before`.

use super::super::finding::{Findings, Level};
use crate::change::{Lineage, Tracked};
use crate::config::Config;
use crate::error::Result;
use crate::wire::{Connection, identifier};

/// Sorts them by what their changes will hold. `untracked` are those whose UPDATE and DELETE PostgreSQL
/// would refuse if they were published, as [`identifier`] writes their names.
pub fn check(
    config: &Config,
    session: &mut Connection,
    untracked: &[String],
    findings: &mut Findings,
) -> Result<()> {
    let tracked = Tracked::new(config);
    let rows = session.rows(
        "SELECT n.nspname, c.relname, c.relreplident, \
         EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_primary_key \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 \
         AND n.nspname <> 'information_schema' ORDER BY 1, 2",
    )?;
    let (mut without_key, mut whole, mut key_only) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = 0;
    for row in 0..rows.rows.len() {
        let text = |column: &str| rows.value(row, column).unwrap_or_default();
        let (schema, table) = (text("nspname"), text("relname"));
        let ours = schema == "public" && matches!(table, "changes" | "zemi_progress");
        if ours || !tracked.tracks(&Lineage::new(schema, table, &[])) {
            continue;
        }
        all += 1;
        let name = format!("{}.{}", identifier(schema), identifier(table));
        if text("has_primary_key") != "t" {
            without_key.push(name.clone());
        }
        match text("relreplident") {
            "f" => whole.push(name),
            _ if untracked.contains(&name) => {}
            _ => key_only.push(name),
        }
    }
    if all == 0 {
        findings.warn(
            "tables",
            "no table of this database is tracked",
            "make one, or look at TABLES and EXCLUDE_TABLES",
        );
        return Ok(());
    }
    findings.ok("tables", format!("{all} tracked"));
    for table in untracked {
        findings.warn(
            "tables",
            format!(
                "no usable replica identity, so that UPDATE and DELETE are not tracked: {table}"
            ),
            format!("ALTER TABLE {table} REPLICA IDENTITY FULL"),
        );
    }
    if !without_key.is_empty() {
        let found = format!("{} without a primary key", without_key.len());
        let fix = "ALTER TABLE … ADD PRIMARY KEY (…)";
        findings.group(Level::Warn, "tables", found, without_key, fix);
    }
    if !key_only.is_empty() {
        let found = format!(
            "{} without `before` but for the key (replica identity DEFAULT or an index)",
            key_only.len()
        );
        let fix = "ALTER TABLE … REPLICA IDENTITY FULL, where the whole old row is wanted";
        findings.group(Level::Ok, "tables", found, key_only, fix);
    }
    if !whole.is_empty() {
        findings.ok(
            "tables",
            format!(
                "{} with the whole old row in `before` (replica identity FULL)",
                whole.len()
            ),
        );
    }
    Ok(())
}
