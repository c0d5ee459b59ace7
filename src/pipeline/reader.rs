//! The reader thread: connects to the source, prepares it, and reads the stream into chunks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::channel::{Chunk, Large, LargeFrames, QUIET_SIZE, ReaderEvent, SIZE};
use super::control::Control;
use super::feedback::{Feedback, INTERVAL, now};
use crate::backoff::Backoff;
use crate::change::{Encoding, Tracked};
use crate::config::Config;
use crate::destination::gap::log_gap;
use crate::error::{At, Error, Exit, Kind, Remedy, Result, SqlState};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::resume::{self, Gap, GapAnnouncement, SavedProgress, StreamStart};
use crate::source::catalog::OwnTables;
use crate::source::publication::{self, Published};
use crate::source::{self, SourceSessions, failover, predecessor};
use crate::sqlstate;
use crate::wire::{
    Connection, FRAME_LIMIT, FrameHead, HEAD, Transport, closed, grown, identifier, literal,
    query_message, read_failed, server_error, unexpected,
};

/// A source that shuts down waits for its walsender until everything is confirmed. With the destination
/// away that is never: the connection is closed after this time.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);

/// How long to stay away from a source that is shutting down, at least.
const STAY_AWAY: Duration = Duration::from_secs(10);

/// How long a new process waits for a slot that somebody else holds: a walsender whose client was
/// killed needs a moment to notice.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// What the thread works with.
pub struct Reader {
    /// The settings.
    pub config: Arc<Config>,
    /// Stop, outage.
    pub control: Arc<Control>,
    /// The run and the durable position.
    pub feedback: Arc<Feedback>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Which tables are tracked.
    pub tracked: Tracked,
    /// Zemi's own tables.
    pub own: Arc<dyn OwnTables>,
    /// The system identifier that the progress was read for.
    pub system_identifier: String,
    /// What the destination knew when the process started.
    pub known: Option<SavedProgress>,
    /// Where a gap is announced.
    pub gaps: Box<dyn GapAnnouncement>,
    /// Where chunks go.
    pub feed: Sender<ReaderEvent>,
    /// Where their buffers come back.
    pub spare: Receiver<Vec<u8>>,
    /// What was warned about already.
    pub warned: BTreeSet<String>,
    /// The right to read a large frame.
    pub large: LargeFrames,
    /// Sessions for the first connection, preconnected by who asked the source for its identity.
    pub preconnected: Option<SourceSessions>,
}

/// What is remembered from one connection to the next.
struct Memory {
    encoding: &'static str,
    /// Until the stream has passed this position, only the first publication is named: the second one
    /// did not exist when the WAL before it was written.
    first_only_until: Option<Lsn>,
    /// Not even the first one existed: the WAL up to its new beginning cannot be decoded.
    publication_gone: bool,
    /// The end of WAL when the source was last asked.
    end: Lsn,
    /// A gap that was found and not yet handed on.
    gap: Option<Gap>,
    streamed: bool,
    busy_since: Option<Instant>,
}

struct Stream {
    transport: Arc<dyn Transport>,
    rest: Vec<u8>,
    /// The run that it belongs to.
    epoch: u64,
}

impl Reader {
    /// Runs until the end is asked for, or until an error that retrying does not mend.
    pub fn run(mut self) -> Result<()> {
        let mut memory = Memory {
            encoding: "UTF8",
            first_only_until: None,
            publication_gone: false,
            end: Lsn::ZERO,
            gap: None,
            streamed: false,
            busy_since: None,
        };
        let mut backoff = Backoff::default();
        let ended = loop {
            if !self.control.wait_for_destination() {
                break Ok(());
            }
            let connected = Instant::now();
            let durable = self.feedback.epoch().1;
            let error = match self.session(&mut memory) {
                Ok(()) => break Ok(()),
                Err(e) if self.control.stopping() || e.kind() == Kind::Stopped => break Ok(()),
                Err(e) => e,
            };
            self.metrics.source.down(&error);
            self.feedback.set_walsender(None);
            self.control.set_reader(None);
            // A connection that brought something forward is worth having again soon.
            if connected.elapsed() > Duration::from_secs(60) || self.feedback.epoch().1 > durable {
                backoff.reset();
            }
            let mut wait = backoff.wait();
            let judged = self.judge(&error, &mut memory);
            self.metrics.source_failed(judged.is_ok());
            match judged {
                Ok(least) => wait = wait.max(least),
                Err(()) => break Err(error),
            }
            log::warn!(
                side = "source",
                sqlstate = error.code(),
                wait_seconds = wait.as_secs_f64();
                "{error}; connecting again in {:.1} s",
                wait.as_secs_f64()
            );
            if !self.control.pause(wait) {
                break Ok(());
            }
        };
        self.control.set_reader(None);
        self.metrics.source.closed();
        // The decoder finishes what it has; it may be gone already.
        let _ = self.feed.send(ReaderEvent::End);
        ended
    }

