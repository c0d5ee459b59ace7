//! The error type of the program, and the table that decides between retry and stop.
//!
//! An error says what was expected, what was found, where, and what an operator can do. It holds no row
//! values and no secrets: the text of a server error of the data classes (22, 23, 44, 54) is cut where
//! PostgreSQL quotes the value, that of a function's own exception (P0) is left out, and so are details.

use std::fmt;

use crate::lsn::Lsn;
use crate::sqlstate;

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// The class of an error; with the SQLSTATE it decides between retry and stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bad command-line argument.
    Argument,
    /// A bad setting, of this program or of a server, that an operator has to change.
    Setting,
    /// A password, permission or certificate was refused.
    Refused,
    /// Another process holds the replication slot.
    Busy,
    /// An error that may pass by itself: the network, a time limit, a peer that closed the connection.
    Transient,
    /// An ErrorResponse of a PostgreSQL server; the SQLSTATE decides.
    Server,
    /// A violation of the frontend/backend protocol by the peer.
    Protocol,
    /// A message of the replication stream that cannot be decoded.
    Decode,
    /// Another process moved the progress, or rows were discarded: the positions have to be read again.
    Resync,
    /// The end was asked for.
    Stopped,
    /// A state that the program excludes.
    Bug,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Retry with backoff, without limit.
    Retry,
    /// End the process with this exit code.
    Stop(Exit),
}

/// The exit codes of the process (`sysexits.h` where it has a fitting one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped as asked.
    Ok = 0,
    /// A bad argument (`EX_USAGE`).
    Usage = 64,
    /// An error that will not pass by itself (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A bug (`EX_SOFTWARE`).
    Bug = 70,
    /// Another instance holds the slot (`EX_TEMPFAIL`).
    Busy = 75,
    /// A password, permission or certificate was refused (`EX_NOPERM`).
    Refused = 77,
    /// A bad setting (`EX_CONFIG`).
    Config = 78,
}

