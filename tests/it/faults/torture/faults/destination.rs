//! Faults of the destination.

use std::thread;
use std::time::Duration;

use super::{Fault, LONGER_THAN_ALL, TERMINATE, away, crowd, hold};
use crate::faults::torture::world::{ROLE, World, leave_smartly};
use crate::support::load::Random;
use crate::support::scene::PATIENCE;
use crate::support::{Sql, wait_until};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "destination: fast shutdown",
        strike: |world, random| away(&world.destination, random, 1_000),
    },
    Fault {
        name: "destination: smart shutdown",
        strike: |world, _| {
            leave_smartly(&world.destination);
            world.destination.up();
        },
    },
    Fault {
        name: "destination: crash",
        strike: |world, _| world.destination.restart("immediate"),
    },
    Fault {
        name: "destination: backend terminated",
        strike: |world, _| world.at_destination().run(TERMINATE),
    },
    Fault {
        name: "destination: changes locked",
        strike: |world, random| lock(world, Duration::from_millis(random.below(2_000))),
    },
    Fault {
        name: "destination: read-only by default",
        strike: |world, random| {
            let set = "ALTER SYSTEM SET default_transaction_read_only = on";
            reloaded(&mut world.at_destination(), set);
            hold(random, 500);
            let mut sql = world.at_destination();
            sql.run("SET default_transaction_read_only = off");
            reloaded(&mut sql, "ALTER SYSTEM RESET default_transaction_read_only");
        },
    },
    Fault {
        name: "destination: a trigger refuses rows",
        strike: |world, random| {
            let trigger = "TRIGGER refuse BEFORE INSERT ON changes FOR EACH ROW \
                           EXECUTE FUNCTION refuse()";
            refuse(world, random, trigger);
        },
    },
    Fault {
        name: "destination: a deferred trigger refuses at COMMIT",
        strike: |world, random| {
            let trigger = "CONSTRAINT TRIGGER refuse AFTER INSERT ON changes \
                           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()";
            refuse(world, random, trigger);
        },
    },
    Fault {
        name: "destination: timeouts set against us",
        strike: |world, random| {
            let mut sql = world.at_destination();
            for name in [
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
            ] {
                sql.run(&format!("ALTER ROLE {ROLE} SET {name} = '1ms'"));
            }
            sql.run(TERMINATE);
            hold(random, 500);
            sql.run(&format!("ALTER ROLE {ROLE} RESET ALL"));
        },
    },
    Fault {
        name: "destination: connection limit reached",
        strike: |world, random| {
            let destination = &world.destination;
            crowd(|| Sql::try_open(destination, "postgres").ok(), random);
        },
    },
    Fault {
        name: "destination: an index dropped and made again",
        strike: |world, random| {
            let mut sql = world.at_destination();
            sql.run("DROP INDEX changes_operation_index");
            hold(random, 300);
            sql.run("CREATE INDEX changes_operation_index ON changes (operation)");
        },
    },
    Fault {
        name: "destination: password changed",
        strike: |world, _| {
            // It has to be able to find out.
            world.mend_network();
            let mut sql = world.at_destination();
            let set = |password: &str| format!("ALTER ROLE {ROLE} PASSWORD '{password}'");
            sql.run(&set("another"));
            let zemi = world.zemi();
            wait_until("zemi says why it stops", PATIENCE, || {
                // Again and again: a session that is just being opened is not seen.
                sql.run(TERMINATE);
                zemi.wait_exit(Duration::ZERO).is_some()
            });
            assert!(zemi.log().contains("password"), "{}", zemi.log());
            sql.run(&set(crate::support::cluster::PASSWORD));
            world.start_zemi();
        },
    },
];

pub const DISK_FULL: Fault = Fault {
    name: "destination: disk full, then freed",
    strike: |world, random| {
        world.fill_disk();
        thread::sleep(Duration::from_millis(300));
        hold(random, 1_000);
        world.free_disk();
    },
};

pub const LOCK_LONG: Fault = Fault {
    name: "destination: changes locked for longer than wal_sender_timeout",
    strike: |world, _| lock(world, LONGER_THAN_ALL),
};

fn lock(world: &mut World, time: Duration) {
    let mut sql = world.at_destination();
    sql.run("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE");
    thread::sleep(time);
    sql.run("COMMIT");
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
