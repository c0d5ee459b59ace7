//! A mixed load of several writers that goes on whatever happens to the server.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use zemi::error::Error;

use super::replay::{Replay, assert_replays, assert_unique};
use super::scene::{PATIENCE, caught_up};
use super::{Server, Sql, wait_until};

/// Numbers from a seed (xorshift64*, Vigna 2016), so that a run can be repeated.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// What the writers need; made before zemi starts, or while it runs.
pub const TABLES: &str = "
    CREATE TABLE accounts (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, v text);
    CREATE TABLE items (k1 int, k2 text, v jsonb, big text, PRIMARY KEY (k1, k2));
    ALTER TABLE items REPLICA IDENTITY FULL;
    ALTER TABLE items ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE scratch (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE sales (id bigint, region int, n int DEFAULT 0, PRIMARY KEY (id, region))
        PARTITION BY LIST (region);
    CREATE TABLE sales_0 PARTITION OF sales FOR VALUES IN (0);
    CREATE TABLE sales_1 PARTITION OF sales FOR VALUES IN (1);
    CREATE TABLE sales_rest PARTITION OF sales DEFAULT";

/// The tables and their keys.
const KEYS: [(&str, &[&str]); 4] = [
    ("accounts", &["id"]),
    ("items", &["k1", "k2"]),
    ("scratch", &["id"]),
    ("sales", &["id", "region"]),
];

/// What the tables become by their changes.
pub fn replays() -> Vec<Replay> {
    KEYS.iter().map(|(t, key)| Replay::new(t, key)).collect()
}

/// How many rows each table `brief_<id>` gets in the transaction in which it is made, and the row of accounts
/// with that id.
pub const BRIEF_ROWS: u64 = 3;

/// Rows of a transaction that is larger than a batch.
const LARGE: u64 = 9_000;

/// How hard the writers work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Without pauses, with transactions larger than a batch.
    Large,
    /// The same without those.
    Small,
    /// With pauses of at most so many microseconds, and with everything there is.
    Long(u64),
}

impl Pace {
    /// One of so many transactions that may be large is.
    fn seldom_large(self) -> u64 {
        match self {
            Pace::Large => 8,
            Pace::Small => u64::MAX,
            Pace::Long(_) => 80,
        }
    }
}

/// Writers at work. Dropping it stops them.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    hold: Arc<AtomicBool>,
    /// How many writers wait for `hold` to end.
    waiting: Arc<AtomicU64>,
    writers: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Starts `writers` writers on the database `postgres` of this server, which has [`TABLES`].
    pub fn start(server: &Server, seed: u64, writers: u64) -> Load {
        Load::with(server, seed, writers, Pace::Large)
    }

    /// As [`Load::start`], with no transaction that is larger than a batch.
    pub fn small(server: &Server, seed: u64, writers: u64) -> Load {
        Load::with(server, seed, writers, Pace::Small)
    }

    /// As [`Load::start`], at a pace that can be kept up for hours: so many milliseconds at most between
    /// two transactions of a writer; and with table definitions that change, and prepared transactions.
    pub fn long(server: &Server, seed: u64, writers: u64, pause: u64) -> Load {
        Load::with(server, seed, writers, Pace::Long(pause * 1000))
    }

    fn with(server: &Server, seed: u64, writers: u64, pace: Pace) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let hold = Arc::new(AtomicBool::new(false));
        let waiting = Arc::new(AtomicU64::new(0));
        let settings = server.settings("DB_", "postgres");
        let start = |n: u64| {
            let writer = Writer {
                settings: settings.clone(),
                random: Random::new(seed ^ (n + 1).wrapping_mul(0x1000_0000_01b3)),
                number: n,
                next: 0,
                pace,
                stop: Arc::clone(&stop),
                hold: Arc::clone(&hold),
                waiting: Arc::clone(&waiting),
            };
            thread::spawn(move || writer.run())
        };
        let writers = (0..writers).map(start).collect();
        Load {
            stop,
            hold,
            waiting,
            writers,
        }
    }

    /// Lets them wait, each after its transaction; returns when all do. The server has to be there.
    pub fn pause(&self) {
        self.hold.store(true, Ordering::SeqCst);
        wait_until("the writers pause", PATIENCE, || {
            self.waiting.load(Ordering::SeqCst) == self.writers.len() as u64
        });
    }

    /// Lets them go on.
    pub fn go_on(&self) {
        self.hold.store(false, Ordering::SeqCst);
    }

    /// Stops them, each after its transaction. Returns how many transactions were answered.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let writers = std::mem::take(&mut self.writers);
        writers
            .into_iter()
            .map(|w| w.join().expect("a writer ends"))
            .sum()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Ends the prepared transactions that a load left, and drops the columns that it was about to drop.
pub fn tidy_up(source: &mut Sql) {
    for row in source.rows("SELECT gid FROM pg_prepared_xacts") {
        let gid = row.first().and_then(Option::as_deref).unwrap_or_default();
        source.run(&format!("COMMIT PREPARED '{gid}'"));
    }
    let columns = source.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'accounts'::regclass \
         AND attname ~ '^c[0-9]+_' AND NOT attisdropped",
    );
    for row in columns {
        let column = row.first().and_then(Option::as_deref).unwrap_or_default();
        source.run(&format!("ALTER TABLE accounts DROP {column}"));
    }
}

