//! Text for people and machines: JSON strings and times.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::logger;

/// Appends a JSON string with its quotes.
pub fn push_json(out: &mut String, text: &str) {
    out.push('"');
    logger::escape_json(out, text);
    out.push('"');
}

/// Appends a time as a JSON string: RFC 3339 in UTC with milliseconds.
pub fn push_time(out: &mut String, time: SystemTime) {
    out.push('"');
    logger::push_time(out, time.duration_since(UNIX_EPOCH).unwrap_or_default());
    out.push('"');
}

/// The day of a time in UTC, as `2027-01-15`.
pub fn date(time: SystemTime) -> String {
    let mut out = String::new();
    logger::push_time(
        &mut out,
        time.duration_since(UNIX_EPOCH).unwrap_or_default(),
    );
    out.truncate(10);
    out
}

/// Appends a number of seconds, to the millisecond.
pub fn push_seconds(out: &mut String, seconds: f64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{seconds:.3}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn strings_are_escaped_and_times_are_utc() {
        let mut out = String::new();
        push_json(&mut out, "a\"b\\c\nd\u{1b}");
        push_time(
            &mut out,
            UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
        );
        push_seconds(&mut out, 1.23456);
        assert_eq!(
            out,
            "\"a\\\"b\\\\c\\nd\\u001b\"\"2026-01-02T03:04:05.678Z\"1.235"
        );
    }
}
