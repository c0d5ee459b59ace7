//! Loads of other kinds than small new rows: how speed and memory change with the rows.

use zemi::error::Result;

use crate::loads::{repeat, report_all, stored, streamed};
use crate::report::{Figure, Report};
use crate::shapes::{FULL, PLAIN, WIDE};
use crate::stage::{Options, Stage};

/// How many tables [`tables`] has.
const TABLES: u64 = 100;

/// Row lengths of [`large`] in bytes, how many rows of each, and their names.
const LARGE: [(u64, u64, &str); 2] = [(1 << 20, 40, "1 MB"), (50 << 20, 3, "50 MB")];

/// One transaction that updates ROWS / 3 rows, old and new row whole in the write-ahead log.
pub fn full(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows / 3;
    let runs = repeat(stage, "full", 1, |stage| {
        let filled = format!(
            "{}; {}",
            FULL.create("full_rows"),
            FULL.insert("full_rows", 1, rows)
        );
        stage.clear_source(&filled)?;
        stage.empty_changes()?;
        let update = "UPDATE full_rows SET amount = amount + 1, active = NOT active";
        let mut run = streamed(stage, rows, update)?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "full", "COMMIT to all visible", &runs);
    Ok(())
}

/// One transaction of ROWS / 10 rows of sixty columns.
pub fn wide(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows / 10;
    let runs = repeat(stage, "wide", 1, |stage| {
        stage.clear("wide", WIDE)?;
        let mut run = streamed(stage, rows, &WIDE.insert("wide", 1, rows))?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "wide", "COMMIT to all visible", &runs);
    Ok(())
}

/// Transactions of one row with a large value each, while zemi streams.
pub fn large(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for (bytes, rows, label) in LARGE {
        let name = if bytes < 10 << 20 { "1MB" } else { "50MB" };
        let runs = repeat(stage, name, 1, |stage| {
            stage.clear_source(
                "DROP TABLE IF EXISTS large_rows; \
                 CREATE TABLE large_rows (id bigint PRIMARY KEY, content text)",
            )?;
            stage.empty_changes()?;
            // The period is longer than what the server's compression looks back.
            let times = bytes / (32 * 1024);
            let insert = |from: &str, to: &str| {
                format!(
                    "INSERT INTO large_rows SELECT i, repeat((SELECT string_agg(\
                     md5((i * 7919 + piece)::text), '') FROM generate_series(1, 1024) AS piece), {times}) \
                     FROM generate_series({from}, {to}) AS i"
                )
            };
            let all = format!(
                "DO $$ BEGIN FOR n IN 1 .. {rows} - 1 LOOP {}; COMMIT; END LOOP; END $$",
                insert("n", "n")
            );
            let last = rows.to_string();
            let mut run = stored(stage, rows, &[&all], &insert(&last, &last))?;
            run.measure_floors(stage)?;
            Ok(run)
        })?;
        report_all(report, name, "exec to all visible", &runs);
        let times = runs.iter().map(|run| run.peak / bytes as f64).collect();
        let measure = format!("memory at the peak, in values of {label}");
        report.add(Figure::new(name, &measure, times));
    }
    Ok(())
}

/// ROWS / 3 rows in transactions that write one row into each of a hundred tables.
pub fn tables(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let transactions = (stage.options.rows / 3 / TABLES).max(2);
    let rows = transactions * TABLES;
    let runs = repeat(stage, "tables", 1, |stage| {
        let names = || (1..=TABLES).map(|number| format!("table_{number}"));
        let create: Vec<String> = names().map(|name| PLAIN.create(&name)).collect();
        stage.clear_source(&create.join("; "))?;
        stage.empty_changes()?;
        let inserts = |n: &str| {
            let inserts: Vec<String> = names().map(|name| PLAIN.insert(&name, n, n)).collect();
            inserts.join("; ")
        };
        let all = format!(
            "DO $$ BEGIN FOR n IN 1 .. {transactions} - 1 LOOP {}; COMMIT; END LOOP; END $$",
            inserts("n")
        );
        let last = inserts(&transactions.to_string());
        let mut run = stored(stage, rows, &[&all], &last)?;
        run.measure_floors(stage)?;
        let drop: Vec<String> = names().map(|name| format!("DROP TABLE {name}")).collect();
        stage.source.query(&drop.join("; "))?;
        Ok(run)
    })?;
    report_all(report, "tables", "exec to all visible", &runs);
    Ok(())
}

/// One transaction of ROWS / 3 rows where source and destination are one database.
pub fn same(stage: &mut Stage, report: &mut Report) -> Result<()> {
    const DATABASE: &str = "bench_same";
    let rows = stage.options.rows / 3;
    stage.source.query(&format!("CREATE DATABASE {DATABASE}"))?;
    let mut options: Options = stage.options.clone();
    options.config.source.database = DATABASE.into();
    options.config.destination = options.config.source.clone();
    options.config.slot_name = DATABASE.into();
    let source = &options.config.source;
    let settings = vec![
        ("DB_NAME", DATABASE.to_owned()),
        ("DEST_DB_NAME", DATABASE.to_owned()),
        ("DEST_DB_PORT", source.port.to_string()),
        ("SLOT_NAME", DATABASE.to_owned()),
    ];
    let mut one = Stage::set(options, settings)?;
    let runs = repeat(&mut one, "same", 1, |stage| {
        stage.clear("same", PLAIN)?;
        let mut run = streamed(stage, rows, &PLAIN.insert("same", 1, rows))?;
        run.measure_floors(stage)?;
        Ok(run)
    })?;
    report_all(report, "same", "COMMIT to all visible", &runs);
    drop(one);
    for slot in [DATABASE, "bench_floor"] {
        stage
            .source
            .query(&format!("SELECT pg_drop_replication_slot('{slot}')"))?;
    }
    stage
        .source
        .query(&format!("DROP DATABASE {DATABASE} WITH (FORCE)"))
        .map(drop)
}
