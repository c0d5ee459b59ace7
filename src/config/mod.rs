//! The settings: environment to [`Config`]. A leaf that imports nothing but `error`.
//!
//! Empty means unset, except for passwords, where it means none. A bad value is an error that names the
//! variable, its value (unless that may be a secret) and the values that are accepted. The table
//! `settings::SETTINGS` is what is read, what `zemi --help` prints and what counts as known, so that the
//! three cannot differ.

mod endpoint;
pub(crate) mod nearest;
pub(crate) mod pattern;
mod secret;
pub(crate) mod settings;
mod tls;
mod vars;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use log::LevelFilter;

pub use endpoint::Endpoint;
pub use settings::help;

pub(crate) use endpoint::{Host, Password};
pub(crate) use pattern::{ColumnPattern, Pattern};
pub(crate) use secret::Secret;
pub(crate) use tls::{PemFile, Tls, TlsMode};

use crate::error::{Error, Kind, Result};
use settings::{Allowed, OBSOLETE, REFUSED};
use vars::{Value, Vars};

/// The least length of `HASH_KEY`, in bytes: a key below 128 bits could be guessed.
const MIN_HASH_KEY: usize = 16;

/// The longest name of an object: `NAMEDATALEN` - 1 (PostgreSQL documentation, "Identifiers and Key
/// Words").
const MAX_NAME: usize = 63;

/// The longest time limit, in seconds: a day.
const MAX_SECONDS: u64 = 86_400;

/// The limit for `CONNECT_TIMEOUT=0`, which means none: longer than any wait, and an `Instant` does not
/// overflow by it.
const NO_LIMIT: Duration = Duration::from_secs(366 * 86_400);

/// All settings, checked. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The server and database that are followed (`DB_*`).
    pub source: Endpoint,
    /// The server and database that hold `changes` (`DEST_DB_*`); by default the source.
    pub destination: Endpoint,
    /// Bounds name lookup, connect, TLS and authentication together (`CONNECT_TIMEOUT`): 1 s to a
    /// day, or a year where there is no limit (0).
    pub connect_timeout: Duration,
    /// The replication slot (`SLOT_NAME`): 1 to 63 of `a-z0-9_`.
    pub slot_name: String,
    /// The publication (`PUBLICATION_NAME`): 1 to 63 bytes, any characters but NUL, to be quoted.
    pub publication_name: String,
    /// The name that SQL makes of it without quotes, if that is another one: used if only a publication of
    /// that name exists. `None` if the setting has quotes.
    pub publication_folded: Option<String>,
    /// `SLOT_FAILOVER`: the slot is synchronised to standbys, from PostgreSQL 17 on.
    pub slot_failover: bool,
    /// `PUBLISH_VIA_PARTITION_ROOT`: changes of partitions carry the name of the topmost table.
    pub publish_via_partition_root: bool,
    /// The tables to track (`TABLES`), never an empty list; `None`: all.
    pub tables: Option<Vec<Pattern>>,
    /// The tables not to track (`EXCLUDE_TABLES`).
    pub exclude_tables: Vec<Pattern>,
    /// The columns to leave out (`EXCLUDE_COLUMNS`).
    pub exclude_columns: Vec<ColumnPattern>,
    /// The columns to hash (`HASH_COLUMNS`); where there are any, there is a `hash_key`.
    pub hash_columns: Vec<ColumnPattern>,
    /// The key of the hashes (`HASH_KEY`, `HASH_KEY_FILE`): 16 bytes or more.
    pub hash_key: Option<Secret>,
    /// The names of operations, and the value of `before` and `after` where there is none (`CHANGES_FORMAT`).
    pub changes_format: ChangesFormat,
    /// `JSON_TYPE_COERCION`: values have their JSON type; else all are strings.
    pub json_type_coercion: bool,
    /// `gin_pending_list_limit` of the session that writes (`GIN_PENDING_LIST_LIMIT`), in kB: 64 to
    /// 2097151; `None`: the server's own.
    pub gin_pending_list_limit: Option<u32>,
    /// How long a stop may take to finish and confirm (`SHUTDOWN_TIMEOUT`): 0 s to a day.
    pub shutdown_timeout: Duration,
    /// `CLEANUP_ON_SHUTDOWN`: stopping drops slot, publication and progress.
    pub cleanup_on_shutdown: bool,
    /// The least severe level that is logged (`LOG_LEVEL`).
    pub log_level: LevelFilter,
    /// The format of log lines (`LOG_FORMAT`).
    pub log_format: LogFormat,
    /// The port of health and status (`HEALTH_PORT`).
    pub health_port: Option<u16>,
    /// The port of the metrics (`METRICS_PORT`); it may be the same one.
    pub metrics_port: Option<u16>,
    /// The address of both ports (`HTTP_BIND`).
    pub http_bind: IpAddr,
    /// Name and value of the settings that are no secrets, for the status page.
    pub shown: Vec<(&'static str, String)>,
}

