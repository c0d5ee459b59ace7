//! Pure: what a publication that zemi did not make leaves out of what the settings want.

use std::collections::BTreeSet;

use super::state::{ALL_OPERATIONS, LeftOut, State, Table};
use crate::change::{Lineage, Tracked};
use crate::lsn::Oid;
use crate::wire::identifier;

/// How many tables a message names.
const NAMED: usize = 5;

/// Whether the first publication is one that zemi did not make and that lists its tables: then
/// [`left_out`] needs to know which ones it publishes, by whatever clause.
pub(super) fn is_foreign_list(state: &State) -> bool {
    let first = state.publications.first.as_ref();
    first.is_some_and(|publication| !publication.is_ours() && !publication.all_tables)
}

/// Compares the tables that the settings want with those that are published (`pg_publication_tables`), and
/// the operations with all of them.
pub(super) fn left_out(
    state: &State,
    tracked: &Tracked,
    published: &BTreeSet<Oid>,
) -> Vec<LeftOut> {
    let Some(first) = &state.publications.first else {
        return Vec::new();
    };
    if first.is_ours() {
        return Vec::new();
    }
    let name = identifier(&state.names.first);
    let mut found = Vec::new();
    if first.publish != ALL_OPERATIONS && state.publications.updates.is_none() {
        found.push(LeftOut {
            found: format!(
                "publication {name}, which zemi did not make, publishes {} alone",
                first.publish
            ),
            fix: format!("ALTER PUBLICATION {name} SET (publish = '{ALL_OPERATIONS}')"),
        });
    }
    if first.all_tables {
        return found;
    }
    let wanted = |table: &&Table| {
        let is_published = published.contains(&table.oid) || published.contains(&table.root);
        !table.partitioned
            && !is_published
            && !state.own_tables.contains(&table.oid)
            && tracked.tracks(&Lineage::new(&table.schema, &table.name, &[]))
    };
    let missing: Vec<&Table> = state.tables.iter().filter(wanted).collect();
    if missing.is_empty() {
        return found;
    }
    let names: Vec<String> = missing.iter().take(NAMED).map(|t| t.quoted()).collect();
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    // PostgreSQL would refuse UPDATE and DELETE on the others.
    let addable: Vec<String> = missing
        .iter()
        .filter(|table| table.identity.is_usable())
        .take(NAMED)
        .map(|table| table.quoted())
        .collect();
    let fix = match addable.is_empty() {
        true => "give them a primary key first".to_owned(),
        false => format!("ALTER PUBLICATION {name} ADD TABLE {}", addable.join(", ")),
    };
    found.push(LeftOut {
        found: format!(
            "publication {name}, which zemi did not make, does not publish {}{more}: not tracked",
            names.join(", ")
        ),
        fix,
    });
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::names::Names;
    use super::super::state::{Identity, IdentityIndex, Publication, Publications};
    use super::*;
    use crate::config::Config;

    fn state(publish: &str, marked: bool, all_tables: bool) -> State {
        let table = |number: u32, name: &str, identity| Table {
            oid: Oid(number),
            schema: "public".into(),
            name: name.into(),
            root: Oid(number),
            partitioned: false,
            identity,
            owned: true,
            owner: "app".into(),
            owner_is_superuser: false,
        };
        let key = Identity::PrimaryKey(IdentityIndex::Usable);
        State {
            version: 150_000,
            superuser: true,
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
        let published = published.iter().map(|oid| Oid(*oid)).collect();
        let found = left_out(state, &tracked, &published).into_iter();
        found.map(|l| format!("{} -> {}", l.found, l.fix)).collect()
    }

    #[test]
    fn tables_that_another_publication_does_not_list_are_named_with_the_sql_for_its_owner() {
        let list = state(ALL_OPERATIONS, false, false);
        assert!(is_foreign_list(&list));
        assert_eq!(
            said(&list, &[], &[1]),
            [
                "publication \"bemi\", which zemi did not make, does not publish \"public\".\"b\", \
              \"public\".\"c\": not tracked -> ALTER PUBLICATION \"bemi\" ADD TABLE \"public\".\"b\""
            ]
        );
        assert!(said(&list, &[("TABLES", "a")], &[1]).is_empty());
        assert!(said(&list, &[("EXCLUDE_TABLES", "b,c")], &[1]).is_empty());
        assert!(said(&list, &[], &[1, 2, 3]).is_empty());
        let only_keyless = said(&list, &[], &[1, 2]);
        assert!(only_keyless[0].ends_with("-> give them a primary key first"));
        // A partition is published by its root.
        let mut parts = list.clone();
        parts.tables[1].root = Oid(1);
        parts.tables[2].root = Oid(1);
        assert!(said(&parts, &[], &[1]).is_empty());
    }

    #[test]
    fn operations_that_another_publication_leaves_out_are_named() {
        let inserts = state("insert", false, true);
        assert!(!is_foreign_list(&inserts));
        assert_eq!(
            said(&inserts, &[], &[]),
            [
                "publication \"bemi\", which zemi did not make, publishes insert alone -> ALTER PUBLICATION \
              \"bemi\" SET (publish = 'insert, update, delete, truncate')"
            ]
        );
        assert!(said(&state(ALL_OPERATIONS, false, true), &[], &[]).is_empty());
        assert!(said(&state("insert", true, true), &[], &[]).is_empty());
    }
}
