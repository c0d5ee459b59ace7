//! What Bemi or the Zig Zemi left on the source, for a first start that would not use it.

use super::{publication, slot};
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Lsn;
use crate::wire::{Connection, literal};

/// The slot of Bemi's worker, and the default of the Zig Zemi's code.
pub(crate) const SLOT: &str = "bemi_local";

/// The slot where the settings name none.
const DEFAULT_SLOT: &str = "zemi";

/// The publications that they read it with: Debezium's default, and the default of the Zig Zemi's code.
const PUBLICATIONS: &str = "'dbz_publication', 'bemi'";

/// A slot of another tracker beside the one that the settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predecessor {
    confirmed: Option<Lsn>,
    publications: Vec<String>,
}

impl Predecessor {
    /// What was found.
    pub(crate) fn found(&self) -> String {
        let confirmed = self.confirmed.map(|lsn| lsn.to_string());
        let confirmed = confirmed.as_deref().unwrap_or("nothing");
        format!(
            "slot {SLOT} of Bemi or another tracker is in this database and has confirmed {confirmed}: what \
             was committed since is not recorded through another slot, and {SLOT} keeps WAL until it is \
             dropped"
        )
    }

    /// What to do about it.
    pub(crate) fn fix(&self) -> String {
        let settings = match self.publications.as_slice() {
            [] => format!("SLOT_NAME={SLOT}"),
            [one] => format!("SLOT_NAME={SLOT} PUBLICATION_NAME={one}"),
            several => format!(
                "SLOT_NAME={SLOT} PUBLICATION_NAME={} (the one that was read)",
                several.join(" or ")
            ),
        };
        format!(
            "to go on where it stopped, stop the other tracker, remove what a start with the settings of \
             now has made (zemi cleanup --yes), and start zemi with {settings}; if the slot is not needed: \
             SELECT pg_drop_replication_slot('{SLOT}')"
        )
    }
}

/// What an earlier start without the names of the other tracker has left: a slot of the default name in this
/// database that is not in use, beside the one that the settings name. Returns what was found and what to do.
///
/// # Errors
/// The source's connection.
pub(crate) fn left_over(
    session: &mut Connection,
    config: &Config,
) -> Result<Option<(String, String)>> {
    if config.slot_name != SLOT {
        return Ok(None);
    }
    let found = slot::read_row(session, DEFAULT_SLOT)?.filter(|slot| {
        slot.plugin == "pgoutput" && slot.in_this_database && slot.active_pid.is_none()
    });
    Ok(found.map(|_| {
        (
            format!(
                "slot {DEFAULT_SLOT} is in this database, too, and not in use: it keeps WAL until it is \
                 dropped"
            ),
            format!("SELECT pg_drop_replication_slot('{DEFAULT_SLOT}')"),
        )
    }))
}

/// Looks for one in this database. `None` also where the settings name it.
///
/// # Errors
/// The source's connection.
pub(crate) fn look(session: &mut Connection, config: &Config) -> Result<Option<Predecessor>> {
    if config.slot_name == SLOT {
        return Ok(None);
    }
    let slot = slot::read_row(session, SLOT)?;
    let Some(slot) = slot.filter(|slot| slot.plugin == "pgoutput" && slot.in_this_database) else {
        return Ok(None);
    };
    Ok(Some(Predecessor {
        confirmed: slot.confirmed,
        publications: publications(session)?,
    }))
}

/// Refuses a slot that can have been read through another publication than the settings name, at the first
/// start on it: a publication that is made now shows nothing of the WAL that is already written.
///
/// # Errors
/// [`Kind::Setting`] where that is so; the source's connection.
pub(crate) fn check_publication(session: &mut Connection, config: &Config) -> Result<()> {
    let name = &config.publication_name;
    let existing = session.rows(&format!(
        "SELECT FROM pg_publication WHERE pubname IN ({}, {})",
        literal(name),
        literal(config.publication_folded.as_ref().unwrap_or(name))
    ))?;
    if !existing.rows.is_empty() {
        return Ok(());
    }
    let found = foreign_publications(session)?;
    if found.is_empty() {
        return Ok(());
    }
    let found = found.join(" or ");
    Err(Error::new(
        Kind::Setting,
        format!(
            "expected publication {name}, found {found}: one that is made now shows nothing of what was \
             committed before, which slot {} still has",
            config.slot_name
        ),
    )
    .hint(format!(
        "PUBLICATION_NAME={found}; or, where nothing of that slot is needed: SELECT \
         pg_drop_replication_slot({})",
        literal(&config.slot_name)
    )))
    .at(|| "source".into())
}

fn publications(session: &mut Connection) -> Result<Vec<String>> {
    let found = session.rows(&format!(
        "SELECT pubname FROM pg_publication WHERE pubname IN ({PUBLICATIONS}) ORDER BY pubname"
    ))?;
    Ok(found.values("pubname"))
}

/// The first publications of this database that zemi did not make, those of the other trackers in front.
fn foreign_publications(session: &mut Connection) -> Result<Vec<String>> {
    let found = session.rows(&format!(
        "SELECT pubname FROM pg_publication WHERE obj_description(oid, 'pg_publication') \
         IS DISTINCT FROM '{}' ORDER BY pubname IN ({PUBLICATIONS}) DESC, pubname LIMIT 5",
        publication::MARK
    ))?;
    Ok(found.values("pubname"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_without_a_position_has_confirmed_nothing() {
        let found = |confirmed| {
            let publications = Vec::new();
            Predecessor {
                confirmed,
                publications,
            }
            .found()
        };
        assert!(found(Some(Lsn(0x016B_3748))).contains("has confirmed 0/16B3748: what"));
        assert!(found(None).contains("has confirmed nothing: what"));
    }

    #[test]
    fn the_fix_names_the_publication_that_was_read() {
        let fix = |publications: &[&str]| {
            Predecessor {
                confirmed: Some(Lsn(0x016B_3748)),
                publications: publications.iter().map(|&name| name.into()).collect(),
            }
            .fix()
        };
        assert!(fix(&[]).contains("with SLOT_NAME=bemi_local; if"));
        assert!(fix(&["bemi"]).contains("SLOT_NAME=bemi_local PUBLICATION_NAME=bemi; if"));
        assert!(
            fix(&["bemi", "dbz_publication"]).contains("PUBLICATION_NAME=bemi or dbz_publication")
        );
    }
}
