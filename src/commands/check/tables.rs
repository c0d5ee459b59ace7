//! The tracked tables: which of them will have a `primary_key`, and which a `before`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::finding::{Findings, Level};
use crate::change::Tracked;
use crate::config::Config;
use crate::error::Result;
use crate::source::publication;
use crate::wire::{Connection, identifier};

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
    let mut names = Vec::new();
    for table in publication::tracked_tables(session, &tracked)? {
        let name = table.name;
        names.push(name.clone());
        if !table.has_key {
            without_key.push(name.clone());
        }
        match table.is_whole {
            true => whole.push(name),
            false if untracked.contains_key(&name) => {}
            false => key_only.push(name),
        }
    }
    let all = names.len();
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
    let by_index = by_other_index(session)?;
    let by_index: Vec<String> = names.into_iter().filter(|n| by_index.contains(n)).collect();
    if !by_index.is_empty() {
        let found = format!(
            "{} whose replica identity is an index other than the primary key: the primary key of a row \
             that was deleted is not sent",
            by_index.len()
        );
        let fix = "ALTER TABLE … REPLICA IDENTITY DEFAULT, or FULL";
        findings.group(Level::Warn, "tables", found, by_index, fix);
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

/// The tables with REPLICA IDENTITY USING INDEX that have a primary key, and the index is not that one.
fn by_other_index(session: &mut Connection) -> Result<BTreeSet<String>> {
    let rows = session.rows(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary \
         JOIN pg_index x ON x.indrelid = c.oid AND x.indisreplident AND NOT x.indisprimary \
         WHERE c.relreplident = 'i'",
    )?;
    let name = |row: usize| {
        let text = |column: &str| rows.value(row, column).unwrap_or_default();
        format!(
            "{}.{}",
            identifier(text("nspname")),
            identifier(text("relname"))
        )
    };
    Ok((0..rows.rows.len()).map(name).collect())
}
