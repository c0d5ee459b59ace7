//! Hosts that ran the same script: their changes have the same positions, tables and operations.

use std::time::{Duration, Instant};

use crate::support::Scene;
use crate::support::scene::confirmed;

/// Rows of one statement, and as many transactions of one row.
const ROWS: u32 = 3_000;

/// How long a host may need: some hundred times what it does.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn changes_of_another_host_at_the_same_positions_are_all_written() {
    let (mut scene, mut zemi) = Scene::two(15)
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    scene
        .sql
        .run("SELECT pg_create_logical_replication_slot('second', 'pgoutput')");
    scene.sql.run(&format!(
        "INSERT INTO t SELECT g, 'x' FROM generate_series(1, {ROWS}) g; \
         UPDATE t SET v = 'y' WHERE id % 2 = 0; DELETE FROM t WHERE id % 3 = 0"
    ));
    scene.sql.run(&format!(
        "DO $$ BEGIN FOR n IN {ROWS} + 1 .. 2 * {ROWS} LOOP INSERT INTO t VALUES (n, 'z'); COMMIT; \
         END LOOP; END $$"
    ));
    let began = Instant::now();
    scene.caught_up();
    zemi.stop();
    let first = began.elapsed();
    let all = scene.there.value("SELECT count(*) FROM changes");
    assert_eq!(all, (ROWS + ROWS / 2 + ROWS / 3 + ROWS).to_string());
    // What is there is of another host from now on.
    scene.there.run(
        "UPDATE changes SET transaction_id = transaction_id + 1000000, id = gen_random_uuid(); \
         DELETE FROM zemi_progress; ALTER TABLE changes ADD COLUMN first boolean; \
         UPDATE changes SET first = true",
    );
    let began = Instant::now();
    let zemi = scene.start_with(&[("SLOT_NAME", "second")]);
    confirmed(&mut scene.sql, "second");
    let second = began.elapsed();
    assert!(second < PATIENCE, "{second:?}");
    println!("the first host {first:?}, the second one {second:?}");
    let rows = "SELECT operation, primary_key, after FROM changes WHERE first IS NOT DISTINCT FROM";
    for (one, other) in [("true", "NULL"), ("NULL", "true")] {
        let lost = format!("SELECT count(*) FROM ({rows} {one} EXCEPT ALL {rows} {other}) lost");
        assert_eq!(scene.there.value(&lost), "0", "{}", zemi.log());
    }
    // In the order in which they came, each within the WAL record of its own or not far behind.
    let order = "SELECT count(*) FROM (SELECT position, lag(position) OVER (ORDER BY id) AS before \
                 FROM changes WHERE first IS NULL) t WHERE position <= before";
    assert_eq!(scene.there.value(order), "0");
}
