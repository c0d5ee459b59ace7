//! The metrics in Prometheus' text format (prometheus.io, "Exposition formats", version 0.0.4).

use std::fmt::{Display, Write};

use super::histogram::Reading;
use super::metrics::{Family, Metrics, OWN_FAMILIES, SHARED_FAMILIES, Samples};

/// The content type of what [`page`] makes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics. Those that the Zig program exports appear a second time under its second prefix, `bemi`, as
/// they do there.
pub(super) fn page(metrics: &Metrics) -> String {
    let mut text = String::with_capacity(20 * 1024);
    for (prefix, families) in [
        ("zemi", OWN_FAMILIES),
        ("zemi", SHARED_FAMILIES),
        ("bemi", SHARED_FAMILIES),
    ] {
        for family in families {
            push_family(&mut text, prefix, family, metrics);
        }
    }
    text
}

// Writing to a String cannot fail, so its results are dropped.
fn push_family(text: &mut String, prefix: &str, family: &Family, metrics: &Metrics) {
    let name = format!("{prefix}_{}", family.name);
    let (help, kind) = (family.help, family.kind);
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    match (family.read)(metrics) {
        Samples::Integer(value) => push_sample(text, &name, value),
        Samples::Float(value) => push_sample(text, &name, value),
        Samples::ByLabel(label, samples) => {
            for (of, value) in samples {
                push_sample(text, &format!("{name}{{{label}=\"{of}\"}}"), value);
            }
        }
        Samples::Histogram(reading) => push_histogram(text, &name, &reading),
    }
}

fn push_histogram(text: &mut String, name: &str, reading: &Reading) {
    for (bound, count) in &reading.buckets {
        push_sample(text, &format!("{name}_bucket{{le=\"{bound}\"}}"), count);
    }
    push_sample(
        text,
        &format!("{name}_bucket{{le=\"+Inf\"}}"),
        reading.count,
    );
    push_sample(text, &format!("{name}_sum"), reading.sum);
    push_sample(text, &format!("{name}_count"), reading.count);
}

fn push_sample(text: &mut String, series: &str, value: impl Display) {
    let _ = writeln!(text, "{series} {value}");
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
