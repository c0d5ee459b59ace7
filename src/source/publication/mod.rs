//! What is published: tables, their replica identities, and the SQL that brings publications in line.
//!
//! PostgreSQL refuses UPDATE and DELETE on a published table without a usable replica identity. So there
//! are two publications: `<name>` and `<name>_updates`, and a table that cannot publish its updates is
//! only ever in the first, which then publishes inserts and truncates alone.

mod advice;
mod deferred_switch;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use advice::mend;
pub use advice::warn;
use names::{Names, resolve};

use crate::change::Tracked;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::source::{self, BEGIN_DDL, Server};
use crate::sqlstate;
use crate::wire::{Connection, ResultSet, identifier, literal};

/// How long a table's lock is waited for, in milliseconds: long enough that autovacuum, which holds it for
/// hours, is asked to give way (`deadlock_timeout`, 1 s), and not so long that anything else has to.
const LOCK_TIMEOUT: u32 = 5_000;

/// PostgreSQL 18 publishes stored generated columns when asked to.
const GENERATED_COLUMNS: u32 = 180_000;

/// A table that can be published (`is_publishable_class`, `pg_publication.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    oid: Oid,
    schema: String,
    name: String,
    /// The topmost partitioned table above it, or itself.
    root: Oid,
    partitioned: bool,
    /// UPDATE and DELETE would work on it when they are published.
    usable: bool,
    owned: bool,
    owner: String,
    owner_is_superuser: bool,
}

impl Table {
    fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// A publication as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Publication {
    all_tables: bool,
    publish: String,
    via_root: bool,
    tables: BTreeSet<Oid>,
    owned: bool,
}

/// What a publication has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// `None`: FOR ALL TABLES.
    tables: Option<BTreeSet<Oid>>,
    publish: &'static str,
}

const ALL: &str = "insert, update, delete, truncate";
const NEW_ROWS: &str = "insert, truncate";
const OLD_ROWS: &str = "update, delete";

/// The comment of publications that zemi made. Any other is used as it is, whoever owns it.
const MARK: &str = "made by zemi";

/// How a transaction ends that is to last.
const COMMIT: &str = "COMMIT";

/// The publications after they were brought in line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The names for START_REPLICATION.
    pub names: Vec<String>,
    /// Tables whose UPDATE and DELETE are not tracked.
    pub untracked: BTreeSet<String>,
    /// Tables that the settings want and the role may not publish, with what mends it.
    pub forbidden: BTreeMap<String, String>,
    /// Where the names are not those of the setting as it is written: why.
    pub remark: Option<String>,
}

/// Looks at tables and publications and brings the publications in line. Changes nothing where nothing
/// has to change. `ours` are the tables that zemi itself writes, when they are in this database.
pub fn reconcile(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
    ours: &[Oid],
) -> Result<Published> {
    run(session, server, config, tracked, ours, COMMIT)
}

/// Reads what [`reconcile`] is going to read, for the server session to have its catalogs at hand by
/// then: half of a start is waiting for that.
pub fn warm_up(session: &mut Connection, config: &Config) {
    let read = source::read_slot(session, config)
        .and_then(|_| read_tables(session))
        .and_then(|_| resolve(session, config))
        .and_then(|(names, _)| read_publications(session, &names));
    if let Err(e) = read {
        // It will be asked again, and will say so again.
        log::debug!("{e}");
    }
}

/// As [`reconcile`], and undoes what it did: what would be said, and whether it would be allowed.
/// The names are those of the publications that exist.
pub fn dry_run(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
) -> Result<Published> {
    run(session, server, config, tracked, &[], "ROLLBACK")
}

