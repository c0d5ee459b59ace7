//! A network that cuts, stalls, drips and swallows, on both sides of zemi.

use crate::support::nets::Networked;
use crate::support::proxy::Weather;
use crate::support::scene::PATIENCE;
use crate::support::{Server, Sql, wait_until};

fn scene() -> Networked {
    Networked::start(Server::start(15, &[]), Server::start(15, &[]), &[])
}

#[test]
fn bad_weather_on_either_side_loses_nothing() {
    let scene = scene();
    scene.weather(6, 60);
    assert!(scene.judge() > 100);
}

/// The piece of a large transaction that had been written was undone by closing the destination's session.
#[test]
fn a_source_that_is_cut_off_in_a_large_transaction_costs_no_connection_to_the_destination() {
    let scene = scene();
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
