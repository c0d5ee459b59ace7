//! The threads' lives: start, upkeep, stop, exit code.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::backoff::Backoff;
use crate::change::{Assembler, Settings, Tracked};
use crate::commands::cleanup;
use crate::config::Config;
use crate::control::{Control, lock};
use crate::decoder::Decoder;
use crate::error::{At, Error, Exit, Kind, Remedy, Result};
use crate::observe::metrics::{Metrics, now_microseconds};
use crate::observe::{self, pages};
use crate::replication::catalog::{OwnTables, SourceCatalog};
use crate::replication::chunk::LargeFrames;
use crate::replication::feedback::Feedback;
use crate::replication::reader::Reader;
use crate::replication::source::Pair;
use crate::replication::{failover, publication, source};
use crate::writer::{Destination, Early, GapMarker, Ready, SourceMark, Writer};

/// Chunks on their way to the decoder.
const CHUNKS: usize = 4;

/// How often tables are looked for that came without a change of their own, and how often a summary is
/// logged.
const MINUTE: Duration = Duration::from_secs(60);

/// Stacks of our threads: a row is encoded in buffers, not on the stack.
const STACK: usize = 512 * 1024;

/// How long after `SHUTDOWN_TIMEOUT` the process is ended where the main thread itself is held up.
const LIMIT_SLACK: Duration = Duration::from_millis(200);

