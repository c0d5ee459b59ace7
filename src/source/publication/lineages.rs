//! Pure: the tables above each table, from `pg_inherits` as it was read once.

use std::collections::{HashMap, HashSet};

use crate::change::Ancestor;
use crate::lsn::Oid;

/// A row of `pg_inherits`, with the name of the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inherits {
    pub(super) child: Oid,
    pub(super) parent: Oid,
    pub(super) name: Ancestor,
}

/// The parents of each table that has some.
#[derive(Debug, Default)]
pub(super) struct Parents<'a>(HashMap<Oid, Vec<&'a Inherits>>);

/// What is above a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Above {
    /// By partition and by inheritance, from the nearest to the topmost.
    pub(super) names: Vec<Ancestor>,
    /// The partitioned ones alone, from the nearest to the topmost.
    pub(super) partitioned: Vec<Oid>,
}

impl<'a> Parents<'a> {
    /// `rows` in the order of the parents of each child (`inhseqno`).
    pub(super) fn new(rows: &'a [Inherits]) -> Parents<'a> {
        let mut parents = HashMap::new();
        for row in rows {
            parents.entry(row.child).or_insert_with(Vec::new).push(row);
        }
        Parents(parents)
    }

    /// All tables above this one, level by level; each of them once.
    pub(super) fn above(&self, table: Oid) -> Above {
        let mut above = Above::default();
        let mut seen = HashSet::from([table]);
        let mut level = vec![table];
        while !level.is_empty() {
            let parents = level.iter().filter_map(|oid| self.0.get(oid)).flatten();
            let new: Vec<&Inherits> = parents
                .filter(|row| seen.insert(row.parent))
                .copied()
                .collect();
            for row in &new {
                above.names.push(row.name.clone());
                if row.name.partitioned {
                    above.partitioned.push(row.parent);
                }
            }
            level = new.into_iter().map(|row| row.parent).collect();
        }
        above
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn row(child: u32, parent: u32, partitioned: bool) -> Inherits {
        Inherits {
            child: Oid(child),
            parent: Oid(parent),
            name: Ancestor {
                schema: "s".into(),
                table: parent.to_string(),
                partitioned,
            },
        }
    }

    fn names(rows: &[Inherits], table: u32) -> String {
        let above = Parents::new(rows).above(Oid(table));
        let names: Vec<&str> = above.names.iter().map(|a| a.table.as_str()).collect();
        let partitioned: Vec<String> = above.partitioned.iter().map(Oid::to_string).collect();
        format!("{} of which {}", names.join(" "), partitioned.join(" "))
    }

    #[test]
    fn all_above_are_found_from_the_nearest_to_the_topmost() {
        let rows = [row(1, 2, true), row(2, 3, true), row(4, 3, true)];
        assert_eq!(names(&rows, 1), "2 3 of which 2 3");
        assert_eq!(names(&rows, 4), "3 of which 3");
        assert_eq!(names(&rows, 3), " of which ");
        // By inheritance there may be several, and one of them by several ways.
        let rows = [
            row(1, 2, false),
            row(1, 3, false),
            row(2, 4, false),
            row(3, 4, false),
        ];
        assert_eq!(names(&rows, 1), "2 3 4 of which ");
        // A circle, which the server does not allow, ends.
        assert_eq!(
            names(&[row(1, 2, false), row(2, 1, false)], 1),
            "2 of which "
        );
    }

    #[test]
    fn ten_thousand_partitions_take_no_time() {
        let rows: Vec<Inherits> = (2..10_002).map(|child| row(child, 1, true)).collect();
        let begin = Instant::now();
        let parents = Parents::new(&rows);
        let found = (2..10_002).filter(|&oid| parents.above(Oid(oid)).partitioned == [Oid(1)]);
        assert_eq!(found.count(), 10_000);
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
    }
}
