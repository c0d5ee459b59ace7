//! Questions about partitions whose TRUNCATE is in the stream.

use crate::change::TreeNode;
use crate::lsn::Oid;
use crate::wire::ResultSet;

/// How many partitions one statement asks about: it takes a lock on each.
pub(super) const AT_ONCE: usize = 200;

/// A query for the tables above these ones and all that are below those. It locks none of them, unlike
/// `pg_partition_tree`: a transaction that truncated them may hold them until zemi has confirmed it.
pub(super) fn tree_query(relations: &[Oid]) -> String {
    format!(
        "WITH RECURSIVE up(oid) AS (SELECT unnest({}) UNION \
         SELECT inhparent FROM pg_inherits, up WHERE inhrelid = up.oid), \
         down(oid, parent) AS (SELECT oid, NULL::oid FROM up \
         WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = up.oid) UNION \
         SELECT inhrelid, inhparent FROM pg_inherits, down WHERE inhparent = down.oid) \
         SELECT c.oid, d.parent, n.nspname, c.relname, \
         c.relkind = 'r' AND c.relpersistence = 'p' AS holds_rows FROM down d \
         JOIN pg_class c ON c.oid = d.oid JOIN pg_namespace n ON n.oid = c.relnamespace",
        list(relations)
    )
}

/// The answer to [`tree_query`].
pub(super) fn tree(found: &ResultSet) -> Vec<TreeNode> {
    let node = |row: usize| {
        let text = |column: &str| found.value(row, column);
        let oid = |column: &str| text(column)?.parse().ok().map(Oid);
        Some(TreeNode {
            relation: oid("oid")?,
            parent: oid("parent"),
            schema: text("nspname")?.to_owned(),
            table: text("relname")?.to_owned(),
            holds_rows: text("holds_rows")? == "t",
        })
    };
    (0..found.rows.len()).filter_map(node).collect()
}

/// A query for the rows that each of these partitions takes: as a condition on the rows of the topmost table,
/// for which the server locks the partitions, or else the bound alone, for which it locks nothing.
pub(super) fn bounds_query(relations: &[Oid], may_lock: bool) -> String {
    let bounds = match may_lock {
        true => "pg_get_partition_constraintdef(c.oid)",
        // Without the table, whose columns no bound names.
        false => "pg_get_expr(c.relpartbound, 0)",
    };
    format!(
        "SELECT {bounds} AS bounds FROM unnest({}) WITH ORDINALITY r(oid, place) \
         LEFT JOIN pg_class c ON c.oid = r.oid ORDER BY r.place",
        list(relations)
    )
}

/// The answer to [`bounds_query`].
pub(super) fn bounds(found: &ResultSet) -> Vec<Option<String>> {
    let bounds = |row| found.value(row, "bounds").map(str::to_owned);
    (0..found.rows.len()).map(bounds).collect()
}

fn list(relations: &[Oid]) -> String {
    let relations: Vec<String> = relations.iter().map(Oid::to_string).collect();
    format!("'{{{}}}'::oid[]", relations.join(","))
}