/// New relations are looked for together: that often at most.
const UPKEEP_PAUSE: Duration = Duration::from_secs(1);

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
        let shown = pages::open(&self.config, &self.metrics)?;
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
        let early = Early::open(&self.config);
        let Some((mark, opened)) = self.identify()? else {
            return Ok(());
        };
        let mut running = 1;
        let Some(streams) = self.start_writer(&mark, early, opened)? else {
            return Ok(());
        };
        running += self.start_stream(&mark, streams)?;
        let outcome = self.watch(&mut running, shown);
        self.feedback.close();
        if outcome.is_ok() && self.config.cleanup_on_shutdown {
            self.clean_up(&mark)?;
        }
        log::info!("stopped");
        outcome
    }

    /// Asks the source who it is, until it answers. Returns with that the sessions that asked. `None` when
    /// the end was asked for.
    fn identify(&self) -> Result<Option<(SourceMark, Pair)>> {
        let mut backoff = Backoff::default();
        loop {
            let attempt = || -> Result<(SourceMark, Pair)> {
                let mut opened = Pair::open(&self.config, "UTF8")?;
                let server = source::check(&mut opened.session).at(|| "source".into())?;
                failover::check(&server, &self.config).at(|| "source".into())?;
                let identity = source::identify(&mut opened.walsender)?;
                let mark = SourceMark {
                    system_identifier: identity.system_identifier,
                    started: server.started,
                };
                Ok((mark, opened))
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
            .map_err(|e| Error::new(Kind::Network, "cannot start a thread").caused_by(e))
    }

    /// Starts the writer and waits until it has read the progress. `None` when the end was asked for.
    fn start_writer(
        &self,
        mark: &SourceMark,
        early: Early,
        mut opened: Pair,
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
            source: mark.clone(),
            work,
            spare_batches,
            ready: ready_in,
            early,
        };
        self.spawn("writer", move || writer.run())?;
        publication::warm_up(&mut opened.session, &self.config);
        let mut opened = Some(opened);
        let mut told = ready.recv_timeout(Pair::FRESH);
        if matches!(told, Err(RecvTimeoutError::Timeout)) {
            // The destination is away: no session waits for it at the source.
            opened = None;
            told = ready.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        match told {
            Ok(ready) => Ok(Some(Streams {
                ready,
                opened,
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

    fn start_stream(&self, mark: &SourceMark, streams: Streams) -> Result<usize> {
        let (feed_in, feed) = bounded(CHUNKS);
        let (spare_chunks, chunks) = bounded(CHUNKS);
        let own: Arc<dyn OwnTables> = Arc::clone(&self.destination) as _;
        let catalog = SourceCatalog::new(
            Arc::clone(&self.config),
            Arc::clone(&self.control),
            Arc::clone(&own),
        );
        let tell = self.tell.clone();
        let decoder = Decoder {
            assembler: Assembler::new(Settings::new(&self.config, &mark.system_identifier)),
            catalog: Box::new(catalog),
            control: Arc::clone(&self.control),
            metrics: Arc::clone(&self.metrics),
            destination: Arc::clone(&self.destination),
            feed,
            spare_chunks,
            work: streams.work,
            spare_batches: streams.batches,
            on_new_relation: Box::new(move || drop(tell.send(Event::NewRelation))),
        };
        let reader = Reader {
            config: Arc::clone(&self.config),
            control: Arc::clone(&self.control),
            feedback: Arc::clone(&self.feedback),
            metrics: Arc::clone(&self.metrics),
            tracked: Tracked::new(&self.config),
            own,
            system_identifier: mark.system_identifier.clone(),
            known: streams.ready.known,
            mark: Box::new(GapMarker {
                config: Arc::clone(&self.config),
                source: mark.clone(),
            }),
            feed: feed_in,
            spare: chunks,
            told: BTreeSet::new(),
            large: LargeFrames::default(),
            opened: streams.opened,
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
        let mut upkeep_at = Instant::now() + MINUTE;
        let mut summary_at = upkeep_at;
        let mut sample_at = shown.then(Instant::now);
        let mut summary = Summary::default();
        let mut upkeep = Upkeep::new(&self.config, &self.destination, &self.metrics);
        while *running > 0 {
            let next = upkeep_at.min(summary_at);
            let until = stop_by.unwrap_or(sample_at.map_or(next, |sample| sample.min(next)));
            match self.events.recv_deadline(until) {
                Ok(Event::Signal) => {
                    log::info!("stopping: writing what was received");
                    self.metrics.stopping_since.set(now_microseconds());
                    stop_by.get_or_insert(Instant::now() + self.config.shutdown_timeout);
                }
                Ok(Event::Ended(name, result)) => {
                    *running -= 1;
                    if let Err(e) = result
                        && e.kind() != Kind::Stopped
                        && outcome.is_ok()
                    {
                        self.metrics.failed_since.set(now_microseconds());
                        outcome = Err(e.at(name));
                    }
                    // One thread's end is the end of all.
                    self.control.stop();
                    stop_by.get_or_insert(Instant::now() + self.config.shutdown_timeout);
                }
                Ok(Event::NewRelation) => {
                    upkeep_at = upkeep_at.min(Instant::now().max(upkeep.not_before));
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
                        sample_at = Some(now + observe::STEP);
                        let metrics = &self.metrics;
                        metrics.history.add(metrics.lag_bytes(), metrics.changes());
                    }
                    if now >= summary_at {
                        summary_at = now + MINUTE;
                        summary.log(&self.metrics);
                    }
                    if now >= upkeep_at {
                        upkeep_at = now + if upkeep.start() { MINUTE } else { UPKEEP_PAUSE };
                    }
                }
            }
        }
        if self.config.cleanup_on_shutdown {
            upkeep.finish();
        }
        outcome
    }

    /// Removes slot, publications and progress, as `CLEANUP_ON_SHUTDOWN` asks.
    fn clean_up(&self, mark: &SourceMark) -> Result<()> {
        let mut session = source::open_session(&self.config)?;
        cleanup::drop_all(&self.config, &mut session, &mark.system_identifier)?;
        log::info!(
            "dropped slot {}, its publications and the progress",
            self.config.slot_name
        );
        Ok(())
    }
}

/// Keeps the publications in line, on a thread of its own: it may have to wait for a lock or for a server.
struct Upkeep {
    config: Arc<Config>,
    destination: Arc<Destination>,
    metrics: Arc<Metrics>,
    told: Arc<Mutex<BTreeSet<String>>>,
    running: Option<JoinHandle<()>>,
    /// A stream of new relations asks again and again.
    not_before: Instant,
}

impl Upkeep {
    fn new(config: &Arc<Config>, destination: &Arc<Destination>, metrics: &Arc<Metrics>) -> Upkeep {
        Upkeep {
            config: Arc::clone(config),
            destination: Arc::clone(destination),
            metrics: Arc::clone(metrics),
            told: Arc::default(),
            running: None,
            not_before: Instant::now(),
        }
    }

    /// Waits for the look that is under way: it would make the publications again that are dropped meanwhile.
    fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            // Its panic has ended the process already.
            let _ = running.join();
        }
    }

    /// Looks at all tables, unless the look before is still under way. False when it is.
    fn start(&mut self) -> bool {
        if self.running.as_ref().is_some_and(|r| !r.is_finished()) {
            return false;
        }
        self.not_before = Instant::now() + UPKEEP_PAUSE;
        let (config, destination) = (Arc::clone(&self.config), Arc::clone(&self.destination));
        let (told, metrics) = (Arc::clone(&self.told), Arc::clone(&self.metrics));
        let look = move || {
            if let Err(e) = look_around(&config, &destination, &metrics, &mut lock(&told)) {
                log::debug!("looking for new tables: {e}");
            }
        };
        let spawned = thread::Builder::new()
            .name("upkeep".into())
            .stack_size(STACK)
            .spawn(look);
        match spawned {
            Ok(handle) => self.running = Some(handle),
            Err(e) => log::warn!("cannot look for new tables: {e}"),
        }
        true
    }
}

/// A table that came later is published as far as it can be, and one that lost its replica identity no
/// longer hinders the application. How much WAL the slot keeps is asked on the same occasion.
fn look_around(
    config: &Config,
    destination: &Destination,
    metrics: &Metrics,
    told: &mut BTreeSet<String>,
) -> Result<()> {
    let mut session = source::open_session(config)?;
    let server = source::check(&mut session)?;
    if let Some((end, kept)) = source::kept_by_slot(&mut session, config)? {
        metrics.slot_retained.set(kept);
        // Nobody else says it while the replication connection is closed.
        metrics.source_wal_end.raise(end.0);
    }
    let published = publication::bring_in_line(
        &mut session,
        &server,
        config,
        &Tracked::new(config),
        &destination.in_source(),
    )?;
    publication::warn(&published, told);
    Ok(())
}

/// What the writer left for those who feed it.
struct Streams {
    ready: Ready,
    opened: Option<Pair>,
    work: Sender<crate::writer::Work>,
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
