//! The main thread: starts the others, keeps the publications in line, stops, and gives the exit code.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::channel::{LargeFrames, WriterCommand};
use super::control::Control;
use super::decoder::{Decoder, Handover};
use super::feedback::Feedback;
use super::late_tables::{LateTables, NewRelation};
use super::publication_refresh::{Look, PublicationRefresh};
use super::reader::{Connector, Output, Reader};
use super::schedule::Schedule;
use super::shutdown::Shutdown;
use super::signals;
use super::stream_decoder::StreamDecoder;
use super::table_watch::TableWatch;
use super::writer::{Ready, Writer};
use crate::backoff::Backoff;
use crate::change::{Assembler, ClientEncoding, Settings, Tracked};
use crate::clock;
use crate::config::Config;
use crate::destination::connect::{Preconnect, SourceIdentity};
use crate::destination::gap::GapAnnouncer;
use crate::destination::removal;
use crate::destination::tables::Destination;
use crate::error::{At, Error, Exit, Kind, Remedy, Result};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::observe::routes;
use crate::source::SourceSessions;
use crate::source::catalog::{OwnTables, SourceCatalog};
use crate::source::{self, failover, publication};
use crate::threads::STACK;

/// Chunks on their way to the decoder.
const CHUNKS: usize = 4;

/// How much WAL may lie behind the confirmed position, in bytes, when `CLEANUP_ON_SHUTDOWN` drops the slot:
/// what a server writes by itself, and what is committed while zemi stops. One segment of WAL.
const UNREAD: i64 = 16 << 20;

/// Reader, decoder and writer.
const THREADS: usize = 3;

/// What the main thread waits for.
enum Event {
    Signal,
    Ended(&'static str, Result<()>),
    NewRelation(NewRelation),
}

/// Runs until the operator asks for the end or until something fails for good; returns the exit code.
pub fn run(config: Config) -> Exit {
    let supervisor = match Supervisor::new(config) {
        Ok(supervisor) => supervisor,
        Err(e) => return report(&e),
    };
    match supervisor.run() {
        Ok(()) => Exit::Ok,
        Err(e) => report(&e),
    }
}

/// Logs the error that ends the process and returns its exit code.
pub fn report(error: &Error) -> Exit {
    let code = match error.remedy() {
        Remedy::Stop(Exit::Ok) => return Exit::Ok,
        Remedy::Stop(code) => code,
        Remedy::Retry => Exit::Unavailable,
    };
    log::error!(sqlstate = error.code(), exit_code = code as u8; "{error}");
    code
}

struct Supervisor {
    config: Arc<Config>,
    control: Arc<Control>,
    feedback: Arc<Feedback>,
    metrics: Arc<Metrics>,
    destination: Arc<Destination>,
    /// What the log has said already of tables and publications.
    warned: Arc<Mutex<BTreeSet<String>>>,
    events: Receiver<Event>,
    tell: Sender<Event>,
}

impl Supervisor {
    fn new(config: Config) -> Result<Supervisor> {
        let (tell, events) = unbounded();
        let control = Arc::new(Control::default());
        let (stopped, signalled) = (Arc::clone(&control), tell.clone());
        let late = match config.cleanup_on_shutdown {
            true => Exit::Unavailable,
            false => Exit::Ok,
        };
        signals::listen(config.shutdown_timeout, late, move || {
            stopped.stop();
            let _ = signalled.send(Event::Signal);
        })?;
        Ok(Supervisor {
            config: Arc::new(config),
            control,
            feedback: Arc::default(),
            metrics: Arc::default(),
            destination: Arc::default(),
            warned: Arc::default(),
            events,
            tell,
        })
    }

