//! The `zemi` program: arguments, logger, exit code; nothing else.

use std::process::ExitCode;

use zemi::commands::{Command, USAGE};
use zemi::config::{self, Config, LogFormat};
use zemi::error::{Error, Exit};
use zemi::observe::logger;
use zemi::pipeline::supervisor;

const VERSION: &str = env!("CARGO_PKG_VERSION");

const EXITS: &str = "
Exit codes: 0 stopped as asked, 64 bad argument, 69 given up, 70 bug, 75 another instance holds
the slot, 77 refused (password, permission, certificate), 78 bad setting.

Settings are environment variables; empty means unset:

";

fn main() -> ExitCode {
    ExitCode::from(run() as u8)
}

fn run() -> Exit {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("zemi {VERSION}: writes every change of a PostgreSQL database into a table, ");
            print!("exactly once\n\n{USAGE}{EXITS}{}", config::help());
            return Exit::Ok;
        }
        Ok(Command::Version) => {
            println!("zemi {VERSION}");
            return Exit::Ok;
        }
        Ok(command) => command,
        Err(e) => return report_early(&e),
    };
    let (config, warnings) = match Config::from_env() {
        Ok(read) => read,
        Err(e) => return report_early(&e),
    };
    if let Err(e) = logger::init(config.log_level, config.log_format) {
        return report_early(&e);
    }
    std::panic::set_hook(Box::new(|info| {
        log::error!("{info}. This is a bug: please report it with this line");
        std::process::exit(i32::from(Exit::Bug as u8));
    }));
    for warning in warnings {
        log::warn!("{warning}");
    }
    if command == Command::Run {
        return supervisor::run(config);
    }
    command
        .execute(&config)
        .unwrap_or_else(|e| supervisor::report(&e))
}

/// Reports an error from before the logger was installed.
fn report_early(error: &Error) -> Exit {
    // The settings could not be read as a whole: the format is taken from its variable.
    let json = std::env::var_os("LOG_FORMAT").is_some_and(|format| format == "json");
    let format = if json {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let _ = logger::init(log::LevelFilter::Info, format);
    supervisor::report(error)
}
