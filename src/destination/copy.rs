//! One flight: the statements of a batch and its rows, sent without waiting in between.

use super::tables::TableNames;
use crate::change::{Patch, RowShape, TruncatedTables, copy};
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

/// The COPY of rows that have these columns.
pub fn copy_statement(names: &TableNames, shape: RowShape) -> String {
    format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        names.changes(),
        shape.columns()
    )
}

/// The statement that gives rows their late context.
pub fn patch_statement(names: &TableNames, patch: &Patch, database: &str) -> String {
    format!(
        "UPDATE {} SET context = {} WHERE transaction_id = {} AND database = {} \
         AND position BETWEEN {} AND {} AND {}",
        names.changes(),
        literal(&String::from_utf8_lossy(&patch.context)),
        patch.xid,
        literal(database),
        patch.first.0,
        patch.last.0,
        same_time("committed_at", &timestamp(&patch.commit_time.0.to_string()))
    )
}

/// The statement that fails with 22012 (division by zero) where the table has rows of this TRUNCATE already:
/// another tracker wrote all of them at the first one's position, so that COPY meets no conflict.
pub fn truncated_before(names: &TableNames, truncated: &TruncatedTables) -> String {
    format!(
        "SELECT 1/(CASE WHEN EXISTS (SELECT FROM {} WHERE operation = 'TRUNCATE' \
         AND position BETWEEN {} AND {} AND transaction_id = {}) THEN 0 ELSE 1 END)",
        names.changes(),
        truncated.first.0,
        truncated.last.0,
        truncated.xid
    )
}

/// An expression of the type timestamptz for microseconds since 2000; exact, as no decimal number of seconds
/// would be.
pub(crate) fn timestamp(microseconds: &str) -> String {
    format!("('2000-01-01 00:00:00+00'::timestamptz + {microseconds} * interval '1 microsecond')")
}

/// Whether a column holds the time of a commit: to the microsecond, or as somebody else's table or tracker
/// keeps it, to the millisecond or second.
pub(crate) fn same_time(column: &str, time: &str) -> String {
    format!(
        "{column} IN ({time}, {time}::timestamptz(3), date_trunc('milliseconds', {time}), \
         {time}::timestamptz(0), date_trunc('milliseconds', {time})::timestamptz(0), \
         date_trunc('second', {time}))"
    )
}

/// Sends one Query message of several statements and, behind it, the first rows for the COPY among them;
/// returns the rows of the first piece that are left.
fn send<'a>(session: &mut Connection, sql: &str, pieces: &[&'a [u8]]) -> Result<&'a [u8]> {
    let mut message = query_message(sql)?;
    let rows = pieces.first().copied().unwrap_or_default();
    let (first, rest) = rows.split_at(rows.len().min(ONE_WRITE));
    message.extend_from_slice(&copy_data_head(copy::HEADER.len() + first.len())?);
    message.extend_from_slice(&copy::HEADER);
    message.extend_from_slice(first);
    if rest.is_empty() && pieces.len() < 2 {
        end(&mut message)?;
    }
    session.send(&message)?;
    Ok(rest)
}

/// Sends the rows that are left, and the end of the COPY.
fn send_rest(session: &mut Connection, rest: &[u8], pieces: &[&[u8]]) -> Result<()> {
    let rest = std::iter::once(rest).chain(pieces.iter().copied());
    for piece in rest.flat_map(|rows| rows.chunks(LONGEST_MESSAGE)) {
        session.send(&copy_data_head(piece.len())?)?;
        session.send(piece)?;
    }
    let mut message = Vec::new();
    end(&mut message)?;
    session.send(&message)
}

fn end(message: &mut Vec<u8>) -> Result<()> {
    message.extend_from_slice(&copy_data_head(copy::TRAILER.len())?);
    message.extend_from_slice(&copy::TRAILER);
    message.extend_from_slice(&COPY_DONE);
    Ok(())
}

/// What came back.
#[derive(Debug, Default)]
pub struct Landing {
    /// The tag of the last statement that completed.
    pub last_tag: String,
}

/// The answers to a flight, as far as they were read.
#[derive(Default)]
struct Answers {
    landing: Landing,
    /// The first error undid the rest.
    failure: Option<Error>,
}

impl Answers {
    /// Reads on: up to CopyInResponse or an error before it where `copy` is set, else up to ReadyForQuery.
    fn read(&mut self, session: &mut Connection, copy: bool) -> Result<()> {
        loop {
            match session.receive()? {
                (b'C', body) => self.landing.last_tag = command_tag(body),
                (b'E', body) => {
                    let error = server_error(body);
                    self.failure.get_or_insert(error);
                    if copy {
                        return Ok(());
                    }
                }
                (b'G', _) if copy => return Ok(()),
                // CopyInResponse, RowDescription, DataRow.
                (b'G' | b'T' | b'D', _) => {}
                (b'Z', body) => {
                    let status = body.first().copied().unwrap_or(b'I');
                    session.note_ready(status);
                    return Ok(());
                }
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }

    fn done(self) -> Result<Landing> {
        self.failure.map_or(Ok(self.landing), Err)
    }
}

/// Sends a flight, with the rows of its COPY in pieces, and reads its answers. When sending fails, what the
/// server said before it went is looked for: it names the reason.
///
/// More rows than the first follow when the server has begun to read them. Until then it may wait for a lock,
/// and data that it does not take for `USER_TIMEOUT` would end the connection as if nobody were there.
pub fn fly(session: &mut Connection, sql: &str, pieces: &[&[u8]]) -> Result<Landing> {
    let mut answers = Answers::default();
    let sent = send(session, sql, pieces).and_then(|rest| {
        let more = pieces.get(1..).unwrap_or_default();
        if rest.is_empty() && more.is_empty() {
            return Ok(());
        }
        answers.read(session, true)?;
        if answers.failure.is_some() {
            return Ok(());
        }
        send_rest(session, rest, more)
    });
    if let Err(error) = sent {
        session.set_read_timeout(Some(std::time::Duration::from_millis(200)))?;
        let read = answers.read(session, false);
        return match (answers.failure, read) {
            (Some(said), _) => Err(said),
            _ => Err(error),
        };
    }
    answers.read(session, false)?;
    answers.done()
}

/// The flight committed: nothing less than the tag `COMMIT` says so, for COMMIT of a failed transaction
/// answers `ROLLBACK` without an error.
pub fn committed(landing: &Landing) -> Result<()> {
    if landing.last_tag == "COMMIT" {
        return Ok(());
    }
    Err(Error::new(
        Kind::Transient,
        format!(
            "expected the tag COMMIT, found {:?}: the transaction was not written",
            landing.last_tag
        ),
    ))
}
