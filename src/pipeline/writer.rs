//! The writer thread: one destination transaction a batch, progress and rows together.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::channel::WriterCommand;
use super::control::Control;
use super::feedback::Feedback;
use crate::backoff::Backoff;
use crate::change::Batch;
use crate::config::Config;
use crate::destination::accounting::{self, Account};
use crate::destination::connect::{self, Preconnect, SourceIdentity, at_destination};
use crate::destination::copy::{self, BEGIN};
use crate::destination::fallback::Fallback;
use crate::destination::gap::log_gap;
use crate::destination::progress::{self, Progress, ProgressSql};
use crate::destination::session::Link;
use crate::destination::tables::{Destination, Tables};
use crate::destination::{gap, package_trigger, schema};
use crate::error::{Error, Kind, Remedy, Result};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::resume::{Gap, GapReason, SavedProgress, StreamStart};
use crate::sqlstate;

/// What the thread works with.
pub struct Writer {
    /// The settings.
    pub config: Arc<Config>,
    /// Stop, outage.
    pub control: Arc<Control>,
    /// The epoch of the stream and the durable position.
    pub feedback: Arc<Feedback>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the other threads need to know of the destination.
    pub destination: Arc<Destination>,
    /// Which cluster the source is.
    pub source: SourceIdentity,
    /// What to do.
    pub work: Receiver<WriterCommand>,
    /// Where batches go back.
    pub spare_batches: Sender<Box<Batch>>,
    /// Told once, when the tables are there and the progress was read.
    pub ready: Sender<Ready>,
    /// The first session.
    pub preconnect: Preconnect,
}

/// The destination is there.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What it knows of the stream.
    pub known: Option<SavedProgress>,
}

/// What changes while it runs.
struct State {
    link: Option<Link>,
    epoch: u64,
    timeline: u32,
    /// Where the row of the progress stands; `None` where there is none.
    flushed: Option<Lsn>,
    /// A destination transaction holds the first pieces of a source transaction.
    piece_open: bool,
    /// Rows are written in pieces up to the end of the transaction that COPY refused.
    fallback: bool,
    /// A piece of a large transaction failed, and nothing has become durable since: that a session can be
    /// opened says little.
    unproven: bool,
    /// A piece found a table missing; it was made again and nothing has become durable since.
    tables_missing: bool,
    account: Account,
    /// Whether the destination is the source's cluster; found out at the first connection.
    same_cluster: Option<bool>,
}

impl Writer {
    /// Runs until the decoder says that everything is written, or until an error that retrying does not
    /// mend.
    pub fn run(self) -> Result<()> {
        let mut state = State {
            link: None,
            epoch: 0,
            timeline: 0,
            flushed: None,
            piece_open: false,
            fallback: false,
            unproven: false,
            tables_missing: false,
            account: Account::default(),
            same_cluster: None,
        };
        let known = at_destination(self.first_connection(&mut state))?;
        // Nobody waits for it when the end was asked for meanwhile.
        let _ = self.ready.send(Ready { known });
        self.warn_of_hindered(&mut state);
        loop {
            let work = self
                .work
                .recv()
                .map_err(|_| Error::new(Kind::Stopped, "stopped"))?;
            match work {
                WriterCommand::Start(start) => at_destination(self.start(start, &mut state))?,
                WriterCommand::Batch(batch) => {
                    if batch.epoch == state.epoch {
                        accounting::taken(&batch, &self.metrics);
                        let began = Instant::now();
                        at_destination(self.deliver(&batch, &mut state))?;
                        accounting::done(&batch, began.elapsed(), &self.metrics);
                    }
                    // A full channel means that there are batches enough.
                    let _ = self.spare_batches.try_send(batch);
                }
                WriterCommand::End => return Ok(()),
            }
        }
    }

    /// Names the roles whose CREATE TABLE meets zemi's tables, once a start.
    fn warn_of_hindered(&self, state: &mut State) {
        let Some(link) = state.link.as_mut() else {
            return;
        };
        match package_trigger::look(&mut link.session, &link.tables) {
            Ok(None) => {}
            Ok(Some(hindered)) => log::warn!("{}. Hint: {}", hindered.found(), hindered.fix()),
            // The session is lost, and says so at its next use.
            Err(e) => log::debug!("{e}"),
        }
    }