    /// Whether to try again, and after how long at least.
    fn judge(&self, error: &Error, memory: &mut Memory) -> std::result::Result<Duration, ()> {
        if source::is_unconvertible(error) {
            // The walsender cannot convert some value to UTF-8, and never will: take the bytes as they
            // are stored.
            if memory.encoding == "UTF8" {
                memory.encoding = "SQL_ASCII";
                log::warn!(
                    "the source holds text that is not valid in its encoding; such bytes will be \
                     replaced by U+FFFD and counted"
                );
            }
            return Ok(Duration::ZERO);
        }
        if error.is_server_stopping() {
            return Ok(STAY_AWAY);
        }
        match error.remedy() {
            Remedy::Retry => Ok(Duration::ZERO),
            Remedy::Stop(Exit::Busy) => {
                let since = *memory.busy_since.get_or_insert_with(Instant::now);
                let patient = memory.streamed || since.elapsed() < BUSY_PATIENCE;
                if patient { Ok(Duration::ZERO) } else { Err(()) }
            }
            Remedy::Stop(_) => Err(()),
        }
    }

    fn session(&mut self, memory: &mut Memory) -> Result<()> {
        let mut stream = self.connect(memory)?;
        self.control.set_reader(Some(Arc::clone(&stream.transport)));
        self.feedback
            .set_walsender(Some(Arc::clone(&stream.transport)));
        self.metrics.source.up();
        if memory.streamed {
            self.metrics.replication_reconnections.add(1);
        }
        memory.streamed = true;
        memory.busy_since = None;
        self.feedback.send();
        self.read(&mut stream, memory)
            .at(|| "replication stream".into())
    }

