//! The destination's session: connection, guard, tables, and where the progress stands.
//!
//! A connection becomes a [`Session`], which alone can write, in one of three ways: its progress is verified
//! against where the writer left it, is taken for true, or is written at the start of the stream.

use std::sync::{Arc, Mutex};

use super::durable::Durable;
use super::gap::{self, log_gap};
use super::package_trigger::{self, Hindered};
use super::progress::ProgressSql;
use super::schema;
use super::statements;
use super::tables::{Destination, Tables};
use super::verdict::{Verdict, judge};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::resume::{Gap, GapReason, StreamStart, Stretch};
use crate::sqlstate;
use crate::threads::lock;
use crate::wire::{Connection, literal};

/// What every session of the writer works with.
#[derive(Clone)]
pub(crate) struct Environment {
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// What the other threads need to know of the destination.
    pub(crate) destination: Arc<Destination>,
    /// The loss of rows that was counted and is not known to be recorded yet.
    pub(crate) loss: Arc<Mutex<Option<Gap>>>,
}

impl Environment {
    /// Counts and logs a loss, once for all attempts to record it.
    fn note_loss(&self, gap: &Gap) {
        if lock(&self.loss).replace(gap.clone()).as_ref() != Some(gap) {
            self.metrics.gaps.add(1);
            self.metrics.destination.note(gap);
            log_gap(gap, "destination");
        }
    }

    /// Tells the other threads of the tables.
    pub(super) fn publish(&self, tables: &Tables, same_cluster: bool) {
        let config = &self.config;
        let same_database = config.source.database == config.destination.database;
        let is_source = same_cluster && same_database;
        self.destination.set(tables.clone(), is_source);
    }
}

/// A connection and what belongs to it, wherever the progress stands.
pub(super) struct Core {
    pub(super) environment: Environment,
    pub(super) connection: Connection,
    pub(super) sql: ProgressSql,
    /// This server session knows the prepared guard.
    pub(super) prepared: bool,
    pub(super) tables: Tables,
    /// The destination is the source's own cluster.
    pub(super) same_cluster: bool,
}

impl Core {
    /// Runs statements as one transaction.
    fn transaction(&mut self, statements: &[String]) -> Result<()> {
        self.connection
            .transaction(&statements::transaction(statements))
    }

    /// Where the progress stands.
    pub(super) fn read_progress(&mut self) -> Result<Option<Lsn>> {
        let progress = self.sql.read(&mut self.connection)?;
        Ok(progress.map(|progress| progress.flushed))
    }

    /// Makes sure that the guard finds the progress where it stands: a trigger or rule may keep it from that,
    /// and all that the guard says is a division by zero.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_guard(&mut self, position: Lsn, timeline: u32) -> Result<()> {
        if self.read_progress()? != Some(position) {
            return Ok(());
        }
        let guard = self.sql.advance(position, position, timeline);
        let tried = self
            .connection
            .query(&format!("{}; {guard}", statements::BEGIN));
        self.connection.query("ROLLBACK")?;
        match tried {
            Err(e) if e.is_sqlstate(sqlstate::DIVISION_BY_ZERO) => Err(self.hindered()),
            other => other.map(drop),
        }
    }

    fn hindered(&self) -> Error {
        let table = self.tables.names.progress();
        Error::new(
            Kind::Transient,
            format!("a row of {table} could not be written: a trigger or rule of that table hinders it"),
        )
        .hint(format!(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = {}::regclass AND NOT tgisinternal shows triggers; \
             drop the one that returns NULL",
            literal(table)
        ))
    }

    /// Acts on what the progress shows, so that it stands at `expected` or proves that the batch of unclear
    /// fate is durable.
    pub(super) fn reconcile(
        &mut self,
        verdict: Verdict,
        expected: Lsn,
        timeline: u32,
    ) -> Result<Option<Durable>> {
        if !matches!(verdict, Verdict::WentBack(_)) {
            // An earlier attempt to record one has succeeded.
            lock(&self.environment.loss).take();
        }
        match verdict {
            Verdict::AsLeft => Ok(None),
            Verdict::Committed(end) => Ok(Some(Durable::by_progress(end))),
            Verdict::Moved(found) => Err(Error::new(
                Kind::Resync,
                format!(
                    "expected the progress at {expected}, found it at {found}: another process has moved it"
                ),
            )),
            Verdict::WentBack(found) => self.record_loss(found, expected, timeline).map(|()| None),
            Verdict::Gone => {
                log::warn!(
                    "the progress was gone from zemi_progress: writing it again at {expected}"
                );
                let insert = self.sql.insert(expected, timeline);
                self.transaction(&[insert])?;
                match self.read_progress()? {
                    Some(_) => Ok(None),
                    None => Err(self.hindered()),
                }
            }
        }
    }

    /// Records that rows which were confirmed are not in this destination.
    fn record_loss(&mut self, found: Lsn, expected: Lsn, timeline: u32) -> Result<()> {
        let lost = Stretch {
            from: found,
            to: expected,
            timeline,
        };
        let gap = Gap::unknown(lost, GapReason::DestinationWentBack);
        self.environment.note_loss(&gap);
        let config = &self.environment.config;
        let record = gap::statement(&gap, expected, gap::new_id(), &self.tables, config);
        let advance = self.sql.advance(found, expected, timeline);
        self.record_gap(record, &[advance])?;
        lock(&self.environment.loss).take();
        Ok(())
    }

    /// Writes where the stream starts into the progress, which stands at `previous`, with the gap before it.
    fn record_start(&mut self, previous: Option<Lsn>, start: &StreamStart) -> Result<()> {
        let progress = match previous {
            Some(previous) => self.sql.advance(previous, start.position, start.timeline),
            None => self.sql.insert(start.position, start.timeline),
        };
        let Some(gap) = &start.gap else {
            return self.transaction(&[progress]);
        };
        let config = &self.environment.config;
        let id = gap::id_at_start(start);
        let record = gap::statement(gap, start.position, id, &self.tables, config);
        let clear = self.sql.clear_gap();
        self.record_gap(record, &[clear, progress])
    }

    /// Writes the row of a gap and moves the progress behind it, in one transaction.
    fn record_gap(&mut self, record: String, progress: &[String]) -> Result<()> {
        let all: Vec<String> = std::iter::once(record)
            .chain(progress.iter().cloned())
            .collect();
        match self.transaction(&all) {
            // Bemi's table may allow its own four operations only.
            Err(e) if e.is_about_data() && !e.is_sqlstate(sqlstate::DIVISION_BY_ZERO) => {
                log::error!("the gap could not be recorded in changes: {e}");
                self.transaction(progress)
            }
            done => done,
        }
    }

    /// Looks at the tables again: they may have been altered since the session was opened. Where they are
    /// gone, those of before stay.
    pub(super) fn refresh_tables(&mut self) -> Result<()> {
        if let Some(tables) = schema::look(&mut self.connection, &self.environment.config)? {
            self.environment.publish(&tables, self.same_cluster);
            self.tables = tables;
        }
        Ok(())
    }
}

