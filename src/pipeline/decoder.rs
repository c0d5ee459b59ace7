//! The decoder thread: from chunks of frames to batches of rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};

use super::channel::{Chunk, ReaderEvent, WriterCommand};
use super::control::Control;
use crate::change::json::Reason;
use crate::change::{Assembler, Batch, Catalog, Place};
use crate::destination::tables::Destination;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::{Oid, PgTimestamp};
use crate::observe::metrics::Metrics;
use crate::pgoutput::{self, Message};
use crate::resume::StreamStart;
use crate::source::message::{StreamMessage, XLogData, parse};

/// What the thread works with.
pub struct Decoder {
    /// Makes rows.
    pub assembler: Assembler,
    /// The source's catalog.
    pub catalog: Box<dyn Catalog + Send>,
    /// Stop, start again.
    pub control: Arc<Control>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The destination's tables.
    pub destination: Arc<Destination>,
    /// Where chunks come from.
    pub feed: Receiver<ReaderEvent>,
    /// Where their buffers go back.
    pub spare_chunks: Sender<Vec<u8>>,
    /// Where batches go.
    pub work: Sender<WriterCommand>,
    /// Where they come back.
    pub spare_batches: Receiver<Box<Batch>>,
    /// Called when a relation is seen for the first time.
    pub on_new_relation: Box<dyn Fn() + Send>,
}

/// What changes while it runs.
struct State {
    batch: Box<Batch>,
    seen: HashSet<Oid>,
    /// The last message that could not be decoded: its place and what is wrong with it.
    failed: Option<String>,
    /// After such a message nothing counts until the stream starts again.
    broken: bool,
    /// How long the writer was waited for while the chunk at hand was decoded.
    waited: Duration,
}

impl Decoder {
    /// Runs until the reader says that the stream has ended.
    pub fn run(mut self) -> Result<()> {
        let mut state = State {
            batch: Box::default(),
            seen: HashSet::new(),
            failed: None,
            broken: true,
            waited: Duration::ZERO,
        };
        loop {
            let feed = if state.batch.is_ready() && self.feed.is_empty() {
                match self.offer(&mut state)? {
                    Some(feed) => feed,
                    None => continue,
                }
            } else {
                self.feed.recv().map_err(|_| ended("reader"))?
            };
            match feed {
                ReaderEvent::Start(start) => self.start(start, &mut state)?,
                ReaderEvent::Frames(chunk) => {
                    if !state.broken {
                        self.timed(&chunk, &mut state)?;
                    }
                    self.metrics.bytes_decoded.add(chunk.filled as u64);
                    self.note_filling(&state.batch);
                    if let Some(buffer) = chunk.recycle() {
                        // A full channel means that there are buffers enough.
                        let _ = self.spare_chunks.try_send(buffer);
                    }
                }
                ReaderEvent::End => return self.end(state),
            }
        }
    }

    /// Waits for more of the stream or for the writer to be free, whichever comes first: a batch goes as
    /// soon as somebody takes it, and grows while nobody does.
    fn offer(&mut self, state: &mut State) -> Result<Option<ReaderEvent>> {
        let mut select = Select::new();
        let more = select.recv(&self.feed);
        select.send(&self.work);
        let ready = select.select();
        if ready.index() == more {
            return ready
                .recv(&self.feed)
                .map(Some)
                .map_err(|_| ended("reader"));
        }
        let next = self.empty_batch(state.batch.epoch);
        let batch = std::mem::replace(&mut state.batch, next);
        self.note_filling(&state.batch);
        ready
            .send(&self.work, WriterCommand::Batch(batch))
            .map_err(|_| ended("writer"))?;
        Ok(None)
    }

    /// What the batch that is not yet with the writer holds, for the metrics.
    fn note_filling(&self, batch: &Batch) {
        let metrics = &self.metrics;
        metrics
            .filling_since
            .set(unix_micros(batch.oldest_commit()));
        metrics.filling_bytes.set(batch.rows.len() as u64);
    }

    fn empty_batch(&self, epoch: u64) -> Box<Batch> {
        let mut batch = self.spare_batches.try_recv().unwrap_or_default();
        batch.clear();
        batch.epoch = epoch;
        batch.shape = self.assembler.shape();
        batch
    }

    fn hand_over(&self, work: WriterCommand) -> Result<()> {
        self.work.send(work).map_err(|_| ended("writer"))
    }

    fn start(&mut self, start: StreamStart, state: &mut State) -> Result<()> {
        let same_run = state.batch.epoch == start.epoch;
        if same_run {
            // Whole transactions stay; the piece of an open one comes again.
            state.batch.drop_open();
            if state.batch.is_ready() {
                let next = self.empty_batch(start.epoch);
                let batch = std::mem::replace(&mut state.batch, next);
                self.hand_over(WriterCommand::Batch(batch))?;
            }
        }
        state.batch.clear();
        state.batch.epoch = start.epoch;
        state.broken = false;
        self.assembler.restart(start.position, !same_run);
        let (shape, primary_key_limit) = self.destination.row_shape();
        self.assembler.set_table(shape, primary_key_limit);
        state.batch.shape = shape;
        self.assembler.set_encoding(start.encoding);
        self.hand_over(WriterCommand::Start(start))
    }

    fn end(&mut self, mut state: State) -> Result<()> {
        state.batch.drop_open();
        if state.batch.is_ready() && !state.broken {
            self.hand_over(WriterCommand::Batch(state.batch))?;
        }
        self.hand_over(WriterCommand::End)
    }

