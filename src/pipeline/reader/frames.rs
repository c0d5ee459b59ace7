//! Reads frames of the stream and hands whole ones on, in chunks.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::Stream;
use super::findings::{Findings, PublicationNames};
use super::foreign;
use super::output::Output;
use super::stopping::{Burst, source_stopping};
use crate::error::{Error, Kind, Result, SqlState};
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::pipeline::channel::{Chunk, Large, LargeFrames, QUIET_SIZE, ReaderEvent, SIZE};
use crate::pipeline::feedback::{INTERVAL, now};
use crate::source::message::{StreamMessage, parse};
use crate::sqlstate;
use crate::wire::{
    FRAME_LIMIT, FrameHead, HEAD, Transport, closed, grown, read_failed, server_error,
};

/// During an outage of the destination its length is looked at this often; in another form than the usual
/// one, whether that is over.
const STEP: Duration = Duration::from_secs(1);

/// The stream of one connection.
pub(super) struct FrameReader<'a> {
    output: &'a Output,
    metrics: &'a Metrics,
    transport: Arc<dyn Transport>,
    epoch: u64,
    /// Only the first `filled` bytes mean something.
    buffer: Vec<u8>,
    filled: usize,
    /// The size of a buffer where no frame asks for more.
    usual: usize,
    keepalives: Burst,
    /// The read timeout that was set last.
    read_timeout: Option<Duration>,
    /// Held while the buffer is larger than the usual ones.
    large: Option<Large>,
    /// How many bytes of a frame that nothing is wanted of are still to come.
    unwanted: usize,
}

/// Why a stream ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The end was asked for.
    Asked,
    /// From here on values can be asked for in the usual form.
    UsualForm,
}

/// How a read from the socket ended.
#[derive(PartialEq, Eq)]
enum Received {
    Bytes,
    TimedOut,
    Closed,
}

