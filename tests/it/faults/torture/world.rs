//! Two servers, two networks, and a zemi that is started again whenever it has ended.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::operations::tls::authority::{Authority, ECDSA, RSA};
use crate::operations::tls::server::{set, show};
use crate::support::cluster::PASSWORD;
use crate::support::load::{BRIEF_ROWS, Load, Random, TABLES, replays, tidy_up};
use crate::support::proxy::{NetworkFault, Proxy};
use crate::support::replay::{Replay, assert_unique};
use crate::support::scene::{PATIENCE, Settings, networked, streaming, with};
use crate::support::{Namespace, Server, Sql, Zemi, wait_until};

/// How long zemi may need after the last fault: its longest backoff is 30 s, on each side.
const RECOVERY: Duration = Duration::from_secs(120);

/// What the disk of the destination's tables holds when it is not full.
const DISK: &str = "4g";

/// The role of zemi on both sides: what is set for it does not reach the load and the judge.
pub const ROLE: &str = "tracker";

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
    /// Whether `TABLES` named tables since the last judgement: others are not tracked then.
    named_tables: bool,
    /// Of the servers' certificates, where the lines are encrypted.
    _authority: Option<Authority>,
    /// Where the disk of the destination's tables is mounted.
    disk: Option<Namespace>,
    /// The tables, replayed from their changes.
    replays: Vec<Replay>,
    /// The position of the last change that was judged.
    judged: String,
}

impl World {
    /// Starts everything; with encrypted lines on both sides, or plain ones.
    pub fn new(major: u32, encrypted: bool) -> World {
        // Few connections, so that a limit is soon reached.
        let few = ("max_connections", "20");
        let source = Server::start(major, &[few, ("max_prepared_transactions", "20")]);
        let mut destination = Server::start(major, &[few]);
        let disk = small_disk(&mut destination);
        Sql::open(&source, "postgres").run(TABLES);
        for server in [&source, &destination] {
            Sql::open(server, "postgres").run(&format!(
                "CREATE ROLE {ROLE} SUPERUSER LOGIN REPLICATION PASSWORD '{PASSWORD}'; CREATE ROLE nobody"
            ));
        }
        let (nets, settings) = networked(&source, &destination);
        let mut settings = with(
            &settings,
            &[
                ("SHUTDOWN_TIMEOUT", "5"),
                ("DB_USER", ROLE),
                ("DEST_DB_USER", ROLE),
            ],
        );
        let authority = encrypted.then(|| encrypt(&source, &destination, &mut settings));
        let zemi = streaming(&settings);
        World {
            source,
            destination,
            nets,
            zemi,
            settings,
            named_tables: false,
            _authority: authority,
            disk,
            replays: replays(),
            judged: "0".into(),
        }
    }

