//! Processes, servers and roles at their limits: one that stands still, and one without files, memory, disk,
//! connections or its password.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::cluster::PASSWORD;
use crate::support::process::exit::REFUSED;
use crate::support::scene::PATIENCE;
use crate::support::{Namespace, Scene, Server, Sql, Zemi, wait_until};

/// Longer than the `wal_sender_timeout` that zemi asks for, which is 60 s.
const LONGER_THAN_ALL: Duration = Duration::from_secs(66);

/// The table of the tests.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";

fn two_servers() -> Scene {
    Scene::two(15).before(TABLE).ready()
}

/// The process of the walsender that zemi reads from.
fn walsender(sql: &mut Sql) -> String {
    sql.value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'zemi'")
}

/// Sets a limit of a process that runs (`prlimit`, util-linux).
fn limit(zemi: &Zemi, what: &str) {
    let id = zemi.id().to_string();
    let done = Command::new("prlimit").args(["--pid", &id, what]).status();
    assert!(done.expect("prlimit runs").success(), "{what}");
}

#[test]
fn a_process_that_stood_still_for_longer_than_the_walsender_waits_goes_on() {
    let mut scene = two_servers();
    let zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
    let before = walsender(&mut scene.sql);
    zemi.signal("STOP");
    scene.insert(11, 20_000);
    wait_until("the walsender gives up", LONGER_THAN_ALL * 2, || {
        walsender(&mut scene.sql) != before
    });
    zemi.signal("CONT");
    scene.judge(20_000);
}

#[test]
fn a_lock_for_longer_than_the_walsender_waits_costs_no_connection() {
    let mut scene = two_servers();
    let zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
    let before = walsender(&mut scene.sql);
    scene
        .there
        .run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    scene.insert(11, 30_000);
    thread::sleep(LONGER_THAN_ALL);
    assert_eq!(walsender(&mut scene.sql), before);
    scene.there.run("COMMIT");
    scene.judge(30_000);
    assert!(!zemi.log().contains(" WARN "), "{}", zemi.log());
}

#[test]
fn a_process_without_file_descriptors_or_memory_says_so_and_loses_nothing() {
    let mut scene = two_servers();
    let mut zemi = Zemi::start_after("ulimit -n 5", &scene.settings);
    wait_until("zemi says what it lacks, or ends", PATIENCE, || {
        zemi.log().contains("Too many open files") || zemi.wait_exit(Duration::ZERO).is_some()
    });
    assert!(zemi.log().contains("Too many open files"), "{}", zemi.log());
    let mut zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
    // Without a file to spare it cannot connect again; with one it does by itself.
    limit(&zemi, "--nofile=3:1024");
    scene.destination().restart("fast");
    scene.insert(11, 20);
    zemi.wait_for_log("Too many open files", PATIENCE);
    limit(&zemi, "--nofile=1024:1024");
    scene.there = Sql::open(scene.destination(), "postgres");
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
    let _zemi = scene.start();
    scene.judge(30);
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
    let mut scene = Scene::on(Server::start(15, &[]), Some(destination))
        .before(TABLE)
        .ready();
    let zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
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
    let mut scene = two_servers();
    scene
        .there
        .run("CREATE ROLE writer LOGIN PASSWORD 'writer'; GRANT CREATE ON SCHEMA public TO writer");
    scene.set(&[("DEST_DB_USER", "writer"), ("DEST_DB_PASSWORD", "writer")]);
    let zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
    scene.there.run("ALTER ROLE writer CONNECTION LIMIT 0");
    scene
        .there
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'");
    scene.insert(11, 20);
    zemi.wait_for_log("(SQLSTATE 53300)", PATIENCE);
    scene.there.run("ALTER ROLE writer CONNECTION LIMIT -1");
    scene.judge(20);
}

#[test]
fn a_password_that_is_changed_under_it_ends_it_with_what_to_do() {
    let mut scene = two_servers();
    let mut zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
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
    let _zemi = scene.start_with(&[("DEST_DB_PASSWORD", "another")]);
    scene.judge(20);
}
