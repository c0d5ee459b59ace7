//! What a target may take: memory in proportion to its input, and time.

use std::fs;
use std::time::{Duration, Instant};

/// Whether this is a fuzz target and not a test that replays the corpus.
const FUZZING: bool = cfg!(fuzzing);

/// What any input may take, whatever its length; with the sanitizer, code takes some ten times longer.
const FREE_TIME: Duration = Duration::from_secs(2);

/// What each byte of it adds: a thousand times of what is usual, and a thousandth of what it is where
/// time grows with the square of the length.
const TIME_PER_BYTE: Duration = Duration::from_micros(20);

/// Runs `body` on an input of `length` bytes and fails where it holds more memory at once than `free`
/// and `factor` for each of them, or allocates more than four times that in all. In a fuzz target, it
/// fails also where it takes more time than is linear: the time of this thread's processor, so that
/// others on the machine do not count.
pub fn within(length: usize, factor: usize, free: usize, mut body: impl FnMut()) {
    let most = (free + length * factor) as u64;
    let start = Instant::now();
    let used = allocation_counter::measure(&mut body);
    assert!(
        used.bytes_max <= most,
        "an input of {length} bytes held {} bytes at once, at most {most} are right",
        used.bytes_max
    );
    assert!(
        used.bytes_total <= 4 * most,
        "an input of {length} bytes allocated {} bytes, at most {} are right",
        used.bytes_total,
        4 * most
    );
    let limit = FREE_TIME + TIME_PER_BYTE * u32::try_from(length).unwrap_or(u32::MAX);
    if FUZZING && start.elapsed() > limit {
        let before = processor_time();
        body();
        let took = processor_time() - before;
        assert!(
            took <= limit,
            "an input of {length} bytes took {took:?}, at most {limit:?} are right"
        );
    }
}

/// The time that this thread was on a processor (Linux, `Documentation/scheduler/sched-stats.rst`).
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
