//! The configuration of `rustls` from the settings of one server.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::{KeyProvider, ring};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::certificate::Certificate;
use super::files;
use super::verify::Verifier;
use crate::config::{PemFile, Tls, TlsMode};
use crate::error::{Error, Kind, Result};

/// The configuration of one handshake.
pub(super) struct Client {
    /// The settings of `rustls`.
    pub(super) config: Arc<ClientConfig>,
    /// The name that is asked for (SNI), and verified where the mode says so.
    pub(super) name: ServerName<'static>,
    /// Whether the server's certificate is verified.
    pub(super) verified: bool,
    /// When the client certificate expires, in seconds since 1970.
    pub(super) client_ends: Option<i64>,
}

/// Reads the files and builds the configuration.
///
/// # Errors
/// [`Kind::Setting`] for a file that cannot be used, by the name of its setting.
pub(super) fn client(tls: &Tls, host: &str) -> Result<Client> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let signing = provider.key_provider;
    let verified = tls.mode != TlsMode::Require || tls.root.is_some();
    let roots = match verified {
        true => Some(files::roots(tls.root.as_ref())?),
        false => None,
    };
    let (name, sent) = server_name(host, tls.mode)?;
    let verifier = Verifier {
        roots,
        host: (tls.mode == TlsMode::VerifyFull).then(|| host.to_owned()),
        algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Kind::Bug, "no version of TLS").caused_by(e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut client_ends = None;
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certified = certified(certificate, key, signing)?;
            let first = certified
                .cert
                .first()
                .and_then(|der| Certificate::parse(der));
            client_ends = first.map(|first| first.not_after);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.enable_sni = sent;
    // PostgreSQL does not resume sessions.
    config.resumption = Resumption::disabled();
    Ok(Client {
        config: Arc::new(config),
        name,
        verified,
        client_ends,
    })
}

/// The client certificate with its key. That they match is checked here: the check of `rustls` fails for
/// certificates of version 1.
fn certified(
    certificate: &PemFile,
    key: &PemFile,
    signing: &dyn KeyProvider,
) -> Result<CertifiedKey> {
    let chain = files::certificates(certificate)?;
    let loaded = signing.load_private_key(files::key(key)?).map_err(|e| {
        files::bad(key, "holds a key that cannot be used")
            .caused_by(e)
            .hint("RSA from 2048 bits on, ECDSA on P-256 or P-384, and Ed25519 can be used")
    })?;
    let first = chain.first().and_then(|der| Certificate::parse(der));
    let fits = match (&first, loaded.public_key()) {
        (Some(first), Some(public)) => first.key_info == public.as_ref(),
        _ => true,
    };
    if !fits {
        return Err(files::bad(
            key,
            &format!(
                "holds the key of another certificate than the one in {}",
                certificate.setting
            ),
        ));
    }
    Ok(CertifiedKey::new(chain, loaded))
}

/// The host as a name of a certificate, and whether it is sent as SNI. Addresses are never sent (RFC 6066,
/// section 3; `rustls` leaves them out), and neither are texts that are not DNS names.
fn server_name(host: &str, mode: TlsMode) -> Result<(ServerName<'static>, bool)> {
    // The zone of an IPv6 address is local to this host.
    let bare = host.split_once('%').map_or(host, |(address, _)| address);
    match ServerName::try_from(bare.to_owned()) {
        Ok(name) => Ok((name, true)),
        Err(_) if mode == TlsMode::VerifyFull => Err(Error::new(
            Kind::Setting,
            "the host is no name that a certificate can hold",
        )),
        Err(_) => Ok((ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), false)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_sent_and_addresses_are_not_names() {
        for (host, is_name) in [
            ("db.example.com", true),
            ("my_db", true),
            ("10.0.0.1", false),
            ("fe80::1%eth0", false),
        ] {
            let (name, sent) = server_name(host, TlsMode::VerifyFull).unwrap();
            assert!(sent, "{host}");
            assert_eq!(matches!(name, ServerName::DnsName(_)), is_name, "{host}");
        }
        assert!(server_name("dätenbank", TlsMode::VerifyFull).is_err());
        assert!(!server_name("dätenbank", TlsMode::VerifyCa).unwrap().1);
    }
}
