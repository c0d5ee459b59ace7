//! Servers that stop, crash and come back, and sessions that are terminated.

use std::time::{Duration, Instant};

use crate::support::load::{Load, TABLES, assert_all_is_there};
use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// Two servers, the load on one of them, zemi in between.
struct Scene {
    source: Server,
    destination: Server,
    zemi: Zemi,
}

impl Scene {
    fn new() -> Scene {
        let source = Server::start(15, &[]);
        let destination = Server::start(15, &[]);
        Sql::open(&source, "postgres").run(TABLES);
        let zemi = streaming(&settings(&source, Some(&destination)));
        Scene {
            source,
            destination,
            zemi,
        }
    }

    /// Waits until zemi has written this many changes more.
    fn progress(&self, more: u64) {
        let mut sql = Sql::open(&self.destination, "postgres");
        let mut count = || -> u64 { sql.value("SELECT count(*) FROM changes").parse().unwrap() };
        let before = count();
        wait_until("zemi writes", PATIENCE, || count() >= before + more);
    }

    fn judge(&self) -> usize {
        let mut source = Sql::open(&self.source, "postgres");
        let mut destination = Sql::open(&self.destination, "postgres");
        assert_all_is_there(&mut source, &mut destination)
    }
}

#[test]
fn a_destination_that_stops_and_crashes_under_load_loses_nothing() {
    let scene = Scene::new();
    let load = Load::start(&scene.source, 1, 2);
    for mode in ["fast", "immediate", "fast", "immediate"] {
        scene.progress(100);
        scene.destination.stop(mode);
        scene.zemi.wait_for_log("destination: ", PATIENCE);
        scene.destination.up();
    }
    scene.progress(100);
    load.stop();
    scene.judge();
    // Where no transaction has to be read again, the source's connection is not given up for that.
    let streams = || scene.zemi.log().matches("streaming from").count();
    let before = streams();
    scene.destination.stop("fast");
    let mut sql = Sql::open(&scene.source, "postgres");
    sql.run("INSERT INTO accounts VALUES (0)");
    scene.destination.up();
    caught_up(&mut sql);
    assert_eq!(streams(), before);
}

#[test]
fn a_source_that_stops_and_crashes_under_load_loses_nothing() {
    let scene = Scene::new();
    let load = Load::start(&scene.source, 2, 2);
    for (n, mode) in ["fast", "immediate", "fast"].into_iter().enumerate() {
        scene.progress(100);
        scene.source.restart(mode);
        wait_until("zemi streams again", PATIENCE, || {
            scene.zemi.log().matches("streaming from").count() > n + 1
        });
    }
    scene.progress(100);
    load.stop();
    scene.judge();
    assert_eq!(
        scene
            .zemi
            .log()
            .matches("connected to the destination")
            .count(),
        1
    );
}

#[test]
fn sessions_that_are_terminated_under_load_lose_nothing() {
    let scene = Scene::new();
    let load = Load::start(&scene.source, 3, 2);
    let mut source = Sql::open(&scene.source, "postgres");
    let mut destination = Sql::open(&scene.destination, "postgres");
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE application_name = 'zemi'";
    for round in 0..20 {
        let side = if round % 2 == 0 {
            &mut destination
        } else {
            &mut source
        };
        wait_until("zemi has a session there", PATIENCE, || {
            side.value(terminate) != "0"
        });
        if round % 5 == 4 {
            scene.progress(50);
        }
    }
    scene.progress(100);
    load.stop();
    scene.judge();
}

#[test]
fn the_source_can_shut_down_while_the_destination_is_away() {
    let scene = Scene::new();
    let mut sql = Sql::open(&scene.source, "postgres");
    sql.run("INSERT INTO accounts VALUES (1)");
    caught_up(&mut sql);
    scene.destination.stop("fast");
    sql.run("INSERT INTO accounts SELECT generate_series(2, 30000)");
    drop(sql);
    scene.zemi.wait_for_log("destination: ", PATIENCE);
    let began = Instant::now();
    scene.source.stop("fast");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(40), "the shutdown took {took:?}");
    scene.destination.up();
    scene.source.up();
    assert_eq!(scene.judge(), 30_000);
}

#[test]
fn a_server_that_is_both_sides_shuts_down_at_once() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(TABLES);
    let zemi = streaming(&settings(&server, None));
    for n in 0..3 {
        let load = Load::start(&server, 4 + n, 2);
        let mut sql = Sql::open(&server, "postgres");
        let mut count = || -> u64 { sql.value("SELECT count(*) FROM changes").parse().unwrap() };
        let before = count();
        wait_until("zemi writes", PATIENCE, || count() > before + 100);
        drop(sql);
        let began = Instant::now();
        server.stop("fast");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "the shutdown took {took:?}");
        load.stop();
        server.up();
    }
    let mut source = Sql::open(&server, "postgres");
    let mut destination = Sql::open(&server, "postgres");
    assert_all_is_there(&mut source, &mut destination);
    drop(zemi);
}
