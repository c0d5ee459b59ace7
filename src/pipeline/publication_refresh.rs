//! Brings the publications in line again while the stream goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::late_tables::LateTables;
use crate::change::Tracked;
use crate::config::Config;
use crate::destination::tables::Destination;
use crate::error::Result;
use crate::observe::metrics::Metrics;
use crate::source::catalog::OwnTables;
use crate::source::publication::CatalogStamp;
use crate::source::{self, Server, late, publication};
use crate::threads::{STACK, lock};
use crate::wire::Connection;

/// The shortest time between two looks at all tables: relations that come in quick succession share one.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// How thorough a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// At all tables, where the catalog has changed since the last one.
    Glance,
    /// At all tables.
    Full,
}

/// What looks share.
#[derive(Default)]
struct Memory {
    /// The session of the look before, with the server behind it.
    session: Option<(Connection, Server)>,
    /// The state of the catalog at the last look at all tables.
    stamp: Option<CatalogStamp>,
}

/// Keeps the publications in line, on a thread of its own: it may have to wait for a lock or for a server.
pub(crate) struct PublicationRefresh {
    eyes: Arc<Eyes>,
    running: Option<JoinHandle<()>>,
    /// New relations may come in quick succession: before this time, no look begins for their sake.
    not_before: Instant,
}

/// What a look works with.
struct Eyes {
    config: Arc<Config>,
    destination: Arc<Destination>,
    metrics: Arc<Metrics>,
    late: Arc<LateTables>,
    /// What the log has said already.
    warned: Arc<Mutex<BTreeSet<String>>>,
    memory: Mutex<Memory>,
}

impl PublicationRefresh {
    /// Nothing is under way yet.
    pub(crate) fn new(
        config: &Arc<Config>,
        destination: &Arc<Destination>,
        metrics: &Arc<Metrics>,
        late: &Arc<LateTables>,
        warned: &Arc<Mutex<BTreeSet<String>>>,
    ) -> PublicationRefresh {
        PublicationRefresh {
            eyes: Arc::new(Eyes {
                config: Arc::clone(config),
                destination: Arc::clone(destination),
                metrics: Arc::clone(metrics),
                late: Arc::clone(late),
                warned: Arc::clone(warned),
                memory: Mutex::default(),
            }),
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

    /// Looks at the tables, unless the look before is still under way. False when it is.
    pub(crate) fn start(&mut self, look: Look) -> bool {
        if self.running.as_ref().is_some_and(|r| !r.is_finished()) {
            return false;
        }
        if look == Look::Full {
            self.not_before = Instant::now() + PAUSE;
        }
        let eyes = Arc::clone(&self.eyes);
        let body = move || {
            if let Err(e) = eyes.look(look) {
                log::debug!("looking for new tables: {e}");
            }
        };
        let spawned = thread::Builder::new()
            .name("publications".into())
            .stack_size(STACK)
            .spawn(body);
        match spawned {
            Ok(handle) => self.running = Some(handle),
            Err(e) => log::warn!("cannot look for new tables: {e}"),
        }
        true
    }
}

impl Eyes {
    /// Looks, by the session of the look before where that still answers.
    fn look(&self, look: Look) -> Result<()> {
        if !self.late.has_begun() {
            return Ok(());
        }
        let mut memory = lock(&self.memory);
        let Memory {
            session: kept,
            stamp,
        } = &mut *memory;
        let (mut session, server) = match kept.take() {
            Some(kept) => kept,
            None => {
                let mut session = source::open_session(&self.config)?;
                let server = source::check(&mut session)?;
                *stamp = None;
                (session, server)
            }
        };
        source::session::release_own_commits(&mut session)?;
        source::session::release_walsender(&mut session, &mut lock(&self.warned))?;
        let before = late::look(&mut session)?;
        let now = publication::stamp(&mut session, stamp.as_ref(), &before)?;
        let is_same = stamp.as_ref().is_some_and(|stamp| stamp.is_same(&now));
        let is_complete = match is_same && look == Look::Glance {
            true => {
                log::debug!("looking for new tables: nothing has changed");
                self.late.looked(before);
                true
            }
            false => self.reconcile(&mut session, &server, before)?,
        };
        // What changed since it was taken differs from this at the next look.
        *stamp = is_complete.then_some(now);
        self.late.settle(&mut session)?;
        *kept = Some((session, server));
        Ok(())
    }

    /// A table that came later is published as far as it can be, and one that lost its replica identity no
    /// longer hinders the application. How much WAL the slot keeps is asked on the same occasion. False where
    /// something is left to be done.
    fn reconcile(
        &self,
        session: &mut Connection,
        server: &Server,
        before: late::Look,
    ) -> Result<bool> {
        let Eyes {
            config, metrics, ..
        } = self;
        if let Some((end, kept)) = source::kept_by_slot(session, config)? {
            metrics.slot_retained.set(kept);
            // The stream does not tell it while the replication connection is closed.
            metrics.source_wal_end.raise(end.0);
        }
        let tracked = Tracked::new(config);
        let own = self.destination.in_source().oids;
        let published = publication::reconcile(session, server, config, &tracked, &own)?;
        publication::warn(&published, &mut lock(&self.warned));
        if !published.names.is_empty() {
            self.late
                .dropped(session, before, published.everything, &tracked)?;
        }
        self.late.published(session, before, None, &published)?;
        Ok(!published.incomplete)
    }
}
