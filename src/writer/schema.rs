//! The tables of changes and of progress: found as they are, or made.

use crate::config::{ChangesFormat, Config};
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::wire::{Connection, identifier};

/// What a row needs, and the types that binary COPY can fill with it.
const COLUMNS: [(&str, &[&str]); 13] = [
    ("id", &["uuid"]),
    ("primary_key", &["text", "varchar"]),
    ("before", &["jsonb"]),
    ("after", &["jsonb"]),
    ("database", &["text", "varchar"]),
    ("schema", &["text", "varchar"]),
    ("table", &["text", "varchar"]),
    ("operation", &["text", "varchar"]),
    ("committed_at", &["timestamptz"]),
    ("queued_at", &["timestamptz"]),
    ("transaction_id", &["int8"]),
    ("position", &["int8"]),
    ("context", &["jsonb"]),
];

/// The tables as they were found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// The OID of `public.changes`.
    pub changes: Oid,
    /// The OID of `public.zemi_progress`.
    pub progress: Oid,
    /// How many characters `primary_key` takes.
    pub primary_key_limit: Option<usize>,
}

/// Checks the tables; `None` where one is missing. Changes nothing.
pub fn look(session: &mut Connection, config: &Config) -> Result<Option<Tables>> {
    check_schema(session, config)?;
    let [Some(changes), Some(progress)] = find(session)? else {
        return Ok(None);
    };
    let primary_key_limit = check_columns(session, changes, config)?;
    check_rights(session, changes, progress, config)?;
    check_row_security(session, config)?;
    Ok(Some(Tables {
        changes,
        progress,
        primary_key_limit,
    }))
}

/// Makes what is missing and checks what is there. An existing table is never altered.
pub fn prepare(session: &mut Connection, config: &Config) -> Result<Tables> {
    for attempt in 0.. {
        if let Some(tables) = look(session, config)? {
            return Ok(tables);
        }
        let [changes, progress] = find(session)?;
        match make(
            session,
            config,
            changes.is_none(),
            progress.is_none(),
            "COMMIT",
        ) {
            Ok(()) => log::info!("made the tables that were missing in schema public"),
            Err(e) => {
                // Another instance may have made them at the same moment.
                let raced = e.is_sqlstate("42P07") || e.is_sqlstate("23505");
                if !raced || attempt > 2 {
                    return Err(e);
                }
            }
        }
    }
    Err(Error::new(Kind::Bug, "the tables were never found"))
}

/// Makes the tables as the start does, and undoes what it did. True where the table of changes is there
/// already.
pub fn rehearse(session: &mut Connection, config: &Config) -> Result<bool> {
    check_schema(session, config)?;
    let [changes, progress] = find(session)?;
    if let Some(changes) = changes {
        check_columns(session, changes, config)?;
    }
    if let (Some(changes), Some(progress)) = (changes, progress) {
        check_rights(session, changes, progress, config)?;
        check_row_security(session, config)?;
    } else {
        make(
            session,
            config,
            changes.is_none(),
            progress.is_none(),
            "ROLLBACK",
        )?;
    }
    Ok(changes.is_some())
}

/// Makes tables, in a transaction that ends so.
fn make(
    session: &mut Connection,
    config: &Config,
    changes: bool,
    progress: bool,
    end: &str,
) -> Result<()> {
    let mut sql = String::from("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ");
    if changes {
        sql.push_str(&create_changes(config.changes_format));
    }
    if progress {
        sql.push_str(CREATE_PROGRESS);
    }
    sql.push_str(end);
    let done = session.query(&sql).map(drop).map_err(|e| {
        e.hint(format!(
            "GRANT CREATE ON SCHEMA public TO {}; or let an administrator make the tables",
            identifier(&config.destination.user)
        ))
    });
    if done.is_err() {
        session.query("ROLLBACK")?;
    }
    done.at(|| "making the tables changes and zemi_progress".into())
}

const CREATE_PROGRESS: &str = "CREATE TABLE public.zemi_progress (\
     slot_name text NOT NULL, system_identifier text NOT NULL, database text NOT NULL, \
     flushed_lsn pg_lsn NOT NULL, timeline int NOT NULL, \
     destination_system text, destination_timeline int, \
     updated_at timestamptz NOT NULL DEFAULT now(), \
     PRIMARY KEY (slot_name, system_identifier, database)); ";

fn create_changes(format: ChangesFormat) -> String {
    let side = match format {
        ChangesFormat::Bemi => "jsonb NOT NULL DEFAULT '{}'",
        ChangesFormat::Sql => "jsonb",
    };
    let mut sql = format!(
        "CREATE TABLE public.changes (\
         id uuid PRIMARY KEY DEFAULT gen_random_uuid(), \
         primary_key text, \
         before {side}, \
         after {side}, \
         context jsonb NOT NULL DEFAULT '{{}}', \
         database varchar(255) NOT NULL, \
         schema varchar(255) NOT NULL, \
         \"table\" varchar(255) NOT NULL, \
         operation text NOT NULL, \
         committed_at timestamptz NOT NULL, \
         queued_at timestamptz NOT NULL, \
         transaction_id bigint NOT NULL, \
         position bigint NOT NULL, \
         created_at timestamptz NOT NULL DEFAULT now(), \
         CONSTRAINT changes_position_table_schema_database_operation_unique \
         UNIQUE (position, \"table\", schema, database, operation)); "
    );
    for column in ["committed_at", "table", "primary_key", "operation"] {
        sql.push_str(&format!(
            "CREATE INDEX changes_{column}_index ON public.changes ({}); ",
            identifier(column)
        ));
    }
    for column in ["context", "before", "after"] {
        sql.push_str(&format!(
            "CREATE INDEX changes_{column}_index ON public.changes USING gin ({} jsonb_path_ops); ",
            identifier(column)
        ));
    }
    sql
}