    /// Everything up to the first byte of the stream.
    fn connect(&mut self, memory: &mut Memory) -> Result<Stream> {
        let preconnected = self.preconnected.take().filter(SourceSessions::is_fresh);
        let SourceSessions {
            mut session,
            mut walsender,
            ..
        } = match preconnected {
            Some(pair) => pair,
            None => SourceSessions::open(&self.config, memory.encoding)?,
        };
        let server = source::check(&mut session).at(|| "source".into())?;
        failover::check(&server, &self.config).at(|| "source".into())?;
        let identity = source::identify(&mut walsender)?;
        if identity.system_identifier != self.system_identifier {
            return Err(Error::new(
                Kind::Setting,
                format!(
                    "expected the source with system identifier {}, found {}",
                    self.system_identifier, identity.system_identifier
                ),
            )
            .hint("another cluster answers at this address; start zemi anew if it is meant"));
        }
        // First of all, so that the publications of a slot that is not ours stay as they are.
        let before = source::read_slot(&mut session, &self.config)?;
        if self.known.is_none() {
            self.look_for_predecessor(&mut session, before.is_some())?;
        }
        let published = publication::reconcile(
            &mut session,
            &server,
            &self.config,
            &self.tracked,
            &self.own.in_source(),
        )?;
        publication::warn(&published, &mut self.warned);

        let (mut epoch, durable) = self.feedback.epoch();
        if let Some(known) = self.known.as_mut()
            && durable > Lsn::ZERO
            && !known.gap_pending
        {
            known.flushed = known.flushed.max(durable);
        }
        let slot = match before {
            Some(slot) if !slot.lost => slot,
            lost => {
                if let Some(known) = self.known.as_mut() {
                    self.gaps.announce_gap(known.flushed, known.timeline)?;
                    known.gap_pending = true;
                }
                if lost.is_some() {
                    source::drop_slot(&mut session, &self.config, Duration::ZERO)?;
                }
                let confirmed = source::create_slot(&mut session, &self.config)?;
                let slot = self.config.slot_name.as_str();
                log::info!(slot, lsn:% = confirmed; "made slot {slot} at {confirmed}");
                resume::SlotPosition {
                    confirmed,
                    lost: false,
                }
            }
        };
        failover::reconcile(&mut session, &mut walsender, &self.config, &mut self.warned)?;
        let timeline = self.known.map(|known| known.timeline);
        let position = source::position(&mut walsender, &identity, timeline)?;
        let mut start = resume::decide(before, slot, self.known, position);
        // What was read before the publications went stays on its way: the gap comes behind it.
        let same_run = memory.publication_gone && start.gap.is_none() && durable > Lsn::ZERO;
        if memory.publication_gone {
            start = start.behind_publications(source::wal_end(&mut session)?);
        }
        memory.end = identity.end;
        self.metrics.source_wal_end.set(identity.end.0);
        if let Some((_, kept)) = source::kept_by_slot(&mut session, &self.config)? {
            self.metrics.slot_retained.set(kept);
        }
        if let Some(gap) = start.gap {
            // An attempt before this one may have found it already.
            if memory.gap.replace(gap).is_none() {
                self.metrics.gaps.add(1);
                self.metrics.source.note(&gap.to_string());
            }
            log_gap(&gap, "source");
        }
        // What the timeline before sent last may never have happened on this one.
        let left_timeline = timeline.is_some_and(|known| known != identity.timeline);
        if start.gap.is_some() && !same_run || durable == Lsn::ZERO || left_timeline {
            epoch = self.feedback.new_epoch(start.position);
        }
        self.start_replication(&mut walsender, start.position, &published, memory)?;
        self.metrics.last_flushed_lsn.set(start.position.0);
        let start = StreamStart {
            epoch,
            position: start.position,
            timeline: identity.timeline,
            switch: position.switch,
            gap: memory.gap,
            encoding: match memory.encoding {
                "UTF8" => Encoding::Utf8,
                _ => Encoding::of_database(&server.encoding),
            },
        };
        self.send(ReaderEvent::Start(start))?;
        memory.gap = None;
        memory.publication_gone = false;
        self.known = Some(SavedProgress {
            flushed: start.position,
            timeline: identity.timeline,
            destination_changed: false,
            gap_pending: false,
        });
        log::info!(
            source:% = self.config.source,
            server_version = server.version_text.as_str(),
            slot = self.config.slot_name.as_str(),
            lsn:% = start.position;
            "streaming from {} ({}), slot {}, publication {}, from {}",
            self.config.source,
            server.version_text,
            self.config.slot_name,
            published.names.join(" and "),
            start.position
        );
        let (transport, rest) = walsender.into_parts();
        Ok(Stream {
            transport,
            rest,
            epoch,
        })
    }

    /// At the first start: another tracker may have left what this one could go on from.
    fn look_for_predecessor(&mut self, session: &mut Connection, slot_there: bool) -> Result<()> {
        if slot_there {
            return predecessor::check_publication(session, &self.config);
        }
        if let Some(found) = predecessor::look(session, &self.config)?
            && self.warned.insert(predecessor::SLOT.into())
        {
            log::warn!("{}. Hint: {}", found.found(), found.fix());
        }
        Ok(())
    }