    fn first_connection(&self, state: &mut State) -> Result<Option<SavedProgress>> {
        let progress = self.retry(state, |writer, state| writer.connect(state))?;
        let link = state.link.as_ref();
        Ok(progress.map(|progress| SavedProgress {
            flushed: progress.flushed,
            timeline: progress.timeline,
            destination_changed: link.is_some_and(|l| progress.destination_changed(&l.identity)),
            gap_pending: progress.gap_pending,
        }))
    }

    /// Tries until it works; an error that retrying does not mend, or the end being asked for, ends it.
    fn retry<T>(
        &self,
        state: &mut State,
        mut attempt: impl FnMut(&Writer, &mut State) -> Result<T>,
    ) -> Result<T> {
        let mut backoff = Backoff::default();
        let mut tables_missing = false;
        loop {
            let error = match attempt(self, state) {
                Ok(done) => {
                    // Not before: a destination that answers and takes nothing, its disk full, is away.
                    self.control.destination_up();
                    if !state.unproven {
                        self.metrics.destination.up();
                    }
                    return Ok(done);
                }
                Err(e) => e,
            };
            self.metrics.persist_errors.add(1);
            self.metrics.destination.down(&error);
            self.lose_connection(state);
            // A table that was dropped is made again when the next connection looks for it.
            let missing = error.is_sqlstate(sqlstate::UNDEFINED_TABLE) && !tables_missing;
            tables_missing |= missing;
            if !missing && (error.remedy() != Remedy::Retry || error.kind() == Kind::Resync) {
                return Err(error);
            }
            let source_stopping = state.same_cluster == Some(true) && error.is_server_stopping();
            self.control.destination_down(source_stopping);
            let wait = backoff.wait();
            log::warn!(
                side = "destination",
                sqlstate = error.code(),
                wait_seconds = wait.as_secs_f64();
                "destination: {error}; trying again in {:.1} s",
                wait.as_secs_f64()
            );
            if !self.control.pause(wait) {
                return Err(Error::new(
                    Kind::Stopped,
                    "stopped while the destination was away",
                ));
            }
        }
    }

    /// Undoes the destination transaction that holds pieces. The session stays where it answers: a source
    /// that goes away costs no connection here.
    fn undo_piece(&self, state: &mut State) {
        let link = state.link.as_mut();
        if link.is_some_and(|link| link.session.query("ROLLBACK").is_ok()) {
            state.piece_open = false;
            state.account.reset();
        } else {
            self.lose_connection(state);
        }
    }

    fn lose_connection(&self, state: &mut State) {
        state.link = None;
        state.piece_open = false;
        state.account.reset();
    }

    /// Opens a session, finds or makes the tables, and reads the progress.
    fn connect(&self, state: &mut State) -> Result<Option<Progress>> {
        let preconnect = self.preconnect.take();
        let mut prepared = preconnect.unwrap_or_else(|| connect::prepare(&self.config))?;
        let found = prepared.tables.take();
        let (mut session, identity, same_cluster) =
            connect::ready(prepared, &self.config, &self.source, state.same_cluster)?;
        let tables = match found {
            Some(tables) => tables,
            None => schema::prepare(&mut session, &self.config)?,
        };
        let system = &self.source.system_identifier;
        let sql = ProgressSql::new(&self.config, &tables.names, system, &identity);
        progress::prepare(&mut session, &tables.names)?;
        let progress = sql.read(&mut session)?;
        log::info!(
            destination:% = self.config.destination;
            "connected to the destination {}",
            self.config.destination
        );
        let first = state.same_cluster.replace(same_cluster).is_none();
        self.note_tables(&tables, same_cluster);
        if first && tables.names.schema() != "public" {
            log::info!(
                "changes go to {}, which the role's search_path finds before schema public",
                tables.names.changes()
            );
        }
        if !first {
            self.metrics.storage_reconnections.add(1);
        } else {
            state.flushed = progress.as_ref().map(|p| p.flushed);
        }
        state.link = Some(Link {
            session,
            identity,
            sql,
            prepared: true,
            tables,
        });
        Ok(progress)
    }

    /// Tells the other threads of the tables.
    fn note_tables(&self, tables: &Tables, same_cluster: bool) {
        let same_database = self.config.source.database == self.config.destination.database;
        let is_source = same_cluster && same_database;
        self.destination.set(tables.clone(), is_source);
    }

    /// Looks at the tables again: they may have been altered since the session was opened. `None` where they
    /// are gone.
    fn refresh_tables(&self, state: &mut State) -> Result<()> {
        let Some(link) = state.link.as_mut() else {
            return Ok(());
        };
        if let Some(tables) = schema::look(&mut link.session, &self.config)? {
            self.note_tables(&tables, state.same_cluster == Some(true));
            link.tables = tables;
        }
        Ok(())
    }

