//! Removal of what zemi made on both servers, except the changes.

use std::time::Duration;

use super::progress::forget_progress;
use crate::config::Config;
use crate::error::Result;
use crate::source::{self, publication};
use crate::wire::Connection;

/// How long the slot's walsender may take to end.
const WALSENDER_EXIT: Duration = Duration::from_secs(10);

/// Drops slot, publications and progress.
///
/// # Errors
/// An object that could not be dropped; those before it, in the order above, are gone then.
pub(crate) fn drop_all(config: &Config, session: &mut Connection, system: &str) -> Result<()> {
    source::drop_slot(session, config, WALSENDER_EXIT)?;
    publication::drop_publications(session, config)?;
    forget_progress(config, system)
}
