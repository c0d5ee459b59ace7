//! A network that cuts, stalls, drips and swallows, on both sides of zemi.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::load::{TABLES, assert_all_is_there};
use crate::support::network_faults::disturb;
use crate::support::proxy::NetworkFault;
use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{PATIENCE, caught_up, settings, wait_for_locked};
use crate::support::{Namespace, Scene, Server, Sql, Zemi, wait_until};

/// The table of the tests.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";

/// Two servers, each behind a network, the tables of the load, and zemi.
fn networked() -> (Scene, Zemi) {
    Scene::two(15).networked().before(TABLES).streaming()
}

#[test]
fn bad_weather_on_either_side_loses_nothing() {
    let (mut scene, _zemi) = networked();
    disturb(&scene, 6, 60);
    assert!(assert_all_is_there(&mut scene.sql, &mut scene.there) > 100);
}

/// The fragment of a large transaction that had been written was undone by closing the destination's session.
#[test]
fn a_source_that_is_cut_off_in_a_large_transaction_costs_no_connection_to_the_destination() {
    let (mut scene, zemi) = networked();
    scene
        .sql
        .run("CREATE TABLE large (id int PRIMARY KEY, v text)");
    // Far enough for fragments to be written, and not to the end.
    scene.nets[0].set(NetworkFault::CutAfter(15_000_000));
    scene
        .sql
        .run("INSERT INTO large SELECT g, repeat('x', 300) FROM generate_series(1, 60000) g");
    wait_until("the stream was cut", PATIENCE, || {
        zemi.log().contains("replication stream: ")
    });
    scene.nets[0].set(NetworkFault::None);
    wait_until("all rows are there", PATIENCE, || {
        scene
            .there
            .value("SELECT count(*) FROM changes WHERE \"table\" = 'large'")
            == "60000"
    });
    let connected = "connected to the destination";
    assert_eq!(zemi.log().matches(connected).count(), 1);
}

/// Nothing bounded it where a host in between acknowledged what was sent: the destination's transaction
/// stayed open, with its locks, for as long as that lasted.
#[test]
fn a_source_that_falls_silent_in_a_large_transaction_leaves_no_transaction_open_for_a_minute() {
    let (mut scene, zemi) = networked();
    scene
        .sql
        .run("CREATE TABLE large (id int PRIMARY KEY, v text)");
    // Slow enough to be caught in the middle.
    scene.nets[0].set(NetworkFault::Slow(30));
    scene
        .sql
        .run("INSERT INTO large SELECT g, repeat('x', 300) FROM generate_series(1, 60000) g");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'zemi' \
                AND state = 'idle in transaction'";
    wait_until("a fragment is written", PATIENCE, || {
        scene.there.value(open) != "0"
    });
    scene.nets[0].set(NetworkFault::Vanishing);
    let began = Instant::now();
    zemi.wait_for_log("found silence for 40 s", PATIENCE);
    println!("noticed after {:.1} s", began.elapsed().as_secs_f64());
    wait_until("it is undone", PATIENCE, || scene.there.value(open) == "0");
    let undone = began.elapsed();
    println!("undone after {:.1} s", undone.as_secs_f64());
    assert!(undone < Duration::from_secs(60), "{undone:?}");
    scene.nets[0].set(NetworkFault::None);
    let count = "SELECT count(*) FROM changes WHERE \"table\" = 'large'";
    wait_until("all rows are there", PATIENCE, || {
        scene.there.value(count) == "60000"
    });
    assert_unique(&mut scene.there);
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
    wait_for_locked(&mut there, 1);
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
    let mut scene = Scene::two(15).before(TABLE).ready();
    let hosts = scene.source.dir().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mount = format!("mount --bind '{}' /etc/hosts", hosts.display());
    let Some(names) = Namespace::with_mounts(&mount) else {
        return;
    };
    for name in ["DB_HOST", "DEST_DB_HOST"] {
        let host = format!("{}.zemi.test", name.to_lowercase().replace('_', "-"));
        scene.set(&[(name, &host)]);
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
    scene.caught_up();
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
    let mut scene = Scene::two(15).networked().before(TABLE).ready();
    for net in &scene.nets {
        // From the first byte of the startup packet to the first answers behind the login.
        for cut in [0, 1, 7, 60, 250, 320, 400, 450, 480, 520, 600, 900] {
            net.set(NetworkFault::CutAfter(cut));
            let mut zemi = Zemi::start(&scene.settings);
            zemi.wait_for_log("trying again", PATIENCE);
            zemi.kill();
        }
        net.set(NetworkFault::None);
    }
    let _zemi = scene.start();
    scene.insert(1, 10);
    scene.judge(10);
}

/// The stream went on, and the decoder waited without end for an answer about a new type.
#[test]
fn a_side_session_that_gives_no_answer_is_left_within_a_minute() {
    let (mut scene, zemi) = Scene::two(15).streaming();
    scene.sql.run(
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE moods (id int PRIMARY KEY, m mood[]); \
         CREATE TYPE other AS ENUM ('x'); CREATE TABLE others (id int PRIMARY KEY, o other); \
         INSERT INTO others VALUES (1, 'x')",
    );
    scene.caught_up();
    let sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'zemi' \
                    AND backend_type = 'client backend'";
    let pids = scene.sql.text(sessions);
    let signal = |name: &str| {
        for pid in pids.lines() {
            let sent = std::process::Command::new("kill")
                .args([name, pid])
                .status();
            assert!(sent.unwrap().success());
        }
    };
    signal("-STOP");
    scene.sql.run("INSERT INTO moods VALUES (1, '{good}')");
    let began = Instant::now();
    wait_until("the row is there", PATIENCE * 2, || {
        scene
            .there
            .value("SELECT count(*) FROM changes WHERE \"table\" = 'moods'")
            == "1"
    });
    println!("{:?}", began.elapsed());
    signal("-CONT");
    assert!(zemi.log().contains("no answer in time"), "{}", zemi.log());
    let after = scene
        .there
        .value("SELECT after FROM changes WHERE \"table\" = 'moods'");
    assert_eq!(after, "{\"m\": [\"good\"], \"id\": 1}");
}
