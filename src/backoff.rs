//! Exponential backoff with jitter: 0.1 s to 30 s.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row and says how long to wait after each.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The time to wait now: doubled with every failure, of which a random half is taken off, so that
    /// many clients of a server that comes back do not come all at once.
    pub fn wait(&mut self) -> Duration {
        let full = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // The standard library seeds each RandomState anew; no generator of our own is needed.
        let random = RandomState::new().build_hasher().finish() % 1024;
        let half = full / 2;
        half + half.mul_f64(random as f64 / 1024.0)
    }

    /// The next failure is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_start_again() {
        let mut backoff = Backoff::default();
        let first = backoff.wait();
        assert!(first >= FIRST / 2 && first <= FIRST);
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            longest = backoff.wait();
        }
        assert!(longest >= LONGEST / 2 && longest <= LONGEST);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
