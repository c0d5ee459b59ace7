//! The decoder thread: takes chunks of frames, hands over batches of rows. What it does with a message is in
//! [`stream_decoder`](super::stream_decoder).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};

use super::channel::{Chunk, ReaderEvent, WriterCommand};
use super::control::Control;
use super::late_tables::NewRelation;
use super::stream_decoder::{Sink, StreamDecoder};
use super::table_watch::TableWatch;
use crate::change::json::Reason;
use crate::change::{Batch, Note};
use crate::destination::tables::Destination;
use crate::error::{Error, Kind, Result};
use crate::lsn::{Lsn, PgTimestamp};
use crate::observe::metrics::Metrics;
use crate::pgoutput::Relation;
use crate::resume::StreamStart;
use crate::source::message::StreamMessage;
use crate::wire::identifier;

/// What the thread works with.
pub(crate) struct Decoder {
    /// Makes rows.
    pub stream: StreamDecoder,
    /// Ends the connection, so that the stream starts again.
    pub control: Arc<Control>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The destination's tables.
    pub destination: Arc<Destination>,
    /// Where chunks come from.
    pub events: Receiver<ReaderEvent>,
    /// Where their buffers go back.
    pub spare_chunks: Sender<Vec<u8>>,
    /// Where batches go.
    pub handover: Handover,
    /// The tables whose changes are counted.
    pub watch: Arc<TableWatch>,
}

impl Decoder {
    /// Runs until the reader says that the stream has ended.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut failures = Failures::default();
        loop {
            let event = if self.stream.batch().is_ready() && self.events.is_empty() {
                match self.offer()? {
                    Some(event) => event,
                    None => continue,
                }
            } else {
                self.events.recv().map_err(|_| ended("reader"))?
            };
            match event {
                ReaderEvent::Start(start) => self.start(start)?,
                ReaderEvent::Frames(chunk) => self.frames(chunk, &mut failures)?,
                ReaderEvent::End => return self.end(),
            }
        }
    }

    /// Waits for more of the stream or for the writer to be free, whichever comes first: a batch goes as
    /// soon as the writer takes it, and grows until then.
    fn offer(&mut self) -> Result<Option<ReaderEvent>> {
        let mut select = Select::new();
        let more = select.recv(&self.events);
        select.send(&self.handover.writer);
        let ready = select.select();
        if ready.index() == more {
            return ready
                .recv(&self.events)
                .map(Some)
                .map_err(|_| ended("reader"));
        }
        let batch = self.stream.replace_batch(self.handover.spare());
        self.handover.note_filling(self.stream.batch());
        ready
            .send(&self.handover.writer, WriterCommand::Batch(batch))
            .map_err(|_| ended("writer"))?;
        Ok(None)
    }

    fn start(&mut self, start: StreamStart) -> Result<()> {
        if let Some(batch) = self.stream.interrupt(&start, &mut self.handover) {
            self.handover.send(WriterCommand::Batch(batch))?;
        }
        self.report();
        self.watch.started();
        let (shape, primary_key_limit) = self.destination.row_shape();
        self.stream.start(&start, shape, primary_key_limit);
        self.handover.send(WriterCommand::Start(start))
    }

    fn end(self) -> Result<()> {
        if let Some(batch) = self.stream.finish() {
            self.handover.send(WriterCommand::Batch(batch))?;
        }
        self.handover.send(WriterCommand::End)
    }

    fn frames(&mut self, chunk: Chunk, failures: &mut Failures) -> Result<()> {
        if self.stream.is_streaming() {
            self.decode(&chunk, failures)?;
        }
        self.metrics.bytes_decoded.add(chunk.filled as u64);
        if self.watch.is_active() {
            self.report();
        }
        self.handover.note_filling(self.stream.batch());
        if let Some(buffer) = chunk.recycle() {
            // A full channel means that there are buffers enough.
            let _ = self.spare_chunks.try_send(buffer);
        }
        Ok(())
    }

    /// Tells how many changes of the watched tables were decoded.
    fn report(&mut self) {
        let position = Lsn(self.metrics.last_received_lsn.get());
        let Decoder { stream, watch, .. } = self;
        watch.report(position, |relation| stream.take_streamed(relation));
    }

    /// Decodes a chunk and notes how long that took, unless it held keepalives alone.
    fn decode(&mut self, chunk: &Chunk, failures: &mut Failures) -> Result<()> {
        let messages = self.metrics.wal_messages.get();
        self.handover.waited = Duration::ZERO;
        let began = Instant::now();
        let bodies = chunk.copy_data();
        match self
            .stream
            .take(bodies, chunk.received_at, &mut self.handover)
        {
            Err(e) if e.kind() == Kind::Decode => self.read_again(e, failures)?,
            other => other?,
        }
        if self.metrics.wal_messages.get() > messages {
            let took = began.elapsed().saturating_sub(self.handover.waited);
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.metrics.decode_duration.observe(took, 1);
        }
        Ok(())
    }

    /// A message that cannot be decoded is never skipped: the stream starts again from the durable position.
    fn read_again(&self, error: Error, failures: &mut Failures) -> Result<()> {
        self.metrics.decode_errors.add(1);
        self.metrics.source.note(&error);
        let error = failures.add(error)?;
        log::error!(side = "source"; "{error}; reading the stream again");
        self.control.end_stream();
        Ok(())
    }
}