    /// Decodes a chunk and notes how long that took, unless it held keepalives alone.
    fn timed(&mut self, chunk: &Chunk, state: &mut State) -> Result<()> {
        let messages = self.metrics.wal_messages.get();
        state.waited = Duration::ZERO;
        let began = Instant::now();
        self.frames(chunk, state)?;
        if self.metrics.wal_messages.get() > messages {
            let took = began.elapsed().saturating_sub(state.waited).as_micros();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            self.metrics.decode_duration.observe(took, 1);
        }
        Ok(())
    }

    fn frames(&mut self, chunk: &Chunk, state: &mut State) -> Result<()> {
        for body in chunk.copy_data() {
            let taken = match body.and_then(parse) {
                Ok(StreamMessage::XLogData(data)) => self.message(&data, chunk, state),
                Ok(StreamMessage::Keepalive(keepalive)) => {
                    let end = keepalive.wal_end.0;
                    self.metrics.last_received_lsn.raise(end);
                    if !self.assembler.in_transaction() {
                        state.batch.advance(keepalive.wal_end);
                    }
                    Ok(())
                }
                Err(e) => Err(e),
            };
            match taken {
                Ok(()) => {}
                Err(e) if e.kind() == Kind::Decode => return self.refuse(e, state),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn hand_over_full(&self, state: &mut State) -> Result<()> {
        if !state.batch.is_full() {
            return Ok(());
        }
        let mut next = self.empty_batch(state.batch.epoch);
        state.batch.split(&mut next);
        let batch = std::mem::replace(&mut state.batch, next);
        // The writer may take long to be free.
        self.note_filling(&batch);
        let began = Instant::now();
        self.hand_over(WriterCommand::Batch(batch))?;
        state.waited += began.elapsed();
        Ok(())
    }

    fn message(&mut self, data: &XLogData<'_>, chunk: &Chunk, state: &mut State) -> Result<()> {
        self.metrics.wal_messages.add(1);
        let end = data.wal_end.0.max(data.start.0);
        self.metrics.last_received_lsn.raise(end);
        self.metrics.source_wal_end.raise(end);
        let message = pgoutput::decode(data.payload)
            .map_err(|e| self.name_relation(e.into(), data.payload))
            .at(|| self.place(data))?;
        let place = Place {
            lsn: data.start,
            queued_at: chunk.received_at,
        };
        for message in message.each() {
            self.assembler
                .apply(place, &message, &mut *self.catalog, &mut state.batch)
                .at(|| self.place(data))?;
            self.hand_over_full(state)?;
        }
        while let Some((relation, reasons)) = self.assembler.take_new_reasons() {
            for reason in reasons.iter() {
                say(&relation, reason);
            }
        }
        if let Message::Relation(relation) = message
            && state.seen.insert(relation.relation)
        {
            (self.on_new_relation)();
        }
        Ok(())
    }

    /// Where a message stands. Relation and Type messages have no position of their own.
    fn place(&self, data: &XLogData<'_>) -> String {
        match self.assembler.open_transaction() {
            Some((xid, end)) => format!(
                "message at {} of transaction {xid}, which commits at {end}",
                data.start
            ),
            None => format!("message at {}", data.start),
        }
    }

    /// Names the relation of a message that cannot be decoded, as far as its beginning tells.
    fn name_relation(&self, error: Error, message: &[u8]) -> Error {
        let Some((_, Some(relation))) = pgoutput::peek(message) else {
            return error;
        };
        match self.assembler.relation_name(relation) {
            Some(name) => error.at(format!("relation {name} (OID {relation})")),
            None => error.at(format!("relation with OID {relation}")),
        }
    }

    /// A message that cannot be decoded is never skipped: the stream starts again from the durable
    /// position. When the same one fails again, nothing but another program can help.
    fn refuse(&mut self, error: Error, state: &mut State) -> Result<()> {
        self.metrics.decode_errors.add(1);
        self.metrics.source.note(&error);
        let text = error.to_string();
        if state.failed.as_ref() == Some(&text) {
            let hint = format!(
                "{}. Please report it with this line and the versions of zemi ({}) and PostgreSQL",
                error.hint_text().unwrap_or("this is a bug of zemi's"),
                env!("CARGO_PKG_VERSION"),
            );
            let message = format!(
                "the same message failed twice, and nothing beyond it was confirmed: {}",
                error.without_hint()
            );
            return Err(Error::new(Kind::Bug, message).hint(hint));
        }
        log::error!(side = "source"; "{error}; reading the stream again");
        state.failed = Some(text);
        state.broken = true;
        self.control.end_stream();
        Ok(())
    }
}

/// Says why values of a relation are not written as they are; once, for all that come.
fn say(relation: &str, reason: Reason) {
    match reason {
        Reason::NotUtf8 => log::warn!(
            table = relation;
            "{relation} holds text with bytes that stand for no character in the source's encoding: each \
             became U+FFFD, here and in rows to come"
        ),
        Reason::LongKey => {
            log::warn!(table = relation; "{relation} has {reason}: it was cut, here and in rows to come")
        }
        _ => log::warn!(
            table = relation;
            "{relation} holds {reason}: written in a safe form, here and in rows to come, and counted"
        ),
    }
}

fn unix_micros(time: Option<PgTimestamp>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.unix_micros()).unwrap_or(0))
}

fn ended(who: &str) -> Error {
    Error::new(Kind::Stopped, format!("the {who} has ended"))
}
