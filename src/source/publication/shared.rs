//! Another zemi that keeps up the same publications: each would undo what the other does.

use super::catalog::resolve_names;
use super::followed::is_marked;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::source::session::APPLICATION;
use crate::wire::{Connection, identifier, literal};

/// Refuses publications of zemi's that another zemi follows by another slot, as far as the role may see it:
/// the commands of other roles are hidden without `pg_read_all_stats`.
///
/// # Errors
/// [`Kind::Setting`] where that is so; the source's connection.
pub(crate) fn check_unshared(session: &mut Connection, config: &Config) -> Result<()> {
    let (names, _) = resolve_names(session, config)?;
    let name = &names.first;
    let named = identifier(name).replace('\'', "''");
    let found = session.rows(&format!(
        "SELECT s.slot_name FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
         JOIN pg_publication p ON p.pubname = {} AND {} WHERE s.database = current_database() \
         AND s.slot_name <> {} AND a.application_name = '{APPLICATION}' AND strpos(a.query, {}) > 0",
        literal(name),
        is_marked("p"),
        literal(&config.slot_name),
        literal(&format!(" publication_names '{named}"))
    ))?;
    let Some(slot) = found.value(0, "slot_name") else {
        return Ok(());
    };
    Err(Error::new(
        Kind::Setting,
        format!("publication {name} is kept up by another zemi, by slot {slot}"),
    )
    .hint("set PUBLICATION_NAME to another name, or stop the other zemi"))
}
