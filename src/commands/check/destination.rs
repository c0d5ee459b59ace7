//! The destination: session, tables, indexes, progress.

use super::super::finding::Findings;
use super::encryption;
use crate::config::Config;
use crate::destination::connect::{SourceIdentity, check_session};
use crate::destination::ddl::{INDEXES, create_index};
use crate::destination::progress::read_progress;
use crate::destination::schema::dry_run;
use crate::destination::tables::TableNames;
use crate::error::Result;
use crate::sqlstate;
use crate::wire::{Connection, identifier, literal};

/// Checks the destination. `identity` is that of the source, if the source could be reached.
pub fn check(config: &Config, identity: Option<&SourceIdentity>, findings: &mut Findings) {
    let (mut session, version) = match check_session(config, identity) {
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
    let names = match dry_run(&mut session, config) {
        Ok(found) if found.changes_there => {
            let table = found.names.changes();
            findings.ok("destination", format!("{table} takes zemi's rows"));
            if let Err(e) = indexes(&mut session, &found.names, findings) {
                findings.error("destination", &e);
            }
            if let Some(hindered) = found.hindered {
                findings.warn("destination", hindered.found(), hindered.fix());
            }
            Some(found.names)
        }
        Ok(found) => {
            let table = found.names.changes();
            findings.ok(
                "destination",
                format!("{table} is not there yet: zemi makes it"),
            );
            Some(found.names)
        }
        Err(e) => {
            findings.error("destination", &e);
            None
        }
    };
    let Some(identity) = identity else {
        return;
    };
    match read_progress(config, &identity.system_identifier) {
        Ok(Some(progress)) => {
            let found = format!("everything up to {} is written", progress.flushed);
            findings.ok("progress", found);
        }
        Ok(None) => findings.ok("progress", "none yet: zemi begins where its slot does"),
        Err(e) if e.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE) => {
            let role = identifier(&config.destination.user);
            let names = names.unwrap_or_else(|| TableNames::in_schema("public"));
            let table = names.progress();
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}");
            findings.error("progress", &e.hint(grant));
        }
        Err(e) => findings.error("progress", &e),
    }
}

fn indexes(session: &mut Connection, names: &TableNames, findings: &mut Findings) -> Result<()> {
    let table = names.changes();
    let rows = session.rows(&format!(
        "SELECT a.attname, i.indisvalid FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = {}::pg_catalog.regclass",
        literal(table)
    ))?;
    let has = |column: &str| {
        rows.rows.iter().any(|row| {
            let text = |i: usize| row.get(i).and_then(Option::as_deref);
            text(0) == Some(column) && text(1) == Some("t")
        })
    };
    let missing: Vec<_> = INDEXES.iter().filter(|(name, _)| !has(name)).collect();
    if missing.is_empty() {
        findings.ok("destination", format!("{table} has its indexes"));
        return Ok(());
    }
    let columns: Vec<&str> = missing.iter().map(|(column, _)| *column).collect();
    let create =
        |(column, method): &&(&str, _)| create_index(names, column, *method, "CONCURRENTLY ");
    let statements: Vec<String> = missing.iter().map(create).collect();
    findings.warn(
        "destination",
        format!("no valid index begins with: {}", columns.join(", ")),
        format!(
            "where your queries need it (zemi writes faster without): {}",
            statements.join("; ")
        ),
    );
    Ok(())
}
