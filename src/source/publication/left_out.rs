//! Pure: what publications that zemi did not make leave out of what the settings want, and what they refuse.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::Identity;
use super::state::{ALL, GENERATED_COLUMNS, LeftOut, OLD_ROWS, Publication, State, Table, unsent};
use crate::change::Tracked;
use crate::lsn::Oid;
use crate::wire::identifier;

/// How many tables a message names.
const NAMED: usize = 5;

/// How a list has a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// The condition of a row.
    pub(super) filter: Option<String>,
    /// The columns that the list does not have, as SQL lists them.
    pub(super) missing_columns: Option<String>,
}

/// What is published by publications that zemi did not make and that are not FOR ALL TABLES.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) first: BTreeMap<Oid, Listed>,
    pub(super) updates: BTreeMap<Oid, Listed>,
}

impl Foreign {
    /// The publications with what they list.
    fn both<'a>(
        &'a self,
        state: &'a State,
    ) -> impl Iterator<Item = (&'a str, &'a Publication, &'a BTreeMap<Oid, Listed>)> {
        let publications = &state.publications;
        let first = publications.first.as_ref();
        let first = first.map(|p| (state.names.first.as_str(), p, &self.first));
        let updates = publications.updates.as_ref();
        let updates = updates.filter(|p| !p.is_ours() && publications.follows_updates());
        let updates = updates.map(|p| (state.names.updates.as_str(), p, &self.updates));
        first.into_iter().chain(updates)
    }

    /// The tables whose UPDATE or DELETE PostgreSQL refuses, whatever the settings track.
    pub(super) fn refusing(&self, state: &State) -> BTreeSet<Oid> {
        let refuses = |table: &&Table| {
            !table.partitioned
                && self.both(state).any(|(_, publication, listed)| {
                    publication.sends_old_rows()
                        && holds(publication, listed, table)
                        && !table.is_usable(publication.generated)
                })
        };
        state.tables.iter().filter(refuses).map(|t| t.oid).collect()
    }
}

fn holds(publication: &Publication, listed: &BTreeMap<Oid, Listed>, table: &Table) -> bool {
    publication.all_tables || table.chain().any(|oid| listed.contains_key(&oid))
}

/// Compares the tables that the settings want with those that are published, and how they are. `fixes` has
/// the name and the SQL of each table that PostgreSQL refuses UPDATE and DELETE on.
pub(super) fn left_out(
    state: &State,
    tracked: &Tracked,
    foreign: &Foreign,
    fixes: &BTreeMap<Oid, (String, String)>,
) -> Vec<LeftOut> {
    let mut found = Vec::new();
    let wanted = |table: &&Table| {
        !table.partitioned
            && !state.own_tables.contains(&table.oid)
            && tracked.tracks(&table.lineage)
    };
    let wanted: Vec<&Table> = state.tables.iter().filter(wanted).collect();
    found.extend(operations(state, foreign, &wanted));
    found.extend(second(state));
    for (name, publication, listed) in foreign.both(state) {
        found.extend(rows_and_columns(name, publication, listed, &wanted));
        found.extend(generated_columns(name, publication, state.version, &wanted));
        if publication.via_root && state.tables.iter().any(|t| t.partitioned) {
            found.push(by_root(name));
            found.extend(keys_alone(name, state, &wanted));
        }
    }
    for oid in foreign.refusing(state) {
        if let Some((table, fix)) = fixes.get(&oid) {
            found.push(LeftOut {
                found: format!(
                    "PostgreSQL refuses UPDATE and DELETE on {table}: a publication that zemi did not make \
                     publishes them, and the table has no usable replica identity"
                ),
                fix: fix.clone(),
            });
        }
    }
    found
}

/// What the first publication is called in a message.
fn called(name: &str) -> String {
    format!("publication {}, which zemi did not make,", identifier(name))
}

