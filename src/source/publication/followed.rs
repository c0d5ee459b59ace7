//! The tables that were published late and are not judged yet, kept in the comment of the publication of
//! updates: a process that is killed meanwhile leaves them to the next one.

use std::fmt;

use super::state::MARK;
use crate::error::Result;
use crate::json_text;
use crate::lsn::{Lsn, Oid};
use crate::source::session::BEGIN_DDL;
use crate::wire::{Connection, ResultSet, identifier, literal};

/// How many tables are kept: a comment of some hundred kilobytes.
pub(crate) const KEPT: usize = 2000;

/// A table that was published late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Its OID.
    pub(crate) oid: Oid,
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) table: String,
    /// Whether inserts, updates and deletes were not published.
    pub(crate) unpublished: [bool; 3],
    /// Where the range of WAL begins in which changes may be missing.
    pub(crate) from: Lsn,
    /// Where it ends.
    pub(crate) to: Lsn,
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// The condition, for SQL, that the publication of this alias has the comment of those that zemi made.
pub(super) fn is_marked(publication: &str) -> String {
    let comment = format!("pg_catalog.obj_description({publication}.oid, 'pg_publication')");
    format!("coalesce({comment} = '{MARK}' OR {comment} LIKE '{MARK} [%', false)")
}

/// Reads them; none where the publication is not one that zemi made.
///
/// # Errors
/// The source's connection.
pub(crate) fn read_followed(session: &mut Connection, publication: &str) -> Result<Vec<Followed>> {
    let found = session.rows(&format!(
        "SELECT f.* FROM pg_catalog.pg_publication p, pg_catalog.jsonb_to_recordset(nullif(pg_catalog.substr(\
         pg_catalog.obj_description(p.oid, 'pg_publication'), {}), '')::jsonb) AS f(oid text, schema text, \
         \"table\" text, inserts boolean, updates boolean, \"from\" text, \"to\" text) \
         WHERE p.pubname = {} AND {}",
        MARK.len() + 2,
        literal(publication),
        is_marked("p")
    ))?;
    Ok((0..found.rows.len())
        .filter_map(|row| read(&found, row))
        .collect())
}

fn read(found: &ResultSet, row: usize) -> Option<Followed> {
    let text = |column: &str| found.value(row, column);
    let (inserts, updates) = (text("inserts")? == "t", text("updates")? == "t");
    Some(Followed {
        oid: Oid(text("oid")?.parse().ok()?),
        schema: text("schema")?.to_owned(),
        table: text("table")?.to_owned(),
        unpublished: [inserts, updates, updates],
        from: text("from")?.parse().ok()?,
        to: text("to")?.parse().ok()?,
    })
}

/// Keeps these tables, and no other. Does nothing where the publication is not one that zemi made.
///
/// # Errors
/// The source's connection, or a lack of rights.
pub(crate) fn keep_followed<'a>(
    session: &mut Connection,
    publication: &str,
    tables: impl Iterator<Item = &'a Followed>,
) -> Result<()> {
    let ours = session.rows(&format!(
        "SELECT FROM pg_catalog.pg_publication p WHERE pubname = {} AND {}",
        literal(publication),
        is_marked("p")
    ))?;
    if ours.rows.is_empty() {
        return Ok(());
    }
    let mut tables = tables.take(KEPT).peekable();
    let mut comment = MARK.to_owned();
    if tables.peek().is_some() {
        comment.push(' ');
        comment.push_str(&json_text::array(|list| {
            for table in tables {
                list.item().object(|kept| {
                    kept.key("oid").display(table.oid);
                    kept.key("schema").string(&table.schema);
                    kept.key("table").string(&table.table);
                    kept.key("inserts").boolean(table.unpublished[0]);
                    kept.key("updates").boolean(table.unpublished[1]);
                    kept.key("from").display(table.from);
                    kept.key("to").display(table.to);
                });
            }
        }));
    }
    session.transaction(&format!(
        "{BEGIN_DDL}; SET LOCAL lock_timeout = '1s'; COMMENT ON PUBLICATION {} IS {}; COMMIT",
        identifier(publication),
        literal(&comment)
    ))
}
