//! The slot on standbys: `SLOT_FAILOVER`, from PostgreSQL 17 on.

use std::collections::BTreeSet;

use super::Server;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::wire::{Connection, identifier, literal};

/// The first version that can synchronise a slot to its standbys (`server_version_num`).
const SINCE: u32 = 170_000;

/// Checks that the server can do what the settings ask for.
///
/// # Errors
/// [`Kind::Setting`] where it is too old.
pub fn check(server: &Server, config: &Config) -> Result<()> {
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

/// What is not as the settings ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lack {
    /// The slot is there and is not synchronised.
    pub slot: bool,
    /// The server does not wait for its standbys before it sends: zemi may get ahead of them.
    pub standby_slots: bool,
}

/// The command that makes a slot synchronised; only a walsender knows it.
pub fn alter(config: &Config) -> String {
    let slot = identifier(&config.slot_name);
    format!("ALTER_REPLICATION_SLOT {slot} (FAILOVER true)")
}

/// Looks at the slot and at the server's settings; nothing is lacking where nothing was asked for.
pub fn look(session: &mut Connection, config: &Config) -> Result<Lack> {
    if !config.slot_failover {
        return Ok(Lack::default());
    }
    let row = session.rows(&format!(
        "SELECT coalesce((SELECT NOT failover FROM pg_replication_slots WHERE slot_name = {}), false), \
         current_setting('synchronized_standby_slots') = ''",
        literal(&config.slot_name)
    ))?;
    Ok(Lack {
        slot: row.first(0) == Some("t"),
        standby_slots: row.first(1) == Some("t"),
    })
}

/// Makes a slot that was there before synchronised, or says with what somebody can.
pub fn reconcile(
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

/// What an empty `synchronized_standby_slots` means.
pub const AHEAD: &str = "SLOT_FAILOVER is true and synchronized_standby_slots is empty: zemi may get ahead \
                         of a standby, and a failover then leaves changes that never happened there";

/// What mends that.
pub const AHEAD_HINT: &str = "ALTER SYSTEM SET synchronized_standby_slots = '<the physical slots of the \
                              standbys>'; SELECT pg_reload_conf()";