    /// Makes sure of a session whose progress is where this writer left it. `sent` is where a batch of
    /// unclear fate would have moved it: true when it did.
    fn settle(&self, state: &mut State, sent: Option<Lsn>) -> Result<bool> {
        if state.link.is_some() {
            return Ok(false);
        }
        let progress = self.connect(state)?;
        let Some(expected) = state.flushed else {
            return Ok(false);
        };
        self.compare(state, progress, expected, sent)
    }

    fn compare(
        &self,
        state: &mut State,
        progress: Option<Progress>,
        expected: Lsn,
        sent: Option<Lsn>,
    ) -> Result<bool> {
        let Some(link) = state.link.as_mut() else {
            return Ok(false);
        };
        match progress {
            Some(progress) if progress.flushed == expected => Ok(false),
            Some(progress) if Some(progress.flushed) == sent => Ok(true),
            Some(progress) if progress.flushed > expected => Err(Error::new(
                Kind::Resync,
                format!(
                    "expected the progress at {expected}, found it at {}: another process has moved it",
                    progress.flushed
                ),
            )),
            Some(progress) => {
                // The destination is another one than it was: rows that were confirmed are not in it.
                let reason = GapReason::DestinationWentBack;
                let gap = Gap {
                    from: progress.flushed,
                    to: expected,
                    reason,
                };
                self.metrics.gaps.add(1);
                self.metrics.destination.note(&gap.to_string());
                log_gap(&gap, "destination");
                let advance = link.sql.advance(progress.flushed, expected, state.timeline);
                let record = gap::statement(&gap, &link.tables, &self.config);
                link.transaction(&format!("{record}; {advance}"))?;
                Ok(false)
            }
            None => {
                log::warn!(
                    "the progress was gone from zemi_progress: writing it again at {expected}"
                );
                let insert = link.sql.insert(expected, state.timeline);
                link.transaction(&insert)?;
                Ok(false)
            }
        }
    }

    /// Takes note of a start: undoes an open piece, records a gap, makes the progress row.
    fn start(&self, mut start: StreamStart, state: &mut State) -> Result<()> {
        if state.piece_open {
            // The transaction comes again from its beginning.
            self.undo_piece(state);
        }
        if start.epoch < state.epoch && start.gap.is_none() {
            // This writer has begun another epoch since.
            return Ok(());
        }
        let other_epoch = state.epoch != start.epoch;
        state.epoch = state.epoch.max(start.epoch);
        state.timeline = start.timeline;
        if start.gap.is_none() {
            start.gap = state.flushed.and_then(|flushed| start.divergence(flushed));
            if let Some(gap) = &start.gap {
                self.metrics.gaps.add(1);
                self.metrics.source.note(&gap.to_string());
                log_gap(gap, "source");
            }
        }
        if let Some(flushed) = state.flushed
            && start.gap.is_none()
        {
            if other_epoch && flushed > start.position {
                // A batch of the epoch before was committed after the stream had been asked for again.
                self.new_epoch(state, flushed);
            }
            return Ok(());
        }
        self.retry(state, |writer, state| {
            if state.link.is_none() {
                let progress = writer.connect(state)?;
                state.flushed = progress.map(|p| p.flushed);
            }
            let Some(link) = state.link.as_mut() else {
                return Ok(());
            };
            let progress = match state.flushed {
                Some(flushed) => link.sql.advance(flushed, start.position, start.timeline),
                None => link.sql.insert(start.position, start.timeline),
            };
            let Some(gap) = &start.gap else {
                link.transaction(&progress)?;
                state.flushed = Some(start.position);
                return Ok(());
            };
            let progress = format!("{}; {progress}", link.sql.clear_gap());
            let record = gap::statement(gap, &link.tables, &writer.config);
            match link.transaction(&format!("{record}; {progress}")) {
                // Bemi's table may allow its own four operations only.
                Err(e) if e.is_about_data() && !e.is_sqlstate(sqlstate::DIVISION_BY_ZERO) => {
                    log::error!("the gap could not be recorded in changes: {e}");
                    link.transaction(&progress)?;
                }
                other => other?,
            }
            state.flushed = Some(start.position);
            Ok(())
        })
    }

    /// Asks for the stream again from `position`, and discards what comes before it starts.
    fn new_epoch(&self, state: &mut State, position: Lsn) {
        state.epoch = self.feedback.new_epoch(position);
        self.control.end_stream();
    }

