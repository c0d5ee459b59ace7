//! This host's wall clock, in the units of the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970-01-01 00:00 UTC; zero for a time before it.
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Now, in microseconds since 1970-01-01 00:00 UTC.
pub fn unix_micros() -> u64 {
    let now = since_epoch(SystemTime::now()).as_micros();
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// The microseconds from `since` (microseconds since 1970) until now; zero where `since` is later.
pub fn micros_since(since: u64) -> u64 {
    unix_micros().saturating_sub(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_and_in_the_future_are_zero() {
        assert_eq!(
            since_epoch(UNIX_EPOCH - Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!(
            since_epoch(UNIX_EPOCH + Duration::from_secs(7)),
            Duration::from_secs(7)
        );
        assert_eq!(micros_since(u64::MAX), 0);
        // 2020-01-01 and later.
        assert!(unix_micros() > 1_577_836_800_000_000);
    }
}
