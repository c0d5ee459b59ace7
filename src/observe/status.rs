//! The status page: one HTML file that asks for its figures on the same port.

use std::fmt::Write;

use super::health::{push_connection, push_last_error, push_state};
use super::http::Response;
use super::metrics::Metrics;
use super::text::{push_json, push_time};
use crate::config::Config;
use crate::lsn::Lsn;

const PAGE: &str = include_str!("status.html");

/// `/status`.
pub fn page() -> Response {
    Response {
        status: 200,
        content_type: "text/html; charset=utf-8",
        body: PAGE.into(),
    }
}

/// The settings without secrets, as JSON: an array of names and values.
pub fn settings(config: &Config) -> String {
    let mut out = String::from("[");
    for (name, value) in &config.shown {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('[');
        push_json(&mut out, name);
        out.push(',');
        push_json(&mut out, value);
        out.push(']');
    }
    out.push(']');
    out
}

/// `/status.json`: everything that the page shows. `settings` is what [`settings`] made.
pub fn body(metrics: &Metrics, settings: &str) -> String {
    let mut out = String::with_capacity(16 * 1024);
    // Writing to a String cannot fail.
    push_state(&mut out, metrics);
    out.push_str(concat!(
        ",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\",\"started\":"
    ));
    push_time(&mut out, metrics.started);
    let _ = write!(
        out,
        ",\"received\":\"{}\",\"flushed\":\"{}\"",
        Lsn(metrics.last_received_lsn.get()),
        Lsn(metrics.last_flushed_lsn.get()),
    );
    for (name, number) in [
        ("slot_retained", metrics.slot_retained.get()),
        ("queue_bytes", metrics.queue_bytes()),
        ("duplicated", metrics.duplicated.get()),
        ("replaced", metrics.replaced.get()),
        ("filtered", metrics.filtered.get()),
        ("gaps", metrics.gaps.get()),
    ] {
        let _ = write!(out, ",\"{name}\":{number}");
    }
    let operations = [
        metrics.inserts.get(),
        metrics.updates.get(),
        metrics.deletes.get(),
        metrics.truncates.get(),
    ];
    let _ = write!(out, ",\"changes\":{operations:?}");
    for (name, side) in [
        ("source", metrics.source.state()),
        ("destination", metrics.destination.state()),
    ] {
        let _ = write!(out, ",\"{name}\":{{");
        push_connection(&mut out, &side);
        out.push_str(",\"errors\":[");
        for (at, error) in side.errors.iter().rev().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            push_last_error(&mut out, Some(error));
        }
        out.push_str("]}");
    }
    out.push_str(",\"tables\":{");
    for (at, (table, counts)) in metrics.tables.read().into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_json(&mut out, &table);
        let _ = write!(out, ":{counts:?}");
    }
    out.push_str("},\"history\":[");
    for (at, sample) in metrics.history.read().into_iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(out, "{comma}[{},{}]", sample.lag_bytes, sample.rate);
    }
    let _ = writeln!(out, "],\"settings\":{settings}}}");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::Value;

    fn config(vars: &[(&str, &str)]) -> Config {
        let vars = vars
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Config::from_vars(vars).unwrap().0
    }

    #[test]
    fn the_figures_are_json_whatever_tables_are_called() {
        let metrics = Metrics::default();
        metrics.tables.add("public.\"od\nd\"", &[1, 2, 3, 4]);
        metrics.tables.add("public.b", &[1, 0, 0, 0]);
        metrics.history.add(5, 100);
        metrics.history.add(6, 200);
        let settings = settings(&config(&[("DB_NAME", "shop")]));
        let read: Value = serde_json::from_str(&body(&metrics, &settings)).unwrap();
        assert_eq!(read["tables"]["public.\"od\nd\""][3], 4);
        assert_eq!(read["history"][1][0], 6);
        let shop = serde_json::json!(["DB_NAME", "shop"]);
        assert!(
            read["settings"].as_array().unwrap().contains(&shop),
            "{read}"
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let config = config(&[
            ("DB_PASSWORD", "tell-nobody-1"),
            ("DEST_DB_PASSWORD", "tell-nobody-2"),
            ("HASH_KEY", "tell-nobody-3-and-it-is-long"),
            ("HASH_COLUMNS", "t.c"),
        ]);
        let shown = settings(&config);
        assert!(shown.contains("HASH_COLUMNS"), "{shown}");
        assert!(!shown.contains("tell-nobody"), "{shown}");
        assert!(!shown.contains("PASSWORD"), "{shown}");
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(PAGE.len() < 20 * 1024);
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
