//! Sessions with the source, who it is, and whether it can be followed at all.

use std::thread;
use std::time::{Duration, Instant};

use super::start::SourcePosition;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Lsn;
use crate::wire::{Connection, ResultSet, advise, literal};

/// The oldest supported server: 14 brought logical messages to pgoutput.
const OLDEST: u32 = 140_000;

/// The name of every session on the source, which `synchronous_standby_names` may hold.
pub const APPLICATION: &str = "zemi";

/// Settings of every session on the source. A walsender prints values by some of them, and casts to json
/// that an ordinary session is asked for have to be computed by the same ones, whatever the database's own
/// settings are.
///
/// `synchronous_commit=local`: with `synchronous_standby_names = 'zemi'` a commit of zemi itself would
/// wait for zemi. The limits of time would end a slot's creation, which waits for open transactions.
const SESSION: [(&str, &str); 12] = [
    ("application_name", APPLICATION),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("synchronous_commit", "local"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// A walsender of the database, and its time limit: longer than the interval of our status
/// updates, whatever the server's own is.
const STREAM: [(&str, &str); 3] = [
    ("replication", "database"),
    ("search_path", ""),
    ("wal_sender_timeout", "60s"),
];

/// Which server and database the source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `system_identifier` of the cluster.
    pub system_identifier: String,
    /// The current timeline.
    pub timeline: u32,
    /// The end of WAL.
    pub end: Lsn,
}

/// Begins a transaction of DDL: under the role's own search path, by which functions of event triggers may
/// name theirs without a schema.
pub const BEGIN_DDL: &str = "BEGIN; SET LOCAL search_path TO DEFAULT";

/// Opens an ordinary session.
pub fn open_session(config: &Config) -> Result<Connection> {
    let open = || {
        let opened = Connection::open(&config.source, &SESSION, config.connect_timeout);
        let mut session = opened.map_err(|e| advise(e, &config.source, "DB"))?;
        // The search path is not in the startup packet, so that `SET search_path TO DEFAULT` gives the role's
        // own. Names may hold any bytes in a database without encoding, and the server would refuse to send
        // them.
        session.query(
            "SET search_path = ''; SELECT set_config('client_encoding', 'SQL_ASCII', false) \
             WHERE current_setting('server_encoding') = 'SQL_ASCII'",
        )?;
        Ok(session)
    };
    open().at(|| "source".into())
}

/// The server holds text that it cannot convert to UTF-8, and never will.
pub fn is_unconvertible(error: &Error) -> bool {
    error.is_sqlstate("22021") || error.is_sqlstate("22P05")
}

/// Makes the server send what it holds, instead of refusing what it cannot convert.
pub fn take_bytes_as_stored(session: &mut Connection) -> Result<()> {
    session.query("SET client_encoding = 'SQL_ASCII'").map(drop)
}

/// Opens a session on a walsender of the database, with values in this encoding.
pub fn open_replication(config: &Config, encoding: &str) -> Result<Connection> {
    let mut parameters = Vec::with_capacity(SESSION.len() + STREAM.len());
    parameters.extend(
        SESSION
            .iter()
            .filter(|(name, _)| *name != "client_encoding"),
    );
    parameters.extend(STREAM);
    parameters.push(("client_encoding", encoding));
    Connection::open(&config.source, &parameters, config.connect_timeout)
        .map_err(|e| {
            if e.is_sqlstate("42501") || e.is_sqlstate("28000") {
                return e.hint(format!(
                    "ALTER ROLE {} REPLICATION; and allow the role in pg_hba.conf",
                    crate::wire::identifier(&config.source.user)
                ));
            }
            if e.is_sqlstate("53300") {
                return e.hint("raise max_wal_senders on the source");
            }
            advise(e, &config.source, "DB")
        })
        .at(|| "source".into())
}

/// An ordinary session and one on a walsender.
pub struct Pair {
    /// The ordinary one.
    pub session: Connection,
    /// The other.
    pub walsender: Connection,
    opened: Instant,
}

impl Pair {
    /// How long sessions that nobody used yet are taken to be as good as new ones.
    pub const FRESH: Duration = Duration::from_secs(1);

    /// Opens both side by side, which takes as long as one: most of it is waiting.
    ///
    /// # Errors
    /// The first of [`open_session`], else that of [`open_replication`].
    pub fn open(config: &Config, encoding: &str) -> Result<Pair> {
        let (session, walsender) = thread::scope(|scope| {
            let walsender = thread::Builder::new()
                .name("walsender".into())
                .stack_size(OPENING_STACK)
                .spawn_scoped(scope, || open_replication(config, encoding));
            let session = open_session(config);
            let walsender = walsender.map(|thread| thread.join());
            (session, walsender)
        });
        Ok(Pair {
            session: session?,
            walsender: match walsender {
                Ok(Ok(opened)) => opened?,
                // No thread was to be had, or it ended without a word.
                _ => open_replication(config, encoding)?,
            },
            opened: Instant::now(),
        })
    }

    /// Whether it was opened a moment ago.
    pub fn is_fresh(&self) -> bool {
        self.opened.elapsed() < Pair::FRESH
    }
}

/// The stack of a thread that opens a session.
const OPENING_STACK: usize = 512 * 1024;

/// Asks a walsender who it is.
pub fn identify(walsender: &mut Connection) -> Result<Identity> {
    let row = walsender.rows("IDENTIFY_SYSTEM").map_err(|e| {
        let e = e.at("IDENTIFY_SYSTEM");
        // An ordinary session knows no such command.
        if e.is_sqlstate("42601") {
            return e.hint(
                "this is no walsender: connect to the server itself, not to a pooler that swallows the \
                 parameter replication",
            );
        }
        e
    })?;
    let identity = || {
        Some(Identity {
            system_identifier: row.first(0)?.to_owned(),
            timeline: row.first(1)?.parse().ok()?,
            end: row.first(2)?.parse().ok()?,
        })
    };
    identity().ok_or_else(|| Error::new(Kind::Protocol, "IDENTIFY_SYSTEM gave no usable row"))
}

/// Where the next WAL record will be written.
pub fn wal_end(session: &mut Connection) -> Result<Lsn> {
    let row = session.rows("SELECT pg_catalog.pg_current_wal_insert_lsn()")?;
    let end = row.first(0).and_then(|text| text.parse().ok());
    end.ok_or_else(|| {
        Error::new(
            Kind::Protocol,
            "pg_current_wal_insert_lsn() gave no position",
        )
    })
}

/// The system identifier of the cluster, by an ordinary session.
pub fn system_identifier(session: &mut Connection) -> Result<String> {
    let row = session.rows("SELECT system_identifier FROM pg_catalog.pg_control_system()")?;
    let text = row.first(0).map(str::to_owned);
    text.ok_or_else(|| Error::new(Kind::Protocol, "pg_control_system() gave no row"))
}

/// Where `known_timeline` ended, as a walsender on a later timeline tells it.
pub fn position(
    walsender: &mut Connection,
    identity: &Identity,
    known_timeline: Option<u32>,
) -> Result<SourcePosition> {
    let switch = match known_timeline {
        Some(known) if known < identity.timeline => {
            let command = format!("TIMELINE_HISTORY {}", identity.timeline);
            let answer = walsender.rows(&command).at(|| command.clone())?;
            switch_point(answer.first(1).unwrap_or_default(), known)
        }
        _ => None,
    };
    Ok(SourcePosition {
        end: identity.end,
        timeline: identity.timeline,
        switch,
    })
}

/// Finds the end of a timeline in a history file: lines of timeline, position and reason. A timeline that is
/// not there is a sibling: what they share ends where the new one left the last one before both, at most.
fn switch_point(history: &str, timeline: u32) -> Option<Lsn> {
    let ends = history.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let ended: u32 = words.next()?.parse().ok()?;
        Some((ended, words.next()?.parse().ok()?))
    });
    let shared = ends.take_while(|(ended, _)| *ended <= timeline);
    shared.last().map(|(_, end)| end)
}

