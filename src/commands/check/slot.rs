//! The slot: whether it can be made or used, how far behind it is, and what it keeps.

use super::super::finding::Findings;
use crate::config::Config;
use crate::error::{At, Kind, Result};
use crate::source::{self, predecessor};
use crate::wire::{Connection, ResultSet, literal};

/// A slot that nobody reads and that keeps more than this is worth a word.
const MUCH: u64 = 1 << 30;

/// Looks at it.
pub fn check(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let limits = session.rows(
        "SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'), \
         current_setting('max_slot_wal_keep_size')",
    )?;
    let limit = |column: usize| limits.first(column).unwrap_or_default();
    match source::read_slot(session, config) {
        Ok(None) => absent(config, limit(0), limit(1), findings),
        // That is as it should be while the service runs.
        Err(e) if e.kind() == Kind::Busy => present(config, session, findings)?,
        other => {
            other.at(|| "slot".into())?;
            present(config, session, findings)?;
        }
    }
    if let Some(found) = predecessor::look(session, config)? {
        findings.warn("slot", found.found(), found.fix());
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

fn absent(config: &Config, used: &str, most: &str, findings: &mut Findings) {
    let name = &config.slot_name;
    if used == most {
        findings.fail(
            "slot",
            format!("all {most} slots are taken, and {name} is none of them"),
            "raise max_replication_slots and restart the source, or drop a slot that nobody needs",
        );
    } else {
        findings.ok(
            "slot",
            format!(
                "{name} is not there yet: zemi makes it at its first start; {used} of {most} slots are taken"
            ),
        );
    }
}

fn read(config: &Config, session: &mut Connection) -> Result<ResultSet> {
    session.rows(&format!(
        "SELECT s.active_pid, s.wal_status, s.confirmed_flush_lsn, \
         pg_size_pretty(pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)), \
         pg_size_pretty(pg_wal_lsn_diff(now.lsn, s.restart_lsn)), \
         pg_wal_lsn_diff(now.lsn, s.restart_lsn)::bigint, \
         coalesce(nullif(a.application_name, ''), 'somebody') || ' at ' \
         || coalesce(host(a.client_addr), 'this host') || ', pid ' || s.active_pid \
         FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_lsn() END AS lsn) AS now, pg_replication_slots s \
         LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = {}",
        literal(&config.slot_name)
    ))
}

fn present(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let name = &config.slot_name;
    let row = read(config, session)?;
    let text = |column: usize| row.first(column).unwrap_or("nothing");
    let used = match row.first(0) {
        Some(pid) => format!("in use by {}", row.first(6).unwrap_or(pid)),
        None => "not in use".to_owned(),
    };
    let found = format!(
        "{name} is {used}; wal_status = {}, confirmed up to {}, {} behind, keeps {} of WAL",
        text(1),
        text(2),
        text(3),
        text(4)
    );
    let kept: u64 = text(5).parse().unwrap_or_default();
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
        _ if row.first(0).is_none() && kept > MUCH => findings.warn(
            "slot",
            found,
            "start zemi, or drop what it left: zemi cleanup",
        ),
        _ => findings.ok("slot", found),
    }
    Ok(())
}
