//! Pure: which tables a reconcile published that were not published before, or not their updates and deletes.

use super::state::{AddedTable, OLD_ROWS, Publication, Publications, State, Table, unsent};

/// Compares the publications of `before` with those `after`. Only tables that hold rows are named, by their
/// own names. Empty where a publication was made just now: before the first one nothing was published, and
/// without the second one the stream itself fails, which is a gap of all tables.
pub(super) fn added(before: &State, after: &Publications) -> Vec<AddedTable> {
    let was = &before.publications;
    if was.first.is_none() || was.updates.is_none() && after.updates.is_some() {
        return Vec::new();
    }
    let compared = |table: &Table| {
        let (was, is) = (
            Covered::of(table, &before.publications),
            Covered::of(table, after),
        );
        let first = is.inserts && !was.inserts;
        let updates = is.updates && !was.updates;
        (first || updates).then(|| AddedTable {
            oid: table.oid,
            schema: table.lineage.own().0.to_owned(),
            table: table.lineage.own().1.to_owned(),
            first,
            updates,
        })
    };
    let is_wanted = |table: &&Table| !table.partitioned && !before.own_tables.contains(&table.oid);
    let tables = before.tables.iter().filter(is_wanted);
    tables.filter_map(compared).collect()
}

/// What publications send of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Covered {
    /// Inserts and truncates.
    inserts: bool,
    /// Updates and deletes.
    updates: bool,
}

impl Covered {
    fn of(table: &Table, publications: &Publications) -> Covered {
        let all = [&publications.first, &publications.updates];
        let all = all.into_iter().filter_map(Option::as_ref);
        let unsent = unsent(all.filter(|p| p.holds(table)));
        let sends = |operations: [&str; 2]| !operations.iter().any(|o| unsent.contains(o));
        Covered {
            inserts: sends(["insert", "truncate"]),
            updates: sends(OLD_ROWS),
        }
    }
}

impl Publication {
    /// Publishes the table: by FOR ALL TABLES, by its name or by that of a partitioned table above it.
    fn holds(&self, table: &Table) -> bool {
        self.all_tables || table.chain().any(|oid| self.tables.contains(&oid))
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::super::state::ALL_OPERATIONS;
    use super::*;
    use crate::lsn::Oid;

    const NEW_ROWS: &str = "insert, truncate";
    const OLD: &str = "update, delete";

    /// Tables `a`, `b`, a partitioned `p` with `p1`, and one that zemi writes, with OIDs from 1 on.
    fn state(publications: Publications) -> State {
        let table = |oid: u32, name: &str, root: u32| Table {
            above: (root != oid).then_some(Oid(root)).into_iter().collect(),
            partitioned: name == "p",
            ..Table::sample(oid, name)
        };
        State {
            version: 150_000,
            superuser: true,
            has_tools: false,
            tables: vec![
                table(1, "a", 1),
                table(2, "b", 2),
                table(3, "p", 3),
                table(4, "p1", 3),
                table(5, "changes", 5),
            ],
            own_tables: [Oid(5)].into(),
            names: Names::of("z"),
            publications,
        }
    }

    fn ours(publish: &str, tables: Option<&[u32]>) -> Option<Publication> {
        Some(Publication {
            all_tables: tables.is_none(),
            publish: publish.into(),
            via_root: false,
            generated: false,
            tables: tables
                .unwrap_or_default()
                .iter()
                .map(|&oid| Oid(oid))
                .collect(),
            marked: true,
            owned: true,
        })
    }

    fn both(first: Option<Publication>, updates: Option<Publication>) -> Publications {
        Publications {
            first,
            updates,
            next: None,
            columns_differ: false,
        }
    }

    fn said(before: Publications, after: &Publications) -> Vec<String> {
        let found = added(&state(before), after).into_iter();
        let said = |t: AddedTable| {
            let which = match (t.first, t.updates) {
                (true, true) => "all",
                (true, false) => "inserts",
                _ => "updates",
            };
            format!("{} {which}", t.table)
        };
        found.map(said).collect()
    }

    #[test]
    fn only_what_was_not_published_before_is_named() {
        let lists = |first: &[u32], updates: &[u32]| {
            both(ours(NEW_ROWS, Some(first)), ours(OLD, Some(updates)))
        };
        let narrow = |updates: &[u32]| both(ours(NEW_ROWS, None), ours(OLD, Some(updates)));
        let all = || both(ours(ALL_OPERATIONS, None), ours(OLD, Some(&[1])));

        assert_eq!(said(lists(&[1], &[1]), &lists(&[1, 2], &[1, 2])), ["b all"]);
        assert_eq!(
            said(lists(&[1], &[1]), &lists(&[1, 2], &[1])),
            ["b inserts"]
        );
        assert_eq!(
            said(lists(&[1, 2], &[1]), &lists(&[1, 2], &[1, 2])),
            ["b updates"]
        );
        assert_eq!(said(narrow(&[1]), &narrow(&[1, 2])), ["b updates"]);
        // By the name of the partitioned table, or by its own.
        assert_eq!(
            said(lists(&[1], &[1]), &lists(&[1, 3], &[1, 3])),
            ["p1 all"]
        );
        assert!(said(lists(&[3], &[3]), &lists(&[4], &[4])).is_empty());
        // FOR ALL TABLES had them.
        assert!(said(all(), &narrow(&[1, 2, 4])).is_empty());
        assert!(said(all(), &all()).is_empty());
        assert_eq!(said(narrow(&[1]), &all()), ["b updates", "p1 updates"]);
        // Somebody took an operation away meanwhile.
        let without = |publish| both(ours(publish, None), ours(OLD, Some(&[1, 2, 4])));
        let truncated = without("insert");
        assert_eq!(
            said(truncated, &all()),
            ["a inserts", "b inserts", "p1 inserts"]
        );
        assert!(said(without(NEW_ROWS), &all()).is_empty());
    }

    #[test]
    fn nothing_is_named_where_a_publication_was_made_just_now() {
        let after = both(ours(ALL_OPERATIONS, None), ours(OLD, Some(&[1])));
        assert!(said(Publications::default(), &after).is_empty());
        assert!(said(both(None, ours(OLD, Some(&[]))), &after).is_empty());
        let alone = both(ours(NEW_ROWS, None), None);
        assert!(said(alone, &after).is_empty());
    }
}
