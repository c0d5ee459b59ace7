//! The `zemi` program: arguments, logger, exit code; nothing else.

use std::process::ExitCode;

use zemi::config::{self, Config, LogFormat};
use zemi::error::{Error, Exit, Kind};
use zemi::observe::logger;
use zemi::supervisor;

const USAGE: &str = concat!(
    "zemi ",
    env!("CARGO_PKG_VERSION"),
    ": writes every change of a PostgreSQL database into a table, exactly once\n\n",
    "Usage: zemi [--help | --version]\n\n",
    "Exit codes: 0 stopped as asked, 64 bad argument, 69 given up, 70 bug, 75 another instance holds\n",
    "the slot, 77 refused (password, permission), 78 bad setting.\n\n",
    "Settings are environment variables; empty means unset:\n\n",
);

fn main() -> ExitCode {
    ExitCode::from(run() as u8)
}

fn run() -> Exit {
    let mut arguments = std::env::args_os().skip(1);
    if let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => print!("{USAGE}{}", config::help()),
            Some("--version" | "-V") => println!("zemi {}", env!("CARGO_PKG_VERSION")),
            _ => {
                return say(&Error::new(
                    Kind::Argument,
                    format!("expected --help, --version or no argument, found {argument:?}"),
                )
                .hint("zemi is set up by environment variables: zemi --help"));
            }
        }
        return Exit::Ok;
    }
    let (config, warnings) = match Config::from_env() {
        Ok(read) => read,
        Err(e) => return say(&e),
    };
    if let Err(e) = logger::init(config.log_level, config.log_format) {
        return say(&e);
    }
    std::panic::set_hook(Box::new(|info| {
        log::error!("{info}. This is a bug: please report it with this line");
        std::process::exit(i32::from(Exit::Bug as u8));
    }));
    for warning in warnings {
        log::warn!("{warning}");
    }
    supervisor::run(config)
}

/// Says what ended the program before there was a logger.
fn say(error: &Error) -> Exit {
    // The logger writes in the format that was asked for; without settings there is only text.
    let _ = logger::init(log::LevelFilter::Info, LogFormat::Text);
    supervisor::report(error)
}
