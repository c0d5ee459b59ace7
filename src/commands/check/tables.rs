//! The tracked tables: which of them will have a `primary_key`, and which a `before`.

use std::collections::BTreeMap;

use super::super::finding::{Findings, Level};
use crate::change::Tracked;
use crate::config::Config;
use crate::error::Result;
use crate::source::publication;
use crate::wire::Connection;

/// Sorts them by what their changes will hold. `untracked` are those whose UPDATE and DELETE PostgreSQL
/// would refuse if they were published, as [`identifier`] writes their names.
pub fn check(
    config: &Config,
    session: &mut Connection,
    untracked: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Result<()> {
    let tracked = Tracked::new(config);
    let (mut without_key, mut whole, mut key_only) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = 0;
    for table in publication::tracked_tables(session, &tracked)? {
        all += 1;
        let name = table.name;
        if !table.has_key {
            without_key.push(name.clone());
        }
        match table.is_whole {
            true => whole.push(name),
            false if untracked.contains_key(&name) => {}
            false => key_only.push(name),
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
    for (table, fix) in untracked {
        findings.warn(
            "tables",
            format!(
                "no usable replica identity, so that UPDATE and DELETE are not tracked: {table}"
            ),
            fix.as_str(),
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