/// Checks what a server must have before anything else is tried.
pub fn check(session: &mut Connection) -> Result<Server> {
    let row = session.rows(
        "SELECT current_setting('server_version_num'), current_setting('wal_level'), \
         current_setting('server_version'), current_setting('server_encoding'), \
         pg_is_in_recovery(), pg_postmaster_start_time()::text",
    )?;
    let server = Server::read(&row)?;
    if server.version < OLDEST {
        return Err(Error::new(
            Kind::Setting,
            format!(
                "expected PostgreSQL 14 or later, found {}",
                server.version_text
            ),
        )
        .hint("zemi follows PostgreSQL 14 to 18"));
    }
    if server.wal_level != "logical" {
        return Err(Error::new(
            Kind::Setting,
            format!("expected wal_level = logical, found {}", server.wal_level),
        )
        .hint("ALTER SYSTEM SET wal_level = 'logical'; then restart the server"));
    }
    if server.in_recovery {
        // It may be about to be promoted.
        return Err(Error::new(
            Kind::Network,
            "expected a primary, found a standby in recovery",
        )
        .hint("promote it by SELECT pg_promote(), or point DB_HOST to the primary"));
    }
    Ok(server)
}

/// Facts of the source server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`
    pub version: u32,
    /// `server_version`
    pub version_text: String,
    /// `wal_level`
    pub wal_level: String,
    /// `server_encoding`
    pub encoding: String,
    /// `pg_is_in_recovery()`
    pub in_recovery: bool,
    /// `pg_postmaster_start_time()`, which tells a server from its physical clone.
    pub started: String,
}

impl Server {
    fn read(row: &ResultSet) -> Result<Server> {
        let text = |column: usize| row.first(column).unwrap_or_default().to_owned();
        Ok(Server {
            version: text(0).parse().map_err(|_| {
                Error::new(Kind::Setting, "expected a number in server_version_num")
                    .hint("is this a PostgreSQL server?")
            })?,
            wal_level: text(1),
            version_text: text(2),
            encoding: text(3),
            in_recovery: text(4) == "t",
            started: text(5),
        })
    }
}

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
pub fn read_slot(
    session: &mut Connection,
    config: &Config,
) -> Result<Option<super::start::SlotPosition>> {
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
    Ok(Some(super::start::SlotPosition { confirmed, lost }))
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
            if e.is_sqlstate("53400") {
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
            Err(e) if e.is_sqlstate("55006") && std::time::Instant::now() < until => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_timeline_is_found_in_the_history_file() {
        let history = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000060\tx\n";
        assert_eq!(switch_point(history, 1), Some(Lsn(0x300_0148)));
        assert_eq!(switch_point(history, 2), Some(Lsn(0x500_0060)));
        assert_eq!(
            switch_point("1\t0/3000148\tx\n3\t0/5000060\tx", 2),
            Some(Lsn(0x300_0148))
        );
        assert_eq!(switch_point(history, 3), Some(Lsn(0x500_0060)));
        assert_eq!(switch_point("2\t0/5000060\tx\n", 1), None);
        assert_eq!(switch_point("garbage\n1", 1), None);
    }
}