/// A five-character SQLSTATE (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// From the bytes of an ErrorResponse field; what is not five alphanumerics is `XX000`.
    pub fn from_bytes(bytes: &[u8]) -> SqlState {
        match <[u8; 5]>::try_from(bytes) {
            Ok(code) if code.iter().all(u8::is_ascii_alphanumeric) => SqlState(code),
            _ => SqlState(*b"XX000"),
        }
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or(sqlstate::INTERNAL_ERROR)
    }

    /// The two-character class.
    pub fn class(&self) -> &str {
        self.as_str().get(..2).unwrap_or("XX")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: kind, message, places (outermost last), and a hint for the operator.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    sqlstate: Option<SqlState>,
    wal_position: Option<Lsn>,
    hint: Option<String>,
    places: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            sqlstate: None,
            wal_position: None,
            hint: None,
            places: Vec::new(),
            source: None,
        }))
    }

    /// An error message of a server. `message` must already be free of row values.
    pub fn server(sqlstate: SqlState, message: impl Into<String>) -> Error {
        let mut error = Error::new(Kind::Server, message);
        error.0.sqlstate = Some(sqlstate);
        error
    }

    /// Adds a place. The last one added is the outermost and is printed first.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Error {
        self.0.places.push(place.into());
        self
    }

    /// Adds the position of the change that a walsender was decoding, as a place, too.
    #[must_use]
    pub fn at_wal(mut self, position: Lsn) -> Error {
        self.0.wal_position = Some(position);
        self.at(format!("change at {position}"))
    }

    /// Adds what the operator can do. The first hint is kept: it was given nearest to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// As [`Error::hint`], in the place of one that is there already: the server's own may be far from the
    /// cause.
    #[must_use]
    pub(crate) fn replace_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub fn as_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The hint, else that of the SQLSTATE.
    pub fn hint_text(&self) -> Option<&str> {
        let given = self.0.hint.as_deref();
        given.or_else(|| self.0.sqlstate.and_then(hint_of_sqlstate))
    }

    /// The text without the hint.
    pub fn without_hint(&self) -> String {
        struct Bare<'a>(&'a Error);
        impl fmt::Display for Bare<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write_what(f)
            }
        }
        Bare(self).to_string()
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The position of the change that a walsender was decoding.
    pub fn wal_position(&self) -> Option<Lsn> {
        self.0.wal_position
    }

    /// The SQLSTATE, where a server sent the error.
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.0.sqlstate
    }

    /// The SQLSTATE as text, where a server sent the error.
    pub fn code(&self) -> Option<&str> {
        self.0.sqlstate.as_ref().map(SqlState::as_str)
    }

    /// Whether a server sent exactly this SQLSTATE.
    pub fn is_sqlstate(&self, code: &str) -> bool {
        self.0.sqlstate.is_some_and(|s| s.as_str() == code)
    }

    /// Whether a server rejected the data itself, and not the session or the connection.
    ///
    /// Class 22 (data exception), 23 (integrity constraint violation), 44 (WITH CHECK OPTION), 54 (program
    /// limit: an index row or a jsonb too large, nesting too deep), P0 (RAISE in a trigger), and
    /// XX000: a row too large for memory is "invalid memory alloc request size" to the server.
    pub fn is_about_data(&self) -> bool {
        self.0.sqlstate.is_some_and(|s| {
            matches!(s.class(), "22" | "23" | "44" | "54" | "P0")
                || s.as_str() == sqlstate::INTERNAL_ERROR
        })
    }

    /// Whether a server refused a statement and not the session: not a lost connection (class 08), a lack of
    /// resources (53) or an operator's act (57).
    pub fn is_of_statement(&self) -> bool {
        self.0.kind == Kind::Server
            && self
                .0
                .sqlstate
                .is_some_and(|state| !matches!(state.class(), "08" | "53" | "57"))
    }

    /// Whether the server that sent it is shutting down or starting up (57P01, 57P02, 57P03).
    pub fn is_server_stopping(&self) -> bool {
        self.0.sqlstate.is_some_and(|s| {
            matches!(
                s.as_str(),
                sqlstate::ADMIN_SHUTDOWN | sqlstate::CRASH_SHUTDOWN | sqlstate::CANNOT_CONNECT_NOW
            )
        })
    }

    /// Retry or stop.
    pub fn remedy(&self) -> Remedy {
        match self.0.kind {
            Kind::Argument => Remedy::Stop(Exit::Usage),
            Kind::Setting => Remedy::Stop(Exit::Config),
            Kind::Refused => Remedy::Stop(Exit::Refused),
            Kind::Busy => Remedy::Stop(Exit::Busy),
            Kind::Transient | Kind::Protocol | Kind::Decode | Kind::Resync => Remedy::Retry,
            Kind::Stopped => Remedy::Stop(Exit::Ok),
            Kind::Bug => Remedy::Stop(Exit::Bug),
            Kind::Server => self.0.sqlstate.map_or(Remedy::Retry, remedy_of_sqlstate),
        }
    }
}

/// The remedy by SQLSTATE (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
///
/// Conditions that pass or are handled on the server are retried: restarts, failovers, full disks, locks,
/// lost connections, limits on sessions. Conditions that need another setting or right of this program stop
/// it.
fn remedy_of_sqlstate(code: SqlState) -> Remedy {
    match code.as_str() {
        // Authentication and privileges.
        sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
        | sqlstate::INVALID_PASSWORD
        | sqlstate::INSUFFICIENT_PRIVILEGE => Remedy::Stop(Exit::Refused),
        // A database, object or column that does not exist or has another type.
        sqlstate::INVALID_CATALOG_NAME
        | sqlstate::UNDEFINED_TABLE
        | sqlstate::UNDEFINED_COLUMN
        | sqlstate::UNDEFINED_OBJECT
        | sqlstate::DATATYPE_MISMATCH
        | sqlstate::UNDEFINED_FUNCTION
        | sqlstate::INVALID_SCHEMA_NAME => Remedy::Stop(Exit::Config),
        // wal_level, a feature that the server was built without, syntax of a later version.
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE
        | sqlstate::FEATURE_NOT_SUPPORTED
        | sqlstate::SYNTAX_ERROR
        | sqlstate::INVALID_NAME => Remedy::Stop(Exit::Config),
        sqlstate::OBJECT_IN_USE => Remedy::Stop(Exit::Busy),
        _ => Remedy::Retry,
    }
}

