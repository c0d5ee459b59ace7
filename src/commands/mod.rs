//! The subcommands: `check`, `status`, `cleanup`, `health`.
//!
//! Each prints to standard output and ends with an exit code. Only `cleanup --yes` changes anything.

mod check;
mod cleanup;
mod finding;
mod health;
mod output;
mod report;
mod status;

use std::ffi::OsString;

use crate::config::Config;
use crate::error::{Error, Exit, Kind, Result};

/// The command of the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// No argument: follow the stream.
    Run,
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `check [--json]`
    Check {
        /// Print JSON.
        json: bool,
    },
    /// `status [--json]`
    Status {
        /// Print JSON.
        json: bool,
    },
    /// `cleanup [--yes]`
    Cleanup {
        /// Drop, and not only list what would be dropped.
        yes: bool,
    },
    /// `health`
    Health,
}

/// For `--help`.
pub const USAGE: &str = "\
Usage: zemi                     follow the source and write its changes
       zemi check [--json]      look at both sides and say what would not work
       zemi status [--json]     where slot and progress stand
       zemi cleanup [--yes]     show, or drop, the slot, the publications and the progress
       zemi health              ask a running zemi at HEALTH_PORT whether it lives
       zemi --help | --version
";

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// [`Kind::Argument`] for anything else than what [`USAGE`] says.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let words: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
        let known = match words.as_slice() {
            _ if words.len() < arguments.len() => None,
            [] => Some(Command::Run),
            ["--help" | "-h" | "help"] => Some(Command::Help),
            ["--version" | "-V"] => Some(Command::Version),
            ["check"] => Some(Command::Check { json: false }),
            ["check", "--json"] => Some(Command::Check { json: true }),
            ["status"] => Some(Command::Status { json: false }),
            ["status", "--json"] => Some(Command::Status { json: true }),
            ["cleanup"] => Some(Command::Cleanup { yes: false }),
            ["cleanup", "--yes"] => Some(Command::Cleanup { yes: true }),
            ["health"] => Some(Command::Health),
            _ => None,
        };
        known.ok_or_else(|| {
            let found: Vec<String> = arguments.iter().map(|a| format!("{a:?}")).collect();
            Error::new(
                Kind::Argument,
                format!(
                    "expected no argument or a command that zemi --help names, found {}",
                    found.join(" ")
                ),
            )
            .hint("zemi is set up by environment variables: zemi --help")
        })
    }

    /// Runs a command that is not [`Command::Run`] and needs the settings.
    ///
    /// # Errors
    /// Every error of the settings, the connections and the queries.
    pub fn execute(self, config: &Config) -> Result<Exit> {
        match self {
            Command::Check { json } => check::run(config, json),
            Command::Status { json } => status::run(config, json),
            Command::Cleanup { yes } => cleanup::run(config, yes),
            Command::Health => health::run(config),
            Command::Run | Command::Help | Command::Version => Ok(Exit::Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Option<Command> {
        Command::parse(words.iter().map(Into::into)).ok()
    }

    #[test]
    fn arguments_are_a_command_and_its_own_option() {
        assert_eq!(parse(&[]), Some(Command::Run));
        assert_eq!(parse(&["-V"]), Some(Command::Version));
        assert_eq!(
            parse(&["status", "--json"]),
            Some(Command::Status { json: true })
        );
        assert_eq!(parse(&["cleanup"]), Some(Command::Cleanup { yes: false }));
        for bad in [
            &["--json"][..],
            &["status", "--yes"],
            &["cleanup", "--yes", "--yes"],
            &["run"],
            &[""],
            &["status", ""],
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
