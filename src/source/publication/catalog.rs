//! Reads tables and publications from the source's catalog.

use std::collections::BTreeSet;

use super::names::{Names, folded_remark};
use super::state::{Identity, IdentityIndex, MARK, Publication, Publications, Table};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;
use crate::source::session::{is_unconvertible, take_bytes_as_stored};
use crate::wire::{Connection, ResultSet, literal};

/// Whether zemi's role is a superuser.
pub(super) fn is_superuser(session: &mut Connection) -> Result<bool> {
    let row = session.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")?;
    Ok(row.value(0, "rolsuper") == Some("t"))
}

/// The tables that can be published, by OID. Names that cannot be converted to UTF-8 are read as stored.
pub(super) fn read_tables_in_any_encoding(session: &mut Connection) -> Result<Vec<Table>> {
    match read_tables(session) {
        Err(e) if is_unconvertible(&e) => {
            take_bytes_as_stored(session)?;
            read_tables(session)
        }
        read => read,
    }
}

/// The tables that can be published, by OID.
pub(super) fn read_tables(session: &mut Connection) -> Result<Vec<Table>> {
    // Which index identifies a row is decided by RelationGetIndexList (relcache.c): a valid, immediate one.
    let found = session.rows(
        "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS partitioned, \
         coalesce((SELECT relid::oid FROM pg_partition_ancestors(c.oid) WITH ORDINALITY \
                   ORDER BY ordinality DESC LIMIT 1), c.oid) AS root, \
         c.relreplident, CASE c.relreplident WHEN 'f' THEN NULL WHEN 'n' THEN NULL \
         WHEN 'd' THEN (SELECT bool_or(i.indimmediate AND i.indisvalid) FROM pg_index i \
                        WHERE i.indrelid = c.oid AND i.indisprimary) \
         ELSE (SELECT bool_or(i.indimmediate AND i.indisvalid) FROM pg_index i \
               WHERE i.indrelid = c.oid AND i.indisreplident) END AS index_usable, \
         pg_has_role(c.relowner, 'USAGE') AS owned, o.rolname AS owner, \
         o.rolsuper AS owner_is_superuser \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles o ON o.oid = c.relowner \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
         AND n.nspname <> 'information_schema' ORDER BY c.oid",
    )?;
    // A row that was passed over would be a table that is not tracked, without a word in the log.
    (0..found.rows.len())
        .map(|row| {
            table(&found, row)
                .ok_or_else(|| Error::new(Kind::Bug, "a table of pg_class cannot be read"))
        })
        .collect()
}

fn table(found: &ResultSet, row: usize) -> Option<Table> {
    let text = |column: &str| found.value(row, column);
    let index = match text("index_usable") {
        Some("t") => IdentityIndex::Usable,
        Some(_) => IdentityIndex::Unusable,
        None => IdentityIndex::Missing,
    };
    Some(Table {
        oid: Oid(text("oid")?.parse().ok()?),
        schema: text("nspname")?.to_owned(),
        name: text("relname")?.to_owned(),
        root: Oid(text("root")?.parse().ok()?),
        partitioned: text("partitioned")? == "t",
        identity: match text("relreplident")? {
            "f" => Identity::Full,
            "n" => Identity::Nothing,
            "d" => Identity::PrimaryKey(index),
            _ => Identity::Index(index),
        },
        owned: text("owned")? == "t",
        owner: text("owner")?.to_owned(),
        owner_is_superuser: text("owner_is_superuser")? == "t",
    })
}

/// The tables that a publication publishes, also those that another role listed.
pub(super) fn listed_tables(session: &mut Connection, name: &str) -> Result<BTreeSet<Oid>> {
    let found = session.rows(&format!(
        "SELECT c.oid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = {}",
        literal(name)
    ))?;
    Ok(oids(&found))
}

/// The values of the column `oid`.
fn oids(found: &ResultSet) -> BTreeSet<Oid> {
    let oid = |row| found.value(row, "oid")?.parse().ok().map(Oid);
    (0..found.rows.len()).filter_map(oid).collect()
}

/// The publications of these names, as far as they exist.
pub(super) fn read_publications(session: &mut Connection, names: &Names) -> Result<Publications> {
    // Names are compared by the server: this session may show them as they are stored.
    let found = session.rows(&format!(
        "SELECT CASE pubname WHEN {first} THEN 'first' WHEN {updates} THEN 'updates' ELSE 'next' END \
         AS place, puballtables, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, \
         CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END, \
         CASE WHEN pubtruncate THEN 'truncate' END) AS publish, pubviaroot, \
         pg_has_role(pubowner, 'USAGE') AS owned, \
         coalesce(obj_description(p.oid, 'pg_publication') LIKE '{MARK}%', false) AS marked, \
         (SELECT string_agg(prrelid::text, ' ') FROM pg_publication_rel WHERE prpubid = p.oid) AS tables \
         FROM pg_publication p WHERE pubname IN ({first}, {updates}, {next})",
        first = literal(&names.first),
        updates = literal(&names.updates),
        next = literal(&names.next)
    ))?;
    let of = |place: &str| {
        let row = (0..found.rows.len()).find(|&row| found.value(row, "place") == Some(place))?;
        Some(publication(&found, row))
    };
    Ok(Publications {
        first: of("first"),
        updates: of("updates"),
        next: of("next"),
    })
}

fn publication(found: &ResultSet, row: usize) -> Publication {
    let text = |column: &str| found.value(row, column).unwrap_or_default();
    Publication {
        all_tables: text("puballtables") == "t",
        publish: text("publish").to_owned(),
        via_root: text("pubviaroot") == "t",
        marked: text("marked") == "t",
        owned: text("owned") == "t",
        tables: text("tables")
            .split(' ')
            .filter_map(|oid| oid.parse().ok())
            .map(Oid)
            .collect(),
    }
}

/// The names that the setting means, and a remark where they are not those of the setting as it is written.
///
/// SQL without quotes makes `mypub` of `MyPub`. So where publications of the folded name exist and none of
/// the exact name, the folded name is meant.
pub(super) fn resolve_names(
    session: &mut Connection,
    config: &Config,
) -> Result<(Names, Option<String>)> {
    let exact = Names::of(&config.publication_name);
    let Some(name) = &config.publication_folded else {
        return Ok((exact, None));
    };
    let folded = Names::of(name);
    let exists = |names: &Names| {
        let names = names.all().map(literal).join(", ");
        format!("EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname IN ({names}))")
    };
    let sql = format!(
        "SELECT NOT {} AND {} AS folded",
        exists(&exact),
        exists(&folded)
    );
    if session.rows(&sql)?.value(0, "folded") != Some("t") {
        return Ok((exact, None));
    }
    Ok((folded, Some(folded_remark(config, name))))
}
