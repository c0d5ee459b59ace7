//! Whether anything has changed that the publications depend on, at the cost of one question.

use crate::error::Result;
use crate::source::late::Look;
use crate::wire::Connection;

/// The state of the catalog at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogStamp {
    /// The number that the next transaction got, where none was under way: without another one since, nothing
    /// has changed.
    quiet_at: Option<u64>,
    /// A digest of the rows of the catalog that a plan is made from, by their OIDs and `xmin`.
    rows: String,
}

impl CatalogStamp {
    /// Whether the catalog has not changed between the two.
    pub(crate) fn is_same(&self, other: &CatalogStamp) -> bool {
        self.rows == other.rows
    }
}

/// Catalogs with the column that identifies a row, and which rows count.
const CATALOGS: [(&str, &str, &str); 7] = [
    ("pg_class", "oid", "WHERE relkind IN ('r', 'p')"),
    ("pg_index", "indexrelid", ""),
    ("pg_inherits", "inhrelid", ""),
    ("pg_namespace", "oid", ""),
    ("pg_publication", "oid", ""),
    ("pg_publication_rel", "oid", ""),
    ("pg_auth_members", "member", ""),
];

/// The state of the catalog now, after this look at the source. `earlier` saves the question where no
/// transaction was begun since.
///
/// # Errors
/// The source's connection.
pub(crate) fn stamp(
    session: &mut Connection,
    earlier: Option<&CatalogStamp>,
    look: &Look,
) -> Result<CatalogStamp> {
    let is_quiet = look.oldest_transaction == look.next_transaction;
    let quiet_at = is_quiet.then_some(look.next_transaction);
    if let Some(earlier) = earlier.filter(|earlier| is_quiet && earlier.quiet_at == quiet_at) {
        return Ok(earlier.clone());
    }
    let digests = CATALOGS.map(|(catalog, key, condition)| {
        format!(
            "(SELECT pg_catalog.count(*) || '/' || coalesce(pg_catalog.bit_xor(pg_catalog.hashint8extended(\
             xmin::text::bigint, {key}::bigint)), 0) FROM pg_catalog.{catalog} {condition})"
        )
    });
    let found = session.rows(&format!(
        "SELECT pg_catalog.concat_ws(' ', {}) AS rows",
        digests.join(", ")
    ))?;
    Ok(CatalogStamp {
        quiet_at,
        rows: found.value(0, "rows").unwrap_or_default().to_owned(),
    })
}
