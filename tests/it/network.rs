//! A network that cuts, stalls, drips and swallows, on both sides of zemi.

use std::thread;
use std::time::Duration;

use super::support::load::{Load, Random, TABLES, assert_all_is_there};
use super::support::proxy::{Proxy, Weather};
use super::support::scene::{settings, streaming};
use super::support::{Server, Sql, Zemi};

/// Two servers, each behind a network of its own.
struct Scene {
    source: Server,
    destination: Server,
    nets: [Proxy; 2],
    _zemi: Zemi,
}

impl Scene {
    fn new() -> Scene {
        let source = Server::start(15, &[]);
        let destination = Server::start(15, &[]);
        Sql::open(&source, "postgres").run(TABLES);
        let nets = [
            Proxy::start(source.port()),
            Proxy::start(destination.port()),
        ];
        let mut settings = settings(&source, Some(&destination));
        for (name, net) in ["DB_PORT", "DEST_DB_PORT"].into_iter().zip(&nets) {
            settings.push((name.into(), net.port().to_string()));
        }
        let zemi = streaming(&settings);
        Scene {
            source,
            destination,
            nets,
            _zemi: zemi,
        }
    }

    fn judge(&self) -> usize {
        let mut source = Sql::open(&self.source, "postgres");
        let mut destination = Sql::open(&self.destination, "postgres");
        assert_all_is_there(&mut source, &mut destination)
    }
}

#[test]
fn bad_weather_on_either_side_loses_nothing() {
    let scene = Scene::new();
    let load = Load::small(&scene.source, 6, 2);
    let mut random = Random::new(6);
    for round in 0..60 {
        let net = &scene.nets[random.below(2) as usize];
        let weather = match round % 6 {
            0 => Weather::Dripping,
            1 => Weather::Slow(random.below(50)),
            // In the middle of whatever comes then: a frame, the login, the answer to a COMMIT.
            2 | 3 => Weather::CutAfter(random.below(20_000)),
            4 => Weather::Stalled,
            _ => Weather::Refusing,
        };
        net.set(weather);
        if round % 6 == 5 {
            net.cut();
        }
        // Long enough for it to be met.
        thread::sleep(Duration::from_millis(random.below(400)));
        net.set(Weather::Fair);
    }
    load.stop();
    assert!(scene.judge() > 100);
}
