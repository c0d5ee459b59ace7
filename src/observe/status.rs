//! The status page: one HTML file that fetches its figures from the same port.

use super::health::{add_activity, add_connection, utc, write_error};
use super::http::response::Response;
use super::metrics::{Metric, Metrics};
use crate::config::Config;
use crate::json_text::{self, Object, Value};
use crate::lsn::Lsn;

const PAGE: &str = include_str!("status.html");

/// `/status`.
pub(super) fn page() -> Response {
    Response {
        status: 200,
        content_type: "text/html; charset=utf-8",
        body: PAGE.into(),
    }
}

/// The settings without secrets, as JSON: an array of names and values.
pub(super) fn settings(config: &Config) -> String {
    json_text::array(|settings| {
        for (name, value) in &config.shown {
            settings.item().array(|pair| {
                pair.item().string(name);
                pair.item().string(value);
            });
        }
    })
}

/// `/status.json`: all figures of the page. `settings` is the result of [`settings`].
pub(super) fn body(metrics: &Metrics, settings: &str) -> String {
    let mut body = json_text::object(|object| {
        add_activity(object, metrics);
        object.key("version").string(env!("CARGO_PKG_VERSION"));
        object.key("started").display(utc(metrics.started));
        add_figures(object, metrics);
        add_connections(object, metrics);
        add_tables(object, metrics);
        object.key("settings").json(settings);
    });
    body.push('\n');
    body
}

fn add_figures(object: &mut Object<'_>, metrics: &Metrics) {
    for (name, lsn) in [
        ("received", &metrics.last_received_lsn),
        ("flushed", &metrics.last_flushed_lsn),
    ] {
        object.key(name).display(Lsn(lsn.get()));
    }
    for (name, number) in [
        ("slot_retained", metrics.slot_retained.get()),
        ("queue_bytes", metrics.queue_bytes()),
        ("duplicated", metrics.duplicated.get()),
        ("replaced", metrics.replaced.get()),
        ("filtered", metrics.filtered.get()),
        ("gaps", metrics.gaps.get()),
    ] {
        object.key(name).number(number);
    }
    let operations = [
        &metrics.inserts,
        &metrics.updates,
        &metrics.deletes,
        &metrics.truncates,
    ];
    write_numbers(object.key("changes"), operations.map(Metric::get));
}

fn add_connections(object: &mut Object<'_>, metrics: &Metrics) {
    for (name, connection) in [
        ("source", metrics.source.state()),
        ("destination", metrics.destination.state()),
    ] {
        object.key(name).object(|object| {
            add_connection(object, &connection);
            object.key("errors").array(|errors| {
                for error in connection.errors.iter().rev() {
                    write_error(errors.item(), Some(error));
                }
            });
        });
    }
}

fn add_tables(object: &mut Object<'_>, metrics: &Metrics) {
    object.key("tables").object(|tables| {
        for (table, counts) in metrics.tables.read() {
            write_numbers(tables.key(&table), counts);
        }
    });
    object.key("history").array(|samples| {
        for sample in metrics.history.read() {
            write_numbers(samples.item(), [sample.lag_bytes, sample.rate.into()]);
        }
    });
}

fn write_numbers<const N: usize>(place: Value<'_>, numbers: [u64; N]) {
    place.array(|array| {
        for number in numbers {
            array.item().number(number);
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

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
        let read: serde_json::Value = serde_json::from_str(&body(&metrics, &settings)).unwrap();
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
    fn the_page_is_small_and_asks_no_other_host() {
        assert!(PAGE.len() < 20 * 1024);
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
