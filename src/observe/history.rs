//! The last hour in samples, for the plot of the status page.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::threads::lock;

/// The time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// How many samples are kept: those of an hour.
const MAX_SAMPLES: usize = 360;

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How far the destination is behind the source, in bytes of WAL.
    pub lag_bytes: u64,
    /// Changes per second since the sample before.
    pub rate: u32,
}

/// The samples, oldest first.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    changes: u64,
}

impl History {
    /// Adds a sample: the lag now, and all changes since the start.
    pub fn add(&self, lag_bytes: u64, changes: u64) {
        let mut kept = lock(&self.0);
        let new = changes.saturating_sub(kept.changes);
        kept.changes = changes;
        if kept.samples.len() >= MAX_SAMPLES {
            kept.samples.pop_front();
        }
        let rate = u32::try_from(new / SAMPLE_INTERVAL.as_secs()).unwrap_or(u32::MAX);
        kept.samples.push_back(Sample { lag_bytes, rate });
    }

    /// All samples, oldest first.
    pub fn read(&self) -> Vec<Sample> {
        let kept = lock(&self.0);
        kept.samples.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_rates_are_differences() {
        let history = History::default();
        for n in 1..=MAX_SAMPLES as u64 + 5 {
            history.add(n, n * 100);
        }
        let read = history.read();
        assert_eq!(read.len(), MAX_SAMPLES);
        assert_eq!(read.first().map(|s| s.lag_bytes), Some(6));
        assert_eq!(read.last().map(|s| s.rate), Some(10));
    }
}