/// A new session, whose progress was read and not compared with anything.
pub(crate) struct Opened {
    core: Core,
    flushed: Option<Lsn>,
}

impl Opened {
    pub(super) fn new(core: Core, flushed: Option<Lsn>) -> Opened {
        Opened { core, flushed }
    }

    /// Where the progress stands; `None` without a row.
    pub(crate) fn flushed(&self) -> Option<Lsn> {
        self.flushed
    }

    /// The roles whose CREATE TABLE meets zemi's tables.
    ///
    /// # Errors
    /// A session that was lost: its next use fails, too.
    pub(crate) fn hindered(&mut self) -> Result<Option<Hindered>> {
        package_trigger::look(&mut self.core.connection, &self.core.tables)
    }

    /// Makes sure that the progress is at `expected`. `sent` is where a batch of unclear fate would have
    /// moved it; where it did, the proof comes with the session. A progress that is gone or went back is
    /// written again, the latter with a gap.
    ///
    /// # Errors
    /// [`Kind::Resync`] where another process has moved it; a destination that fails.
    pub(crate) fn verify(
        mut self,
        expected: Lsn,
        sent: Option<Lsn>,
        timeline: u32,
    ) -> Result<(Session, Option<Durable>)> {
        let verdict = judge(self.flushed, expected, sent);
        let durable = self.core.reconcile(verdict, expected, timeline)?;
        let position = durable.as_ref().map_or(expected, Durable::lsn);
        let core = self.core;
        Ok((Session { core, position }, durable))
    }

    /// As [`Opened::verify`], but a progress beyond `expected` is taken for true: rows were discarded, and
    /// the stream is asked for again from there.
    ///
    /// # Errors
    /// A destination that fails.
    pub(crate) fn accept(mut self, expected: Lsn, timeline: u32) -> Result<Session> {
        let verdict = judge(self.flushed, expected, None);
        let position = match verdict {
            Verdict::Moved(found) => found,
            verdict => {
                self.core.reconcile(verdict, expected, timeline)?;
                expected
            }
        };
        let core = self.core;
        Ok(Session { core, position })
    }

    /// The session at the start of the stream: where the progress stands, or, where there is none or a gap is
    /// to be recorded, where it is written now.
    ///
    /// # Errors
    /// A destination that fails.
    pub(crate) fn start(mut self, start: &StreamStart) -> Result<Session> {
        let position = match self.flushed {
            Some(flushed) if start.gap.is_none() => flushed,
            previous => {
                self.core.record_start(previous, start)?;
                start.position
            }
        };
        let core = self.core;
        Ok(Session { core, position })
    }
}

/// A session whose progress stands at a position that this process knows.
pub(crate) struct Session {
    pub(super) core: Core,
    pub(super) position: Lsn,
}

impl Session {
    /// Transactions that end here or before are in the destination.
    pub(crate) fn position(&self) -> Lsn {
        self.position
    }

    /// Records the gap at the start of a stream and moves the progress behind it. Consumes the session, which
    /// is lost with an error.
    ///
    /// # Errors
    /// A destination that fails.
    pub(crate) fn record_start(mut self, start: &StreamStart) -> Result<Session> {
        self.core.record_start(Some(self.position), start)?;
        self.position = start.position;
        Ok(self)
    }

    /// Undoes the open transaction; `None` where the session is lost.
    pub(crate) fn rollback(mut self) -> Option<Session> {
        let undone = self.core.connection.query("ROLLBACK").is_ok();
        undone.then_some(self)
    }
}
