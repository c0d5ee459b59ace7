//! Pure: from the bodies of CopyData messages to batches of rows. No channel, thread, clock or log: those are
//! behind [`Sink`], so that tests and fuzz targets call what the decoder thread calls.

mod known;

use self::known::Known;
use crate::change::json::Reason;
use crate::change::{Assembler, Batch, Catalog, Note, Place, RowShape};
use crate::error::{At, Error, Kind, Result};
use crate::lsn::{Lsn, Oid, PgTimestamp};
use crate::pgoutput::{self, Message, Relation};
use crate::resume::StreamStart;
use crate::source::message::{StreamMessage, XLogData, parse};

/// What decoding hands on, while it goes through the messages.
pub trait Sink {
    /// A message was received; it is decoded next.
    fn received(&mut self, message: &StreamMessage<'_>);

    /// A batch to fill, whose content is given up: one that was used before, or a new one.
    fn spare_batch(&mut self) -> Box<Batch>;

    /// Takes a batch that has reached its limit: whole transactions, or a fragment of one.
    ///
    /// # Errors
    /// When the batch can no longer be written: decoding ends.
    fn full(&mut self, batch: Box<Batch>) -> Result<()>;

    /// Values of a relation were replaced, for a reason that the relation had not had before.
    fn replaced(&mut self, relation: &str, reason: Reason);

    /// Something is remarkable about a relation; said once for each.
    fn noted(&mut self, schema: &str, table: &str, note: Note);

    /// A Relation message described an OID for the first time: a relation with these names, of its schema and
    /// its own.
    fn new_relation(&mut self, relation: &Relation<'_>, names: (&str, &str));

    /// The stream has reached [`StreamStart::limit`]: it has to start again there.
    fn limit_reached(&mut self);
}

/// The state of decoding: assembler, catalog, and the batch that is being filled.
pub struct StreamDecoder {
    assembler: Assembler,
    catalog: Box<dyn Catalog + Send>,
    batch: Box<Batch>,
    known: Known,
    /// From a start of the stream to the first message that cannot be decoded, or to its limit.
    streaming: bool,
    limit: Option<Lsn>,
}

impl StreamDecoder {
    /// A decoder that waits for [`StreamDecoder::start`].
    pub fn new(assembler: Assembler, catalog: Box<dyn Catalog + Send>) -> StreamDecoder {
        StreamDecoder {
            assembler,
            catalog,
            batch: Box::default(),
            known: Known::default(),
            streaming: false,
            limit: None,
        }
    }

    /// The batch that is being filled.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Whether messages count: not before the first start, and not after a message that could not be
    /// decoded.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// As [`Assembler::take_streamed`].
    pub fn take_streamed(&mut self, relation: Oid) -> [u64; 3] {
        self.assembler.take_streamed(relation)
    }

    /// Returns the batch that is being filled, and goes on with `spare`, whose content is given up.
    pub fn replace_batch(&mut self, spare: Box<Batch>) -> Box<Batch> {
        let next = self.emptied(spare);
        std::mem::replace(&mut self.batch, next)
    }

    fn emptied(&self, mut spare: Box<Batch>) -> Box<Batch> {
        spare.clear();
        spare.epoch = self.batch.epoch;
        spare.shape = self.assembler.shape();
        spare
    }

    /// Gives up the transaction that was open when the connection ended: it comes again. Returns the whole
    /// transactions before it, which are to be written before `start` is handed on; `None` where there are
    /// none, or where the epoch is another one and they come again, too.
    pub fn interrupt(&mut self, start: &StreamStart, sink: &mut impl Sink) -> Option<Box<Batch>> {
        if self.batch.epoch != start.epoch {
            return None;
        }
        self.batch.drop_open();
        self.batch
            .is_ready()
            .then(|| self.replace_batch(sink.spare_batch()))
    }

    /// Prepares for the messages that follow a start of the stream. What the batch holds is discarded, see
    /// [`StreamDecoder::interrupt`].
    pub fn start(
        &mut self,
        start: &StreamStart,
        shape: RowShape,
        primary_key_limit: Option<usize>,
    ) {
        let same_epoch = self.batch.epoch == start.epoch;
        self.batch.clear();
        self.batch.epoch = start.epoch;
        self.batch.shape = shape;
        self.assembler.restart(start.position, !same_epoch);
        self.assembler.set_table(shape, primary_key_limit);
        self.assembler.set_encoding(start.encoding);
        self.streaming = true;
        self.limit = start.limit;
    }

    /// The whole transactions at the end of the stream. `None` where there are none, or where a message
    /// before the end could not be decoded.
    pub fn finish(mut self) -> Option<Box<Batch>> {
        self.batch.drop_open();
        (self.batch.is_ready() && self.streaming).then_some(self.batch)
    }

    /// Takes the bodies of CopyData messages in the order of the stream. `queued_at` is when they were read.
    ///
    /// # Errors
    /// Of kind [`Kind::Decode`] for a message that cannot be decoded: rows of the messages before it are in
    /// the batch, and nothing counts until the stream starts again. Other kinds come from the bodies, the
    /// catalog and the sink.
    pub fn take<'a>(
        &mut self,
        bodies: impl Iterator<Item = Result<&'a [u8]>>,
        queued_at: PgTimestamp,
        sink: &mut impl Sink,
    ) -> Result<()> {
        for body in bodies {
            let taken = body
                .and_then(parse)
                .and_then(|message| self.stream_message(&message, queued_at, sink));
            if let Err(error) = taken {
                self.streaming &= error.kind() != Kind::Decode;
                return Err(error);
            }
            if !self.streaming {
                break;
            }
        }
        Ok(())
    }

    /// Ends the stream at its limit, where it has got there. All that committed before was received then:
    /// transactions come in the order of their commits.
    fn ends_at(&mut self, position: Lsn, sink: &mut impl Sink) -> bool {
        let Some(limit) = self.limit.filter(|limit| position >= *limit) else {
            return false;
        };
        self.batch.advance(limit);
        self.streaming = false;
        sink.limit_reached();
        true
    }

    fn stream_message(
        &mut self,
        message: &StreamMessage<'_>,
        queued_at: PgTimestamp,
        sink: &mut impl Sink,
    ) -> Result<()> {
        sink.received(message);
        match message {
            StreamMessage::XLogData(data) => self.message(data, queued_at, sink),
            StreamMessage::Keepalive(keepalive) => {
                let idle = !self.assembler.in_transaction();
                if idle && !self.ends_at(keepalive.wal_end, sink) {
                    self.batch.advance(keepalive.wal_end);
                }
                Ok(())
            }
        }
    }

    fn message(
        &mut self,
        data: &XLogData<'_>,
        queued_at: PgTimestamp,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let message = pgoutput::decode(data.payload)
            .map_err(|e| self.name_relation(e.into(), data.payload))
            .at(|| self.place(data))?;
        if let Message::Begin(begin) = message
            && self.ends_at(begin.final_lsn, sink)
        {
            return Ok(());
        }
        let place = Place {
            lsn: data.start,
            queued_at,
        };
        if let Message::Truncate(truncate) = &message {
            let parts = self.assembler.truncated(truncate, &mut *self.catalog);
            for part in parts.at(|| self.place(data))? {
                self.assembler
                    .truncate(place, &part, &mut *self.catalog, &mut self.batch)
                    .at(|| self.place(data))?;
                if self.batch.is_full() {
                    self.hand_over_full(sink)?;
                }
            }
        } else {
            self.assembler
                .apply(place, &message, &mut *self.catalog, &mut self.batch)
                .at(|| self.place(data))?;
            if self.batch.is_full() {
                self.hand_over_full(sink)?;
            }
        }
        while let Some((schema, table, note)) = self.assembler.take_new_note() {
            sink.noted(schema, table, note);
        }
        while let Some((relation, reasons)) = self.assembler.take_new_reasons() {
            for reason in reasons.iter() {
                sink.replaced(&relation, reason);
            }
        }
        if let Message::Relation(relation) = message
            && self.known.insert(relation.relation)
            && let Some(names) = self.assembler.relation_names(relation.relation)
        {
            sink.new_relation(&relation, names);
        }
        if let Message::Commit(commit) = message
            && let Some(asked) = self.known.due(commit.end_lsn)
        {
            let (gone, wal_end) = self.catalog.gone(&asked)?;
            let gone = self.known.answered(gone, wal_end);
            self.assembler.forget(&gone);
            self.catalog.forget_relations(&gone);
        }
        Ok(())
    }

    fn hand_over_full(&mut self, sink: &mut impl Sink) -> Result<()> {
        let mut next = self.emptied(sink.spare_batch());
        self.batch.split(&mut next);
        sink.full(std::mem::replace(&mut self.batch, next))
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

    /// Names the relation of a message that cannot be decoded, where its first bytes hold an OID.
    fn name_relation(&self, error: Error, message: &[u8]) -> Error {
        let Some((_, Some(relation))) = pgoutput::peek(message) else {
            return error;
        };
        match self.assembler.relation_name(relation) {
            Some(name) => error.at(format!("relation {name} (OID {relation})")),
            None => error.at(format!("relation with OID {relation}")),
        }
    }
}

#[cfg(test)]
mod tests;
