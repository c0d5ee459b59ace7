//! What zemi costs when there is nothing to do, and how long it takes to be there.

use std::thread;
use std::time::Duration;

use zemi::error::Result;

use crate::report::{Figure, Report};
use crate::stage::Stage;

/// How often the start is measured.
const STARTS: usize = 10;

/// What follows a start has ended by then.
const SETTLE: Duration = Duration::from_secs(2);

/// Memory, CPU and wake-ups of a zemi that streams and gets nothing.
pub fn idle(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.clear("idle")?;
    let tracker = stage.tracker()?;
    thread::sleep(SETTLE);
    let (cpu, sleeps) = (tracker.cpu()?, tracker.sleeps()?);
    thread::sleep(stage.options.idle);
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
    ] {
        report.add(Figure::new("idle", measure, vec![value]));
    }
    Ok(())
}

/// From exec to the first line of the log and to streaming, with slot, publication and tables in place.
pub fn start(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (mut first, mut streaming) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let tracker = stage.tracker_at_once()?;
        let line = tracker.wait_for("")?;
        first.push((line - tracker.started).as_secs_f64() * 1e3);
        let line = tracker.wait_for("streaming from")?;
        streaming.push((line - tracker.started).as_secs_f64() * 1e3);
        stage.stop(tracker)?;
    }
    report.add(Figure::new(
        "start",
        "ms, exec to first line of the log",
        first,
    ));
    report.add(Figure::new("start", "ms, exec to streaming", streaming));
    Ok(())
}