/// The OIDs of `changes` and `zemi_progress`.
fn find(session: &mut Connection) -> Result<[Option<Oid>; 2]> {
    let oid = |name: &str| {
        format!(
            "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relname = '{name}' \
             AND c.relkind IN ('r', 'p', 'v', 'f', 'm'))"
        )
    };
    let row = session.rows(&format!(
        "SELECT {}, {}",
        oid("changes"),
        oid("zemi_progress")
    ))?;
    let found = |column| row.first(column).and_then(|oid| oid.parse().ok()).map(Oid);
    Ok([found(0), found(1)])
}

/// Checks that an existing table of changes takes our rows; returns the length of `primary_key`.
fn check_columns(session: &mut Connection, changes: Oid, config: &Config) -> Result<Option<usize>> {
    let found = session.rows(&format!(
        "SELECT a.attname, t.typname, a.atttypmod, a.attnotnull, \
         a.atthasdef OR a.attidentity <> '' FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         WHERE a.attrelid = {changes} AND a.attnum > 0 AND NOT a.attisdropped"
    ))?;
    let bad = |problem: String| {
        Error::new(Kind::Setting, format!("table public.changes: {problem}"))
            .hint("rename the table and let zemi make its own, or bring it to Bemi's shape")
    };
    let mut limit = None;
    let text = |row: &'_ Vec<Option<String>>, i: usize| -> String {
        row.get(i)
            .and_then(Option::as_deref)
            .unwrap_or_default()
            .to_owned()
    };
    for (name, types) in COLUMNS {
        let Some(row) = found.rows.iter().find(|row| text(row, 0) == name) else {
            return Err(bad(format!("expected a column {name}, found none")));
        };
        if !types.contains(&text(row, 1).as_str()) {
            return Err(bad(format!(
                "expected column {name} to be {}, found {}",
                types.join(" or "),
                text(row, 1)
            )));
        }
        if name == "primary_key" {
            // The modifier of varchar(n) is n + 4; -1 without a length.
            limit = text(row, 2)
                .parse::<usize>()
                .ok()
                .map(|modifier| modifier.saturating_sub(4));
        }
        let side = name == "before" || name == "after";
        if side && config.changes_format == ChangesFormat::Sql && text(row, 3) == "t" {
            return Err(bad(format!(
                "CHANGES_FORMAT=sql writes NULL, and column {name} is NOT NULL"
            ))
            .hint(format!(
                "ALTER TABLE public.changes ALTER COLUMN {name} DROP NOT NULL"
            )));
        }
    }
    for row in &found.rows {
        let name = text(row, 0);
        let ours = COLUMNS.iter().any(|(ours, _)| *ours == name);
        if !ours && text(row, 3) == "t" && text(row, 4) != "t" {
            return Err(bad(format!(
                "column {name} is NOT NULL without a default, and zemi does not fill it"
            )));
        }
    }
    Ok(limit)
}

/// Names in the schema cannot even be looked up without USAGE; TEMPORARY is for rows that COPY refuses,
/// which may come much later.
fn check_schema(session: &mut Connection, config: &Config) -> Result<()> {
    let found = session.rows(
        "SELECT has_schema_privilege('public', 'USAGE'), \
         has_database_privilege(current_database(), 'TEMPORARY')",
    )?;
    let database = identifier(&config.destination.database);
    let rights = [
        ("USAGE", "SCHEMA public".to_owned()),
        ("TEMPORARY", format!("DATABASE {database}")),
    ];
    for (column, (right, on)) in rights.iter().enumerate() {
        if found.first(column) != Some("t") {
            return Err(missing_right(right, on, config));
        }
    }
    Ok(())
}

/// Rights that a rare statement needs are asked for at the start: a late context updates rows, and taking
/// over a table reads them.
fn check_rights(
    session: &mut Connection,
    changes: Oid,
    progress: Oid,
    config: &Config,
) -> Result<()> {
    let forget = if config.cleanup_on_shutdown {
        ", DELETE"
    } else {
        ""
    };
    let tables = [
        ("changes", changes, ""),
        ("zemi_progress", progress, forget),
    ];
    let asked = tables.map(|(_, oid, more)| {
        format!(
            "SELECT string_agg(r, ', ') FROM unnest('{{SELECT, INSERT, UPDATE{more}}}'::text[]) r \
             WHERE NOT has_table_privilege({oid}, r)"
        )
    });
    let missing = session.query(&asked.join("; "))?;
    for ((table, ..), missing) in tables.iter().zip(&missing) {
        if let Some(rights) = missing.first(0) {
            return Err(missing_right(rights, &format!("public.{table}"), config));
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

fn check_row_security(session: &mut Connection, config: &Config) -> Result<()> {
    let row = session.rows(
        "SELECT row_security_active('public.changes'), row_security_active('public.zemi_progress')",
    )?;
    for (column, table) in ["changes", "zemi_progress"].into_iter().enumerate() {
        if row.first(column) == Some("t") {
            return Err(Error::new(
                Kind::Setting,
                format!(
                    "row-level security of public.{table} applies to {}",
                    config.destination.user
                ),
            )
            .hint(format!(
                "ALTER ROLE {} BYPASSRLS; or ALTER TABLE public.{table} DISABLE ROW LEVEL SECURITY",
                identifier(&config.destination.user)
            )));
        }
    }
    Ok(())
}
