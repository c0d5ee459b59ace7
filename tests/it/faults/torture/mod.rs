//! Faults of every kind from a seeded random schedule, under a mixed load.
//!
//! `make torture SECONDS=… SEED=…` sets how long it runs; `cargo test` runs it for a short time.

mod faults;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::load::{Load, Random};
use faults::Fault;
use world::World;

/// How long it takes within `cargo test`.
const SHORT: u64 = 75;

/// How often everything is judged, so that a loss is found near what made it.
const JUDGED_EVERY: Duration = Duration::from_secs(150);

/// How long zemi may take to go on after the last fault: its longest backoff is 30 s, on each side. Beside
/// other tests it is given twice that.
const STALL: Duration = Duration::from_secs(60);

/// How often one of the slow faults strikes, in a run that is long enough.
const SLOW_EVERY: Duration = Duration::from_secs(400);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}: expected a whole number")),
    )
}

/// What a run did.
#[derive(Default)]
struct Report {
    tried: BTreeMap<&'static str, u64>,
    longest_stall: Duration,
}

impl Report {
    fn note(&mut self, fault: &'static str) {
        *self.tried.entry(fault).or_default() += 1;
    }

    fn faults(&self) -> u64 {
        self.tried.values().sum()
    }

    /// Strikes, and now and then lets zemi show that it goes on by itself.
    fn strike(&mut self, fault: &Fault, world: &mut World, random: &mut Random) {
        (fault.strike)(world, random);
        world.mend_network();
        self.note(fault.name);
        if random.below(8) == 0 {
            self.longest_stall = self.longest_stall.max(world.wait_for_progress());
        }
    }
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let seconds = setting("TORTURE_SECONDS").unwrap_or(SHORT);
    let seed = setting("TORTURE_SEED").unwrap_or(1);
    let mut random = Random::new(seed);
    let encrypted = seed % 2 == 1;
    let mut world = World::new(15, encrypted);
    let pause = if seconds > SHORT { 40 } else { 4 };
    let load = Load::long(&world.source, seed, 3, pause);
    println!("torture: seed {seed}, {seconds} s, encrypted lines: {encrypted}");

    let began = Instant::now();
    let mut report = Report::default();
    let faults = faults::quick(&world);
    let mut slow = faults::SLOW.iter().cycle();
    let (mut judge_at, mut slow_at) = (JUDGED_EVERY, SLOW_EVERY);
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        // Each alone in turn first, then whatever comes; every third together with a fault of the network.
        let alone = faults.get(round);
        let drawn = faults[random.below(faults.len() as u64) as usize];
        if alone.is_none() && random.below(3) == 0 {
            report.note("network: a fault beside another one");
            world.disturb_network(&mut random);
        }
        report.strike(alone.unwrap_or(&drawn), &mut world, &mut random);
        round += 1;
        if began.elapsed() > slow_at {
            slow_at = began.elapsed() + SLOW_EVERY;
            let fault = slow.next().expect("they come again");
            report.strike(fault, &mut world, &mut random);
        }
        if began.elapsed() > judge_at {
            let changes = world.judge(&load);
            judge_at = began.elapsed() + JUDGED_EVERY;
            let (at, faults) = (began.elapsed().as_secs(), report.faults());
            println!(
                "torture: {at} s, {faults} faults, {changes} changes, all there and none twice"
            );
        }
    }
    let changes = world.judge(&load);
    let transactions = load.stop();
    let faults = report.faults();
    println!("| fault | times tried | lost | doubled |\n|---|---|---|---|");
    for (name, times) in &report.tried {
        println!("| {name} | {times} | 0 | 0 |");
    }
    println!(
        "torture: seed {seed}, {} s, {faults} faults, {transactions} transactions answered, {changes} \
         changes, 0 lost, 0 doubled, longest stall {:.1} s",
        began.elapsed().as_secs(),
        report.longest_stall.as_secs_f64()
    );
    let patience = if seconds > SHORT { STALL } else { STALL * 2 };
    assert!(report.longest_stall < patience, "wedged for too long");
    assert!(changes > 1_000, "{changes} changes are no load");
}