    /// # Errors
    /// What ended the process; of kind [`Kind::Stopped`] where the end was asked for during the start.
    fn run(self) -> Result<()> {
        let status_page = routes::open(&self.config, &self.metrics)?;
        self.log_start();
        let (identity, late) = match self.start() {
            Err(e) if e.kind() == Kind::Stopped && self.config.cleanup_on_shutdown => {
                return Err(kept("zemi was stopped before it streamed"));
            }
            started => started?,
        };
        let outcome = self.watch(status_page, &late);
        self.feedback.close();
        if outcome.is_ok() && self.config.cleanup_on_shutdown {
            self.clean_up(&identity)?;
        }
        log::info!("stopped");
        outcome
    }

    /// Starts all threads.
    fn start(&self) -> Result<(SourceIdentity, Arc<LateTables>)> {
        let preconnect = Preconnect::open(&self.config);
        let (identity, preconnected) = self.identify()?;
        let streams = self.start_writer(&identity, preconnect, preconnected)?;
        let late = self.start_stream(&identity, streams)?;
        Ok((identity, late))
    }

    fn log_start(&self) {
        log::info!(
            version = env!("CARGO_PKG_VERSION"),
            source:% = self.config.source,
            source_database = self.config.source.database.as_str(),
            destination:% = self.config.destination,
            destination_database = self.config.destination.database.as_str();
            "zemi {}: changes of {} at {} go to {} at {}",
            env!("CARGO_PKG_VERSION"),
            self.config.source.database,
            self.config.source,
            self.config.destination.database,
            self.config.destination
        );
    }

