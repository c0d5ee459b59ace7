//! One session with a server: simple queries, COPY IN, and the raw messages for those who pipeline.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{FRAME_LIMIT, HEAD, Inbox, write_failed};
use super::response::{log_notice, server_error};
use super::{Encryption, Transport, auth, connect, identifier};
use crate::config::Endpoint;
use crate::error::{At, Error, Kind, Result};
use crate::sqlstate;

/// A transport with its input buffer, as authentication and the session use it.
pub(super) struct Session {
    transport: Arc<dyn Transport>,
    inbox: Inbox,
    name: String,
    deadline: Option<Instant>,
    encryption: Option<Encryption>,
}

impl Session {
    /// How the line is encrypted, where it is.
    pub(super) fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(deadline) = self.deadline {
            let left = connect::remaining(deadline)?;
            self.transport
                .set_write_timeout(Some(left))
                .map_err(write_failed)?;
        }
        self.transport.write_all(bytes).map_err(write_failed)
    }

    /// The next message that is not a notice, a notification or a parameter.
    pub(super) fn read(&mut self, limit: usize) -> Result<(u8, &[u8])> {
        loop {
            if let Some(deadline) = self.deadline {
                let left = connect::remaining(deadline)?;
                self.transport
                    .set_read_timeout(Some(left))
                    .map_err(write_failed)?;
            }
            let (tag, length) = {
                let (tag, body) = self.inbox.next(&*self.transport, limit)?;
                if tag == b'N' {
                    log_notice(&self.name, body);
                }
                (tag, body.len())
            };
            if !matches!(tag, b'N' | b'A' | b'S') {
                return Ok((tag, self.inbox.last(length)));
            }
        }
    }
}

/// The rows of one statement, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag, such as `SELECT 1`.
    pub tag: String,
}

impl ResultSet {
    /// The value of the first row in this column, where there is one and it is not NULL.
    pub fn first(&self, column: usize) -> Option<&str> {
        self.rows.first()?.get(column)?.as_deref()
    }

    /// The value of this row in the column of this name; `None` for NULL, and where there is no such row or
    /// column.
    pub fn value(&self, row: usize, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(at)?.as_deref()
    }
}

/// A session with a server, authenticated and ready.
pub struct Connection {
    session: Session,
    /// The transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    status: u8,
}

impl Connection {
    /// Connects and authenticates within `limit`. `parameters` go into the startup packet, where they
    /// are session defaults and cost no round trip.
    ///
    /// # Errors
    /// Whatever stands in the way, with the name of the server in front.
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

    /// Authenticates over a transport that is connected already: to a server, or to what plays one in
    /// tests and fuzz targets.
    ///
    /// # Errors
    /// As for [`Connection::open`], without the name of the server.
    pub fn over(
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
        let mut session = Session {
            transport,
            inbox: Inbox::default(),
            name: endpoint.to_string(),
            deadline: Some(deadline),
            encryption,
        };
        auth::start(&mut session, endpoint, parameters).map_err(|e| match e.kind() {
            Kind::Transient if Instant::now() >= deadline => connect::timed_out(),
            // A walsender is refused with this state for the lack of REPLICATION, too.
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
        session.deadline = None;
        session
            .transport
            .set_read_timeout(None)
            .map_err(write_failed)?;
        session
            .transport
            .set_write_timeout(None)
            .map_err(write_failed)?;
        Ok(Connection {
            session,
            status: b'I',
        })
    }

    /// The transport, for a thread that writes while this one reads, or that has to wake it.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.session.transport)
    }

    /// Gives up the session for its transport. Bytes that were received beyond the last message come
    /// with it.
    pub fn into_parts(mut self) -> (Arc<dyn Transport>, Vec<u8>) {
        let rest = self.session.inbox.take_pending();
        (self.transport(), rest)
    }

    /// How the line is encrypted; `None` where it is plain text or a Unix socket.
    pub fn encryption(&self) -> Option<&Encryption> {
        self.session.encryption()
    }

    /// Whether the session is inside a transaction block, open or failed.
    pub fn in_transaction(&self) -> bool {
        self.status != b'I'
    }

    /// Bounds how long an answer may take; `None` waits for ever.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) -> Result<()> {
        self.session
            .transport
            .set_read_timeout(limit)
            .map_err(write_failed)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.session.write(bytes)
    }

    /// Reads the next message (tag, body). Notices are logged, parameters passed over.
    pub fn receive(&mut self) -> Result<(u8, &[u8])> {
        self.session.read(FRAME_LIMIT)
    }

