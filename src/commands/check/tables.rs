//! The tracked tables: which of them will have a `primary_key`, and which a `before`.

use super::super::finding::Findings;
use super::some_of;
use crate::change::Tracked;
use crate::config::Config;
use crate::error::Result;
use crate::wire::{Connection, identifier};

/// Counts them and names what somebody may miss later.
pub fn check(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let tracked = Tracked::new(config);
    let rows = session.rows(
        "SELECT n.nspname, c.relname, c.relreplident, \
         EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 \
         AND n.nspname <> 'information_schema' ORDER BY 1, 2",
    )?;
    let (mut all, mut without_key, mut without_before) = (0, Vec::new(), Vec::new());
    for row in &rows.rows {
        let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or_default();
        let ours = text(0) == "public" && matches!(text(1), "changes" | "zemi_progress");
        if ours || !tracked.tracks(text(0), text(1)) {
            continue;
        }
        all += 1;
        let name = format!("{}.{}", identifier(text(0)), identifier(text(1)));
        if text(3) != "t" {
            without_key.push(name.clone());
        }
        if text(2) != "f" {
            without_before.push(name);
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
    findings.ok("tables", format!("{all} are tracked"));
    if !without_key.is_empty() {
        findings.warn(
            "tables",
            format!(
                "{} without a primary key: {}",
                without_key.len(),
                some_of(&without_key)
            ),
            "ALTER TABLE … ADD PRIMARY KEY (…)",
        );
    }
    if !without_before.is_empty() {
        findings.ok(
            "tables",
            format!(
                "{} whose changes have at most the key in `before`: {}; ALTER TABLE … REPLICA IDENTITY FULL \
                 gives the whole old row",
                without_before.len(),
                some_of(&without_before)
            ),
        );
    }
    Ok(())
}
