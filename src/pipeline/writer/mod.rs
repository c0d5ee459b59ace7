//! The writer thread: receives batches, writes each as one destination transaction (a fragment as a part of
//! one), tries again, and confirms to the source what is durable. A batch without rows is confirmed only.

mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::state::{OnStart, Position, ReadyTo, Recovery, Retry, State, Undelivered};
use super::channel::WriterCommand;
use super::control::Control;
use super::feedback::Feedback;
use crate::backoff::Backoff;
use crate::change::Batch;
use crate::config::Config;
use crate::destination::accounting::{self, Accounting};
use crate::destination::connect::{Preconnect, SourceIdentity};
use crate::destination::gap::log_gap;
use crate::destination::identity::at_destination;
use crate::destination::session::{Environment, Opened};
use crate::destination::tables::Destination;
use crate::destination::write::Written;
use crate::destination::{Connector, Durable, Session};
use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::resume::{SavedProgress, StreamStart};

/// How long a transaction of the destination that holds the first fragments of a larger one stays open when
/// the source is gone: they come again from their beginning. What the decoder still holds of it takes less. A
/// connection whose packets vanish is noticed within 30 s, one whose other end is silent within 40 s.
const FRAGMENTS_WITHOUT_SOURCE: Duration = Duration::from_secs(10);

/// How often the source is looked at while such a transaction is open.
const STEP: Duration = Duration::from_secs(1);

/// What the thread is started with.
pub struct Writer {
    /// The settings.
    pub config: Arc<Config>,
    /// Stop, outage.
    pub control: Arc<Control>,
    /// The epoch and the durable position.
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
    /// Sent once, when the tables exist and the progress was read.
    pub ready: Sender<Ready>,
    /// The first session.
    pub preconnect: Preconnect,
}

/// The destination can be written to.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What it knows of the stream.
    pub known: Option<SavedProgress>,
}

impl Position for Session {
    fn position(&self) -> Lsn {
        Session::position(self)
    }
}

impl Writer {
    /// Runs until the decoder says that everything is written, or until an error that retrying does not
    /// mend.
    pub fn run(self) -> Result<()> {
        let environment = Environment {
            config: self.config,
            metrics: Arc::clone(&self.metrics),
            destination: self.destination,
            loss: Arc::default(),
        };
        let context = Context {
            connector: Connector::new(environment, self.source, self.preconnect),
            control: self.control,
            feedback: self.feedback,
            metrics: self.metrics,
        };
        let opened = context.retry(Recovery::CLEAN, || context.connector.open());
        let (mut opened, known) = at_destination(opened)?;
        // Without a receiver, the end was asked for meanwhile.
        let _ = self.ready.send(Ready { known });
        warn_of_hindered(&mut opened);
        let Some(start) = first_start(&self.work)? else {
            return Ok(());
        };
        let mut stream = at_destination(Stream::start(&context, opened, start))?;
        loop {
            match stream.receive(&self.work)? {
                WriterCommand::Start(start) => at_destination(stream.restart(start))?,
                WriterCommand::Batch(batch) => {
                    if batch.epoch == stream.epoch {
                        accounting::received(&batch, &context.metrics);
                        let began = Instant::now();
                        at_destination(stream.deliver(&batch))?;
                        accounting::done(&batch, began.elapsed(), &context.metrics);
                    }
                    // A full channel means that there are batches enough.
                    let _ = self.spare_batches.try_send(batch);
                }
                WriterCommand::End => return Ok(()),
            }
        }
    }
}

fn receive(work: &Receiver<WriterCommand>) -> Result<WriterCommand> {
    let received = work.recv();
    received.map_err(|_| Error::new(Kind::Stopped, "stopped"))
}

/// The first start of the stream; `None` where it ends without one. A batch before it belongs to no epoch.
fn first_start(work: &Receiver<WriterCommand>) -> Result<Option<StreamStart>> {
    loop {
        match receive(work)? {
            WriterCommand::Start(start) => return Ok(Some(start)),
            WriterCommand::Batch(_) => {}
            WriterCommand::End => return Ok(None),
        }
    }
}

