//! Loads whose speed is measured in changes per second.

use std::thread;
use std::time::Instant;

use zemi::error::{Error, Kind, Result};
use zemi::lsn::Lsn;

use crate::process::{Cpu, Tracker};
use crate::report::{Figure, Report};
use crate::stage::{Stage, insert, open};

/// Clients of the live load.
const CLIENTS: u64 = 8;

/// Rows of a live transaction.
const LIVE_ROWS: u64 = 10;

/// One run of one load. Times are in seconds.
struct Run {
    rows: u64,
    /// What the load is judged by.
    seconds: f64,
    /// The end of the last transaction, and when its COMMIT returned.
    end: (Lsn, Instant),
    /// When all rows were visible.
    visible: Instant,
    cpu: Cpu,
    peak: f64,
    floors: Vec<(&'static str, f64)>,
    /// From the first page written in `changes` to all rows visible.
    writing: Option<f64>,
}

impl Run {
    /// All rows are visible since `visible`: reads what they cost, and makes sure that they are there.
    fn end(
        stage: &mut Stage,
        (tracker, before): (Tracker, Cpu),
        rows: u64,
        (started, end, visible): (Instant, (Lsn, Instant), Instant),
    ) -> Result<Run> {
        let cpu = tracker.cpu()?.since(&before);
        let peak = tracker.peak()?;
        stage.stop(tracker)?;
        stage.check_count(rows)?;
        Ok(Run {
            rows,
            seconds: seconds(started, visible),
            end,
            visible,
            cpu,
            peak,
            floors: Vec::new(),
            writing: None,
        })
    }

    fn rate(&self, seconds: f64) -> f64 {
        self.rows as f64 / seconds
    }

    fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.rows as f64
    }

    /// Measures what the servers do with the same rows.
    fn measure_floors(&mut self, stage: &mut Stage) -> Result<()> {
        self.floors.push(("COPY", stage.copy_floor()?));
        if let Some(seconds) = stage.drain_floor(self.end.0)? {
            self.floors.push(("pg_recvlogical", seconds));
        }
        Ok(())
    }
}