/// The first of these tables, quoted for SQL, and how many there are beyond them.
fn named(tables: &[&Table]) -> String {
    let names: Vec<String> = tables.iter().take(NAMED).map(|t| t.quoted()).collect();
    match tables.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Which operations of which tables no publication sends.
fn operations(state: &State, foreign: &Foreign, wanted: &[&Table]) -> Vec<LeftOut> {
    let Some(first) = &state.publications.first else {
        return Vec::new();
    };
    let mut groups: BTreeMap<Vec<&str>, Vec<&Table>> = BTreeMap::new();
    for table in wanted {
        let holding = foreign
            .both(state)
            .filter(|(_, p, listed)| holds(p, listed, table));
        let mut missing = unsent(holding.map(|(_, p, _)| p));
        if state.publications.keeps_updates_up() {
            missing.retain(|o| !OLD_ROWS.contains(o));
        }
        if !missing.is_empty() {
            groups.entry(missing).or_default().push(table);
        }
    }
    let name = &state.names.first;
    let said = |(missing, tables): (Vec<&str>, Vec<&Table>)| {
        let is_untracked = missing.len() == ALL.len();
        let (which, end) = match is_untracked {
            true => (String::new(), ": not tracked"),
            false => (missing.join(", ") + " of ", ""),
        };
        let sends_all = |p: &Publication| is_untracked || missing.iter().all(|o| p.sends(o));
        let mut lists = foreign.both(state).filter(|(_, p, _)| !p.all_tables);
        LeftOut {
            found: format!(
                "{} does not publish {which}{}{end}",
                called(name),
                named(&tables)
            ),
            fix: match lists.find(|(_, p, _)| sends_all(p)) {
                Some((name, list, _)) => add(name, list, &tables),
                None => widen(state, first, foreign, &missing),
            },
        }
    };
    groups.into_iter().map(said).collect()
}

/// The SQL that lists the tables. PostgreSQL would refuse UPDATE and DELETE on those it leaves out.
fn add(name: &str, list: &Publication, tables: &[&Table]) -> String {
    let accepts = |t: &&Table| !list.sends_old_rows() || t.is_usable(list.generated);
    let tables = tables.iter().copied().filter(accepts).take(NAMED);
    let tables: Vec<&Table> = tables.collect();
    match tables.is_empty() {
        true => "give them a primary key first".to_owned(),
        false => format!(
            "ALTER PUBLICATION {} ADD TABLE {}",
            identifier(name),
            named(&tables)
        ),
    }
}

/// What makes the first publication send these operations, too, with the tables that are in the way.
fn widen(state: &State, first: &Publication, foreign: &Foreign, missing: &[&str]) -> String {
    let publish = ALL
        .into_iter()
        .filter(|o| first.sends(o) || missing.contains(o));
    let alter = format!(
        "ALTER PUBLICATION {} SET (publish = '{}')",
        identifier(&state.names.first),
        publish.collect::<Vec<_>>().join(", ")
    );
    let in_the_way = |t: &&Table| {
        !t.partitioned && holds(first, &foreign.first, t) && !t.is_usable(first.generated)
    };
    let in_the_way: Vec<&Table> = state.tables.iter().filter(in_the_way).collect();
    if in_the_way.is_empty() || !OLD_ROWS.iter().any(|o| missing.contains(o)) {
        return alter;
    }
    format!(
        "first give {} a usable replica identity, or PostgreSQL refuses UPDATE and DELETE there; \
         then {alter}",
        named(&in_the_way)
    )
}

/// A second publication that is not followed.
fn second(state: &State) -> Option<LeftOut> {
    let publications = &state.publications;
    let updates = publications.updates.as_ref().filter(|p| !p.is_ours())?;
    if publications.follows_updates() {
        return None;
    }
    let (first, second) = (&state.names.first, &state.names.updates);
    let fix = match publications.first.as_ref()?.generated == updates.generated {
        true => "give both the same columns of each table".to_owned(),
        false => format!(
            "ALTER PUBLICATION {} SET (publish_generated_columns = {})",
            identifier(second),
            if updates.generated { "none" } else { "stored" }
        ),
    };
    Some(LeftOut {
        found: format!(
            "{} has other columns than {}: it is not followed",
            called(second),
            identifier(first)
        ),
        fix,
    })
}

/// Row filters and lists of columns, of each table that has some.
fn rows_and_columns(
    name: &str,
    publication: &Publication,
    listed: &BTreeMap<Oid, Listed>,
    wanted: &[&Table],
) -> Vec<LeftOut> {
    let names: BTreeMap<Oid, String> = wanted
        .iter()
        .flat_map(|table| {
            let above = table.above.iter().copied();
            let topmost = above.last().map(|oid| (oid, table.quoted_root()));
            topmost.into_iter().chain([(table.oid, table.quoted())])
        })
        .collect();
    let mut found = Vec::new();
    for (oid, how) in listed {
        let Some(table) = names.get(oid) else {
            continue;
        };
        let quoted = identifier(name);
        let again = format!(
            "ALTER PUBLICATION {quoted} DROP TABLE {table}; ALTER PUBLICATION {quoted} ADD TABLE {table}"
        );
        if let Some(filter) = &how.filter {
            found.push(LeftOut {
                found: format!(
                    "{} publishes rows of {table} where {filter} alone",
                    called(name)
                ),
                fix: again.clone(),
            });
        }
        if let Some(columns) = &how.missing_columns {
            found.push(LeftOut {
                found: format!("{} leaves out columns of {table}: {columns}", called(name)),
                fix: again,
            });
        }
    }
    if publication.all_tables {
        found.clear();
    }
    found
}

fn generated_columns(
    name: &str,
    publication: &Publication,
    version: u32,
    wanted: &[&Table],
) -> Option<LeftOut> {
    let with_stored = wanted.iter().copied().filter(|t| t.columns.has_stored);
    let tables: Vec<&Table> = with_stored.collect();
    if version < GENERATED_COLUMNS || publication.generated || tables.is_empty() {
        return None;
    }
    Some(LeftOut {
        found: format!(
            "{} leaves out the stored generated columns of {}",
            called(name),
            named(&tables)
        ),
        fix: format!(
            "ALTER PUBLICATION {} SET (publish_generated_columns = stored)",
            identifier(name)
        ),
    })
}

/// Partitions that are published by a root with REPLICA IDENTITY FULL, and that have another one themselves.
fn keys_alone(name: &str, state: &State, wanted: &[&Table]) -> Option<LeftOut> {
    let full: BTreeSet<Oid> = state
        .tables
        .iter()
        .filter(|table| table.partitioned && table.identity == Identity::Full)
        .map(|table| table.oid)
        .collect();
    let has_full = |table: &Table| table.above.iter().any(|oid| full.contains(oid));
    let parts: Vec<&Table> = wanted
        .iter()
        .copied()
        .filter(|table| table.identity != Identity::Full && has_full(table))
        .collect();
    let names: Vec<String> = parts.iter().take(NAMED).map(|t| t.quoted()).collect();
    let alter = |table: &String| format!("ALTER TABLE {table} REPLICA IDENTITY FULL");
    let alter: Vec<String> = names.iter().map(alter).collect();
    (!parts.is_empty()).then(|| LeftOut {
        found: format!(
            "{} publishes partitions by a root with REPLICA IDENTITY FULL, and {} of them, such as {}, have \
             another one: their old rows are sent as far as that goes",
            called(name),
            parts.len(),
            names.join(", ")
        ),
        fix: alter.join("; "),
    })
}

fn by_root(name: &str) -> LeftOut {
    LeftOut {
        found: format!(
            "{} publishes partitions by the name of their root: TRUNCATE of one partition is not sent, and \
             settings that name a partition match nothing",
            called(name)
        ),
        fix: format!(
            "ALTER PUBLICATION {} SET (publish_via_partition_root = false)",
            identifier(name)
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::identity::IdentityIndex;
    use super::super::names::Names;
    use super::super::state::{ALL_OPERATIONS, Publications};
    use super::*;
    use crate::config::Config;

    fn state(publish: &str, marked: bool, all_tables: bool) -> State {
        let table = |number: u32, name: &str, identity| Table {
            identity,
            ..Table::sample(number, name)
        };
        let key = Identity::PrimaryKey(IdentityIndex::Usable);
        State {
            version: 150_000,
            superuser: true,
            has_tools: false,
            tables: vec![
                table(1, "a", key),
                table(2, "b", key),
                table(3, "c", Identity::Nothing),
                table(4, "changes", key),
            ],
            own_tables: [Oid(4)].into(),
            names: Names::of("bemi"),
            publications: Publications {
                first: Some(Publication {
                    all_tables,
                    publish: publish.into(),
                    via_root: false,
                    generated: false,
                    tables: BTreeSet::new(),
                    marked,
                    owned: true,
                }),
                ..Publications::default()
            },
        }
    }

    fn said(state: &State, vars: &[(&str, &str)], published: &[u32]) -> Vec<String> {
        let vars = vars.iter().map(|(n, v)| (n.into(), v.into()));
        let tracked = Tracked::new(&Config::from_vars(vars).unwrap().0);
        let listed = |oid: &u32| (Oid(*oid), Listed::default());
        let foreign = Foreign {
            first: published.iter().map(listed).collect(),
            updates: BTreeMap::new(),
        };
        said_of(state, &tracked, &foreign)
    }

    fn said_of(state: &State, tracked: &Tracked, foreign: &Foreign) -> Vec<String> {
        let fixes = foreign.refusing(state).into_iter();
        let fixes = fixes
            .map(|oid| (oid, (format!("t{oid}"), "FIX".into())))
            .collect();
        let found = left_out(state, tracked, foreign, &fixes).into_iter();
        found.map(|l| format!("{} -> {}", l.found, l.fix)).collect()
    }

    #[test]
    fn tables_that_another_publication_does_not_list_are_named_with_the_sql_for_its_owner() {
        let list = state(ALL_OPERATIONS, false, false);
        assert_eq!(
            said(&list, &[], &[1]),
            [
                "publication \"bemi\", which zemi did not make, does not publish \"public\".\"b\", \
              \"public\".\"c\": not tracked -> ALTER PUBLICATION \"bemi\" ADD TABLE \"public\".\"b\""
            ]
        );
        assert!(said(&list, &[("TABLES", "a")], &[1]).is_empty());
        assert!(said(&list, &[("EXCLUDE_TABLES", "b,c")], &[1]).is_empty());
        let refused = "PostgreSQL refuses UPDATE and DELETE on t3: a publication that zemi did not make \
                       publishes them, and the table has no usable replica identity -> FIX";
        assert_eq!(said(&list, &[], &[1, 2, 3]), [refused]);
        // Also where the settings leave it out.
        assert_eq!(said(&list, &[("TABLES", "a")], &[1, 3]), [refused]);
        let only_keyless = said(&list, &[], &[1, 2]);
        assert!(only_keyless[0].ends_with("-> give them a primary key first"));
        // A partition is published by its root.
        let mut parts = list.clone();
        parts.tables[1].above = vec![Oid(1)];
        parts.tables[2].above = vec![Oid(1)];
        parts.tables[2].identity = Identity::Full;
        assert!(said(&parts, &[], &[1]).is_empty());
    }

    #[test]
    fn operations_that_another_publication_leaves_out_are_named() {
        let inserts = state("insert", false, true);
        assert_eq!(
            said(&inserts, &[], &[]),
            [
                "publication \"bemi\", which zemi did not make, does not publish update, delete, truncate of \
                 \"public\".\"a\", \"public\".\"b\", \"public\".\"c\" -> first give \"public\".\"c\" a \
                 usable replica identity, or PostgreSQL refuses UPDATE and DELETE there; then ALTER \
                 PUBLICATION \"bemi\" SET (publish = 'insert, update, delete, truncate')"
            ]
        );
        let all = said(&state(ALL_OPERATIONS, false, true), &[], &[]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("PostgreSQL refuses UPDATE and DELETE on t3: "));
    }

    #[test]
    fn a_second_one_is_named_where_it_is_not_followed() {
        let mut both = state("insert, truncate", false, true);
        let mut second = both.publications.first.clone().unwrap();
        second.publish = "update, delete".into();
        second.all_tables = false;
        both.publications.updates = Some(second);
        let foreign = |updates: &[u32]| Foreign {
            first: BTreeMap::new(),
            updates: updates
                .iter()
                .map(|&oid| (Oid(oid), Listed::default()))
                .collect(),
        };
        let tracked = Tracked::new(&Config::from_vars([]).unwrap().0);
        let not_c =
            "publication \"bemi\", which zemi did not make, does not publish update, delete of ";
        assert_eq!(
            said_of(&both, &tracked, &foreign(&[1, 2])),
            [format!(
                "{not_c}\"public\".\"c\" -> give them a primary key first"
            )]
        );
        assert_eq!(
            said_of(&both, &tracked, &foreign(&[1])),
            [format!(
                "{not_c}\"public\".\"b\", \"public\".\"c\" -> ALTER PUBLICATION \"bemi_updates\" ADD TABLE \
                 \"public\".\"b\""
            )]
        );
        both.publications.updates.as_mut().unwrap().generated = true;
        assert_eq!(
            said_of(&both, &tracked, &foreign(&[1, 2])),
            [
                "publication \"bemi\", which zemi did not make, does not publish update, delete of \
                 \"public\".\"a\", \"public\".\"b\", \"public\".\"c\" -> first give \"public\".\"c\" a \
                 usable replica identity, or PostgreSQL refuses UPDATE and DELETE there; then ALTER \
                 PUBLICATION \"bemi\" SET (publish = 'insert, update, delete, truncate')",
                "publication \"bemi_updates\", which zemi did not make, has other columns than \"bemi\": it \
                 is not followed -> ALTER PUBLICATION \"bemi_updates\" SET (publish_generated_columns = \
                 none)",
            ]
        );
    }

    #[test]
    fn filters_columns_and_roots_are_named() {
        let mut list = state(ALL_OPERATIONS, false, false);
        list.version = 180_000;
        list.tables.remove(2);
        list.tables[1].columns.has_stored = true;
        list.tables[1].partitioned = true;
        let first = list.publications.first.as_mut().unwrap();
        first.via_root = true;
        let narrow = Listed {
            filter: Some("(id < 100)".into()),
            missing_columns: Some("secret".into()),
        };
        let foreign = Foreign {
            first: [(Oid(1), narrow), (Oid(2), Listed::default())].into(),
            updates: BTreeMap::new(),
        };
        let tracked = Tracked::new(&Config::from_vars([]).unwrap().0);
        let z = "publication \"bemi\", which zemi did not make,";
        let again = "ALTER PUBLICATION \"bemi\" DROP TABLE \"public\".\"a\"; ALTER PUBLICATION \"bemi\" ADD \
                     TABLE \"public\".\"a\"";
        let by_root = format!(
            "{z} publishes partitions by the name of their root: TRUNCATE of one partition is not sent, and \
             settings that name a partition match nothing -> ALTER PUBLICATION \"bemi\" SET \
             (publish_via_partition_root = false)"
        );
        assert_eq!(
            said_of(&list, &tracked, &foreign),
            [
                format!("{z} publishes rows of \"public\".\"a\" where (id < 100) alone -> {again}"),
                format!("{z} leaves out columns of \"public\".\"a\": secret -> {again}"),
                by_root.clone(),
            ]
        );
        list.tables[1].partitioned = false;
        let found = said_of(&list, &tracked, &foreign);
        assert_eq!(
            found.last().unwrap(),
            &format!(
                "{z} leaves out the stored generated columns of \"public\".\"b\" -> ALTER PUBLICATION \
                 \"bemi\" \
                 SET (publish_generated_columns = stored)"
            )
        );
        list.publications.first.as_mut().unwrap().generated = true;
        assert_eq!(said_of(&list, &tracked, &foreign).len(), 2);
    }
}
