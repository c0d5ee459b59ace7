//! `kill -9` at any moment.

use std::thread;
use std::time::Duration;

use crate::support::load::{Load, Random, TABLES, assert_all_is_there};
use crate::support::scene::{settings, streaming};
use crate::support::{Server, Sql, Zemi};

/// So often it is killed.
const KILLS: usize = 200;

#[test]
fn two_hundred_kills_under_load_lose_nothing_and_write_nothing_twice() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let settings = settings(&source, Some(&destination));
    let mut sql = Sql::open(&source, "postgres");
    sql.run(TABLES);
    // The slot has to be there before the first change.
    streaming(&settings).kill();
    let seed = 20;
    let load = Load::start(&source, seed, 3);
    let mut random = Random::new(seed);
    for _ in 0..KILLS {
        let mut zemi = Zemi::start(&settings);
        // From the first instruction to well behind the first COMMIT.
        thread::sleep(Duration::from_millis(random.below(250)));
        zemi.kill();
    }
    let transactions = load.stop();
    let zemi = streaming(&settings);
    let mut destination = Sql::open(&destination, "postgres");
    let changes = assert_all_is_there(&mut sql, &mut destination);
    println!("{KILLS} kills, {transactions} transactions, {changes} changes, 0 lost, 0 doubled");
    assert!(changes > 1000, "{changes} changes are no load");
    drop(zemi);
}
