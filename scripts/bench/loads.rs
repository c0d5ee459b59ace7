//! Loads whose speed is measured in changes per second.

use std::thread;
use std::time::{Duration, Instant};

use zemi::error::{Error, Kind, Result};
use zemi::lsn::Lsn;

use crate::process::{Cpu, Tracker};
use crate::report::{Figure, Report};
use crate::shapes::PLAIN;
use crate::stage::{Stage, open};

/// Clients of the live load.
const CLIENTS: u64 = 8;

/// Rows of a live transaction.
const LIVE_ROWS: u64 = 10;

/// One run of one load. Times are in seconds.
pub struct Run {
    /// Rows of `changes` that it makes.
    pub rows: u64,
    /// What the load is judged by.
    pub seconds: f64,
    /// The end of the last transaction, and when its COMMIT returned.
    end: (Lsn, Instant),
    /// When all rows were visible.
    visible: Instant,
    /// What it cost.
    pub cpu: Cpu,
    /// The most resident memory, in bytes.
    pub peak: f64,
    /// What the servers or another zemi took for the same rows.
    pub floors: Vec<(&'static str, f64)>,
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
        stage.check_count(stage.there + rows)?;
        stage.there += rows;
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

    /// Rows per second in that time.
    pub fn rate(&self, seconds: f64) -> f64 {
        self.rows as f64 / seconds
    }

    /// Microseconds per row of so many seconds.
    pub fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.rows as f64
    }

    /// Rows and rows per second.
    pub fn point(&self) -> [f64; 2] {
        [self.rows as f64, self.rate(self.seconds)]
    }

    /// The same of the COPY floor.
    pub fn copy_point(&self) -> Option<[f64; 2]> {
        let floor = self.floors.iter().find(|floor| floor.0 == "COPY")?;
        Some([self.rows as f64, self.rate(floor.1)])
    }

