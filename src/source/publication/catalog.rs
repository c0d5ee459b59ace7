//! Reads tables and publications from the source's catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::followed::is_marked;
use super::identity::{Alternatives, Generated, Identity, IdentityIndex};
use super::left_out::{Foreign, Listed};
use super::lineages::{Inherits, Parents};
use super::names::{CANDIDATES, Existing, Names, folded_remark};
use super::state::{GENERATED_COLUMNS, Publication, Publications, State, Table};
use crate::change::{Ancestor, Lineage, is_tool_schema};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::lsn::Oid;
use crate::wire::{Connection, ResultSet, literal};

/// Whether zemi's role is a superuser.
pub(super) fn is_superuser(session: &mut Connection) -> Result<bool> {
    let row = session.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")?;
    Ok(row.value(0, "rolsuper") == Some("t"))
}

/// The tables that can be published, by OID.
pub(super) fn read_tables(session: &mut Connection) -> Result<Vec<Table>> {
    // Which index identifies a row is decided by RelationGetIndexList (relcache.c): a valid, immediate one.
    // Before 18, no generated column is published, and none hinders.
    let generated = format!(
        "(SELECT attrelid, array_agg(attnum) FILTER (WHERE attgenerated = 's') AS stored, \
         array_agg(attnum) FILTER (WHERE attgenerated = 'v') AS virtual FROM pg_attribute \
         WHERE attgenerated <> '' AND NOT attisdropped \
         AND current_setting('server_version_num')::int >= {GENERATED_COLUMNS} GROUP BY attrelid)"
    );
    let tables = format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS partitioned, c.relreplident, \
         k.indimmediate AND k.indisvalid AS key_usable, x.indimmediate AND x.indisvalid AS index_usable, \
         g.stored IS NOT NULL AS has_stored, g.virtual IS NOT NULL AS has_virtual, \
         {} AS identity_has_stored, {} AS identity_has_virtual, \
         pg_has_role(c.relowner, 'USAGE') AS owned, o.rolname AS owner, o.rolsuper AS owner_is_superuser \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles o ON o.oid = c.relowner \
         LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary \
         LEFT JOIN pg_index x ON x.indrelid = c.oid AND (c.relreplident = 'd' AND x.indisprimary \
         OR c.relreplident = 'i' AND x.indisreplident) \
         LEFT JOIN {generated} g ON g.attrelid = c.oid \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
         AND n.nspname <> 'information_schema' ORDER BY c.oid",
        in_identity("g.stored"),
        in_identity("g.virtual")
    );
    let inherits = "SELECT i.inhrelid, i.inhparent, n.nspname, c.relname, c.relkind = 'p' AS partitioned \
                    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent \
                    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f') \
                    ORDER BY i.inhrelid, i.inhseqno";
    let answers = session.query(&format!("{tables}; {inherits}"))?;
    let [found, inherits] = answers.as_slice() else {
        return Err(unreadable());
    };
    // A row that was passed over would be a table that is not tracked, without a word in the log.
    let inherits = (0..inherits.rows.len())
        .map(|row| parent(inherits, row).ok_or_else(unreadable))
        .collect::<Result<Vec<Inherits>>>()?;
    let parents = Parents::new(&inherits);
    let mut tables = (0..found.rows.len())
        .map(|row| table(found, row, &parents).ok_or_else(unreadable))
        .collect::<Result<Vec<Table>>>()?;
    tables.dedup_by_key(|table| table.oid);
    Ok(tables)
}

/// Whether one of these columns is in the replica identity: FULL, or a key column of the index `x`.
fn in_identity(columns: &str) -> String {
    format!(
        "CASE c.relreplident WHEN 'f' THEN {columns} IS NOT NULL \
         ELSE coalesce({columns} && (x.indkey::int2[])[0:x.indnkeyatts - 1], false) END"
    )
}

fn unreadable() -> Error {
    Error::new(Kind::Bug, "a table of pg_class cannot be read")
}

fn parent(found: &ResultSet, row: usize) -> Option<Inherits> {
    let text = |column: &str| found.value(row, column);
    Some(Inherits {
        child: Oid(text("inhrelid")?.parse().ok()?),
        parent: Oid(text("inhparent")?.parse().ok()?),
        name: Ancestor {
            schema: text("nspname")?.to_owned(),
            table: text("relname")?.to_owned(),
            partitioned: text("partitioned")? == "t",
        },
    })
}

