//! The destination's first session, opened and asked while the source is asked for its identity: a start
//! waits for the slower of the two, not for both.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::session::{self, Prepared};
use crate::config::Config;
use crate::error::Result;

/// An attempt that ended longer ago is made again.
const FRESH: Duration = Duration::from_secs(1);

/// The stack of the thread that opens the session.
const STACK: usize = 512 * 1024;

/// A session that is being opened.
pub struct Early(Receiver<(Instant, Result<Prepared>)>);

impl Early {
    /// Opens it on a thread of its own.
    pub fn open(config: &Arc<Config>) -> Early {
        let (tell, opening) = bounded(1);
        let config = Arc::clone(config);
        let open = move || {
            let opened = session::prepare(&config);
            // Nobody wants it any more when the source refused.
            let _ = tell.send((Instant::now(), opened));
        };
        let thread = thread::Builder::new().name("destination".into());
        if let Err(e) = thread.stack_size(STACK).spawn(open) {
            log::debug!("cannot start a thread: {e}");
        }
        Early(opening)
    }

    /// What came of it, once; `None` when it was asked for already, or is no longer as good as new.
    pub(super) fn take(&self) -> Option<Result<Prepared>> {
        let (ended, opened) = self.0.recv().ok()?;
        (ended.elapsed() < FRESH).then_some(opened)
    }
}
