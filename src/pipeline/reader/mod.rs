//! The reader thread: connects to the source, prepares it, and reads the stream into chunks.

mod connect;
mod findings;
mod frames;
mod output;
mod patience;
mod stopping;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::connect::Connector;
use self::findings::Findings;
use self::frames::FrameReader;
pub(crate) use self::output::Output;
use self::patience::{Patience, Verdict};
use super::channel::ReaderEvent;
use crate::backoff::Backoff;
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
            let durable = self.output.feedback.epoch().1;
            let error = match self.session(&mut patience, &mut findings) {
                Ok(()) => break,
                Err(e) if self.output.control.stopping() || e.kind() == Kind::Stopped => break,
                Err(e) => e,
            };
            self.connector.metrics.source.down(&error);
            self.output.feedback.set_walsender(None);
            self.output.control.set_reader(None);
            // A connection that brought something forward is worth having again soon.
            let advanced = self.output.feedback.epoch().1 > durable;
            if connected.elapsed() > LONG_SESSION || advanced {
                backoff.reset();
            }
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
            Verdict::AgainAsStored => {
                log::warn!(
                    "the source holds text that is not valid in its encoding; such bytes will be \
                     replaced by U+FFFD and counted"
                );
                backoff
            }
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
    fn session(&mut self, patience: &mut Patience, findings: &mut Findings) -> Result<()> {
        let Reader { connector, output } = self;
        let stream = connector.connect(patience.encoding(), findings, output)?;
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
            .read(&mut findings.publications)
            .at(|| "replication stream".into())
    }
}

#[cfg(test)]
mod tests;
