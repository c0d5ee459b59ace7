//! From the JSON of a run to what `scripts/bench/README.md` shows of it: the table between two marks,
//! and the plots.

use std::fmt::Write;
use std::fs;

use serde_json::Value;
use zemi::error::{Error, Kind, Result};

use crate::plot::Plot;

const README: &str = "scripts/bench/README.md";
/// The folder of the plots, beside the README that shows them.
const PLOTS: &str = "scripts/bench/plots";
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- /figures -->";

/// The loads of the table, and what they are in words.
const LOADS: [(&str, &str); 10] = [
    ("bulk", "one transaction of 300,000 rows of 280 bytes"),
    ("million", "one of 1,000,000 rows"),
    ("backlog", "100,000 transactions of one row, waiting"),
    ("live", "transactions of 10 rows by 8 clients, live"),
    ("full", "UPDATE of 100,000 rows, REPLICA IDENTITY FULL"),
    ("wide", "30,000 rows of 60 columns"),
    ("tables", "100,000 rows in 100 tables, 100 a transaction"),
    ("same", "100,000 rows, source and destination one database"),
    ("1MB", "40 rows with a value of 1 MB"),
    ("50MB", "3 rows with a value of 50 MB"),
];

/// Writes both, into the tree that this program was built from.
pub fn write(json: &str) -> Result<()> {
    let unreadable = |e: String| Error::new(Kind::Argument, format!("cannot use {json}: {e}"));
    let text = fs::read_to_string(json).map_err(|e| unreadable(e.to_string()))?;
    let run: Value = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
    if run["facts"]["rows"] != 300_000 {
        return Err(unreadable(
            "the words of the table are those of ROWS=300000".into(),
        ));
    }
    let readme = fs::read_to_string(README).map_err(|e| failed(README, e))?;
    let readme = between_marks(&readme, &table(&run)).ok_or_else(|| {
        Error::new(
            Kind::Argument,
            format!("expected the mark {BEGIN} in {README}, found none"),
        )
    })?;
    fs::write(README, readme).map_err(|e| failed(README, e))?;
    fs::create_dir_all(PLOTS).map_err(|e| failed(PLOTS, e))?;
    for (name, plot) in plots(&run) {
        let path = format!("{PLOTS}/{name}.svg");
        fs::write(&path, plot.svg()).map_err(|e| failed(&path, e))?;
    }
    Ok(())
}

fn failed(path: &str, e: std::io::Error) -> Error {
    Error::new(Kind::Argument, format!("cannot write {path}")).caused_by(e)
}

/// The text with what is between the marks replaced; where there is no second mark, it is set.
fn between_marks(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let after = rest.split_once(END).map_or(rest, |parts| parts.1);
    Some(format!("{before}{BEGIN}\n{new}{END}{after}"))
}

/// The figure of this load whose measure begins so.
fn find<'a>(run: &'a Value, load: &str, measure: &str, floor: &str) -> Option<&'a Value> {
    run["figures"].as_array()?.iter().find(|figure| {
        let begins = figure["measure"]
            .as_str()
            .is_some_and(|m| m.starts_with(measure));
        let beside = floor.is_empty() || figure["floor"]["name"] == floor;
        figure["load"] == load && begins && beside
    })
}

fn median(run: &Value, load: &str, measure: &str) -> Option<f64> {
    find(run, load, measure, "")?["median"].as_f64()
}

/// Thousands apart, few digits behind the point.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    if value < 100.0 {
        return format!("{value:.*}", if value < 10.0 { 2 } else { 1 });
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table(run: &Value) -> String {
    let facts = &run["facts"];
    let fact = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = format!(
        "Zemi {}, PostgreSQL {}, {} x {}, fsync on, both servers and zemi on that one machine:\n\n",
        fact(&facts["commit"]),
        fact(&facts["source"]["server_version"])
            .split(' ')
            .next()
            .unwrap_or_default(),
        facts["cores"],
        fact(&facts["cpu"]),
    );
    text.push_str(
        "| load | changes/s | of the COPY floor | CPU µs a change | instructions | peak MB |\n",
    );
    text.push_str("|---|--:|--:|--:|--:|--:|\n");
    for (load, words) in LOADS {
        let Some(rate) = median(run, load, "changes/s") else {
            continue;
        };
        let ratio = find(run, load, "changes/s", "COPY").and_then(|f| f["ratio"].as_f64());
        let _ = writeln!(
            text,
            "| {words} | {} | {} | {} | {} | {} |",
            number(Some(rate)),
            number(ratio),
            number(median(run, load, "µs of CPU per change (")),
            number(median(run, load, "instructions")),
            number(median(run, load, "MB of memory at the peak")),
        );
    }
    latencies(run, &mut text);
    start_and_growth(run, &mut text);
    for (name, words) in [
        (
            "throughput",
            "Changes per second by the rows of a transaction",
        ),
        ("latency", "Latency by the part of the commits"),
        ("memory", "Memory over the time of a million rows"),
    ] {
        let _ = write!(text, "\n![{words}](plots/{name}.svg)");
    }
    text.push('\n');
    text
}

