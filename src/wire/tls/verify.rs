//! Verifies the certificate of the server by the rules of libpq (PostgreSQL documentation, "SSL Support",
//! "Client Verification of Server Certificates").
//!
//! Chains are verified by `webpki`. It is stricter than OpenSSL in two points that concern the most common
//! certificates of self-hosted servers: it refuses a CA certificate (such as a self-signed one) as that of a
//! server, and every certificate of version 1 (made by `openssl x509 -req`, as in the PostgreSQL
//! documentation). Both are accepted here where libpq accepts them: when a root that was set issued them.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Certificate;

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) struct Roots {
    /// Ready for `webpki`.
    pub(super) store: RootCertStore,
    /// The certificates themselves, where they come from a file.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Whether they were set for this server (`DB_SSL_ROOT_CERT`), and are not those of the system.
    pub(super) given: bool,
}

/// Verifies as the mode demands.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The trusted issuers; `None`: any issuer.
    pub(super) roots: Option<Roots>,
    /// The host that the certificate must be for; `None`: any host.
    pub(super) host: Option<String>,
    /// The signature algorithms that are supported.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = parse(end_entity)?;
            self.verify_chain(roots, &certificate, end_entity, intermediates, now)?;
            if let Some(host) = &self.host {
                verify_host(&certificate, end_entity, server_name, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parse(cert)?;
        let mapping = self.algorithms.mapping.iter();
        let algorithms = mapping
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| *algorithms);
        for algorithm in algorithms {
            if *algorithm.public_key_alg_id() == *certificate.key_algorithm {
                return algorithm
                    .verify_signature(certificate.key, message, signed.signature())
                    .map(|()| HandshakeSignatureValid::assertion())
                    .map_err(|_| CertificateError::BadSignature.into());
            }
        }
        Err(Error::General(format!(
            "the server signed by {:?}, which does not fit its certificate or is not supported",
            signed.scheme
        )))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(parse(cert)?.key_info);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    fn verify_chain(
        &self,
        roots: &Roots,
        certificate: &Certificate<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if roots.certificates.iter().any(|root| root == end_entity) {
            return verify_validity(certificate, now);
        }
        let chain = ParsedCertificate::try_from(end_entity).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &roots.store,
                intermediates,
                now,
                self.algorithms.all,
            )
        });
        match chain {
            // A certificate of version 1, or of a CA: `webpki` has not checked the issuer.
            Err(e @ Error::InvalidCertificate(CertificateError::Other(_))) => {
                let issuers: Vec<_> = roots
                    .certificates
                    .iter()
                    .filter_map(|root| Certificate::parse(root))
                    .filter(|root| root.subject == certificate.issuer)
                    .collect();
                if issuers.is_empty() && intermediates.is_empty() {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                let accepted = roots.given
                    && issuers.iter().any(|root| {
                        verify_validity(root, now).is_ok() && self.is_signed_by(certificate, root)
                    });
                if accepted {
                    return verify_validity(certificate, now);
                }
                Err(e)
            }
            other => other,
        }
    }

    fn is_signed_by(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        self.algorithms.all.iter().any(|algorithm| {
            *algorithm.public_key_alg_id() == *issuer.key_algorithm
                && *algorithm.signature_alg_id() == *certificate.signature_algorithm
                && algorithm
                    .verify_signature(issuer.key, certificate.signed, certificate.signature)
                    .is_ok()
        })
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::parse(der).ok_or_else(|| CertificateError::BadEncoding.into())
}

fn verify_validity(certificate: &Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < certificate.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if seconds > certificate.not_after {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The host against the alternative names or, where there are none and the host is a name, against the
/// common name, as libpq does.
fn verify_host(
    certificate: &Certificate<'_>,
    der: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    host: &str,
) -> Result<(), Error> {
    if certificate.has_alternative_names {
        return verify_server_name(&ParsedCertificate::try_from(der)?, server_name);
    }
    let common_name = certificate.common_name();
    if matches!(server_name, ServerName::DnsName(_))
        && common_name.is_some_and(|name| name_matches(name, host))
    {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext {
        expected: server_name.to_owned(),
        presented: common_name
            .map(|name| format!("CN {name:?}"))
            .into_iter()
            .collect(),
    }
    .into())
}

/// Compares without regard to case. A `*` stands for the whole first label only.
fn name_matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Some(rest) = pattern.strip_prefix("*.") {
        // `*.com` matches no host.
        return rest.contains('.')
            && host.split_once('.').is_some_and(|(first, domain)| {
                !first.is_empty() && domain.eq_ignore_ascii_case(rest)
            });
    }
    pattern.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, expected) in [
            ("db.example.com", "DB.example.COM", true),
            ("db.example.com", "db.example.com.", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("*", "db", false),
            ("d*.example.com", "db.example.com", false),
            ("", "db", false),
        ] {
            assert_eq!(name_matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
