//! What `/healthz` and `/readyz` answer.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::metrics::Metrics;
use super::side::State;
use super::text::{push_json, push_seconds, push_time};

/// What the process is doing, in a word or two.
pub fn state(metrics: &Metrics) -> &'static str {
    let (source, destination) = (metrics.source.state(), metrics.destination.state());
    match (source.connected, destination.connected) {
        _ if metrics.failed.load(Ordering::Relaxed) => "failed",
        _ if metrics.stopping.load(Ordering::Relaxed) => "stopping",
        (true, true) => "streaming",
        _ if metrics.last_flushed_lsn.get() == 0 && is_clean(&source) && is_clean(&destination) => {
            "starting"
        }
        (false, true) => "source away",
        (true, false) => "destination away",
        (false, false) => "both sides away",
    }
}

fn is_clean(side: &State) -> bool {
    side.last_error.is_none()
}

/// Whether the process lives and its threads do. A database that is away is no reason to kill it.
pub fn is_alive(metrics: &Metrics) -> bool {
    !metrics.failed.load(Ordering::Relaxed)
}

/// Whether changes are read and written.
pub fn is_ready(metrics: &Metrics) -> bool {
    state(metrics) == "streaming"
}

/// The JSON body of both.
pub fn body(metrics: &Metrics) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("{\"state\":");
    push_json(&mut out, state(metrics));
    out.push_str(",\"since\":");
    push_time(&mut out, metrics.started);
    let _ = write!(out, ",\"lag_bytes\":{}", metrics.lag_bytes());
    out.push_str(",\"lag_seconds\":");
    push_seconds(&mut out, metrics.lag_seconds());
    for (name, side) in [
        ("source", &metrics.source),
        ("destination", &metrics.destination),
    ] {
        let _ = write!(out, ",\"{name}\":");
        push_side(&mut out, &side.state());
    }
    out.push_str("}\n");
    out
}

/// Appends one side as a JSON object.
pub(super) fn push_side(out: &mut String, side: &State) {
    let _ = write!(out, "{{\"connected\":{},\"since\":", side.connected);
    push_time(out, side.since);
    out.push_str(",\"last_error\":");
    match &side.last_error {
        None => out.push_str("null"),
        Some((at, message)) => {
            out.push_str("{\"time\":");
            push_time(out, *at);
            out.push_str(",\"message\":");
            push_json(out, message);
            out.push('}');
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_outage_makes_it_unready_and_not_dead() {
        let metrics = Metrics::default();
        assert_eq!(state(&metrics), "starting");
        metrics.source.up();
        metrics.destination.up();
        assert!(is_ready(&metrics) && is_alive(&metrics));
        metrics.destination.down(&"connection \"refused\"");
        assert_eq!(state(&metrics), "destination away");
        assert!(!is_ready(&metrics) && is_alive(&metrics));
        let body: Value = serde_json::from_str(&body(&metrics)).unwrap();
        assert_eq!(body["destination"]["connected"], false);
        assert_eq!(
            body["destination"]["last_error"]["message"],
            "connection \"refused\""
        );
        assert!(body["source"]["last_error"].is_null());
        metrics.failed.store(true, Ordering::Relaxed);
        assert!(!is_alive(&metrics));
    }
}
