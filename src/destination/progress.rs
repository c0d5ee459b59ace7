//! The progress: the position up to which the stream is in the destination, written in the same transactions
//! as the rows.

use super::identity::{DestinationIdentity, at_destination};
use super::login::open_session;
use super::tables::{self, TableNames};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;
use crate::source::session::COMMIT_FOR_OTHERS;
use crate::sqlstate;
use crate::wire::{Connection, literal};

/// The row of `zemi_progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Transactions that end here or before are in the destination.
    pub(crate) flushed: Lsn,
    /// The source's timeline when the row was written.
    pub(crate) timeline: u32,
    /// The destination's system identifier when the row was written.
    pub(crate) destination_system: Option<String>,
    /// The destination's timeline when the row was written.
    pub(crate) destination_timeline: Option<u32>,
    /// A gap was announced and not recorded yet: with the end of the source's WAL then, or 0/0 where that was
    /// not before the progress.
    pub(crate) announced: Option<Lsn>,
}

impl Progress {
    /// Whether the row was written on another server, or another timeline of it, than the one that holds it.
    pub(crate) fn destination_changed(&self, now: &DestinationIdentity) -> bool {
        fn differ<T: PartialEq>(then: &Option<T>, now: &Option<T>) -> bool {
            matches!((then, now), (Some(then), Some(now)) if then != now)
        }
        differ(&self.destination_system, &now.system)
            || differ(&self.destination_timeline, &now.timeline)
    }
}

/// The statements about the progress of one slot, source and destination.
#[derive(Debug, Clone)]
pub(crate) struct ProgressSql {
    table: String,
    key: String,
    values: String,
    /// The key of a second row, which announces a gap; no slot can have its name.
    gap_key: String,
    gap_values: String,
    destination: String,
    /// What else the guard selects, see [`guard_also`].
    also: String,
}

impl ProgressSql {
    /// For the slot of these settings on the source with this system identifier.
    pub(crate) fn new(
        config: &Config,
        names: &TableNames,
        system_identifier: &str,
        now: &DestinationIdentity,
        same_cluster: bool,
    ) -> ProgressSql {
        let slot = literal(&config.slot_name);
        let announcement = literal(&format!("{} (gap)", config.slot_name));
        let system = literal(system_identifier);
        let database = literal(&config.source.database);
        let key = |name: &str| {
            format!("slot_name = {name} AND system_identifier = {system} AND database = {database}")
        };
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".into());
        let destination_system = or_null(now.system.as_deref().map(literal));
        let destination_timeline = or_null(now.timeline.map(|t| t.to_string()));
        ProgressSql {
            table: names.progress().to_owned(),
            key: key(&slot),
            values: format!("{slot}, {system}, {database}"),
            gap_key: key(&announcement),
            gap_values: format!("{announcement}, {system}, {database}"),
            destination: format!("{destination_system}, {destination_timeline}"),
            also: guard_also(same_cluster),
        }
    }

    /// Reads the row.
    pub(crate) fn read(&self, session: &mut Connection) -> Result<Option<Progress>> {
        let row = session.rows(&format!(
            "SELECT flushed_lsn, timeline, destination_system, destination_timeline, \
             (SELECT flushed_lsn FROM {0} WHERE {1} AND timeline > 0) AS announced FROM {0} WHERE {2}",
            self.table, self.gap_key, self.key
        ))?;
        if row.rows.is_empty() {
            return Ok(None);
        }
        let column = |name| row.value(0, name);
        let progress = || {
            Some(Progress {
                flushed: column("flushed_lsn")?.parse().ok()?,
                timeline: column("timeline")?.parse().ok()?,
                destination_system: column("destination_system").map(str::to_owned),
                destination_timeline: column("destination_timeline").and_then(|t| t.parse().ok()),
                announced: column("announced").and_then(|lsn| lsn.parse().ok()),
            })
        };
        progress().map(Some).ok_or_else(|| {
            Error::new(
                Kind::Setting,
                format!("table {} has another shape than zemi made", self.table),
            )
        })
    }

    /// Makes the row.
    pub(crate) fn insert(&self, flushed: Lsn, timeline: u32) -> String {
        self.insert_row(&self.values, flushed, timeline)
    }

    /// Announces a gap, in a row of its own that a batch in flight does not touch. `parted` is the end of the
    /// source's WAL where that is before the progress. The first announcement stays.
    pub(crate) fn announce_gap(&self, parted: Option<Lsn>, timeline: u32) -> String {
        format!(
            "{} ON CONFLICT (slot_name, system_identifier, database) DO UPDATE SET \
             flushed_lsn = EXCLUDED.flushed_lsn, timeline = EXCLUDED.timeline, updated_at = now() \
             WHERE zemi_progress.timeline = 0",
            self.insert_row(&self.gap_values, parted.unwrap_or_default(), timeline)
        )
    }