/// So many facts about relations are logged, and then no more: relations may come and go without end.
const MAX_FACTS_LOGGED: u64 = 300;

/// The way to the writer, and what the decoder's progress shows elsewhere.
pub(crate) struct Handover {
    metrics: Arc<Metrics>,
    writer: Sender<WriterCommand>,
    spare_batches: Receiver<Box<Batch>>,
    on_new_relation: Box<dyn Fn(NewRelation) + Send>,
    control: Arc<Control>,
    /// How many facts about relations were to be logged.
    facts: u64,
    /// How long the writer was waited for while the chunk at hand was decoded.
    waited: Duration,
}

impl Handover {
    /// Hands batches to `writer` and takes used ones from `spare_batches`; calls `on_new_relation` for each
    /// relation that is seen for the first time.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        writer: Sender<WriterCommand>,
        spare_batches: Receiver<Box<Batch>>,
        control: Arc<Control>,
        on_new_relation: impl Fn(NewRelation) + Send + 'static,
    ) -> Handover {
        Handover {
            metrics,
            writer,
            spare_batches,
            on_new_relation: Box::new(on_new_relation),
            control,
            facts: 0,
            waited: Duration::ZERO,
        }
    }

    fn send(&self, command: WriterCommand) -> Result<()> {
        self.writer.send(command).map_err(|_| ended("writer"))
    }

    fn spare(&self) -> Box<Batch> {
        self.spare_batches.try_recv().unwrap_or_default()
    }

    /// Whether one more fact about a relation is to be logged.
    fn has_room(&mut self) -> bool {
        self.facts += 1;
        if self.facts == MAX_FACTS_LOGGED + 1 {
            log::warn!(
                "further relations whose rows are not as they could be are not named, only counted"
            );
        }
        self.facts <= MAX_FACTS_LOGGED
    }

    /// What the batch that is not yet with the writer holds, for the metrics.
    fn note_filling(&self, batch: &Batch) {
        let metrics = &self.metrics;
        metrics
            .filling_since
            .set(unix_micros(batch.oldest_commit()));
        metrics.filling_bytes.set(batch.rows.len() as u64);
    }
}

impl Sink for Handover {
    fn received(&mut self, message: &StreamMessage<'_>) {
        match message {
            StreamMessage::XLogData(data) => {
                self.metrics.wal_messages.add(1);
                let end = data.wal_end.0.max(data.start.0);
                self.metrics.last_received_lsn.raise(end);
                self.metrics.source_wal_end.raise(end);
            }
            StreamMessage::Keepalive(keepalive) => {
                self.metrics.last_received_lsn.raise(keepalive.wal_end.0);
            }
        }
    }

    fn spare_batch(&mut self) -> Box<Batch> {
        self.spare()
    }

    fn full(&mut self, batch: Box<Batch>) -> Result<()> {
        // The writer may take long to be free.
        self.note_filling(&batch);
        let began = Instant::now();
        self.send(WriterCommand::Batch(batch))?;
        self.waited += began.elapsed();
        Ok(())
    }