    fn start_replication(
        &self,
        walsender: &mut Connection,
        position: Lsn,
        published: &Published,
        memory: &mut Memory,
    ) -> Result<()> {
        if memory
            .first_only_until
            .is_some_and(|until| position >= until)
        {
            memory.first_only_until = None;
        }
        let names: Vec<String> = match memory.first_only_until {
            Some(_) => published
                .names
                .iter()
                .take(1)
                .map(|n| identifier(n))
                .collect(),
            None => published.names.iter().map(|n| identifier(n)).collect(),
        };
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {position} (proto_version '1', publication_names {}, \
             messages 'true')",
            identifier(&self.config.slot_name),
            literal(&names.join(",")).trim_start()
        );
        walsender.send(&query_message(&command)?)?;
        loop {
            match walsender.receive()? {
                (b'W', _) => return Ok(()),
                (b'E', body) => {
                    let error = server_error(body).at("START_REPLICATION");
                    // The slot was fine a moment ago: what is wrong with it now is looked at again.
                    let again = error.is_sqlstate(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE)
                        || error.is_sqlstate(sqlstate::UNDEFINED_OBJECT);
                    return Err(if again {
                        error.as_kind(Kind::Transient)
                    } else {
                        error
                    });
                }
                (b'T' | b'D' | b'C' | b'Z', _) => {}
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }

    /// Reads frames until the stream ends, handing whole ones on after each read.
    fn read(&mut self, stream: &mut Stream, memory: &mut Memory) -> Result<()> {
        let mut buffer = std::mem::take(&mut stream.rest);
        let mut filled = buffer.len();
        let mut usual = QUIET_SIZE;
        buffer.resize(filled.max(usual), 0);
        let mut keepalives = Burst::default();
        let mut limit = None;
        // Held while the buffer is larger than the usual ones.
        let mut large = None;
        loop {
            let (whole, wanted) = match self.scan(&buffer, filled, &mut keepalives) {
                Ok(found) => found,
                Err((whole, error)) => {
                    self.hand_on(&mut buffer, &mut filled, whole, usual, &mut large)?;
                    return Err(self.note_missing_publication(error, memory));
                }
            };
            self.hand_on(&mut buffer, &mut filled, whole, usual, &mut large)?;
            if self.control.stopping() {
                return Ok(());
            }
            self.check_outage()?;
            // Asked for again while this connection was made, when there was nothing to wake: all that it
            // brings would be discarded, for ever.
            if self.feedback.epoch().0 != stream.epoch {
                return Err(Error::new(
                    Kind::Transient,
                    "the writer asks for the stream again",
                ));
            }
            if memory
                .first_only_until
                .is_some_and(|until| self.feedback.epoch().1 >= until)
            {
                return Err(Error::new(
                    Kind::Transient,
                    "reached the point where both publications exist",
                ));
            }
            if filled == buffer.len() || wanted > buffer.len() {
                let size = grown(filled, wanted.max(usual));
                if LargeFrames::is_large(size) && large.is_none() {
                    large = Some(self.wait_for_room()?);
                }
                buffer.resize(size, 0);
            }
            // During an outage its length is watched by the second.
            let short = self.control.outage().is_some();
            let wake = if short {
                Duration::from_secs(1)
            } else {
                INTERVAL
            };
            if limit != Some(wake) {
                stream
                    .transport
                    .set_read_timeout(Some(wake))
                    .map_err(read_failed)?;
                limit = Some(wake);
            }
            let free = buffer.get_mut(filled..).unwrap_or_default();
            match stream.transport.read(free) {
                Ok(0) if self.control.stopping() => return Ok(()),
                Ok(0) => return Err(closed()),
                Ok(n) => {
                    // Not quite full: an encrypted record that did not fit may be waiting.
                    if n >= free.len() / 2 {
                        usual = SIZE;
                    }
                    filled += n;
                    self.metrics.bytes_received.add(n as u64);
                }
                Err(e) if is_timeout(&e) => {}
                Err(e) => return Err(read_failed(e)),
            }
            self.feedback.send_if_due();
        }
    }

    /// Looks at the frames in the buffer. Returns how many bytes of whole frames there are, and how long
    /// the frame after them is.
    fn scan(
        &self,
        buffer: &[u8],
        filled: usize,
        keepalives: &mut Burst,
    ) -> std::result::Result<(usize, usize), (usize, Error)> {
        let mut at = 0;
        loop {
            let rest = buffer.get(at..filled).unwrap_or_default();
            let head = match FrameHead::parse(rest, FRAME_LIMIT) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok((at, HEAD)),
                Err(e) => return Err((at, e)),
            };
            let Some(frame) = rest.get(..head.length) else {
                return Ok((at, head.length));
            };
            let body = frame.get(HEAD..).unwrap_or_default();
            match (head.tag, body) {
                (b'd', [b'k', rest @ .., reply]) => {
                    self.metrics.keepalives.add(1);
                    if let Some(end) = rest.first_chunk() {
                        self.metrics.source_wal_end.raise(u64::from_be_bytes(*end));
                    }
                    if *reply == 1 {
                        self.feedback.send();
                        if keepalives.is_full() {
                            return Err((at, source_stopping()));
                        }
                    }
                }
                (b'd', _) => *keepalives = Burst::default(),
                (b'E', body) => return Err((at, server_error(body))),
                (b'N', body) => {
                    if let Some(error) = passed_over(body) {
                        return Err((at, error));
                    }
                }
                (b'c', _) => return Err((at, closed())),
                _ => {}
            }
            at += head.length;
        }
    }