    /// Asks the source for its identity until it answers, and returns the sessions that asked, too.
    fn identify(&self) -> Result<(SourceIdentity, SourceSessions)> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.identify_once() {
                Ok(found) => return Ok(found),
                Err(e) => e,
            };
            let again = error.remedy() == Remedy::Retry;
            self.metrics.source_failed(again);
            if !again {
                return Err(error);
            }
            self.metrics.source.down(&error);
            let wait = backoff.wait();
            log::warn!(
                side = "source",
                sqlstate = error.code(),
                wait_seconds = wait.as_secs_f64();
                "{error}; trying again in {:.1} s",
                wait.as_secs_f64()
            );
            if !self.control.pause(wait) {
                return Err(stopped());
            }
        }
    }

    fn identify_once(&self) -> Result<(SourceIdentity, SourceSessions)> {
        let encoding = ClientEncoding::Utf8.setting();
        let mut preconnected = SourceSessions::open(&self.config, encoding)?;
        let server = source::check(&mut preconnected.session).at(|| "source".into())?;
        failover::check(&server, &self.config).at(|| "source".into())?;
        let identity = source::identify(&mut preconnected.walsender)?;
        let identity = SourceIdentity {
            system_identifier: identity.system_identifier,
            started: server.started,
        };
        Ok((identity, preconnected))
    }

    /// Starts a thread whose end is an event.
    fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let tell = self.tell.clone();
        thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || {
                let result = body();
                // The main thread may have left already.
                let _ = tell.send(Event::Ended(name, result));
            })
            .map(drop)
            .map_err(|e| Error::new(Kind::Transient, "cannot start a thread").caused_by(e))
    }

    /// Starts the writer and waits until it has read the progress.
    fn start_writer(
        &self,
        identity: &SourceIdentity,
        preconnect: Preconnect,
        mut preconnected: SourceSessions,
    ) -> Result<Streams> {
        let (work_in, work) = bounded(0);
        let (spare_batches, batches) = bounded(2);
        let (ready_in, ready) = bounded(1);
        let writer = Writer {
            config: Arc::clone(&self.config),
            control: Arc::clone(&self.control),
            feedback: Arc::clone(&self.feedback),
            metrics: Arc::clone(&self.metrics),
            destination: Arc::clone(&self.destination),
            source: identity.clone(),
            work,
            spare_batches,
            ready: ready_in,
            preconnect,
        };
        self.spawn("writer", move || writer.run())?;
        publication::warm_up(&mut preconnected.session, &self.config);
        let mut preconnected = Some(preconnected);
        let mut answer = ready.recv_timeout(source::FRESH);
        if matches!(answer, Err(RecvTimeoutError::Timeout)) {
            // The destination is away: no session waits for it at the source.
            preconnected = None;
            answer = ready.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        Ok(Streams {
            // A writer that ended without an answer has an event that says why.
            ready: answer.map_err(|_| self.first_failure())?,
            preconnected,
            work: work_in,
            batches,
        })
    }

    /// The error with which a thread has ended, or will in a moment.
    fn first_failure(&self) -> Error {
        loop {
            match self.events.recv() {
                Ok(Event::Ended(_, Err(e))) => return e,
                Ok(Event::Signal | Event::NewRelation(_)) => {}
                Ok(Event::Ended(_, Ok(()))) | Err(_) => return stopped(),
            }
        }
    }

    /// Starts decoder and reader. Returns what follows the tables that are published late.
    fn start_stream(&self, identity: &SourceIdentity, streams: Streams) -> Result<Arc<LateTables>> {
        let (events, from_reader) = bounded(CHUNKS);
        let (spare_chunks, chunks) = bounded(CHUNKS);
        let own: Arc<dyn OwnTables> = Arc::clone(&self.destination) as _;
        let catalog = SourceCatalog::new(
            Arc::clone(&self.config),
            Arc::clone(&self.control) as _,
            Arc::clone(&own),
        );
        let gaps = Arc::new(GapAnnouncer {
            config: Arc::clone(&self.config),
            source: identity.clone(),
            metrics: Arc::clone(&self.metrics),
        });
        let watch = Arc::new(TableWatch::default());
        let late = Arc::new(LateTables::new(Arc::clone(&watch), Arc::clone(&gaps) as _));
        let tell = self.tell.clone();
        let assembler = Assembler::new(Settings::new(&self.config, &identity.system_identifier));
        let decoder = Decoder {
            stream: StreamDecoder::new(assembler, Box::new(catalog)),
            control: Arc::clone(&self.control),
            metrics: Arc::clone(&self.metrics),
            destination: Arc::clone(&self.destination),
            events: from_reader,
            spare_chunks,
            handover: Handover::new(
                Arc::clone(&self.metrics),
                streams.work,
                streams.batches,
                Arc::clone(&self.control),
                move |relation| drop(tell.send(Event::NewRelation(relation))),
            ),
            watch,
        };
        let reader = Reader {
            connector: Connector {
                config: Arc::clone(&self.config),
                feedback: Arc::clone(&self.feedback),
                metrics: Arc::clone(&self.metrics),
                tracked: Tracked::new(&self.config),
                own,
                system_identifier: identity.system_identifier.clone(),
                saved: streams.ready.known,
                gaps,
                late: Arc::clone(&late),
                warned: Arc::clone(&self.warned),
                preconnected: streams.preconnected,
            },
            output: Output {
                control: Arc::clone(&self.control),
                feedback: Arc::clone(&self.feedback),
                events,
                spare: chunks,
                large: LargeFrames::default(),
            },
        };
        self.spawn("decoder", move || decoder.run())?;
        self.spawn("reader", move || reader.run())?;
        Ok(late)
    }

    /// Waits for the end of the threads; meanwhile brings the publications in line, takes samples for the
    /// status page where there is one, and logs summaries.
    fn watch(&self, status_page: bool, late: &Arc<LateTables>) -> Result<()> {
        let mut shutdown = Shutdown::new(self.config.shutdown_timeout, THREADS);
        let mut schedule = Schedule::new(Instant::now(), status_page);
        let mut summary = Summary::default();
        let mut refresh = PublicationRefresh::new(
            &self.config,
            &self.destination,
            &self.metrics,
            late,
            &self.warned,
        );
        while shutdown.is_running() {
            let until = shutdown.deadline().unwrap_or_else(|| schedule.next());
            match self.events.recv_deadline(until) {
                Ok(Event::Signal) => {
                    log::info!("stopping: writing what was received");
                    self.metrics.stopping_since.set(clock::unix_micros());
                    shutdown.ask(Instant::now());
                }
                Ok(Event::Ended(name, result)) => {
                    if shutdown.thread_ended(name, result, Instant::now()) {
                        self.metrics.failed_since.set(clock::unix_micros());
                    }
                    self.control.stop();
                }
                Ok(Event::NewRelation(relation)) => {
                    late.seen(relation);
                    schedule.new_relation(Instant::now(), refresh.not_before());
                }
                Err(_) if shutdown.deadline().is_some() => {
                    log::warn!(
                        "SHUTDOWN_TIMEOUT is over: what was not written yet comes again at the next start"
                    );
                    return shutdown.outcome();
                }
                Err(_) => self.do_due(&mut schedule, &mut summary, &mut refresh),
            }
        }
        if self.config.cleanup_on_shutdown {
            refresh.finish();
        }
        shutdown.outcome()
    }

    fn do_due(
        &self,
        schedule: &mut Schedule,
        summary: &mut Summary,
        refresh: &mut PublicationRefresh,
    ) {
        let now = Instant::now();
        let due = schedule.due(now);
        let metrics = &self.metrics;
        if due.sample {
            metrics.history.add(metrics.lag_bytes(), metrics.changes());
        }
        if due.summary {
            summary.log(metrics);
        }
        if due.refresh {
            schedule.refreshed(now, refresh.start(Look::Full));
        } else if due.glance {
            refresh.start(Look::Glance);
        }
    }

    /// Removes slot, publications and progress, as `CLEANUP_ON_SHUTDOWN` asks, unless that loses changes.
    ///
    /// # Errors
    /// What was received is not written, or more than [`UNREAD`] was not even received.
    fn clean_up(&self, identity: &SourceIdentity) -> Result<()> {
        let (_, durable) = self.feedback.epoch();
        let received = Lsn(self.metrics.last_received_lsn.get());
        if received > durable {
            return Err(kept(format!(
                "changes between {durable} and {received} are not written"
            )));
        }
        let mut session = source::open_session(&self.config)?;
        let slot = source::slot::read_row(&mut session, &self.config.slot_name)?;
        if let Some(slot) = slot.filter(|slot| slot.behind_bytes > Some(UNREAD)) {
            return Err(kept(format!(
                "{} of WAL were not read",
                slot.behind_size.unwrap_or_default()
            )));
        }
        removal::drop_all(&self.config, &mut session, &identity.system_identifier)?;
        log::info!(
            "dropped slot {}, its publications and the progress",
            self.config.slot_name
        );
        Ok(())
    }
}

