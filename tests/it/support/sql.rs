//! SQL on a test server, through zemi's own client.

use std::time::Duration;

use zemi::config::{Config, Endpoint};
use zemi::error::Error;
use zemi::wire::Connection;

use super::Server;

/// A session of the superuser. A statement that fails ends the test.
pub struct Sql(Connection);

impl Sql {
    /// Connects to a database as `postgres`.
    pub fn open(server: &Server, database: &str) -> Sql {
        Sql::try_open(server, database).unwrap_or_else(|e| panic!("{e}"))
    }

    /// As [`Sql::open`], for a server that may be away.
    pub fn try_open(server: &Server, database: &str) -> Result<Sql, Error> {
        Sql::as_role(server, database, "postgres", super::cluster::PASSWORD)
    }

    /// Connects as this role.
    pub fn as_role(
        server: &Server,
        database: &str,
        role: &str,
        password: &str,
    ) -> Result<Sql, Error> {
        let mut settings = server.settings("DB_", database);
        settings.push(("DB_USER".into(), role.into()));
        settings.push(("DB_PASSWORD".into(), password.into()));
        Sql::connect(&settings)
    }

    /// Connects to the source that these settings name.
    pub fn connect(settings: &[(String, String)]) -> Result<Sql, Error> {
        Sql::connect_within(settings, Duration::from_secs(10))
    }

    /// As [`Sql::connect`], within this time.
    pub fn connect_within(settings: &[(String, String)], limit: Duration) -> Result<Sql, Error> {
        Connection::open(&endpoint(settings), &[], limit).map(Sql)
    }

    /// Runs statements; the rows of the last one.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// As [`Sql::rows`], for statements that may fail.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        Ok(self.0.query(sql)?.pop().unwrap_or_default().rows)
    }

    /// Runs statements for their effect.
    pub fn run(&mut self, sql: &str) {
        self.rows(sql);
    }

    /// The single value of the last statement; "" for NULL or no row.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        rows.first()
            .and_then(|row| row.first()?.clone())
            .unwrap_or_default()
    }

    /// The rows as text: columns joined by `|`, NULL as `-`, one row a line.
    pub fn text(&mut self, sql: &str) -> String {
        let row = |row: &Vec<Option<String>>| {
            let values: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap_or("-")).collect();
            values.join("|")
        };
        self.rows(sql)
            .iter()
            .map(row)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Runs `COPY … FROM STDIN` with these lines.
    pub fn copy(&mut self, sql: &str, data: &str) -> u64 {
        self.try_copy(sql, data)
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// As [`Sql::copy`], where that may fail.
    pub fn try_copy(&mut self, sql: &str, data: &str) -> Result<u64, Error> {
        self.0.copy_in(sql, data.as_bytes())
    }
}

/// The source endpoint that these settings name.
fn endpoint(settings: &[(String, String)]) -> Endpoint {
    let vars = settings
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    // Later settings win, as in an environment.
    let vars: std::collections::HashMap<std::ffi::OsString, std::ffi::OsString> = vars.collect();
    Config::from_vars(vars)
        .expect("settings of a test server")
        .0
        .source
}
