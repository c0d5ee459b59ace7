//! Changes of publications that open transactions would not survive, made in steps.
//!
//! A walsender keeps the publications that it has read last (`pgoutput.c`, `publications_valid`), and judges
//! with them what a transaction did that was open when they changed; whether a table is in the list of one
//! it looks up as of that transaction. So a list must exist before a transaction begins that is judged by
//! it. Measured on 15 and 18: else the part before the change is passed over without an error.

use std::thread;
use std::time::{Duration, Instant};

use super::names::Names;
use crate::error::Result;
use crate::source::session::BEGIN_DDL;
use crate::wire::{Connection, identifier, literal};

/// The longest wait for earlier transactions. Until it is over, tables that were listed just now are not
/// published as they should be, and an application's UPDATE may be refused.
const MAX_WAIT_FOR_EARLIER: Duration = Duration::from_secs(3);

/// Between two looks at the open transactions.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Whether every transaction that can still change something began after this publication became what it
/// is.
fn is_older_than_open_transactions(session: &mut Connection, name: &str) -> Result<bool> {
    // The age of a transaction's number tells how many came after it; prepared ones count as running.
    let row = session.rows(&format!(
        "SELECT coalesce(min(age(x)), 2147483647) > \
         age(((pg_snapshot_xmin(pg_current_snapshot())::text::bigint) & 4294967295)::text::xid) AS older \
         FROM (SELECT p.xmin AS x FROM pg_publication p WHERE p.pubname = {name} UNION ALL \
         SELECT r.xmin FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
         WHERE p.pubname = {name}) made",
        name = literal(name)
    ))?;
    Ok(row.value(0, "older") == Some("t"))
}

/// Waits for the transactions that began before this publication became what it is, for
/// [`MAX_WAIT_FOR_EARLIER`] at most; logs where some are left then.
pub(super) fn wait_for_earlier_transactions(session: &mut Connection, name: &str) -> Result<()> {
    let until = Instant::now() + MAX_WAIT_FOR_EARLIER;
    while !is_older_than_open_transactions(session, name)? {
        if Instant::now() >= until {
            log::warn!(
                "transactions are open from before publication {name} listed the latest tables: what they \
                 updated or deleted in those so far may be missing"
            );
            return Ok(());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Puts the next publication in the place of the first one, once no transaction is open from before it
/// existed. False where that has to wait.
pub(super) fn take_place(session: &mut Connection, names: &Names) -> Result<bool> {
    let exists = session.rows(&format!(
        "SELECT FROM pg_publication WHERE pubname = {}",
        literal(&names.next)
    ))?;
    if exists.rows.is_empty() || !is_older_than_open_transactions(session, &names.next)? {
        return Ok(false);
    }
    let (name, next) = (identifier(&names.first), identifier(&names.next));
    session.query(&format!(
        "{BEGIN_DDL}; DROP PUBLICATION {name}; ALTER PUBLICATION {next} RENAME TO {name}; COMMIT"
    ))?;
    Ok(true)
}