    /// Writes a batch, however long it takes, or asks for the stream again when its rows are no longer
    /// all here.
    fn deliver(&self, batch: &Batch, state: &mut State) -> Result<()> {
        if batch.count == 0 && batch.patches.is_empty() && !batch.continues {
            self.landed(batch, state);
            return Ok(());
        }
        let in_pieces = batch.continues || batch.open;
        let result = if in_pieces {
            self.attempt(batch, state)
        } else {
            self.retry(state, |writer, state| writer.attempt(batch, state))
        };
        let error = match result {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        // A table that was dropped is made again, once, as in `retry`.
        let missing =
            in_pieces && error.is_sqlstate(sqlstate::UNDEFINED_TABLE) && !state.tables_missing;
        state.tables_missing |= missing;
        match error.remedy() {
            Remedy::Stop(_) if !missing => return Err(error),
            _ if in_pieces && error.kind() != Kind::Resync => {
                log::warn!(
                    side = "destination", sqlstate = error.code();
                    "destination: {error}; the transaction is larger than a batch and is read again"
                );
                self.metrics.persist_errors.add(1);
                self.metrics.destination.down(&error);
                state.unproven = true;
                self.lose_connection(state);
                if !error.is_about_data() {
                    self.control.destination_down(false);
                }
            }
            _ => log::warn!(
                side = "destination", sqlstate = error.code();
                "destination: {error}; reading the stream again"
            ),
        }
        // What the table says now is where the stream goes on.
        let sent = (!batch.open).then_some(batch.end);
        self.retry(state, |writer, state| writer.read_again(state, sent))?;
        let position = state.flushed.unwrap_or(Lsn::ZERO);
        self.new_epoch(state, position);
        Ok(())
    }

    /// Reads where the progress stands and takes that for true.
    fn read_again(&self, state: &mut State, sent: Option<Lsn>) -> Result<()> {
        let progress = match state.link.as_mut() {
            Some(link) => {
                if link.session.in_transaction() {
                    link.session.query("ROLLBACK")?;
                }
                link.sql.read(&mut link.session)?
            }
            None => self.connect(state)?,
        };
        state.piece_open = false;
        state.account.reset();
        let Some(expected) = state.flushed else {
            return Ok(());
        };
        match &progress {
            Some(progress) if progress.flushed >= expected => {
                state.flushed = Some(progress.flushed);
            }
            _ => drop(self.compare(state, progress, expected, sent)?),
        }
        Ok(())
    }

    /// One attempt at a batch.
    fn attempt(&self, batch: &Batch, state: &mut State) -> Result<()> {
        let end = (!batch.open).then_some(batch.end);
        if self.settle(state, end.filter(|_| !batch.continues))? {
            self.landed(batch, state);
            return Ok(());
        }
        if batch.continues && !state.piece_open {
            return Err(Error::new(
                Kind::Transient,
                "the pieces before this one are gone",
            ));
        }
        let fallback = state.fallback;
        let result = if fallback {
            self.fallback(batch, state)
        } else {
            self.fast(batch, state)
        };
        let Err(error) = result else {
            state.piece_open = batch.open;
            if batch.open {
                state.account.piece(batch, &self.metrics);
            } else {
                state.fallback = false;
                state.tables_missing = false;
                self.landed(batch, state);
            }
            return Ok(());
        };
        let Some(link) = state.link.as_mut() else {
            return Err(error);
        };
        if error.kind() != Kind::Server || !link.session.in_transaction() && batch.continues {
            return Err(error);
        }
        if link.session.in_transaction() {
            link.session.query("ROLLBACK")?;
            state.piece_open = false;
        }
        if error.is_sqlstate(sqlstate::INVALID_SQL_STATEMENT_NAME) && link.prepared {
            // A pooler that hands out another server session for each transaction has not that statement.
            link.prepared = false;
            return self.attempt(batch, state);
        }
        if error.is_sqlstate(sqlstate::DIVISION_BY_ZERO) && !batch.continues {
            // The guard, unless the progress is where it should be: then it was somebody's trigger.
            let progress = link.sql.read(&mut link.session)?;
            let expected = state.flushed.unwrap_or(Lsn::ZERO);
            let stands = progress.as_ref().is_some_and(|p| p.flushed == expected);
            if !stands {
                if self.compare(state, progress, expected, end)? {
                    self.landed(batch, state);
                    return Ok(());
                }
                return self.attempt(batch, state);
            }
        }
        if error.is_sqlstate(sqlstate::NOT_NULL_VIOLATION)
            || error.is_sqlstate(sqlstate::UNDEFINED_COLUMN)
        {
            // A column was dropped, or has lost its default.
            self.refresh_tables(state)?;
            self.check_shape(batch, state)?;
        }
        if error.is_about_data() && !fallback {
            state.fallback = true;
            if batch.continues {
                return Err(error);
            }
            log::debug!("destination: {error}; writing the batch in pieces");
            return self.attempt(batch, state);
        }
        Err(error)
    }

    /// What comes before and after the rows and patches of a batch: beginning, progress, end.
    fn statements(&self, batch: &Batch, state: &State, link: &Link) -> (String, String) {
        let flushed = state.flushed.unwrap_or(Lsn::ZERO);
        let before = match (batch.continues, batch.open) {
            (true, _) => String::new(),
            (false, true) => format!("{BEGIN}; {}; ", link.sql.hold(flushed)),
            (false, false) if link.prepared => {
                let sql = &link.sql;
                let advance = sql.advance_prepared(flushed, batch.end, state.timeline);
                format!("{BEGIN}; {advance}; ")
            }
            (false, false) => {
                let advance = link.sql.advance(flushed, batch.end, state.timeline);
                format!("{BEGIN}; {advance}; ")
            }
        };
        let mut after = String::new();
        if batch.continues && !batch.open {
            after.push_str("; ");
            after.push_str(&link.sql.advance(flushed, batch.end, state.timeline));
        }
        if !batch.open {
            after.push_str("; COMMIT");
        }
        (before, after)
    }

    /// Rows that lack a column which the table needs, or have one that it lacks, are made again.
    fn check_shape(&self, batch: &Batch, state: &State) -> Result<()> {
        match &state.link {
            Some(link) if link.tables.shape != batch.shape && batch.count > 0 => Err(Error::new(
                Kind::Resync,
                format!(
                    "expected rows of {} with the columns {}",
                    link.tables.names.changes(),
                    link.tables.shape.columns()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn fast(&self, batch: &Batch, state: &mut State) -> Result<()> {
        self.check_shape(batch, state)?;
        let Some(link) = state.link.as_ref() else {
            return Err(Error::new(Kind::Transient, "no session"));
        };
        let names = &link.tables.names;
        let (mut sql, after) = self.statements(batch, state, link);
        if link.tables.position_indexed {
            for truncated in &batch.truncated {
                sql.push_str(&copy::truncated_before(names, truncated));
                sql.push_str("; ");
            }
        }
        sql.push_str(&copy::copy_statement(names, batch.shape));
        for patch in &batch.patches {
            sql.push_str("; ");
            let database = &self.config.source.database;
            sql.push_str(&copy::patch_statement(names, patch, database));
        }
        sql.push_str(&after);
        let Some(link) = state.link.as_mut() else {
            return Ok(());
        };
        let landing = copy::fly(&mut link.session, &sql, &[&batch.rows])?;
        if batch.open {
            Ok(())
        } else {
            copy::committed(&landing)
        }
    }

    fn fallback(&self, batch: &Batch, state: &mut State) -> Result<()> {
        self.check_shape(batch, state)?;
        let Some(link) = state.link.as_ref() else {
            return Err(Error::new(Kind::Transient, "no session"));
        };
        let (before, after) = self.statements(batch, state, link);
        let Some(link) = state.link.as_mut() else {
            return Ok(());
        };
        if let Some(before) = before.strip_suffix("; ") {
            link.session.query(before)?;
        }
        let mut fallback = Fallback::new(&mut link.session, &link.tables, batch)?;
        fallback.write()?;
        for patch in &batch.patches {
            fallback.patch(patch, &self.config.source.database)?;
        }
        let outcome = fallback.outcome;
        if let Some(after) = after.strip_prefix("; ") {
            let sets = link.session.query(after)?;
            if !batch.open {
                let last_tag = sets.last().map(|s| s.tag.clone()).unwrap_or_default();
                copy::committed(&copy::Landing { last_tag })?;
            }
        }
        state.account.fallback(outcome);
        Ok(())
    }

    /// The batch is durable: confirm and count it.
    fn landed(&self, batch: &Batch, state: &mut State) {
        if batch.count > 0 || batch.continues {
            state.flushed = Some(batch.end);
            self.metrics.batches.add(1);
            if std::mem::take(&mut state.unproven) {
                self.metrics.destination.up();
            }
        }
        state.account.landed(batch, &self.metrics);
        self.feedback.confirm(batch.epoch, batch.end);
    }
}
