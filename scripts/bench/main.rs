//! Measures zemi beside the floors that its servers set, for `scripts/bench.sh`, which starts the
//! servers and says by environment where they are.
//!
//! A floor is what the same clusters do with the same rows, in the same run, without zemi: a
//! server-side `COPY … FROM` into a table made and indexed as `changes` is, a drain of the same
//! slot by `pg_recvlogical`, one plain commit. Ratios to them hold on a noisy machine; the figures
//! themselves are of this machine only.

mod floor;
mod latency;
mod loads;
mod process;
mod quiet;
mod report;
mod stage;

use std::process::ExitCode;

use zemi::error::{Error, Kind, Result};

use report::Report;
use stage::{Options, Stage};

/// The parts of the benchmark, in the order in which they run.
const PARTS: [(&str, Part); 6] = [
    ("start", quiet::start),
    ("idle", quiet::idle),
    ("bulk", loads::bulk),
    ("backlog", loads::backlog),
    ("live", loads::live),
    ("latency", latency::latency),
];

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
    let json = std::env::args().nth(1).ok_or_else(|| {
        Error::new(
            Kind::Argument,
            "expected the path of the JSON file to write",
        )
    })?;
    let options = Options::from_env()?;
    let wanted = chosen(&options.parts)?;
    let mut stage = Stage::set(options)?;
    let mut report = Report::new(stage.facts()?);
    for (name, part) in wanted {
        eprintln!("bench: {name}");
        part(&mut stage, &mut report).map_err(|e| e.at(name))?;
    }
    print!("{}", report.table());
    report.write(&json)?;
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
    if let Some(unknown) = names.iter().find(|n| PARTS.iter().all(|p| p.0 != **n)) {
        let known: Vec<&str> = PARTS.iter().map(|p| p.0).collect();
        return Err(Error::new(
            Kind::Argument,
            format!(
                "BENCH: expected some of {}, found {unknown}",
                known.join(", ")
            ),
        ));
    }
    let wanted = |part: &&(&str, Part)| names.is_empty() || names.contains(&part.0);
    Ok(PARTS.iter().filter(wanted).copied().collect())
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
        assert_eq!(names("latency, bulk"), ["bulk", "latency"]);
        assert_eq!(names("").len(), PARTS.len());
        assert!(chosen("bulk,blk").unwrap_err().to_string().contains("blk"));
    }
}
