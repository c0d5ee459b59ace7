//! The way to the decoder, and what is due while the reader waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::stopping::source_stopping;
use crate::error::{Error, Kind, Result};
use crate::pipeline::channel::{Large, LargeFrames, ReaderEvent};
use crate::pipeline::control::{Control, Outage};
use crate::pipeline::feedback::Feedback;

/// A source that shuts down waits for its walsender until everything is confirmed. With the destination
/// away that is never: the connection is closed after this time.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);

/// How often outage, stop and status update are looked at while the decoder is busy.
const STEP: Duration = Duration::from_secs(1);

/// Hands events to the decoder.
pub(crate) struct Output {
    /// Stop, outage.
    pub control: Arc<Control>,
    /// The epoch of the stream and the durable position.
    pub feedback: Arc<Feedback>,
    /// Where events go.
    pub events: Sender<ReaderEvent>,
    /// Where the buffers of chunks come back.
    pub spare: Receiver<Vec<u8>>,
    /// The right to read a large frame.
    pub large: LargeFrames,
}

impl Output {
    /// Waits for room in the channel, keeping the connection alive meanwhile.
    pub(super) fn send(&self, mut event: ReaderEvent) -> Result<()> {
        loop {
            match self.events.send_timeout(event, STEP) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => {
                    event = back;
                    self.keep_alive()?;
                }
                Err(SendTimeoutError::Disconnected(_)) => {
                    return Err(Error::new(Kind::Stopped, "the decoder has ended"));
                }
            }
        }
    }

    /// Waits until no other large frame is on its way to the decoder.
    pub(super) fn wait_for_large(&self) -> Result<Large> {
        loop {
            if let Some(large) = self.large.take(STEP) {
                return Ok(large);
            }
            self.keep_alive()?;
        }
    }

    /// What is due while this thread waits for the decoder.
    fn keep_alive(&self) -> Result<()> {
        self.feedback.send_if_due();
        self.check_outage()?;
        if self.control.stopping() {
            return Err(Error::new(Kind::Stopped, "stopped"));
        }
        Ok(())
    }

    /// Fails where an outage of the destination ends the connection.
    pub(super) fn check_outage(&self) -> Result<()> {
        let outage = self.control.outage();
        outage.map_or(Ok(()), |outage| check(&outage, Instant::now()))
    }
}

fn check(outage: &Outage, now: Instant) -> Result<()> {
    if outage.source_stopping {
        return Err(source_stopping());
    }
    if now.saturating_duration_since(outage.since) > LONGEST_OUTAGE {
        return Err(Error::new(
            Kind::Transient,
            "closed the replication connection: the destination is away, and the source could not \
             shut down while it waits for us",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_ends_the_connection_when_it_is_long_or_the_source_stops() {
        let since = Instant::now();
        for (seconds, source_stopping, stays) in [
            (0, false, true),
            (30, false, true),
            (31, false, false),
            (0, true, false),
        ] {
            let outage = Outage {
                since,
                source_stopping,
            };
            let checked = check(&outage, since + Duration::from_secs(seconds));
            assert_eq!(checked.is_ok(), stays, "{seconds} s, {source_stopping}");
            let stopping = checked.is_err_and(|e| e.is_server_stopping());
            assert_eq!(stopping, source_stopping);
        }
    }
}
