//! Two servers, each behind a network of its own, and a zemi between them.

use std::thread;
use std::time::Duration;

use super::load::{Load, Random, TABLES, assert_all_is_there};
use super::proxy::{Proxy, Weather};
use super::scene::{settings, streaming};
use super::{Server, Sql, Zemi};

/// Puts a network before each server; with the settings of a zemi behind them.
pub fn nets(source: &Server, destination: &Server) -> ([Proxy; 2], Vec<(String, String)>) {
    let nets = [
        Proxy::start(source.port()),
        Proxy::start(destination.port()),
    ];
    let mut settings = settings(source, Some(destination));
    for (name, net) in ["DB_PORT", "DEST_DB_PORT"].into_iter().zip(&nets) {
        settings.push((name.into(), net.port().to_string()));
    }
    (nets, settings)
}

/// All of it, with the tables of the load.
pub struct Networked {
    /// What is followed.
    pub source: Server,
    /// What holds the changes.
    pub destination: Server,
    /// The network of the source and that of the destination.
    pub nets: [Proxy; 2],
    /// The program.
    pub zemi: Zemi,
}

impl Networked {
    /// Starts zemi with these settings besides the usual ones.
    pub fn start(source: Server, destination: Server, more: &[(&str, String)]) -> Networked {
        Sql::open(&source, "postgres").run(TABLES);
        let (nets, mut settings) = nets(&source, &destination);
        let more = more.iter().cloned();
        settings.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let zemi = streaming(&settings);
        Networked {
            source,
            destination,
            nets,
            zemi,
        }
    }

    /// Changes the weather so often, under load.
    pub fn weather(&self, seed: u64, rounds: u64) {
        let load = Load::small(&self.source, seed, 2);
        let mut random = Random::new(seed);
        for round in 0..rounds {
            let net = &self.nets[random.below(2) as usize];
            let weather = match round % 6 {
                0 => Weather::Dripping,
                1 => Weather::Slow(random.below(50)),
                // In the middle of whatever comes then: a frame, a record, the login, the answer to a COMMIT.
                2 | 3 => Weather::CutAfter(random.below(20_000)),
                4 => Weather::Stalled,
                _ => Weather::Refusing,
            };
            net.set(weather);
            if matches!(round % 6, 3 | 5) {
                net.cut();
            }
            // Long enough for it to be met.
            thread::sleep(Duration::from_millis(random.below(400)));
            net.set(Weather::Fair);
        }
        load.stop();
    }

    /// Compares everything with everything; how many changes there are.
    pub fn judge(&self) -> usize {
        let mut source = Sql::open(&self.source, "postgres");
        let mut destination = Sql::open(&self.destination, "postgres");
        assert_all_is_there(&mut source, &mut destination)
    }
}