    /// Whether the program has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.zemi.wait_exit(Duration::ZERO).is_some()
    }

    /// The running program; started again where it has ended. It ends by itself only to give way to
    /// another one.
    pub fn zemi(&mut self) -> &mut Zemi {
        if let Some(code) = self.zemi.wait_exit(Duration::ZERO) {
            assert_eq!(code, 75, "{}", self.zemi.log());
            self.start_zemi();
        }
        &mut self.zemi
    }

    /// Starts another one, after the one before has ended, or in its place.
    pub fn start_zemi(&mut self) {
        self.zemi.kill();
        self.zemi = Zemi::start(&self.settings);
    }

    /// The same under a limit that this shell command sets.
    pub fn start_zemi_under(&mut self, limit: &str) {
        self.zemi.kill();
        self.zemi = Zemi::start_after(limit, &self.settings);
    }

    /// A second one with the same settings.
    pub fn another_zemi(&self) -> Zemi {
        Zemi::start(&self.settings)
    }

    /// From the next start on the tables are named, or no longer.
    pub fn change_tables(&mut self) {
        let before = self.settings.len();
        self.settings.retain(|(name, _)| name != "TABLES");
        if self.settings.len() == before {
            let tables = "accounts,items,public.scratch,sales";
            self.settings.push(("TABLES".into(), tables.into()));
            self.named_tables = true;
        }
    }

    /// Whether the destination's disk can be filled.
    pub fn has_small_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// The destination's tables cannot grow any more.
    pub fn fill_disk(&self) {
        // What is written meanwhile makes it larger than asked for, which is refused.
        self.on_disk(
            "until mount -o remount,size=$(($(df -k --output=used . | tail -n 1)))k . 2>/dev/null; \
             do :; done",
        );
    }

    /// They can again.
    pub fn free_disk(&self) {
        self.on_disk(&format!("mount -o remount,size={DISK} ."));
    }

    fn on_disk(&self, script: &str) {
        let disk = self.disk.as_ref().expect("there is a disk of its own");
        let place = self.destination.dir().join("small");
        disk.run(&format!("cd '{}' && {script}", place.display()));
    }

    /// A session with the source, past its network.
    pub fn at_source(&self) -> Sql {
        Sql::open(&self.source, "postgres")
    }

    /// A session with the destination, past its network.
    pub fn at_destination(&self) -> Sql {
        Sql::open(&self.destination, "postgres")
    }

    /// A fault of one of the networks, for three seconds.
    pub fn disturb_network(&mut self, random: &mut Random) {
        let fault = match random.below(5) {
            0 => NetworkFault::Dripping,
            1 => NetworkFault::Slow(random.below(200)),
            2 => NetworkFault::CutAfter(random.below(30_000)),
            3 => NetworkFault::Stalled,
            _ => NetworkFault::LosingReplies,
        };
        // It ends by itself: the fault beside it may wait for a lock that zemi has, and zemi for the network.
        self.nets[random.below(2) as usize].set_for(fault, Duration::from_secs(3));
    }

    /// Ends the faults of both networks.
    pub fn mend_network(&mut self) {
        for net in &self.nets {
            net.set(NetworkFault::None);
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

    /// Lets the load pause, compares everything with everything, and throws away what was judged. Returns
    /// the number of changes so far.
    pub fn judge(&mut self, load: &Load) -> usize {
        load.pause();
        let mut source = self.at_source();
        tidy_up(&mut source);
        self.zemi();
        let target = source.value("SELECT pg_current_wal_insert_lsn()");
        source.run("SELECT pg_logical_emit_message(true, 'test', '')");
        wait_until("zemi confirms everything", PATIENCE * 5, || {
            self.zemi();
            let confirmed = format!(
                "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots \
                 WHERE slot_name = 'zemi'"
            );
            source.value(&confirmed) == "t"
        });
        let mut destination = self.at_destination();
        // A table that comes and goes may have lost an UPDATE where it was never listed.
        let gaps = "SELECT count(*), min(context::text) FROM changes WHERE operation = 'MESSAGE' \
                    AND \"table\" NOT LIKE 'brief\\_%'";
        assert_eq!(
            destination.text(gaps),
            "0|-",
            "no fault here loses anything"
        );
        let again = format!(
            "SELECT count(*) FROM changes WHERE position <= {}",
            self.judged
        );
        assert_eq!(destination.value(&again), "0", "changes came again");
        assert_unique(&mut destination);
        for replay in &mut self.replays {
            replay.follow(&mut destination);
            replay.assert_same(&mut source);
        }
        assert_orderly(&mut destination);
        assert_brief_tables(&mut destination, self.named_tables);
        self.named_tables = self.settings.iter().any(|(name, _)| name == "TABLES");
        let last = destination.value("SELECT max(position) FROM changes");
        if !last.is_empty() {
            self.judged = last;
        }
        destination.run("TRUNCATE changes");
        load.go_on();
        self.replays.iter().map(|replay| replay.changes).sum()
    }
}

/// Transactions are whole, come in the order of their commits, and have the context that they were given.
fn assert_orderly(destination: &mut Sql) {
    // `created_at` is the time of the destination's transaction.
    let torn = "SELECT count(*) FROM (SELECT FROM changes GROUP BY transaction_id \
                HAVING count(DISTINCT created_at) > 1 OR count(DISTINCT committed_at) > 1) t";
    assert_eq!(destination.value(torn), "0", "transactions in parts");
    // Two commits at the same moment may be written in another order than their times have.
    let disorder = "SELECT count(*) FROM (SELECT min(committed_at) AS first, \
                    lag(max(committed_at)) OVER (ORDER BY created_at) AS before \
                    FROM changes GROUP BY created_at) t WHERE before > first + interval '1 second'";
    assert_eq!(destination.value(disorder), "0", "commits out of order");
    let context = "SELECT count(*) FROM changes WHERE \"table\" = 'scratch' \
                   AND operation IN ('CREATE', 'UPDATE') \
                   AND context->'w' IS DISTINCT FROM after->'id'";
    assert_eq!(
        destination.value(context),
        "0",
        "rows without their context"
    );
}

/// All rows of tables that came and went are there; where they may be untracked, all or none.
fn assert_brief_tables(destination: &mut Sql, may_be_untracked: bool) {
    let allowed = if may_be_untracked { "0, " } else { "" };
    let torn = destination.text(&format!(
        "SELECT primary_key, found FROM (SELECT primary_key, (SELECT count(*) FROM changes b \
         WHERE b.transaction_id = a.transaction_id AND b.\"table\" = 'brief_' || a.primary_key) AS found \
         FROM changes a WHERE \"table\" = 'accounts' AND operation = 'CREATE' \
         AND after->>'v' = 'brief') t WHERE found NOT IN ({allowed}{BRIEF_ROWS})"
    ));
    assert_eq!(torn, "", "tables that came and went");
}

/// Lets both servers offer encrypted lines, and zemi insist on them.
fn encrypt(source: &Server, destination: &Server, settings: &mut Settings) -> Authority {
    let authority = Authority::new(ECDSA);
    for (server, name, kind) in [(source, "source", RSA), (destination, "destination", ECDSA)] {
        show(server, &authority.server(name, kind));
        set(server, &[("ssl", "on")]);
    }
    let root = authority.root.cert();
    *settings = with(
        settings,
        &[("DB_SSL_MODE", "verify-full"), ("DB_SSL_ROOT_CERT", &root)],
    );
    authority
}

/// Puts the tables that come on a disk of their own; `None` where that cannot be made.
fn small_disk(destination: &mut Server) -> Option<Namespace> {
    let place = destination.dir().join("small");
    fs::create_dir(&place).unwrap();
    let (place, data) = (place.display(), destination.dir().join("data"));
    let disk = Namespace::with_mounts(&format!(
        "mount -t tmpfs -o size={DISK},mode=755 zemi '{place}' && mkdir '{place}/space' && \
         chown --reference='{}' '{place}/space'",
        data.display()
    ))?;
    destination.move_into(&disk);
    let mut sql = Sql::open(destination, "postgres");
    sql.run(&format!("CREATE TABLESPACE small LOCATION '{place}/space'"));
    sql.run("ALTER DATABASE postgres SET default_tablespace = 'small'");
    Some(disk)
}

/// A smart shutdown, which waits until all sessions have ended: they are made to.
pub fn leave_smartly(server: &Server) {
    let mut sql = Sql::open(server, "postgres");
    thread::scope(|threads| {
        let stopping = threads.spawn(|| server.stop("smart"));
        wait_until("nobody is let in any more", PATIENCE, || {
            Sql::try_open(server, "postgres").is_err()
        });
        // Again and again: one that is logging in is not seen yet.
        for _ in 0..10 {
            sql.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            );
            thread::sleep(Duration::from_millis(30));
        }
        drop(sql);
        let until = Instant::now() + Duration::from_secs(10);
        while !stopping.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        if !stopping.is_finished() {
            // Somebody got in all the same, and would stay for ever.
            let pid = server.dir().join("data/postmaster.pid");
            let script = format!("kill -INT $(head -n 1 '{}')", pid.display());
            let _ = Command::new("sh").args(["-c", &script]).status();
        }
        stopping.join().expect("it stops");
    });
}
