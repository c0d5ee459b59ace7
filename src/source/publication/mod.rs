//! What is published: the catalog is read (`catalog`), what has to be done is decided (`plan`), and done
//! (`apply`).

mod added;
mod advice;
mod apply;
mod catalog;
mod deferred_switch;
mod followed;
mod identity;
mod left_out;
mod lineages;
mod names;
mod plan;
mod shared;
mod stamp;
mod state;
mod statements;

pub(crate) use advice::warn;
pub(crate) use followed::{Followed, KEPT, keep_followed, read_followed};
pub(crate) use shared::check_unshared;
pub(crate) use stamp::{CatalogStamp, stamp};
pub(crate) use state::{MARK, Published};

use added::added;
use apply::{Mode, apply, followed};
use catalog::{
    has_tools, is_superuser, read_alternatives, read_foreign, read_publications, read_tables,
    resolve_names,
};
use identity::{Identity, IdentityIndex};
use left_out::left_out;
use plan::{Refusal, plan};
use state::{ALL_OPERATIONS, Publication, State, Table};
use statements::{Statement, Writer, transactions};

use std::collections::{BTreeMap, BTreeSet};

use super::own_tables;
use super::server::Server;
use super::session::BEGIN_DDL;
use super::slot::read_slot;
use crate::change::Tracked;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::wire::{Connection, identifier};

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
    let version = server.version;
    let superuser = is_superuser(session)?;
    let has_tools = has_tools(session)?;
    let tables = read_tables(session)?;
    let own_tables = own_tables::read(session, own_tables)?;
    let (names, remark) = resolve_names(session, config)?;
    let publications = read_publications(session, &names)?;
    let state = State {
        version,
        superuser,
        has_tools,
        tables,
        own_tables,
        names,
        publications,
    };
    second_is_free(&state)?;
    let foreign = match state.publications.is_foreign() {
        true => Some(read_foreign(session, &state)?),
        false => None,
    };
    let plan = plan(&state, config, tracked).map_err(|refusal| refused(refusal, config))?;
    let mut done = apply(session, &plan, &state.names, config, mode)?;
    // As they are: a step that failed, or the one before it, may have published some tables and not others.
    let publications = match plan.steps.is_empty() {
        true => state.publications.clone(),
        false => read_publications(session, &state.names)?,
    };
    let refusing: BTreeSet<Oid> = foreign
        .as_ref()
        .map_or(BTreeSet::new(), |f| f.refusing(&state));
    let fixes = fixes(session, &state, plan.untracked.union(&refusing))?;
    let alone_is_enough = foreign.is_none() || publications.keeps_updates_up();
    let fix_of = |oid: &Oid| {
        let (table, fix) = fixes.get(oid)?.clone();
        let then = match alone_is_enough {
            true => "",
            false => "; and let the publication send its UPDATE and DELETE",
        };
        Some((table, fix + then))
    };
    let is_published = |chain: &[Oid]| {
        let first = publications.first.as_ref();
        first.is_some_and(|p| p.all_tables || chain.iter().any(|oid| p.tables.contains(oid)))
    };
    // No right of zemi's role would change a list that it did not make.
    let forbidden = plan.forbidden.into_iter();
    let forbidden = forbidden.filter(|f| foreign.is_none() && !is_published(&f.chain));
    let forbidden = forbidden.map(|f| (f.table, f.fix)).collect();
    let sends_everything = |p: &Publication| p.all_tables && p.publish == ALL_OPERATIONS;
    Ok(Published {
        everything: publications.first.as_ref().is_some_and(sends_everything),
        added: added(&state, &publications),
        untracked: plan
            .untracked
            .difference(&refusing)
            .filter_map(fix_of)
            .collect(),
        forbidden,
        left_out: {
            let foreign = foreign.iter();
            done.left_out
                .extend(foreign.flat_map(|f| left_out(&state, tracked, f, &fixes)));
            done.left_out
        },
        incomplete: done.incomplete,
        remark,
        names: followed(state.names, &publications),
    })
}

