//! A server, a database and a login: `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER`, `DB_PASSWORD`, and the
//! encryption of the connection (`DB_SSL_…`).

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::secret::Secret;
use super::tls::{self, Tls};
use super::vars::{Value, Vars};
use crate::error::Result;

/// The longest path of a Unix socket on Linux: `sun_path` has 108 bytes with the closing zero
/// (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// The longest name that DNS can hold, as text (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 253;

/// A PostgreSQL server, a database on it, and a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub host: Host,
    /// The TCP port, 1 to 65535; with a Unix socket, the number at the end of the socket's name.
    pub port: u16,
    /// The database: not empty, no NUL.
    pub database: String,
    /// The role: not empty, no NUL.
    pub user: String,
    /// The password; used only where the server asks for one.
    pub password: Password,
    /// The encryption of the connection. Unix sockets are never encrypted, as with libpq.
    pub tls: Tls,
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name, an IPv4 address, or an IPv6 address without brackets (perhaps with `%zone`).
    Tcp(String),
    /// The directory of a Unix socket, absolute.
    Unix(PathBuf),
}

/// The answer to a server that asks for a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// A password, not empty and without NUL.
    Given(Secret),
    /// No password: the setting is set and empty, for a login without one (`trust`, `peer`, `cert`).
    None {
        /// The name of the setting, as the environment has it.
        setting: String,
    },
}

impl Endpoint {
    /// The Unix socket's file: `.s.PGSQL.` and the port, in its directory (PostgreSQL
    /// documentation, "Connections and Authentication", `unix_socket_directories`). `None` for TCP.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp(_) => None,
            Host::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
        }
    }
}

impl fmt::Display for Endpoint {
    /// The address alone, as errors and the log name a server: `db:5432`, `[::1]:5432`, or the
    /// socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Host::Tcp(host) => write!(f, "{host}:{port}"),
            Host::Unix(directory) => {
                let socket = directory.join(format!(".s.PGSQL.{port}"));
                fmt::Display::fmt(&socket.display(), f)
            }
        }
    }
}

/// The names of the settings of one server.
pub(super) struct Names {
    host: &'static str,
    port: &'static str,
    database: &'static str,
    user: &'static str,
    password: &'static str,
    password_file: &'static str,
    tls: tls::Names,
}

/// The settings of the source.
pub(super) const SOURCE: Names = Names {
    host: "DB_HOST",
    port: "DB_PORT",
    database: "DB_NAME",
    user: "DB_USER",
    password: "DB_PASSWORD",
    password_file: "DB_PASSWORD_FILE",
    tls: tls::SOURCE,
};

/// The settings of the destination.
pub(super) const DESTINATION: Names = Names {
    host: "DEST_DB_HOST",
    port: "DEST_DB_PORT",
    database: "DEST_DB_NAME",
    user: "DEST_DB_USER",
    password: "DEST_DB_PASSWORD",
    password_file: "DEST_DB_PASSWORD_FILE",
    tls: tls::DESTINATION,
};

/// Reads the settings of one server. `default_password` is the password of the source, for the destination.
pub(super) fn read(
    vars: &Vars,
    names: &Names,
    default_password: Option<&Password>,
    warnings: &mut Vec<String>,
) -> Result<Endpoint> {
    let port = port(vars.get(names.port))?;
    let password = password(vars, names, default_password)?;
    Ok(Endpoint {
        host: host(vars.get(names.host), port)?,
        port,
        database: name(vars.get(names.database), "the name of a database")?,
        user: name(vars.get(names.user), "the name of a role")?,
        password,
        tls: tls::read(vars, &names.tls, warnings)?,
    })
}

/// A setting that is set and empty means no password: PostgreSQL has no empty passwords (`CheckPasswordAuth`,
/// `auth.c`).
fn password(vars: &Vars, names: &Names, default: Option<&Password>) -> Result<Password> {
    match vars.secret(names.password, names.password_file)? {
        Some(given) if given.expose().contains(&0) => {
            // The string of a PasswordMessage is zero-terminated, so the rest would be cut off.
            let file = vars.get(names.password_file);
            let value = vars.set(names.password).unwrap_or(file);
            Err(value.bad("a password without a zero byte"))
        }
        Some(given) if given.expose().is_empty() => {
            let setting = vars.get(names.password_file).name.to_owned();
            Ok(Password::None { setting })
        }
        Some(given) => Ok(Password::Given(given)),
        None => Ok(match (vars.emptied(names.password), default) {
            (Some(name), _) => Password::None {
                setting: name.to_owned(),
            },
            (None, Some(default)) => default.clone(),
            (None, None) => Password::Given(Secret::new(vars.get(names.password).text)),
        }),
    }
}

fn port(value: Value<'_>) -> Result<u16> {
    value.number(1..=u16::MAX).map_err(|error| {
        if value.text.starts_with("tcp://") {
            error.hint(
                "Kubernetes and Docker set this for a service called db: set the port yourself, or \
                 enableServiceLinks: false in the pod",
            )
        } else {
            error
        }
    })
}

fn host(value: Value<'_>, port: u16) -> Result<Host> {
    let text = value.text;
    if text.contains("://") || text.contains('@') {
        // A connection URL may hold a password.
        return Err(value.hidden().bad(
            "the host alone, not a URL: DB_PORT, DB_NAME, DB_USER, DB_PASSWORD hold the rest",
        ));
    }
    if text.contains('\0') {
        return Err(value.bad("a host without a zero byte"));
    }
    if text.starts_with('/') {
        let directory = PathBuf::from(text);
        let socket = directory.join(format!(".s.PGSQL.{port}"));
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(value.bad(&format!(
                "a directory whose socket .s.PGSQL.{port} has a path of at most \
                 {LONGEST_SOCKET_PATH} bytes"
            )));
        }
        return Ok(Host::Unix(directory));
    }
    if text.contains(':') {
        let address = text
            .split_once('%')
            .map_or(text, |(address, _zone)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(value.bad(
                "a name, an address (IPv6 without brackets) or an absolute directory; the port has \
                 a setting of its own",
            ));
        }
    }
    let refused =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '/' | '[' | ']');
    if text.is_empty() || text.len() > LONGEST_HOST || text.contains(refused) {
        return Err(value.bad("one name, one address or an absolute directory"));
    }
    Ok(Host::Tcp(text.into()))
}

/// The name of a database or role, as it is: blanks are part of it.
fn name(value: Value<'_>, expected: &str) -> Result<String> {
    if value.text.starts_with("postgres://") || value.text.starts_with("postgresql://") {
        return Err(value.hidden().bad(&format!("{expected}, not a URL")));
    }
    // Strings of the startup packet are zero-terminated.
    if value.text.is_empty() || value.text.contains('\0') {
        return Err(value.bad(&format!("{expected} without a zero byte")));
    }
    Ok(value.text.into())
}
