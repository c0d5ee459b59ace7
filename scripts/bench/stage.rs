//! The two servers with the tables on them, and the steps that every load takes.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zemi::config::{Config, Endpoint};
use zemi::error::{At, Error, Kind, Result};
use zemi::lsn::Lsn;
use zemi::wire::Connection;

use crate::process::Tracker;
use crate::shapes::Shape;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How often the destination is asked whether everything is there. Each question takes well below a
/// tenth of that.
const POLL: Duration = Duration::from_millis(2);

/// What the environment asks for.
#[derive(Clone)]
pub struct Options {
    /// The servers, as zemi itself is told.
    pub config: Config,
    /// Which parts to run: a comma list, empty for all.
    pub parts: String,
    /// Rows of the one large transaction.
    pub rows: u64,
    /// How often each load is repeated.
    pub runs: u64,
    /// How long an idle zemi is watched.
    pub idle: Duration,
    /// How many rows a `changes` of some age has, for the growth.
    pub grown_rows: u64,
    /// The program that is measured.
    pub zemi: PathBuf,
    /// Where the destination's server may write the rows.
    pub file: String,
    /// `pg_recvlogical`, where there is one.
    pub recvlogical: Option<PathBuf>,
    /// The certificate and the key for TLS: their path without `.crt` and `.key`.
    pub tls: Option<String>,
    commit: String,
}

impl Options {
    /// Reads them from the environment.
    pub fn from_env() -> Result<Options> {
        let (config, warnings) = Config::from_env()?;
        for warning in warnings {
            eprintln!("bench: {warning}");
        }
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let needed = |name: &str| match text(name) {
            value if value.is_empty() => Err(Error::new(
                Kind::Setting,
                format!("{name} is not set: start this by scripts/bench/bench.sh"),
            )),
            value => Ok(value),
        };
        let number = |name: &str, default: u64, least: u64| match text(name).as_str() {
            "" => Ok(default),
            value => value.parse().ok().filter(|n| *n >= least).ok_or_else(|| {
                Error::new(
                    Kind::Setting,
                    format!("{name}: expected a number from {least} on, found {value}"),
                )
            }),
        };
        Ok(Options {
            config,
            parts: text("BENCH"),
            rows: number("ROWS", 300_000, 300)?,
            runs: number("RUNS", 3, 1)?,
            idle: Duration::from_secs(number("IDLE_SECONDS", 60, 1)?),
            grown_rows: number("GROWN_ROWS", 5_000_000, 1)?,
            zemi: needed("BENCH_ZEMI")?.into(),
            file: needed("BENCH_FILE")?,
            recvlogical: Some(text("BENCH_RECVLOGICAL"))
                .filter(|path| !path.is_empty())
                .map(Into::into),
            tls: Some(text("BENCH_TLS")).filter(|path| !path.is_empty()),
            commit: text("BENCH_COMMIT"),
        })
    }
}

/// Opens a session.
pub fn open(endpoint: &Endpoint) -> Result<Connection> {
    let session = [("application_name", "bench")];
    Connection::open(endpoint, &session, Duration::from_secs(10))
}

/// The single value of the last statement; "" for NULL or no row.
pub fn value(session: &mut Connection, sql: &str) -> Result<String> {
    let rows = session.rows(sql).at(|| sql.to_owned())?;
    Ok(rows.first(0).unwrap_or_default().to_owned())
}

/// When rows came into `changes`.
pub struct Arrival {
    /// Its first page was there: the first rows were being written.
    pub first: Instant,
    /// All rows were visible.
    pub all: Instant,
}

