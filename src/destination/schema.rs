//! The tables of changes and of progress: found as they are, or made.

use super::ddl;
use super::existing;
use super::package_trigger::{self, Hindered};
use super::statements;
use super::tables::{TableNames, Tables, locate};
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::source::own_tables::COLUMN_MARK;
use crate::sqlstate;
use crate::wire::{Connection, identifier, literal};

/// Finds and checks the tables; `None` where one is missing. Changes nothing.
pub(crate) fn look(session: &mut Connection, config: &Config) -> Result<Option<Tables>> {
    let names = locate(session)?;
    check_schema(session, &names, config)?;
    let [Some(changes), Some(progress)] = find(session, &names)? else {
        return Ok(None);
    };
    check(session, names, changes, progress, config).map(Some)
}

fn check(
    session: &mut Connection,
    names: TableNames,
    changes: Oid,
    progress: Oid,
    config: &Config,
) -> Result<Tables> {
    let existing = existing::check(session, &names, changes, config)?;
    check_rights(session, &names, [changes, progress], config)?;
    check_row_security(session, &names, [changes, progress], config)?;
    Ok(Tables {
        names,
        changes,
        progress,
        primary_key_limit: existing.requirements.primary_key_limit,
        shape: existing.requirements.shape,
        position_indexed: existing.position_indexed,
        lockable: existing.lockable,
    })
}

/// Makes what is missing and checks what is there. An existing table is never altered.
pub(crate) fn prepare(session: &mut Connection, config: &Config) -> Result<Tables> {
    for attempt in 0.. {
        if let Some(tables) = look(session, config)? {
            return Ok(tables);
        }
        let names = locate(session)?;
        let missing = find(session, &names)?.map(|found| found.is_none());
        match make(session, config, &names, missing, "COMMIT") {
            Ok(()) => log::info!(
                "made the tables that were missing in schema {}",
                names.schema()
            ),
            Err(e) => {
                // Another instance may have made them at the same moment.
                let raced = e.is_sqlstate(sqlstate::DUPLICATE_TABLE)
                    || e.is_sqlstate(sqlstate::UNIQUE_VIOLATION);
                if !raced || attempt > 2 {
                    return Err(e);
                }
            }
        }
    }
    Err(Error::new(Kind::Bug, "the tables were never found"))
}

/// Marks a table of the progress that an earlier version made, where the role owns it: no zemi follows it
/// then, wherever it is. Another process may hold the table, and an event trigger may refuse: that is tried
/// again at the next start.
pub(crate) fn mark_progress(session: &mut Connection, tables: &Tables) -> Result<()> {
    let progress = tables.progress;
    let found = session.rows(&format!(
        "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') AND c.relkind IN ('r', 'p') \
         AND pg_catalog.col_description(c.oid, a.attnum) IS DISTINCT FROM '{}' AS unmarked \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
         AND a.attname = '{}' WHERE c.oid = {progress}",
        COLUMN_MARK,
        ddl::MARKED
    ))?;
    if found.value(0, "unmarked") != Some("t") {
        return Ok(());
    }
    let marked = session.query(&statements::transaction(&[
        "SET LOCAL lock_timeout = '1s'".to_owned(),
        "SET LOCAL search_path TO DEFAULT".to_owned(),
        ddl::mark_progress(&tables.names),
    ]));
    let Err(error) = marked else {
        return Ok(());
    };
    if session.in_transaction() {
        session.query("ROLLBACK")?;
    }
    match error.kind() {
        Kind::Server => {
            log::debug!("{} was not marked: {error}", tables.names.progress());
            Ok(())
        }
        _ => Err(error),
    }
}

/// What [`dry_run`] found.
pub(crate) struct DryRun {
    /// Where the tables are, or would be.
    pub(crate) names: TableNames,
    /// The table of changes exists already.
    pub(crate) changes_there: bool,
    /// Roles that an event trigger and these tables hinder from making tables.
    pub(crate) hindered: Option<Hindered>,
}

/// Makes the tables as the start does, and undoes what it did.
pub(crate) fn dry_run(session: &mut Connection, config: &Config) -> Result<DryRun> {
    let names = locate(session)?;
    check_schema(session, &names, config)?;
    let found = find(session, &names)?;
    let mut hindered = None;
    if let [Some(changes), Some(progress)] = found {
        let tables = check(session, names.clone(), changes, progress, config)?;
        hindered = package_trigger::look(session, &tables)?;
    } else {
        if let [Some(changes), None] = found {
            existing::check(session, &names, changes, config)?;
        }
        let missing = found.map(|found| found.is_none());
        make(session, config, &names, missing, "ROLLBACK")?;
    }
    Ok(DryRun {
        names,
        changes_there: found[0].is_some(),
        hindered,
    })
}

/// Makes the tables that are missing, in a transaction that ends with this statement. Under the role's own
/// `search_path`: functions of event triggers may name tables without a schema.
fn make(
    session: &mut Connection,
    config: &Config,
    names: &TableNames,
    [changes, progress]: [bool; 2],
    end: &str,
) -> Result<()> {
    let mut all = vec![
        statements::BEGIN.to_owned(),
        "SET LOCAL search_path TO DEFAULT".to_owned(),
    ];
    if changes {
        all.extend(ddl::create_changes(names, config.changes_format));
    }
    if progress {
        all.extend(ddl::create_progress(names));
    }
    all.push(end.to_owned());
    let Err(error) = session.query(&statements::join(&all)) else {
        return Ok(());
    };
    session.query("ROLLBACK")?;
    let error = match why_refused(session, names, config)? {
        Some(hint) => error.replace_hint(hint),
        None => error,
    };
    Err(error).at(|| "making the tables changes and zemi_progress".into())
}