    /// Warns once for each relation and reason.
    fn replaced(&mut self, relation: &str, reason: Reason) {
        if !self.has_room() {
            return;
        }
        match reason {
            Reason::NotUtf8 => log::warn!(
                table = relation;
                "{relation} holds text with bytes that stand for no character in the source's encoding: \
                 each became U+FFFD, here and in rows to come"
            ),
            Reason::LongKey => log::warn!(
                table = relation;
                "{relation} has {reason}: it was cut, here and in rows to come"
            ),
            _ => log::warn!(
                table = relation;
                "{relation} holds {reason}: written in another form, here and in rows to come, and counted"
            ),
        }
    }

    fn noted(&mut self, schema: &str, table: &str, note: Note) {
        if !self.has_room() {
            return;
        }
        let name = format!("{}.{}", identifier(schema), identifier(table));
        match note {
            Note::UnknownTables => log::warn!(
                table = name;
                "{name} is gone from the source's catalog before its rows were read, so that the tables it \
                 belonged to are not known: TABLES and EXCLUDE_TABLES apply by its own name, EXCLUDE_COLUMNS \
                 and HASH_COLUMNS by the name of the column alone"
            ),
            Note::MaybeDetached => log::warn!(
                table = name;
                "{name} was altered after its rows were written, and may have been a partition until then: \
                 EXCLUDE_COLUMNS and HASH_COLUMNS for partitioned tables with its columns apply to it"
            ),
            Note::UnknownKeyOrder => log::warn!(
                table = name;
                "{name} is gone from the source's catalog before its rows were read: the columns of its key \
                 come in the order of the table in primary_key"
            ),
            Note::LostTypes => log::warn!(
                table = name;
                "{name} has columns of types that are gone from the source's catalog: their values are \
                 written as text"
            ),
            Note::KeyNotSent { by_default } => {
                let identity = if by_default { "DEFAULT" } else { "FULL" };
                log::warn!(
                    table = name;
                    "the replica identity of {name} is an index that lacks the primary key: rows of DELETE \
                     have no primary_key. ALTER TABLE {name} REPLICA IDENTITY {identity} mends it"
                );
            }
        }
    }

    fn new_relation(&mut self, relation: &Relation<'_>, (schema, table): (&str, &str)) {
        (self.on_new_relation)(NewRelation {
            oid: relation.relation,
            has_identity: relation.columns.iter().any(|column| column.key),
            schema: schema.to_owned(),
            table: table.to_owned(),
        });
    }

    fn limit_reached(&mut self) {
        self.control.end_stream();
    }
}

/// The last message that could not be decoded, by its place and what is wrong with it.
#[derive(Default)]
struct Failures {
    last: Option<String>,
}

impl Failures {
    /// Notes a failure and returns it, where reading the stream again may help.
    ///
    /// # Errors
    /// [`Kind::Bug`] when the same message fails a second time in succession: only another version of zemi
    /// can decode it.
    fn add(&mut self, error: Error) -> Result<Error> {
        let text = error.to_string();
        if self.last.as_ref() != Some(&text) {
            self.last = Some(text);
            return Ok(error);
        }
        let hint = format!(
            "{}. Please report it with this line and the versions of zemi ({}) and PostgreSQL",
            error.hint_text().unwrap_or("this is a bug of zemi's"),
            env!("CARGO_PKG_VERSION"),
        );
        let message = format!(
            "the same message failed twice, and nothing beyond it was confirmed: {}",
            error.without_hint()
        );
        Err(Error::new(Kind::Bug, message).hint(hint))
    }
}

fn unix_micros(time: Option<PgTimestamp>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.unix_micros()).unwrap_or(0))
}

fn ended(thread: &str) -> Error {
    Error::new(Kind::Stopped, format!("the {thread} has ended"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_same_failure_twice_in_succession_is_a_bug() {
        let failure = |text: &str| Error::new(Kind::Decode, text).hint("a hint");
        let mut failures = Failures::default();
        for text in ["a", "b", "a"] {
            let again = failures.add(failure(text)).unwrap();
            assert_eq!(again.kind(), Kind::Decode);
        }
        let error = failures.add(failure("a")).unwrap_err();
        assert_eq!(error.kind(), Kind::Bug);
        assert!(
            error
                .to_string()
                .contains("beyond it was confirmed: a. Hint: a hint. Please report")
        );
    }
}
