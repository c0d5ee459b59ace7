//! What the servers do with the same rows, without zemi.

use std::process::{Command, Stdio};
use std::time::Instant;

use zemi::error::{Error, Kind, Result};
use zemi::fuzzing::change::RowShape;
use zemi::lsn::Lsn;
use zemi::wire::literal;

use crate::stage::Stage;

/// The password, as zemi and this program are given it.
const PASSWORD: &str = "DB_PASSWORD";

impl Stage {
    /// How many seconds a server-side binary COPY of the rows of `changes` takes, into a fresh table that
    /// was made and indexed as `changes` was.
    pub fn copy_floor(&mut self) -> Result<f64> {
        let file = literal(&self.options.file);
        let columns = RowShape::Plain.columns();
        self.destination.query(&format!(
            "COPY public.changes ({columns}) TO {file} (FORMAT binary)"
        ))?;
        self.make_floor_table()?;
        self.checkpoint()?;
        let started = Instant::now();
        self.destination.query(&format!(
            "COPY public.changes_floor ({columns}) FROM {file} (FORMAT binary)"
        ))?;
        let seconds = started.elapsed().as_secs_f64();
        // The server of another user wrote it, into a folder of its own; the next COPY empties it.
        self.destination.query("DROP TABLE public.changes_floor")?;
        Ok(seconds)
    }

    /// Makes `changes_floor`, empty and like `changes` in every respect.
    pub fn make_floor_table(&mut self) -> Result<()> {
        self.destination
            .query(
                "DROP TABLE IF EXISTS public.changes_floor; \
                 CREATE TABLE public.changes_floor (LIKE public.changes INCLUDING ALL)",
            )
            .map(drop)
    }

    /// How many seconds `pg_recvlogical` takes to read the same stream up to `end` and throw it away,
    /// its start included. `None` where there is no such program.
    pub fn drain_floor(&mut self, end: Lsn) -> Result<Option<f64>> {
        let Some(program) = &self.options.recvlogical else {
            return Ok(None);
        };
        let config = &self.options.config;
        let mut command = Command::new(program);
        command.args([
            "--slot=bench_floor",
            "--start",
            "--no-loop",
            "--file=/dev/null",
        ]);
        command.args(["--host=127.0.0.1", "--fsync-interval=0"]);
        command.arg(format!("--port={}", config.source.port));
        command.arg(format!("--username={}", config.source.user));
        command.arg(format!("--dbname={}", config.source.database));
        command.arg(format!("--endpos={end}"));
        for option in [
            "proto_version=1",
            "messages=true",
            &format!("publication_names={}", config.publication_name),
        ] {
            command.arg(format!("--option={option}"));
        }
        command.env("PGPASSWORD", std::env::var(PASSWORD).unwrap_or_default());
        command.stdin(Stdio::null());
        self.checkpoint()?;
        let started = Instant::now();
        let done = command.output();
        let seconds = started.elapsed().as_secs_f64();
        match done {
            Ok(output) if output.status.success() => Ok(Some(seconds)),
            Ok(output) => Err(Error::new(
                Kind::Bug,
                format!(
                    "pg_recvlogical failed: {}",
                    String::from_utf8_lossy(&output.stderr)
                ),
            )),
            Err(e) => Err(Error::new(Kind::Bug, "cannot run pg_recvlogical").caused_by(e)),
        }
    }
}
