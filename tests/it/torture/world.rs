//! Two servers, two networks, and a zemi that is started again whenever it has ended.

use std::time::{Duration, Instant};

use crate::support::load::{Random, TABLES, assert_all_is_there, tidy_up};
use crate::support::proxy::{Proxy, Weather};
use crate::support::scene::{PATIENCE, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// How long zemi may need after the last fault: its longest backoff is 30 s, on each side.
const RECOVERY: Duration = Duration::from_secs(120);

/// All there is.
pub struct World {
    /// What is followed.
    pub source: Server,
    /// What holds the changes.
    pub destination: Server,
    /// The network of the source and that of the destination.
    pub nets: [Proxy; 2],
    /// The program; see [`World::zemi`].
    zemi: Zemi,
    settings: Vec<(String, String)>,
}

impl World {
    /// Starts everything.
    pub fn new(major: u32) -> World {
        let options = [("max_prepared_transactions", "20")];
        let source = Server::start(major, &options);
        let destination = Server::start(major, &[]);
        Sql::open(&source, "postgres").run(TABLES);
        let nets = [
            Proxy::start(source.port()),
            Proxy::start(destination.port()),
        ];
        let mut settings = settings(&source, Some(&destination));
        for (name, net) in ["DB_PORT", "DEST_DB_PORT"].into_iter().zip(&nets) {
            settings.push((name.into(), net.port().to_string()));
        }
        settings.push(("SHUTDOWN_TIMEOUT".into(), "5".into()));
        let zemi = streaming(&settings);
        World {
            source,
            destination,
            nets,
            zemi,
            settings,
        }
    }

    /// The running program; started again where it has ended.
    pub fn zemi(&mut self) -> &mut Zemi {
        if self.zemi.wait_exit(Duration::ZERO).is_some() {
            self.start_zemi();
        }
        &mut self.zemi
    }

    /// Starts another one, after the one before has ended.
    pub fn start_zemi(&mut self) {
        self.zemi = Zemi::start(&self.settings);
    }

    /// A second one with the same settings.
    pub fn another_zemi(&self) -> Zemi {
        Zemi::start(&self.settings)
    }

    /// A session with the source, past its network.
    pub fn at_source(&self) -> Sql {
        Sql::open(&self.source, "postgres")
    }

    /// A session with the destination, past its network.
    pub fn at_destination(&self) -> Sql {
        Sql::open(&self.destination, "postgres")
    }

    /// One of the networks gets worse.
    pub fn bad_weather(&mut self, random: &mut Random) {
        let weather = match random.below(5) {
            0 => Weather::Dripping,
            1 => Weather::Slow(random.below(200)),
            2 => Weather::CutAfter(random.below(30_000)),
            3 => Weather::Stalled,
            _ => Weather::LosingReplies,
        };
        self.nets[random.below(2) as usize].set(weather);
    }

    /// Both networks are well again.
    pub fn fair_weather(&mut self) {
        for net in &self.nets {
            net.set(Weather::Fair);
        }
    }

    /// Waits until zemi has written something new; how long that took.
    pub fn wait_for_progress(&mut self) -> Duration {
        let began = Instant::now();
        let mut sql = self.at_destination();
        // The progress row, not the rows themselves: counting those would be a load of its own.
        let mut at = || sql.value("SELECT max(flushed_lsn) FROM zemi_progress");
        let before = at();
        wait_until("zemi goes on", RECOVERY, || {
            self.zemi();
            at() != before
        });
        began.elapsed()
    }

    /// Compares everything with everything.
    pub fn judge(&mut self) -> usize {
        let mut source = self.at_source();
        tidy_up(&mut source);
        self.zemi();
        wait_until("zemi is connected", RECOVERY, || {
            let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'zemi'";
            self.zemi();
            source.value(active) == "t"
        });
        // Nothing is left of what the faults did.
        let mut destination = self.at_destination();
        let patience = PATIENCE * 5;
        let target = source.value("SELECT pg_current_wal_insert_lsn()");
        source.run("SELECT pg_logical_emit_message(true, 'test', '')");
        wait_until("zemi confirms everything", patience, || {
            self.zemi();
            let confirmed = format!(
                "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots \
                 WHERE slot_name = 'zemi'"
            );
            source.value(&confirmed) == "t"
        });
        let gaps = "SELECT count(*) FROM changes WHERE operation = 'MESSAGE'";
        assert_eq!(destination.value(gaps), "0", "no fault here loses anything");
        let changes = assert_all_is_there(&mut source, &mut destination);
        // In the order of the commits: positions never go back from one transaction to the next.
        let disorder = "SELECT count(*) FROM (SELECT min(position) AS low, \
                        lag(max(committed_at)) OVER (ORDER BY min(position)) AS before, \
                        max(committed_at) AS at FROM changes GROUP BY transaction_id) t \
                        WHERE before > at + interval '1 second'";
        assert_eq!(destination.value(disorder), "0", "commits out of order");
        changes
    }
}
