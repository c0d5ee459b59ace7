//! Changes of publications that open transactions would not survive, made in steps.
//!
//! A walsender keeps the publications that it has read last (`pgoutput.c`, `publications_valid`), and judges
//! with them what a transaction did that was open when they changed; whether a table is in the list of one
//! it looks up as of that transaction. So a list must have been there before a transaction begins that is
//! judged by it. Measured on 15 and 18: else the part before the change is passed over without a word.

use std::thread;
use std::time::{Duration, Instant};

use super::names::Names;
use super::read_publications;
use crate::error::Result;
use crate::source::BEGIN_DDL;
use crate::wire::{Connection, identifier, literal};

/// How long tables that were listed just now hold up a change that makes their list count: an application
/// may be waiting for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether every transaction that can still change something began after this publication became what it
/// is.
fn is_settled(session: &mut Connection, name: &str) -> Result<bool> {
    // The age of a transaction's number tells how many came after it; prepared ones count as running.
    let row = session.rows(&format!(
        "SELECT coalesce(min(age(x)), 2147483647) > \
         age(((pg_snapshot_xmin(pg_current_snapshot())::text::bigint) & 4294967295)::text::xid) FROM ( \
         SELECT p.xmin AS x FROM pg_publication p WHERE p.pubname = {name} UNION ALL \
         SELECT r.xmin FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
         WHERE p.pubname = {name}) made",
        name = literal(name)
    ))?;
    Ok(row.first(0) == Some("t"))
}

/// Waits a moment for the transactions that began before this publication became what it is.
pub(super) fn settle(session: &mut Connection, name: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !is_settled(session, name)? {
        if Instant::now() >= until {
            log::warn!(
                "transactions are open from before publication {name} listed the latest tables: what they \
                 updated or deleted in those so far may be missing"
            );
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Puts the next publication in the place of the first one, once nothing is open from before it was there.
/// False when it has to wait.
pub(super) fn take_place(session: &mut Connection, names: &Names) -> Result<bool> {
    let [_, _, next] = read_publications(session, names)?;
    let [name, _, next_name] = names;
    if next.is_none() || !is_settled(session, next_name)? {
        return Ok(false);
    }
    let (name, next) = (identifier(name), identifier(next_name));
    session.query(&format!(
        "{BEGIN_DDL}; DROP PUBLICATION {name}; ALTER PUBLICATION {next} RENAME TO {name}; COMMIT"
    ))?;
    Ok(true)
}
