//! Tables that a zemi writes, this one or another one: they are never tracked, in whatever database they are.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::lsn::Oid;
use crate::wire::Connection;

/// The comment on a column of `changes` and of `zemi_progress` by which a zemi marks the tables that it made.
/// `CREATE TABLE … (LIKE … INCLUDING ALL)` copies the comments of columns, and not that of a table.
pub(crate) const COLUMN_MARK: &str = "written by zemi";

/// A query for the OIDs of such tables, in a column `oid`: those with the mark, each `zemi_progress`, and
/// each `changes` beside one, which another tracker may have made. Their partitions and children are not
/// among them.
pub(crate) fn query() -> String {
    format!(
        "SELECT objoid AS oid FROM pg_catalog.pg_description \
         WHERE classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid > 0 \
         AND description = '{COLUMN_MARK}' UNION \
         SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class p \
         ON p.relnamespace = c.relnamespace AND p.relname = 'zemi_progress' AND p.relkind = 'r' \
         WHERE c.relname IN ('changes', 'zemi_progress') AND c.relkind IN ('r', 'p')"
    )
}

/// Whether [`query`] finds the table with the OID that this expression gives, as a condition that looks at no
/// other table.
pub(crate) fn condition(oid: &str) -> String {
    format!(
        "(EXISTS (SELECT FROM pg_catalog.pg_description WHERE objoid = {oid} \
         AND classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid > 0 \
         AND description = '{COLUMN_MARK}') OR EXISTS (SELECT FROM pg_catalog.pg_class o \
         JOIN pg_catalog.pg_class p ON p.relnamespace = o.relnamespace AND p.relname = 'zemi_progress' \
         AND p.relkind = 'r' WHERE o.oid = {oid} AND o.relname IN ('changes', 'zemi_progress') \
         AND o.relkind IN ('r', 'p')))"
    )
}

/// The tables of [`query`] and those with OIDs in `known`, with their partitions and children, whose rows are
/// theirs.
///
/// # Errors
/// The source's connection.
pub(crate) fn read(session: &mut Connection, known: &[Oid]) -> Result<BTreeSet<Oid>> {
    let known: Vec<String> = known.iter().map(Oid::to_string).collect();
    let found = session.rows(&format!(
        "WITH RECURSIVE own(oid) AS ({} UNION SELECT pg_catalog.unnest('{{{}}}'::oid[])), \
         down(oid) AS (SELECT oid FROM own UNION SELECT inhrelid FROM pg_catalog.pg_inherits \
         JOIN down ON inhparent = down.oid) SELECT oid FROM down",
        query(),
        known.join(",")
    ))?;
    let oid = |row| found.value(row, "oid")?.parse().ok().map(Oid);
    Ok((0..found.rows.len()).filter_map(oid).collect())
}
