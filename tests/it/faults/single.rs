//! One fault at a time, where a network or a server that merely goes is not the point.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cluster::PASSWORD;
use crate::support::proxy::{Proxy, Weather};
use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use crate::support::{Namespace, Server, Sql, Zemi, wait_until};

const REFUSED: i32 = 77;

/// Longer than the `wal_sender_timeout` that zemi asks for, which is 60 s.
const LONGER_THAN_ALL: Duration = Duration::from_secs(66);

/// Two servers and a table `t`.
struct Scene {
    source: Server,
    destination: Server,
    settings: Vec<(String, String)>,
    sql: Sql,
    there: Sql,
}

impl Scene {
    fn new() -> Scene {
        Scene::on(Server::start(15, &[]), Server::start(15, &[]))
    }

    fn on(source: Server, destination: Server) -> Scene {
        let mut sql = Sql::open(&source, "postgres");
        sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
        Scene {
            settings: settings(&source, Some(&destination)),
            there: Sql::open(&destination, "postgres"),
            sql,
            source,
            destination,
        }
    }

    fn insert(&mut self, from: u32, to: u32) {
        let rows = format!("INSERT INTO t SELECT g, 'v' FROM generate_series({from}, {to}) g");
        self.sql.run(&rows);
    }

    /// All is there, once; so many changes.
    fn judge(&mut self, number: usize) {
        caught_up(&mut self.sql);
        let found = assert_replays(&mut self.sql, &mut self.there, "t", &["id"]);
        assert_eq!(found, number);
        assert_unique(&mut self.there);
        let gaps = "SELECT count(*) FROM changes WHERE operation = 'MESSAGE'";
        assert_eq!(self.there.value(gaps), "0");
    }

    fn walsender(&mut self) -> String {
        let active = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'zemi'";
        self.sql.value(active)
    }
}

/// Sets a limit of a process that runs (`prlimit`, util-linux).
fn limit(zemi: &Zemi, what: &str) {
    let id = zemi.id().to_string();
    let done = Command::new("prlimit").args(["--pid", &id, what]).status();
    assert!(done.expect("prlimit runs").success(), "{what}");
}

#[test]
fn a_process_that_stood_still_for_longer_than_the_walsender_waits_goes_on() {
    let mut scene = Scene::new();
    let zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    let before = scene.walsender();
    zemi.signal("STOP");
    scene.insert(11, 20_000);
    wait_until("the walsender gives up", LONGER_THAN_ALL * 2, || {
        scene.walsender() != before
    });
    zemi.signal("CONT");
    scene.judge(20_000);
}

#[test]
fn a_lock_for_longer_than_the_walsender_waits_costs_no_connection() {
    let mut scene = Scene::new();
    let zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    let before = scene.walsender();
    scene
        .there
        .run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    scene.insert(11, 30_000);
    thread::sleep(LONGER_THAN_ALL);
    assert_eq!(scene.walsender(), before);
    scene.there.run("COMMIT");
    scene.judge(30_000);
    assert!(!zemi.log().contains(" WARN "), "{}", zemi.log());
}

#[test]
fn a_process_without_file_descriptors_or_memory_says_so_and_loses_nothing() {
    let mut scene = Scene::new();
    let mut zemi = Zemi::start_after("ulimit -n 5", &scene.settings);
    wait_until("zemi says what it lacks, or ends", PATIENCE, || {
        zemi.log().contains("Too many open files") || zemi.wait_exit(Duration::ZERO).is_some()
    });
    assert!(zemi.log().contains("Too many open files"), "{}", zemi.log());
    let mut zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    // Without a file to spare it cannot connect again; with one it does by itself.
    limit(&zemi, "--nofile=3:1024");
    scene.destination.restart("fast");
    scene.insert(11, 20);
    zemi.wait_for_log("Too many open files", PATIENCE);
    limit(&zemi, "--nofile=1024:1024");
    scene.there = Sql::open(&scene.destination, "postgres");
    scene.judge(20);

    // No more memory than it has: what it needs for a large value ends it, or not.
    limit(&zemi, "--as=1");
    scene
        .sql
        .run("INSERT INTO t SELECT g, repeat(md5(g::text), 400000) FROM generate_series(21, 24) g");
    scene.insert(25, 30);
    let code = zemi.wait_exit(Duration::from_secs(20));
    assert_ne!(code, Some(0), "{}", zemi.log());
    zemi.kill();
    let _zemi = streaming(&scene.settings);
    scene.judge(30);
}

