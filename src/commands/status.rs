//! `zemi status`: where the slot and the progress stand.

use super::output::print;
use super::report::{Report, Value};
use crate::config::Config;
use crate::destination::progress::{Progress, read_progress};
use crate::error::{Exit, Result};
use crate::lsn::Lsn;
use crate::source::{self, slot};
use crate::wire::Connection;

/// Prints it. A side that does not answer is an error; the answer of the other one is printed all the same.
pub fn run(config: &Config, json: bool) -> Result<Exit> {
    let mut source = source::open_session(config)?;
    let system = source::system_identifier(&mut source)?;
    let slot = slot::read_row(&mut source, &config.slot_name)?;
    let mut report = Report::default();
    report.group("slot");
    report.add("name", Some(config.slot_name.as_str()));
    report.add("exists", Value::Bool(slot.is_some()));
    if let Some(slot) = &slot {
        report.add("active", Value::Bool(slot.active_pid.is_some()));
        report.add("wal_status", slot.wal_status.as_deref());
        report.add("confirmed_flush_lsn", text(slot.confirmed));
        report.add("restart_lsn", text(slot.restart));
        report.add("unconfirmed_bytes", number(slot.behind_bytes));
        report.add("kept_bytes", number(slot.kept_bytes));
        report.add("safe_wal_size", number(slot.safe_wal_size));
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

fn number(number: Option<i64>) -> Value {
    number.map_or(Value::None, Value::Number)
}

fn text(lsn: Option<Lsn>) -> Value {
    lsn.map_or(Value::None, |lsn| Value::Text(lsn.to_string()))
}

/// How much WAL the source has written behind the progress.
fn unwritten(session: &mut Connection, progress: &Progress) -> Result<Value> {
    let sql = format!(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{}')::bigint AS bytes",
        progress.flushed
    );
    let bytes = session.rows(&sql)?;
    Ok(number(
        bytes.value(0, "bytes").and_then(|text| text.parse().ok()),
    ))
}
