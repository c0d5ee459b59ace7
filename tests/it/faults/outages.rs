//! Servers that stop, crash and come back, and sessions that are terminated.

use std::time::{Duration, Instant};

use crate::support::load::{Load, TABLES, assert_all_is_there};
use crate::support::proxy::NetworkFault;
use crate::support::replay::assert_replays;
use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// Two servers, the tables of the load, and zemi.
fn loaded() -> (Scene, Zemi) {
    Scene::two(15).before(TABLES).streaming()
}

/// Waits until zemi has written this many changes more.
fn progress(scene: &Scene, more: u64) {
    let mut sql = Sql::open(scene.destination(), "postgres");
    let mut count = || -> u64 { sql.value("SELECT count(*) FROM changes").parse().unwrap() };
    let before = count();
    wait_until("zemi writes", PATIENCE, || count() >= before + more);
}

/// Compares everything with everything; how many changes there are. The servers were started again.
fn judge(scene: &Scene) -> usize {
    let mut source = Sql::open(&scene.source, "postgres");
    let mut destination = Sql::open(scene.destination(), "postgres");
    assert_all_is_there(&mut source, &mut destination)
}

#[test]
fn a_destination_that_stops_and_crashes_under_load_loses_nothing() {
    let (scene, zemi) = loaded();
    let load = Load::start(&scene.source, 1, 2);
    for mode in ["fast", "immediate", "fast", "immediate"] {
        progress(&scene, 100);
        scene.destination().stop(mode);
        zemi.wait_for_log("destination: ", PATIENCE);
        scene.destination().up();
    }
    progress(&scene, 100);
    load.stop();
    judge(&scene);
    // Where no transaction has to be read again, the source's connection is not given up for that.
    let streams = || zemi.log().matches("streaming from").count();
    let before = streams();
    scene.destination().stop("fast");
    let mut sql = Sql::open(&scene.source, "postgres");
    sql.run("INSERT INTO accounts VALUES (0)");
    scene.destination().up();
    caught_up(&mut sql);
    assert_eq!(streams(), before);
}

#[test]
fn a_source_that_stops_and_crashes_under_load_loses_nothing() {
    let (scene, zemi) = loaded();
    let load = Load::start(&scene.source, 2, 2);
    for (n, mode) in ["fast", "immediate", "fast"].into_iter().enumerate() {
        progress(&scene, 100);
        scene.source.restart(mode);
        wait_until("zemi streams again", PATIENCE, || {
            zemi.log().matches("streaming from").count() > n + 1
        });
    }
    progress(&scene, 100);
    load.stop();
    judge(&scene);
    assert_eq!(
        zemi.log().matches("connected to the destination").count(),
        1
    );
}

#[test]
fn sessions_that_are_terminated_under_load_lose_nothing() {
    let (scene, _zemi) = loaded();
    let load = Load::start(&scene.source, 3, 2);
    let mut source = Sql::open(&scene.source, "postgres");
    let mut destination = Sql::open(scene.destination(), "postgres");
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
            progress(&scene, 50);
        }
    }
    progress(&scene, 100);
    load.stop();
    judge(&scene);
}

#[test]
fn a_destination_that_refuses_for_a_moment_is_tried_again() {
    let destination = Server::start(15, &[]);
    let mut admin = Sql::open(&destination, "postgres");
    admin.run("CREATE ROLE writer LOGIN SUPERUSER PASSWORD 'secret'");
    let (mut scene, zemi) = Scene::on(Server::start(15, &[]), Some(destination))
        .destination_database("audit", "")
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .with(&[
            ("DB_NAME", "postgres"),
            ("DEST_DB_USER", "writer"),
            ("DEST_DB_PASSWORD", "secret"),
        ])
        .streaming();
    scene.insert(1, 1);
    scene.caught_up();
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'audit'";
    // Within one batch, and in the middle of a transaction that is larger.
    for (close, open, sqlstate) in [
        (
            "ALTER DATABASE audit ALLOW_CONNECTIONS false",
            "ALTER DATABASE audit ALLOW_CONNECTIONS true",
            "55000",
        ),
        (
            "ALTER ROLE writer NOLOGIN",
            "ALTER ROLE writer LOGIN",
            "28000",
        ),
        (
            "ALTER DATABASE audit RENAME TO elsewhere",
            "ALTER DATABASE elsewhere RENAME TO audit",
            "3D000",
        ),
    ] {
        for rows in [1, 20_000] {
            admin.run("ALTER DATABASE audit ALLOW_CONNECTIONS false");
            admin.run(terminate);
            wait_until("its sessions are gone", PATIENCE, || {
                admin.run(terminate);
                admin.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'audit'") == "0"
            });
            admin.run(close);
            if !close.contains("ALLOW") {
                let name = if close.contains("RENAME") {
                    "elsewhere"
                } else {
                    "audit"
                };
                admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
            }
            let refusals = || {
                zemi.log()
                    .matches(&format!("(SQLSTATE {sqlstate})"))
                    .count()
            };
            let before = refusals();
            let last: u32 = scene.sql.value("SELECT max(id) FROM t").parse().unwrap();
            scene.sql.run(&format!(
                "INSERT INTO t SELECT {last} + g, repeat('x', 1000) FROM generate_series(1, {rows}) g"
            ));
            wait_until("zemi is refused twice", PATIENCE, || {
                refusals() > before + 1
            });
            admin.run(open);
            scene.caught_up();
        }
    }
    scene.there = Sql::open(scene.destination(), "audit");
    scene.judge(60_004);
    assert!(!zemi.log().contains(" ERROR "), "{}", zemi.log());
}

