//! The bulk load with both lines encrypted, in turn with the same one in plain text.

use zemi::error::{Error, Kind, Result};

use crate::loads::{Run, repeat, report_speed, streamed};
use crate::report::{Figure, Report};
use crate::shapes::PLAIN;
use crate::stage::{Stage, value, wait_until};

/// What the floor is called.
const PLAIN_TEXT: &str = "plain text";

/// ROWS rows in one transaction, twice in each run.
pub fn tls(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.options.rows;
    if !offer(stage)? {
        eprintln!("bench: tls: left out, there is no openssl to make a certificate");
        return Ok(());
    }
    let insert = PLAIN.insert("bulk", 1, rows);
    let mut plain = Vec::new();
    let runs = repeat(stage, "tls", stage.options.runs, |stage| {
        stage.clear("bulk", PLAIN)?;
        plain.push(streamed(stage, rows, &insert)?);
        stage.clear("bulk", PLAIN)?;
        stage.settings.push(("DB_SSL_MODE", "require".into()));
        let run = streamed(stage, rows, &insert);
        stage.settings.pop();
        let mut run = run?;
        run.floors
            .extend(plain.last().map(|plain| (PLAIN_TEXT, plain.seconds)));
        Ok(run)
    })?;
    report_speed(report, "tls", "COMMIT to all visible", &runs);
    let cost = "µs of CPU per change (all threads)".to_owned();
    compare(report, cost, &runs, &plain, |run| {
        run.micros(run.cpu.of_all())
    });
    for thread in ["reader", "writer"] {
        let cost = format!("µs of CPU per change, thread {thread}");
        compare(report, cost, &runs, &plain, |run| {
            run.micros(run.cpu.of_thread(thread))
        });
    }
    let peak = "MB of memory at the peak (VmHWM)".to_owned();
    compare(report, peak, &runs, &plain, |run| run.peak / 1e6);
    Ok(())
}

fn compare(
    report: &mut Report,
    measure: String,
    runs: &[Run],
    plain: &[Run],
    of: impl Fn(&Run) -> f64,
) {
    let figure = Figure::new("tls", &measure, runs.iter().map(&of).collect());
    report.add(figure.beside(PLAIN_TEXT, plain.iter().map(&of).collect()));
}

/// Lets both servers offer TLS, with the certificate and the key that the script has made; false where it
/// has made none.
fn offer(stage: &mut Stage) -> Result<bool> {
    let Some(stem) = stage.options.tls.clone() else {
        return Ok(false);
    };
    for session in [&mut stage.source, &mut stage.destination] {
        for end in ["crt", "key"] {
            let path = format!("{stem}.{end}");
            let unreadable = |e| Error::new(Kind::Setting, path.clone()).caused_by(e);
            let pem = std::fs::read_to_string(&path).map_err(unreadable)?;
            // Written by the server's own user, readable by that user only.
            session.query(&format!(
                "COPY (SELECT unnest(string_to_array('{}', E'\\n'))) \
                 TO PROGRAM 'umask 077; cat > server.{end}'",
                pem.trim_end()
            ))?;
        }
        session.query("ALTER SYSTEM SET ssl = on")?;
        session.query("SELECT pg_reload_conf()")?;
        wait_until("the server offers TLS", || {
            Ok(value(session, "SHOW ssl")? == "on")
        })?;
    }
    Ok(true)
}
