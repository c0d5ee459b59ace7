//! One session with a server: simple queries, COPY IN, and raw messages for callers that pipeline.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadline::timed_out;
use super::frame::FRAME_LIMIT;
use super::frontend::{COPY_DONE, Format, copy_data_head, query_message, query_with_messages};
use super::io_error::write_failed;
use super::message_stream::MessageStream;
use super::quote::identifier;
use super::response::server_error;
use super::result_set::{ResultSet, column_names, command_tag, lossy, row, rows_of_tag};
use super::tls::encryption::Encryption;
use super::transport::Transport;
use super::{auth, connect};
use crate::config::Endpoint;
use crate::error::{At, Error, Kind, Result};
use crate::lsn::Oid;
use crate::sqlstate;

/// A session with a server, authenticated and ready.
pub struct Connection {
    stream: MessageStream,
    /// The transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    status: u8,
    unconvertible: Option<Unconvertible>,
}

/// Runs statements whose answer the server could not convert to UTF-8.
type Unconvertible = fn(&mut Connection, &str) -> Result<Vec<ResultSet>>;

impl Connection {
    /// Connects and authenticates within `limit`. `parameters` go into the startup packet, where they
    /// are session defaults and cost no round trip.
    ///
    /// # Errors
    /// Every error of connecting and authenticating, with the address of the server in front.
    pub fn open(
        endpoint: &Endpoint,
        parameters: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Connection> {
        let deadline = Instant::now() + limit;
        connect::connect(endpoint, deadline)
            .and_then(|connected| Self::log_in(connected, endpoint, parameters, deadline))
            .at(|| endpoint.to_string())
    }

    /// Authenticates over a connected transport: to a server, or to a peer that plays one in fuzz targets.
    ///
    /// # Errors
    /// As for [`Connection::open`], without the name of the server.
    pub(crate) fn over(
        transport: Arc<dyn Transport>,
        endpoint: &Endpoint,
        parameters: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Connection> {
        Self::log_in((transport, None), endpoint, parameters, deadline)
    }

    fn log_in(
        (transport, encryption): connect::Connected,
        endpoint: &Endpoint,
        parameters: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Connection> {
        let server = endpoint.to_string();
        let mut stream = MessageStream::new(transport, encryption, server, deadline);
        auth::start(&mut stream, endpoint, parameters).map_err(|e| match e.kind() {
            Kind::Transient if Instant::now() >= deadline => timed_out(),
            // A walsender sends this state for a missing REPLICATION as well.
            _ if e.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE)
                && !parameters.iter().any(|(n, _)| *n == "replication") =>
            {
                e.hint(format!(
                    "GRANT CONNECT ON DATABASE {} TO {}",
                    identifier(&endpoint.database),
                    identifier(&endpoint.user)
                ))
            }
            _ => e,
        })?;
        stream.clear_deadline()?;
        Ok(Connection {
            stream,
            status: b'I',
            unconvertible: None,
        })
    }

    /// The transport, for a thread that writes while this one reads, or that has to unblock its read.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(self.stream.transport())
    }

    /// Takes the session apart: its transport, and the bytes that were received beyond the last message.
    pub fn into_parts(mut self) -> (Arc<dyn Transport>, Vec<u8>) {
        let rest = self.stream.take_pending();
        (self.transport(), rest)
    }

    /// How the connection is encrypted; `None` for plain text and Unix sockets.
    pub fn encryption(&self) -> Option<&Encryption> {
        self.stream.encryption()
    }

    /// Whether the session is inside a transaction block, open or failed.
    pub fn in_transaction(&self) -> bool {
        self.status != b'I'
    }

    /// From now on, statements outside of a transaction whose answer holds text that the server cannot
    /// convert to UTF-8 are run again by this function.
    pub(crate) fn answer_unconvertible_by(&mut self, run: Unconvertible) {
        self.unconvertible = Some(run);
    }

    /// Bounds the wait for an answer; `None` is no limit.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) -> Result<()> {
        self.stream
            .transport()
            .set_read_timeout(limit)
            .map_err(write_failed)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write(bytes)
    }

    /// Reads the next message (tag, body). Notices are logged, parameters passed over.
    pub fn receive(&mut self) -> Result<(u8, &[u8])> {
        self.stream.read(FRAME_LIMIT)
    }

    /// Runs the statements of one simple query; one result set for each statement. An error of any
    /// statement is returned after the server is ready again.
    pub fn query(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        match (self.query_in(sql, lossy), self.unconvertible) {
            (Err(e), Some(run)) if e.is_unconvertible() && !self.in_transaction() => run(self, sql),
            (answered, _) => answered,
        }
    }

    /// As [`Connection::query`], where `text` makes text of the bytes of a value.
    pub fn query_in(&mut self, sql: &str, text: fn(&[u8]) -> String) -> Result<Vec<ResultSet>> {
        self.send(&query_message(sql)?)?;
        self.result_sets(text)
    }