/// The hint for tables that could not be made: the right that is missing, else how to switch off event
/// triggers.
fn why_refused(
    session: &mut Connection,
    names: &TableNames,
    config: &Config,
) -> Result<Option<String>> {
    let schema = names.quoted_schema();
    let found = session.query(&format!(
        "SELECT pg_catalog.has_schema_privilege({}, 'CREATE') AS may_create; \
         SELECT pg_catalog.quote_ident(evtname) AS name FROM pg_catalog.pg_event_trigger \
         WHERE evtenabled <> 'D' AND evtevent IN ('ddl_command_start', 'ddl_command_end') \
         AND (evttags IS NULL OR evttags && \
         '{{CREATE TABLE AS,ALTER TABLE,CREATE INDEX,COMMENT}}') ORDER BY evtname",
        literal(names.schema())
    ))?;
    let may_create = found.first().and_then(|set| set.value(0, "may_create")) == Some("t");
    let triggers = found.get(1).map(|set| set.values("name"));
    let triggers = triggers.unwrap_or_default();
    if !may_create {
        return Ok(Some(format!(
            "GRANT CREATE ON SCHEMA {schema} TO {}; or let an administrator make the tables",
            identifier(&config.destination.user)
        )));
    }
    if triggers.is_empty() {
        return Ok(None);
    }
    let switch = |how: &str| {
        let each = triggers
            .iter()
            .map(|name| format!("ALTER EVENT TRIGGER {name} {how}"));
        each.collect::<Vec<_>>().join("; ")
    };
    Ok(Some(format!(
        "event triggers run for these statements; where one of them refused, a superuser can switch it off \
         until zemi has started: {}; then: {}",
        switch("DISABLE"),
        switch("ENABLE")
    )))
}

/// The OIDs of `changes` and `zemi_progress`.
fn find(session: &mut Connection, names: &TableNames) -> Result<[Option<Oid>; 2]> {
    let schema = literal(names.schema());
    let oid = |name: &str| {
        format!(
            "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE n.nspname = {schema} AND c.relname = '{name}' \
             AND c.relkind IN ('r', 'p', 'v', 'f', 'm'))"
        )
    };
    let row = session.rows(&format!(
        "SELECT {} AS changes, {} AS progress",
        oid("changes"),
        oid("zemi_progress")
    ))?;
    let found = |column| Some(Oid(row.value(0, column)?.parse().ok()?));
    Ok([found("changes"), found("progress")])
}

/// Checks the right USAGE, without which no name in the schema can be looked up.
fn check_schema(session: &mut Connection, names: &TableNames, config: &Config) -> Result<()> {
    let found = session.rows(&format!(
        "SELECT pg_catalog.has_schema_privilege({}, 'USAGE') AS may_use",
        literal(names.schema())
    ))?;
    if found.value(0, "may_use") == Some("t") {
        return Ok(());
    }
    let on = format!("SCHEMA {}", names.quoted_schema());
    Err(missing_right("USAGE", &on, config))
}

/// Rights that only a rare statement needs are checked at the start, too: a late context updates rows, and
/// taking over a table reads them.
fn check_rights(
    session: &mut Connection,
    names: &TableNames,
    [changes, progress]: [Oid; 2],
    config: &Config,
) -> Result<()> {
    let forget = if config.cleanup_on_shutdown {
        ", DELETE"
    } else {
        ""
    };
    let tables = [
        (names.changes(), changes, ""),
        (names.progress(), progress, forget),
    ];
    let asked = tables.map(|(_, oid, more)| {
        format!(
            "SELECT string_agg(r, ', ') AS missing FROM unnest('{{SELECT, INSERT, UPDATE{more}}}'::text[]) r \
             WHERE NOT has_table_privilege({oid}, r)"
        )
    });
    let missing = session.query(&statements::join(&asked))?;
    for ((table, ..), missing) in tables.iter().zip(&missing) {
        if let Some(rights) = missing.value(0, "missing") {
            return Err(missing_right(rights, table, config));
        }
    }
    Ok(())
}

fn missing_right(right: &str, on: &str, config: &Config) -> Error {
    let user = &config.destination.user;
    Error::new(
        Kind::Refused,
        format!("expected {user:?} to have {right} on {on}, found that it has not"),
    )
    .hint(format!("GRANT {right} ON {on} TO {}", identifier(user)))
}

fn check_row_security(
    session: &mut Connection,
    names: &TableNames,
    [changes, progress]: [Oid; 2],
    config: &Config,
) -> Result<()> {
    let row = session.rows(&format!(
        "SELECT row_security_active({changes}::oid) AS changes, \
         row_security_active({progress}::oid) AS progress"
    ))?;
    for (column, table) in [("changes", names.changes()), ("progress", names.progress())] {
        if row.value(0, column) == Some("t") {
            return Err(Error::new(
                Kind::Setting,
                format!(
                    "row-level security of {table} applies to {}",
                    config.destination.user
                ),
            )
            .hint(format!(
                "ALTER ROLE {} BYPASSRLS; or ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
                identifier(&config.destination.user)
            )));
        }
    }
    Ok(())
}
