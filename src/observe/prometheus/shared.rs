//! The metrics that the Zig program of the same name exports, under its names and labels.

use super::Page;
use crate::observe::connection_status::ConnectionStatus;
use crate::observe::metrics::Metrics;

/// Appends them with the prefix of the page.
pub(super) fn append(page: &mut Page, metrics: &Metrics) {
    counters(page, metrics);
    gauges(page, metrics);
    page.histogram(
        "persist_duration_seconds",
        "How long the destination took for a batch.",
        &metrics.persist_duration,
    );
    page.histogram(
        "decode_duration_seconds",
        "How long it took to make rows of a chunk of the stream, apart from waiting for the destination.",
        &metrics.decode_duration,
    );
}

fn counters(page: &mut Page, metrics: &Metrics) {
    page.head(
        "changes_processed_total",
        "counter",
        "As zemi_changes_total, by the operations that the rows name.",
    );
    for (operation, count) in [
        ("CREATE", &metrics.inserts),
        ("UPDATE", &metrics.updates),
        ("DELETE", &metrics.deletes),
        ("TRUNCATE", &metrics.truncates),
    ] {
        page.line(
            &format!("changes_processed_total{{operation=\"{operation}\"}}"),
            count.get(),
        );
    }
    for (name, count, help) in [
        (
            "changes_filtered_total",
            &metrics.filtered,
            "Changes of tables that are not tracked.",
        ),
        (
            "changes_duplicated_total",
            &metrics.duplicated,
            "Changes that were there already.",
        ),
        (
            "transactions_processed_total",
            &metrics.transactions,
            "As zemi_transactions_total.",
        ),
        (
            "wal_messages_received_total",
            &metrics.wal_messages,
            "Messages of the stream.",
        ),
        (
            "keepalives_received_total",
            &metrics.keepalives,
            "Keepalives of the source.",
        ),
        (
            "decode_errors_total",
            &metrics.decode_errors,
            "Messages that could not be decoded.",
        ),
        (
            "persist_errors_total",
            &metrics.persist_errors,
            "Attempts to reach the destination or to write there that failed.",
        ),
        (
            "storage_reconnections_total",
            &metrics.storage_reconnections,
            "Times the destination was connected again.",
        ),
        (
            "replication_reconnections_total",
            &metrics.replication_reconnections,
            "Times the source was connected again.",
        ),
        (
            "transaction_early_flushes_total",
            &metrics.early_flushes,
            "Fragments of transactions larger than a batch that were sent before the transaction's end.",
        ),
        (
            "replication_transient_errors_total",
            &metrics.source_transient_errors,
            "Times the replication connection failed or could not be made, and was tried again.",
        ),
        (
            "replication_permanent_errors_total",
            &metrics.source_permanent_errors,
            "Times it failed in a way that retrying does not mend: the process ends.",
        ),
    ] {
        page.number(name, "counter", help, count.get());
    }
}

fn gauges(page: &mut Page, metrics: &Metrics) {
    let connected = |side: &ConnectionStatus| u8::from(side.state().connected);
    let gauge = "gauge";
    page.number(
        "last_received_lsn",
        gauge,
        "The last position received, as a number of bytes.",
        metrics.last_received_lsn.get(),
    );
    page.number(
        "last_flushed_lsn",
        gauge,
        "The last position that is durable, as a number of bytes.",
        metrics.last_flushed_lsn.get(),
    );
    page.number(
        "replication_connected",
        gauge,
        "Whether the stream of the source is read (1) or not (0).",
        connected(&metrics.source),
    );
    page.number(
        "storage_connected",
        gauge,
        "Whether the destination is connected (1) or not (0).",
        connected(&metrics.destination),
    );
    page.number(
        "replication_lag_bytes",
        gauge,
        "WAL that the source has written and that is not done with.",
        metrics.lag_bytes(),
    );
    page.number(
        "uptime_seconds",
        gauge,
        "How long the process has run.",
        metrics.started.elapsed().unwrap_or_default().as_secs_f64(),
    );
}