    /// Runs statements that are sent together, each as a simple query of its own: one that fails leaves the
    /// others as they are. There may be so many that their answers fit into the buffers of a socket.
    ///
    /// # Errors
    /// Those that are not of a statement.
    pub fn query_each(&mut self, statements: &[String]) -> Result<Vec<Result<ResultSet>>> {
        let mut messages = Vec::new();
        for sql in statements {
            messages.extend(query_message(sql)?);
        }
        self.send(&messages)?;
        let mut answers = Vec::with_capacity(statements.len());
        for _ in statements {
            answers.push(match self.result_sets(lossy) {
                Err(e) if !e.is_of_statement() => return Err(e),
                answer => answer.map(|mut sets| sets.pop().unwrap_or_default()),
            });
        }
        Ok(answers)
    }

    /// Runs one statement with one parameter of this type, in text. Its answer has no names of columns.
    pub fn query_with(&mut self, sql: &str, parameter: Oid, text: &[u8]) -> Result<ResultSet> {
        self.send(&query_with_messages(sql, parameter, Format::Text, text)?)?;
        Ok(self.result_sets(lossy)?.pop().unwrap_or_default())
    }

    /// Reads the answer to what was sent, up to the next ReadyForQuery.
    fn result_sets(&mut self, text: fn(&[u8]) -> String) -> Result<Vec<ResultSet>> {
        let mut sets = Vec::new();
        let mut current = ResultSet::default();
        let mut failure = None;
        loop {
            match self.receive()? {
                (b'T', body) => current.columns = column_names(body)?,
                (b'D', body) => current.rows.push(row(body, text)?),
                (b'C', body) => {
                    current.tag = command_tag(body);
                    sets.push(std::mem::take(&mut current));
                }
                (b'I', _) => sets.push(std::mem::take(&mut current)),
                (b'E', body) => failure = failure.or(Some(server_error(body))),
                (b'G' | b'W', _) => {
                    return Err(Error::new(
                        Kind::Bug,
                        "COPY started where none was asked for",
                    ));
                }
                // ParseComplete and BindComplete.
                (b'1' | b'2', _) => {}
                // CopyOutResponse, CopyData and CopyDone of a COPY TO STDOUT: not used.
                (b'H' | b'd' | b'c', _) => {}
                (b'Z', body) => {
                    self.status = body.first().copied().unwrap_or(b'I');
                    return failure.map_or(Ok(sets), Err);
                }
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }

    /// Runs one statement and returns its rows.
    pub fn rows(&mut self, sql: &str) -> Result<ResultSet> {
        Ok(self.query(sql)?.pop().unwrap_or_default())
    }

    /// Runs the statements of a transaction, `BEGIN` and `COMMIT` among them, and rolls back what an error
    /// left open.
    pub(crate) fn transaction(&mut self, sql: &str) -> Result<()> {
        let done = self.query(sql);
        if done.is_err() {
            self.roll_back()?;
        }
        done.map(drop)
    }

    /// Rolls back the transaction that an error left open, where it did: one of the text of the statements
    /// comes before BEGIN.
    pub(crate) fn roll_back(&mut self) -> Result<()> {
        match self.in_transaction() {
            true => self.query("ROLLBACK").map(drop),
            false => Ok(()),
        }
    }

    /// Runs `COPY … FROM STDIN` with this data; returns the number of rows.
    pub fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<u64> {
        self.send(&query_message(sql)?)?;
        for piece in data.chunks(64 * 1024) {
            self.send(&copy_data_head(piece.len())?)?;
            self.send(piece)?;
        }
        self.send(&COPY_DONE)?;
        let mut rows = 0;
        let mut failure = None;
        loop {
            match self.receive()? {
                (b'G', _) => {}
                (b'C', body) => rows = rows_of_tag(&command_tag(body)),
                (b'E', body) => failure = failure.or(Some(server_error(body))),
                (b'Z', body) => {
                    self.status = body.first().copied().unwrap_or(b'I');
                    return failure.map_or(Ok(rows), Err);
                }
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }

    /// Notes the status of a ReadyForQuery that the caller read by [`Connection::receive`].
    pub fn note_ready(&mut self, status: u8) {
        self.status = status;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if Arc::strong_count(self.stream.transport()) == 1 {
            // Terminate, so that the server does not log a lost connection; the socket may be gone.
            let _ = self
                .stream
                .transport()
                .set_write_timeout(Some(Duration::from_millis(100)));
            let _ = self.stream.transport().write_all(&[b'X', 0, 0, 0, 4]);
            self.stream.transport().shutdown(Shutdown::Both);
        }
    }
}

/// The error of a message that the protocol does not allow here.
pub fn unexpected(tag: u8) -> Error {
    Error::new(
        Kind::Protocol,
        format!("found a message of unexpected type 0x{tag:02x}"),
    )
}
