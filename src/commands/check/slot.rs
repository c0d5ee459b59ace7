//! The slot: whether it can be made or used, how far behind it is, and what it keeps.

use super::super::finding::Findings;
use crate::config::Config;
use crate::error::{At, Kind, Result};
use crate::source::predecessor;
use crate::source::slot::{self, SlotRow};
use crate::wire::Connection;

/// A slot that is not in use and keeps more WAL than this, in bytes, is a warning.
const IDLE_SLOT_WARN_BYTES: i64 = 1 << 30;

/// Adds what there is to say about the slot.
///
/// # Errors
/// A slot that cannot be used; the source's connection.
pub fn check(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let limits = slot::read_limits(session)?;
    match slot::read_row(session, &config.slot_name)? {
        None => absent(config, &limits.used, &limits.max_slots, findings),
        Some(row) => {
            match row.position(config) {
                // In use: as it should be while the service runs.
                Err(e) if e.kind() == Kind::Busy => {}
                other => drop(other.at(|| "slot".into())?),
            }
            present(config, &row, findings);
        }
    }
    if let Some(found) = predecessor::look(session, config)? {
        findings.warn("slot", found.found(), found.fix());
    }
    if let Some((found, fix)) = predecessor::left_over(session, config)? {
        findings.warn("slot", found, fix);
    }
    if let Some(timeout) = &limits.idle_timeout {
        findings.warn(
            "slot",
            format!(
                "idle_replication_slot_timeout is {timeout}: when zemi is stopped or its destination away \
                 for longer, the source gives the slot up, and the changes since are missing"
            ),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
        );
    }
    if limits.max_wal_keep_size == "-1" {
        findings.warn(
            "slot",
            "max_slot_wal_keep_size is unlimited: while zemi is stopped, WAL fills the source's disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; or watch pg_replication_slots",
        );
    }
    Ok(())
}

fn absent(config: &Config, used: &str, max: &str, findings: &mut Findings) {
    let name = &config.slot_name;
    if used == max {
        findings.fail(
            "slot",
            format!("all {max} slots are taken, and {name} is none of them"),
            "raise max_replication_slots and restart the source, or drop a slot that is not needed",
        );
    } else {
        findings.ok(
            "slot",
            format!(
                "{name} is not there yet: zemi makes it at its first start; {used} of {max} slots are taken"
            ),
        );
    }
}

fn present(config: &Config, slot: &SlotRow, findings: &mut Findings) {
    let name = &config.slot_name;
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    let wal_status = or_nothing(&slot.wal_status);
    let used = match slot.used_by.as_ref().or(slot.active_pid.as_ref()) {
        Some(user) => format!("in use by {user}"),
        None => "not in use".to_owned(),
    };
    let found = format!(
        "{name} is {used}; wal_status = {wal_status}, confirmed up to {}, {} behind, keeps {} of WAL",
        or_nothing(&slot.confirmed.map(|lsn| lsn.to_string())),
        or_nothing(&slot.behind_size),
        or_nothing(&slot.kept_size)
    );
    let idle = slot.active_pid.is_none();
    match wal_status.as_str() {
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
        _ if idle && slot.kept_bytes > Some(IDLE_SLOT_WARN_BYTES) => findings.warn(
            "slot",
            found,
            "start zemi, or drop what it left: zemi cleanup",
        ),
        _ => findings.ok("slot", found),
    }
}
