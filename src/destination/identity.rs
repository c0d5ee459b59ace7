//! Which server the destination is.

use crate::error::{At, Result};

/// The identity of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DestinationIdentity {
    /// `system_identifier`, where the role may read it.
    pub(crate) system: Option<String>,
    /// The current timeline.
    pub(crate) timeline: Option<u32>,
    /// `pg_postmaster_start_time()`
    pub(crate) started: String,
}

/// Puts the name of the destination in front of an error.
pub(crate) fn at_destination<T>(result: Result<T>) -> Result<T> {
    result.at(|| "destination".into())
}