    /// Measures what the servers do with the same rows.
    pub fn measure_floors(&mut self, stage: &mut Stage) -> Result<()> {
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
    let runs = repeat(stage, "bulk", stage.options.runs, |stage| {
        stage.clear("bulk", PLAIN)?;
        let mut run = streamed(stage, rows, &PLAIN.insert("bulk", 1, rows))?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "bulk", "COMMIT to all visible", &runs);
    report.point("throughput", "zemi", runs.iter().map(Run::point).collect());
    report.point(
        "throughput",
        "COPY",
        runs.iter().filter_map(Run::copy_point).collect(),
    );
    Ok(())
}

/// The same with 3.3 times the rows, a million by default, once; memory is sampled on the way.
pub fn million(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows * 10 / 3;
    let mut memory = Vec::new();
    let runs = repeat(stage, "million", 1, |stage| {
        stage.clear("million", PLAIN)?;
        let tracker = stage.tracker()?;
        let samples = tracker.sample(MEMORY_PAUSE);
        let before = tracker.cpu()?;
        let end = stage.commit(&PLAIN.insert("million", 1, rows))?;
        let arrival = stage.wait_written(end.0)?;
        memory = samples.end();
        let mut run = Run::end(stage, (tracker, before), rows, (end.1, end, arrival.all))?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "million", "COMMIT to all visible", &runs);
    report.point("throughput", "zemi", runs.iter().map(Run::point).collect());
    report.point(
        "throughput",
        "COPY",
        runs.iter().filter_map(Run::copy_point).collect(),
    );
    let megabytes = memory.into_iter().map(|(at, bytes)| [at, bytes / 1e6]);
    report.point("memory", "resident", megabytes.collect());
    Ok(())
}

/// How often memory is looked at.
const MEMORY_PAUSE: Duration = Duration::from_millis(50);

/// A transaction of one statement while zemi streams. Judged from the source's COMMIT.
pub fn streamed(stage: &mut Stage, rows: u64, statement: &str) -> Result<Run> {
    let tracker = stage.tracker()?;
    let before = tracker.cpu()?;
    let end = stage.commit(statement)?;
    let arrival = stage.wait_written(end.0)?;
    let times = (end.1, end, arrival.all);
    let mut run = Run::end(stage, (tracker, before), rows, times)?;
    run.writing = Some(seconds(arrival.first, arrival.all));
    Ok(run)
}

/// Transactions that are written while zemi is stopped; the last one waits for the disk, and for all of
/// them. Judged from zemi's start.
pub fn stored(stage: &mut Stage, rows: u64, all: &[&str], last: &str) -> Result<Run> {
    stage.source.query("SET synchronous_commit = off")?;
    for statement in all {
        stage.source.query(statement)?;
    }
    stage.source.query("SET synchronous_commit = on")?;
    let end = stage.commit(last)?;
    stage.checkpoint()?;
    let tracker = stage.tracker_at_once()?;
    let arrival = stage.wait_written(end.0)?;
    let times = (tracker.started, end, arrival.all);
    let mut run = Run::end(stage, (tracker, Cpu::default()), rows, times)?;
    run.writing = Some(seconds(arrival.first, arrival.all));
    Ok(run)
}

/// ROWS / 3 transactions of one row.
pub fn backlog(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows / 3;
    let runs = repeat(stage, "backlog", stage.options.runs, |stage| {
        stage.clear("backlog", PLAIN)?;
        let procedure = format!(
            "CREATE OR REPLACE PROCEDURE write_backlog() LANGUAGE plpgsql AS $$ BEGIN \
             FOR n IN 1 .. {rows} - 1 LOOP {}; COMMIT; END LOOP; END $$",
            PLAIN.insert("backlog", "n", "n")
        );
        let last = PLAIN.insert("backlog", rows, rows);
        let mut run = stored(stage, rows, &[&procedure, "CALL write_backlog()"], &last)?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "backlog", "exec to all visible", &runs);
    Ok(())
}

/// ROWS / 30 transactions of ten rows by eight clients, while zemi streams. The clients' own speed is
/// what zemi has to keep up with; the time after the last COMMIT shows whether it did.
pub fn live(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let transactions = (stage.options.rows / 30 / CLIENTS).max(1);
    let rows = CLIENTS * transactions * LIVE_ROWS + 1;
    let runs = repeat(stage, "live", stage.options.runs, |stage| {
        stage.clear("live", PLAIN)?;
        let tracker = stage.tracker()?;
        let before = tracker.cpu()?;
        let started = Instant::now();
        clients(stage, transactions)?;
        let end = stage.commit(&PLAIN.insert("live", rows, rows))?;
        let arrival = stage.wait_written(end.0)?;
        let times = (started, end, arrival.all);
        let mut run = Run::end(stage, (tracker, before), rows, times)?;
        run.floors.push(("the clients", seconds(started, end.1)));
        Ok(run)
    })?;
    report_all(report, "live", "first BEGIN to all visible", &runs);
    let lag = runs.iter().map(|r| seconds(r.end.1, r.visible) * 1e3);
    let figure = Figure::new("live", "ms, last COMMIT to all visible", lag.collect());
    report.add(figure);
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
            session.query(&PLAIN.insert("live", from, from + LIVE_ROWS - 1))?;
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

/// Runs a load as often as asked.
pub fn repeat(
    stage: &mut Stage,
    name: &str,
    times: u64,
    mut load: impl FnMut(&mut Stage) -> Result<Run>,
) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for number in 1..=times {
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

/// Reports speed beside the floors, CPU and memory.
pub fn report_all(report: &mut Report, name: &'static str, judged: &str, runs: &[Run]) {
    report_speed(report, name, judged, runs);
    report_cost(report, name, runs);
}

/// Reports speed beside the floors.
pub fn report_speed(report: &mut Report, name: &'static str, judged: &str, runs: &[Run]) {
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
    let micros = runs.iter().map(|run| run.micros(run.cpu.of_all()));
    let measure = "µs of CPU per change (all threads)";
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
