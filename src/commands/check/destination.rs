//! The destination: session, tables, indexes, progress.

use super::super::finding::Findings;
use super::encryption;
use super::source::Source;
use crate::config::Config;
use crate::destination::connect::check_session;
use crate::destination::ddl::{INDEXES, create_index};
use crate::destination::progress::read_progress;
use crate::destination::schema::dry_run;
use crate::destination::tables::TableNames;
use crate::error::Result;
use crate::sqlstate;
use crate::wire::{Connection, identifier, literal};

/// Checks all of it. `source` is what its own check found, where it answers.
pub fn check(config: &Config, source: Option<&Source>, findings: &mut Findings) {
    let identity = source.map(|source| &source.identity);
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
    let Some(source) = source else {
        return;
    };
    match read_progress(config, &source.identity.system_identifier) {
        Ok(Some(progress)) => {
            let found = format!("everything up to {} is written", progress.flushed);
            findings.ok("progress", found);
        }
        Ok(None) => match &source.first_start {
            Some(e) => findings.error("publication", e),
            None => findings.ok("progress", "none yet: zemi begins where its slot does"),
        },
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
         WHERE i.indrelid = {0}::pg_catalog.regclass UNION ALL SELECT '', false \
         FROM pg_catalog.pg_class WHERE oid = {0}::pg_catalog.regclass AND relkind = 'p'",
        literal(table)
    ))?;
    // PostgreSQL refuses CREATE INDEX CONCURRENTLY on a partitioned table.
    let is_partitioned = rows
        .rows
        .iter()
        .any(|row| row.first() == Some(&Some(String::new())));
    let concurrently = if is_partitioned { "" } else { "CONCURRENTLY " };
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
    let create = |(column, method): &&(&str, _)| create_index(names, column, *method, concurrently);
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