/// Waits until zemi is done with the load, and compares what it wrote with the tables. Returns the number
/// of changes.
pub fn assert_all_is_there(source: &mut Sql, destination: &mut Sql) -> usize {
    caught_up(source);
    let replay = |(table, key): (&str, &[&str])| assert_replays(source, destination, table, key);
    let changes = KEYS.map(replay).into_iter().sum();
    assert_unique(destination);
    changes
}

struct Writer {
    settings: Vec<(String, String)>,
    random: Random,
    number: u64,
    next: u64,
    pace: Pace,
    stop: Arc<AtomicBool>,
    hold: Arc<AtomicBool>,
    waiting: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) -> u64 {
        let mut answered = 0;
        let mut session = None;
        while !self.stop.load(Ordering::SeqCst) {
            if self.hold.load(Ordering::SeqCst) {
                self.rest();
                continue;
            }
            let Some(sql) = session.as_mut() else {
                session = Sql::connect(&self.settings).ok();
                if let Some(sql) = session.as_mut()
                    && self.end_prepared(sql).is_err()
                {
                    session = None;
                }
                if session.is_none() {
                    thread::sleep(Duration::from_millis(20));
                }
                continue;
            };
            match self.transaction(sql) {
                Ok(()) => answered += 1,
                // Whether it was committed is for the tables to say. A deadlock of two writers ends
                // here, too.
                Err(_) => session = None,
            }
            let pause = match self.pace {
                Pace::Long(most) => most,
                Pace::Large | Pace::Small => 2_000,
            };
            thread::sleep(Duration::from_micros(self.random.below(pause)));
        }
        answered
    }

    /// What the last session left prepared would hold its locks for ever.
    fn end_prepared(&self, sql: &mut Sql) -> Result<(), Error> {
        let mine = format!(
            "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'zemi\\_{}\\_%'",
            self.number
        );
        for row in sql.try_rows(&mine)? {
            let gid = row.first().and_then(Option::as_deref).unwrap_or_default();
            self.run_sql(sql, &format!("COMMIT PREPARED '{gid}'"))?;
        }
        Ok(())
    }

    /// Waits while all have to.
    fn rest(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.hold.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// A key that no writer has used.
    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next * 64 + self.number
    }

    fn keys(&mut self, count: u64) -> Vec<u64> {
        (0..count).map(|_| self.key()).collect()
    }

    /// What is done now and then in a long run only.
    fn seldom(&mut self, sql: &mut Sql) -> Result<(), Error> {
        let id = self.key();
        match self.random.below(5) {
            0 => {
                // A column comes, is filled and goes.
                let column = format!("c{}_{}", self.number, id);
                self.run_sql(
                    sql,
                    &format!("ALTER TABLE accounts ADD {column} int DEFAULT 7"),
                )?;
                self.run_sql(
                    sql,
                    &format!("INSERT INTO accounts VALUES ({id}, 0, 'wide')"),
                )?;
                self.run_sql(sql, &format!("ALTER TABLE accounts DROP {column}"))
            }
            1 => {
                let gid = format!("zemi_{}_{id}", self.number);
                self.run_sql(
                    sql,
                    &format!(
                        "BEGIN; INSERT INTO accounts VALUES ({id}, 0, 'prepared');
                         PREPARE TRANSACTION '{gid}'"
                    ),
                )?;
                let end = if id.is_multiple_of(3) {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                };
                // Should the server go in between, it stays prepared, and the next session ends it.
                self.run_sql(sql, &format!("{end} PREPARED '{gid}'"))
            }
            2 => self.run_sql(
                sql,
                &format!(
                    "CREATE TABLE passing_{id} (id int); INSERT INTO passing_{id} VALUES (1);
                     DROP TABLE passing_{id}"
                ),
            ),
            // A partition comes and goes. Its rows do so in one transaction: they have its own name where it
            // was gone before zemi could ask for the table above it.
            3 => self.run_sql(
                sql,
                &format!(
                    "BEGIN; CREATE TABLE part_{id} (LIKE sales INCLUDING ALL);
                     ALTER TABLE sales ATTACH PARTITION part_{id} FOR VALUES IN ({region});
                     INSERT INTO sales VALUES ({id}, {region});
                     UPDATE sales SET n = 1 WHERE region = {region};
                     DELETE FROM sales WHERE region = {region}; COMMIT; DROP TABLE part_{id}",
                    region = 1_000 + id % 1_000_000_000
                ),
            ),
            _ => self.brief(sql, id),
        }
    }

    /// A row of a partitioned table, which may move into another partition.
    fn sell(&mut self, sql: &mut Sql) -> Result<(), Error> {
        let (id, region) = (self.key(), self.random.below(4));
        self.run_sql(
            sql,
            &format!(
                "INSERT INTO sales VALUES ({id}, {region});
                 UPDATE sales SET n = n + 1 WHERE id = {id};
                 UPDATE sales SET region = ({region} + 1) % 4 WHERE id = {id} AND {id} % 2 = 0;
                 DELETE FROM sales WHERE id = {id} AND {id} % 3 = 0"
            ),
        )
    }

    /// A table that is made, filled and dropped; a row of accounts, which is there exactly when the table was
    /// made, tells of it: see [`BRIEF_ROWS`].
    fn brief(&self, sql: &mut Sql, id: u64) -> Result<(), Error> {
        self.run_sql(
            sql,
            &format!(
                "BEGIN; INSERT INTO accounts VALUES ({id}, 0, 'brief');
                 CREATE TABLE brief_{id} (id int PRIMARY KEY, v text);
                 INSERT INTO brief_{id} SELECT g, 'x' FROM generate_series(1, {BRIEF_ROWS}) g; COMMIT"
            ),
        )?;
        self.run_sql(
            sql,
            &format!("UPDATE brief_{id} SET v = 'y' WHERE id = 1; DROP TABLE brief_{id}"),
        )
    }

    fn transaction(&mut self, sql: &mut Sql) -> Result<(), Error> {
        if matches!(self.pace, Pace::Long(_)) && self.random.below(50) == 0 {
            return self.seldom(sql);
        }
        let some = "SELECT id FROM accounts ORDER BY n, id LIMIT 3 FOR UPDATE SKIP LOCKED";
        match self.random.below(100) {
            0..15 => {
                let id = self.key();
                self.run_sql(
                    sql,
                    &format!("INSERT INTO accounts VALUES ({id}, 0, 'one')"),
                )
            }
            15..25 => {
                let mut rows = String::new();
                for id in self.keys(20) {
                    write!(rows, ",({id}, 0, 'many')").unwrap();
                }
                let rows = rows.trim_start_matches(',');
                self.run_sql(sql, &format!("INSERT INTO accounts VALUES {rows}"))
            }
            25..40 => self.run_sql(
                sql,
                &format!("UPDATE accounts SET n = n + 1, v = v || '.' WHERE id IN ({some})"),
            ),
            40..48 => {
                let id = self.key();
                let one = some.replace("LIMIT 3", "LIMIT 1");
                self.run_sql(
                    sql,
                    &format!("UPDATE accounts SET id = {id} WHERE id IN ({one})"),
                )
            }
            48..56 => self.run_sql(sql, &format!("DELETE FROM accounts WHERE id IN ({some})")),
            56..64 => {
                let mut lines = String::new();
                for id in self.keys(50) {
                    writeln!(lines, "{id}\t{}\tcopied", self.number).unwrap();
                }
                sql.try_copy("COPY accounts FROM STDIN", &lines).map(drop)
            }
            64..76 => {
                let (k, big) = (self.key(), self.random.below(3) * 6_000);
                self.run_sql(
                    sql,
                    &format!(
                        "INSERT INTO items VALUES ({k}, 'a''b', '{{\"n\": {k}}}', repeat('x', {big}));
                         UPDATE items SET v = v || '{{\"m\": 1}}' WHERE k1 = {k};
                         DELETE FROM items WHERE k1 = {k} AND {k} % 3 = 0"
                    ),
                )
            }
            76..80 => self.sell(sql),
            80..86 => {
                let (kept, undone) = (self.key(), self.key());
                self.run_sql(
                    sql,
                    &format!(
                        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{{\"w\": {kept}}}');
                         INSERT INTO scratch VALUES ({kept}); SAVEPOINT s;
                         INSERT INTO scratch VALUES ({undone});
                         UPDATE accounts SET n = n + 1 WHERE id IN ({some});
                         ROLLBACK TO s; UPDATE scratch SET at = now() WHERE id = {kept}; COMMIT"
                    ),
                )
            }
            86..94 => {
                let id = self.key();
                self.run_sql(
                    sql,
                    &format!(
                        "BEGIN; INSERT INTO scratch VALUES ({id}); TRUNCATE scratch; ROLLBACK"
                    ),
                )
            }
            94..98 => self.run_sql(sql, "TRUNCATE scratch"),
            // Seldom, since there are many rows to judge afterwards.
            _ if self.random.below(self.pace.seldom_large()) > 0 => self.run_sql(sql, "SELECT 1"),
            _ => {
                let (from, to) = (self.next * 64, (self.next + LARGE) * 64);
                let number = self.number;
                self.next += LARGE + 1;
                self.run_sql(
                    sql,
                    &format!(
                        "BEGIN; INSERT INTO accounts SELECT g + {number}, 1000000, 'large'
                             FROM generate_series({from} + 64, {to}, 64) g;
                         DELETE FROM accounts WHERE v = 'large' AND id > {from} AND id <= {to} + 64;
                         COMMIT"
                    ),
                )
            }
        }
    }

    fn run_sql(&self, sql: &mut Sql, statements: &str) -> Result<(), Error> {
        sql.try_rows(statements).map(drop)
    }
}
