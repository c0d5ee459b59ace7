//! Settings that every session has, whatever the server, the database or the role has set: in the startup
//! packet, where they have precedence over `postgresql.conf`, ALTER DATABASE and ALTER ROLE.

use super::Connection;
use crate::error::Result;

/// Any role may set these, and every supported version knows them.
///
/// * A time limit would end the creation of a slot, a batch or a stream, and the next attempt like it.
/// * `default_transaction_read_only` and `default_transaction_isolation`: for transactions that set neither.
/// * `role`: rights are checked for, and missing ones named with, the role that logs in.
/// * The others change how SQL is read or answered, see "Client Connection Defaults" and "Version and
///   Platform Compatibility" of PostgreSQL's documentation.
const COMMON: [(&str, &str); 15] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    ("row_security", "on"),
    ("role", "none"),
    ("jit", "off"),
];

/// The startup parameters of a session: the common ones, and these.
pub(crate) fn startup<'a>(own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = COMMON.to_vec();
    // The server takes the last value of a parameter that is there twice.
    all.extend(own);
    all
}

/// Sets what only some versions know: in the startup packet it would end the connection at the others.
///
/// # Errors
/// The connection.
pub(crate) fn set_version_dependent(session: &mut Connection) -> Result<()> {
    session
        .query(
            "SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
             WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL",
        )
        .map(drop)
}
