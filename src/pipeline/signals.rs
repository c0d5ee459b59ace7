//! SIGTERM and SIGINT, and the end of the process where its threads do not end by themselves.

use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Exit, Kind, Result};
use crate::threads::STACK;

/// How long after `SHUTDOWN_TIMEOUT` the process is ended where the main thread itself is held up.
const LIMIT_SLACK: Duration = Duration::from_millis(200);

/// Calls `stop` at the first SIGTERM or SIGINT; the second one ends the process at once.
///
/// The main thread may wait for a server that does not answer: the time limit is held by a thread of its
/// own. `late` is the exit code of a process that had no time to do all that it was asked for.
///
/// # Errors
/// No handler can be registered, or no thread started.
pub(super) fn listen(
    shutdown_timeout: Duration,
    late: Exit,
    stop: impl Fn() + Send + 'static,
) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Error::new(Kind::Bug, "cannot listen to signals").caused_by(e))?;
    thread::Builder::new()
        .name("signals".into())
        .stack_size(STACK)
        .spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count > 0 {
                    leave("stopped at once", late);
                }
                stop();
                leave_after(shutdown_timeout + LIMIT_SLACK, late);
            }
        })
        .map(drop)
        .map_err(|e| Error::new(Kind::Bug, "cannot start a thread").caused_by(e))
}

fn leave_after(limit: Duration, late: Exit) {
    let spawned = thread::Builder::new()
        .name("limit".into())
        .stack_size(STACK)
        .spawn(move || {
            thread::sleep(limit);
            leave("SHUTDOWN_TIMEOUT is over", late);
        });
    if let Err(e) = spawned {
        log::warn!("cannot watch over SHUTDOWN_TIMEOUT: {e}");
    }
}

/// Ends the process, as asked, whatever its threads wait for.
fn leave(why: &str, late: Exit) {
    log::warn!("{why}: what was not written yet comes again at the next start");
    std::process::exit(i32::from(late as u8));
}
