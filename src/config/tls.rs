//! The encryption of the connection to a server: `DB_SSL_MODE`, `DB_SSL_ROOT_CERT`, `DB_SSL_CERT`,
//! `DB_SSL_KEY`.
//!
//! Only the paths are kept: the files are read for each connection, as libpq does, so that certificates
//! that were renewed are used without a restart.

use std::fmt;
use std::path::PathBuf;

use super::vars::Vars;
use crate::error::{Error, Kind, Result};

/// The demands on the encryption, by the names of libpq (PostgreSQL documentation, "SSL Support"). `allow`
/// and `prefer` are left out: an attacker on the network can turn them into plain text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// Encrypted; the server is verified where a root certificate is given, as libpq does.
    Require,
    /// Encrypted; the certificate of the server has a trusted issuer and may be for any host.
    VerifyCa,
    /// As [`TlsMode::VerifyCa`], and the certificate is for the host that is connected to.
    VerifyFull,
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsMode::Disable => "disable",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        })
    }
}

/// A PEM file, and the setting that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// The name of the setting, as the environment has it.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
}

/// The encryption of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The demands on it.
    pub mode: TlsMode,
    /// The certificates to trust, instead of the system's.
    pub root: Option<PemFile>,
    /// The client certificate with its intermediate ones, and its key.
    pub client: Option<(PemFile, PemFile)>,
}

/// The names of the settings of one server.
pub(super) struct Names {
    mode: &'static str,
    root: &'static str,
    certificate: &'static str,
    key: &'static str,
}

/// The settings of the source.
pub(super) const SOURCE: Names = Names {
    mode: "DB_SSL_MODE",
    root: "DB_SSL_ROOT_CERT",
    certificate: "DB_SSL_CERT",
    key: "DB_SSL_KEY",
};

/// The settings of the destination.
pub(super) const DESTINATION: Names = Names {
    mode: "DEST_DB_SSL_MODE",
    root: "DEST_DB_SSL_ROOT_CERT",
    certificate: "DEST_DB_SSL_CERT",
    key: "DEST_DB_SSL_KEY",
};

/// Reads the settings of one server. With mode disable, a client certificate that was set for this server is
/// an error, since the operator expects encryption; root certificates are a warning, since the Zig program
/// ignores them there.
pub(super) fn read(vars: &Vars, names: &Names, warnings: &mut Vec<String>) -> Result<Tls> {
    let value = vars.get(names.mode);
    let mode = value.choice(&[
        ("disable", TlsMode::Disable),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ])?;
    if mode == TlsMode::Disable {
        if let Some(file) = vars.set(names.root) {
            warnings.push(format!(
                "{} has no effect, and the connection is not encrypted: {} is disable",
                file.name, names.mode
            ));
        }
        for name in [names.certificate, names.key] {
            if let Some(file) = vars.set(name) {
                let message = format!(
                    "{} is set and {} is disable: expected require, verify-ca or verify-full",
                    file.name, names.mode
                );
                return Err(Error::new(Kind::Setting, message));
            }
        }
        return Ok(Tls::default());
    }
    let client = match (file(vars, names.certificate)?, file(vars, names.key)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(one), None) => return Err(lacks(&one, names.key)),
        (None, Some(one)) => return Err(lacks(&one, names.certificate)),
    };
    Ok(Tls {
        mode,
        root: file(vars, names.root)?,
        client,
    })
}

/// A file that can be opened now. Its content is checked when it is used.
fn file(vars: &Vars, name: &'static str) -> Result<Option<PemFile>> {
    let value = vars.get(name);
    if value.text.is_empty() {
        return Ok(None);
    }
    // Neither the path, which may be the key itself by mistake, nor the content is shown.
    std::fs::File::open(value.text).map_err(|error| {
        let message = format!("the file that {} names cannot be read: {error}", value.name);
        Error::new(Kind::Setting, message)
    })?;
    Ok(Some(PemFile {
        setting: value.name.to_owned(),
        path: value.text.into(),
    }))
}

fn lacks(one: &PemFile, other: &str) -> Error {
    let message = format!("{} is set: expected {other} with it", one.setting);
    Error::new(Kind::Setting, message)
}
