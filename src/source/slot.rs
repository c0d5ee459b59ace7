//! The replication slot: read, made, dropped.

use std::thread;
use std::time::{Duration, Instant};

use super::session::patiently;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Lsn;
use crate::resume::SlotPosition;
use crate::sqlstate;
use crate::wire::{Connection, ResultSet, literal};

/// Between two attempts to drop a slot that is in use.
const DROP_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A row of `pg_replication_slots`, with what the server knows about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SlotRow {
    /// `slot_type`: `logical` or `physical`
    pub(crate) slot_type: String,
    /// `plugin`; empty for a physical slot.
    pub(crate) plugin: String,
    /// `database`; empty for a physical slot.
    pub(crate) database: String,
    /// `database` is that of this session.
    pub(crate) in_this_database: bool,
    /// `two_phase`
    pub(crate) two_phase: bool,
    /// `failover`; false before 17, which has no such column.
    pub(crate) failover: bool,
    /// `active_pid`, while the slot is in use.
    pub(crate) active_pid: Option<String>,
    /// The session that uses the slot, for people: application, address and PID.
    pub(crate) used_by: Option<String>,
    /// `wal_status`
    pub(crate) wal_status: Option<String>,
    /// `confirmed_flush_lsn`
    pub(crate) confirmed: Option<Lsn>,
    /// `restart_lsn`
    pub(crate) restart: Option<Lsn>,
    /// The end of the server's WAL, or of what a standby has replayed.
    pub(crate) server_end: Option<Lsn>,
    /// From `confirmed` to `server_end`, in bytes.
    pub(crate) behind_bytes: Option<i64>,
    /// The same by `pg_size_pretty`.
    pub(crate) behind_size: Option<String>,
    /// From `restart` to `server_end`, in bytes: the WAL that is kept for the slot.
    pub(crate) kept_bytes: Option<i64>,
    /// The same by `pg_size_pretty`.
    pub(crate) kept_size: Option<String>,
    /// `safe_wal_size`, in bytes; `None` where `max_slot_wal_keep_size` is unlimited.
    pub(crate) safe_wal_size: Option<i64>,
}

/// The slot of this name, where it exists.
pub(crate) fn read_row(session: &mut Connection, name: &str) -> Result<Option<SlotRow>> {
    // The row as JSON, because `failover` is a column from 17 on.
    let found = session.rows(&format!(
        "SELECT s.slot_type, s.plugin, s.database, s.database = current_database() AS in_this_database, \
         s.two_phase, (to_jsonb(s) ->> 'failover')::boolean AS failover, s.active_pid, \
         CASE WHEN s.active_pid IS NOT NULL THEN (SELECT coalesce(nullif(a.application_name, ''), \
         'an unnamed client') || ' at ' || coalesce(host(a.client_addr), 'this host') || ', pid ' || a.pid \
         FROM pg_stat_activity a WHERE a.pid = s.active_pid) END AS used_by, \
         s.wal_status, s.confirmed_flush_lsn, s.restart_lsn, now.lsn AS server_end, \
         pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)::bigint AS behind_bytes, \
         pg_size_pretty(pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)) AS behind_size, \
         pg_wal_lsn_diff(now.lsn, s.restart_lsn)::bigint AS kept_bytes, \
         pg_size_pretty(pg_wal_lsn_diff(now.lsn, s.restart_lsn)) AS kept_size, s.safe_wal_size \
         FROM pg_replication_slots s, (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_lsn() END AS lsn) AS now WHERE s.slot_name = {}",
        literal(name)
    ))?;
    Ok((!found.rows.is_empty()).then(|| SlotRow::first_of(&found)))
}

impl SlotRow {
    fn first_of(found: &ResultSet) -> SlotRow {
        let value = |column: &str| found.value(0, column);
        let text = |column: &str| value(column).map(str::to_owned);
        let flag = |column: &str| value(column) == Some("t");
        let lsn = |column: &str| value(column)?.parse().ok();
        let bytes = |column: &str| value(column)?.parse().ok();
        SlotRow {
            slot_type: text("slot_type").unwrap_or_default(),
            plugin: text("plugin").unwrap_or_default(),
            database: text("database").unwrap_or_default(),
            in_this_database: flag("in_this_database"),
            two_phase: flag("two_phase"),
            failover: flag("failover"),
            active_pid: text("active_pid"),
            used_by: text("used_by"),
            wal_status: text("wal_status"),
            confirmed: lsn("confirmed_flush_lsn"),
            restart: lsn("restart_lsn"),
            server_end: lsn("server_end"),
            behind_bytes: bytes("behind_bytes"),
            behind_size: text("behind_size"),
            kept_bytes: bytes("kept_bytes"),
            kept_size: text("kept_size"),
            safe_wal_size: bytes("safe_wal_size"),
        }
    }

