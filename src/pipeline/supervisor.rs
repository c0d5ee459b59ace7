//! The threads' lives: start, refresh, stop, exit code.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::channel::{LargeFrames, WriterCommand};
use super::control::Control;
use super::decoder::{Decoder, Handover};
use super::feedback::Feedback;
use super::publication_refresh::{self, PublicationRefresh};
use super::reader::{Connector, Output, Reader};
use super::stream_decoder::StreamDecoder;
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
use crate::observe::metrics::Metrics;
use crate::observe::{self, routes};
use crate::source::SourceSessions;
use crate::source::catalog::{OwnTables, SourceCatalog};
use crate::source::{self, failover, publication};
use crate::threads::STACK;

/// Chunks on their way to the decoder.
const CHUNKS: usize = 4;

/// How often tables are looked for that came without a change of their own, and how often a summary is
/// logged.
const MINUTE: Duration = Duration::from_secs(60);

/// How long after `SHUTDOWN_TIMEOUT` the process is ended where the main thread itself is held up.
const LIMIT_SLACK: Duration = Duration::from_millis(200);

/// What the main thread waits for.
enum Event {
    Signal,
    Ended(&'static str, Result<()>),
    NewRelation,
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
    match error.remedy() {
        Remedy::Stop(Exit::Ok) => Exit::Ok,
        Remedy::Stop(code) => {
            log::error!(sqlstate = error.code(), exit_code = code as u8; "{error}");
            code
        }
        Remedy::Retry => {
            let code = Exit::Unavailable;
            log::error!(sqlstate = error.code(), exit_code = code as u8; "{error}");
            code
        }
    }
}

struct Supervisor {
    config: Arc<Config>,
    control: Arc<Control>,
    feedback: Arc<Feedback>,
    metrics: Arc<Metrics>,
    destination: Arc<Destination>,
    events: Receiver<Event>,
    tell: Sender<Event>,
}

impl Supervisor {
    fn new(config: Config) -> Result<Supervisor> {
        let (tell, events) = unbounded();
        let control = Arc::new(Control::default());
        listen_to_signals(Arc::clone(&control), tell.clone(), config.shutdown_timeout)?;
        Ok(Supervisor {
            config: Arc::new(config),
            control,
            feedback: Arc::default(),
            metrics: Arc::default(),
            destination: Arc::default(),
            events,
            tell,
        })
    }

    fn run(self) -> Result<()> {
        let shown = routes::open(&self.config, &self.metrics)?;
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
        let preconnect = Preconnect::open(&self.config);
        let Some((identity, preconnected)) = self.identify()? else {
            return Ok(());
        };
        let mut running = 1;
        let Some(streams) = self.start_writer(&identity, preconnect, preconnected)? else {
            return Ok(());
        };
        running += self.start_stream(&identity, streams)?;
        let outcome = self.watch(&mut running, shown);
        self.feedback.close();
        if outcome.is_ok() && self.config.cleanup_on_shutdown {
            self.clean_up(&identity)?;
        }
        log::info!("stopped");
        outcome
    }

