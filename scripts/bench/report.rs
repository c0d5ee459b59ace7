//! The figures: as a table on standard output, and as a JSON file.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use zemi::error::{Error, Kind, Result};

/// One measure of one load.
pub struct Figure {
    load: &'static str,
    /// The unit first.
    measure: String,
    runs: Vec<f64>,
    floor: Option<Floor>,
}

struct Floor {
    name: &'static str,
    runs: Vec<f64>,
}

impl Figure {
    /// A measure with its value in each run.
    pub fn new(load: &'static str, measure: &str, runs: Vec<f64>) -> Figure {
        Figure {
            load,
            measure: measure.to_owned(),
            runs,
            floor: None,
        }
    }

    /// The same with the floor that was measured in the same runs.
    pub fn beside(mut self, name: &'static str, runs: Vec<f64>) -> Figure {
        self.floor = Some(Floor { name, runs });
        self
    }

    /// The ratio to the floor: the median of the runs' own ratios, since what disturbs a run disturbs
    /// its floor too.
    fn ratio(&self) -> Option<f64> {
        let floor = self.floor.as_ref()?;
        let pairs = self.runs.iter().zip(&floor.runs);
        Some(median(
            &pairs.map(|(zemi, floor)| zemi / floor).collect::<Vec<_>>(),
        ))
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "load": self.load,
            "measure": self.measure,
            "median": median(&self.runs),
            "runs": self.runs,
        });
        if let Some(floor) = &self.floor {
            value["floor"] = json!({
                "name": floor.name,
                "median": median(&floor.runs),
                "runs": floor.runs,
            });
            value["ratio"] = self.ratio().into();
        }
        value
    }

    fn cells(&self) -> [String; 7] {
        let floor = self.floor.as_ref();
        [
            self.load.to_owned(),
            self.measure.clone(),
            number(median(&self.runs)),
            floor.map_or(String::new(), |f| f.name.to_owned()),
            floor.map_or(String::new(), |f| number(median(&f.runs))),
            self.ratio().map_or(String::new(), |r| format!("{r:.2}")),
            if self.runs.len() > 1 {
                let runs: Vec<String> = self.runs.iter().map(|v| number(*v)).collect();
                runs.join(" ")
            } else {
                String::new()
            },
        ]
    }
}

/// All that was measured.
pub struct Report {
    facts: Value,
    figures: Vec<Figure>,
    series: Vec<Series>,
}

/// A line of a plot.
struct Series {
    plot: &'static str,
    name: &'static str,
    points: Vec<[f64; 2]>,
}

const HEAD: [&str; 7] = ["load", "measure", "zemi", "floor", "", "ratio", "each run"];

/// The columns of numbers, which are aligned to the right.
const NUMBERS: [usize; 3] = [2, 4, 5];

impl Report {
    /// An empty one; `facts` are the conditions that the figures depend on.
    pub fn new(facts: Value) -> Report {
        Report {
            facts,
            figures: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds points to a line of a plot.
    pub fn point(&mut self, plot: &'static str, name: &'static str, points: Vec<[f64; 2]>) {
        match self
            .series
            .iter_mut()
            .find(|s| s.plot == plot && s.name == name)
        {
            Some(series) => series.points.extend(points),
            None => self.series.push(Series { plot, name, points }),
        }
    }

    /// All of it, as it is written to the file.
    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let series = |s: &Series| json!({ "plot": s.plot, "name": s.name, "points": s.points });
        let series: Vec<Value> = self.series.iter().map(series).collect();
        json!({ "facts": self.facts, "figures": figures, "series": series })
    }

    /// The table.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned))
            .chain(self.figures.iter().map(Figure::cells))
            .collect();
        let width = |column: usize| {
            let lengths = rows.iter().filter_map(|row| row.get(column));
            lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut table = format!("{}\n\n", self.facts_line());
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                let cell = match NUMBERS.contains(&column) {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                };
                line.push_str(&cell);
                line.push_str("  ");
            }
            table.push_str(line.trim_end());
            table.push('\n');
        }
        if self.facts["pg_recvlogical"] == false {
            table.push_str("\nNo pg_recvlogical here: the floor of the source was left out.\n");
        }
        table
    }

    fn facts_line(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        format!(
            "zemi {} ({} bytes), PostgreSQL {} to {}, fsync {}, shared_buffers {}, {} x {}, ROWS={}",
            text(&self.facts["commit"]),
            self.facts["zemi_bytes"],
            text(&self.facts["source"]["server_version"]),
            text(&self.facts["destination"]["server_version"]),
            text(&self.facts["destination"]["fsync"]),
            text(&self.facts["destination"]["shared_buffers"]),
            self.facts["cores"],
            text(&self.facts["cpu"]),
            self.facts["rows"],
        )
    }

    /// Writes the JSON.
    pub fn write(&self, path: &str) -> Result<()> {
        let all = self.json();
        let failed = |e| Error::new(Kind::Argument, format!("cannot write {path}")).caused_by(e);
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(path, format!("{all:#}\n")).map_err(failed)
    }
}

/// The middle of the values; of two middles, their mean. 0 where there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => at(middle),
        _ => (at(middle.saturating_sub(1)) + at(middle)) / 2.0,
    }
}

/// The value below or at which this part of the sorted values lies (the nearest rank).
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Three digits that count, more where the number has them before the point.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let found = [0.5, 0.95, 0.99, 1.0].map(|part| quantile(&values, part));
        assert_eq!(found, [500.0, 950.0, 990.0, 1000.0]);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn the_ratio_is_that_of_runs_with_their_own_floors() {
        let figure = Figure::new("bulk", "changes/s", vec![10.0, 50.0, 90.0]);
        let figure = figure.beside("COPY", vec![20.0, 50.0, 100.0]);
        assert_eq!(figure.ratio(), Some(0.9));
        let json = figure.json();
        assert_eq!(json["median"], 50.0);
        assert_eq!(json["floor"]["runs"][2], 100.0);
    }

    #[test]
    fn the_table_is_aligned() {
        let mut report = Report::new(json!({}));
        let figure = Figure::new("bulk", "changes/s", vec![1.0, 3.0, 2.0]);
        report.add(figure.beside("COPY", vec![4.0, 6.0, 4.0]));
        report.add(Figure::new("idle", "MB", vec![0.25]));
        let table = report.table();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "load  measure     zemi  floor        ratio  each run",
                "bulk  changes/s   2.00  COPY   4.00   0.50  1.00 3.00 2.00",
                "idle  MB         0.250",
            ]
        );
    }
}