#[test]
fn packets_that_vanish_are_noticed_within_half_a_minute() {
    let Some(network) = Namespace::with_network() else {
        return;
    };
    let (mut source, mut destination) = (Server::start(15, &[]), Server::start(15, &[]));
    source.move_into(&network);
    destination.move_into(&network);
    // Zemi is in there with both of them; the tests come by their Unix sockets.
    let open = |server: &Server| {
        let mut settings = server.settings("DB_", "postgres");
        let directory = server.dir().join("socket").display().to_string();
        settings.push(("DB_HOST".into(), directory));
        Sql::connect(&settings).unwrap()
    };
    let (mut sql, mut there) = (open(&source), open(&destination));
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let program = network.command(env!("CARGO_BIN_EXE_zemi"));
    let zemi = Zemi::start_in(program, &settings(&source, Some(&destination)));
    zemi.wait_for_log("streaming from", PATIENCE);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    // A batch is on its way to a destination that is locked; then nothing arrives any more.
    there.run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    sql.run("INSERT INTO t VALUES (2)");
    wait_until("zemi waits for the lock", PATIENCE, || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        there.value(waiting) == "1"
    });
    network.run("ip link set lo down");
    let began = Instant::now();
    let noticed = |what: &str| {
        zemi.wait_for_log(what, PATIENCE);
        println!("{what:?} after {:.1} s", began.elapsed().as_secs_f64());
    };
    noticed(" replication stream: ");
    noticed(" destination: ");
    // The machine may be slow; without a time limit of its own it would take a quarter of an hour.
    assert!(began.elapsed() < Duration::from_secs(45));
    sql.run("INSERT INTO t VALUES (3)");
    there.run("COMMIT");
    network.run("ip link set lo up");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 3);
    assert_unique(&mut there);
}

#[test]
fn a_name_that_is_not_resolved_and_then_is() {
    let mut scene = Scene::new();
    let hosts = scene.source.dir().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mount = format!("mount --bind '{}' /etc/hosts", hosts.display());
    let Some(names) = Namespace::with_mounts(&mount) else {
        return;
    };
    for name in ["DB_HOST", "DEST_DB_HOST"] {
        let host = format!("{}.zemi.test", name.to_lowercase().replace('_', "-"));
        scene.settings.push((name.into(), host));
    }
    let start = || Zemi::start_in(names.command(env!("CARGO_BIN_EXE_zemi")), &scene.settings);
    let zemi = start();
    // Into the file that is there: another one would not be the one that is mounted.
    let known = |names: &str| fs::write(&hosts, format!("127.0.0.1 localhost {names}\n")).unwrap();
    zemi.wait_for_log("db-host.zemi.test", PATIENCE);
    wait_until("it says what is wrong", PATIENCE, || {
        let log = zemi.log();
        log.contains("cannot be resolved") || log.contains("was not resolved within")
    });
    known("db-host.zemi.test");
    zemi.wait_for_log("dest-db-host.zemi.test", PATIENCE);
    known("db-host.zemi.test dest-db-host.zemi.test");
    zemi.wait_for_log("streaming from", PATIENCE);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    // Gone in the middle, when a connection has to be made anew.
    known("");
    scene.there.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'zemi'",
    );
    scene.insert(11, 20);
    wait_until("the name is asked for in vain", PATIENCE, || {
        zemi.log().matches("dest-db-host.zemi.test").count() > 2
    });
    known("db-host.zemi.test dest-db-host.zemi.test");
    scene.judge(20);
}

