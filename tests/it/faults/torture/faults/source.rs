//! Faults of the source.

use super::{Fault, TERMINATE, away, crowd};
use crate::faults::torture::world::leave_smartly;
use crate::support::Sql;

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "source: fast shutdown",
        strike: |world, random| {
            // It waits until what was sent is confirmed; with a slow network that takes a while.
            world.mend_network();
            away(&world.source, random, 500);
        },
    },
    Fault {
        name: "source: smart shutdown",
        strike: |world, _| {
            world.mend_network();
            leave_smartly(&world.source);
            world.source.up();
        },
    },
    Fault {
        name: "source: crash",
        strike: |world, _| world.source.restart("immediate"),
    },
    Fault {
        name: "source: walsender terminated",
        strike: |world, _| world.at_source().run(TERMINATE),
    },
    Fault {
        name: "source: connection limit reached",
        strike: |world, random| {
            let source = &world.source;
            crowd(|| Sql::try_open(source, "postgres").ok(), random);
        },
    },
];