/// The hint for errors that were given none.
fn hint_of_sqlstate(code: SqlState) -> Option<&'static str> {
    Some(match code.as_str() {
        sqlstate::DISK_FULL => "free space on that server's disk: zemi goes on by itself",
        sqlstate::OUT_OF_MEMORY => {
            "that server is out of memory: zemi goes on by itself when it has some"
        }
        sqlstate::READ_ONLY_SQL_TRANSACTION => {
            "SELECT pg_is_in_recovery() tells whether it is a standby; else see \
             default_transaction_read_only"
        }
        sqlstate::LOCK_NOT_AVAILABLE | sqlstate::QUERY_CANCELED => {
            "SELECT pid, query FROM pg_stat_activity WHERE wait_event_type = 'Lock' shows who waits, and \
             pg_blocking_pids(pid) for whom"
        }
        sqlstate::IO_ERROR | sqlstate::DATA_CORRUPTED | sqlstate::INDEX_CORRUPTED => {
            "look at that server's log and its disk"
        }
        _ => return None,
    })
}

impl Error {
    fn write_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.places.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(code) = self.0.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_what(f)?;
        if let Some(hint) = self.hint_text() {
            write!(f, ". Hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Adds a place to the error of a result, see [`Error::at`].
pub trait At<T> {
    /// Adds a place. It is made only for an error.
    fn at(self, place: impl FnOnce() -> String) -> Result<T>;
}

impl<T> At<T> for Result<T> {
    fn at(self, place: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.at(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_printed_outermost_first_and_the_hint_last() {
        let error = Error::server(
            SqlState::from_bytes(b"42501"),
            "permission denied for schema public",
        )
        .at("CREATE TABLE")
        .at("destination db:5432")
        .hint("GRANT CREATE ON SCHEMA public TO zemi")
        .hint("a later hint is not nearer to the cause");
        assert_eq!(
            error.to_string(),
            "destination db:5432: CREATE TABLE: permission denied for schema public \
             (SQLSTATE 42501). Hint: GRANT CREATE ON SCHEMA public TO zemi"
        );
        assert_eq!(error.remedy(), Remedy::Stop(Exit::Refused));
    }

    #[test]
    fn what_may_mend_itself_is_retried_and_the_rest_stops() {
        let remedy = |code: &[u8]| Error::server(SqlState::from_bytes(code), "x").remedy();
        for code in [
            &b"57P01"[..],
            b"57P03",
            b"53100",
            b"53300",
            b"08006",
            b"55P03",
            b"40001",
            b"25006",
            b"XX000",
        ] {
            assert_eq!(
                remedy(code),
                Remedy::Retry,
                "{}",
                String::from_utf8_lossy(code)
            );
        }
        assert_eq!(remedy(b"28P01"), Remedy::Stop(Exit::Refused));
        assert_eq!(remedy(b"3D000"), Remedy::Stop(Exit::Config));
        assert_eq!(remedy(b"55006"), Remedy::Stop(Exit::Busy));
    }

    #[test]
    fn an_sqlstate_that_tells_what_to_do_is_a_hint_unless_there_is_a_nearer_one() {
        let full = || Error::server(SqlState::from_bytes(b"53100"), "full");
        assert!(full().to_string().ends_with("zemi goes on by itself"));
        assert!(full().hint("x").to_string().ends_with("Hint: x"));
    }

    #[test]
    fn a_sqlstate_that_is_none_becomes_internal_error() {
        for bytes in [&b""[..], b"1234", b"123456", b"12\xFF45"] {
            assert_eq!(SqlState::from_bytes(bytes).as_str(), "XX000");
        }
    }
}
