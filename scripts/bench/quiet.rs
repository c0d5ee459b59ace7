//! What zemi costs when there is nothing to do, and how long it takes to be there.

use std::thread;
use std::time::{Duration, Instant};

use zemi::error::Result;

use crate::report::{Figure, Report};
use crate::shapes::PLAIN;
use crate::stage::{Stage, open, value};

/// How often the start is measured.
const STARTS: usize = 10;

/// What follows a start has ended by then.
const SETTLE: Duration = Duration::from_secs(2);

/// Memory, CPU, wake-ups and writes of a zemi that streams and gets nothing.
pub fn idle(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.clear("idle", PLAIN)?;
    let tracker = stage.tracker()?;
    // Counts of the steps before reach the statistics with a statement that comes a second later.
    thread::sleep(SETTLE);
    writes(stage)?;
    thread::sleep(SETTLE);
    let (cpu, sleeps) = (tracker.cpu()?, tracker.sleeps()?);
    let before = writes(stage)?;
    thread::sleep(stage.options.idle);
    let after = writes(stage)?;
    let used = tracker.cpu()?.since(&cpu);
    let woken = tracker.sleeps()? - sleeps;
    let seconds = stage.options.idle.as_secs_f64();
    let resident = tracker.resident()? / 1e6;
    let peak = tracker.peak()? / 1e6;
    stage.stop(tracker)?;
    for (measure, value) in [
        ("MB of memory (VmRSS)", resident),
        ("MB of memory at the peak, start included", peak),
        ("% of a CPU", used.fine_seconds() / seconds * 100.0),
        ("wake-ups/s (voluntary switches)", woken as f64 / seconds),
        (
            "rows written/h, source",
            (after[0] - before[0]) * 3600.0 / seconds,
        ),
        (
            "rows written/h, destination",
            (after[1] - before[1]) * 3600.0 / seconds,
        ),
    ] {
        report.add(Figure::new("idle", measure, vec![value]));
    }
    Ok(())
}

/// Rows that were written so far in each of the two databases, by any session.
fn writes(stage: &mut Stage) -> Result<[f64; 2]> {
    let written = "SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database \
                   WHERE datname = current_database()";
    let mut both = [0.0; 2];
    for (count, session) in both
        .iter_mut()
        .zip([&mut stage.source, &mut stage.destination])
    {
        *count = value(session, written)?.parse().unwrap_or(0.0);
    }
    Ok(both)
}

/// From exec to the first line of the log and to streaming, with slot, publication and tables in place.
pub fn start(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (mut first, mut streaming, mut login) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let tracker = stage.tracker_at_once()?;
        let line = tracker.wait_for("")?;
        first.push((line - tracker.started).as_secs_f64() * 1e3);
        let line = tracker.wait_for("streaming from")?;
        streaming.push((line - tracker.started).as_secs_f64() * 1e3);
        stage.stop(tracker)?;
        let began = Instant::now();
        value(&mut open(&stage.options.config.source)?, "SELECT 1")?;
        login.push(began.elapsed().as_secs_f64() * 1e3);
    }
    report.add(Figure::new(
        "start",
        "ms, exec to first line of the log",
        first,
    ));
    let figure = Figure::new("start", "ms, exec to streaming", streaming);
    report.add(figure.beside("login, SELECT 1", login));
    Ok(())
}