/// Names the roles whose CREATE TABLE meets zemi's tables, once a start.
fn warn_of_hindered(opened: &mut Opened) {
    match opened.hindered() {
        Ok(None) => {}
        Ok(Some(hindered)) => log::warn!("{}. Hint: {}", hindered.found(), hindered.fix()),
        // The session is lost, which its next use reports.
        Err(e) => log::debug!("{e}"),
    }
}

/// What stays the same while the thread runs.
struct Context {
    connector: Connector,
    control: Arc<Control>,
    feedback: Arc<Feedback>,
    metrics: Arc<Metrics>,
}

impl Context {
    /// Tries until it works; an error that retrying does not mend, or the end being asked for, ends it.
    fn retry<T>(&self, recovery: Recovery, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut backoff = Backoff::default();
        let mut missing = false;
        loop {
            let error = match attempt() {
                Ok(done) => {
                    // Not before: a destination that answers and takes nothing, its disk full, is away.
                    self.control.destination_up();
                    if recovery.proven() {
                        self.metrics.destination.up();
                    }
                    return Ok(done);
                }
                Err(e) => e,
            };
            self.metrics.persist_errors.add(1);
            self.metrics.destination.down(&error);
            match state::retry_after(&error, missing) {
                Retry::Stop => return Err(error),
                Retry::Again { table_missing } => missing = table_missing,
            }
            let source_stopping = self.connector.is_source_cluster() && error.is_server_stopping();
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

    /// Adds to the gap what was `written` since the source was asked; counts one that nothing knew of.
    fn complete_gap(&self, start: &mut StreamStart, written: Lsn) {
        let known = start.gap.is_some();
        start.gap = start.gap_behind(written);
        if let Some(gap) = start.gap.as_ref().filter(|_| !known) {
            self.metrics.gaps.add(1);
            self.metrics.source.note(gap);
            log_gap(gap, "source");
        }
    }
}

/// The stream as it is being written.
struct Stream<'a> {
    context: &'a Context,
    state: State<Session>,
    recovery: Recovery,
    /// What carries another number is discarded.
    epoch: u64,
    /// The source's timeline.
    timeline: u32,
}

impl<'a> Stream<'a> {
    /// The first start: what the destination knows of an earlier stream stays, or the progress is made.
    fn start(context: &'a Context, opened: Opened, mut start: StreamStart) -> Result<Stream<'a>> {
        if let Some(written) = opened.flushed() {
            context.complete_gap(&mut start, written);
        }
        let mut opened = Some(opened);
        let session = context.retry(Recovery::CLEAN, || {
            let opened = match opened.take() {
                Some(opened) => opened,
                None => context.connector.open()?.0,
            };
            opened.start(&start)
        })?;
        let mut stream = Stream {
            context,
            state: State::Idle(session),
            recovery: Recovery::CLEAN,
            epoch: start.epoch,
            timeline: start.timeline,
        };
        if stream.state.position() > start.position {
            stream.ask_again();
        }
        Ok(stream)
    }

    /// The next command. Fragments whose source is gone are undone meanwhile, with the locks that they hold.
    fn receive(&mut self, work: &Receiver<WriterCommand>) -> Result<WriterCommand> {
        while self.state.has_fragments() {
            match work.recv_timeout(STEP) {
                Err(RecvTimeoutError::Timeout) => {}
                received => return received.map_err(|_| Error::new(Kind::Stopped, "stopped")),
            }
            if self.context.control.source_away_for() >= FRAGMENTS_WITHOUT_SOURCE {
                log::info!(
                    "the source is gone in the middle of a large transaction: undid its first part at the \
                     destination"
                );
                self.state = self.state.take().without_fragments(Session::rollback);
            }
        }
        receive(work)
    }

    /// A later start: undoes the fragments of a transaction, which comes again from its beginning, and
    /// records a gap.
    fn restart(&mut self, mut start: StreamStart) -> Result<()> {
        self.state = self.state.take().without_fragments(Session::rollback);
        let action = state::on_start(&start, self.epoch, self.state.position());
        if action == OnStart::Ignore {
            return Ok(());
        }
        self.epoch = self.epoch.max(start.epoch);
        self.timeline = start.timeline;
        match action {
            OnStart::Ignore | OnStart::Continue => Ok(()),
            OnStart::AskAgain => {
                self.ask_again();
                Ok(())
            }
            OnStart::Record => {
                self.context.complete_gap(&mut start, self.state.position());
                self.record(&start)
            }
        }
    }

    fn record(&mut self, start: &StreamStart) -> Result<()> {
        let Stream { context, state, .. } = self;
        let session = context.retry(self.recovery, || match state.take().idle() {
            Some(session) => session.record_start(start),
            None => context.connector.open()?.0.start(start),
        })?;
        self.state = State::Idle(session);
        Ok(())
    }

    /// Asks for the stream again from where the progress stands, and discards what comes before it starts.
    fn ask_again(&mut self) {
        self.epoch = self.context.feedback.new_epoch(self.state.position());
        self.context.control.end_stream();
    }

    /// Writes a batch, however long it takes, or asks for the stream again when its rows are no longer
    /// all here.
    fn deliver(&mut self, batch: &Batch) -> Result<()> {
        if let Some(durable) = Durable::without_rows(batch) {
            Accounting::default().committed(batch, &self.context.metrics);
            self.context.feedback.confirm(batch.epoch, &durable);
            return Ok(());
        }
        let context = self.context;
        let fragment = batch.continues || batch.open;
        let delivered = if fragment {
            self.attempt(batch)
        } else {
            context.retry(self.recovery, || self.attempt(batch))
        };
        delivered.or_else(|error| self.read_again(error, fragment))
    }

    /// Goes on where the progress stands, after a batch that cannot be written with what is here.
    fn read_again(&mut self, error: Error, fragment: bool) -> Result<()> {
        let context = self.context;
        match state::undelivered(&error, fragment, self.recovery) {
            Undelivered::Stop => return Err(error),
            Undelivered::ReadAgain => log::warn!(
                side = "destination", sqlstate = error.code();
                "destination: {error}; reading the stream again"
            ),
            Undelivered::FragmentFailed { table_missing } => {
                log::warn!(
                    side = "destination", sqlstate = error.code();
                    "destination: {error}; the transaction is larger than a batch and is read again"
                );
                context.metrics.persist_errors.add(1);
                context.metrics.destination.down(&error);
                self.recovery = self.recovery.fragment_failed(table_missing);
                if !error.is_about_data() {
                    context.control.destination_down(false);
                }
            }
        }
        let (expected, timeline) = (self.state.position(), self.timeline);
        let session = context.retry(self.recovery, || {
            context.connector.open()?.0.accept(expected, timeline)
        })?;
        self.state = State::Idle(session);
        self.ask_again();
        Ok(())
    }

    /// One attempt at a batch with rows. An error leaves the writer without a session.
    fn attempt(&mut self, batch: &Batch) -> Result<()> {
        let context = self.context;
        let (mut session, mut fragments) = match self.state.take().ready_for(batch.continues)? {
            ReadyTo::Write(session, fragments) => (session, fragments),
            ReadyTo::Connect(position) => {
                let sent = (!batch.open).then_some(batch.end);
                let opened = context.connector.open()?.0;
                let (session, durable) = opened.verify(position, sent, self.timeline)?;
                let none = Accounting::default();
                if let Some(durable) = durable {
                    self.written(batch, session, &durable, none);
                    return Ok(());
                }
                (session, none)
            }
        };
        match session.write(batch, self.timeline, self.recovery.method())? {
            Written::Open(outcome) => {
                fragments.fragment(batch, outcome, &context.metrics);
                self.state = State::InTransaction { session, fragments };
            }
            Written::Durable(durable, outcome) => {
                fragments.add(outcome);
                self.written(batch, session, &durable, fragments);
            }
        }
        Ok(())
    }

    /// The batch is durable, and with it the fragments before it: counts and confirms it.
    fn written(
        &mut self,
        batch: &Batch,
        session: Session,
        durable: &Durable,
        fragments: Accounting,
    ) {
        let context = self.context;
        self.state = State::Idle(session);
        context.metrics.batches.add(1);
        if !self.recovery.proven() {
            context.metrics.destination.up();
        }
        self.recovery = Recovery::CLEAN;
        fragments.committed(batch, &context.metrics);
        context.feedback.confirm(batch.epoch, durable);
    }
}
