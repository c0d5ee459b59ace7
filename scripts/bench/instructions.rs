//! Instructions per change, counted by valgrind's callgrind: the only figure that another load on the
//! machine does not touch. Two runs of different length tell what a change costs and what the start does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use zemi::error::{Error, Kind, Result};

use crate::process::Tracker;
use crate::report::{Figure, Report};
use crate::shapes::{FULL, PLAIN, Shape, WIDE};
use crate::stage::{Stage, wait_until};

/// What is counted: the name, the shape, whether each row has a transaction of its own, whether rows are
/// updated.
const LOADS: [(&str, Shape, bool, bool); 4] = [
    ("bulk", PLAIN, false, false),
    ("backlog", PLAIN, true, false),
    ("full", FULL, false, true),
    ("wide", WIDE, false, false),
];

/// The numbers of changes of the two runs.
const COUNTS: [u64; 2] = [2_000, 20_000];

/// A program that used less than a hundredth of a second in this time has come to rest.
const REST: Duration = Duration::from_secs(1);

/// Instructions of all threads for one change of each load.
pub fn instructions(stage: &mut Stage, report: &mut Report) -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("bench: no valgrind here: instructions were not counted");
        return Ok(());
    }
    for (name, shape, alone, update) in LOADS {
        let mut counted = Vec::new();
        for rows in COUNTS {
            let all = format!("SELECT 1; {}", shape.insert("counted", 1, rows));
            stage.clear_source(&shape.create("counted"))?;
            stage.empty_changes()?;
            let statement = match (alone, update) {
                (true, _) => format!(
                    "DO $$ BEGIN FOR n IN 1 .. {rows} LOOP {}; COMMIT; END LOOP; END $$",
                    shape.insert("counted", "n", "n")
                ),
                (_, true) => {
                    stage.clear_source(&format!("{}; {all}", shape.create("counted")))?;
                    "UPDATE counted SET amount = amount + 1".to_owned()
                }
                (false, false) => shape.insert("counted", 1, rows),
            };
            counted.push(count(stage, &statement)?);
            stage.check_count(rows + 1)?;
        }
        if let [few, many] = counted[..] {
            let each = (many - few) / (COUNTS[1] - COUNTS[0]) as f64;
            report.add(Figure::new(name, "instructions per change", vec![each]));
        }
    }
    Ok(())
}

/// Instructions of a zemi that starts, writes what the statement changed, and stops.
fn count(stage: &mut Stage, statement: &str) -> Result<f64> {
    stage.source.query(statement)?;
    // With a key, for a table without one would take UPDATE out of the publication of all tables.
    let end = stage.commit(
        "CREATE TABLE IF NOT EXISTS counted_end (id bigserial PRIMARY KEY); \
         INSERT INTO counted_end DEFAULT VALUES",
    )?;
    let mut file: PathBuf = std::env::temp_dir();
    file.push(format!("zemi-bench-callgrind.{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind");
    command.arg(format!("--callgrind-out-file={}", file.display()));
    command.arg(&stage.options.zemi);
    let mut settings = stage.settings.clone();
    settings.push(("PATH", std::env::var("PATH").unwrap_or_default()));
    let tracker = Tracker::start(command, &settings)?;
    stage.wait_written(end.0)?;
    // A look at the publications follows a new table; both runs have to have it behind them.
    let mut used = 0.0;
    wait_until("zemi has come to rest", || {
        thread::sleep(REST);
        let before = std::mem::replace(&mut used, tracker.cpu()?.seconds);
        Ok(used == before)
    })?;
    stage.stop(tracker)?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    // The file goes with this run; one that is gone already is no matter.
    let _ = fs::remove_file(&file);
    total(&text).ok_or_else(|| Error::new(Kind::Bug, "callgrind wrote no totals"))
}

/// The sum of a callgrind file, of its line `totals:` or `summary:`.
fn total(text: &str) -> Option<f64> {
    let line = |name| text.lines().rev().find_map(|line| line.strip_prefix(name));
    let rest = line("totals:").or_else(|| line("summary:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("fn=(1)\n1 2\n\ntotals: 1234\n"), Some(1234.0));
        assert_eq!(total("summary: 77 3\n"), Some(77.0));
        assert_eq!(total("version: 1\n"), None);
    }
}
