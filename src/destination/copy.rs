//! Sending a batch in one flight: its statements and rows, without waiting in between.

use super::tables::TableNames;
use crate::change::{Patch, RowShape, TruncatedTables, context, copy};
use crate::error::{Error, Result};
use crate::wire::{
    COPY_DONE, Connection, command_tag, copy_data_head, literal, query_message, server_error,
    unexpected,
};

/// Rows up to this many bytes are copied behind the statements and sent with them by one write.
const ONE_WRITE: usize = 32 * 1024;

/// Bytes of rows in one CopyData message. The server drops the connection at a message beyond 1 GB, and a row
/// can be larger than that.
const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// The COPY of rows that have these columns.
pub(super) fn copy_statement(names: &TableNames, shape: RowShape) -> String {
    format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        names.changes(),
        shape.columns()
    )
}

/// The statement that gives rows their late context.
pub(super) fn patch_statement(names: &TableNames, patch: &Patch, database: &str) -> String {
    let context = literal(&String::from_utf8_lossy(&patch.context));
    let context = match patch.has_members {
        false => context,
        // What a row says of its partition stays.
        true => {
            let mut object = Vec::new();
            context::as_object(&patch.context, &mut object);
            let object = literal(&String::from_utf8_lossy(&object));
            format!(
                "CASE context WHEN '{{}}' THEN {context}::jsonb ELSE {object}::jsonb || context END"
            )
        }
    };
    format!(
        "UPDATE {} SET context = {context} WHERE transaction_id = {} AND database = {} \
         AND position BETWEEN {} AND {} AND {}",
        names.changes(),
        patch.xid,
        literal(database),
        patch.first.0,
        patch.last.0,
        same_time("committed_at", &timestamp(&patch.commit_time.0.to_string()))
    )
}

/// The statement that fails with 22012 (division by zero) where the table has rows of this TRUNCATE already:
/// another tracker wrote all of them at the position of the first one, so that COPY meets no conflict.
pub(super) fn truncated_before(names: &TableNames, truncated: &TruncatedTables) -> String {
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
pub(super) fn timestamp(microseconds: &str) -> String {
    format!("('2000-01-01 00:00:00+00'::timestamptz + {microseconds} * interval '1 microsecond')")
}

/// An expression: a column holds the time of a commit, to the microsecond, or to the millisecond or second,
/// as a table or tracker that is not zemi's may keep it.
pub(super) fn same_time(column: &str, time: &str) -> String {
    format!(
        "{column} IN ({time}, {time}::timestamptz(3), date_trunc('milliseconds', {time}), \
         {time}::timestamptz(0), date_trunc('milliseconds', {time})::timestamptz(0), \
         date_trunc('second', {time}))"
    )
}

/// Sends one Query message of several statements and, behind it, the first rows for the COPY among them;
/// returns the rows of the first run that are left.
fn send<'a>(session: &mut Connection, sql: &str, runs: &[&'a [u8]]) -> Result<&'a [u8]> {
    let mut message = query_message(sql)?;
    let rows = runs.first().copied().unwrap_or_default();
    let (first, rest) = rows.split_at(rows.len().min(ONE_WRITE));
    message.extend_from_slice(&copy_data_head(copy::HEADER.len() + first.len())?);
    message.extend_from_slice(&copy::HEADER);
    message.extend_from_slice(first);
    if rest.is_empty() && runs.len() < 2 {
        end(&mut message)?;
    }
    session.send(&message)?;
    Ok(rest)
}

/// Sends the rows that are left, and the end of the COPY.
fn send_rest(session: &mut Connection, rest: &[u8], runs: &[&[u8]]) -> Result<()> {
    let rest = std::iter::once(rest).chain(runs.iter().copied());
    for body in rest.flat_map(|rows| rows.chunks(LONGEST_MESSAGE)) {
        session.send(&copy_data_head(body.len())?)?;
        session.send(body)?;
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

/// What the server answered to [`send_copy`].
#[derive(Debug, Default)]
pub(super) struct CopyOutcome {
    /// The command tag of the last statement that completed.
    pub(super) last_tag: String,
}

/// The answers, as far as they were read.
#[derive(Default)]
struct Answers {
    outcome: CopyOutcome,
    /// The first error; the server skipped all statements behind it.
    failure: Option<Error>,
}

impl Answers {
    /// Reads on: up to CopyInResponse or an error before it where `copy` is set, else up to ReadyForQuery.
    fn read(&mut self, session: &mut Connection, copy: bool) -> Result<()> {
        loop {
            match session.receive()? {
                (b'C', body) => self.outcome.last_tag = command_tag(body),
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

    fn done(self) -> Result<CopyOutcome> {
        self.failure.map_or(Ok(self.outcome), Err)
    }
}

/// Sends statements with one COPY among them and the rows for it, which are in several runs of memory, and
/// reads the answers. When sending fails, an error that the server sent before it closed the connection is
/// looked for: it names the reason.
///
/// Rows beyond the first [`ONE_WRITE`] bytes follow when the server has begun to read them. Until then the
/// server may wait for a lock, and data that is not taken for `USER_TIMEOUT` would end the connection as if
/// the host were gone.
pub(super) fn send_copy(
    session: &mut Connection,
    sql: &str,
    runs: &[&[u8]],
) -> Result<CopyOutcome> {
    let mut answers = Answers::default();
    let sent = send(session, sql, runs).and_then(|rest| {
        let more = runs.get(1..).unwrap_or_default();
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
            (Some(reason), _) => Err(reason),
            _ => Err(error),
        };
    }
    answers.read(session, false)?;
    answers.done()
}