    /// Runs the statements of one simple query; one result set for each statement. An error of any
    /// statement is returned after the server is ready again.
    pub fn query(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        self.send(&query_message(sql)?)?;
        let mut sets = Vec::new();
        let mut current = ResultSet::default();
        let mut failure = None;
        loop {
            match self.receive()? {
                (b'T', body) => current.columns = column_names(body)?,
                (b'D', body) => current.rows.push(row(body)?),
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
                // CopyOutResponse, its data and its end: nobody asked for them, nobody needs them.
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

    /// Notes the status of a ReadyForQuery that the caller received itself.
    pub fn note_ready(&mut self, status: u8) {
        self.status = status;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if Arc::strong_count(&self.session.transport) == 1 {
            // Terminate, so that the server does not log a lost connection; the socket may be gone.
            let _ = self
                .session
                .transport
                .set_write_timeout(Some(Duration::from_millis(100)));
            let _ = self.session.transport.write_all(&[b'X', 0, 0, 0, 4]);
            self.session.transport.shutdown(Shutdown::Both);
        }
    }
}

/// A CopyDone message.
pub const COPY_DONE: [u8; HEAD] = [b'c', 0, 0, 0, 4];

/// The head of a CopyData message with a body of this many bytes.
pub fn copy_data_head(body: usize) -> Result<[u8; HEAD]> {
    let length = u32::try_from(body + 4)
        .map_err(|_| Error::new(Kind::Bug, format!("a CopyData message of {body} bytes")))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([b'd', a, b, c, d])
}

/// A Query message.
pub fn query_message(sql: &str) -> Result<Vec<u8>> {
    let mut message = bytes::BytesMut::with_capacity(sql.len() + 6);
    postgres_protocol::message::frontend::query(sql, &mut message)
        .map_err(|e| Error::new(Kind::Setting, "a name holds a zero byte").caused_by(e))?;
    Ok(message.into())
}

/// The text of a CommandComplete.
pub fn command_tag(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned()
}

/// The number of rows at the end of a command tag.
pub fn rows_of_tag(tag: &str) -> u64 {
    tag.rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// A message that has no place here.
pub fn unexpected(tag: u8) -> Error {
    Error::new(
        Kind::Protocol,
        format!("found a message of unexpected type 0x{tag:02x}"),
    )
}

fn truncated(what: &str) -> Error {
    Error::new(Kind::Protocol, format!("{what} ends before its last field"))
}

fn column_names(body: &[u8]) -> Result<Vec<String>> {
    let short = || truncated("RowDescription");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(short)?;
        let (name, after) = rest.split_at_checked(end).ok_or_else(short)?;
        names.push(String::from_utf8_lossy(name).into_owned());
        // The zero byte, then table OID, attribute number, type OID, size, modifier and format.
        rest = after.get(1 + 18..).ok_or_else(short)?;
    }
    Ok(names)
}

fn row(body: &[u8]) -> Result<Vec<Option<String>>> {
    let short = || truncated("DataRow");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => values.push(None),
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length).ok_or_else(short)?;
                values.push(Some(String::from_utf8_lossy(value).into_owned()));
                rest = after;
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_read_and_their_lengths_checked() {
        let body = b"\0\x02\0\0\0\x01a\xFF\xFF\xFF\xFF";
        assert_eq!(row(body).unwrap(), vec![Some("a".into()), None]);
        for end in 0..body.len() {
            assert!(row(&body[..end]).is_err(), "{end}");
        }
        assert!(row(b"\0\x01\x7F\xFF\xFF\xFFa").is_err());
    }

    #[test]
    fn column_names_are_read_and_their_lengths_checked() {
        let mut body = b"\0\x01id\0".to_vec();
        body.extend([0; 18]);
        assert_eq!(column_names(&body).unwrap(), vec!["id"]);
        for end in 0..body.len() {
            assert!(column_names(&body[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn values_are_found_by_row_and_name() {
        let set = ResultSet {
            columns: vec!["a".into(), "b".into()],
            rows: vec![
                vec![Some("1".into()), None],
                vec![Some("2".into()), Some("3".into())],
            ],
            tag: String::new(),
        };
        assert_eq!(set.value(0, "a"), Some("1"));
        assert_eq!(set.value(0, "b"), None);
        assert_eq!(set.value(1, "b"), Some("3"));
        assert_eq!(set.value(2, "a"), None);
        assert_eq!(set.value(0, "c"), None);
    }

    #[test]
    fn tags_give_their_row_counts() {
        assert_eq!(rows_of_tag(&command_tag(b"COPY 1000\0")), 1000);
        assert_eq!(rows_of_tag("INSERT 0 7"), 7);
        assert_eq!(rows_of_tag("BEGIN"), 0);
    }
}
