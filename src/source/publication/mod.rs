//! What is published: the catalog is read (`catalog`), what has to be done is decided (`plan`), and done
//! (`apply`).

mod added;
mod advice;
mod apply;
mod catalog;
mod deferred_switch;
mod followed;
mod left_out;
mod names;
mod plan;
mod stamp;
mod state;

pub(crate) use advice::warn;
pub(crate) use followed::{Followed, keep_followed, read_followed};
pub(crate) use stamp::{CatalogStamp, stamp};
pub(crate) use state::{MARK, Published};

use apply::{Mode, apply};
use catalog::{
    is_superuser, listed_tables, read_publications, read_tables, read_tables_in_any_encoding,
    resolve_names,
};
use left_out::{is_foreign_list, left_out};
use plan::{Refusal, plan};
use state::State;

use std::collections::BTreeSet;

use super::own_tables;
use super::server::Server;
use super::session::BEGIN_DDL;
use super::slot::read_slot;
use crate::change::Tracked;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::wire::{Connection, identifier, literal};

/// Compares tables and publications with the settings and changes the publications where they differ.
/// `own_tables` are the tables that zemi itself writes, when they are in this database.
///
/// # Errors
/// [`Kind::Refused`] where zemi's role may publish nothing; a statement that fails where there is no
/// publication to go on with; the source's connection.
pub(crate) fn reconcile(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
    own_tables: &[Oid],
) -> Result<Published> {
    run(session, server, config, tracked, own_tables, Mode::Commit)
}

/// As [`reconcile`], and undoes what it did: what would be said, and whether it would be allowed.
/// The names are those of the publications that exist.
///
/// # Errors
/// As [`reconcile`].
pub(crate) fn dry_run(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
) -> Result<Published> {
    run(session, server, config, tracked, &[], Mode::DryRun)
}

/// Reads what [`reconcile`] is going to read, so that the server session has its catalogs in its caches by
/// then: half of a start is waiting for that.
pub(crate) fn warm_up(session: &mut Connection, config: &Config) {
    let read = read_slot(session, config)
        .and_then(|_| read_tables(session))
        .and_then(|_| resolve_names(session, config))
        .and_then(|(names, _)| read_publications(session, &names));
    if let Err(e) = read {
        // The questions are asked again, and their errors handled then.
        log::debug!("{e}");
    }
}

fn run(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
    own_tables: &[Oid],
    mode: Mode,
) -> Result<Published> {
    let superuser = is_superuser(session)?;
    let tables = read_tables_in_any_encoding(session)?;
    let own_tables = own_tables::read(session, own_tables)?;
    let (names, remark) = resolve_names(session, config)?;
    let publications = read_publications(session, &names)?;
    let state = State {
        version: server.version,
        superuser,
        tables,
        own_tables,
        names,
        publications,
    };
    let is_foreign = is_foreign_list(&state);
    let listed = match is_foreign {
        true => listed_tables(session, &state.names.first)?,
        false => BTreeSet::new(),
    };
    let left_out = left_out(&state, tracked, &listed);
    let plan = plan(&state, config, tracked).map_err(|refusal| refused(refusal, config))?;
    let mut published = apply(session, plan, state, config, mode)?;
    if is_foreign {
        // No right of zemi's role would change that list.
        published.forbidden.clear();
    }
    Ok(Published {
        remark,
        left_out,
        ..published
    })
}

fn refused(refusal: Refusal, config: &Config) -> Error {
    let Refusal { table, owner, fix } = refusal;
    Error::new(
        Kind::Refused,
        format!(
            "expected tables that {:?} may publish, found none: {table} is owned by {owner:?}",
            config.source.user
        ),
    )
    .hint(fix)
}

/// Whether a publication is FOR ALL TABLES with all operations.
///
/// # Errors
/// The source's connection.
pub(crate) fn publishes_everything(session: &mut Connection, name: &str) -> Result<bool> {
    let found = session.rows(&format!(
        "SELECT puballtables AND pubinsert AND pubupdate AND pubdelete AND pubtruncate AS everything \
         FROM pg_catalog.pg_publication WHERE pubname = {}",
        literal(name)
    ))?;
    Ok(found.value(0, "everything") == Some("t"))
}

/// The publications that exist, and whether each is zemi's own, to be dropped.
///
/// # Errors
/// The source's connection.
pub(crate) fn existing(session: &mut Connection, config: &Config) -> Result<Vec<(String, bool)>> {
    let (names, _) = resolve_names(session, config)?;
    let now = read_publications(session, &names)?;
    let all = [
        (names.first, now.first),
        (names.updates, now.updates),
        (names.next, now.next),
    ];
    Ok(all
        .into_iter()
        .filter_map(|(name, now)| Some((name, now?.is_ours())))
        .collect())
}

/// Drops the publications that zemi made.
///
/// # Errors
/// As [`drop_publications_but`].
pub(crate) fn drop_publications(session: &mut Connection, config: &Config) -> Result<()> {
    drop_publications_but(session, config, &[])
}

/// As [`drop_publications`], except these, with what [`existing`] says of them.
///
/// # Errors
/// The first one that cannot be dropped; those before it are gone then.
pub(crate) fn drop_publications_but(
    session: &mut Connection,
    config: &Config,
    kept: &[(String, bool)],
) -> Result<()> {
    for (name, owned) in existing(session, config)? {
        if kept.iter().any(|(kept, _)| *kept == name) {
            continue;
        }
        if !owned {
            log::info!("publication {name} stays: it was not made by zemi");
            continue;
        }
        let dropped = session.query(&format!(
            "{BEGIN_DDL}; DROP PUBLICATION {}; COMMIT",
            identifier(&name)
        ));
        if dropped.is_err() && session.in_transaction() {
            session.query("ROLLBACK")?;
        }
        dropped.at(|| format!("dropping publication {name}"))?;
    }
    Ok(())
}
