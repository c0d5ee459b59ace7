//! The event trigger of Bemi's packages, in the database that holds `changes`.
//!
//! At each CREATE TABLE its procedure puts a row trigger on every table, Zemi's two among them, and it runs
//! with the rights of the role that makes the table. Where that role lacks the right TRIGGER, which CREATE
//! TRIGGER needs, the statement fails with bemi-django and @bemi-db/prisma; with bemi-sqlalchemy, which
//! catches the error, its new table gets no row trigger, and its changes no context.

use super::tables::Tables;
use crate::error::Result;
use crate::wire::{Connection, identifier};

/// The name of the event trigger in all packages.
const NAME: &str = "_bemi_create_table_trigger";

/// Roles that own tables in this database and are hindered from making another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hindered {
    roles: Vec<String>,
    tables: String,
}

impl Hindered {
    /// What was found.
    pub(crate) fn found(&self) -> String {
        format!(
            "event trigger {NAME} puts a trigger on {} too, which {} may not: CREATE TABLE of that role \
             fails, or leaves the new table without context",
            self.tables,
            self.roles.join(", ")
        )
    }

    /// What to do about it.
    pub(crate) fn fix(&self) -> String {
        let roles: Vec<String> = self.roles.iter().map(|role| identifier(role)).collect();
        format!(
            "GRANT TRIGGER ON {} TO {} (the triggers run with the rights of zemi's role); or another \
             database as the destination (DEST_DB_NAME)",
            self.tables,
            roles.join(", ")
        )
    }
}

/// Finds these roles; `None` without such an event trigger, or where it hinders no role.
pub(crate) fn look(session: &mut Connection, tables: &Tables) -> Result<Option<Hindered>> {
    let (changes, progress) = (tables.changes, tables.progress);
    let found = session.rows(&format!(
        "SELECT DISTINCT o.rolname FROM pg_catalog.pg_event_trigger e, pg_catalog.pg_class c \
         JOIN pg_catalog.pg_roles o ON o.oid = c.relowner \
         WHERE e.evtname = '{NAME}' AND e.evtenabled <> 'D' AND c.oid >= 16384 AND c.relkind IN ('r', 'p') \
         AND c.relpersistence <> 't' AND NOT (has_table_privilege(o.oid, {changes}::oid, 'TRIGGER') \
         AND has_table_privilege(o.oid, {progress}::oid, 'TRIGGER')) ORDER BY 1"
    ))?;
    let roles = found.values("rolname");
    Ok((!roles.is_empty()).then(|| Hindered {
        roles,
        tables: format!("{}, {}", tables.names.changes(), tables.names.progress()),
    }))
}
