//! A transaction much larger than a batch.

use std::thread;

use super::support::scene::{caught_up, settings, streaming};
use super::support::{Server, Sql};

const ROWS: u64 = 200_000;

#[test]
fn two_hundred_thousand_rows_come_together_and_memory_stays_flat() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let zemi = streaming(&settings(&source, Some(&destination)));
    let mut dest = Sql::open(&destination, "postgres");
    dest.run("DROP INDEX changes_before_index, changes_after_index, changes_context_index");
    sql.run(&format!(
        "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, {ROWS}) g"
    ));
    // Somebody who reads while it is written sees none of it or all.
    let counts = thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut seen = Vec::new();
            loop {
                let count: u64 = dest.value("SELECT count(*) FROM changes").parse().unwrap();
                seen.push(count);
                if count > 0 {
                    return seen;
                }
            }
        });
        caught_up(&mut sql);
        reader.join().unwrap()
    });
    assert_eq!(counts.last(), Some(&ROWS));
    assert_eq!(
        dest.text(
            "SELECT count(DISTINCT transaction_id), count(DISTINCT position), \
             count(DISTINCT primary_key), count(DISTINCT xmin::text) FROM changes"
        ),
        format!("1|{ROWS}|{ROWS}|1")
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", zemi.id())).unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!(
        "{ROWS} rows in one transaction: {}",
        peak.unwrap_or("peak memory unknown")
    );
}
