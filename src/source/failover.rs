//! The slot on standbys: `SLOT_FAILOVER`, from PostgreSQL 17 on.

use std::collections::BTreeSet;

use super::server::Server;
use super::slot;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::wire::{Connection, identifier};

/// The first version that can synchronise a slot to its standbys (`server_version_num`).
const SINCE: u32 = 170_000;

/// What an empty `synchronized_standby_slots` means.
pub(crate) const AHEAD: &str = "SLOT_FAILOVER is true and synchronized_standby_slots is empty: zemi may \
    get ahead of a standby, and a failover then leaves changes that never happened there";

/// The SQL that changes that.
pub(crate) const AHEAD_HINT: &str = "ALTER SYSTEM SET synchronized_standby_slots = '<the physical slots of \
    the standbys>'; SELECT pg_reload_conf()";

/// Checks that the server can do what the settings ask for.
///
/// # Errors
/// [`Kind::Setting`] where it is too old.
pub(crate) fn check(server: &Server, config: &Config) -> Result<()> {
    if !config.slot_failover || server.version >= SINCE {
        return Ok(());
    }
    Err(Error::new(
        Kind::Setting,
        format!(
            "SLOT_FAILOVER is true: expected PostgreSQL 17 or later, found {}",
            server.version_text
        ),
    )
    .hint("unset SLOT_FAILOVER; after a failover the slot is made anew, and the gap recorded"))
}

/// What `SLOT_FAILOVER` asks for and is not so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    /// The slot exists and is not synchronised.
    pub(crate) slot: bool,
    /// The server does not wait for its standbys before it sends: zemi may get ahead of them.
    pub(crate) standby_slots: bool,
}

/// The command that makes a slot synchronised; only a walsender knows it.
pub(crate) fn alter(config: &Config) -> String {
    let slot = identifier(&config.slot_name);
    format!("ALTER_REPLICATION_SLOT {slot} (FAILOVER true)")
}

/// Looks at the slot and at the server's settings; nothing is lacking where nothing was asked for.
///
/// # Errors
/// The source's connection.
pub(crate) fn look(session: &mut Connection, config: &Config) -> Result<Lack> {
    if !config.slot_failover {
        return Ok(Lack::default());
    }
    let slot = slot::read_row(session, &config.slot_name)?;
    let setting = session.rows("SELECT current_setting('synchronized_standby_slots') AS slots")?;
    Ok(Lack {
        slot: slot.is_some_and(|slot| !slot.failover),
        standby_slots: setting.value(0, "slots") == Some(""),
    })
}

/// Makes an older slot synchronised, or logs the command that an operator can run. `warned` holds what was
/// logged before.
///
/// # Errors
/// The source's connection; not the refusal of the command.
pub(crate) fn reconcile(
    session: &mut Connection,
    walsender: &mut Connection,
    config: &Config,
    warned: &mut BTreeSet<String>,
) -> Result<()> {
    let lack = look(session, config)?;
    if lack.standby_slots && warned.insert("synchronized_standby_slots".into()) {
        log::warn!("{AHEAD}. {AHEAD_HINT}");
    }
    if !lack.slot {
        return Ok(());
    }
    let command = alter(config);
    match walsender.query(&command) {
        Ok(_) => log::info!(
            "slot {} is synchronised to standbys from now on",
            config.slot_name
        ),
        Err(e) => log::warn!(
            "slot {} is not synchronised to standbys: {e}. To have it: \
             psql \"dbname={} replication=database\" -c '{command}', while zemi is stopped",
            config.slot_name,
            config.source.database
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn older_servers_cannot_synchronise_a_slot() {
        let checked = |failover: &str, version| {
            let vars = [("SLOT_FAILOVER".into(), failover.into())];
            let config = Config::from_vars(vars).unwrap().0;
            let server = Server {
                version,
                version_text: String::new(),
                wal_level: String::new(),
                encoding: String::new(),
                started: String::new(),
            };
            check(&server, &config).map_err(|e| e.kind())
        };
        assert_eq!(checked("true", 160_010), Err(Kind::Setting));
        assert_eq!(checked("true", 170_000), Ok(()));
        assert_eq!(checked("false", 160_010), Ok(()));
    }
}
