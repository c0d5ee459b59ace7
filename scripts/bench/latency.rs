//! How long after the source's COMMIT a change is visible in the destination: when nothing else runs, and
//! at 500 transactions per second; beside it one plain commit in the destination under the same load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zemi::error::{At, Error, Kind, Result};
use zemi::fuzzing::change::RowShape;
use zemi::wire::{Connection, literal};

use crate::report::{Figure, Report, quantile};
use crate::shapes::PLAIN;
use crate::stage::{PATIENCE, Stage, open, value};

/// Commits that are not counted: caches, plans and pages are made by them.
const WARM_UP: u64 = 20;

/// The pause before each commit when quiet, in which both servers come to rest.
const PAUSE: Duration = Duration::from_millis(5);

/// Transactions per second of the busy half, and the clients that share them.
const RATE: u64 = 500;
const CLIENTS: u64 = 16;

/// Nothing new for so long: all may be there.
const REST: Duration = Duration::from_secs(1);

/// Who commits, and how often.
#[derive(Clone, Copy)]
struct Pace {
    name: &'static str,
    clients: u64,
    count: u64,
    /// From one commit of a client to its next; `None`: a pause after each.
    every: Option<Duration>,
}

/// ROWS / 300 single-row commits one after another, then ROWS / 100 of them at a rate, on the source and,
/// plainly, on the destination.
pub fn latency(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows;
    let quiet = Pace {
        name: "quiet",
        clients: 1,
        count: (rows / 300).max(1),
        every: None,
    };
    let busy = Pace {
        name: "500 tx/s",
        clients: CLIENTS,
        count: (rows / 100).max(CLIENTS),
        every: Some(Duration::from_secs(1) / u32::try_from(RATE / CLIENTS).unwrap_or(1)),
    };
    for pace in [quiet, busy] {
        stage.clear("latency", PLAIN)?;
        stage.make_floor_table()?;
        let mut zemi = through(stage, pace)?;
        let mut plain = plain(stage, pace)?;
        zemi.sort_by(f64::total_cmp);
        plain.sort_by(f64::total_cmp);
        for (name, part) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            let measure = format!(
                "ms, COMMIT to visible, {}, {name} of {}",
                pace.name,
                zemi.len()
            );
            let figure = Figure::new("latency", &measure, vec![quantile(&zemi, part)]);
            report.add(figure.beside("plain commit", vec![quantile(&plain, part)]));
        }
        let busy = pace.every.is_some();
        let lines = if busy {
            ["zemi, 500 tx/s", "plain commit, 500 tx/s"]
        } else {
            ["zemi, quiet", "plain commit, quiet"]
        };
        for (line, values) in lines.into_iter().zip([&zemi, &plain]) {
            report.point("latency", line, distribution(values));
        }
    }
    Ok(())
}

/// Milliseconds by the part of the commits that took no longer, in percent.
fn distribution(sorted: &[f64]) -> Vec<[f64; 2]> {
    let at = |n: u32| [f64::from(n) / 2.0, quantile(sorted, f64::from(n) / 200.0)];
    (1..=199).map(at).collect()
}

/// Milliseconds from each COMMIT on the source to its row being seen in the destination.
fn through(stage: &mut Stage, pace: Pace) -> Result<Vec<f64>> {
    let tracker = stage.tracker()?;
    let source = stage.options.config.source.clone();
    let (committed, seen) = watched(stage, pace, "changes", &|client| {
        let mut session = open(&source)?;
        session.query(&format!("SET application_name = 'client {client}'"))?;
        session.query(
            "PREPARE write(bigint) AS INSERT INTO latency SELECT i, md5(i::text)::uuid, \
             'Customer number ' || i, i / 100.0, true, now(), '{\"sku\": \"sku-1\"}', 'a note' \
             FROM generate_series($1, $1) AS i",
        )?;
        Ok((session, "write"))
    })?;
    stage.stop(tracker)?;
    stage.check_count(pace.count + WARM_UP * pace.clients)?;
    let late = committed.iter().filter_map(|(id, commit)| {
        // Seen before the answer to COMMIT arrived: no latency at all.
        let seen = seen.get(id)?;
        Some(seen.saturating_duration_since(commit.done).as_secs_f64() * 1e3)
    });
    Ok(late.collect())
}