/// The table of the time from COMMIT to visible, beside that of a plain commit.
fn latencies(run: &Value, text: &mut String) {
    text.push_str(
        "\n| from COMMIT to visible, ms | p50 | p95 | p99 | max |\n|---|--:|--:|--:|--:|\n",
    );
    for (name, words) in [("quiet", "quiet"), ("500 tx/s", "at 500 transactions/s")] {
        let at = |part: &str| {
            find(
                run,
                "latency",
                &format!("ms, COMMIT to visible, {name}, {part}"),
                "",
            )
        };
        let parts = ["p50", "p95", "p99", "max"].map(at);
        let cells = |value: &dyn Fn(&Value) -> Option<f64>| {
            parts
                .map(|figure| number(figure.and_then(value)))
                .join(" | ")
        };
        let _ = writeln!(
            text,
            "| zemi, {words} | {} |",
            cells(&|f| f["median"].as_f64())
        );
        let _ = writeln!(
            text,
            "| one plain commit, {words} | {} |",
            cells(&|f| f["floor"]["median"].as_f64())
        );
    }
}

/// The lines of an idle zemi, of its start, and of ten times the rows.
fn start_and_growth(run: &Value, text: &mut String) {
    let start = find(run, "start", "ms, exec to streaming", "").unwrap_or(&Value::Null);
    let _ = writeln!(
        text,
        "\nIdle: {} MB, {} % of a CPU, {} wake-ups/s, {} rows/h written. Start: {} ms to the first line of \
         the log, {} ms to streaming; one login and `SELECT 1` {} ms.",
        number(median(run, "idle", "MB of memory (")),
        median(run, "idle", "% of a CPU").map_or(String::new(), |v| format!("{v:.3}")),
        number(median(run, "idle", "wake-ups")),
        number(median(run, "idle", "rows written/h, destination")),
        number(median(run, "start", "ms, exec to first")),
        number(start["median"].as_f64()),
        number(start["floor"]["median"].as_f64()),
    );
    if find(run, "growth", "times as long", "").is_some() {
        let figures = run["figures"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let all: Vec<String> = figures
            .iter()
            .filter(|f| {
                f["load"] == "growth"
                    && f["measure"]
                        .as_str()
                        .is_some_and(|m| m.starts_with("times"))
            })
            .map(|f| {
                let from = f["measure"].as_str().and_then(|m| m.rsplit_once("from "));
                let copy = f["floor"]["median"].as_f64();
                let copy = copy.map_or(String::new(), |c| format!(" (COPY {})", number(Some(c))));
                format!(
                    "{} from {}{copy}",
                    number(f["median"].as_f64()),
                    from.map_or("", |p| p.1)
                )
            })
            .collect();
        let _ = writeln!(
            text,
            "Ten times the rows take so many times as long: {}.",
            all.join(", ")
        );
    }
}

fn plots(run: &Value) -> Vec<(&'static str, Plot<'static>)> {
    let lines = |plot: &str| -> Vec<(String, Vec<[f64; 2]>)> {
        let all = run["series"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let of_plot = all.iter().filter(|s| s["plot"] == plot);
        of_plot
            .map(|series| {
                let name = series["name"].as_str().unwrap_or_default().to_owned();
                let points = series["points"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let number = |value: &Value| value.as_f64().unwrap_or(0.0);
                let points: Vec<[f64; 2]> = points
                    .iter()
                    .map(|p| [number(&p[0]), number(&p[1])])
                    .collect();
                (name, points)
            })
            .collect()
    };
    let throughput = lines("throughput")
        .into_iter()
        .map(|(name, points)| (name, middles(points)));
    let plots = vec![
        (
            "throughput",
            Plot {
                title: "One transaction: throughput",
                axes: ["rows of the transaction", "changes/s"],
                logarithmic: [true, false],
                dots: true,
                lines: throughput.collect(),
            },
        ),
        (
            "latency",
            Plot {
                title: "From COMMIT to visible",
                axes: ["% of the commits", "ms"],
                logarithmic: [false, true],
                dots: false,
                lines: lines("latency"),
            },
        ),
        (
            "memory",
            Plot {
                title: "A million rows in one transaction: resident memory",
                axes: ["seconds", "MB"],
                logarithmic: [false, false],
                dots: false,
                lines: lines("memory")
                    .into_iter()
                    .map(|(n, p)| (n, thinned(p)))
                    .collect(),
            },
        ),
    ];
    plots
        .into_iter()
        .filter(|plot| !plot.1.lines.is_empty())
        .collect()
}

/// In ascending order, the middle one of the points with one x.
fn middles(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let runs = points.chunk_by(|a, b| a[0] == b[0]);
    runs.filter_map(|run| run.get(run.len() / 2).copied())
        .collect()
}

/// At most 200 of them.
fn thinned(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let step = points.len().div_ceil(200).max(1);
    points.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_between_the_marks_is_replaced_again_and_again() {
        let once = between_marks("a\n<!-- figures -->\nb\n", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- figures -->\nnew\n<!-- /figures -->\nb\n");
        let twice = between_marks(&once, "newer\n").unwrap();
        assert_eq!(twice, "a\n<!-- figures -->\nnewer\n<!-- /figures -->\nb\n");
        assert_eq!(between_marks("no mark", ""), None);
    }

    #[test]
    fn the_readme_has_the_marks_and_names_a_commit_without_changes() {
        let readme = include_str!("README.md");
        assert!(between_marks(readme, "").is_some() && readme.contains(END));
        assert!(!readme.contains("-dirty"));
    }

    #[test]
    fn numbers_are_for_people() {
        let found = [0.5, 12.34, 999.0, 1_234_567.0].map(|v| number(Some(v)));
        assert_eq!(found, ["0.50", "12.3", "999", "1,234,567"]);
    }

    #[test]
    fn the_middle_of_the_runs_is_shown() {
        let points = vec![[2.0, 1.0], [1.0, 9.0], [1.0, 5.0], [1.0, 7.0]];
        assert_eq!(middles(points), [[1.0, 7.0], [2.0, 1.0]]);
    }
}
