//! Brings the publications in line again while the stream goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::change::Tracked;
use crate::config::Config;
use crate::destination::tables::Destination;
use crate::error::Result;
use crate::observe::metrics::Metrics;
use crate::source::catalog::OwnTables;
use crate::source::{self, publication};
use crate::threads::{STACK, lock};

/// The shortest time between two looks at all tables: relations that come in quick succession share one.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the publications in line, on a thread of its own: it may have to wait for a lock or for a server.
pub(crate) struct PublicationRefresh {
    config: Arc<Config>,
    destination: Arc<Destination>,
    metrics: Arc<Metrics>,
    warned: Arc<Mutex<BTreeSet<String>>>,
    running: Option<JoinHandle<()>>,
    /// New relations may come in quick succession: before this time, no look begins for their sake.
    not_before: Instant,
}

impl PublicationRefresh {
    /// Nothing is under way yet.
    pub(crate) fn new(
        config: &Arc<Config>,
        destination: &Arc<Destination>,
        metrics: &Arc<Metrics>,
    ) -> PublicationRefresh {
        PublicationRefresh {
            config: Arc::clone(config),
            destination: Arc::clone(destination),
            metrics: Arc::clone(metrics),
            warned: Arc::default(),
            running: None,
            not_before: Instant::now(),
        }
    }

    /// When the next look for the sake of a new relation may begin.
    pub(crate) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Waits for the look that is under way: it would make publications again that are dropped after this.
    pub(crate) fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            // A panic in it has ended the process already.
            let _ = running.join();
        }
    }

    /// Looks at all tables, unless the look before is still under way. False when it is.
    pub(crate) fn start(&mut self) -> bool {
        if self.running.as_ref().is_some_and(|r| !r.is_finished()) {
            return false;
        }
        self.not_before = Instant::now() + PAUSE;
        let (config, destination) = (Arc::clone(&self.config), Arc::clone(&self.destination));
        let (warned, metrics) = (Arc::clone(&self.warned), Arc::clone(&self.metrics));
        let look = move || {
            if let Err(e) = look_around(&config, &destination, &metrics, &mut lock(&warned)) {
                log::debug!("looking for new tables: {e}");
            }
        };
        let spawned = thread::Builder::new()
            .name("publications".into())
            .stack_size(STACK)
            .spawn(look);
        match spawned {
            Ok(handle) => self.running = Some(handle),
            Err(e) => log::warn!("cannot look for new tables: {e}"),
        }
        true
    }
}

/// A table that came later is published as far as it can be, and one that lost its replica identity no
/// longer hinders the application. How much WAL the slot keeps is asked on the same occasion.
fn look_around(
    config: &Config,
    destination: &Destination,
    metrics: &Metrics,
    warned: &mut BTreeSet<String>,
) -> Result<()> {
    let mut session = source::open_session(config)?;
    let server = source::check(&mut session)?;
    if let Some((end, kept)) = source::kept_by_slot(&mut session, config)? {
        metrics.slot_retained.set(kept);
        // The stream does not tell it while the replication connection is closed.
        metrics.source_wal_end.raise(end.0);
    }
    let published = publication::reconcile(
        &mut session,
        &server,
        config,
        &Tracked::new(config),
        &destination.in_source().oids,
    )?;
    publication::warn(&published, warned);
    Ok(())
}