#[test]
fn a_destination_database_that_is_made_anew_is_written_to() {
    let (mut scene, zemi) = Scene::two(15)
        .destination_database("audit", "")
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .with(&[("DB_NAME", "postgres")])
        .streaming();
    let mut admin = Sql::open(scene.destination(), "postgres");
    scene.insert(1, 1);
    scene.caught_up();
    admin.run("DROP DATABASE audit WITH (FORCE)");
    scene.insert(2, 2);
    zemi.wait_for_log("(SQLSTATE 3D000)", PATIENCE);
    admin.run("CREATE DATABASE audit");
    scene.caught_up();
    let mut there = Sql::open(scene.destination(), "audit");
    assert_eq!(there.text("SELECT primary_key FROM changes"), "2");
}

#[test]
fn a_source_that_is_gone_in_the_middle_of_a_large_transaction_holds_nothing_at_the_destination() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let (mut scene, zemi) = Scene::two(15).before(table).networked().streaming();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'zemi' \
                AND backend_xid IS NOT NULL";
    for (round, cut) in ["stopped", "unreachable"].into_iter().enumerate() {
        let first = round * 40_000;
        scene.sql.run(&format!(
            "INSERT INTO t SELECT {first} + g, repeat('x', 1000) FROM generate_series(1, 40000) g"
        ));
        wait_until("a part is at the destination", PATIENCE, || {
            scene.there.value(open) == "1"
        });
        match cut {
            "stopped" => scene.source.stop("immediate"),
            _ => {
                scene.nets[0].set(NetworkFault::Refusing);
                scene.nets[0].cut();
            }
        }
        let began = Instant::now();
        wait_until("its transaction ends", PATIENCE, || {
            scene.there.value(open) == "0"
        });
        let took = began.elapsed();
        assert!(took < Duration::from_secs(60), "{cut}: {took:?}");
        zemi.wait_for_log("undid its first part", PATIENCE);
        assert_eq!(
            zemi.log().matches("undid its first part").count(),
            round + 1
        );
        match cut {
            "stopped" => {
                scene.source.up();
                scene.sql = Sql::open(&scene.source, "postgres");
            }
            _ => scene.nets[0].set(NetworkFault::None),
        }
        scene.judge((round + 1) * 40_000);
    }
}

#[test]
fn the_source_can_shut_down_while_the_destination_is_away() {
    let (scene, zemi) = loaded();
    let mut sql = Sql::open(&scene.source, "postgres");
    sql.run("INSERT INTO accounts VALUES (1)");
    caught_up(&mut sql);
    scene.destination().stop("fast");
    sql.run("INSERT INTO accounts SELECT generate_series(2, 30000)");
    drop(sql);
    zemi.wait_for_log("destination: ", PATIENCE);
    let began = Instant::now();
    scene.source.stop("fast");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(40), "the shutdown took {took:?}");
    scene.destination().up();
    scene.source.up();
    assert_eq!(judge(&scene), 30_000);
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

#[test]
fn a_destination_that_answers_and_takes_nothing_does_not_hold_the_source_for_ever() {
    let (source, destination) = (Server::start(15, &[]), Server::start(15, &[]));
    let mut sql = Sql::open(&source, "postgres");
    let mut there = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let zemi = streaming(&settings(&source, Some(&destination)));
    there.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END$$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON changes EXECUTE FUNCTION full_disk()",
    );
    sql.run("INSERT INTO t SELECT generate_series(1, 10)");
    zemi.wait_for_log("closed the replication connection", 2 * PATIENCE);
    wait_until("the source lets its walsender go", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
    });
    sql.run("INSERT INTO t VALUES (11)");
    there.run("DROP TRIGGER full_disk ON changes");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 11);
}