fn run(
    session: &mut Connection,
    server: &Server,
    config: &Config,
    tracked: &Tracked,
    ours: &[Oid],
    end: &str,
) -> Result<Published> {
    let superuser = session
        .rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")?
        .first(0)
        == Some("t");
    let mut tables = match read_tables(session) {
        Err(e) if source::is_unconvertible(&e) => {
            source::take_bytes_as_stored(session)?;
            read_tables(session)?
        }
        read => read?,
    };
    let ours = with_parts(session, ours)?;
    let own = |table: &Table| ours.contains(&table.oid);
    // Ours are not looked at, but their UPDATE and DELETE have to work like everybody's.
    let own_usable = tables.iter().all(|t| !own(t) || t.partitioned || t.usable);
    tables.retain(|table| !own(table));
    let (names, remark) = resolve(session, config)?;
    let now = read_publications(session, &names)?;

    let for_all = config.tables.is_none()
        && (superuser || now[0].as_ref().is_some_and(|p| p.all_tables && !p.owned));
    let via_root = config.publish_via_partition_root;
    let wanted = plan(&tables, own_usable, tracked, for_all, via_root);
    let published = Published {
        names: Vec::new(),
        untracked: tables
            .iter()
            .filter(|t| !t.partitioned && !t.usable && tracked.tracks(&t.schema, &t.name))
            .map(Table::quoted)
            .collect(),
        forbidden: BTreeMap::new(),
        remark,
    };
    let foreign = now[0].as_ref().is_some_and(|p| !p.owned);
    let refused =
        |t: &&Table| !for_all && !t.partitioned && !t.owned && tracked.tracks(&t.schema, &t.name);
    if now[0].is_none()
        && wanted[0].tables.as_ref().is_some_and(BTreeSet::is_empty)
        && let Some(table) = tables.iter().find(refused)
    {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "expected tables that {:?} may publish, found none: {} is owned by {:?}",
                config.source.user,
                table.quoted(),
                table.owner
            ),
        )
        .hint(mend(table, config, &names)));
    }

    // Where somebody else made the first one, it is used as it is, alone or with his second one.
    let ours = |now: &Option<Publication>| now.as_ref().map_or(!foreign, |p| p.owned);
    let [first, updates, next] = &now;
    let [wanted, wanted_updates] = wanted;
    let next = next.as_ref().filter(|p| p.owned);
    // From FOR ALL TABLES to a list there is no way but another publication, see `deferred_switch`.
    let is_staged =
        wanted.tables.is_some() && first.as_ref().is_some_and(|p| p.all_tables && p.owned);
    let meanwhile = Wanted {
        tables: None,
        publish: NEW_ROWS,
    };
    let narrowed = if is_staged { &meanwhile } else { &wanted };
    let narrows =
        first.as_ref().is_some_and(|p| p.publish == ALL && p.owned) && narrowed.publish == NEW_ROWS;

    let mut listing = Vec::new();
    let diff_statements =
        |name: &str, now: Option<&Publication>, wanted: &Wanted, into: &mut Vec<String>| {
            diff_statements(name, now, wanted, &tables, server, config, into);
        };
    if ours(updates) {
        diff_statements(&names[1], updates.as_ref(), &wanted_updates, &mut listing);
    }
    let mut statements = Vec::new();
    if ours(first) {
        diff_statements(&names[0], first.as_ref(), narrowed, &mut statements);
    }
    if is_staged {
        diff_statements(&names[2], next, &wanted, &mut statements);
    } else if next.is_some() {
        statements.push(format!("DROP PUBLICATION {}", identifier(&names[2])));
    }
    let unchanged = listing.is_empty() && statements.is_empty() && !is_staged;
    let mut steps = || -> Result<()> {
        if narrows && !listing.is_empty() && end == COMMIT {
            transact(session, &listing, config, &names, end)?;
            deferred_switch::settle(session, &names[1])?;
            listing.clear();
        }
        // One transaction, so that no point of the write-ahead log sees one without the other.
        listing.append(&mut statements);
        transact(session, &listing, config, &names, end)?;
        if is_staged && end == COMMIT && !deferred_switch::take_place(session, &names)? {
            log::info!(
                "publication {} becomes a list of tables when the transactions that are open now have ended",
                names[0]
            );
        }
        Ok(())
    };
    if let Err(error) = steps().at(|| format!("bringing publication {} in line", names[0])) {
        let _ = session.query("ROLLBACK");
        // Without the right to make the second one, the first is used as it is.
        if first.is_none() {
            // A table or schema of the list was dropped meanwhile: the next look does not find it.
            let gone = [
                sqlstate::UNDEFINED_TABLE,
                sqlstate::UNDEFINED_OBJECT,
                sqlstate::INVALID_SCHEMA_NAME,
            ]
            .iter()
            .any(|code| error.is_sqlstate(code));
            return Err(if gone {
                error.as_kind(Kind::Transient)
            } else {
                error
            });
        }
        log::warn!("{error}");
    }
    let mut published = published;
    let forbidden: Vec<&Table> = tables.iter().filter(refused).collect();
    if !forbidden.is_empty() {
        let listed = listed_tables(session, &names[0])?;
        let is_listed = |t: &Table| listed.contains(&t.oid) || listed.contains(&t.root);
        published.forbidden = forbidden
            .into_iter()
            .filter(|t| !is_listed(t))
            .map(|t| (t.quoted(), mend(t, config, &names)))
            .collect();
    }
    let now = match unchanged {
        true => now,
        false => read_publications(session, &names)?,
    };
    // The third one waits for its time.
    let exist = names
        .into_iter()
        .zip(now)
        .take(2)
        .filter(|(_, now)| now.is_some());
    published.names = exist.map(|(name, _)| name).collect();
    Ok(published)
}

