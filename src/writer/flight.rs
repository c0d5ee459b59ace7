//! One flight: the statements of a batch and its rows, sent without waiting in between.

use crate::change::batch::Patch;
use crate::change::{copy, row};
use crate::error::{Error, Kind, Result};
use crate::wire::{
    COPY_DONE, Connection, command_tag, copy_data_head, literal, query_message, server_error,
    unexpected,
};

/// Batches up to this size are sent with one write, copied behind their statements.
const ONE_WRITE: usize = 32 * 1024;

/// The server takes no message beyond 1 GB and drops the connection; a row can be larger than that.
const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// Starts every destination transaction.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// The COPY of a batch.
pub fn copy_statement() -> String {
    format!(
        "COPY public.changes ({}) FROM STDIN (FORMAT binary)",
        row::COLUMNS
    )
}

/// The statement that gives rows their late context.
pub fn patch_statement(patch: &Patch, database: &str) -> String {
    format!(
        "UPDATE public.changes SET context = {} WHERE transaction_id = {} AND database = {} \
         AND position BETWEEN {} AND {}",
        literal(&String::from_utf8_lossy(&patch.context)),
        patch.xid,
        literal(database),
        patch.first.0,
        patch.last.0
    )
}

/// Sends one Query message of several statements and, behind it, the rows for the COPY among them.
pub fn send(session: &mut Connection, sql: &str, rows: &[u8]) -> Result<()> {
    let mut message = query_message(sql)?;
    let (first, rest) = rows.split_at(rows.len().min(LONGEST_MESSAGE));
    message.extend_from_slice(&copy_data_head(copy::HEADER.len() + first.len())?);
    message.extend_from_slice(&copy::HEADER);
    if first.len() <= ONE_WRITE {
        message.extend_from_slice(first);
    } else {
        session.send(&message)?;
        session.send(first)?;
        message.clear();
    }
    for piece in rest.chunks(LONGEST_MESSAGE) {
        session.send(&copy_data_head(piece.len())?)?;
        session.send(piece)?;
    }
    message.extend_from_slice(&copy_data_head(copy::TRAILER.len())?);
    message.extend_from_slice(&copy::TRAILER);
    message.extend_from_slice(&COPY_DONE);
    session.send(&message)
}

/// What came back.
#[derive(Debug, Default)]
pub struct Landing {
    /// The tag of the last statement that completed.
    pub last_tag: String,
}

/// Reads the answers up to ReadyForQuery. The first error among them is the result: it undid the rest.
pub fn receive(session: &mut Connection) -> Result<Landing> {
    let mut landing = Landing::default();
    let mut failure: Option<Error> = None;
    loop {
        let status = match session.receive()? {
            (b'C', body) => {
                landing.last_tag = command_tag(body);
                continue;
            }
            (b'E', body) => {
                failure = failure.or(Some(server_error(body)));
                continue;
            }
            // CopyInResponse, RowDescription, DataRow.
            (b'G' | b'T' | b'D', _) => continue,
            (b'Z', body) => body.first().copied().unwrap_or(b'I'),
            (tag, _) => return Err(unexpected(tag)),
        };
        session.note_ready(status);
        return failure.map_or(Ok(landing), Err);
    }
}

/// Sends a flight and reads its answers. When sending fails, what the server said before it went is
/// looked for: it names the reason.
pub fn fly(session: &mut Connection, sql: &str, rows: &[u8]) -> Result<Landing> {
    match send(session, sql, rows) {
        Ok(()) => receive(session),
        Err(error) => {
            session.set_read_timeout(Some(std::time::Duration::from_millis(200)))?;
            match receive(session) {
                Err(said) if said.kind() == Kind::Server => Err(said),
                _ => Err(error),
            }
        }
    }
}

/// The flight committed: nothing less than the tag `COMMIT` says so, for COMMIT of a failed transaction
/// answers `ROLLBACK` without an error.
pub fn committed(landing: &Landing) -> Result<()> {
    if landing.last_tag == "COMMIT" {
        return Ok(());
    }
    Err(Error::new(
        Kind::Network,
        format!(
            "expected the tag COMMIT, found {:?}: the transaction was not written",
            landing.last_tag
        ),
    ))
}
