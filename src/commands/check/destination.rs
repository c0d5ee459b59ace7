//! The destination: session, tables, indexes, progress.

use super::super::finding::Findings;
use super::encryption;
use crate::config::Config;
use crate::error::Result;
use crate::wire::{Connection, identifier};
use crate::writer::{SourceMark, check_session, read_progress, rehearse};

/// The indexes that are made with the table: without them queries are slow, and nothing else.
const INDEXES: [&str; 7] = [
    "committed_at",
    "table",
    "primary_key",
    "operation",
    "context",
    "before",
    "after",
];

/// Looks at all of it. `mark` is the source, where it is known.
pub fn check(config: &Config, mark: Option<&SourceMark>, findings: &mut Findings) {
    let (mut session, version) = match check_session(config, mark) {
        Ok(opened) => opened,
        Err(e) => return findings.error("destination", &e),
    };
    findings.ok(
        "destination",
        format!(
            "PostgreSQL {version} at {}, commits are durable",
            config.destination
        ),
    );
    let line = session.encryption();
    encryption::check(&config.destination, line, "destination", findings);
    match rehearse(&mut session, config) {
        Ok(true) => {
            findings.ok("destination", "public.changes takes zemi's rows");
            if let Err(e) = indexes(&mut session, findings) {
                findings.error("destination", &e);
            }
        }
        Ok(false) => findings.ok(
            "destination",
            "public.changes is not there yet: zemi makes it",
        ),
        Err(e) => findings.error("destination", &e),
    }
    let Some(mark) = mark else {
        return;
    };
    match read_progress(config, &mark.system_identifier) {
        Ok(Some(progress)) => {
            let found = format!("everything up to {} is written", progress.flushed);
            findings.ok("progress", found);
        }
        Ok(None) => findings.ok("progress", "none yet: zemi begins where its slot does"),
        Err(e) if e.is_sqlstate("42501") => {
            let role = identifier(&config.destination.user);
            let grant =
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON public.zemi_progress TO {role}");
            findings.error("progress", &e.hint(grant));
        }
        Err(e) => findings.error("progress", &e),
    }
}

/// The index as it is made with the table, for one that is in use.
fn create(column: &str) -> String {
    let how = match column {
        "context" | "before" | "after" => format!("USING gin ({column} jsonb_path_ops)"),
        _ => format!("({})", identifier(column)),
    };
    format!("CREATE INDEX CONCURRENTLY changes_{column}_index ON public.changes {how}")
}

fn indexes(session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let rows = session.rows(
        "SELECT a.attname, i.indisvalid FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = 'public.changes'::pg_catalog.regclass",
    )?;
    let has = |column: &str| {
        rows.rows.iter().any(|row| {
            let text = |i: usize| row.get(i).and_then(Option::as_deref);
            text(0) == Some(column) && text(1) == Some("t")
        })
    };
    let missing: Vec<&str> = INDEXES.into_iter().filter(|column| !has(column)).collect();
    if missing.is_empty() {
        findings.ok("destination", "public.changes has its indexes");
    } else {
        findings.warn(
            "destination",
            format!("no valid index begins with: {}", missing.join(", ")),
            format!(
                "where your queries need it (zemi writes faster without): {}",
                missing
                    .iter()
                    .map(|c| create(c))
                    .collect::<Vec<_>>()
                    .join("; ")
            ),
        );
    }
    Ok(())
}
