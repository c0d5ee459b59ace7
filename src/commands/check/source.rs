//! The source: server, walsender, slot, publications.

use super::super::finding::Findings;
use super::tables;
use crate::change::Tracked;
use crate::config::Config;
use crate::error::{At, Result};
use crate::replication::source::{self, Server};
use crate::replication::{publication, source::Identity};
use crate::wire::{Connection, literal};
use crate::writer::SourceMark;

/// Looks at all of it, as far as one thing works after the other.
pub fn check(config: &Config, findings: &mut Findings) -> Option<SourceMark> {
    let mut session = match source::open_session(config) {
        Ok(session) => session,
        Err(e) => {
            findings.error("source", &e);
            return None;
        }
    };
    let server = match source::check(&mut session) {
        Ok(server) => server,
        Err(e) => {
            findings.error("source", &e);
            return None;
        }
    };
    findings.ok(
        "source",
        format!(
            "PostgreSQL {} at {}, wal_level = {}",
            server.version_text, config.source, server.wal_level
        ),
    );
    if server.encoding == "SQL_ASCII" {
        findings.warn(
            "source",
            "the database's encoding is SQL_ASCII: bytes that are not UTF-8 will be replaced by U+FFFD",
            "keep text in a database with encoding UTF8",
        );
    }
    let mark = match walsender(config, findings) {
        Ok(identity) => Some(SourceMark {
            system_identifier: identity.system_identifier,
            started: server.started.clone(),
        }),
        Err(e) => {
            findings.error("source", &e);
            None
        }
    };
    if let Err(e) = slot(config, &mut session, findings) {
        findings.error("slot", &e);
    }
    if let Err(e) = publications(config, &mut session, &server, findings) {
        findings.error("publication", &e);
    }
    if let Err(e) = tables::check(config, &mut session, findings) {
        findings.error("tables", &e);
    }
    mark
}

fn walsender(config: &Config, findings: &mut Findings) -> Result<Identity> {
    let mut walsender = source::open_replication(config, "UTF8")?;
    let identity = source::identify(&mut walsender)?;
    let user = &config.source.user;
    findings.ok("source", format!("role {user} may start a walsender"));
    Ok(identity)
}

fn slot(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let name = &config.slot_name;
    let limits = session.rows(
        "SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'), \
         current_setting('max_slot_wal_keep_size')",
    )?;
    let limit = |column: usize| limits.first(column).unwrap_or_default();
    if source::read_slot(session, config)
        .at(|| "slot".into())?
        .is_none()
    {
        if limit(0) == limit(1) {
            let found = format!(
                "all {} slots are taken, and {name} is none of them",
                limit(1)
            );
            findings.fail(
                "slot",
                found,
                "raise max_replication_slots and restart the source",
            );
        } else {
            let found = format!("{name} is not there yet; {} of {} are", limit(0), limit(1));
            findings.ok("slot", format!("{found}: zemi makes it at its first start"));
        }
    } else {
        let row = session.rows(&format!(
            "SELECT active, wal_status, pg_size_pretty(pg_current_wal_lsn() - restart_lsn), \
             confirmed_flush_lsn, active_pid FROM pg_replication_slots WHERE slot_name = {}",
            literal(name)
        ))?;
        let text = |column: usize| row.first(column).unwrap_or("nothing");
        let used = match text(0) == "t" {
            true => format!("in use by pid {}", text(4)),
            false => "not in use".to_owned(),
        };
        let (kept, confirmed) = (text(2), text(3));
        let found =
            format!("{name} is {used}, confirmed up to {confirmed}, and keeps {kept} of WAL");
        match text(1) {
            "lost" => findings.fail(
                "slot",
                format!("{name} is lost: the server removed the WAL it had kept for it"),
                "start zemi: it makes the slot anew and records the gap",
            ),
            "unreserved" => findings.warn(
                "slot",
                format!("{found}; it is about to be lost"),
                "start zemi at once, or raise max_slot_wal_keep_size",
            ),
            _ => findings.ok("slot", found),
        }
    }
    if limit(2) == "-1" {
        findings.warn(
            "slot",
            "max_slot_wal_keep_size is unlimited: while zemi is stopped, WAL fills the source's disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; or watch pg_replication_slots",
        );
    }
    Ok(())
}

fn publications(
    config: &Config,
    session: &mut Connection,
    server: &Server,
    findings: &mut Findings,
) -> Result<()> {
    let tracked = Tracked::new(config);
    let published = publication::rehearse(session, server, config, &tracked)?;
    match published.names.as_slice() {
        [] => findings.ok(
            "publication",
            format!(
                "{} is not there yet: zemi makes it",
                config.publication_name
            ),
        ),
        names => findings.ok("publication", format!("{} found", names.join(" and "))),
    }
    for table in &published.untracked {
        findings.warn(
            "tables",
            format!("UPDATE and DELETE of {table} are not tracked: no usable replica identity"),
            format!("ALTER TABLE {table} REPLICA IDENTITY FULL"),
        );
    }
    for (table, mend) in &published.forbidden {
        findings.fail(
            "tables",
            format!("{table} cannot be published by this role"),
            mend,
        );
    }
    Ok(())
}