impl<'a> FrameReader<'a> {
    /// Goes on where the connection has read the start of the stream.
    pub(super) fn new(stream: Stream, output: &'a Output, metrics: &'a Metrics) -> FrameReader<'a> {
        let mut buffer = stream.rest;
        let filled = buffer.len();
        buffer.resize(filled.max(QUIET_SIZE), 0);
        FrameReader {
            output,
            metrics,
            transport: stream.transport,
            epoch: stream.epoch,
            buffer,
            filled,
            usual: QUIET_SIZE,
            keepalives: Burst::default(),
            read_timeout: None,
            large: None,
            unwanted: 0,
        }
    }

    /// Reads frames until the end is asked for, handing whole ones on after each read.
    ///
    /// # Errors
    /// Whatever ends the stream before that. What it tells of publications and of the form is noted in
    /// `findings`.
    pub(super) fn read(&mut self, findings: &mut Findings) -> Result<StreamEnd> {
        findings.silence.heard();
        loop {
            self.pass_over();
            let (whole, wanted) = self.scan(findings);
            self.hand_on(whole)?;
            let wanted = wanted.map_err(|error| findings.publications.note(error))?;
            if self.output.control.stopping() {
                return Ok(StreamEnd::Asked);
            }
            let (epoch, durable) = self.output.feedback.epoch();
            self.check(epoch, durable, findings.publications)?;
            if findings.detour.is_over(durable, Instant::now()) {
                return Ok(StreamEnd::UsualForm);
            }
            self.make_room(wanted)?;
            self.set_read_timeout(findings.detour.is_under_way())?;
            match self.receive()? {
                Received::Bytes => findings.silence.heard(),
                Received::TimedOut => {
                    let waited = self.read_timeout.unwrap_or_default();
                    if findings.silence.waited(waited, durable)? {
                        self.output.feedback.ask();
                    }
                }
                Received::Closed if self.output.control.stopping() => {
                    return Ok(StreamEnd::Asked);
                }
                Received::Closed => return Err(closed()),
            }
            self.output.feedback.send_if_due();
        }
    }

    /// Whether it is still this stream that is wanted.
    fn check(&self, epoch: u64, durable: Lsn, publications: PublicationNames) -> Result<()> {
        self.output.check_outage()?;
        // The writer asked for the stream again while this connection was made, when there was no transport
        // to shut down: all that it brings would be discarded.
        if epoch != self.epoch {
            return Err(Error::new(
                Kind::Transient,
                "the writer asks for the stream again",
            ));
        }
        if publications.first_is_over(durable) {
            return Err(Error::new(
                Kind::Transient,
                "reached the point where both publications exist",
            ));
        }
        Ok(())
    }

    /// Looks at the frames in the buffer. Returns how many bytes of whole frames there are, and how long
    /// the frame after them is, or why the stream ends with them.
    fn scan(&mut self, findings: &mut Findings) -> (usize, Result<usize>) {
        let mut at = 0;
        loop {
            let rest = self.buffer.get(at..self.filled).unwrap_or_default();
            let head = match FrameHead::parse(rest, FRAME_LIMIT) {
                Ok(Some(head)) => head,
                Ok(None) => return (at, Ok(HEAD)),
                Err(e) => return (at, Err(e)),
            };
            let Some(frame) = rest.get(..head.length) else {
                if LargeFrames::is_large(head.length) && foreign::is_foreign(rest) {
                    self.unwanted = head.length - rest.len();
                    self.filled = at;
                    return (at, Ok(HEAD));
                }
                return (at, Ok(head.length));
            };
            let body = frame.get(HEAD..).unwrap_or_default();
            if findings.detour.is_under_way()
                && head.tag == b'd'
                && let Ok(StreamMessage::XLogData(data)) = parse(body)
            {
                findings.detour.message(&data);
            }
            match (head.tag, body) {
                (b'd', [b'k', rest @ .., reply]) => {
                    self.metrics.keepalives.add(1);
                    if let Some(end) = rest.first_chunk() {
                        self.metrics.source_wal_end.raise(u64::from_be_bytes(*end));
                    }
                    if *reply == 1 {
                        self.output.feedback.send();
                        if self.keepalives.add(Instant::now()) {
                            return (at, Err(source_stopping()));
                        }
                    }
                }
                (b'd', _) => self.keepalives = Burst::default(),
                (b'E', body) => return (at, Err(server_error(body))),
                (b'N', body) => {
                    let warning = server_error(body);
                    log::warn!("source: {warning}");
                    if let Some(error) = passed_over(&warning) {
                        return (at, Err(error));
                    }
                }
                (b'c', _) => return (at, Err(closed())),
                _ => {}
            }
            at += head.length;
        }
    }

    /// Drops what has come of a frame that nothing is wanted of.
    fn pass_over(&mut self) {
        let dropped = self.unwanted.min(self.filled);
        self.buffer.copy_within(dropped..self.filled, 0);
        self.filled -= dropped;
        self.unwanted -= dropped;
    }

    /// Sends the whole frames to the decoder; what follows them moves to the next buffer.
    fn hand_on(&mut self, whole: usize) -> Result<()> {
        if whole == 0 {
            return Ok(());
        }
        let mut next = self.output.spare.try_recv().unwrap_or_default();
        let tail = self.buffer.get(whole..self.filled).unwrap_or_default();
        if next.len() < tail.len().max(self.usual) {
            next.resize(tail.len().max(self.usual), 0);
        }
        if let Some(place) = next.get_mut(..tail.len()) {
            place.copy_from_slice(tail);
        }
        self.filled = tail.len();
        let bytes = std::mem::replace(&mut self.buffer, next);
        self.metrics.bytes_queued.add(whole as u64);
        self.output.send(ReaderEvent::Frames(Chunk {
            bytes,
            filled: whole,
            received_at: now(),
            large: self.large.take(),
        }))
    }

    /// Makes the buffer large enough for a frame of `wanted` bytes.
    fn make_room(&mut self, wanted: usize) -> Result<()> {
        if self.filled < self.buffer.len() && wanted <= self.buffer.len() {
            return Ok(());
        }
        let size = grown(self.filled, wanted.max(self.usual));
        if LargeFrames::is_large(size) && self.large.is_none() {
            self.large = Some(self.output.wait_for_large()?);
        }
        self.buffer.resize(size, 0);
        Ok(())
    }

    fn set_read_timeout(&mut self, is_detour: bool) -> Result<()> {
        let short = is_detour || self.output.control.outage().is_some();
        let timeout = if short { STEP } else { INTERVAL };
        if self.read_timeout != Some(timeout) {
            self.transport
                .set_read_timeout(Some(timeout))
                .map_err(read_failed)?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Received> {
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.transport.read(free) {
            Ok(0) => Ok(Received::Closed),
            Ok(n) => {
                // Not quite full: an encrypted record that did not fit may be waiting.
                if n >= free.len() / 2 {
                    self.usual = SIZE;
                }
                self.filled += n;
                self.metrics.bytes_received.add(n as u64);
                Ok(Received::Bytes)
            }
            Err(e) if is_timeout(&e) => Ok(Received::TimedOut),
            Err(e) => Err(read_failed(e)),
        }
    }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// PostgreSQL 18 passes over the changes of WAL in which a publication did not exist, and says so in a
/// warning (`LoadPublications`, `pgoutput.c`); the servers before it end the stream with 42704. That error
/// for such a warning, so that no change is passed over.
fn passed_over(warning: &Error) -> Option<Error> {
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
