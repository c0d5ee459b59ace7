//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// The limit of any wait for what takes a moment on a machine of its own; the machine may be shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long one look waits for the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds; fails with `what` when it does not within `timeout`.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() {
        let waited = Instant::now() < deadline;
        assert!(waited, "waited {timeout:?} in vain: {what}");
        thread::sleep(PAUSE);
    }
}