/// Runs these statements in one transaction, where there are any.
fn transact(
    session: &mut Connection,
    statements: &[String],
    config: &Config,
    names: &Names,
    end: &str,
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "{BEGIN_DDL}; SET LOCAL lock_timeout = {LOCK_TIMEOUT}; {}; {end}",
        statements.join("; ")
    );
    session.query(&sql).map(drop).map_err(|e| {
        if !e.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE) {
            return e;
        }
        let user = identifier(&config.source.user);
        e.hint(format!(
            "GRANT CREATE ON DATABASE {} TO {user}; or let a superuser CREATE PUBLICATION {} FOR ALL TABLES",
            identifier(&config.source.database),
            identifier(&names[0])
        ))
    })
}

/// The tables that a publication publishes, whoever listed them.
fn listed_tables(session: &mut Connection, name: &str) -> Result<BTreeSet<Oid>> {
    let rows = session.rows(&format!(
        "SELECT c.oid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = {}",
        literal(name)
    ))?;
    Ok(oids(&rows))
}

fn oids(rows: &ResultSet) -> BTreeSet<Oid> {
    let oid = |row: &Vec<Option<String>>| row.first()?.as_deref()?.parse().ok().map(Oid);
    rows.rows.iter().filter_map(oid).collect()
}

fn read_tables(session: &mut Connection) -> Result<Vec<Table>> {
    // A DEFERRABLE key, a NULLs-allowing one or an index that is gone do not identify a row:
    // RelationGetIndexList (relcache.c) wants a valid, immediate one.
    let rows = session.rows(
        "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', \
         coalesce((SELECT relid::oid FROM pg_partition_ancestors(c.oid) WITH ORDINALITY \
                   ORDER BY ordinality DESC LIMIT 1), c.oid), \
         CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false \
         WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary \
                               AND i.indimmediate AND i.indisvalid) \
         ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident \
                      AND i.indimmediate AND i.indisvalid) END, \
         pg_has_role(c.relowner, 'USAGE'), o.rolname, o.rolsuper \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles o ON o.oid = c.relowner \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
         AND n.nspname <> 'information_schema' ORDER BY c.oid",
    )?;
    let read = |row: &Vec<Option<String>>| {
        let text = |i: usize| row.get(i).and_then(Option::as_deref);
        Some(Table {
            oid: Oid(text(0)?.parse().ok()?),
            schema: text(1)?.to_owned(),
            name: text(2)?.to_owned(),
            partitioned: text(3) == Some("t"),
            root: Oid(text(4)?.parse().ok()?),
            usable: text(5) == Some("t"),
            owned: text(6) == Some("t"),
            owner: text(7)?.to_owned(),
            owner_is_superuser: text(8) == Some("t"),
        })
    };
    // A row passed over here would be a table that is not tracked, and nobody would know.
    rows.rows
        .iter()
        .map(|row| {
            read(row).ok_or_else(|| Error::new(Kind::Bug, "a table of pg_class cannot be read"))
        })
        .collect()
}

