//! What Bemi or the Zig Zemi left on the source, for a first start that would pass it by.

use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::wire::{Connection, literal};

/// The slot of Bemi's worker, and the default of the Zig Zemi's code.
pub const SLOT: &str = "bemi_local";

/// The publications that they read it with: Debezium's default, and the default of the Zig Zemi's code.
const PUBLICATIONS: &str = "'dbz_publication', 'bemi'";

/// A slot of another tracker beside the one that the settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    confirmed: String,
    publications: Vec<String>,
}

impl Predecessor {
    /// What was found.
    pub fn found(&self) -> String {
        format!(
            "slot {SLOT} of Bemi or another tracker is in this database and has confirmed {}: what was \
             committed since is not recorded through another slot, and {SLOT} keeps WAL until it is dropped",
            self.confirmed
        )
    }

    /// What to do about it.
    pub fn fix(&self) -> String {
        let settings = match self.publications.as_slice() {
            [] => format!("SLOT_NAME={SLOT}"),
            [one] => format!("SLOT_NAME={SLOT} PUBLICATION_NAME={one}"),
            several => format!(
                "SLOT_NAME={SLOT} PUBLICATION_NAME={} (the one that was read)",
                several.join(" or ")
            ),
        };
        format!(
            "to go on where it stopped, stop the other tracker and start zemi with {settings}; if the slot \
             is not needed: SELECT pg_drop_replication_slot('{SLOT}')"
        )
    }
}

/// Looks for one. `None` also where the settings name it.
pub fn look(session: &mut Connection, config: &Config) -> Result<Option<Predecessor>> {
    if config.slot_name == SLOT {
        return Ok(None);
    }
    let slot = session.rows(&format!(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{SLOT}' \
         AND plugin = 'pgoutput' AND database = current_database()"
    ))?;
    if slot.rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(Predecessor {
        confirmed: slot.first(0).unwrap_or("nothing").to_owned(),
        publications: publications(session)?,
    }))
}

/// Refuses a slot that was read through another publication than the settings name, at the first start on it.
/// One that is made now shows nothing of the WAL that is already written.
pub fn check_publication(session: &mut Connection, config: &Config) -> Result<()> {
    let name = &config.publication_name;
    let there = session.rows(&format!(
        "SELECT FROM pg_publication WHERE pubname IN ({}, {})",
        literal(name),
        literal(config.publication_folded.as_ref().unwrap_or(name))
    ))?;
    if !there.rows.is_empty() {
        return Ok(());
    }
    let found = publications(session)?;
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
    .hint(format!("PUBLICATION_NAME={found}")))
    .at(|| "source".into())
}

fn publications(session: &mut Connection) -> Result<Vec<String>> {
    let found = session.rows(&format!(
        "SELECT pubname FROM pg_publication WHERE pubname IN ({PUBLICATIONS}) ORDER BY pubname"
    ))?;
    let name = |row: &Vec<Option<String>>| row.first()?.clone();
    Ok(found.rows.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fix_names_the_publication_that_was_read() {
        let fix = |publications: &[&str]| {
            Predecessor {
                confirmed: "0/16B3748".into(),
                publications: publications.iter().map(|&name| name.into()).collect(),
            }
            .fix()
        };
        assert!(fix(&[]).contains("SLOT_NAME=bemi_local; if"));
        assert!(fix(&["bemi"]).contains("SLOT_NAME=bemi_local PUBLICATION_NAME=bemi; if"));
        assert!(
            fix(&["bemi", "dbz_publication"]).contains("PUBLICATION_NAME=bemi or dbz_publication")
        );
    }
}
