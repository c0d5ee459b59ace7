//! The table of all settings: the variables that are read, their defaults, and the text of `zemi --help`.

use std::fmt::{self, Write};

use self::Fallback::{None as Unset, Of, Text};

/// One environment variable.
#[derive(Debug)]
pub struct Setting {
    /// The variable's name. One that begins with `DEST_DB_` is also read as `DESTINATION_DB_…`.
    pub name: &'static str,
    /// The value of a setting that is unset or empty.
    pub default: Fallback,
    /// Its effect, in a sentence.
    pub meaning: &'static str,
    /// Whether its value is, names or may by mistake hold a secret: it is never shown.
    pub secret: bool,
}

/// The value of a setting that is unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// None: the feature is not used.
    None,
    /// This text.
    Text(&'static str),
    /// The value of the setting of this name.
    Of(&'static str),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fallback::None => f.write_str("unset"),
            Fallback::Text(text) => f.write_str(text),
            Fallback::Of(name) => write!(f, "as {name}"),
        }
    }
}

const fn setting(name: &'static str, default: Fallback, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        meaning,
        secret: false,
    }
}

const fn secret(name: &'static str, default: Fallback, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        meaning,
        secret: true,
    }
}

/// All settings, in the order in which they are explained.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("DB_HOST", Text("127.0.0.1"),
        "Source server: a name, an address, or the directory of a Unix socket."),
    setting("DB_PORT", Text("5432"), "Its port, 1 to 65535."),
    setting("DB_NAME", Text("postgres"), "The database to follow."),
    setting("DB_USER", Text("postgres"), "The role to log in as; it needs REPLICATION."),
    secret("DB_PASSWORD", Text("postgres"),
        "Its password. Set and empty: none, for a server that asks for none (trust, peer)."),
    secret("DB_PASSWORD_FILE", Unset, "A file with the password, instead of DB_PASSWORD."),
    setting("DB_SSL_MODE", Text("disable"),
        "disable, require (encrypted, unverified), verify-ca or verify-full (also the host name)."),
    setting("DB_SSL_ROOT_CERT", Unset,
        "A PEM file with the certificates to trust; unset: the system's. With it, require verifies."),
    setting("DB_SSL_CERT", Unset, "A PEM file with the client certificate."),
    secret("DB_SSL_KEY", Unset, "A PEM file with the key of the client certificate."),
    setting("DEST_DB_HOST", Of("DB_HOST"),
        "Destination server. All DEST_DB_ settings are read as DESTINATION_DB_ too."),
    setting("DEST_DB_PORT", Of("DB_PORT"), "Its port."),
    setting("DEST_DB_NAME", Of("DB_NAME"), "The database that holds the changes table."),
    setting("DEST_DB_USER", Of("DB_USER"), "The role to log in as."),
    secret("DEST_DB_PASSWORD", Of("DB_PASSWORD"), "Its password."),
    secret("DEST_DB_PASSWORD_FILE", Of("DB_PASSWORD_FILE"),
        "A file with the password, instead of DEST_DB_PASSWORD."),
    setting("DEST_DB_SSL_MODE", Of("DB_SSL_MODE"), "As DB_SSL_MODE, for the destination."),
    setting("DEST_DB_SSL_ROOT_CERT", Of("DB_SSL_ROOT_CERT"), "As DB_SSL_ROOT_CERT."),
    setting("DEST_DB_SSL_CERT", Of("DB_SSL_CERT"), "As DB_SSL_CERT."),
    secret("DEST_DB_SSL_KEY", Of("DB_SSL_KEY"), "As DB_SSL_KEY."),
    setting("CONNECT_TIMEOUT", Text("10"),
        "Seconds for looking up the name, connecting and logging in, together, to 86400; 0: no limit."),
    setting("SLOT_NAME", Text("zemi"),
        "The replication slot: 1 to 63 of a-z, 0-9 and _. Made when absent."),
    setting("PUBLICATION_NAME", Text("zemi"),
        "The publication, at most 63 bytes; <name>_updates may be made next to it."),
    setting("SLOT_FAILOVER", Text("false"),
        "Whether the slot is synchronised to standbys (PostgreSQL 17 and later)."),
    setting("PUBLISH_VIA_PARTITION_ROOT", Text("true"),
        "Whether changes of partitions carry the name of the topmost table."),
    setting("TABLES", Unset,
        "The tables to track: a comma list of schema.table or table, * allowed. Unset: all."),
    setting("EXCLUDE_TABLES", Unset, "The tables not to track, written as in TABLES."),
    setting("EXCLUDE_COLUMNS", Unset,
        "Columns to leave out: a comma list of [schema.]table.column, * allowed."),
    setting("HASH_COLUMNS", Unset,
        "Columns of which a keyed hash is kept instead of the value, written likewise."),
    secret("HASH_KEY", Unset, "The key of these hashes, at least 16 bytes."),
    secret("HASH_KEY_FILE", Unset, "A file with that key, instead of HASH_KEY."),
    setting("INITIAL_SNAPSHOT", Text("false"),
        "Whether the rows that exist at the first start are written as changes too."),
    setting("CHANGES_FORMAT", Text("bemi"),
        "bemi; or sql: INSERT instead of CREATE, and NULL for a side that does not exist."),
    setting("JSON_TYPE_COERCION", Text("true"),
        "Whether values have their JSON type (numbers, booleans, …); false: all are strings."),
    setting("GIN_PENDING_LIST_LIMIT", Unset,
        "kB of new index entries that zemi's session lets wait, 64 to 2097151. Unset: the server's."),
    setting("SHUTDOWN_TIMEOUT", Text("30"),
        "Seconds to finish and confirm what was read when asked to stop, 0 to 86400."),
    setting("CLEANUP_ON_SHUTDOWN", Text("false"),
        "Whether stopping drops the slot, the publication and the progress."),
    setting("LOG_LEVEL", Text("info"), "off, error, warn, info, debug or trace."),
    setting("LOG_FORMAT", Text("text"), "text, or json: one object a line."),
    setting("HEALTH_PORT", Unset, "The port for /healthz, /readyz and /status; 0: none."),
    setting("METRICS_PORT", Unset, "The port for /metrics; it may be the same one; 0: none."),
    setting("HTTP_BIND", Text("0.0.0.0"), "The address that both ports listen on."),
    setting("MAX_TRANSACTION_CHANGES", Unset, "Accepted for compatibility; has no effect."),
    setting("QUERY_TIMEOUT", Unset, "Accepted for compatibility; has no effect."),
];

