//! Which server the source is, and whether it can be followed at all.

use crate::error::{At, Error, Kind, Result};
use crate::lsn::{Lsn, Xid};
use crate::resume::{SavedProgress, SourcePosition, Started, TimelineEnd};
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

/// Where the source stands, seen from the progress.
///
/// # Errors
/// A timeline history that the server does not have; the source's connection.
pub(crate) fn position(
    walsender: &mut Connection,
    session: &mut Connection,
    identity: &Identity,
    saved: Option<SavedProgress>,
) -> Result<SourcePosition> {
    let mut position = SourcePosition {
        end: identity.end,
        timeline: identity.timeline,
        left: None,
        started: None,
    };
    let Some(saved) = saved else {
        return Ok(position);
    };
    if saved.timeline < identity.timeline {
        position.left = timeline_end(walsender, identity.timeline, saved.timeline)?;
    }
    let parted = position.left.is_some_and(|left| left.at_most) || saved.parted.is_some();
    if parted || saved.flushed > identity.end || saved.timeline > identity.timeline {
        position.started = started(session, identity.timeline)?;
    }
    Ok(position)
}

/// Where what the server has of an earlier timeline ends.
fn timeline_end(walsender: &mut Connection, now: u32, before: u32) -> Result<Option<TimelineEnd>> {
    let history = timelines(walsender, now)?;
    if history.iter().any(|past| past.timeline == before) {
        return Ok(last_shared(&history, &[], before));
    }
    // Another one than the server's own: its file is there where it was not recovered from an archive.
    let other = match timelines(walsender, before) {
        Err(e) if e.kind() == Kind::Server => Vec::new(),
        other => other?,
    };
    Ok(last_shared(&history, &other, before))
}

fn timelines(walsender: &mut Connection, timeline: u32) -> Result<Vec<TimelineEnd>> {
    let command = format!("TIMELINE_HISTORY {timeline}");
    let answer = walsender.rows(&command).at(|| command.clone())?;
    Ok(history(answer.value(0, "content").unwrap_or_default()))
}

/// The content of a history file: lines of timeline, position and reason.
fn history(content: &str) -> Vec<TimelineEnd> {
    let ends = content.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(TimelineEnd {
            timeline: words.next()?.parse().ok()?,
            end: words.next()?.parse().ok()?,
            at_most: false,
        })
    });
    ends.collect()
}

/// Finds the end of `timeline` in the history of the server's. A timeline that this does not name is a
/// sibling, with a history of its own where that is known: both share what is in both. Else they share at
/// most the timelines before.
fn last_shared(own: &[TimelineEnd], other: &[TimelineEnd], timeline: u32) -> Option<TimelineEnd> {
    let earlier = own.iter().take_while(|past| past.timeline <= timeline);
    if let Some(exact) = earlier.clone().find(|past| past.timeline == timeline) {
        return Some(*exact);
    }
    let Some(shared) = earlier
        .clone()
        .filter_map(|own| {
            let other = other.iter().find(|other| other.timeline == own.timeline)?;
            Some(TimelineEnd {
                timeline,
                end: own.end.min(other.end),
                at_most: false,
            })
        })
        .last()
    else {
        return earlier.last().map(|own| TimelineEnd {
            timeline,
            end: own.end,
            at_most: true,
        });
    };
    Some(shared)
}

/// Where the server began to write when it was started last: a shutdown or the end of a recovery left a
/// checkpoint there, behind which only the next one can be, and that one begins before its own record
/// (`CreateCheckPoint`, `xlog.c`). `None` where there was a later one, or the role may not ask; also where it
/// is of an earlier timeline: a standby that was promoted has its own checkpoint some time later.
fn started(session: &mut Connection, timeline: u32) -> Result<Option<Started>> {
    let asked = session.rows(&format!(
        "SELECT checkpoint_lsn, split_part(next_xid, ':', 1)::bigint * 4294967296 \
         + split_part(next_xid, ':', 2)::bigint AS next_xid \
         FROM pg_catalog.pg_control_checkpoint() \
         WHERE redo_lsn = checkpoint_lsn AND timeline_id = {timeline}"
    ));
    let row = match asked {
        Err(e) if e.is_of_statement() => return Ok(None),
        row => row?,
    };
    let started = || {
        Some(Started {
            at: row.value(0, "checkpoint_lsn")?.parse().ok()?,
            next_xid: row.value(0, "next_xid")?.parse().ok()?,
        })
    };
    Ok(started())
}

/// Those of these transactions that the server does not have: aborted by its recovery, prepared and not
/// committed, or given out again since it was `started`. One so old that its status was forgotten is part of
/// its past.
///
/// # Errors
/// The source's connection.
pub(crate) fn undone(
    session: &mut Connection,
    transactions: &[Xid],
    started: Option<Started>,
) -> Result<Vec<Xid>> {
    let given_out = started.map_or_else(
        || "false".into(),
        |s| format!("past.full >= {}", s.next_xid),
    );
    let xids: Vec<String> = transactions.iter().map(|xid| xid.0.to_string()).collect();
    let found = session.rows(&format!(
        "SELECT t.xid FROM unnest('{{{}}}'::bigint[]) t(xid), \
         (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::numeric AS next) s, \
         LATERAL (SELECT s.next - mod(s.next, 4294967296) + t.xid AS full) this, \
         LATERAL (SELECT CASE WHEN this.full < s.next THEN this.full \
         WHEN this.full >= 4294967296 THEN this.full - 4294967296 END AS full) past \
         WHERE past.full IS NULL OR {given_out} \
         OR pg_catalog.pg_xact_status(past.full::text::xid8) IN ('aborted', 'in progress')",
        xids.join(",")
    ))?;
    let xids = found.values("xid").into_iter();
    Ok(xids.filter_map(|xid| xid.parse().ok().map(Xid)).collect())
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
        let own = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000060\tx\n";
        let without_two = "1\t0/3000148\tx\n3\t0/5000060\tx";
        for (own, other, timeline, found) in [
            (own, "", 1, Some((0x300_0148, false))),
            (own, "", 2, Some((0x500_0060, false))),
            // A sibling without a history of its own.
            (without_two, "", 2, Some((0x300_0148, true))),
            (own, "", 3, Some((0x500_0060, true))),
            // It parted before or behind.
            (without_two, "1\t0/2000000\tx", 2, Some((0x200_0000, false))),
            (without_two, "1\t0/4000000\tx", 2, Some((0x300_0148, false))),
            (
                own,
                "1\t0/3000148\tx\n2\t0/4000000\tx",
                3,
                Some((0x400_0000, false)),
            ),
            ("2\t0/5000060\tx\n", "", 1, None),
            ("garbage\n1", "", 1, None),
        ] {
            let shared = last_shared(&history(own), &history(other), timeline);
            let shared = shared.map(|end| (end.end.0, end.at_most));
            assert_eq!(shared, found, "{own:?}, {other:?}, {timeline}");
        }
    }
}
