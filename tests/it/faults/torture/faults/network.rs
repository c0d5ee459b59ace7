//! Faults of the network between zemi and the servers.

use std::thread;

use super::{Fault, LONGER_THAN_ALL, hold};
use crate::faults::torture::world::World;
use crate::support::load::Random;
use crate::support::proxy::NetworkFault;

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "network: all connections of a side cut",
        strike: |world, random| world.nets[side(random)].cut(),
    },
    Fault {
        name: "network: connections cut and refused for a while",
        strike: |world, random| {
            let side = side(random);
            world.nets[side].set(NetworkFault::Refusing);
            world.nets[side].cut();
            hold(random, 1_500);
            world.mend_network();
        },
    },
    Fault {
        name: "network: bytes held back",
        strike: |world, random| fault(world, NetworkFault::Stalled, random, 2_000),
    },
    Fault {
        name: "network: half-open, bytes vanish",
        strike: |world, random| fault(world, NetworkFault::Vanishing, random, 1_500),
    },
    Fault {
        name: "network: one byte at a time",
        strike: |world, random| fault(world, NetworkFault::Dripping, random, 500),
    },
    Fault {
        name: "network: up to 200 ms of delay",
        strike: |world, random| {
            let delay = NetworkFault::Slow(random.below(201));
            fault(world, delay, random, 1_500);
        },
    },
    Fault {
        name: "network: cut inside a message",
        strike: |world, random| {
            let cut = NetworkFault::CutAfter(random.below(50_000));
            fault(world, cut, random, 500);
        },
    },
    Fault {
        name: "network: cut inside the login",
        strike: |world, random| {
            let side = side(random);
            // A login takes less than a kilobyte each way.
            world.nets[side].set(NetworkFault::CutAfter(random.below(1_000)));
            world.nets[side].cut();
            hold(random, 800);
            world.mend_network();
        },
    },
    Fault {
        name: "network: the answer to a COMMIT lost",
        strike: |world, random| {
            world.nets[1].set(NetworkFault::LosingReplies);
            hold(random, 1_000);
            world.mend_network();
        },
    },
];

pub const STALL_LONG: Fault = Fault {
    name: "network: bytes held back for longer than every timeout",
    strike: |world, random| {
        world.nets[side(random)].set(NetworkFault::Stalled);
        thread::sleep(LONGER_THAN_ALL);
        world.mend_network();
    },
};

/// The source's network or the destination's.
fn side(random: &mut Random) -> usize {
    random.below(2) as usize
}

/// This fault on one side for a while.
fn fault(world: &mut World, fault: NetworkFault, random: &mut Random, most: u64) {
    world.nets[side(random)].set(fault);
    hold(random, most);
    world.mend_network();
}
