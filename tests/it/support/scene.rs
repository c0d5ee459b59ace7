//! A server or two with zemi on them, and the questions that every test asks.

use std::time::Duration;

use super::{Server, Sql, Zemi, wait_until};

/// How long anything may take that ought to take a moment; this machine is shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The settings for changes of `postgres` on `source`, to the same database or to that of another
/// server.
pub fn settings(source: &Server, destination: Option<&Server>) -> Vec<(String, String)> {
    let mut settings = source.settings("DB_", "postgres");
    if let Some(destination) = destination {
        settings.extend(destination.settings("DEST_DB_", "postgres"));
    }
    settings
}

/// Starts zemi and waits until it streams.
pub fn streaming(settings: &[(String, String)]) -> Zemi {
    let zemi = Zemi::start(settings);
    zemi.wait_for_log("streaming from", PATIENCE);
    zemi
}

/// Waits until all that was committed on the source so far is confirmed by zemi's slot `zemi`.
pub fn caught_up(source: &mut Sql) {
    confirmed(source, "zemi");
}

/// Waits until all that was committed on the source so far is confirmed by this slot.
pub fn confirmed(source: &mut Sql, slot: &str) {
    let target = source.value("SELECT pg_current_wal_insert_lsn()");
    // What the background of the server writes alone would not wake the walsender.
    source.run("SELECT pg_logical_emit_message(true, 'test', '')");
    wait_until("zemi confirms what was committed", PATIENCE, || {
        let confirmed = format!(
            "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        );
        source.value(&confirmed) == "t"
    });
}

/// The changes as text, one a line, in the order of their positions.
pub fn changes(destination: &mut Sql, columns: &str) -> String {
    destination.text(&format!(
        "SELECT {columns} FROM public.changes ORDER BY position"
    ))
}
