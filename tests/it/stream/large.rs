//! A transaction much larger than a batch.

use std::thread;

use crate::support::scene::{caught_up, settings, streaming};
use crate::support::{Server, Sql};

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
    // A reader at that time sees none of it or all of it.
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
    println!(
        "{ROWS} rows in one transaction: {} kB",
        zemi.peak_memory() / 1000
    );
}

/// One message makes as many rows as there are tables, each with the whole context.
#[test]
fn truncating_many_tables_with_a_large_context_does_not_take_the_memory_of_all_rows() {
    const TABLES: u64 = 300;
    const CONTEXT: u64 = 300 * 1000;
    let server = Server::start(16, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)");
    sql.run(&format!(
        "DO $$ BEGIN FOR n IN 0..{TABLES} LOOP
           EXECUTE format('CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)', n, n, n + 1);
         END LOOP; END $$"
    ));
    let zemi = streaming(&settings(&server, None));
    sql.run("DROP INDEX changes_context_index");
    // All but one: the TRUNCATE of all of them is one row.
    let tables: Vec<String> = (1..=TABLES).map(|n| format!("p{n}")).collect();
    let tables = tables.join(", ");
    sql.run(&format!(
        "BEGIN;
         SELECT pg_logical_emit_message(true, '_bemi', '\"' || repeat('x', {CONTEXT}) || '\"');
         TRUNCATE {tables};
         COMMIT"
    ));
    caught_up(&mut sql);
    let rows = sql.text(
        "SELECT count(*), count(DISTINCT \"table\"), min(length(context ->> 'zemi_context')), \
         count(DISTINCT position) FROM changes WHERE operation = 'TRUNCATE'",
    );
    assert_eq!(rows, format!("{TABLES}|{TABLES}|{CONTEXT}|{TABLES}"));
    let peak = zemi.peak_memory();
    println!("{TABLES} tables truncated: {peak} bytes");
    assert!(peak < TABLES * CONTEXT / 3, "{peak} bytes");
}