#[test]
fn a_login_that_is_cut_anywhere_is_tried_again() {
    let mut scene = Scene::new();
    let nets = [&scene.source, &scene.destination].map(|server| Proxy::start(server.port()));
    for (name, net) in ["DB_PORT", "DEST_DB_PORT"].into_iter().zip(&nets) {
        let port = net.port().to_string();
        scene.settings.push((name.into(), port));
    }
    for net in &nets {
        // From the first byte of the startup packet to the first answers behind the login.
        for cut in [0, 1, 7, 60, 250, 320, 400, 450, 480, 520, 600, 900] {
            net.set(Weather::CutAfter(cut));
            let mut zemi = Zemi::start(&scene.settings);
            zemi.wait_for_log("trying again", PATIENCE);
            zemi.kill();
        }
        net.set(Weather::Fair);
    }
    let _zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    scene.judge(10);
}

#[test]
fn a_disk_that_is_full_is_waited_for() {
    let mut destination = Server::start(15, &[]);
    let place = destination.dir().join("small");
    fs::create_dir(&place).unwrap();
    let (place, data) = (place.display().to_string(), destination.dir().join("data"));
    let Some(disk) = Namespace::with_mounts(&format!(
        "mount -t tmpfs -o size=6m,mode=755 zemi '{place}' && mkdir '{place}/space' && \
         chown --reference='{}' '{place}/space'",
        data.display()
    )) else {
        return;
    };
    destination.move_into(&disk);
    Sql::open(&destination, "postgres")
        .run(&format!("CREATE TABLESPACE small LOCATION '{place}/space'"));
    Sql::open(&destination, "postgres")
        .run("ALTER DATABASE postgres SET default_tablespace = 'small'");
    let mut scene = Scene::on(Server::start(15, &[]), destination);
    let zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    let room = scene.there.value("SELECT pg_relation_size('changes') > 0");
    assert_eq!(room, "t");
    for n in 0..20 {
        scene.insert(1000 * n + 11, 1000 * n + 1010);
    }
    zemi.wait_for_log("No space left on device (SQLSTATE 53100)", PATIENCE);
    assert!(zemi.log().contains("Hint: "), "{}", zemi.log());
    // The same for one that is larger than a batch.
    scene.insert(20_011, 40_010);
    disk.run(&format!("mount -o remount,size=1g '{place}'"));
    scene.judge(40_010);
}

#[test]
fn a_connection_limit_that_is_reached_is_waited_for() {
    let mut scene = Scene::new();
    scene
        .there
        .run("CREATE ROLE writer LOGIN PASSWORD 'writer'; GRANT CREATE ON SCHEMA public TO writer");
    scene
        .settings
        .extend([("DEST_DB_USER", "writer"), ("DEST_DB_PASSWORD", "writer")].map(owned));
    let zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    scene.there.run("ALTER ROLE writer CONNECTION LIMIT 0");
    scene
        .there
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'");
    scene.insert(11, 20);
    zemi.wait_for_log("(SQLSTATE 53300)", PATIENCE);
    scene.there.run("ALTER ROLE writer CONNECTION LIMIT -1");
    scene.judge(20);
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_password_that_is_changed_under_it_ends_it_with_what_to_do() {
    let mut scene = Scene::new();
    let mut zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    scene.there.run(
        "ALTER ROLE postgres PASSWORD 'another'; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'zemi'",
    );
    scene.insert(11, 20);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(REFUSED), "{}", zemi.log());
    let log = zemi.log();
    let last = log.lines().last().unwrap_or_default();
    for part in [
        " ERROR ",
        "destination: ",
        "password authentication failed",
        "DEST_DB_PASSWORD",
    ] {
        assert!(last.contains(part), "{part}: {last}");
    }
    assert!(!log.contains(PASSWORD), "{log}");
    let new = ("DEST_DB_PASSWORD", "another");
    scene.settings.push(owned(new));
    let _zemi = streaming(&scene.settings);
    scene.judge(20);
}