/// A setting of a feature that this version does not have. It is refused, since ignoring it would go
/// unnoticed.
pub(super) struct Refused {
    pub(super) name: &'static str,
    pub(super) allowed: Allowed,
    pub(super) needs: &'static str,
}

/// The values that a refused setting may have.
pub(super) enum Allowed {
    /// False, however written.
    False,
}

const fn refused(name: &'static str, allowed: Allowed, needs: &'static str) -> Refused {
    Refused {
        name,
        allowed,
        needs,
    }
}

/// Settings of features that this version does not have.
#[rustfmt::skip]
pub(super) const REFUSED: &[Refused] = &[
    refused("INITIAL_SNAPSHOT", Allowed::False, "initial snapshot"),
];

/// Settings of the Zig program that are accepted as numbers and have no effect, with the reason.
pub(super) const OBSOLETE: &[(&str, &str)] = &[
    (
        "MAX_TRANSACTION_CHANGES",
        "memory is bounded whatever the size of a transaction",
    ),
    (
        "QUERY_TIMEOUT",
        "memory is bounded however long the destination takes, so it is waited for",
    ),
];

/// The setting that a variable's name means, by its own name or as `DESTINATION_DB_…`.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.name == name || alias(setting.name).as_deref() == Some(name))
}

/// Bemi's name of a setting of the destination.
pub(super) fn alias(name: &str) -> Option<String> {
    name.strip_prefix("DEST_DB_")
        .map(|rest| format!("DESTINATION_DB_{rest}"))
}

/// All settings with default and meaning, for `zemi --help`.
pub fn help() -> String {
    let mut text = String::new();
    for Setting {
        name,
        default,
        meaning,
        ..
    } in SETTINGS
    {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name} ({default})\n      {meaning}");
        if REFUSED.iter().any(|refused| refused.name == *name) {
            text.push_str("      Not in this version yet.\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_name_of_the_other_tables_is_a_setting() {
        let refused = REFUSED.iter().map(|refused| refused.name);
        let obsolete = OBSOLETE.iter().map(|(name, _)| *name);
        let defaults = SETTINGS.iter().filter_map(|setting| match setting.default {
            Of(name) => Some(name),
            _ => None,
        });
        for name in refused.chain(obsolete).chain(defaults) {
            assert_eq!(find(name).map(|setting| setting.name), Some(name));
        }
    }

    #[test]
    fn what_may_hold_a_secret_is_marked_so() {
        for setting in SETTINGS {
            let name = setting.name;
            let holds = ["PASSWORD", "HASH_KEY", "SSL_KEY"];
            let secret = holds.iter().any(|part| name.contains(part));
            assert_eq!(setting.secret, secret, "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_the_destination_has_two() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let first = SETTINGS.iter().position(|other| other.name == setting.name);
            assert_eq!(first, Some(index));
        }
        let setting = find("DESTINATION_DB_HOST").unwrap();
        assert_eq!(setting.name, "DEST_DB_HOST");
        assert!(find("DESTINATION_SLOT_NAME").is_none());
        assert!(find("DB_HOSTS").is_none());
    }

    #[test]
    fn help_gives_each_setting_its_default_and_meaning() {
        let help = help();
        assert!(
            help.contains("  DB_PORT (5432)\n      Its port, 1 to 65535.\n"),
            "{help}"
        );
        assert!(help.contains("  DEST_DB_USER (as DB_USER)\n"), "{help}");
        for setting in SETTINGS {
            assert!(
                help.contains(&format!("  {} (", setting.name)),
                "{}",
                setting.name
            );
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    /// README.md is not part of a package, where this test has nothing to check.
    #[test]
    fn the_readme_names_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let Ok(readme) = std::fs::read_to_string(path) else {
            return;
        };
        for setting in SETTINGS {
            let name = format!("`{}`", setting.name);
            assert!(readme.contains(&name), "README.md does not mention {name}");
        }
    }
}