/// The names of operations in a change row, and the value of `before` and `after` where there is none
/// (`CHANGES_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangesFormat {
    /// As Bemi: `CREATE`, and `{}`.
    Bemi,
    /// `INSERT`, and SQL NULL.
    Sql,
}

/// The format of log lines (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// From the environment of this process, see [`Config::from_vars`].
    ///
    /// # Errors
    /// As for [`Config::from_vars`].
    pub fn from_env() -> Result<(Config, Vec<String>)> {
        Config::from_vars(std::env::vars_os())
    }

    /// From pairs of names and values, with the warnings to log: one line each, without secrets.
    ///
    /// Depends on nothing but `vars` and the files that `…_FILE` settings name.
    ///
    /// # Errors
    /// [`Kind::Setting`] for the first bad setting, by name.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Config, Vec<String>)> {
        let (vars, mut warnings) = Vars::collect(vars)?;
        refuse_what_is_not_built(&vars)?;
        for (name, why) in OBSOLETE {
            if let Some(value) = vars.set(name) {
                value.number(0..=u64::MAX)?;
                warnings.push(format!("{name} has no effect: {why}"));
            }
        }

        let source = endpoint::read(&vars, &endpoint::SOURCE, None, &mut warnings)?;
        let password = Some(&source.password);
        let destination = endpoint::read(&vars, &endpoint::DESTINATION, password, &mut warnings)?;
        let hash_columns = columns(vars.get("HASH_COLUMNS"))?;
        let hash_key = hash_key(&vars)?;
        if hash_key.is_none() && !hash_columns.is_empty() {
            let message = "HASH_COLUMNS is set: expected HASH_KEY or HASH_KEY_FILE with it";
            return Err(Error::new(Kind::Setting, message));
        }
        if hash_key.is_some() && hash_columns.is_empty() {
            let file = vars.get("HASH_KEY_FILE");
            let name = vars.set("HASH_KEY").unwrap_or(file).name;
            warnings.push(format!(
                "{name} has no effect: HASH_COLUMNS names no columns to hash"
            ));
        }
        let listed = tables(vars.get("TABLES"))?;
        if let Some(value) = vars.set("TABLES")
            && listed.is_empty()
        {
            return Err(value.bad("one table at least, or nothing for all of them"));
        }
        let slot_name = slot_name(vars.get("SLOT_NAME"), &mut warnings)?;
        let (publication_name, publication_folded) =
            publication_name(vars.get("PUBLICATION_NAME"))?;
        let config = Config {
            source,
            destination,
            connect_timeout: connect_timeout(vars.get("CONNECT_TIMEOUT"))?,
            slot_name,
            publication_name,
            publication_folded,
            slot_failover: vars.get("SLOT_FAILOVER").boolean()?,
            publish_via_partition_root: vars.get("PUBLISH_VIA_PARTITION_ROOT").boolean()?,
            tables: (!listed.is_empty()).then_some(listed),
            exclude_tables: tables(vars.get("EXCLUDE_TABLES"))?,
            exclude_columns: columns(vars.get("EXCLUDE_COLUMNS"))?,
            hash_columns,
            hash_key,
            changes_format: vars
                .get("CHANGES_FORMAT")
                .choice(&[("bemi", ChangesFormat::Bemi), ("sql", ChangesFormat::Sql)])?,
            json_type_coercion: vars.get("JSON_TYPE_COERCION").boolean()?,
            gin_pending_list_limit: gin_pending_list_limit(&vars)?,
            shutdown_timeout: seconds(vars.get("SHUTDOWN_TIMEOUT"))?,
            cleanup_on_shutdown: vars.get("CLEANUP_ON_SHUTDOWN").boolean()?,
            log_level: vars.get("LOG_LEVEL").choice(&[
                ("off", LevelFilter::Off),
                ("error", LevelFilter::Error),
                // The name of the level in Zig.
                ("err", LevelFilter::Error),
                ("warn", LevelFilter::Warn),
                ("info", LevelFilter::Info),
                ("debug", LevelFilter::Debug),
                ("trace", LevelFilter::Trace),
            ])?,
            log_format: vars
                .get("LOG_FORMAT")
                .choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            health_port: port(&vars, "HEALTH_PORT")?,
            metrics_port: port(&vars, "METRICS_PORT")?,
            http_bind: bind(vars.get("HTTP_BIND"))?,
            shown: vars.shown(),
        };
        Ok((config, warnings))
    }
}