/// What reader and decoder need of the writer.
struct Streams {
    ready: Ready,
    preconnected: Option<SourceSessions>,
    work: Sender<WriterCommand>,
    batches: Receiver<Box<crate::change::Batch>>,
}

/// The line that is logged every minute in which something was written.
#[derive(Default)]
struct Summary {
    changes: u64,
}

impl Summary {
    fn log(&mut self, metrics: &Metrics) {
        let changes = metrics.changes();
        if changes > self.changes {
            let flushed = Lsn(metrics.last_flushed_lsn.get());
            log::info!(
                changes = changes - self.changes,
                changes_total = changes,
                flushed_lsn:% = flushed,
                lag_bytes = metrics.lag_bytes();
                "{} changes written in the last minute, {changes} since the start; durable up to {flushed}",
                changes - self.changes
            );
            self.changes = changes;
        }
    }
}

/// The error of a stop whose `CLEANUP_ON_SHUTDOWN` would lose changes; the process ends with exit code 69.
fn kept(why: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::Transient,
        format!("CLEANUP_ON_SHUTDOWN has dropped nothing: {why}"),
    )
    .hint("start zemi again to write them; or give them up by zemi cleanup --yes")
}

/// The end was asked for.
fn stopped() -> Error {
    Error::new(Kind::Stopped, "stopped")
}
