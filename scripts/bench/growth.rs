//! Ten times the rows must take ten times as long, into an empty `changes` and into a large one; and what
//! the pending lists of its GIN indexes are worth.

use std::time::Instant;

use zemi::error::Result;
use zemi::wire::literal;

use crate::loads::{Run, streamed};
use crate::report::{Figure, Report};
use crate::shapes::PLAIN;
use crate::stage::{Stage, value};

/// ROWS / 10 and ROWS rows, from an empty table and from one of GROWN_ROWS rows.
pub fn growth(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for grown in [false, true] {
        stage.empty_changes()?;
        let mut from = "an empty table".to_owned();
        if grown {
            let rows = stage.options.grown_rows;
            let started = Instant::now();
            fill(stage, rows)?;
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("bench: growth: {rows} rows made in {seconds:.0} s");
            from = format!("{rows} rows");
        }
        let few = added(stage, stage.options.rows / 10)?;
        // What the indexes make of it without zemi; not where it would have to copy millions of rows.
        let few_copied = (!grown).then(|| stage.copy_floor()).transpose()?;
        let many = added(stage, stage.options.rows)?;
        let ratio = many.seconds / few.seconds;
        eprintln!(
            "bench: growth from {from}: {:.2} s, {:.2} s",
            few.seconds, many.seconds
        );
        let measure = format!("times as long for 10 times the rows, from {from}");
        let mut figure = Figure::new("growth", &measure, vec![ratio]);
        if let Some(few) = few_copied {
            let many = stage.copy_floor()? - few;
            figure = figure.beside("COPY", vec![many / few]);
        }
        report.add(figure);
        let measure = format!("changes/s, {} rows into {from}", many.rows);
        report.add(Figure::new(
            "growth",
            &measure,
            vec![many.rate(many.seconds)],
        ));
        let line = if grown {
            "zemi, into a large table"
        } else {
            "zemi"
        };
        report.point("throughput", line, vec![few.point(), many.point()]);
    }
    stage.empty_changes()
}

/// One transaction of so many rows more.
fn added(stage: &mut Stage, rows: u64) -> Result<Run> {
    stage.clear_source(&PLAIN.create("growth"))?;
    stage.checkpoint()?;
    streamed(stage, rows, &PLAIN.insert("growth", 1, rows))
}

/// Fills `changes` with rows like those that zemi writes. The plain indexes are built afterwards, which is
/// several times as fast.
fn fill(stage: &mut Stage, rows: u64) -> Result<()> {
    let session = &mut stage.destination;
    let indexes = session.rows(
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'public.changes'::regclass \
         AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)",
    )?;
    session.query("SET maintenance_work_mem = '1GB'")?;
    let text = |row: &Vec<Option<String>>, column: usize| row[column].clone().unwrap_or_default();
    for row in &indexes.rows {
        session.query(&format!("DROP INDEX public.{}", text(row, 0)))?;
    }
    session.query(&format!(
        "INSERT INTO public.changes (primary_key, after, database, schema, \"table\", operation, \
         committed_at, queued_at, transaction_id, position) \
         SELECT i, jsonb_build_object('id', i, 'customer', md5(i::text)::uuid, \
         'name', 'Customer number ' || i, 'amount', (i % 1000000) / 100.0, 'active', i % 3 = 0, \
         'created_at', timestamptz '2024-01-01' + i * interval '1 second', \
         'details', jsonb_build_object('sku', 'sku-' || i % 5000, 'quantity', i % 10, \
         'tags', jsonb_build_array('new', 'gift')), \
         'note', 'delivered to ' || repeat(md5((i * 7)::text), 3)), \
         'postgres', 'public', 'older', 'CREATE', now(), now(), i, i \
         FROM generate_series(1::bigint, {rows}) AS i"
    ))?;
    for row in &indexes.rows {
        session.query(&text(row, 1))?;
    }
    session.query("RESET maintenance_work_mem; ANALYZE public.changes")?;
    stage.there = rows;
    stage.checkpoint()
}

/// Values of GIN_PENDING_LIST_LIMIT that are measured, in kB. The server's own is 4096.
const PENDING: [u64; 3] = [4_096, 16_384, 65_536];

/// ROWS / 3 rows with pending lists of several lengths, and what a search costs while they are full.
pub fn pending(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows / 3;
    for limit in PENDING {
        stage.clear("pending", PLAIN)?;
        stage
            .settings
            .push(("GIN_PENDING_LIST_LIMIT", limit.to_string()));
        let run = streamed(stage, rows, &PLAIN.insert("pending", 1, rows));
        stage.settings.pop();
        let run = run?;
        let measure = format!("changes/s, GIN_PENDING_LIST_LIMIT={limit}");
        report.add(Figure::new(
            "pending",
            &measure,
            vec![run.rate(run.seconds)],
        ));
        let customer = value(
            &mut stage.destination,
            "SELECT after ->> 'customer' FROM public.changes LIMIT 1",
        )?;
        let wanted = literal(&format!("{{\"customer\": \"{customer}\"}}"));
        stage.destination.query("SET enable_seqscan = off")?;
        let search = format!("SELECT count(*) FROM public.changes WHERE after @> {wanted}");
        let mut times = Vec::new();
        for _ in 0..5 {
            let started = Instant::now();
            stage.destination.query(&search)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        stage.destination.query("RESET enable_seqscan")?;
        let measure = format!("ms, a search in after behind it, GIN_PENDING_LIST_LIMIT={limit}");
        report.add(Figure::new("pending", &measure, times));
    }
    Ok(())
}