/// The servers and what belongs to them.
pub struct Stage {
    /// What was asked for.
    pub options: Options,
    /// A session with the source.
    pub source: Connection,
    /// A session with the destination.
    pub destination: Connection,
    /// How many rows `changes` holds that were counted already.
    pub there: u64,
    /// Settings of zemi beside those of this process.
    pub settings: Vec<(&'static str, String)>,
}

impl Stage {
    /// Connects to both servers and lets zemi make its slot, publication and tables.
    pub fn set(options: Options, settings: Vec<(&'static str, String)>) -> Result<Stage> {
        let source = open(&options.config.source)?;
        let destination = open(&options.config.destination)?;
        let mut stage = Stage {
            options,
            source,
            destination,
            there: 0,
            settings,
        };
        let tracker = stage.tracker()?;
        stage.stop(tracker)?;
        Ok(stage)
    }

    /// What the figures depend on, beside zemi.
    pub fn facts(&mut self) -> Result<Value> {
        let options = &self.options;
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map(|rest| rest.trim_start_matches(['\t', ' ', ':']));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let size = std::fs::metadata(&options.zemi).map(|m| m.len()).ok();
        let mut facts = json!({
            "commit": options.commit,
            "zemi_bytes": size,
            "cpu": model,
            "cores": thread::available_parallelism().map(usize::from).unwrap_or(0),
            "kernel": kernel.trim(),
            "rows": options.rows,
            "runs": options.runs,
            "pg_recvlogical": options.recvlogical.is_some(),
        });
        for (name, session) in [
            ("source", &mut self.source),
            ("destination", &mut self.destination),
        ] {
            let mut server = json!({});
            for setting in ["server_version", "fsync", "shared_buffers", "max_wal_size"] {
                server[setting] = value(session, &format!("SHOW {setting}"))?.into();
            }
            facts[name] = server;
        }
        Ok(facts)
    }

    /// Starts zemi and waits until it streams.
    pub fn tracker(&self) -> Result<Tracker> {
        let tracker = self.tracker_at_once()?;
        tracker.wait_for("streaming from")?;
        Ok(tracker)
    }

    /// Starts zemi without waiting for anything.
    pub fn tracker_at_once(&self) -> Result<Tracker> {
        Tracker::start(Command::new(&self.options.zemi), &self.settings)
    }

    /// Stops zemi, and waits until the slot is free for the next one.
    pub fn stop(&mut self, tracker: Tracker) -> Result<()> {
        tracker.stop()?;
        let free = "SELECT bool_or(active) FROM pg_replication_slots";
        wait_until("the slot is free", || {
            Ok(value(&mut self.source, free)? != "t")
        })
    }

    /// An empty table of rows on the source and an empty `changes`, with zemi stopped, and a second
    /// slot at the position of zemi's own, for the floor.
    pub fn clear(&mut self, table: &str, shape: Shape) -> Result<()> {
        self.clear_source(&shape.create(table))?;
        self.empty_changes()
    }

    /// Runs statements on the source whose changes are not counted, and moves both slots behind them.
    pub fn clear_source(&mut self, sql: &str) -> Result<()> {
        let floor = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                     WHERE slot_name = 'bench_floor'";
        self.source.query(floor)?;
        self.source.query(sql)?;
        let slot = &self.options.config.slot_name;
        self.source.query(&format!(
            "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_insert_lsn()); \
             SELECT pg_copy_logical_replication_slot('{slot}', 'bench_floor')"
        ))?;
        Ok(())
    }

    /// Empties the destination.
    pub fn empty_changes(&mut self) -> Result<()> {
        self.destination
            .query("DROP TABLE IF EXISTS public.changes_floor; TRUNCATE public.changes")?;
        self.there = 0;
        self.checkpoint()
    }

    /// Writes out on both servers what earlier steps left.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.source.query("CHECKPOINT")?;
        self.destination.query("CHECKPOINT").map(drop)
    }

    /// Runs a statement in a transaction of its own. Returns a position before the end of this
    /// transaction and after the end of all earlier ones, and when COMMIT returned.
    pub fn commit(&mut self, sql: &str) -> Result<(Lsn, Instant)> {
        self.source
            .query(&format!("BEGIN; {sql}"))
            .at(|| sql.into())?;
        let position = value(&mut self.source, "SELECT pg_current_wal_insert_lsn()")?;
        self.source.query("COMMIT")?;
        let returned = Instant::now();
        let bad = |_| Error::new(Kind::Protocol, "the server's position is no LSN");
        Ok((position.parse().map_err(bad)?, returned))
    }

    /// Waits until the transaction that [`Stage::commit`] gave this position for is in the destination.
    pub fn wait_written(&mut self, position: Lsn) -> Result<Arrival> {
        let question = format!(
            "SELECT flushed_lsn >= '{position}', pg_relation_size('public.changes') > 0 \
             FROM public.zemi_progress"
        );
        let mut first = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.destination.rows(&question)?;
            let now = Instant::now();
            if answer.first(1) == Some("t") {
                first.get_or_insert(now);
            }
            if answer.first(0) == Some("t") {
                let first = first.unwrap_or(now);
                return Ok(Arrival { first, all: now });
            }
            if now >= deadline {
                return Err(late("all rows are in changes"));
            }
            thread::sleep(POLL);
        }
    }

    /// Makes sure that `changes` holds as many rows as were written: no speed counts otherwise.
    pub fn check_count(&mut self, expected: u64) -> Result<()> {
        let found = self.count()?;
        if found == expected {
            return Ok(());
        }
        Err(Error::new(
            Kind::Bug,
            format!("expected {expected} rows in changes, found {found}"),
        ))
    }

    /// How many rows `changes` holds.
    pub fn count(&mut self) -> Result<u64> {
        let found = value(&mut self.destination, "SELECT count(*) FROM public.changes")?;
        found
            .parse()
            .map_err(|_| Error::new(Kind::Protocol, "count(*) is no number"))
    }
}

fn late(what: &str) -> Error {
    Error::new(
        Kind::Transient,
        format!("waited {} s in vain until {what}", PATIENCE.as_secs()),
    )
}

/// Asks until the answer is yes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() >= deadline {
            return Err(late(what));
        }
        thread::sleep(POLL);
    }
    Ok(())
}