    /// The position of a slot that zemi can follow.
    ///
    /// # Errors
    /// [`Kind::Setting`] for a slot of another kind or database, [`Kind::Busy`] for one that is in use.
    pub(crate) fn position(&self, config: &Config) -> Result<SlotPosition> {
        let name = &config.slot_name;
        let unfit = |expected: &str, found: &str| {
            let message = format!("slot {name}: expected {expected}, found {found}");
            Err(Error::new(Kind::Setting, message).hint(
                "set SLOT_NAME to another name, or drop the slot: SELECT pg_drop_replication_slot('…')",
            ))
        };
        if self.slot_type != "logical" || self.plugin != "pgoutput" {
            let found = format!("{} {}", self.slot_type, self.plugin);
            return unfit("a logical slot of pgoutput", &found);
        }
        if self.database != config.source.database {
            return unfit(
                &format!("database {}", config.source.database),
                &self.database,
            );
        }
        if self.two_phase {
            return unfit(
                "two_phase = off",
                "on: it would send prepared transactions that may yet be rolled back",
            );
        }
        if let Some(pid) = &self.active_pid {
            let message = format!("replication slot {name:?} is active for PID {pid}");
            return Err(Error::new(Kind::Busy, message).hint(
                "another zemi follows it, or one was cut off from the server, which needs up to a minute to \
                 notice. Only a second zemi that is to follow beside the first takes another SLOT_NAME",
            ));
        }
        // A slot that was invalidated may have lost its position with its WAL.
        let lost = self.wal_status.as_deref() == Some("lost");
        // Its files are of a later state than the server's WAL, which would be passed over up to there.
        let ahead = self.confirmed > self.server_end && self.server_end.is_some();
        let lost = lost || ahead;
        let confirmed = match self.confirmed {
            Some(confirmed) => confirmed,
            None if lost => Lsn::ZERO,
            None => {
                return Err(Error::new(
                    Kind::Protocol,
                    format!("slot {name} has no position"),
                ));
            }
        };
        Ok(SlotPosition { confirmed, lost })
    }
}

/// The position of the settings' slot, where it exists.
///
/// # Errors
/// As [`SlotRow::position`]; the source's connection.
pub(crate) fn read_slot(session: &mut Connection, config: &Config) -> Result<Option<SlotPosition>> {
    let row = read_row(session, &config.slot_name)?;
    row.map(|row| row.position(config)).transpose()
}

/// Where the server's WAL ends, and how much of it is kept for the slot, in bytes; `None` where there is
/// no slot. A slot without `restart_lsn` keeps nothing.
pub(crate) fn kept_by_slot(
    session: &mut Connection,
    config: &Config,
) -> Result<Option<(Lsn, u64)>> {
    let Some(row) = read_row(session, &config.slot_name)? else {
        return Ok(None);
    };
    let kept = row.kept_bytes.unwrap_or_default();
    let kept = u64::try_from(kept).unwrap_or_default();
    Ok(row.server_end.map(|end| (end, kept)))
}

/// How many slots the server has and allows, and how much WAL it keeps for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotLimits {
    /// Slots of any kind.
    pub(crate) used: String,
    /// `max_replication_slots`
    pub(crate) max_slots: String,
    /// `max_slot_wal_keep_size`; `-1` is unlimited.
    pub(crate) max_wal_keep_size: String,
    /// `idle_replication_slot_timeout`, where it is set (18 and later).
    pub(crate) idle_timeout: Option<String>,
}

/// Reads [`SlotLimits`].
pub(crate) fn read_limits(session: &mut Connection) -> Result<SlotLimits> {
    let row = session.rows(
        "SELECT (SELECT count(*) FROM pg_replication_slots) AS used, \
         current_setting('max_replication_slots') AS max_slots, \
         current_setting('max_slot_wal_keep_size') AS max_wal_keep_size, \
         nullif(current_setting('idle_replication_slot_timeout', true), '0') AS idle_timeout",
    )?;
    let text = |column: &str| row.value(0, column).unwrap_or_default().to_owned();
    Ok(SlotLimits {
        used: text("used"),
        max_slots: text("max_slots"),
        max_wal_keep_size: text("max_wal_keep_size"),
        idle_timeout: row.value(0, "idle_timeout").map(str::to_owned),
    })
}

/// Makes the slot; returns where its stream begins. Logs the transactions that this waits for.
pub(crate) fn create_slot(session: &mut Connection, config: &Config) -> Result<Lsn> {
    log_open_transactions(session)?;
    // Before 17 there is no fifth argument.
    let failover = if config.slot_failover { ", true" } else { "" };
    let create = format!(
        "SELECT lsn FROM pg_create_logical_replication_slot({}, 'pgoutput', false, false{failover})",
        literal(&config.slot_name)
    );
    let row = patiently(session, &create)
        .map_err(|e| {
            // The limit is reached; it is 0.
            if e.is_sqlstate(sqlstate::CONFIGURATION_LIMIT_EXCEEDED)
                || e.is_sqlstate(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE)
            {
                return e.as_kind(Kind::Setting).replace_hint(
                    "raise max_replication_slots on the source and restart it, or drop a slot that is not \
                     needed",
                );
            }
            e
        })
        .at(|| format!("creating slot {}", config.slot_name))?;
    let lsn = row.value(0, "lsn").and_then(|text| text.parse().ok());
    lsn.ok_or_else(|| Error::new(Kind::Protocol, "the new slot has no position"))
}

