//! Recognises errors of connection poolers, which do not pass replication on.

use crate::error::{Error, Kind};
use crate::sqlstate;

/// A message of a pooler.
struct KnownMessage {
    /// A part of the text.
    text: &'static str,
    pooler: &'static str,
    /// Whether only another address helps. The others may pass: they mean that the server behind the pooler
    /// is away or all connections are in use.
    permanent: bool,
}

const fn permanent(pooler: &'static str, text: &'static str) -> KnownMessage {
    KnownMessage {
        text,
        pooler,
        permanent: true,
    }
}

const fn passing(pooler: &'static str, text: &'static str) -> KnownMessage {
    KnownMessage {
        text,
        pooler,
        permanent: false,
    }
}

/// Parts of messages by which poolers are recognised. Those of Neon and Azure are PgBouncer, that of Supabase
/// is Supavisor.
const KNOWN_MESSAGES: &[KnownMessage] = &[
    permanent("PgBouncer", "unsupported startup parameter"),
    permanent("PgBouncer", "bouncer config error"),
    permanent("PgBouncer", "no such database: "),
    passing("PgBouncer", "max_client_conn"),
    passing("PgBouncer", "pgbouncer cannot connect to server"),
    passing("PgBouncer", "server login has been failing"),
    passing("PgBouncer", "server login failed"),
    passing("PgBouncer", "query_wait_timeout"),
    passing("PgBouncer", "client_login_timeout"),
    permanent("Supavisor", "Tenant or user not found"),
    permanent("Supavisor", "tenant/user "),
    passing("Supavisor", "max clients reached"),
    permanent("RDS Proxy", "RDS Proxy"),
    permanent("RDS Proxy", "RDS proxy"),
];

/// `Ok` is the error of a pooler, with kind and hint of that; `Err` is any other error, unchanged.
pub(super) fn recognise(error: Error) -> std::result::Result<Error, Error> {
    let text = error.without_hint();
    let known = KNOWN_MESSAGES.iter().find(|m| text.contains(m.text));
    let (pooler, permanent) = match known {
        Some(message) => (message.pooler, message.permanent),
        // The SQLSTATE of poolers for what they do not support; servers do not send it before ReadyForQuery.
        None if error.is_sqlstate(sqlstate::PROTOCOL_VIOLATION) => ("a connection pooler", true),
        None => return Err(error),
    };
    let error = error.hint(format!(
        "this is {pooler}: connect to the server itself, at its direct host and port; replication does not \
         pass a pooler"
    ));
    Ok(match permanent {
        true => error.as_kind(Kind::Setting),
        false => error.as_kind(Kind::Transient),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::{Exit, Remedy};
    use crate::wire::response::server_error;

    fn from_pooler(state: &str, message: &str) -> std::result::Result<Error, Error> {
        let body = format!("SFATAL\0C{state}\0M{message}\0\0");
        recognise(server_error(body.as_bytes()))
    }

    #[test]
    fn poolers_are_recognised_by_what_they_say() {
        let stop = Remedy::Stop(Exit::Config);
        for (state, pooler, remedy, message) in [
            (
                "08P01",
                "PgBouncer",
                stop,
                "unsupported startup parameter: replication",
            ),
            (
                "08P01",
                "PgBouncer",
                stop,
                "unsupported startup parameter in options: search_path",
            ),
            ("08P01", "PgBouncer", stop, "bouncer config error"),
            ("08P01", "PgBouncer", stop, "no such database: shop"),
            ("3D000", "PgBouncer", stop, "no such database: shop"),
            (
                "08P01",
                "PgBouncer",
                Remedy::Retry,
                "no more connections allowed (max_client_conn)",
            ),
            (
                "08P01",
                "PgBouncer",
                Remedy::Retry,
                "pgbouncer cannot connect to server",
            ),
            (
                "08P01",
                "PgBouncer",
                Remedy::Retry,
                "server login has been failing, try again later (server_login_retry)",
            ),
            ("XX000", "Supavisor", stop, "Tenant or user not found"),
            (
                "XX000",
                "Supavisor",
                stop,
                "(ENOTFOUND) tenant/user postgres.abcdefgh not found",
            ),
            (
                "XX000",
                "Supavisor",
                Remedy::Retry,
                "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited \
                 to pool_size",
            ),
            (
                "0A000",
                "RDS Proxy",
                stop,
                "Feature not supported: RDS Proxy currently doesn’t support the option lock_timeout.",
            ),
            ("08P01", "a connection pooler", stop, "something new"),
        ] {
            let error = from_pooler(state, message).unwrap();
            assert_eq!(error.remedy(), remedy, "{message}");
            let hint = error.hint_text().unwrap();
            let wanted = format!("this is {pooler}: connect to the server itself");
            assert!(hint.starts_with(&wanted), "{hint}");
        }
    }

    #[test]
    fn a_server_is_no_pooler() {
        for (state, message) in [
            ("28P01", "password authentication failed for user \"zemi\""),
            ("3D000", "database \"shop\" does not exist"),
            ("57P03", "the database system is starting up"),
        ] {
            assert!(from_pooler(state, message).is_err(), "{message}");
        }
    }
}