/// These tables with their partitions and children, whose rows are theirs.
fn with_parts(session: &mut Connection, tables: &[Oid]) -> Result<BTreeSet<Oid>> {
    if tables.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list: Vec<String> = tables.iter().map(Oid::to_string).collect();
    let parts = session.rows(&format!(
        "WITH RECURSIVE down(oid) AS (SELECT unnest('{{{}}}'::oid[]) UNION \
         SELECT inhrelid FROM pg_inherits JOIN down ON inhparent = down.oid) SELECT oid FROM down",
        list.join(",")
    ))?;
    Ok(oids(&parts))
}

/// The publications of these names, as far as they exist.
fn read_publications(session: &mut Connection, names: &Names) -> Result<[Option<Publication>; 3]> {
    let found = session.rows(&format!(
        "SELECT puballtables, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, \
         CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END, \
         CASE WHEN pubtruncate THEN 'truncate' END), pubviaroot, pg_has_role(pubowner, 'USAGE') \
         AND coalesce(obj_description(p.oid, 'pg_publication') = '{MARK}', false), \
         (SELECT string_agg(prrelid::text, ' ') FROM pg_publication_rel WHERE prpubid = p.oid), \
         CASE pubname WHEN {0} THEN 0 WHEN {1} THEN 1 ELSE 2 END \
         FROM pg_publication p WHERE pubname IN ({0}, {1}, {2})",
        literal(&names[0]),
        literal(&names[1]),
        literal(&names[2])
    ))?;
    let publication = |row: &Vec<Option<String>>| {
        let text = |column: usize| {
            row.get(column)
                .and_then(Option::as_deref)
                .unwrap_or_default()
        };
        Publication {
            all_tables: text(0) == "t",
            publish: text(1).to_owned(),
            via_root: text(2) == "t",
            owned: text(3) == "t",
            tables: text(4)
                .split(' ')
                .filter_map(|oid| oid.parse().ok())
                .map(Oid)
                .collect(),
        }
    };
    // Compared by the server: this session may show names as they are stored.
    let of = |first: &str| {
        let named =
            |row: &&Vec<Option<String>>| row.get(5).and_then(Option::as_deref) == Some(first);
        found.rows.iter().find(named).map(publication)
    };
    Ok([of("0"), of("1"), of("2")])
}

/// What both publications have to be.
fn plan(
    tables: &[Table],
    own_usable: bool,
    tracked: &Tracked,
    for_all: bool,
    via_root: bool,
) -> [Wanted; 2] {
    let leaves = || tables.iter().filter(|t| !t.partitioned);
    // Published through its root, a partition is named and filtered as the root; as long as all of
    // the root's partitions can be.
    let listed = |wanted: &dyn Fn(&Table) -> bool| -> BTreeSet<Oid> {
        let take = |t: &&Table| {
            let by = tables
                .iter()
                .find(|r| via_root && r.oid == t.root)
                .unwrap_or(*t);
            (for_all || t.owned && by.owned) && tracked.tracks(&by.schema, &by.name) && wanted(t)
        };
        let whole_root =
            |t: &Table| via_root && leaves().filter(|l| l.root == t.root).all(|l| take(&l));
        leaves()
            .filter(take)
            .map(|t| if whole_root(t) { t.root } else { t.oid })
            .collect()
    };
    let new_rows = if for_all {
        None
    } else {
        Some(listed(&|_| true))
    };
    let all_usable = for_all && own_usable && leaves().all(|t| t.usable);
    [
        Wanted {
            tables: new_rows,
            publish: if all_usable { ALL } else { NEW_ROWS },
        },
        // Listed before they are needed here: see `deferred_switch`.
        Wanted {
            tables: Some(listed(&|t| t.usable)),
            publish: OLD_ROWS,
        },
    ]
}

