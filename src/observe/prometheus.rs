//! The metrics in Prometheus' text format (prometheus.io, "Exposition formats", version 0.0.4).

mod shared;

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use super::histogram::Histogram;
use super::metrics::Metrics;

/// The content type of what [`page`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics. Those that the Zig program exports have its second prefix too, as they have there.
pub fn page(metrics: &Metrics) -> String {
    let mut page = Page {
        text: String::with_capacity(20 * 1024),
        prefix: "zemi",
    };
    own(&mut page, metrics);
    shared::append(&mut page, metrics);
    page.prefix = "bemi";
    shared::append(&mut page, metrics);
    page.text
}

/// What the Zig program does not know.
fn own(page: &mut Page, metrics: &Metrics) {
    page.head(
        "changes_total",
        "counter",
        "Changes that are durable in the destination.",
    );
    for (operation, count) in [
        ("insert", &metrics.inserts),
        ("update", &metrics.updates),
        ("delete", &metrics.deletes),
        ("truncate", &metrics.truncates),
    ] {
        page.line(
            &format!("changes_total{{operation=\"{operation}\"}}"),
            count.get(),
        );
    }
    for (name, count, help) in [
        (
            "transactions_total",
            &metrics.transactions,
            "Transactions that are durable.",
        ),
        (
            "values_replaced_total",
            &metrics.replaced,
            "Values written in their safe form.",
        ),
        (
            "gaps_total",
            &metrics.gaps,
            "Times changes may have been lost by a server.",
        ),
        (
            "bytes_received_total",
            &metrics.bytes_received,
            "Bytes received from the source.",
        ),
        (
            "batches_total",
            &metrics.batches,
            "Batches committed at the destination.",
        ),
    ] {
        page.number(name, "counter", help, count.get());
    }
    let started = metrics.started.duration_since(UNIX_EPOCH);
    let gauge = "gauge";
    page.number(
        "start_time_seconds",
        gauge,
        "When the process started, since 1970.",
        started.unwrap_or_default().as_secs_f64(),
    );
    page.number(
        "replication_lag_seconds",
        gauge,
        "Age of the oldest transaction that was received and is not durable; 0 without one.",
        metrics.lag_seconds(),
    );
    page.number(
        "slot_retained_bytes",
        gauge,
        "WAL that the source keeps for the slot, looked up every minute.",
        metrics.slot_retained.get(),
    );
    page.number(
        "ready",
        gauge,
        "What /readyz says: changes are read and written (1) or not (0).",
        u8::from(metrics.is_ready()),
    );
    page.number(
        "queue_bytes",
        gauge,
        "Bytes between the two connections.",
        metrics.queue_bytes(),
    );
    page.head("build_info", gauge, "Always 1; the version is a label.");
    page.line(
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
        1,
    );
    page.histogram(
        "commit_to_durable_seconds",
        "From the commit on the source to the commit at the destination, at most.",
        &metrics.commit_to_durable,
    );
    page.histogram("batch_rows", "Rows in a batch.", &metrics.batch_rows);
}

struct Page {
    text: String,
    /// What every name begins with.
    prefix: &'static str,
}

/// Writing to a String cannot fail, so its results are dropped.
impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        let _ = write!(
            self.text,
            "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} {kind}\n"
        );
    }

    fn line(&mut self, series: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{}_{series} {value}", self.prefix);
    }

    fn number(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let reading = histogram.read();
        self.head(name, "histogram", help);
        for (bound, count) in reading.buckets {
            self.line(&format!("{name}_bucket{{le=\"{bound}\"}}"), count);
        }
        self.line(&format!("{name}_bucket{{le=\"+Inf\"}}"), reading.count);
        self.line(&format!("{name}_sum"), reading.sum);
        self.line(&format!("{name}_count"), reading.count);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_line_is_help_type_or_a_sample_of_the_family_above() {
        let metrics = Metrics::default();
        metrics.persist_duration.observe(700, 2);
        metrics.inserts.add(5);
        metrics.early_flushes.add(3);
        metrics.source_failed(false);
        for _ in 0..2 {
            metrics.source_failed(true);
        }
        metrics.decode_duration.observe(400, 1);
        let page = page(&metrics);
        let mut family = "";
        let mut seen = HashSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} comes twice");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let kind = rest.strip_prefix(family).unwrap().trim();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(family), "{line} is not of {family}");
            value.parse::<f64>().unwrap();
        }
        assert!(page.contains("zemi_persist_duration_seconds_bucket{le=\"0.0005\"} 0\n"));
        assert!(page.contains("zemi_persist_duration_seconds_bucket{le=\"0.001\"} 2\n"));
        assert!(page.contains("zemi_persist_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
        assert!(
            page.contains("zemi_persist_duration_seconds_sum 0.0014\n"),
            "{page}"
        );
        for bound in ["0.00025", "0.025", "0.05", "0.1", "0.5", "5", "60"] {
            let bucket = format!("zemi_persist_duration_seconds_bucket{{le=\"{bound}\"}} ");
            assert!(page.contains(&bucket), "{bound}: {page}");
        }
        for prefix in ["zemi", "bemi"] {
            for sample in [
                "changes_processed_total{operation=\"CREATE\"} 5",
                "changes_processed_total{operation=\"TRUNCATE\"} 0",
                "transaction_early_flushes_total 3",
                "replication_transient_errors_total 2",
                "replication_permanent_errors_total 1",
                "decode_duration_seconds_bucket{le=\"0.0005\"} 1",
            ] {
                let sample = format!("\n{prefix}_{sample}\n");
                assert!(page.contains(&sample), "{sample}: {page}");
            }
        }
        assert!(!page.contains("bemi_changes_total"), "{page}");
        assert!(page.ends_with('\n'));
    }
}