    /// Asks the source who it is, until it answers. Returns with that the sessions that asked. `None` when
    /// the end was asked for.
    fn identify(&self) -> Result<Option<(SourceIdentity, SourceSessions)>> {
        let mut backoff = Backoff::default();
        loop {
            let attempt = || -> Result<(SourceIdentity, SourceSessions)> {
                let mut preconnected =
                    SourceSessions::open(&self.config, ClientEncoding::Utf8.setting())?;
                let server = source::check(&mut preconnected.session).at(|| "source".into())?;
                failover::check(&server, &self.config).at(|| "source".into())?;
                let identity = source::identify(&mut preconnected.walsender)?;
                let identity = SourceIdentity {
                    system_identifier: identity.system_identifier,
                    started: server.started,
                };
                Ok((identity, preconnected))
            };
            let error = match attempt() {
                Ok(found) => return Ok(Some(found)),
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
                return Ok(None);
            }
        }
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

    /// Starts the writer and waits until it has read the progress. `None` when the end was asked for.
    fn start_writer(
        &self,
        identity: &SourceIdentity,
        preconnect: Preconnect,
        mut preconnected: SourceSessions,
    ) -> Result<Option<Streams>> {
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
        let mut warned = ready.recv_timeout(source::FRESH);
        if matches!(warned, Err(RecvTimeoutError::Timeout)) {
            // The destination is away: no session waits for it at the source.
            preconnected = None;
            warned = ready.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        match warned {
            Ok(ready) => Ok(Some(Streams {
                ready,
                preconnected,
                work: work_in,
                batches,
            })),
            // It ended without: its event says why.
            Err(_) => loop {
                match self.events.recv() {
                    Ok(Event::Ended(_, Err(e))) if e.kind() != Kind::Stopped => return Err(e),
                    Ok(Event::Signal | Event::NewRelation) => {}
                    Ok(Event::Ended(..)) | Err(_) => return Ok(None),
                }
            },
        }
    }

    fn start_stream(&self, identity: &SourceIdentity, streams: Streams) -> Result<usize> {
        let (events, from_reader) = bounded(CHUNKS);
        let (spare_chunks, chunks) = bounded(CHUNKS);
        let own: Arc<dyn OwnTables> = Arc::clone(&self.destination) as _;
        let catalog = SourceCatalog::new(
            Arc::clone(&self.config),
            Arc::clone(&self.control) as _,
            Arc::clone(&own),
        );
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
                move || drop(tell.send(Event::NewRelation)),
            ),
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
                gaps: Box::new(GapAnnouncer {
                    config: Arc::clone(&self.config),
                    source: identity.clone(),
                }),
                warned: BTreeSet::new(),
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
        Ok(2)
    }

    /// Waits for the end of the threads, and meanwhile keeps the publications in line.
    ///
    /// `shown`: there is a status page, which wants samples.
    fn watch(&self, running: &mut usize, shown: bool) -> Result<()> {
        let mut outcome = Ok(());
        let mut stop_by: Option<Instant> = None;
        let mut refresh_at = Instant::now() + MINUTE;
        let mut summary_at = refresh_at;
        let mut sample_at = shown.then(Instant::now);
        let mut summary = Summary::default();
        let mut refresh = PublicationRefresh::new(&self.config, &self.destination, &self.metrics);
        while *running > 0 {
            let next = refresh_at.min(summary_at);
            let until = stop_by.unwrap_or(sample_at.map_or(next, |sample| sample.min(next)));
            match self.events.recv_deadline(until) {
                Ok(Event::Signal) => {
                    log::info!("stopping: writing what was received");
                    self.metrics.stopping_since.set(clock::unix_micros());
                    stop_by.get_or_insert(Instant::now() + self.config.shutdown_timeout);
                }
                Ok(Event::Ended(name, result)) => {
                    *running -= 1;
                    if let Err(e) = result
                        && e.kind() != Kind::Stopped
                        && outcome.is_ok()
                    {
                        self.metrics.failed_since.set(clock::unix_micros());
                        outcome = Err(e.at(name));
                    }
                    // One thread's end is the end of all.
                    self.control.stop();
                    stop_by.get_or_insert(Instant::now() + self.config.shutdown_timeout);
                }
                Ok(Event::NewRelation) => {
                    refresh_at = refresh_at.min(Instant::now().max(refresh.not_before));
                }
                Err(_) if stop_by.is_some() => {
                    log::warn!(
                        "SHUTDOWN_TIMEOUT is over: what was not written yet comes again at the next start"
                    );
                    return outcome;
                }
                Err(_) => {
                    let now = Instant::now();
                    if sample_at.is_some_and(|sample| now >= sample) {
                        sample_at = Some(now + observe::SAMPLE_INTERVAL);
                        let metrics = &self.metrics;
                        metrics.history.add(metrics.lag_bytes(), metrics.changes());
                    }
                    if now >= summary_at {
                        summary_at = now + MINUTE;
                        summary.log(&self.metrics);
                    }
                    if now >= refresh_at {
                        refresh_at = now
                            + if refresh.start() {
                                MINUTE
                            } else {
                                publication_refresh::PAUSE
                            };
                    }
                }
            }
        }
        if self.config.cleanup_on_shutdown {
            refresh.finish();
        }
        outcome
    }

    /// Removes slot, publications and progress, as `CLEANUP_ON_SHUTDOWN` asks.
    fn clean_up(&self, identity: &SourceIdentity) -> Result<()> {
        let mut session = source::open_session(&self.config)?;
        removal::drop_all(&self.config, &mut session, &identity.system_identifier)?;
        log::info!(
            "dropped slot {}, its publications and the progress",
            self.config.slot_name
        );
        Ok(())
    }
}

/// What the writer left for those who feed it.
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
            let flushed = crate::lsn::Lsn(metrics.last_flushed_lsn.get());
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

/// The first SIGTERM or SIGINT asks for the end, the second one does not wait for it.
///
/// The main thread may wait for a server that does not answer: the time limit is held by a thread of its
/// own.
fn listen_to_signals(
    control: Arc<Control>,
    tell: Sender<Event>,
    shutdown_timeout: Duration,
) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Error::new(Kind::Bug, "cannot listen to signals").caused_by(e))?;
    thread::Builder::new()
        .name("signals".into())
        .stack_size(STACK)
        .spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count > 0 {
                    leave("stopped at once");
                }
                control.stop();
                let _ = tell.send(Event::Signal);
                let limit = shutdown_timeout + LIMIT_SLACK;
                let watch = move || {
                    thread::sleep(limit);
                    leave("SHUTDOWN_TIMEOUT is over");
                };
                let spawned = thread::Builder::new()
                    .name("limit".into())
                    .stack_size(STACK)
                    .spawn(watch);
                if let Err(e) = spawned {
                    log::warn!("cannot watch over SHUTDOWN_TIMEOUT: {e}");
                }
            }
        })
        .map(drop)
        .map_err(|e| Error::new(Kind::Bug, "cannot start a thread").caused_by(e))
}

/// Ends the process, as asked, whatever its threads wait for.
fn leave(why: &str) {
    log::warn!("{why}: what was not written yet comes again at the next start");
    std::process::exit(i32::from(Exit::Ok as u8));
}
