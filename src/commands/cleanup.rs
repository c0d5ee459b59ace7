//! `zemi cleanup`: drops what zemi made on the servers, except the changes.

use super::output::print;
use crate::config::Config;
use crate::destination::progress::read_progress;
use crate::destination::removal::drop_all;
use crate::error::{Exit, Result};
use crate::source::{self, publication, slot};
use crate::sqlstate;

/// Says what would be dropped, or drops it. The table of changes stays in any case.
pub fn run(config: &Config, yes: bool) -> Result<Exit> {
    let mut session = source::open_session(config)?;
    let system = source::system_identifier(&mut session)?;
    let mut found = Vec::new();
    if slot::read_row(&mut session, &config.slot_name)?.is_some() {
        found.push(format!("slot {} on {}", config.slot_name, config.source));
    }
    for (name, owned) in publication::existing(&mut session, config)? {
        let database = &config.source.database;
        let what = format!("publication {name} in {database} on {}", config.source);
        if owned {
            found.push(what);
        } else {
            print(&format!("{what} stays: it was not made by zemi\n"));
        }
    }
    if let Some(progress) = read_progress(config, &system)? {
        let (database, server) = (&config.destination.database, &config.destination);
        let at = progress.flushed;
        found.push(format!(
            "progress at {at}, a row of zemi_progress in {database} on {server}"
        ));
    }
    if found.is_empty() {
        print("nothing to drop\n");
        return Ok(Exit::Ok);
    }
    let verb = if yes { "will drop" } else { "would drop" };
    for thing in &found {
        print(&format!("{verb} {thing}\n"));
    }
    if yes {
        drop_all(config, &mut session, &system).map_err(|e| {
            match e.is_sqlstate(sqlstate::OBJECT_IN_USE) {
                true => e.hint("nothing was dropped: stop the zemi that follows this slot first"),
                false => e,
            }
        })?;
        print("dropped. The table changes stays\n");
    } else {
        print("nothing was done: zemi cleanup --yes does it. The table changes stays\n");
    }
    Ok(Exit::Ok)
}
