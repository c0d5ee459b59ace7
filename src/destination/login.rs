//! Logging in to the destination, with the settings of its sessions.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::sqlstate;
use crate::wire::session_settings::{set_version_dependent, startup};
use crate::wire::{Connection, with_login_hint};

/// Settings of the session, beside those of every session at all. Notices that a trigger raises for each row
/// would fill the connection, which is not read while rows are sent.
///
/// TCP keepalive of the server: a connection that broke without a FIN leaves a backend that holds the lock on
/// the row of the progress, for which the next session waits; by the system's defaults that lasts two hours.
const SESSION: [(&str, &str); 7] = [
    ("application_name", "zemi"),
    ("synchronous_commit", "on"),
    ("client_min_messages", "error"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "4"),
    ("tcp_user_timeout", "20000"),
];

/// The error of a login at a destination that was written to before, where that may pass: a database that is
/// dropped and restored, or closed for a moment (`ALLOW_CONNECTIONS false`), a role without LOGIN, a line of
/// `pg_hba.conf`. To end would keep WAL on the source until the next start.
pub(super) fn passing(error: Error) -> Error {
    let states = [
        sqlstate::INVALID_CATALOG_NAME,
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
    ];
    match states.iter().any(|state| error.is_sqlstate(state)) {
        true => error.as_kind(Kind::Transient),
        false => error,
    }
}

/// Opens a session, and nothing more.
pub(super) fn open_session(config: &Config) -> Result<Connection> {
    let limit = config.gin_pending_list_limit.map(|limit| limit.to_string());
    let mut own = SESSION.to_vec();
    own.extend(
        limit
            .as_deref()
            .map(|limit| ("gin_pending_list_limit", limit)),
    );
    let opened = Connection::open(&config.destination, &startup(&own), config.connect_timeout);
    let mut session = opened.map_err(|e| with_login_hint(e, &config.destination, "DEST_DB"))?;
    set_version_dependent(&mut session)?;
    Ok(session)
}