#[test]
fn a_slot_whose_wal_was_removed_is_made_anew_and_leaves_a_gap() {
    let limits = [("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB")];
    let source = Server::start(15, &limits);
    let mut scene = Scene::on(source, Server::start(15, &[]));
    let zemi = streaming(&scene.settings);
    scene.insert(1, 1);
    caught_up(&mut scene.sql);
    // The destination is away while the source writes more than it may keep.
    scene.destination.stop("fast");
    scene.insert(2, 2);
    zemi.wait_for_log("trying again", PATIENCE);
    wait_until("the slot is lost", PATIENCE, || {
        scene.sql.run(
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 8000000)); \
             SELECT pg_switch_wal(); CHECKPOINT",
        );
        let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'zemi'";
        scene.sql.value(status) == "lost"
    });
    scene.destination.up();
    zemi.wait_for_log("the source removed WAL that the slot needed", PATIENCE);
    wait_until("there is a slot again", PATIENCE, || {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active";
        scene.sql.value(active) == "1"
    });
    scene.insert(3, 3);
    caught_up(&mut scene.sql);
    let mut there = Sql::open(&scene.destination, "postgres");
    let seen = changes(
        &mut there,
        "coalesce(context->'zemi_gap'->>'reason', primary_key)",
    );
    let seen: Vec<&str> = seen.lines().filter(|line| *line != "2").collect();
    assert_eq!(seen, ["1", "slot_lost", "3"]);
}

#[test]
fn another_destination_goes_on_where_the_one_before_ended() {
    let mut scene = Scene::new();
    let mut zemi = streaming(&scene.settings);
    scene.insert(1, 10);
    caught_up(&mut scene.sql);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(PATIENCE), Some(0));
    scene.insert(11, 20);
    let second = Server::start(15, &[]);
    let mut zemi = streaming(&settings(&scene.source, Some(&second)));
    scene.insert(21, 30);
    caught_up(&mut scene.sql);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(PATIENCE), Some(0));
    scene.insert(31, 40);
    let _zemi = streaming(&scene.settings);
    caught_up(&mut scene.sql);
    let span = "SELECT operation, min(primary_key::int), max(primary_key::int), count(*) \
                FROM changes GROUP BY 1, primary_key::int > 20 ORDER BY 2";
    assert_eq!(scene.there.text(span), "CREATE|1|10|10\nCREATE|31|40|10");
    let mut there = Sql::open(&second, "postgres");
    assert_eq!(there.text(span), "CREATE|11|20|10\nCREATE|21|30|10");
}

#[test]
fn prepared_transactions_arrive_when_they_are_committed() {
    let source = Server::start(15, &[("max_prepared_transactions", "5")]);
    let mut scene = Scene::on(source, Server::start(15, &[]));
    let mut zemi = streaming(&scene.settings);
    scene.sql.run(
        "BEGIN; INSERT INTO t VALUES (1, 'kept'); PREPARE TRANSACTION 'kept'; \
         BEGIN; INSERT INTO t VALUES (2, 'undone'); PREPARE TRANSACTION 'undone'",
    );
    scene.insert(3, 3);
    caught_up(&mut scene.sql);
    assert_eq!(changes(&mut scene.there, "primary_key"), "3");
    // They outlive servers and zemi.
    zemi.kill();
    scene.source.restart("immediate");
    let _zemi = streaming(&scene.settings);
    scene.sql = Sql::open(&scene.source, "postgres");
    scene.sql.run("ROLLBACK PREPARED 'undone'");
    scene.sql.run("COMMIT PREPARED 'kept'");
    caught_up(&mut scene.sql);
    let seen = "SELECT primary_key FROM changes ORDER BY created_at";
    assert_eq!(scene.there.text(seen), "3\n1");
}
