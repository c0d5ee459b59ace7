//! Faults of the process itself, and interventions of its operators.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Fault, LONGER_THAN_ALL, hold};
use crate::faults::torture::world::World;
use crate::support::load::Random;
use crate::support::proxy::NetworkFault;
use crate::support::scene::PATIENCE;
use crate::support::wait_until;

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "zemi: kill -9",
        strike: |world, random| {
            hold(random, 300);
            world.zemi().kill();
            world.start_zemi();
        },
    },
    Fault {
        name: "zemi: kill -9 between sending COMMIT and reading its answer",
        strike: |world, random| {
            world.nets[1].set(NetworkFault::HoldingServer);
            hold(random, 300);
            world.zemi().kill();
            world.mend_network();
            world.start_zemi();
        },
    },
    Fault {
        name: "zemi: kill -9 between the destination's COMMIT and its confirmation",
        strike: |world, random| {
            world.nets[0].set(NetworkFault::HoldingClient);
            hold(random, 300);
            world.zemi().kill();
            world.mend_network();
            world.start_zemi();
        },
    },
    Fault {
        name: "zemi: SIGTERM under load, started again",
        strike: |world, _| {
            stop(world);
            world.start_zemi();
        },
    },
    Fault {
        name: "zemi: SIGSTOP, then SIGCONT",
        strike: |world, random| {
            let zemi = world.zemi();
            zemi.signal("STOP");
            hold(random, 2_000);
            zemi.signal("CONT");
        },
    },
    Fault {
        name: "zemi: next to no file descriptors",
        strike: |world, random| {
            let few = random.below(14) + 3;
            limited(world, &format!("ulimit -n {few}"), random);
        },
    },
    Fault {
        name: "zemi: little address space",
        strike: |world, random| {
            let kilobytes = random.below(60_000) + 4_000;
            limited(world, &format!("ulimit -v {kilobytes}"), random);
        },
    },
    Fault {
        name: "zemi: a memory cgroup",
        strike: |world, random| {
            let kilobytes = random.below(6_000) + 1_500;
            if let Some(group) = MemoryGroup::new(kilobytes * 1024) {
                limited(world, &group.enter(), random);
            }
        },
    },
    Fault {
        name: "operators: a second instance on the same slot",
        strike: |world, _| {
            // Both have to be able to find out.
            world.mend_network();
            let mut other = world.another_zemi();
            // The first one may have been away for a moment: then the second has its place, or both have
            // had it, and one waits for the other.
            let until = Instant::now() + Duration::from_secs(8);
            while Instant::now() < until
                && other.wait_exit(Duration::ZERO).is_none()
                && !world.has_ended()
            {
                thread::sleep(Duration::from_millis(20));
            }
            let code = other.wait_exit(Duration::ZERO);
            assert!(matches!(code, None | Some(75)), "{}", other.log());
            other.kill();
            world.zemi();
        },
    },
    Fault {
        name: "operators: TABLES set or unset between two starts",
        strike: |world, _| {
            stop(world);
            world.change_tables();
            world.start_zemi();
        },
    },
];

pub const FREEZE_LONG: Fault = Fault {
    name: "zemi: SIGSTOP for longer than wal_sender_timeout, then SIGCONT",
    strike: |world, _| {
        let zemi = world.zemi();
        zemi.signal("STOP");
        thread::sleep(LONGER_THAN_ALL);
        zemi.signal("CONT");
    },
};

fn stop(world: &mut World) {
    let zemi = world.zemi();
    zemi.sigterm();
    let code = zemi.wait_exit(PATIENCE);
    // 75 where a second instance had just taken the slot, 143 where signals were not handled yet.
    assert!(
        matches!(code, Some(0 | 75 | 143)),
        "{code:?}:\n{}",
        zemi.log()
    );
}

/// A cgroup that bounds memory, where one can be made; removed when dropped.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// By version 1 or 2, whichever is mounted (Linux: "Memory Resource Controller", "Control Group v2").
    fn new(bytes: u64) -> Option<MemoryGroup> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (root, limit) = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ]
        .into_iter()
        .find(|(root, _)| Path::new(root).join("cgroup.procs").exists())?;
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = MemoryGroup(Path::new(root).join(format!("zemi-{}-{n}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }

    /// A shell command that puts the shell into it.
    fn enter(&self) -> String {
        format!("echo $$ > '{}'", self.0.join("cgroup.procs").display())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Its last process may still be ending.
        wait_until("the cgroup is empty", PATIENCE, || {
            fs::remove_dir(&self.0).is_ok() || !self.0.exists()
        });
    }
}

/// One that works under a limit for a while, or tries to; whatever it dies of.
fn limited(world: &mut World, limit: &str, random: &mut Random) {
    world.zemi().kill();
    world.start_zemi_under(limit);
    thread::sleep(Duration::from_millis(100));
    hold(random, 1_000);
    world.start_zemi();
}
