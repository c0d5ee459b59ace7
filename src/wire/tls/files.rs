//! Certificates and keys from PEM files (RFC 7468). They are read for each connection, so that renewed
//! ones are used.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};

use super::certificate::Certificate;
use super::verify::Roots;
use crate::config::PemFile;
use crate::error::{Error, Kind, Result};

/// The limit of what is read of a file, in bytes: the bundles of distributions have a quarter of a MB.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The certificate bundles of distributions.
const BUNDLES: [&str; 6] = [
    // Debian, Alpine, Arch.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL, Amazon Linux.
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // openSUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine, OpenBSD, macOS.
    "/etc/ssl/cert.pem",
    // FreeBSD.
    "/usr/local/etc/ssl/cert.pem",
];

/// The trusted certificates: those of the file, else of the system, else of `webpki-roots`.
pub(super) fn roots(given: Option<&PemFile>) -> Result<Roots> {
    if let Some(file) = given {
        let roots = trusted(certificates(file)?, true);
        if roots.store.is_empty() {
            return Err(bad(file, "holds no certificate that could be read"));
        }
        return Ok(roots);
    }
    for path in BUNDLES {
        // Unreadable entries of a bundle of the system are skipped: other programs skip them, too.
        let Ok(text) = read(Path::new(path)) else {
            continue;
        };
        let found = CertificateDer::pem_slice_iter(&text).flatten();
        let roots = trusted(found.collect(), false);
        if !roots.store.is_empty() {
            return Ok(roots);
        }
    }
    Ok(Roots {
        store: RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS
                .iter()
                .map(TrustAnchor::to_owned)
                .collect(),
        },
        certificates: Vec::new(),
        given: false,
    })
}

fn trusted(certificates: Vec<CertificateDer<'static>>, given: bool) -> Roots {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.iter().cloned());
    Roots {
        store,
        certificates,
        given,
    }
}

/// The certificates of a file, in its order; at least one.
pub(super) fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(&file.path).map_err(|e| unreadable(file, e))?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    // The error of the parser may repeat content of the file.
    let found = found.map_err(|_| bad(file, "holds a certificate that is not in PEM form"))?;
    if found.is_empty() {
        return Err(bad(
            file,
            "holds no certificate: expected -----BEGIN CERTIFICATE-----",
        ));
    }
    if found.iter().any(|der| Certificate::parse(der).is_none()) {
        return Err(bad(file, "holds something that is no X.509 certificate"));
    }
    Ok(found)
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub(super) fn key(file: &PemFile) -> Result<PrivateKeyDer<'static>> {
    let text = read(&file.path).map_err(|e| unreadable(file, e))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        if text.windows(9).any(|part| part == b"ENCRYPTED") {
            return bad(file, "holds an encrypted key").hint(
                "zemi cannot ask for a passphrase: openssl pkey -in KEY -out KEY.plain, and \
                 keep that file readable for zemi alone",
            );
        }
        bad(
            file,
            "holds no private key: expected PEM with BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or \
             BEGIN EC PRIVATE KEY",
        )
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(file: &PemFile, e: std::io::Error) -> Error {
    bad(file, "cannot be read").caused_by(e)
}

/// Names the setting and neither the path nor the content.
pub(super) fn bad(file: &PemFile, what: &str) -> Error {
    let message = format!("the file that {} names {what}", file.setting);
    Error::new(Kind::Setting, message)
}
