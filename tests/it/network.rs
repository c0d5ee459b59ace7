//! A network that cuts, stalls, drips and swallows, on both sides of zemi.

use std::thread;
use std::time::Duration;

use super::support::load::{Load, Random, TABLES, assert_all_is_there};
use super::support::proxy::{Proxy, Weather};
use super::support::scene::{PATIENCE, settings, streaming};
use super::support::{Server, Sql, Zemi, wait_until};

/// Two servers, each behind a network of its own.
struct Scene {
    source: Server,
    destination: Server,
    nets: [Proxy; 2],
    zemi: Zemi,
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
            zemi,
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

/// The piece of a large transaction that had been written was undone by closing the destination's session.
#[test]
fn a_source_that_is_cut_off_in_a_large_transaction_costs_no_connection_to_the_destination() {
    let scene = Scene::new();
    let mut source = Sql::open(&scene.source, "postgres");
    let mut destination = Sql::open(&scene.destination, "postgres");
    source.run("CREATE TABLE large (id int PRIMARY KEY, v text)");
    // Far enough for pieces to be written, and not to the end.
    scene.nets[0].set(Weather::CutAfter(15_000_000));
    source.run("INSERT INTO large SELECT g, repeat('x', 300) FROM generate_series(1, 60000) g");
    wait_until("the stream was cut", PATIENCE, || {
        scene.zemi.log().contains("replication stream: ")
    });
    scene.nets[0].set(Weather::Fair);
    wait_until("all rows are there", PATIENCE, || {
        destination.value("SELECT count(*) FROM changes WHERE \"table\" = 'large'") == "60000"
    });
    let connected = "connected to the destination";
    assert_eq!(scene.zemi.log().matches(connected).count(), 1);
}
