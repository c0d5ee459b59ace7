//! Which server the source is, and whether it can be followed at all.

use crate::error::{At, Error, Kind, Result};
use crate::lsn::Lsn;
use crate::resume::SourcePosition;
use crate::sqlstate;
use crate::wire::{Connection, ResultSet};

/// The oldest supported server (`server_version_num`): 14 brought logical messages to pgoutput.
const OLDEST: u32 = 140_000;

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

/// Asks a walsender which server it belongs to.
///
/// # Errors
/// An ordinary session, which knows no `IDENTIFY_SYSTEM`; the source's connection.
pub fn identify(walsender: &mut Connection) -> Result<Identity> {
    let row = walsender.rows("IDENTIFY_SYSTEM").map_err(|e| {
        let e = e.at("IDENTIFY_SYSTEM");
        // An ordinary session knows no such command.
        if e.is_sqlstate(sqlstate::SYNTAX_ERROR) {
            return e.hint(
                "this is no walsender: connect to the server itself, not to a pooler that swallows the \
                 parameter replication",
            );
        }
        e
    })?;
    let identity = || {
        Some(Identity {
            system_identifier: row.value(0, "systemid")?.to_owned(),
            timeline: row.value(0, "timeline")?.parse().ok()?,
            end: row.value(0, "xlogpos")?.parse().ok()?,
        })
    };
    identity().ok_or_else(|| Error::new(Kind::Protocol, "IDENTIFY_SYSTEM gave no usable row"))
}

/// Where the next WAL record will be written.
///
/// # Errors
/// A standby, which writes none; the source's connection.
pub(crate) fn wal_end(session: &mut Connection) -> Result<Lsn> {
    let row = session.rows("SELECT pg_catalog.pg_current_wal_insert_lsn() AS wal_end")?;
    let end = row.value(0, "wal_end").and_then(|text| text.parse().ok());
    end.ok_or_else(|| {
        Error::new(
            Kind::Protocol,
            "pg_current_wal_insert_lsn() gave no position",
        )
    })
}

/// The system identifier of the cluster, by an ordinary session.
///
/// # Errors
/// The source's connection.
pub(crate) fn system_identifier(session: &mut Connection) -> Result<String> {
    let row = session.rows("SELECT system_identifier FROM pg_catalog.pg_control_system()")?;
    let text = row.value(0, "system_identifier").map(str::to_owned);
    text.ok_or_else(|| Error::new(Kind::Protocol, "pg_control_system() gave no row"))
}

/// Where the source stands, and where `known_timeline` ended if the server is on a later one.
///
/// # Errors
/// A timeline history that the server does not have; the source's connection.
pub(crate) fn position(
    walsender: &mut Connection,
    identity: &Identity,
    known_timeline: Option<u32>,
) -> Result<SourcePosition> {
    let switch = match known_timeline {
        Some(known) if known < identity.timeline => {
            let command = format!("TIMELINE_HISTORY {}", identity.timeline);
            let answer = walsender.rows(&command).at(|| command.clone())?;
            switch_point(answer.value(0, "content").unwrap_or_default(), known)
        }
        _ => None,
    };
    Ok(SourcePosition {
        end: identity.end,
        timeline: identity.timeline,
        switch,
    })
}

/// Finds the end of a timeline in a history file: lines of timeline, position and reason. A timeline that the
/// file does not name is a sibling: what both share ends at most where the new one left the last one before
/// both.
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
///
/// # Errors
/// [`Kind::Setting`] for an old version or another `wal_level`, [`Kind::Transient`] for a standby.
pub(crate) fn check(session: &mut Connection) -> Result<Server> {
    let row = session.rows(
        "SELECT current_setting('server_version_num') AS version, \
         current_setting('wal_level') AS wal_level, current_setting('server_version') AS version_text, \
         current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS in_recovery, \
         pg_postmaster_start_time() AS started",
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
    if row.value(0, "in_recovery") == Some("t") {
        // It may be about to be promoted.
        return Err(Error::new(
            Kind::Transient,
            "expected a primary, found a standby in recovery",
        )
        .hint(
            "point DB_HOST to the primary; if this standby is about to take over, zemi goes on by itself",
        ));
    }
    Ok(server)
}

/// Facts of the source server: a primary that can be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// `server_version_num`
    pub(crate) version: u32,
    /// `server_version`
    pub(crate) version_text: String,
    /// `wal_level`
    pub(crate) wal_level: String,
    /// `server_encoding`
    pub(crate) encoding: String,
    /// `pg_postmaster_start_time()`, which tells a server from its physical clone.
    pub(crate) started: String,
}

impl Server {
    fn read(row: &ResultSet) -> Result<Server> {
        let text = |column: &str| row.value(0, column).unwrap_or_default().to_owned();
        Ok(Server {
            version: text("version").parse().map_err(|_| {
                Error::new(Kind::Setting, "expected a number in server_version_num")
                    .hint("is this a PostgreSQL server?")
            })?,
            wal_level: text("wal_level"),
            version_text: text("version_text"),
            encoding: text("encoding"),
            started: text("started"),
        })
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
