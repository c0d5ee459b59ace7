//! Errors of connection poolers, which replication does not pass through.

use crate::error::{Error, Kind};
use crate::sqlstate;

/// What they say, who says it, and whether only another address mends it. The rest may pass: a pooler
/// whose server is away says so.
const SAYINGS: [(&str, &str, bool); 14] = [
    // Neon's and Azure's poolers are PgBouncer, too.
    ("unsupported startup parameter", "PgBouncer", true),
    ("bouncer config error", "PgBouncer", true),
    ("no such database: ", "PgBouncer", true),
    ("max_client_conn", "PgBouncer", false),
    ("pgbouncer cannot connect to server", "PgBouncer", false),
    ("server login has been failing", "PgBouncer", false),
    ("server login failed", "PgBouncer", false),
    ("query_wait_timeout", "PgBouncer", false),
    ("client_login_timeout", "PgBouncer", false),
    // Supabase.
    ("Tenant or user not found", "Supavisor", true),
    ("tenant/user ", "Supavisor", true),
    ("max clients reached", "Supavisor", false),
    ("RDS Proxy", "RDS Proxy", true),
    ("RDS proxy", "RDS Proxy", true),
];

/// The error with what mends it, where a pooler sent it (`Ok`); else the error as it is.
///
/// # Errors
/// The error itself: no pooler is known to say so.
pub(super) fn recognise(error: Error) -> std::result::Result<Error, Error> {
    let text = error.without_hint();
    let saying = SAYINGS.iter().find(|(words, _, _)| text.contains(words));
    let (who, lasting) = match saying {
        Some((_, who, lasting)) => (*who, *lasting),
        // The state of poolers for what they do not know; a server has no use for it at the start.
        None if error.is_sqlstate(sqlstate::PROTOCOL_VIOLATION) => ("a connection pooler", true),
        None => return Err(error),
    };
    let error = error.hint(format!(
        "this is {who}: connect to the server itself, at its direct host and port; replication does not \
         pass a pooler"
    ));
    Ok(match lasting {
        true => error.as_kind(Kind::Setting),
        false => error.as_kind(Kind::Transient),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::{Exit, Remedy};
    use crate::wire::server_error;

    fn from_pooler(state: &str, message: &str) -> std::result::Result<Error, Error> {
        let body = format!("SFATAL\0C{state}\0M{message}\0\0");
        recognise(server_error(body.as_bytes()))
    }

    #[test]
    fn poolers_are_recognised_by_what_they_say() {
        let stop = Remedy::Stop(Exit::Config);
        for (state, who, remedy, message) in [
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
            let wanted = format!("this is {who}: connect to the server itself");
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
