//! The destination's session, with what was found out about it.

use super::connect::DestinationIdentity;
use super::copy::BEGIN;
use super::progress::ProgressSql;
use super::tables::Tables;
use crate::error::Result;
use crate::wire::Connection;

/// An open session and what belongs to it.
pub(crate) struct Link {
    pub(crate) session: Connection,
    pub(crate) identity: DestinationIdentity,
    pub(crate) sql: ProgressSql,
    /// The guard is prepared in this session.
    pub(crate) prepared: bool,
    pub(crate) tables: Tables,
}

impl Link {
    /// Runs statements as one transaction.
    pub(crate) fn transaction(&mut self, statements: &str) -> Result<()> {
        let done = self
            .session
            .query(&format!("{BEGIN}; {statements}; COMMIT"));
        if done.is_err() && self.session.in_transaction() {
            self.session.query("ROLLBACK")?;
        }
        done.map(drop)
    }
}
