//! What a DBA may set for a role, in a database or for a server, against a program that trusts in defaults.

use super::{Fault, TERMINATE, hold};
use crate::faults::torture::world::{ROLE, World};
use crate::support::Sql;
use crate::support::load::Random;

/// For the role of zemi: the worst values.
const OF_ROLE: &[(&str, &str)] = &[
    ("statement_timeout", "1"),
    ("lock_timeout", "1"),
    ("idle_in_transaction_session_timeout", "1"),
    ("idle_session_timeout", "1"),
    ("wal_sender_timeout", "1000"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("synchronous_commit", "off"),
    ("search_path", "nowhere"),
    ("client_encoding", "LATIN1"),
    ("application_name", "somebody"),
    ("row_security", "off"),
    ("role", "nobody"),
];

/// For all sessions: what changes how texts and values look.
const OF_ALL: &[(&str, &str)] = &[
    ("client_min_messages", "error"),
    ("standard_conforming_strings", "off"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("DateStyle", "German"),
    ("IntervalStyle", "sql_standard"),
    ("extra_float_digits", "-15"),
    ("TimeZone", "Asia/Kolkata"),
    ("bytea_output", "escape"),
];

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "settings: of the role, against us",
        strike: |world, random| strike(world, random, &format!("ALTER ROLE {ROLE}"), OF_ROLE),
    },
    Fault {
        name: "settings: of the role in the database, against us",
        strike: |world, random| {
            let head = format!("ALTER ROLE {ROLE} IN DATABASE postgres");
            strike(world, random, &head, OF_ROLE);
        },
    },
    Fault {
        name: "settings: of the database",
        strike: |world, random| strike(world, random, "ALTER DATABASE postgres", OF_ALL),
    },
    Fault {
        name: "settings: of the server",
        strike: |world, random| strike(world, random, "ALTER SYSTEM", OF_ALL),
    },
];

/// Half of them on one side, for sessions that are new, and for a while.
fn strike(world: &mut World, random: &mut Random, head: &str, of: &[(&str, &str)]) {
    let mut sql = match random.below(2) {
        0 => world.at_source(),
        _ => world.at_destination(),
    };
    let chosen: Vec<_> = of.iter().filter(|_| random.below(2) == 0).collect();
    for (name, value) in &chosen {
        sql.run(&format!("{head} SET {name} = '{value}'"));
    }
    apply(&mut sql);
    hold(random, 1_500);
    if random.below(4) == 0 {
        world.mend_network();
        world.wait_for_progress();
    }
    for (name, _) in &chosen {
        sql.run(&format!("{head} RESET {name}"));
    }
    apply(&mut sql);
}

fn apply(sql: &mut Sql) {
    sql.run("SELECT pg_reload_conf()");
    sql.run(TERMINATE);
}
