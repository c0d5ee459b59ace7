//! The faults. Each strikes, holds for a while, and undoes what an operator would have to undo.

mod destination;
mod network;
mod settings;
mod source;
mod zemi;

use std::thread;
use std::time::Duration;

use crate::support::load::Random;
use crate::support::{Server, Sql};

use super::world::World;

/// One kind of fault.
pub struct Fault {
    /// For the report.
    pub name: &'static str,
    /// Makes it happen, and undoes it.
    pub strike: fn(&mut World, &mut Random),
}

/// All that pass within a few seconds.
pub fn quick(world: &World) -> Vec<&'static Fault> {
    let groups = [
        zemi::FAULTS,
        network::FAULTS,
        destination::FAULTS,
        source::FAULTS,
        settings::FAULTS,
    ];
    let mut faults: Vec<&Fault> = groups.into_iter().flatten().collect();
    if world.has_small_disk() {
        faults.push(&destination::DISK_FULL);
    }
    faults
}

/// Those that take longer than every time limit there is: for long runs.
pub const SLOW: [&Fault; 3] = [
    &zemi::FREEZE_LONG,
    &destination::LOCK_LONG,
    &network::STALL_LONG,
];

/// Longer than the `wal_sender_timeout` that zemi asks for, which is 60 s.
const LONGER_THAN_ALL: Duration = Duration::from_secs(66);

/// Ends zemi's sessions with a server.
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = 'zemi'";

/// Waits for at most so many milliseconds.
fn hold(random: &mut Random, most: u64) {
    thread::sleep(Duration::from_millis(random.below(most)));
}

/// Shuts a server down and starts it again after at most so many milliseconds.
fn away(server: &Server, random: &mut Random, most: u64) {
    server.stop("fast");
    hold(random, most);
    server.up();
}

/// Takes all connections that a server has for some time.
fn crowd(open: impl Fn() -> Option<Sql>, random: &mut Random) {
    let mut sessions: Vec<Sql> = Vec::new();
    while let Some(session) = open() {
        sessions.push(session);
    }
    if let Some(first) = sessions.first_mut() {
        first.run(TERMINATE);
    }
    // What has become free is taken, too.
    sessions.extend(std::iter::from_fn(&open));
    hold(random, 1_000);
}
