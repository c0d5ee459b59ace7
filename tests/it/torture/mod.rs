//! Faults of every kind from a seeded random schedule, under a mixed load.
//!
//! `make torture SECONDS=… SEED=…` runs it for as long as one likes; `cargo test` for a short time.

mod faults;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::support::load::{Load, Random};
use faults::Fault;
use world::World;

/// How long it takes within `cargo test`.
const SHORT: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}: expected a whole number")),
    )
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let seconds = setting("TORTURE_SECONDS").unwrap_or(SHORT);
    let seed = setting("TORTURE_SEED").unwrap_or(1);
    let mut random = Random::new(seed);
    let mut world = World::new(15);
    let pause = if seconds > SHORT { 40 } else { 4 };
    let load = Load::long(&world.source, seed, 3, pause);
    println!("torture: seed {seed}, {seconds} s");

    let began = Instant::now();
    let mut tried: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        // Each alone in turn first, then whatever comes; every third together with bad weather.
        let fault = match Fault::ALL.get(round) {
            Some(fault) => *fault,
            None => Fault::ALL[random.below(Fault::ALL.len() as u64) as usize],
        };
        let mixed = round >= Fault::ALL.len() && random.below(3) == 0;
        if mixed {
            *tried.entry("bad weather beside another fault").or_default() += 1;
            world.bad_weather(&mut random);
        }
        fault.strike(&mut world, &mut random);
        world.fair_weather();
        *tried.entry(fault.name()).or_default() += 1;
        round += 1;
        // Now and then it has to show that it goes on by itself.
        if round % 10 == 0 {
            let stall = world.wait_for_progress();
            longest = longest.max(stall);
        }
    }
    let transactions = load.stop();
    let changes = world.judge();
    let faults: u64 = tried.values().sum();
    println!("| fault | times |\n|---|---|");
    for (name, times) in &tried {
        println!("| {name} | {times} |");
    }
    println!(
        "torture: seed {seed}, {} s, {faults} faults, {transactions} transactions answered, {changes} \
         changes, 0 lost, 0 doubled, longest stall {:.1} s",
        began.elapsed().as_secs(),
        longest.as_secs_f64()
    );
}