/// Milliseconds of each commit of a row like those that zemi wrote into a table like `changes`. The poller
/// takes its part of the machine here, too.
fn plain(stage: &mut Stage, pace: Pace) -> Result<Vec<f64>> {
    let after = value(
        &mut stage.destination,
        "SELECT after FROM public.changes LIMIT 1",
    )?;
    let after = literal(&after);
    let columns = RowShape::Plain.columns();
    let endpoint = stage.options.config.destination.clone();
    let (committed, _) = watched(stage, pace, "changes_floor", &|_| {
        let mut session = open(&endpoint)?;
        session.query(&format!(
            "PREPARE write(bigint) AS INSERT INTO public.changes_floor ({columns}) VALUES \
             (gen_random_uuid(), $1::text, '{{}}', {after}, 'postgres', 'public', 'latency', \
             'CREATE', now(), now(), 1000 + $1, $1, '{{}}')"
        ))?;
        Ok((session, "write"))
    })?;
    let took = |commit: &Commit| (commit.done - commit.began).as_secs_f64() * 1e3;
    Ok(committed.values().map(took).collect())
}

/// Commits on the sessions, while a poller watches a table of the destination until it has all of their rows:
/// both by number.
fn watched(
    stage: &Stage,
    pace: Pace,
    table: &str,
    session: &(dyn Fn(u64) -> Result<Session> + Sync),
) -> Result<(HashMap<u64, Commit>, HashMap<u64, Instant>)> {
    let endpoint = &stage.options.config.destination;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let all = pace.count + WARM_UP * pace.clients;
            poll(open(endpoint)?, table, all, &ended)
        });
        let committed = commits(pace, session);
        ended.store(committed.is_err(), Ordering::Relaxed);
        let gone = |_| Error::new(Kind::Bug, "the poller ended without a word");
        let seen = poller.join().map_err(gone)?;
        Ok((committed?, seen?))
    })
}

/// One commit.
struct Commit {
    began: Instant,
    done: Instant,
}

type Session = (Connection, &'static str);

/// Runs the prepared statement of each client's session as often as asked; the times by number, those of
/// the warm-up left out.
fn commits(
    pace: Pace,
    session: &(dyn Fn(u64) -> Result<Session> + Sync),
) -> Result<HashMap<u64, Commit>> {
    let share = pace.count / pace.clients + u64::from(!pace.count.is_multiple_of(pace.clients));
    let client = |client: u64| {
        let (mut session, statement) = session(client)?;
        let mine = share.min(pace.count.saturating_sub(client * share)) + WARM_UP;
        // The clients take turns within a period.
        let offset = pace
            .every
            .map(|every| every * u32::try_from(client).unwrap_or(0) / 16);
        let first = Instant::now() + offset.unwrap_or_default();
        let mut times = Vec::new();
        for n in 0..mine {
            match pace.every {
                Some(every) => {
                    let due = first + every * u32::try_from(n).unwrap_or(u32::MAX);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                None => thread::sleep(PAUSE),
            }
            let id = 1 + client * (share + WARM_UP) + n;
            let began = Instant::now();
            session
                .query(&format!("EXECUTE {statement}({id})"))
                .at(|| "commit".into())?;
            let done = Instant::now();
            if n >= WARM_UP {
                times.push((id, Commit { began, done }));
            }
        }
        Ok::<_, Error>(times)
    };
    thread::scope(|scope| {
        let client = &client;
        let running: Vec<_> = (0..pace.clients)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        let mut all = HashMap::new();
        for thread in running {
            let ended = |_| Error::new(Kind::Bug, "a client ended without a word");
            all.extend(thread.join().map_err(ended)??);
        }
        Ok(all)
    })
}

/// When each row was first seen in the table, by its number, until there are `all`.
///
/// Rows are appended in the order of their commits, which is not that of their positions: a transaction
/// that wrote first can commit last. So it looks at the end of the table, from the page before the last.
fn poll(
    mut session: Connection,
    table: &str,
    all: u64,
    ended: &AtomicBool,
) -> Result<HashMap<u64, Instant>> {
    session.query(&format!(
        "SET enable_seqscan = off; \
         PREPARE seen(tid) AS SELECT primary_key, (ctid::text::point)[0]::bigint FROM public.{table} \
         WHERE ctid >= $1"
    ))?;
    let mut seen = HashMap::new();
    let mut page = 0_u64;
    let began = Instant::now();
    let mut news = began;
    while (seen.len() as u64) < all && !ended.load(Ordering::Relaxed) {
        let from = page.saturating_sub(1);
        let found = session.rows(&format!("EXECUTE seen('({from},0)')"))?;
        let now = Instant::now();
        for row in &found.rows {
            let number = |column: usize| row.get(column)?.as_ref()?.parse::<u64>().ok();
            if let Some(id) = number(0) {
                seen.entry(id).or_insert_with(|| {
                    news = now;
                    now
                });
            }
            page = page.max(number(1).unwrap_or(0));
        }
        if now - news > REST {
            // A row that found room on an earlier page: since when it is there is not known.
            let there = value(
                &mut session,
                &format!("SELECT count(*) FROM public.{table}"),
            )?;
            if there.parse() == Ok(all) {
                break;
            }
        }
        if now - began > PATIENCE {
            return Err(Error::new(Kind::Transient, "a change did not arrive"));
        }
    }
    Ok(seen)
}
