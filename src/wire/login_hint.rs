//! Hints for a login that a server refused.

use super::quote::identifier;
use crate::config::Endpoint;
use crate::error::Error;
use crate::sqlstate;

/// The one encoding of databases that a session of UTF-8 cannot be opened in.
const MULE_INTERNAL: &str = "MULE_INTERNAL";

/// Adds a hint where the SQLSTATE calls for one and the error has none. `prefix` is that of the server's
/// settings: `DB` or `DEST_DB`.
pub fn with_login_hint(error: Error, endpoint: &Endpoint, prefix: &str) -> Error {
    let role = identifier(&endpoint.user);
    let database = identifier(&endpoint.database);
    let hint = match error.sqlstate().as_ref().map(|code| code.as_str()) {
        Some(sqlstate::INVALID_PASSWORD) => {
            format!(
                "set {prefix}_PASSWORD to the password of {role}; or ALTER ROLE {role} PASSWORD '…'"
            )
        }
        Some(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION) => format!(
            "CREATE ROLE {role} LOGIN PASSWORD '…'; or let a line of pg_hba.conf allow it from this host, \
             then SELECT pg_reload_conf()"
        ),
        Some(sqlstate::INVALID_CATALOG_NAME) => {
            format!("CREATE DATABASE {database}; or set {prefix}_NAME")
        }
        Some(sqlstate::TOO_MANY_CONNECTIONS) => format!(
            "SELECT usename, count(*) FROM pg_stat_activity GROUP BY 1 shows who is connected; raise \
             max_connections, or ALTER ROLE {role} CONNECTION LIMIT -1"
        ),
        // "conversion between UTF8 and MULE_INTERNAL is not supported" (`CheckMyDatabase`, `postinit.c`).
        Some(sqlstate::FEATURE_NOT_SUPPORTED) if error.to_string().contains(MULE_INTERNAL) => {
            format!(
                "no server converts {MULE_INTERNAL} to UTF-8: dump {database}, and restore it into a \
                 database of another encoding (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)"
            )
        }
        _ => return error,
    };
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::error::SqlState;

    #[test]
    fn a_hint_names_the_setting_and_the_role_and_no_password() {
        let vars = [("DEST_DB_USER", "o\"hara"), ("DEST_DB_PASSWORD", "s3cret")];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let (config, _) = Config::from_vars(vars).unwrap();
        let refused = Error::server(SqlState::from_bytes(b"28P01"), "no");
        let error = with_login_hint(refused, &config.destination, "DEST_DB");
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("set DEST_DB_PASSWORD"), "{hint}");
        assert!(hint.contains("ALTER ROLE \"o\"\"hara\""), "{hint}");
        assert!(!hint.contains("s3cret"), "{hint}");
        let text = "conversion between UTF8 and MULE_INTERNAL is not supported";
        let refused = Error::server(SqlState::from_bytes(b"0A000"), text);
        let error = with_login_hint(refused, &config.destination, "DEST_DB");
        assert!(error.hint_text().unwrap().starts_with("no server converts"));
        let nearer = Error::server(SqlState::from_bytes(b"3D000"), "no").hint("this");
        let error = with_login_hint(nearer, &config.destination, "DEST_DB");
        assert_eq!(error.hint_text(), Some("this"));
    }
}
