//! The reader thread: connects to the source, prepares it, and reads the stream into chunks.

mod connect;
mod detour;
mod findings;
mod foreign;
mod frames;
mod output;
mod patience;
mod silence;
mod stopping;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::connect::Connector;
use self::detour::{Judged, StreamForm};
use self::findings::Findings;
use self::frames::{FrameReader, StreamEnd};
pub(crate) use self::output::Output;
use self::patience::{Patience, Verdict};
use super::channel::ReaderEvent;
use crate::backoff::Backoff;
use crate::change::ClientEncoding;
use crate::error::{At, Error, Kind, Result};

/// A connection that lasted longer than this is not counted among the failures in a row.
const LONG_SESSION: Duration = Duration::from_secs(60);

/// What the thread works with.
pub(crate) struct Reader {
    /// Connects to the source.
    pub connector: Connector,
    /// Where chunks go.
    pub output: Output,
}

impl Reader {
    /// Runs until the end is asked for, or until an error that retrying does not mend.
    pub(crate) fn run(mut self) -> Result<()> {
        let ended = self.keep_streaming();
        self.output.control.set_reader(None);
        self.connector.metrics.source.closed();
        // The decoder finishes what it has; it may be gone already.
        let _ = self.output.events.send(ReaderEvent::End);
        ended
    }

    fn keep_streaming(&mut self) -> Result<()> {
        let mut patience = Patience::default();
        let mut findings = Findings::default();
        let mut backoff = Backoff::default();
        while self.output.control.wait_for_destination() {
            let connected = Instant::now();
            let before = self.output.feedback.epoch().1;
            let error = match self.session(&mut patience, &mut findings) {
                Ok(StreamEnd::Asked) => break,
                Ok(StreamEnd::UsualForm) => {
                    log::info!("what could not be sent as usual is behind: connecting again");
                    self.output.feedback.set_walsender(None);
                    self.output.control.set_reader(None);
                    continue;
                }
                Err(e) if self.output.control.stopping() || e.kind() == Kind::Stopped => break,
                Err(e) => e,
            };
            self.connector.metrics.source.down(&error);
            self.output.feedback.set_walsender(None);
            self.output.control.set_reader(None);
            // A connection that brought something forward is worth having again soon.
            let durable = self.output.feedback.epoch().1;
            if connected.elapsed() > LONG_SESSION || durable > before {
                backoff.reset();
            }
            let slot = &self.connector.config.slot_name;
            let error = match findings.detour.judge(error, durable, slot, Instant::now()) {
                Judged::Unrelated(error) => error,
                Judged::Another(error) => {
                    warn_of(findings.detour.form(durable, Instant::now()));
                    error.as_kind(Kind::Transient)
                }
                Judged::Impossible(error) => return Err(error),
            };
            let wait = self.wait_after(error, &mut patience, backoff.wait())?;
            if !self.output.control.pause(wait) {
                break;
            }
        }
        Ok(())
    }

    /// How long to wait before the next attempt, where `backoff` is the usual time.
    ///
    /// # Errors
    /// `error` itself, where another attempt is of no use.
    fn wait_after(
        &self,
        error: Error,
        patience: &mut Patience,
        backoff: Duration,
    ) -> Result<Duration> {
        let verdict = patience.judge(&error, Instant::now());
        let metrics = &self.connector.metrics;
        metrics.source_failed(verdict != Verdict::GiveUp);
        let wait = match verdict {
            Verdict::Again { at_least } => backoff.max(at_least),
            Verdict::GiveUp => return Err(error),
        };
        log::warn!(
            side = "source",
            sqlstate = error.code(),
            wait_seconds = wait.as_secs_f64();
            "{error}; connecting again in {:.1} s",
            wait.as_secs_f64()
        );
        Ok(wait)
    }

    /// One connection, from its opening to its end.
    fn session(&mut self, patience: &mut Patience, findings: &mut Findings) -> Result<StreamEnd> {
        let Reader { connector, output } = self;
        let form = findings
            .detour
            .form(output.feedback.epoch().1, Instant::now());
        let stream = connector.connect(form, findings, output)?;
        let metrics = &connector.metrics;
        output
            .control
            .set_reader(Some(Arc::clone(&stream.transport)));
        output
            .feedback
            .set_walsender(Some(Arc::clone(&stream.transport)));
        metrics.source.up();
        if patience.note_stream() {
            metrics.replication_reconnections.add(1);
        }
        output.feedback.send();
        FrameReader::new(stream, output, metrics)
            .read(findings)
            .at(|| "replication stream".into())
    }
}

/// Says what the next stream is asked for.
fn warn_of(form: StreamForm) {
    if form.binary {
        log::warn!(
            "the source holds a row that is longer than 1 GB as text: until its transaction is behind, \
             values are asked for in binary, and the text of most types by a question each"
        );
    }
    if form.encoding == ClientEncoding::AsStored {
        log::warn!(
            "the source holds text that it cannot convert to UTF-8: until its transaction is behind, texts \
             are asked for as they are stored; what stands for no character becomes U+FFFD and is counted"
        );
    }
}

#[cfg(test)]
mod tests;