fn table(found: &ResultSet, row: usize, parents: &Parents<'_>) -> Option<Table> {
    let text = |column: &str| found.value(row, column);
    let index = |column: &str| match text(column) {
        Some("t") => IdentityIndex::Usable,
        Some(_) => IdentityIndex::Unusable,
        None => IdentityIndex::Missing,
    };
    let generated = |stored: &str, not_stored: &str| Generated {
        has_stored: text(stored) == Some("t"),
        has_virtual: text(not_stored) == Some("t"),
    };
    let oid = Oid(text("oid")?.parse().ok()?);
    let above = parents.above(oid);
    Some(Table {
        oid,
        lineage: Lineage::new(text("nspname")?, text("relname")?, &above.names),
        above: above.partitioned,
        partitioned: text("partitioned")? == "t",
        identity: match text("relreplident")? {
            "f" => Identity::Full,
            "n" => Identity::Nothing,
            "d" => Identity::PrimaryKey(index("index_usable")),
            _ => Identity::Index(index("index_usable")),
        },
        primary_key: index("key_usable"),
        in_identity: generated("identity_has_stored", "identity_has_virtual"),
        columns: generated("has_stored", "has_virtual"),
        owned: text("owned")? == "t",
        owner: text("owner")?.to_owned(),
        owner_is_superuser: text("owner_is_superuser")? == "t",
    })
}

/// What could be the replica identity of each of these tables beside FULL: see [`Alternatives`].
pub(super) fn read_alternatives(
    session: &mut Connection,
    tables: &BTreeSet<Oid>,
) -> Result<BTreeMap<Oid, Alternatives>> {
    if tables.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tables: Vec<String> = tables.iter().map(Oid::to_string).collect();
    let columns = "SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY p.place) \
                   FROM unnest(i.indkey) WITH ORDINALITY p(attnum, place) JOIN pg_attribute a \
                   ON a.attrelid = i.indrelid AND a.attnum = p.attnum WHERE p.place <= i.indnkeyatts";
    let nullable = "SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
                    AND NOT a.attnotnull";
    // The conditions of ATExecReplicaIdentity (tablecmds.c).
    let found = session.rows(&format!(
        "SELECT i.indrelid AS oid, c.relname, i.indisprimary AS key, ({columns}) AS columns \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = ANY('{{{}}}'::oid[]) AND (i.indisprimary AND NOT i.indimmediate \
         OR i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL \
         AND i.indexprs IS NULL AND NOT i.indisprimary AND NOT EXISTS ({nullable})) \
         ORDER BY i.indexrelid DESC",
        tables.join(",")
    ))?;
    let mut alternatives: BTreeMap<Oid, Alternatives> = BTreeMap::new();
    for row in 0..found.rows.len() {
        let text = |column: &str| found.value(row, column).unwrap_or_default();
        let Ok(oid) = text("oid").parse() else {
            continue;
        };
        let of = alternatives.entry(Oid(oid)).or_default();
        match text("key") {
            "t" => of.deferrable_key = Some((text("relname").into(), text("columns").into())),
            _ => of.index = Some(text("relname").into()),
        }
    }
    Ok(alternatives)
}

/// Whether a schema of a tool is there: see [`is_tool_schema`].
pub(super) fn has_tools(session: &mut Connection) -> Result<bool> {
    let found = session.rows("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")?;
    Ok(found
        .values("nspname")
        .iter()
        .any(|name| is_tool_schema(name)))
}

