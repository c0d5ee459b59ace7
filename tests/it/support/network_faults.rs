//! Faults of the network in a seeded order, under load.

use std::thread;
use std::time::Duration;

use super::Scene;
use super::load::{Load, Random};
use super::proxy::NetworkFault;

/// So many faults, each for a moment, on one of the two networks of the scene.
pub fn disturb(scene: &Scene, seed: u64, rounds: u64) {
    let load = Load::small(&scene.source, seed, 2);
    let mut random = Random::new(seed);
    for round in 0..rounds {
        let net = &scene.nets[random.below(2) as usize];
        let fault = match round % 6 {
            0 => NetworkFault::Dripping,
            1 => NetworkFault::Slow(random.below(50)),
            // In the middle of whatever comes then: a frame, a record, the login, the answer to a COMMIT.
            2 | 3 => NetworkFault::CutAfter(random.below(20_000)),
            4 => NetworkFault::Stalled,
            _ => NetworkFault::Refusing,
        };
        net.set(fault);
        if matches!(round % 6, 3 | 5) {
            net.cut();
        }
        // Long enough for it to be met.
        thread::sleep(Duration::from_millis(random.below(400)));
        net.set(NetworkFault::None);
    }
    load.stop();
}