fn refuse_what_is_not_built(vars: &Vars) -> Result<()> {
    for refused in REFUSED {
        let Some(value) = vars.set(refused.name) else {
            continue;
        };
        let (is_allowed, allowed) = match refused.allowed {
            Allowed::False => (!value.boolean()?, "false"),
        };
        if !is_allowed {
            let needs = refused.needs;
            let expected = format!("{allowed}, since this version has no {needs} yet");
            return Err(value.bad(&expected));
        }
    }
    Ok(())
}

fn seconds(value: Value<'_>) -> Result<Duration> {
    let seconds = value
        .number(0..=MAX_SECONDS)
        .map_err(|error| error.hint("the unit is seconds"))?;
    Ok(Duration::from_secs(seconds))
}

fn connect_timeout(value: Value<'_>) -> Result<Duration> {
    let limit = seconds(value)?;
    Ok(if limit.is_zero() { NO_LIMIT } else { limit })
}

/// The range is the server's own (`gin_pending_list_limit`, `guc.c`, with 64-bit sizes).
fn gin_pending_list_limit(vars: &Vars) -> Result<Option<u32>> {
    let Some(value) = vars.set("GIN_PENDING_LIST_LIMIT") else {
        return Ok(None);
    };
    let limit = value
        .number(64..=2_097_151)
        .map_err(|error| error.hint("the unit is kB; the server's own default is 4096"))?;
    Ok(u32::try_from(limit).ok())
}

/// PostgreSQL's own rule (documentation, "Replication Slots", "Querying and Manipulating
/// Replication Slots"). No slot has an upper-case letter in its name, so that one can only mean the
/// lower-case letter that a replication command makes of it.
fn slot_name(value: Value<'_>, warnings: &mut Vec<String>) -> Result<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let text = value.text;
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(is_allowed) {
        return Err(value.bad("1 to 63 letters a-z, digits and underscores"));
    }
    let folded = text.to_ascii_lowercase();
    if folded != text {
        warnings.push(format!(
            "{} is {text:?}: names of slots are in lower case, so the slot is {folded:?}",
            value.name
        ));
    }
    Ok(folded)
}

/// The name, and what SQL makes of it where it stands without quotes (`downcase_identifier`,
/// `scansup.c`). Double quotes take it as it is, as in SQL.
fn publication_name(value: Value<'_>) -> Result<(String, Option<String>)> {
    let text = value.text;
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let (name, folded) = match inner {
        Some(inner) => (inner.replace("\"\"", "\""), None),
        None => (text.to_owned(), Some(text.to_ascii_lowercase())),
    };
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        return Err(value.bad(&format!("1 to {MAX_NAME} bytes, none of them zero")));
    }
    let folded = folded.filter(|folded| *folded != name);
    Ok((name, folded))
}

/// `None` where there is none: unset, or 0.
fn port(vars: &Vars, name: &'static str) -> Result<Option<u16>> {
    let port = vars.set(name).map(|value| value.number(0..=u16::MAX));
    Ok(port.transpose()?.filter(|port| *port > 0))
}

fn bind(value: Value<'_>) -> Result<IpAddr> {
    let text = value.text.trim();
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse()
        .map_err(|_| value.bad("an IPv4 or IPv6 address, such as 0.0.0.0, 127.0.0.1 or ::"))
}

fn tables(value: Value<'_>) -> Result<Vec<Pattern>> {
    let expected = "a comma list of schema.table or table, * allowed";
    value.list(Pattern::parse_list, expected)
}

fn columns(value: Value<'_>) -> Result<Vec<ColumnPattern>> {
    let expected = "a comma list of schema.table.column or table.column, * allowed";
    value.list(ColumnPattern::parse_list, expected)
}

fn hash_key(vars: &Vars) -> Result<Option<Secret>> {
    let key = vars.secret("HASH_KEY", "HASH_KEY_FILE")?;
    let is_short = |key: &Secret| key.expose().len() < MIN_HASH_KEY;
    if key.as_ref().is_some_and(is_short) {
        let file = vars.get("HASH_KEY_FILE");
        let value = vars.set("HASH_KEY").unwrap_or(file);
        return Err(value.bad(&format!("a key of at least {MIN_HASH_KEY} bytes")));
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
