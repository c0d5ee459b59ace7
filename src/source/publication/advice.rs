//! What is said about publications and tables, with the SQL that mends it.

use std::collections::BTreeSet;

use super::names::Names;
use super::{Published, Table};
use crate::config::Config;
use crate::wire::identifier;

/// What lets zemi publish the table of another role.
pub(super) fn mend(table: &Table, config: &Config, names: &Names) -> String {
    let name = identifier(&names[0]);
    if table.owner_is_superuser {
        // Nobody becomes a member of a superuser for this.
        return format!(
            "CREATE PUBLICATION {name} FOR ALL TABLES; as a superuser, after dropping what zemi made"
        );
    }
    format!(
        "GRANT {} TO {}; or let a superuser CREATE PUBLICATION {name} FOR ALL TABLES, after dropping \
         what zemi made",
        identifier(&table.owner),
        identifier(&config.source.user)
    )
}

/// Says once which tables are not tracked as one would expect, with the SQL that mends it, and which
/// publications are meant where that is in doubt.
pub fn warn(published: &Published, warned: &mut BTreeSet<String>) {
    if let Some(remark) = &published.remark
        && warned.insert(format!("p{remark}"))
    {
        log::info!("{remark}");
    }
    for table in &published.untracked {
        if warned.insert(format!("u{table}")) {
            log::warn!(
                table = table.as_str();
                "UPDATE and DELETE of {table} are not tracked: it has no usable replica identity. To \
                 track them: ALTER TABLE {table} REPLICA IDENTITY FULL"
            );
        }
    }
    for (table, mend) in &published.forbidden {
        if warned.insert(format!("f{table}")) {
            log::warn!(
                table = table.as_str();
                "{table} is not tracked: only its owner can publish it. To track it: {mend}"
            );
        }
    }
}