fn log_open_transactions(session: &mut Connection) -> Result<()> {
    let open = session.rows(
        "SELECT pid::text AS pid, coalesce(usename, backend_type) AS owner, \
         coalesce(datname, '') AS database, extract(epoch FROM now() - xact_start)::bigint AS seconds, \
         coalesce(wait_event = 'SyncRep', false) AS waits_for_standby FROM pg_stat_activity \
         WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         UNION ALL SELECT 'prepared ' || gid, owner, database, \
         extract(epoch FROM now() - prepared)::bigint, false FROM pg_prepared_xacts",
    )?;
    for row in 0..open.rows.len() {
        let text = |column: &str| open.value(row, column).unwrap_or("?");
        let pid = text("pid");
        log::info!(
            "creating the slot waits for an open transaction: pid {pid}, user {}, database {}, open for {} s",
            text("owner"),
            text("database"),
            text("seconds")
        );
        if text("waits_for_standby") == "t" {
            // The slot's creation waits for the transaction, which may wait for zemi as its standby.
            log::warn!(
                "pid {pid} waits for a synchronous standby; if that is this zemi, end the wait by SELECT \
                 pg_cancel_backend({pid}), and set synchronous_standby_names after zemi's first start"
            );
        }
    }
    Ok(())
}

/// Drops the slot where it exists; waits up to `limit` for its walsender to go.
///
/// # Errors
/// SQLSTATE 55006 where the slot is in use for longer; the source's connection.
pub(crate) fn drop_slot(session: &mut Connection, config: &Config, limit: Duration) -> Result<()> {
    let name = literal(&config.slot_name);
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = {name}"
    );
    let until = Instant::now() + limit;
    loop {
        match session.query(&sql) {
            Err(e) if e.is_sqlstate(sqlstate::OBJECT_IN_USE) && Instant::now() < until => {
                thread::sleep(DROP_RETRY_INTERVAL);
            }
            other => {
                return other
                    .map(drop)
                    .at(|| format!("dropping slot {}", config.slot_name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config() -> Config {
        let vars = [("SLOT_NAME", "zemi"), ("DB_NAME", "app")];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        Config::from_vars(vars).unwrap().0
    }

    fn row(change: impl FnOnce(&mut SlotRow)) -> SlotRow {
        let mut row = SlotRow {
            slot_type: "logical".into(),
            plugin: "pgoutput".into(),
            database: "app".into(),
            wal_status: Some("reserved".into()),
            confirmed: Some(Lsn(16)),
            ..SlotRow::default()
        };
        change(&mut row);
        row
    }

    #[test]
    fn a_slot_of_ours_has_a_position() {
        let position = |change: fn(&mut SlotRow)| row(change).position(&config()).unwrap();
        let at = |confirmed, lost| SlotPosition { confirmed, lost };
        assert_eq!(position(|_| {}), at(Lsn(16), false));
        assert_eq!(
            position(|row| row.wal_status = Some("lost".into())),
            at(Lsn(16), true)
        );
        assert_eq!(
            position(|row| {
                row.wal_status = Some("lost".into());
                row.confirmed = None;
            }),
            at(Lsn::ZERO, true)
        );
    }

    #[test]
    fn any_other_slot_is_refused_for_what_it_is() {
        type Change = fn(&mut SlotRow);
        let kinds: [(Change, Kind, &str); 6] = [
            (
                |row| row.slot_type = "physical".into(),
                Kind::Setting,
                "physical",
            ),
            (
                |row| row.plugin = "wal2json".into(),
                Kind::Setting,
                "wal2json",
            ),
            (|row| row.database = "other".into(), Kind::Setting, "other"),
            (|row| row.two_phase = true, Kind::Setting, "two_phase"),
            (|row| row.active_pid = Some("7".into()), Kind::Busy, "PID 7"),
            (|row| row.confirmed = None, Kind::Protocol, "no position"),
        ];
        for (change, kind, word) in kinds {
            let error = row(change).position(&config()).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn columns_are_read_by_name_whatever_their_order() {
        let cells = [
            ("restart_lsn", "0/8"),
            ("confirmed_flush_lsn", "0/10"),
            ("kept_bytes", "24"),
            ("two_phase", "t"),
            ("plugin", "pgoutput"),
        ];
        let found = ResultSet {
            columns: cells.map(|(name, _)| name.to_owned()).to_vec(),
            rows: vec![cells.map(|(_, text)| Some(text.to_owned())).to_vec()],
            tag: String::new(),
        };
        let wanted = SlotRow {
            restart: Some(Lsn(8)),
            confirmed: Some(Lsn(16)),
            kept_bytes: Some(24),
            two_phase: true,
            plugin: "pgoutput".into(),
            ..SlotRow::default()
        };
        assert_eq!(SlotRow::first_of(&found), wanted);
    }
}
