//! The counters of rows that PostgreSQL keeps for each table (documentation, "The Cumulative Statistics
//! System"). A server process reports what a transaction did when the transaction has ended, at most once a
//! second, and 10 s later at the latest; up to 14 not while it waits for its next statement.

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};
use crate::lsn::{Lsn, Oid};
use crate::wire::{Connection, ResultSet, literal};

/// Rows of one table that were inserted, updated and deleted since its counters began, those of transactions
/// that were rolled back included.
pub(crate) type Counters = [u64; 3];

/// What one look at the source shows, beside its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Where the next WAL record will be written.
    pub(crate) wal_end: Lsn,
    /// The end of WAL on the server's disk, which is what its walsender sends.
    pub(crate) wal_flushed: Lsn,
    /// The highest OID of a relation: a table made later has a higher one.
    pub(crate) newest: Oid,
    /// All transactions with lower numbers have ended (`pg_snapshot_xmin`).
    pub(crate) oldest_transaction: u64,
    /// The number that the next transaction gets (`pg_snapshot_xmax`).
    pub(crate) next_transaction: u64,
}

/// Asks for a [`Look`].
///
/// # Errors
/// The source's connection.
pub(crate) fn look(session: &mut Connection) -> Result<Look> {
    let row = session.rows(
        "SELECT pg_catalog.pg_current_wal_insert_lsn() AS wal_end, \
         pg_catalog.pg_current_wal_flush_lsn() AS wal_flushed, \
         (SELECT oid FROM pg_catalog.pg_class ORDER BY oid DESC LIMIT 1) AS newest, \
         pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS oldest, \
         pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS next",
    )?;
    let text = |column: &str| row.value(0, column);
    let found = || {
        Some(Look {
            wal_end: text("wal_end")?.parse().ok()?,
            wal_flushed: text("wal_flushed")?.parse().ok()?,
            newest: Oid(text("newest")?.parse().ok()?),
            oldest_transaction: text("oldest")?.parse().ok()?,
            next_transaction: text("next")?.parse().ok()?,
        })
    };
    found().ok_or_else(|| Error::new(Kind::Protocol, "pg_current_snapshot() gave no usable row"))
}

/// Whether the counters are kept: `track_counts` is on.
///
/// # Errors
/// The source's connection.
pub(crate) fn reads_counters(session: &mut Connection) -> Result<bool> {
    let row = session.rows("SELECT pg_catalog.current_setting('track_counts') AS counts")?;
    Ok(row.value(0, "counts") == Some("on"))
}

/// The counters of these tables, as far as the tables exist.
///
/// # Errors
/// The source's connection.
pub(crate) fn read_counters(
    session: &mut Connection,
    tables: &[Oid],
) -> Result<HashMap<Oid, Counters>> {
    if tables.is_empty() {
        return Ok(HashMap::new());
    }
    let list: Vec<String> = tables.iter().map(Oid::to_string).collect();
    let found = session.rows(&format!(
        "SELECT oid, pg_catalog.pg_stat_get_tuples_inserted(oid) AS inserted, \
         pg_catalog.pg_stat_get_tuples_updated(oid) AS updated, \
         pg_catalog.pg_stat_get_tuples_deleted(oid) AS deleted \
         FROM pg_catalog.pg_class WHERE oid = ANY ('{{{}}}'::oid[])",
        list.join(",")
    ))?;
    Ok((0..found.rows.len())
        .filter_map(|row| counters(&found, row))
        .collect())
}

/// The counters of tables by their names, quoted for SQL, as far as the tables exist.
///
/// # Errors
/// The source's connection.
pub(crate) fn counters_by_name(
    session: &mut Connection,
    names: &[&str],
) -> Result<HashMap<Oid, Counters>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let found = session.rows(&format!(
        "SELECT pg_catalog.to_regclass(name)::oid AS oid FROM pg_catalog.unnest(ARRAY[{}]) AS name",
        list.join(", ")
    ))?;
    let oid = |row| found.value(row, "oid")?.parse().ok().map(Oid);
    let oids: Vec<Oid> = (0..found.rows.len()).filter_map(oid).collect();
    read_counters(session, &oids)
}

fn counters(found: &ResultSet, row: usize) -> Option<(Oid, Counters)> {
    let number = |column: &str| found.value(row, column)?.parse().ok();
    let oid = Oid(found.value(row, "oid")?.parse().ok()?);
    Some((
        oid,
        [number("inserted")?, number("updated")?, number("deleted")?],
    ))
}

/// Whether a server process may hold counts back: on 14, one that waits for its next statement since a time
/// in the last `seconds`, or one whose state the role may not see.
///
/// # Errors
/// The source's connection.
pub(crate) fn idle_since(session: &mut Connection, seconds: u64) -> Result<bool> {
    let row = session.rows(&format!(
        "SELECT pg_catalog.current_setting('server_version_num')::int < 150000 AND EXISTS \
         (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' \
         AND pid <> pg_catalog.pg_backend_pid() AND application_name <> 'zemi' \
         AND datname = pg_catalog.current_database() AND (state IS NULL OR state = 'idle' \
         AND state_change > pg_catalog.clock_timestamp() - interval '{seconds} s')) AS idle"
    ))?;
    Ok(row.value(0, "idle") == Some("t"))
}
