//! `zemi status`: where the slot and the progress stand.

use super::print;
use super::report::{Report, Value};
use crate::config::Config;
use crate::destination::progress::{Progress, read_progress};
use crate::error::{Exit, Result};
use crate::source;
use crate::wire::{Connection, ResultSet, literal};

/// Prints it. A side that does not answer is an error; what the other one says is printed all the same.
pub fn run(config: &Config, json: bool) -> Result<Exit> {
    let mut source = source::open_session(config)?;
    let system = source::system_identifier(&mut source)?;
    let slot = slot(&mut source, config)?;
    let mut report = Report::default();
    report.group("slot");
    report.add("name", Some(config.slot_name.as_str()));
    let exists = !slot.rows.is_empty();
    report.add("exists", Value::Bool(exists));
    if exists {
        report.add("active", Value::Bool(slot.first(0) == Some("t")));
        report.add("wal_status", slot.first(1));
        report.add("confirmed_flush_lsn", slot.first(2));
        report.add("restart_lsn", slot.first(3));
        report.add("unconfirmed_bytes", number(slot.first(4)));
        report.add("kept_bytes", number(slot.first(5)));
        report.add("safe_wal_size", number(slot.first(6)));
    }
    report.group("progress");
    let progress = match read_progress(config, &system) {
        Ok(progress) => progress,
        Err(e) => {
            let text = e.without_hint();
            report.add("error", Some(text.as_str()));
            print(&if json { report.json() } else { report.text() });
            return Err(e);
        }
    };
    report.add("exists", Value::Bool(progress.is_some()));
    if let Some(progress) = &progress {
        report.add("flushed_lsn", Value::Text(progress.flushed.to_string()));
        report.add("timeline", Value::Number(progress.timeline.into()));
        report.add("unwritten_bytes", unwritten(&mut source, progress)?);
    }
    print(&if json { report.json() } else { report.text() });
    Ok(Exit::Ok)
}

fn number(text: Option<&str>) -> Value {
    let number = text.and_then(|text| text.parse().ok());
    number.map_or(Value::None, Value::Number)
}

fn slot(session: &mut Connection, config: &Config) -> Result<ResultSet> {
    // 14 and later have all of these columns.
    session.rows(&format!(
        "SELECT active, wal_status, confirmed_flush_lsn, restart_lsn, \
         pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint, \
         pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, safe_wal_size \
         FROM pg_replication_slots WHERE slot_name = {}",
        literal(&config.slot_name)
    ))
}

/// How much WAL the source has written behind the progress.
fn unwritten(session: &mut Connection, progress: &Progress) -> Result<Value> {
    let sql = format!(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{}')::bigint",
        progress.flushed
    );
    Ok(number(session.rows(&sql)?.first(0)))
}
