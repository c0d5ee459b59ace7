//! The destination's session, with what was found out about it.

use super::flight::BEGIN;
use super::progress::ProgressSql;
use super::session::DestinationIdentity;
use super::tables::Tables;
use crate::error::Result;
use crate::wire::Connection;

/// An open session and what belongs to it.
pub(super) struct Link {
    pub(super) session: Connection,
    pub(super) identity: DestinationIdentity,
    pub(super) sql: ProgressSql,
    /// The guard is prepared in this session.
    pub(super) prepared: bool,
    pub(super) tables: Tables,
}

impl Link {
    /// Runs statements as one transaction.
    pub(super) fn transaction(&mut self, statements: &str) -> Result<()> {
        let done = self
            .session
            .query(&format!("{BEGIN}; {statements}; COMMIT"));
        if done.is_err() && self.session.in_transaction() {
            self.session.query("ROLLBACK")?;
        }
        done.map(drop)
    }
}
