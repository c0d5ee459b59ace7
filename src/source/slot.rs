//! The replication slot: read, made, dropped.

use std::time::Duration;

use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Lsn;
use crate::resume::SlotPosition;
use crate::sqlstate;
use crate::wire::{Connection, literal};

/// Logs the transactions that the creation of a slot will wait for.
pub fn log_open_transactions(session: &mut Connection) -> Result<()> {
    let open = session.rows(
        "SELECT pid::text, coalesce(usename, backend_type), coalesce(datname, ''), \
         extract(epoch FROM now() - xact_start)::bigint::text, \
         coalesce(wait_event = 'SyncRep', false)::text FROM pg_stat_activity \
         WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         UNION ALL SELECT 'prepared ' || gid, owner, database, \
         extract(epoch FROM now() - prepared)::bigint::text, 'false' FROM pg_prepared_xacts",
    )?;
    for row in &open.rows {
        let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or("?");
        log::info!(
            "creating the slot waits for an open transaction: pid {}, user {}, database {}, open for {} s",
            text(0),
            text(1),
            text(2),
            text(3)
        );
        if text(4) == "true" {
            // Each waits for the other, and neither can know.
            log::warn!(
                "pid {} waits for a synchronous standby; if that is this zemi, end the wait by SELECT \
                 pg_cancel_backend({}), and set synchronous_standby_names after zemi's first start",
                text(0),
                text(0)
            );
        }
    }
    Ok(())
}

/// The slot as it stands, or an error when it is one that cannot be used.
pub fn read_slot(session: &mut Connection, config: &Config) -> Result<Option<SlotPosition>> {
    let row = session.rows(&format!(
        "SELECT slot_type, plugin, database, two_phase, confirmed_flush_lsn, wal_status, \
         active_pid FROM pg_replication_slots WHERE slot_name = {}",
        literal(&config.slot_name)
    ))?;
    if row.rows.is_empty() {
        return Ok(None);
    }
    let text = |column: usize| row.first(column).unwrap_or_default();
    let bad = |expected: &str, found: &str| {
        Err(Error::new(
            Kind::Setting,
            format!(
                "slot {}: expected {expected}, found {found}",
                config.slot_name
            ),
        )
        .hint(
            "set SLOT_NAME to another name, or drop the slot: SELECT pg_drop_replication_slot('…')",
        ))
    };
    if text(0) != "logical" || text(1) != "pgoutput" {
        return bad(
            "a logical slot of pgoutput",
            &format!("{} {}", text(0), text(1)),
        );
    }
    if text(2) != config.source.database {
        return bad(&format!("database {}", config.source.database), text(2));
    }
    if text(3) == "t" {
        return bad(
            "two_phase = off",
            "on: it would send prepared transactions that may yet be rolled back",
        );
    }
    if let Some(pid) = row.first(6) {
        let message = format!(
            "replication slot {:?} is active for PID {pid}",
            config.slot_name
        );
        return Err(Error::new(Kind::Busy, message)
            .hint(
                "another zemi follows it, or one was cut off from the server, which needs up to a minute to \
                 notice. Only a second zemi that is to follow beside the first takes another SLOT_NAME",
            ));
    }
    let confirmed = text(4).parse().map_err(|_| {
        Error::new(
            Kind::Protocol,
            format!("slot {} has no position", config.slot_name),
        )
    });
    // A slot that was invalidated may have lost its position with its WAL.
    let lost = text(5) == "lost";
    let confirmed = if lost {
        confirmed.unwrap_or(Lsn::ZERO)
    } else {
        confirmed?
    };
    Ok(Some(SlotPosition { confirmed, lost }))
}

/// Where the server's WAL ends, and how much of it is kept for the slot, in bytes; `None` where there is
/// no slot, or where the server says nothing (`restart_lsn` in the documentation of
/// `pg_replication_slots`).
pub fn kept_by_slot(session: &mut Connection, config: &Config) -> Result<Option<(Lsn, u64)>> {
    let row = session.rows(&format!(
        "SELECT now.lsn, greatest(pg_wal_lsn_diff(now.lsn, restart_lsn), 0)::bigint \
         FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_lsn() END AS lsn) AS now, pg_replication_slots WHERE slot_name = {}",
        literal(&config.slot_name)
    ))?;
    let end = row.first(0).and_then(|text| text.parse().ok());
    let kept = row.first(1).and_then(|text| text.parse().ok());
    Ok(end.zip(kept))
}

/// Makes the slot; returns where its stream begins.
pub fn create_slot(session: &mut Connection, config: &Config) -> Result<Lsn> {
    log_open_transactions(session)?;
    // Before 17 there is no fifth argument.
    let failover = if config.slot_failover { ", true" } else { "" };
    let row = session
        .rows(&format!(
            "SELECT lsn FROM pg_create_logical_replication_slot({}, 'pgoutput', false, false{failover})",
            literal(&config.slot_name)
        ))
        .map_err(|e| {
            if e.is_sqlstate(sqlstate::CONFIGURATION_LIMIT_EXCEEDED) {
                return e
                    .as_kind(Kind::Setting)
                    .hint("raise max_replication_slots on the source");
            }
            e
        })
        .at(|| format!("creating slot {}", config.slot_name))?;
    let lsn = row.first(0).and_then(|text| text.parse().ok());
    lsn.ok_or_else(|| Error::new(Kind::Protocol, "the new slot has no position"))
}

/// Drops the slot where it exists; waits up to `patience` for its walsender to go.
pub fn drop_slot(session: &mut Connection, config: &Config, patience: Duration) -> Result<()> {
    let name = literal(&config.slot_name);
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = {name}"
    );
    let until = std::time::Instant::now() + patience;
    loop {
        match session.query(&sql) {
            Err(e)
                if e.is_sqlstate(sqlstate::OBJECT_IN_USE) && std::time::Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => {
                return other
                    .map(drop)
                    .at(|| format!("dropping slot {}", config.slot_name));
            }
        }
    }
}
