//! Which tables the rows of a TRUNCATE name.
//!
//! PostgreSQL sends the leaves: that the statement named the partitioned table, or several of its partitions,
//! is not in the stream. Where all that holds rows below a table is in one message, the table was emptied.

use std::collections::{HashMap, HashSet};

use crate::lsn::Oid;

/// A table above or below others, as the catalog has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// Its OID.
    pub relation: Oid,
    /// The table above it.
    pub parent: Option<Oid>,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// It holds rows of its own, whose TRUNCATE is in the stream: no partitioned, foreign or unlogged table.
    pub holds_rows: bool,
}

/// What a relation of the message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover<'a> {
    /// A row of its own.
    Own,
    /// The row of a table above it.
    By(&'a TreeNode),
    /// Nothing: the row of a table above it is there already.
    Covered,
}

/// Decides for each of the relations of a message. `may_name` says whether a row for the relation at this
/// place may name a table above it.
pub(super) fn cover<'a>(
    relations: &[Oid],
    tree: &'a [TreeNode],
    may_name: impl Fn(usize, &TreeNode) -> bool,
) -> Vec<Cover<'a>> {
    let nodes: HashMap<Oid, &TreeNode> = tree.iter().map(|node| (node.relation, node)).collect();
    let up = |from: Oid| {
        let parent = |node: &&'a TreeNode| nodes.get(&node.parent?).copied();
        // No chain is longer than the tree.
        std::iter::successors(nodes.get(&from).copied(), parent).take(tree.len())
    };
    let sent: HashSet<Oid> = relations.iter().copied().collect();
    // How many tables with rows are at each node or below, less those in the message.
    let mut missing: HashMap<Oid, usize> = HashMap::new();
    for node in tree.iter().filter(|node| node.holds_rows) {
        for above in up(node.relation) {
            let is_missing = !sent.contains(&node.relation);
            *missing.entry(above.relation).or_default() += usize::from(is_missing);
        }
    }
    let mut named: HashSet<Oid> = HashSet::new();
    let decide = |(place, relation): (usize, &Oid)| {
        let emptied = |node: &&TreeNode| missing.get(&node.relation) == Some(&0);
        let above = up(*relation).skip(1).filter(emptied);
        let Some(top) = above.filter(|node| may_name(place, node)).last() else {
            // The rows of a hypertable are in its chunks; it is in the message itself.
            return match named.insert(*relation) {
                true => Cover::Own,
                false => Cover::Covered,
            };
        };
        match named.insert(top.relation) {
            true => Cover::By(top),
            false => Cover::Covered,
        }
    };
    relations.iter().enumerate().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `p` (1) has `a` (2), `m` (3) and a foreign partition (6); `m` has `b` (4) and `c` (5).
    fn tree() -> Vec<TreeNode> {
        let node = |number: u32, parent: u32, table: &str, holds_rows| TreeNode {
            relation: Oid(number),
            parent: (parent > 0).then_some(Oid(parent)),
            schema: "s".into(),
            table: table.into(),
            holds_rows,
        };
        vec![
            node(1, 0, "p", false),
            node(2, 1, "a", true),
            node(3, 1, "m", false),
            node(4, 3, "b", true),
            node(5, 3, "c", true),
            node(6, 1, "f", false),
        ]
    }

    fn said(relations: &[u32], hidden: &str) -> Vec<String> {
        let relations: Vec<Oid> = relations.iter().copied().map(Oid).collect();
        let tree = tree();
        let found = cover(&relations, &tree, |_, node| node.table != hidden);
        let word = |cover: &Cover<'_>| match cover {
            Cover::Own => "own".to_owned(),
            Cover::By(node) => node.table.clone(),
            Cover::Covered => "-".to_owned(),
        };
        found.iter().map(word).collect()
    }

    #[test]
    fn the_topmost_table_that_was_emptied_is_named_once() {
        assert_eq!(said(&[4, 2, 5], ""), ["p", "-", "-"]);
        assert_eq!(said(&[4, 5], ""), ["m", "-"]);
        assert_eq!(said(&[9, 5, 4], ""), ["own", "m", "-"]);
        assert_eq!(said(&[2, 4], ""), ["own", "own"]);
        assert_eq!(said(&[4, 2, 5], "p"), ["m", "own", "-"]);
        assert_eq!(said(&[], ""), [""; 0]);
    }

    #[test]
    fn a_hypertable_that_is_in_the_message_has_one_row() {
        let mut tree = tree();
        tree[2].holds_rows = true;
        for relations in [[3, 4, 5], [4, 3, 5]] {
            let relations = relations.map(Oid);
            let found = cover(&relations, &tree, |_, node| node.table == "m");
            let rows = found.iter().filter(|cover| **cover != Cover::Covered);
            assert_eq!(rows.count(), 1, "{relations:?}");
        }
    }
}
