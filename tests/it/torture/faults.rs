//! The faults. Each strikes, holds for a while, and mends what a person would have to mend.

use std::thread;
use std::time::Duration;

use crate::support::load::Random;
use crate::support::proxy::Weather;
use crate::support::scene::PATIENCE;
use crate::support::{Sql, wait_until};

use super::world::World;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Terminate,
    Freeze,
    NetworkCut,
    NetworkRefusing,
    NetworkStalled,
    NetworkDripping,
    NetworkSlow,
    NetworkCutInside,
    RepliesLost,
    DestinationFast,
    DestinationImmediate,
    DestinationBackendTerminated,
    ChangesLocked,
    DestinationReadOnly,
    DestinationRefusesRows,
    DestinationRefusesAtCommit,
    DestinationTimeouts,
    DestinationIndexDropped,
    DestinationPassword,
    SourceFast,
    SourceImmediate,
    WalsenderTerminated,
    SecondInstance,
}

fn hold(random: &mut Random, most: u64) {
    thread::sleep(Duration::from_millis(random.below(most)));
}

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = 'zemi'";

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 24] = [
        Fault::Kill,
        Fault::Terminate,
        Fault::Freeze,
        Fault::NetworkCut,
        Fault::NetworkRefusing,
        Fault::NetworkStalled,
        Fault::NetworkDripping,
        Fault::NetworkSlow,
        Fault::NetworkCutInside,
        Fault::RepliesLost,
        Fault::DestinationFast,
        Fault::DestinationImmediate,
        Fault::DestinationBackendTerminated,
        Fault::ChangesLocked,
        Fault::DestinationReadOnly,
        Fault::DestinationRefusesRows,
        Fault::DestinationRefusesAtCommit,
        Fault::DestinationTimeouts,
        Fault::DestinationIndexDropped,
        Fault::DestinationPassword,
        Fault::SourceFast,
        Fault::SourceImmediate,
        Fault::WalsenderTerminated,
        Fault::SecondInstance,
    ];

    /// For the report.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "zemi: kill -9",
            Fault::Terminate => "zemi: SIGTERM under load, started again",
            Fault::Freeze => "zemi: SIGSTOP, then SIGCONT",
            Fault::NetworkCut => "network: all connections of a side cut",
            Fault::NetworkRefusing => "network: connections cut and refused for a while",
            Fault::NetworkStalled => "network: bytes held back",
            Fault::NetworkDripping => "network: one byte at a time",
            Fault::NetworkSlow => "network: up to 200 ms of delay",
            Fault::NetworkCutInside => "network: cut inside a message",
            Fault::RepliesLost => "network: the answer to a COMMIT lost",
            Fault::DestinationFast => "destination: fast shutdown",
            Fault::DestinationImmediate => "destination: crash",
            Fault::DestinationBackendTerminated => "destination: backend terminated",
            Fault::ChangesLocked => "destination: changes locked",
            Fault::DestinationReadOnly => "destination: read-only by default",
            Fault::DestinationRefusesRows => "destination: a trigger refuses rows",
            Fault::DestinationRefusesAtCommit => {
                "destination: a deferred trigger refuses at COMMIT"
            }
            Fault::DestinationTimeouts => "destination: timeouts set against us",
            Fault::DestinationIndexDropped => "destination: an index dropped and made again",
            Fault::DestinationPassword => "destination: password changed",
            Fault::SourceFast => "source: fast shutdown",
            Fault::SourceImmediate => "source: crash",
            Fault::WalsenderTerminated => "source: walsender terminated",
            Fault::SecondInstance => "a second instance on the same slot",
        }
    }

    /// Does it, and mends it.
    pub fn strike(self, world: &mut World, random: &mut Random) {
        let side = random.below(2) as usize;
        match self {
            Fault::Kill => {
                hold(random, 300);
                world.zemi().kill();
                world.start_zemi();
            }
            Fault::Terminate => {
                let zemi = world.zemi();
                zemi.sigterm();
                let code = zemi.wait_exit(PATIENCE);
                // One that had just been told to give way to somebody else may say that instead.
                assert!(matches!(code, Some(0 | 75)), "{code:?}:\n{}", zemi.log());
                world.start_zemi();
            }
            Fault::Freeze => {
                let zemi = world.zemi();
                zemi.signal("STOP");
                hold(random, 2_000);
                zemi.signal("CONT");
            }
            Fault::NetworkCut => world.nets[side].cut(),
            Fault::NetworkRefusing => {
                world.nets[side].set(Weather::Refusing);
                world.nets[side].cut();
                hold(random, 1_500);
            }
            Fault::NetworkStalled => weather(world, side, Weather::Stalled, random, 2_000),
            Fault::NetworkDripping => weather(world, side, Weather::Dripping, random, 500),
            Fault::NetworkSlow => {
                let delay = Weather::Slow(random.below(200));
                weather(world, side, delay, random, 1_500);
            }
            Fault::NetworkCutInside => {
                let cut = Weather::CutAfter(random.below(50_000));
                weather(world, side, cut, random, 500);
            }
            Fault::RepliesLost => weather(world, 1, Weather::LosingReplies, random, 1_000),
            Fault::DestinationFast => {
                world.destination.stop("fast");
                hold(random, 1_000);
                world.destination.up();
            }
            Fault::DestinationImmediate => world.destination.restart("immediate"),
            Fault::DestinationBackendTerminated => world.at_destination().run(TERMINATE),
            Fault::ChangesLocked => {
                let mut sql = world.at_destination();
                sql.run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
                hold(random, 2_000);
                sql.run("COMMIT");
            }
            Fault::DestinationReadOnly => {
                let set = "ALTER SYSTEM SET default_transaction_read_only = on";
                reloaded(&mut world.at_destination(), set);
                hold(random, 500);
                let mut sql = world.at_destination();
                sql.run("SET default_transaction_read_only = off");
                reloaded(&mut sql, "ALTER SYSTEM RESET default_transaction_read_only");
            }
            Fault::DestinationRefusesRows => refuse(
                world,
                random,
                "TRIGGER refuse BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION refuse()",
            ),
            Fault::DestinationRefusesAtCommit => refuse(
                world,
                random,
                "CONSTRAINT TRIGGER refuse AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION refuse()",
            ),
            Fault::DestinationTimeouts => {
                let mut sql = world.at_destination();
                for name in [
                    "statement_timeout",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                ] {
                    sql.run(&format!("ALTER ROLE postgres SET {name} = '1ms'"));
                }
                sql.run(TERMINATE);
                hold(random, 500);
                sql.run("SET statement_timeout = 0; SET lock_timeout = 0; ALTER ROLE postgres RESET ALL");
            }
            Fault::DestinationIndexDropped => {
                let mut sql = world.at_destination();
                sql.run("DROP INDEX changes_operation_index");
                hold(random, 300);
                sql.run("CREATE INDEX changes_operation_index ON changes (operation)");
            }
            Fault::DestinationPassword => {
                let mut sql = world.at_destination();
                sql.run("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'keeper'");
                let set = |password: &str| format!("ALTER ROLE postgres PASSWORD '{password}'");
                sql.run(&set("another"));
                let zemi = world.zemi();
                wait_until("zemi says why it stops", PATIENCE, || {
                    // Again and again: a session that is just being opened is not seen.
                    sql.run(TERMINATE);
                    zemi.wait_exit(Duration::ZERO).is_some()
                });
                assert!(zemi.log().contains("password"), "{}", zemi.log());
                sql.run(&set(crate::support::cluster::PASSWORD));
                sql.run("DROP ROLE keeper");
                world.start_zemi();
            }
            Fault::SourceFast => {
                // It waits until what was sent is confirmed; with a slow network that takes a while.
                world.fair_weather();
                world.source.stop("fast");
                hold(random, 500);
                world.source.up();
            }
            Fault::SourceImmediate => world.source.restart("immediate"),
            Fault::WalsenderTerminated => world.at_source().run(TERMINATE),
            Fault::SecondInstance => {
                let mut other = world.another_zemi();
                let code = other.wait_exit(PATIENCE);
                // The first one may have been away for a moment: then the second has its place.
                if code.is_none() {
                    other.kill();
                } else {
                    assert_eq!(code, Some(75), "{}", other.log());
                }
            }
        }
    }
}

/// This weather on this side for a while.
fn weather(world: &mut World, side: usize, weather: Weather, random: &mut Random, most: u64) {
    world.nets[side].set(weather);
    hold(random, most);
    world.nets[side].set(Weather::Fair);
}

fn reloaded(sql: &mut Sql, set: &str) {
    sql.run(set);
    sql.run("SELECT pg_reload_conf()");
}

fn refuse(world: &mut World, random: &mut Random, make: &str) {
    let sqlstate = ["53100", "P0001", "40001", "23514"][random.below(4) as usize];
    let mut sql = world.at_destination();
    sql.run(&format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE 'not now' USING ERRCODE = '{sqlstate}'; END$$;
         CREATE {make}"
    ));
    hold(random, 1_000);
    sql.run("DROP TRIGGER refuse ON changes");
}