/// What the first and the second publication publish, whatever their clauses, where zemi did not make them.
pub(super) fn read_foreign(session: &mut Connection, state: &State) -> Result<Foreign> {
    let mut foreign = Foreign::default();
    let publications = [
        (&state.names.first, &state.publications.first),
        (&state.names.updates, &state.publications.updates),
    ];
    let lists = publications
        .into_iter()
        .filter(|(_, p)| p.as_ref().is_some_and(|p| !p.is_ours() && !p.all_tables));
    let lists: Vec<String> = lists.map(|(name, _)| literal(name)).collect();
    if lists.is_empty() {
        return Ok(foreign);
    }
    // Columns and filters are there from 15 on. A partition of a publication by the root is not in the view.
    let found = session.rows(&format!(
        "SELECT c.oid, p.pubname = {} AS first, to_jsonb(p) ->> 'rowfilter' AS filter, \
         CASE WHEN to_jsonb(p) ? 'attnames' THEN (SELECT string_agg(quote_ident(a.attname), ', ' \
         ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
         AND NOT a.attisdropped AND a.attgenerated = '' \
         AND NOT to_jsonb(p) -> 'attnames' ? a.attname::text) END AS missing \
         FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         WHERE p.pubname IN ({})",
        literal(&state.names.first),
        lists.join(", ")
    ))?;
    for row in 0..found.rows.len() {
        let text = |column: &str| found.value(row, column).map(str::to_owned);
        let Some(oid) = text("oid").and_then(|oid| oid.parse().ok()) else {
            continue;
        };
        let listed = Listed {
            filter: text("filter"),
            missing_columns: text("missing"),
        };
        match text("first").as_deref() {
            Some("t") => foreign.first.insert(Oid(oid), listed),
            _ => foreign.updates.insert(Oid(oid), listed),
        };
    }
    Ok(foreign)
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
         coalesce(to_jsonb(p) ->> 'pubgencols', 'n') AS generated, \
         {marked} AS marked, \
         (SELECT string_agg(prrelid::text, ' ') FROM pg_publication_rel WHERE prpubid = p.oid) AS tables \
         FROM pg_publication p WHERE pubname IN ({first}, {updates}, {next})",
        marked = is_marked("p"),
        first = literal(&names.first),
        updates = literal(&names.updates),
        next = literal(&names.next)
    ))?;
    let of = |place: &str| {
        let row = (0..found.rows.len()).find(|&row| found.value(row, "place") == Some(place))?;
        Some(publication(&found, row))
    };
    let mut publications = Publications {
        first: of("first"),
        updates: of("updates"),
        next: of("next"),
        columns_differ: false,
    };
    let foreign_second = publications.updates.as_ref().is_some_and(|p| !p.is_ours());
    if publications.is_foreign() && foreign_second {
        publications.columns_differ = columns_differ(session, names)?;
    }
    Ok(publications)
}

/// Whether a table of both publications has other columns in the one than in the other.
fn columns_differ(session: &mut Connection, names: &Names) -> Result<bool> {
    let found = session.rows(&format!(
        "SELECT EXISTS (SELECT FROM pg_publication_tables a JOIN pg_publication_tables b \
         USING (schemaname, tablename) WHERE a.pubname = {} AND b.pubname = {} \
         AND to_jsonb(a) -> 'attnames' IS DISTINCT FROM to_jsonb(b) -> 'attnames') AS differ",
        literal(&names.first),
        literal(&names.updates)
    ))?;
    Ok(found.value(0, "differ") == Some("t"))
}

fn publication(found: &ResultSet, row: usize) -> Publication {
    let text = |column: &str| found.value(row, column).unwrap_or_default();
    Publication {
        all_tables: text("puballtables") == "t",
        publish: text("publish").to_owned(),
        via_root: text("pubviaroot") == "t",
        generated: text("generated") == "s",
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
    let folded = config.publication_folded.as_deref().map(Names::of);
    let candidates = exact.candidates().into_iter();
    let candidates = candidates.chain(folded.iter().flat_map(Names::candidates));
    let candidates: Vec<String> = candidates.map(|name| literal(&name)).collect();
    // Names are compared by the server: this session may show them as they are stored.
    let candidates = candidates.join(", ");
    let found = session.rows(&format!(
        "SELECT place, pg_has_role(pubowner, 'USAGE') AND {} AS ours \
         FROM unnest(ARRAY[{candidates}]) WITH ORDINALITY c(name, place) \
         JOIN pg_publication p ON p.pubname = c.name",
        is_marked("p")
    ))?;
    let mut made_by_zemi = BTreeMap::new();
    for row in 0..found.rows.len() {
        let text = |column: &str| found.value(row, column).unwrap_or_default();
        made_by_zemi.insert(
            text("place").parse().unwrap_or(0_usize),
            text("ours") == "t",
        );
    }
    let of = |names: &Names, from: usize| {
        let place = |place: usize| made_by_zemi.get(&(from + place + 1)).copied();
        Existing(std::array::from_fn(place)).choose(names)
    };
    let chosen = of(&exact, 0);
    let Some((folded, name)) = folded.zip(config.publication_folded.as_ref()) else {
        return Ok((chosen.names, None));
    };
    let of_folded = of(&folded, CANDIDATES);
    if chosen.any || !of_folded.any {
        return Ok((chosen.names, None));
    }
    Ok((of_folded.names, Some(folded_remark(config, name))))
}
