//! How long after the source's COMMIT a change is visible in the destination, when nothing else runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use zemi::change::row::COLUMNS;
use zemi::error::{At, Error, Kind, Result};
use zemi::wire::{Connection, literal};

use crate::report::{Figure, Report, quantile};
use crate::stage::{PATIENCE, Stage, insert, open, value};

/// Commits that are not counted: caches, plans and pages are made by them.
const WARM_UP: u64 = 20;

/// The pause before each commit, in which both servers come to rest.
const PAUSE: Duration = Duration::from_millis(5);

/// ROWS / 300 single-row commits on the source, seen in the destination, in turn with as many plain
/// single-row commits on the destination.
pub fn latency(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let count = (stage.options.rows / 300).max(1);
    stage.clear("latency")?;
    let tracker = stage.tracker()?;
    let endpoint = stage.options.config.destination.clone();
    let (ask, questions) = channel();
    let (answer, answers) = channel();
    let measured = thread::scope(|scope| {
        let poller = scope.spawn(move || poll(open(&endpoint)?, &questions, &answer));
        // Moved in, so that the poller's questions end with it.
        let measured = commits(stage, count, ask, &answers);
        let ended = |_| Error::new(Kind::Bug, "the poller ended without a word");
        poller.join().map_err(ended)??;
        measured
    });
    let (mut zemi, mut plain) = measured?;
    stage.stop(tracker)?;
    stage.check_count(count + WARM_UP)?;
    zemi.sort_by(f64::total_cmp);
    plain.sort_by(f64::total_cmp);
    for (name, part) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
        let measure = format!("ms, COMMIT to visible, {name} of {count}");
        let figure = Figure::new("latency", &measure, vec![quantile(&zemi, part)]);
        report.add(figure.beside("plain commit", vec![quantile(&plain, part)]));
    }
    Ok(())
}

/// Answers each number with the time when the row of that number was first seen in `changes`.
fn poll(
    mut session: Connection,
    questions: &Receiver<u64>,
    answer: &Sender<Result<Instant>>,
) -> Result<()> {
    // The table is nearly empty when this is planned.
    session.query(
        "SET enable_seqscan = off; PREPARE seen(text) AS SELECT 1 FROM public.changes \
         WHERE primary_key = $1 AND \"table\" = 'latency'",
    )?;
    for id in questions {
        let statement = format!("EXECUTE seen('{id}')");
        let deadline = Instant::now() + PATIENCE;
        let seen = loop {
            match session.rows(&statement) {
                Ok(found) if found.rows.is_empty() && Instant::now() < deadline => {}
                Ok(found) if found.rows.is_empty() => {
                    break Err(Error::new(Kind::Network, "a change did not arrive"));
                }
                Ok(_) => break Ok(Instant::now()),
                Err(e) => break Err(e),
            }
        };
        if answer.send(seen).is_err() {
            break;
        }
    }
    Ok(())
}

/// Commits in turn on the source and, plainly, on the destination. Returns the milliseconds that each
/// took until it was visible.
fn commits(
    stage: &mut Stage,
    count: u64,
    ask: Sender<u64>,
    answers: &Receiver<Result<Instant>>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let gone = || Error::new(Kind::Bug, "the poller has ended");
    let (mut zemi, mut plain) = (Vec::new(), Vec::new());
    for id in 1..=count + WARM_UP {
        thread::sleep(PAUSE);
        let statement = insert("latency", id, id);
        ask.send(id).map_err(|_| gone())?;
        stage.source.query(&statement)?;
        let committed = Instant::now();
        let seen = answers.recv().map_err(|_| gone())??;
        if id == 1 {
            prepare_plain(stage)?;
        }
        thread::sleep(PAUSE);
        let started = Instant::now();
        stage
            .destination
            .query(&format!("EXECUTE plain({id})"))
            .at(|| "plain commit".into())?;
        let done = started.elapsed();
        if id > WARM_UP {
            // Seen before the answer to COMMIT arrived: no latency at all.
            let late = seen.saturating_duration_since(committed);
            zemi.push(late.as_secs_f64() * 1e3);
            plain.push(done.as_secs_f64() * 1e3);
        }
    }
    Ok((zemi, plain))
}

/// A statement that inserts into a table like `changes` a row like those that zemi wrote.
fn prepare_plain(stage: &mut Stage) -> Result<()> {
    stage.make_floor_table()?;
    let after = value(
        &mut stage.destination,
        "SELECT after FROM public.changes LIMIT 1",
    )?;
    let after = literal(&after);
    stage
        .destination
        .query(&format!(
            "PREPARE plain(bigint) AS INSERT INTO public.changes_floor ({COLUMNS}) VALUES \
             (gen_random_uuid(), $1::text, '{{}}', {after}, 'postgres', 'public', 'latency', \
             'CREATE', now(), now(), 1000 + $1, $1, '{{}}')"
        ))
        .map(drop)
}