    /// Takes the announcement back: the gap is recorded. No timeline is 0; the row stays, since the role
    /// may lack the right to delete it.
    pub(crate) fn clear_gap(&self) -> String {
        format!(
            "UPDATE {} SET timeline = 0, updated_at = now() WHERE {}",
            self.table, self.gap_key
        )
    }

    fn insert_row(&self, values: &str, flushed: Lsn, timeline: u32) -> String {
        format!(
            "INSERT INTO {} (slot_name, system_identifier, database, flushed_lsn, \
             timeline, destination_system, destination_timeline) \
             VALUES ({values}, '{flushed}', {timeline}, {})",
            self.table, self.destination
        )
    }

    /// Moves the row from `previous` to `next`, or fails with 22012 (division by zero) where it does not
    /// stand at `previous`: a batch whose fate was unclear, or another instance, has moved it.
    pub(crate) fn advance(&self, previous: Lsn, next: Lsn, timeline: u32) -> String {
        format!(
            "WITH u AS (UPDATE {} SET flushed_lsn = '{next}', timeline = {timeline}, \
             (destination_system, destination_timeline) = ROW({}), updated_at = now() \
             WHERE {} AND flushed_lsn = '{previous}' RETURNING 1) SELECT 1/count(*){} FROM u",
            self.table, self.destination, self.key, self.also
        )
    }

    /// As [`ProgressSql::advance`], in a session that [`prepare`] prepared.
    pub(crate) fn advance_prepared(&self, previous: Lsn, next: Lsn, timeline: u32) -> String {
        format!(
            "EXECUTE zemi_advance('{previous}', '{next}', {timeline}, {}, {})",
            self.values, self.destination
        )
    }

    /// Locks the row where it stands at `previous`, or fails like [`ProgressSql::advance`].
    pub(crate) fn lock(&self, previous: Lsn) -> String {
        format!(
            "WITH u AS (SELECT 1 FROM {} WHERE {} AND flushed_lsn = '{previous}' \
             FOR UPDATE) SELECT 1/count(*) FROM u",
            self.table, self.key
        )
    }
}

/// What the guard selects beside the proof: in the source's cluster, whose standby zemi may be, which
/// standbys the commit waits for. Elsewhere the session's own setting holds.
fn guard_also(same_cluster: bool) -> String {
    match same_cluster {
        true => format!(", {COMMIT_FOR_OTHERS}"),
        false => String::new(),
    }
}

/// Prepares the guard: parsing and planning it takes longer than all else that a small batch costs the
/// destination before its commit.
///
/// The key is among the parameters, so that the statement is the same for every instance of zemi: a pooler
/// may hand out one server session to several of them.
pub(crate) fn prepare(
    session: &mut Connection,
    names: &TableNames,
    same_cluster: bool,
) -> Result<()> {
    let prepared = session.query(&format!(
        "PREPARE zemi_advance(pg_lsn, pg_lsn, int, text, text, text, text, int) AS \
         WITH u AS (UPDATE {} SET flushed_lsn = $2, timeline = $3, \
         destination_system = $7, destination_timeline = $8, updated_at = now() \
         WHERE slot_name = $4 AND system_identifier = $5 AND database = $6 AND flushed_lsn = $1 \
         RETURNING 1) SELECT 1/count(*){} FROM u",
        names.progress(),
        guard_also(same_cluster)
    ));
    match prepared {
        // Another instance prepared it in this server session.
        Err(e) if e.is_sqlstate(sqlstate::DUPLICATE_PREPARED_STATEMENT) => Ok(()),
        done => done.map(drop),
    }
}

/// The progress of this slot; `None` without a row or a table.
///
/// # Errors
/// A destination that does not answer.
pub(crate) fn read_progress(config: &Config, system_identifier: &str) -> Result<Option<Progress>> {
    let (mut session, sql) = open(config, system_identifier)?;
    match sql.read(&mut session) {
        Err(e) if e.is_sqlstate(sqlstate::UNDEFINED_TABLE) => Ok(None),
        read => at_destination(read),
    }
}

/// Removes the row of this slot.
///
/// # Errors
/// A destination that does not answer, or that refuses.
pub(crate) fn forget_progress(config: &Config, system_identifier: &str) -> Result<()> {
    let (mut session, sql) = open(config, system_identifier)?;
    let delete = format!(
        "DELETE FROM {} WHERE {} OR {}",
        sql.table, sql.key, sql.gap_key
    );
    match session.query(&delete) {
        Err(e) if e.is_sqlstate(sqlstate::UNDEFINED_TABLE) => Ok(()),
        done => at_destination(done.map(drop)),
    }
}

fn open(config: &Config, system_identifier: &str) -> Result<(Connection, ProgressSql)> {
    let mut session = at_destination(open_session(config))?;
    let names = at_destination(tables::locate(&mut session))?;
    let unknown = DestinationIdentity {
        system: None,
        timeline: None,
        started: String::new(),
    };
    let sql = ProgressSql::new(config, &names, system_identifier, &unknown, false);
    Ok((session, sql))
}