/// Appends the statements that make `name` what it has to be.
fn diff_statements(
    name: &str,
    now: Option<&Publication>,
    wanted: &Wanted,
    tables: &[Table],
    server: &Server,
    config: &Config,
    statements: &mut Vec<String>,
) {
    let name = identifier(name);
    let list = |oids: &BTreeSet<Oid>| {
        let names: Vec<String> = tables
            .iter()
            .filter(|t| oids.contains(&t.oid))
            .map(|t| format!("ONLY {}", t.quoted()))
            .collect();
        names.join(", ")
    };
    let via_root = config.publish_via_partition_root;
    let create = |statements: &mut Vec<String>| {
        let target = match &wanted.tables {
            None => " FOR ALL TABLES".to_owned(),
            Some(oids) if oids.is_empty() => String::new(),
            Some(oids) => format!(" FOR TABLE {}", list(oids)),
        };
        let generated = if server.version >= GENERATED_COLUMNS {
            ", publish_generated_columns = stored"
        } else {
            ""
        };
        statements.push(format!(
            "CREATE PUBLICATION {name}{target} WITH (publish = '{}', \
             publish_via_partition_root = {via_root}{generated})",
            wanted.publish
        ));
        statements.push(format!("COMMENT ON PUBLICATION {name} IS '{MARK}'"));
    };
    let Some(now) = now else {
        return create(statements);
    };
    if now.all_tables != wanted.tables.is_none() {
        // A publication cannot be altered from or to FOR ALL TABLES.
        statements.push(format!("DROP PUBLICATION {name}"));
        return create(statements);
    }
    if now.publish != wanted.publish {
        statements.push(format!(
            "ALTER PUBLICATION {name} SET (publish = '{}')",
            wanted.publish
        ));
    }
    if now.via_root != via_root {
        statements.push(format!(
            "ALTER PUBLICATION {name} SET (publish_via_partition_root = {via_root})"
        ));
    }
    if let Some(oids) = &wanted.tables {
        let added: BTreeSet<Oid> = oids.difference(&now.tables).copied().collect();
        let removed: BTreeSet<Oid> = now.tables.difference(oids).copied().collect();
        for (verb, oids) in [("ADD", added), ("DROP", removed)] {
            if !list(&oids).is_empty() {
                statements.push(format!(
                    "ALTER PUBLICATION {name} {verb} TABLE {}",
                    list(&oids)
                ));
            }
        }
    }
}

/// The publications that are there, and whether each is ours, to be dropped.
pub fn there(session: &mut Connection, config: &Config) -> Result<Vec<(String, bool)>> {
    let (names, _) = resolve(session, config)?;
    let now = read_publications(session, &names)?;
    let there = names.into_iter().zip(now);
    Ok(there
        .filter_map(|(name, now)| Some((name, now?.owned)))
        .collect())
}

/// Drops both publications, unless somebody else made them.
pub fn drop_publications(session: &mut Connection, config: &Config) -> Result<()> {
    for (name, owned) in there(session, config)? {
        if owned {
            let dropped = session.query(&format!(
                "{BEGIN_DDL}; DROP PUBLICATION {}; COMMIT",
                identifier(&name)
            ));
            if dropped.is_err() && session.in_transaction() {
                session.query("ROLLBACK")?;
            }
            dropped.at(|| format!("dropping publication {name}"))?;
        } else {
            log::info!("publication {name} stays: it was not made by zemi");
        }
    }
    Ok(())
}
