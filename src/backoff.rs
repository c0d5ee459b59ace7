//! Exponential backoff with jitter: at most 0.1 s after the first failure, up to 30 s later.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Counts consecutive failures and gives the wait after each.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: doubled with each, up to 30 s, of which a random part of the second
    /// half is left out, so that the clients of a server that returns do not connect all at once.
    pub fn wait(&mut self) -> Duration {
        let full = FIRST_WAIT
            .saturating_mul(1 << self.failures.min(16))
            .min(MAX_WAIT);
        self.failures = self.failures.saturating_add(1);
        // The standard library seeds each RandomState from the system, so no other generator is needed.
        let random = RandomState::new().build_hasher().finish() % 1024;
        let half = full / 2;
        half + half.mul_f64(random as f64 / 1024.0)
    }

    /// Ends a series of failures: the next wait is the first one again.
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
        assert!(first >= FIRST_WAIT / 2 && first <= FIRST_WAIT);
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            longest = backoff.wait();
        }
        assert!(longest >= MAX_WAIT / 2 && longest <= MAX_WAIT);
        backoff.reset();
        assert!(backoff.wait() <= FIRST_WAIT);
    }
}
