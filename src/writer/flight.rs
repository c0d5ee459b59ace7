//! One flight: the statements of a batch and its rows, sent without waiting in between.

use crate::change::batch::Patch;
use crate::change::{copy, row};
use crate::error::{Error, Kind, Result};
use crate::lsn::PgTimestamp;
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
         AND position BETWEEN {} AND {} AND {}",
        literal(&String::from_utf8_lossy(&patch.context)),
        patch.xid,
        literal(database),
        patch.first.0,
        patch.last.0,
        same_time("committed_at", &timestamp(patch.commit_time))
    )
}

/// An expression of the type timestamptz; exact, as no decimal number of seconds would be.
fn timestamp(time: PgTimestamp) -> String {
    format!(
        "('2000-01-01 00:00:00+00'::timestamptz + {} * interval '1 microsecond')",
        time.0
    )
}

/// Whether a column holds the time of a commit: to the microsecond, or as somebody else's table or tracker
/// keeps it, to the millisecond or second.
pub(super) fn same_time(column: &str, time: &str) -> String {
    format!(
        "{column} IN ({time}, {time}::timestamptz(3), date_trunc('milliseconds', {time}), \
         {time}::timestamptz(0), date_trunc('milliseconds', {time})::timestamptz(0), \
         date_trunc('second', {time}))"
    )
}

/// Sends one Query message of several statements and, behind it, the first rows for the COPY among them;
/// returns the rows that are left.
fn send<'a>(session: &mut Connection, sql: &str, rows: &'a [u8]) -> Result<&'a [u8]> {
    let mut message = query_message(sql)?;
    let (first, rest) = rows.split_at(rows.len().min(ONE_WRITE));
    message.extend_from_slice(&copy_data_head(copy::HEADER.len() + first.len())?);
    message.extend_from_slice(&copy::HEADER);
    message.extend_from_slice(first);
    if rest.is_empty() {
        end(&mut message)?;
    }
    session.send(&message)?;
    Ok(rest)
}

/// Sends the rows that are left, and the end of the COPY.
fn send_rest(session: &mut Connection, rest: &[u8]) -> Result<()> {
    for piece in rest.chunks(LONGEST_MESSAGE) {
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

/// Sends a flight and reads its answers. When sending fails, what the server said before it went is
/// looked for: it names the reason.
///
/// More rows than the first follow when the server has begun to read them. Until then it may wait for a lock,
/// and data that it does not take for `USER_TIMEOUT` would end the connection as if nobody were there.
pub fn fly(session: &mut Connection, sql: &str, rows: &[u8]) -> Result<Landing> {
    let mut answers = Answers::default();
    let sent = send(session, sql, rows).and_then(|rest| {
        if rest.is_empty() {
            return Ok(());
        }
        answers.read(session, true)?;
        if answers.failure.is_some() {
            return Ok(());
        }
        send_rest(session, rest)
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
        Kind::Network,
        format!(
            "expected the tag COMMIT, found {:?}: the transaction was not written",
            landing.last_tag
        ),
    ))
}
