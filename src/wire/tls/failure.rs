//! Errors of TLS: their kind, which decides whether they are retried, and a hint.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::config::TlsMode;
use crate::error::{Error, Kind};

/// What the server and zemi need to have in common. A server with a key of another kind than zemi knows ends
/// the handshake by the same alert as one without a common cipher, before it has shown its certificate.
const IN_COMMON: &str = "zemi knows TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20-Poly1305, and \
     servers with a key of RSA, of the curves P-256 and P-384, or of Ed25519: look at \
     ssl_min_protocol_version, ssl_max_protocol_version and ssl_ciphers, and whether openssl x509 -noout \
     -text -in server.crt shows a key of the curve P-521 or of the kind rsassaPss, which zemi does not know";

/// The object identifier of the curve P-521, 1.3.132.0.35, in DER (RFC 5480, 2.1.1.1).
const P521: [u8; 5] = [0x2b, 0x81, 0x04, 0x00, 0x23];

/// The error of an established connection.
pub(super) fn of_stream(e: &TlsError, mode: TlsMode) -> Error {
    explain(e).at(place(mode))
}

/// The place that errors of TLS name.
pub(super) fn place(mode: TlsMode) -> String {
    format!("TLS, mode {mode}")
}

/// The error as one of the program. [`Kind::Refused`] is what an operator has to change.
pub(super) fn explain(e: &TlsError) -> Error {
    match e {
        TlsError::InvalidCertificate(reason) => certificate(reason),
        TlsError::AlertReceived(alert) => alerted(*alert),
        TlsError::PeerIncompatible(reason) => Error::new(
            Kind::Refused,
            format!("the server and zemi have no way to encrypt in common ({reason:?})"),
        )
        .hint(IN_COMMON),
        TlsError::General(reason) => Error::new(Kind::Refused, reason.clone()),
        TlsError::NoCertificatesPresented => {
            Error::new(Kind::Refused, "the server shows no certificate")
        }
        other => Error::new(
            Kind::Protocol,
            format!("the server does not speak TLS as it should: {other}"),
        ),
    }
}

fn certificate(reason: &CertificateError) -> Error {
    let refused = |what: &str| Error::new(Kind::Refused, what);
    match reason {
        CertificateError::UnknownIssuer => refused(
            "the server's certificate has an issuer that is not trusted",
        )
        .hint("give the certificate of its issuer as DB_SSL_ROOT_CERT (DEST_DB_SSL_ROOT_CERT)"),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            refused("the server's certificate has expired, or that of its issuer")
                .hint("renew it, or check this host's clock")
        }
        // A host without a battery-backed clock starts in 1970 and corrects its clock later.
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Error::new(Kind::Transient, "the server's certificate is not valid yet")
                .hint("check this host's clock")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            refused("the server's certificate is for another host").caused_by(reason_of(reason)).hint(
                "connect by a name that is in the certificate, or check the issuer only by verify-ca",
            )
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            public_key_algorithm_id,
            ..
        } if public_key_algorithm_id
            .windows(P521.len())
            .any(|part| part == P521) =>
        {
            refused("the server's certificate is signed by a key of the curve P-521")
                .hint("zemi knows issuers with a key of RSA, of the curves P-256 and P-384, or of Ed25519")
        }
        // The signature of an issuer with the same name and another key: a renewed certificate authority.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            refused("the signature of the server or of its certificate does not fit its key").hint(
                "is the file of DB_SSL_ROOT_CERT (DEST_DB_SSL_ROOT_CERT) of the same issuer, or of an \
                 older one of that name?",
            )
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            refused("the server's certificate is signed by an algorithm that zemi does not know")
                .hint(
                    "RSA and RSA-PSS with SHA-256, -384 and -512, ECDSA by a key of the curves P-256 and \
                     P-384 (not P-521), and Ed25519 are known",
                )
        }
        CertificateError::Other(_) => {
            refused("the server's certificate cannot be used").caused_by(reason_of(reason)).hint(
                "make one of version 3 with a subjectAltName: openssl x509 -req … -extfile FILE",
            )
        }
        _ => refused("the server's certificate is not accepted").caused_by(reason_of(reason)),
    }
}

/// The text of `rustls`.
fn reason_of(reason: &CertificateError) -> io::Error {
    io::Error::other(reason.to_string())
}

/// The error of an alert, which the server sends before it closes.
fn alerted(alert: AlertDescription) -> Error {
    use AlertDescription as A;
    let of_client = matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
            | A::CertificateRequired
    );
    let said = format!("the server ended the TLS handshake: {alert:?}");
    if of_client {
        return Error::new(Kind::Refused, said).hint(
            "it means the client certificate: look at DB_SSL_CERT and DB_SSL_KEY (DEST_DB_SSL_…), and at \
             the server's ssl_ca_file",
        );
    }
    match alert {
        A::HandshakeFailure
        | A::ProtocolVersion
        | A::InsufficientSecurity
        | A::UnrecognisedName => Error::new(Kind::Refused, said).hint(IN_COMMON),
        _ => Error::new(Kind::Transient, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, Remedy};

    #[test]
    fn what_a_person_has_to_mend_stops_and_the_rest_is_tried_again() {
        let refused = Remedy::Stop(Exit::Refused);
        for (error, remedy) in [
            (CertificateError::UnknownIssuer.into(), refused),
            (CertificateError::Expired.into(), refused),
            (CertificateError::NotValidForName.into(), refused),
            (CertificateError::NotValidYet.into(), Remedy::Retry),
            (
                TlsError::AlertReceived(AlertDescription::UnknownCA),
                refused,
            ),
            (
                TlsError::AlertReceived(AlertDescription::ProtocolVersion),
                refused,
            ),
            (
                TlsError::AlertReceived(AlertDescription::InternalError),
                Remedy::Retry,
            ),
            (TlsError::DecryptError, Remedy::Retry),
        ] {
            assert_eq!(explain(&error).remedy(), remedy, "{error}");
        }
    }
}
