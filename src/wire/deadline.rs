//! One deadline for name lookup, connect, TLS and authentication together.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// The time left until the deadline, at least 1 ms.
///
/// # Errors
/// [`timed_out`] at the deadline.
pub(super) fn remaining(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(timed_out());
    }
    // A socket timeout of zero would mean "none".
    Ok(left.max(Duration::from_millis(1)))
}

/// The error of a deadline that has passed.
pub(super) fn timed_out() -> Error {
    Error::new(Kind::Transient, "no answer within CONNECT_TIMEOUT")
        .hint("is the server up, and is the port open to this host?")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_deadline_leaves_time_until_it_passes() {
        let now = Instant::now();
        assert!(remaining(now + Duration::from_secs(60)).unwrap() > Duration::from_secs(1));
        assert_eq!(remaining(now).unwrap_err().kind(), Kind::Transient);
    }
}