    /// Sends the whole frames to the decoder; what follows them moves to the next buffer.
    fn hand_on(
        &self,
        buffer: &mut Vec<u8>,
        filled: &mut usize,
        whole: usize,
        usual: usize,
        large: &mut Option<Large>,
    ) -> Result<()> {
        if whole == 0 {
            return Ok(());
        }
        let mut next = self.spare.try_recv().unwrap_or_default();
        let tail = buffer.get(whole..*filled).unwrap_or_default();
        if next.len() < tail.len().max(usual) {
            next.resize(tail.len().max(usual), 0);
        }
        if let Some(place) = next.get_mut(..tail.len()) {
            place.copy_from_slice(tail);
        }
        *filled = tail.len();
        let bytes = std::mem::replace(buffer, next);
        self.metrics.bytes_queued.add(whole as u64);
        self.send(ReaderEvent::Frames(Chunk {
            bytes,
            filled: whole,
            received_at: now(),
            large: large.take(),
        }))
    }

    /// Waits until no other large frame is on its way to the decoder.
    fn wait_for_room(&self) -> Result<Large> {
        loop {
            if let Some(large) = self.large.take(Duration::from_secs(1)) {
                return Ok(large);
            }
            self.keep_alive()?;
        }
    }

    /// Waits for room in the channel, keeping the connection alive meanwhile.
    fn send(&self, mut feed: ReaderEvent) -> Result<()> {
        loop {
            match self.feed.send_timeout(feed, Duration::from_secs(1)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => {
                    feed = back;
                    self.keep_alive()?;
                }
                Err(SendTimeoutError::Disconnected(_)) => {
                    return Err(Error::new(Kind::Stopped, "the decoder has ended"));
                }
            }
        }
    }

    /// What has to be seen to while this thread waits for the decoder.
    fn keep_alive(&self) -> Result<()> {
        self.feedback.send_if_due();
        self.check_outage()?;
        if self.control.stopping() {
            return Err(Error::new(Kind::Stopped, "stopped"));
        }
        Ok(())
    }

    fn check_outage(&self) -> Result<()> {
        match self.control.outage() {
            Some(outage) if outage.source_stopping => Err(source_stopping()),
            Some(outage) if outage.since.elapsed() > LONGEST_OUTAGE => Err(Error::new(
                Kind::Transient,
                "closed the replication connection: the destination is away, and the source could not \
                 shut down while it waits for us",
            )),
            _ => Ok(()),
        }
    }

    /// WAL that is older than the second publication cannot be decoded with its name.
    fn note_missing_publication(&self, error: Error, memory: &mut Memory) -> Error {
        if !error.is_sqlstate(sqlstate::UNDEFINED_OBJECT) {
            return error;
        }
        if memory.first_only_until.take().is_some() {
            memory.publication_gone = true;
        } else {
            memory.first_only_until = Some(memory.end);
        }
        error.as_kind(Kind::Transient)
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// This many keepalives in a row that ask for a reply, within a second and without data, mean that the
/// source is shutting down and waits for us.
const BURST: u32 = 50;

/// Keepalives that ask for a reply, in a row.
#[derive(Default)]
struct Burst {
    since: Option<Instant>,
    count: u32,
}

impl Burst {
    /// Counts one more; whether they are as many as no living server sends.
    fn is_full(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > Duration::from_secs(1) {
            *self = Burst {
                since: Some(Instant::now()),
                count: 0,
            };
        }
        self.count += 1;
        self.count >= BURST
    }
}

/// What that means for the connection.
fn source_stopping() -> Error {
    // The state that the server itself would give: the table of remedies knows what to do about it.
    Error::server(
        SqlState::from_bytes(sqlstate::ADMIN_SHUTDOWN.as_bytes()),
        "the source is shutting down and waits for zemi: closed the replication connection",
    )
}

/// PostgreSQL 18 passes over the changes of WAL in which a publication did not exist, and says so in a
/// warning (`LoadPublications`, `pgoutput.c`); the servers before it end with an error, as it should be.
fn passed_over(notice: &[u8]) -> Option<Error> {
    let warning = server_error(notice);
    log::warn!("source: {warning}");
    warning
        .is_sqlstate(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE)
        .then(|| {
            let undefined = SqlState::from_bytes(sqlstate::UNDEFINED_OBJECT.as_bytes());
            Error::server(
                undefined,
                "a publication does not exist at this point in the WAL",
            )
        })
}

#[cfg(test)]
mod tests;
