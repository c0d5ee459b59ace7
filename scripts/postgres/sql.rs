//! A small stand-in for psql, on zemi's own client: the demo needs no PostgreSQL client installed.
//!
//! ```text
//! sql [-t] ['statements']             runs them (or standard input) and prints what they return
//! sql --copy 'COPY t FROM STDIN'      sends standard input as the rows
//! ```
//!
//! `-t` prints the rows alone, columns separated by `|`. The connection comes from `DB_HOST`,
//! `DB_PORT`, `DB_NAME`, `DB_USER` and `DB_PASSWORD`.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use zemi::config::Config;
use zemi::error::{Error, Kind, Result};
use zemi::wire::{Connection, ResultSet};

const USAGE: &str = "sql [-t] ['statements'] | sql --copy 'COPY t FROM STDIN'";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sql: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    /// Run these statements, or those of standard input.
    Query {
        statements: Option<String>,
        tuples_only: bool,
    },
    /// Send standard input as the rows of this COPY.
    Copy(String),
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Task> {
    let (mut statements, mut copy, mut tuples_only) = (None, None, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-t" => tuples_only = true,
            "--copy" => copy = Some(args.next().ok_or_else(usage)?),
            _ if arg.starts_with('-') || statements.is_some() => return Err(usage()),
            _ => statements = Some(arg),
        }
    }
    match copy {
        None => Ok(Task::Query {
            statements,
            tuples_only,
        }),
        Some(copy) if statements.is_none() && !tuples_only => Ok(Task::Copy(copy)),
        Some(_) => Err(usage()),
    }
}

fn usage() -> Error {
    Error::new(Kind::Argument, format!("expected {USAGE}"))
}

fn run() -> Result<()> {
    let task = parse(std::env::args().skip(1))?;
    let (config, warnings) = Config::from_env()?;
    for warning in warnings {
        eprintln!("sql: {warning}");
    }
    let session = [("application_name", "sql")];
    let mut connection = Connection::open(&config.source, &session, config.connect_timeout)?;
    match task {
        Task::Query {
            statements,
            tuples_only,
        } => {
            let statements = statements.map_or_else(read_statements, Ok)?;
            let results = connection.query(&statements)?;
            let mut text = String::new();
            for result in &results {
                if tuples_only {
                    tuples(result, &mut text);
                } else {
                    table(result, &mut text);
                }
            }
            print(&text)
        }
        Task::Copy(statement) => {
            let rows = connection.copy_in(&statement, &read_input()?)?;
            print(&format!("COPY {rows}\n"))
        }
    }
}

fn read_input() -> Result<Vec<u8>> {
    let mut data = Vec::new();
    io::stdin().read_to_end(&mut data).map_err(|e| input(&e))?;
    Ok(data)
}

fn read_statements() -> Result<String> {
    String::from_utf8(read_input()?).map_err(|e| input(&e))
}

fn input(why: &dyn std::error::Error) -> Error {
    Error::new(Kind::Argument, format!("standard input: {why}"))
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::new(
            Kind::Argument,
            format!("standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// The rows alone, columns separated by `|`, NULL as nothing.
fn tuples(result: &ResultSet, text: &mut String) {
    for row in &result.rows {
        let cells: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap_or("")).collect();
        text.push_str(&cells.join("|"));
        text.push('\n');
    }
}

/// A table with aligned columns; the command tag where there are no columns.
fn table(result: &ResultSet, text: &mut String) {
    if result.columns.is_empty() {
        text.push_str(&result.tag);
        text.push('\n');
        return;
    }
    let rows: Vec<Vec<String>> = result.rows.iter().map(|row| cells(row)).collect();
    let mut widths: Vec<usize> = result.columns.iter().map(|c| c.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(&result.columns, &widths, text);
    let dashes: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
    text.push_str(&dashes.join("+"));
    text.push('\n');
    for row in &rows {
        line(row, &widths, text);
    }
    let plural = if rows.len() == 1 { "" } else { "s" };
    text.push_str(&format!("({} row{plural})\n", rows.len()));
}

/// A row's values on one line each.
fn cells(row: &[Option<String>]) -> Vec<String> {
    let one_line = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or("");
        value.replace('\n', "\\n")
    };
    row.iter().map(one_line).collect()
}

fn line(cells: &[String], widths: &[usize], text: &mut String) {
    let cells = cells.iter().zip(widths);
    let padded: Vec<String> = cells.map(|(c, width)| format!(" {c:<width$} ")).collect();
    text.push_str(padded.join("|").trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn result() -> ResultSet {
        let row = |a: &str, b: Option<&str>| vec![Some(a.to_owned()), b.map(str::to_owned)];
        ResultSet {
            columns: vec!["id".into(), "name".into()],
            rows: vec![row("1", Some("Zoë")), row("1234", None)],
            tag: "SELECT 2".into(),
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let mut text = String::new();
        table(&result(), &mut text);
        let expected = " id   | name\n------+------\n 1    | Zoë\n 1234 |\n(2 rows)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn tuples_are_bare() {
        let mut text = String::new();
        tuples(&result(), &mut text);
        assert_eq!(text, "1|Zoë\n1234|\n");
    }

    #[test]
    fn arguments_are_a_query_or_a_copy() {
        let parsed = |args: &[&str]| parse(args.iter().map(|a| (*a).to_owned()));
        let query = |statements: Option<&str>, tuples_only| Task::Query {
            statements: statements.map(str::to_owned),
            tuples_only,
        };
        assert_eq!(parsed(&[]).unwrap(), query(None, false));
        let both = parsed(&["-t", "SELECT 1"]).unwrap();
        assert_eq!(both, query(Some("SELECT 1"), true));
        let copy = parsed(&["--copy", "COPY t FROM STDIN"]).unwrap();
        assert_eq!(copy, Task::Copy("COPY t FROM STDIN".into()));
        for wrong in [
            &["--copy"][..],
            &["a", "b"],
            &["-x"],
            &["--copy", "a", "b"],
            &["--copy", "a", "-t"],
        ] {
            assert_eq!(
                parsed(wrong).unwrap_err().kind(),
                Kind::Argument,
                "{wrong:?}"
            );
        }
    }
}