/// A table that is tracked, and what its changes will hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackedTable {
    /// Quoted for SQL.
    pub(crate) name: String,
    /// It has a primary key, of whatever kind.
    pub(crate) has_key: bool,
    /// Its replica identity is FULL.
    pub(crate) is_whole: bool,
}

/// The tables that hold rows and that the settings want, by name.
///
/// # Errors
/// The source's connection.
pub(crate) fn tracked_tables(
    session: &mut Connection,
    tracked: &Tracked,
) -> Result<Vec<TrackedTable>> {
    let own_tables = own_tables::read(session, &[])?;
    let mut tables = read_tables(session)?;
    tables.retain(|table| {
        !table.partitioned && !own_tables.contains(&table.oid) && tracked.tracks(&table.lineage)
    });
    let mut found: Vec<TrackedTable> = tables
        .iter()
        .map(|table| TrackedTable {
            name: table.quoted(),
            has_key: table.primary_key != IdentityIndex::Missing,
            is_whole: table.identity == Identity::Full,
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Both names of the second publication may be taken.
fn second_is_free(state: &State) -> Result<()> {
    let publications = &state.publications;
    let taken = publications.updates.as_ref().is_some_and(|p| !p.is_ours());
    if publications.is_foreign() || !taken {
        return Ok(());
    }
    let name = &state.names.updates;
    Err(Error::new(
        Kind::Setting,
        format!("expected that zemi made publication {name}, or that there is none"),
    )
    .hint(format!(
        "ALTER PUBLICATION {} RENAME TO another name, or set another PUBLICATION_NAME",
        identifier(name)
    )))
}

/// The name of each of these tables, and the SQL by which its UPDATE and DELETE can be published.
fn fixes<'a>(
    session: &mut Connection,
    state: &State,
    tables: impl Iterator<Item = &'a Oid>,
) -> Result<BTreeMap<Oid, (String, String)>> {
    let wanted: BTreeSet<Oid> = tables.copied().collect();
    let foreign = state.publications.first.as_ref().filter(|p| !p.is_ours());
    let with_stored = foreign.is_none_or(|p| p.generated);
    let tables = || state.tables.iter().filter(|t| wanted.contains(&t.oid));
    let full_is_refused =
        |t: &&Table| t.columns.has_virtual || t.columns.has_stored && !with_stored;
    let refusing: BTreeSet<Oid> = tables().filter(full_is_refused).map(|t| t.oid).collect();
    let mut read = read_alternatives(session, &refusing)?;
    let mut fixes = BTreeMap::new();
    for table in tables() {
        let fix = match !with_stored && table.is_usable(true) {
            true => format!(
                "ALTER PUBLICATION {} SET (publish_generated_columns = stored)",
                identifier(&state.names.first)
            ),
            false => {
                let mut alternatives = read.remove(&table.oid).unwrap_or_default();
                alternatives.full_is_refused = refusing.contains(&table.oid);
                alternatives.key_is_usable = table.primary_key == IdentityIndex::Usable;
                identity::fix(&table.quoted(), table.identity, &alternatives)
            }
        };
        fixes.insert(table.oid, (table.quoted(), fix));
    }
    Ok(fixes)
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
    let (names, _) = resolve_names(session, config)?;
    let now = read_publications(session, &names)?;
    let tables = read_tables(session)?;
    let writer = Writer {
        version: 0,
        tables: &tables.iter().map(|table| (table.oid, table)).collect(),
        spare: &names.next,
    };
    let all = [
        (&names.first, now.first),
        (&names.updates, now.updates),
        (&names.next, now.next),
    ];
    for (name, publication) in all {
        let Some(publication) = publication else {
            continue;
        };
        if kept.iter().any(|(kept, _)| kept == name) {
            continue;
        }
        if !publication.is_ours() {
            log::info!("publication {name} stays: it was not made by zemi");
            continue;
        }
        for transaction in transactions(writer.drop(name, &publication)) {
            let statements: Vec<String> = transaction.iter().map(Statement::sql).collect();
            let statements = statements.join("; ");
            let done = session.transaction(&format!("{BEGIN_DDL}; {statements}; COMMIT"));
            done.at(|| format!("dropping publication {name}"))?;
        }
    }
    Ok(())
}
