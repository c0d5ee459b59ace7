//! What `/healthz` and `/readyz` answer.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection_status::{LastError, State};
use super::metrics::{Metrics, microseconds_since};
use super::text::{push_json, push_seconds, push_time};

/// A batch that the destination holds for longer than this, without an error, is stuck: behind a lock, or
/// behind a standby that does not answer. A batch is at most a few megabytes.
const STALL: Duration = Duration::from_secs(60);

/// What the process is doing, in a word or two, and since when.
pub fn state(metrics: &Metrics) -> (&'static str, SystemTime) {
    let (source, destination) = (metrics.source.state(), metrics.destination.state());
    let both = source.since.max(destination.since);
    let at = |microseconds| UNIX_EPOCH + Duration::from_micros(microseconds);
    let busy = metrics.writer_busy_since.get();
    let stalls = busy > 0 && u128::from(microseconds_since(busy)) > STALL.as_micros();
    let clean = source.errors.is_empty() && destination.errors.is_empty();
    if metrics.failed_since.get() > 0 {
        return ("failed", at(metrics.failed_since.get()));
    }
    if metrics.stopping_since.get() > 0 {
        return ("stopping", at(metrics.stopping_since.get()));
    }
    match (source.connected, destination.connected) {
        (true, true) if stalls => ("destination stalls", at(busy)),
        (true, true) => ("streaming", both),
        _ if metrics.last_flushed_lsn.get() == 0 && clean => ("starting", metrics.started),
        (false, true) => ("source away", source.since),
        (true, false) => ("destination away", destination.since),
        (false, false) => ("both sides away", both),
    }
}

/// Whether the process lives and its threads do. A database that is away is no reason to kill it.
pub fn is_alive(metrics: &Metrics) -> bool {
    metrics.failed_since.get() == 0
}

/// Whether changes are read and written.
pub fn is_ready(metrics: &Metrics) -> bool {
    state(metrics).0 == "streaming"
}

/// The JSON body of both.
pub fn body(metrics: &Metrics) -> String {
    let (source, destination) = (metrics.source.state(), metrics.destination.state());
    let mut out = String::with_capacity(512);
    push_state(&mut out, metrics);
    out.push_str(",\"last_error\":");
    let last = [source.last_error(), destination.last_error()];
    push_last_error(&mut out, last.into_iter().flatten().max_by_key(|e| e.time));
    for (name, side) in [("source", source), ("destination", destination)] {
        let _ = write!(out, ",\"{name}\":{{");
        push_connection(&mut out, &side);
        out.push_str(",\"last_error\":");
        push_last_error(&mut out, side.last_error());
        out.push('}');
    }
    out.push_str("}\n");
    out
}

/// Begins an object with the state and the lag, and with what the Zig program says of the same.
pub(super) fn push_state(out: &mut String, metrics: &Metrics) {
    let (state, since) = state(metrics);
    let status = if is_ready(metrics) { "ok" } else { "unhealthy" };
    // Writing to a String cannot fail.
    out.push_str("{\"state\":");
    push_json(out, state);
    out.push_str(",\"since\":");
    push_time(out, since);
    let _ = write!(
        out,
        ",\"status\":\"{status}\",\"replication\":{},\"storage\":{},\"lag_bytes\":{}",
        metrics.source.state().connected,
        metrics.destination.state().connected,
        metrics.lag_bytes()
    );
    out.push_str(",\"lag_seconds\":");
    push_seconds(out, metrics.lag_seconds());
}

/// Appends whether a side is connected, and since when.
pub(super) fn push_connection(out: &mut String, side: &State) {
    let _ = write!(out, "\"connected\":{},\"since\":", side.connected);
    push_time(out, side.since);
}

/// Appends an error as a JSON object, or `null`.
pub(super) fn push_last_error(out: &mut String, trouble: Option<&LastError>) {
    let Some(trouble) = trouble else {
        return out.push_str("null");
    };
    out.push_str("{\"time\":");
    push_time(out, trouble.time);
    let _ = write!(out, ",\"times\":{},\"message\":", trouble.times);
    push_json(out, &trouble.message);
    out.push('}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::metrics::now_microseconds;
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_outage_makes_it_unready_and_not_dead() {
        let metrics = Metrics::default();
        assert_eq!(state(&metrics), ("starting", metrics.started));
        metrics.source.up();
        metrics.destination.up();
        assert!(is_ready(&metrics) && is_alive(&metrics));
        assert_eq!(state(&metrics).1, metrics.destination.state().since);
        metrics.source.note(&"an older one");
        metrics.destination.down(&"connection \"refused\"");
        let away = ("destination away", metrics.destination.state().since);
        assert_eq!(state(&metrics), away);
        assert!(!is_ready(&metrics) && is_alive(&metrics));
        let body: Value = serde_json::from_str(&body(&metrics)).unwrap();
        assert_eq!(body["destination"]["connected"], false);
        assert_eq!(body["status"], "unhealthy");
        assert_eq!(body["replication"], true);
        assert_eq!(body["storage"], false);
        let error = &body["destination"]["last_error"];
        assert_eq!(error["message"], "connection \"refused\"");
        assert_eq!(&body["last_error"], error);
        assert_eq!(body["since"], body["destination"]["since"]);
        assert_eq!(body["source"]["last_error"]["message"], "an older one");
        metrics.destination.up();
        let read: Value = serde_json::from_str(&super::body(&metrics)).unwrap();
        assert_eq!(read["status"], "ok");
        assert_eq!(read["storage"], true);
        metrics.failed_since.set(now_microseconds());
        assert!(!is_alive(&metrics) && !is_ready(&metrics));
    }

    #[test]
    fn a_destination_that_holds_a_batch_and_does_not_answer_is_not_ready() {
        let metrics = Metrics::default();
        metrics.source.up();
        metrics.destination.up();
        metrics.writer_busy_since.set(now_microseconds());
        assert!(is_ready(&metrics));
        let long_ago = now_microseconds() - 61_000_000;
        metrics.writer_busy_since.set(long_ago);
        assert!(!is_ready(&metrics) && is_alive(&metrics));
        let since = UNIX_EPOCH + Duration::from_micros(long_ago);
        assert_eq!(state(&metrics), ("destination stalls", since));
        metrics.writer_busy_since.set(0);
        assert!(is_ready(&metrics));
    }
}
