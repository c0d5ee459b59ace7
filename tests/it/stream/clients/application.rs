//! One script as an application.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::environment::run;
use crate::support::Server;
use crate::support::cluster::PASSWORD;

/// A script that is called with the server's port, the password of `postgres` and the name of what it
/// has to do: `migrate` (its own table and what its package makes), `write` (all its changes), `more`
/// (one row named `more`).
#[derive(Debug, Clone)]
pub struct Application {
    command: Vec<PathBuf>,
}

impl Application {
    /// The application that this program runs: a script of this folder, then other arguments before
    /// those above.
    pub fn new(program: &Path, script: &str, arguments: &[&Path]) -> Application {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stream/clients");
        let mut command = vec![program.to_owned(), folder.join(script)];
        command.extend(arguments.iter().map(|&a| a.to_owned()));
        Application { command }
    }

    /// Does one of these things with the database `postgres` of a server.
    pub fn run(&self, server: &Server, what: &str) {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command.arg(server.port().to_string()).arg(PASSWORD);
        run(command.arg(what));
    }
}