/// One transaction of ROWS rows, zemi streaming before it begins. Judged from the source's COMMIT.
pub fn bulk(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows;
    let runs = repeat(stage, "bulk", |stage| {
        let tracker = stage.tracker()?;
        let before = tracker.cpu()?;
        let end = stage.commit(&insert("bulk", 1, rows))?;
        let arrival = stage.wait_written(end.0)?;
        let times = (end.1, end, arrival.all);
        let mut run = Run::end(stage, (tracker, before), rows, times)?;
        run.writing = Some(seconds(arrival.first, arrival.all));
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_speed(report, "bulk", "COMMIT to all visible", &runs);
    report_cost(report, "bulk", &runs);
    Ok(())
}

/// ROWS / 3 transactions of one row, written while zemi is stopped. Judged from its start.
pub fn backlog(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows / 3;
    let runs = repeat(stage, "backlog", |stage| {
        // Only the last one waits for the disk, and for all of them.
        stage.source.query(&format!(
            "SET synchronous_commit = off; \
             CREATE OR REPLACE PROCEDURE write_backlog() LANGUAGE plpgsql AS $$ BEGIN \
             FOR n IN 1 .. {rows} - 1 LOOP {}; COMMIT; END LOOP; END $$",
            insert("backlog", "n", "n")
        ))?;
        stage.source.query("CALL write_backlog()")?;
        stage.source.query("SET synchronous_commit = on")?;
        let end = stage.commit(&insert("backlog", rows, rows))?;
        stage.checkpoint()?;
        let tracker = stage.tracker_at_once()?;
        let arrival = stage.wait_written(end.0)?;
        let times = (tracker.started, end, arrival.all);
        let mut run = Run::end(stage, (tracker, Cpu::default()), rows, times)?;
        run.writing = Some(seconds(arrival.first, arrival.all));
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_speed(report, "backlog", "exec to all visible", &runs);
    report_cost(report, "backlog", &runs);
    Ok(())
}

/// ROWS / 30 transactions of ten rows by eight clients, while zemi streams. The clients' own speed is
/// what zemi has to keep up with: whether it did, the time from the last COMMIT on says.
pub fn live(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let transactions = (stage.options.rows / 30 / CLIENTS).max(1);
    let rows = CLIENTS * transactions * LIVE_ROWS + 1;
    let runs = repeat(stage, "live", |stage| {
        let tracker = stage.tracker()?;
        let before = tracker.cpu()?;
        let started = Instant::now();
        clients(stage, transactions)?;
        let end = stage.commit(&insert("live", rows, rows))?;
        let arrival = stage.wait_written(end.0)?;
        let times = (started, end, arrival.all);
        let mut run = Run::end(stage, (tracker, before), rows, times)?;
        run.floors.push(("the clients", seconds(started, end.1)));
        Ok(run)
    })?;
    report_speed(report, "live", "first BEGIN to all visible", &runs);
    let lag = runs.iter().map(|r| seconds(r.end.1, r.visible) * 1e3);
    let figure = Figure::new("live", "ms, last COMMIT to all visible", lag.collect());
    report.add(figure);
    report_cost(report, "live", &runs);
    Ok(())
}

/// Lets the clients write, each `transactions` of them.
fn clients(stage: &Stage, transactions: u64) -> Result<()> {
    let endpoint = &stage.options.config.source;
    let client = |client: u64| {
        let mut session = open(endpoint)?;
        let first = 1 + client * transactions * LIVE_ROWS;
        for n in 0..transactions {
            let from = first + n * LIVE_ROWS;
            session.query(&insert("live", from, from + LIVE_ROWS - 1))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let client = &client;
        let running: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        running.into_iter().try_for_each(|thread| {
            let ended = |_| Error::new(Kind::Bug, "a client ended without a word");
            thread.join().map_err(ended)?
        })
    })
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// Runs a load as often as asked, each time from a clean stage.
fn repeat(
    stage: &mut Stage,
    name: &str,
    mut load: impl FnMut(&mut Stage) -> Result<Run>,
) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for number in 1..=stage.options.runs {
        stage.clear(name)?;
        let run = load(stage)?;
        let floors = run.floors.iter();
        let floors: String = floors
            .map(|(name, s)| format!(", {name} {s:.2} s"))
            .collect();
        eprintln!("bench: {name} {number}: zemi {:.2} s{floors}", run.seconds);
        runs.push(run);
    }
    Ok(runs)
}

fn report_speed(report: &mut Report, name: &'static str, judged: &str, runs: &[Run]) {
    let floors = runs.first().map(|run| run.floors.as_slice());
    for (index, (floor, _)) in floors.unwrap_or_default().iter().enumerate() {
        let zemi = runs.iter().map(|run| run.rate(run.seconds)).collect();
        let beside = runs
            .iter()
            .filter_map(|run| Some(run.rate(run.floors.get(index)?.1)));
        let figure = Figure::new(name, &format!("changes/s, {judged}"), zemi);
        report.add(figure.beside(floor, beside.collect()));
    }
    let writing: Option<Vec<f64>> = runs
        .iter()
        .map(|run| Some(run.rate(run.writing?)))
        .collect();
    if let Some(writing) = writing {
        let measure = "changes/s, first page to all visible";
        report.add(Figure::new(name, measure, writing));
    }
}

fn report_cost(report: &mut Report, name: &'static str, runs: &[Run]) {
    let micros = runs.iter().map(|run| run.micros(run.cpu.seconds));
    let measure = "µs of CPU per change (utime + stime)";
    report.add(Figure::new(name, measure, micros.collect()));
    for thread in ["reader", "decoder", "writer"] {
        let of = |run: &Run| run.micros(run.cpu.of_thread(thread));
        let measure = format!("µs of CPU per change, thread {thread}");
        report.add(Figure::new(name, &measure, runs.iter().map(of).collect()));
    }
    let peak = runs.iter().map(|run| run.peak / 1e6);
    let measure = "MB of memory at the peak (VmHWM)";
    report.add(Figure::new(name, measure, peak.collect()));
}
