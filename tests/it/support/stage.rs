//! One server with zemi on it, which writes its changes into the same database.

use super::scene::{caught_up, settings, streaming};
use super::{Server, Sql, Zemi};

/// A session of the application's, zemi, and the server beneath them. They are dropped in this order,
/// so that zemi is gone before its server.
pub struct Stage {
    /// The application's session.
    pub sql: Sql,
    /// The program under test.
    pub zemi: Zemi,
    /// The server.
    pub server: Server,
}

impl Stage {
    /// Starts a server of this version, runs `before` on it, then starts zemi with these settings
    /// beside those of the connection, and waits until it streams.
    pub fn new(major: u32, before: &str, more: &[(&str, &str)]) -> Stage {
        Stage::on(Server::start(major, &[]), before, more)
    }

    /// As [`Stage::new`], on a server that runs already.
    pub fn on(server: Server, before: &str, more: &[(&str, &str)]) -> Stage {
        let mut sql = Sql::open(&server, "postgres");
        sql.run(before);
        let mut settings = settings(&server, None);
        settings.extend(more.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())));
        let zemi = streaming(&settings);
        Stage { sql, zemi, server }
    }

    /// Waits until all that was committed so far is in `changes`; then these columns of the changes
    /// of one table, in the order of their positions: joined by `|`, NULL as `-`, one change a line.
    pub fn changes_of(&mut self, table: &str, columns: &str) -> String {
        self.changes_where(&format!("\"table\" = '{table}'"), columns)
    }

    /// As [`Stage::changes_of`], for the changes that meet a condition.
    pub fn changes_where(&mut self, condition: &str, columns: &str) -> String {
        caught_up(&mut self.sql);
        self.sql.text(&format!(
            "SELECT {columns} FROM public.changes WHERE {condition} ORDER BY position"
        ))
    }
}
