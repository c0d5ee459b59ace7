//! Opens the writer's session: connects, finds or makes the tables, and reads the progress.

use std::cell::OnceCell;

use super::connect::{self, Preconnect, SourceIdentity};
use super::login;
use super::progress::{self, ProgressSql};
use super::schema;
use super::session::{Core, Environment, Opened};
use crate::error::Result;
use crate::lsn::Lsn;
use crate::resume::SavedProgress;

/// Opens one session after the other, for one source.
pub(crate) struct Connector {
    environment: Environment,
    source: SourceIdentity,
    preconnect: Preconnect,
    /// Whether the destination is the source's cluster; found out by the first session.
    same_cluster: OnceCell<bool>,
}

impl Connector {
    /// Nothing is opened yet, except what `preconnect` holds.
    pub(crate) fn new(
        environment: Environment,
        source: SourceIdentity,
        preconnect: Preconnect,
    ) -> Connector {
        Connector {
            environment,
            source,
            preconnect,
            same_cluster: OnceCell::new(),
        }
    }

    /// Whether the destination is known to be the source's own cluster.
    pub(crate) fn is_source_cluster(&self) -> bool {
        self.same_cluster.get() == Some(&true)
    }

    /// Opens a session. Returns with it what the destination knows of the stream; `None` without a row.
    ///
    /// # Errors
    /// A destination that does not answer, or that lacks what zemi needs.
    pub(crate) fn open(&self) -> Result<(Opened, Option<SavedProgress>)> {
        let config = &self.environment.config;
        let preconnect = self.preconnect.take();
        let prepared = preconnect.unwrap_or_else(|| connect::prepare(config));
        let mut prepared = match self.same_cluster.get() {
            Some(_) => prepared.map_err(login::passing)?,
            None => prepared?,
        };
        let found = prepared.tables.take();
        let known_cluster = self.same_cluster.get().copied();
        let (mut connection, identity, same_cluster) =
            connect::ready(prepared, config, &self.source, known_cluster)?;
        let tables = match found {
            Some(tables) => tables,
            None => schema::prepare(&mut connection, config)?,
        };
        if self.same_cluster.get().is_none() {
            schema::mark_progress(&mut connection, &tables)?;
        }
        let system = &self.source.system_identifier;
        let sql = ProgressSql::new(config, &tables.names, system, &identity, same_cluster);
        progress::prepare(&mut connection, &tables.names, same_cluster)?;
        let progress = sql.read(&mut connection)?;
        log::info!(
            destination:% = config.destination;
            "connected to the destination {}",
            config.destination
        );
        self.environment.publish(&tables, same_cluster);
        if self.same_cluster.set(same_cluster).is_err() {
            self.environment.metrics.storage_reconnections.add(1);
        } else if tables.names.schema() != "public" {
            log::info!(
                "changes go to {}, which the role's search_path finds before schema public",
                tables.names.changes()
            );
        }
        let known = progress.map(|progress| SavedProgress {
            flushed: progress.flushed,
            timeline: progress.timeline,
            destination_changed: progress.destination_changed(&identity),
            gap_pending: progress.announced.is_some(),
            parted: progress.announced.filter(|end| *end > Lsn::ZERO),
        });
        let core = Core {
            environment: self.environment.clone(),
            connection,
            sql,
            prepared: true,
            tables,
            same_cluster,
        };
        let flushed = known.map(|known| known.flushed);
        Ok((Opened::new(core, flushed), known))
    }
}
