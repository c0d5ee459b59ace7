//! Measures zemi beside the floors that its servers set, for `scripts/bench/bench.sh`, which starts the
//! servers and says by environment where they are.
//!
//! A floor is what the same clusters do with the same rows, in the same run, without zemi: a
//! server-side `COPY … FROM` into a table made and indexed as `changes` is, a drain of the same
//! slot by `pg_recvlogical`, one plain commit. Ratios to them hold on a noisy machine; the figures
//! themselves are of this machine only.

mod figures;
mod floor;
mod growth;
mod instructions;
mod kinds;
mod latency;
mod loads;
mod plot;
mod process;
mod quiet;
mod report;
mod shapes;
mod stage;
mod tls;

use std::process::ExitCode;
use std::time::Instant;

use zemi::error::{Error, Kind, Result};

use report::Report;
use stage::{Options, Stage};

/// The parts of the benchmark, in the order in which they run.
const PARTS: [(&str, Part); 15] = [
    ("start", quiet::start),
    ("idle", quiet::idle),
    ("latency", latency::latency),
    ("bulk", loads::bulk),
    ("backlog", loads::backlog),
    ("live", loads::live),
    ("full", kinds::full),
    ("wide", kinds::wide),
    ("large", kinds::large),
    ("tables", kinds::tables),
    ("same", kinds::same),
    ("tls", tls::tls),
    ("instructions", instructions::instructions),
    ("million", loads::million),
    ("growth", growth::growth),
];

/// Parts that run only when they are named.
const MORE: [(&str, Part); 1] = [("pending", growth::pending)];

type Part = fn(&mut Stage, &mut Report) -> Result<()>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let json = match (arguments.next(), arguments.next()) {
        (Some(word), Some(json)) if word == "--figures" => return figures::write(&json),
        (Some(json), None) => json,
        _ => {
            let expected =
                "expected the path of the JSON file to write, or --figures and one to read";
            return Err(Error::new(Kind::Argument, expected));
        }
    };
    let options = Options::from_env()?;
    let wanted = chosen(&options.parts)?;
    let mut stage = Stage::set(options, Vec::new())?;
    let mut report = Report::new(stage.facts()?);
    for (name, part) in wanted {
        eprintln!("bench: {name}");
        let started = Instant::now();
        part(&mut stage, &mut report).map_err(|e| e.at(name))?;
        eprintln!(
            "bench: {name} took {:.0} s",
            started.elapsed().as_secs_f64()
        );
        // After each part, so that an end before the last one leaves what was measured.
        report.write(&json)?;
    }
    print!("{}", report.table());
    eprintln!("bench: wrote {json}");
    Ok(())
}

/// The parts that a comma list names; all where it is empty.
fn chosen(list: &str) -> Result<Vec<(&'static str, Part)>> {
    let names: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .collect();
    let all = || PARTS.iter().chain(&MORE);
    if let Some(unknown) = names.iter().find(|n| all().all(|p| p.0 != **n)) {
        let known: Vec<&str> = all().map(|p| p.0).collect();
        return Err(Error::new(
            Kind::Argument,
            format!(
                "BENCH: expected some of {}, found {unknown}",
                known.join(", ")
            ),
        ));
    }
    if names.is_empty() {
        return Ok(PARTS.to_vec());
    }
    Ok(all()
        .filter(|part| names.contains(&part.0))
        .copied()
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_run_in_their_own_order() {
        let names = |list| {
            chosen(list)
                .unwrap()
                .iter()
                .map(|p| p.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("latency, bulk"), ["latency", "bulk"]);
        assert_eq!(names("pending"), ["pending"]);
        assert_eq!(names("").len(), PARTS.len());
        assert!(chosen("bulk,blk").unwrap_err().to_string().contains("blk"));
    }
}
