//! How a connection is encrypted, for `zemi check` and for channel binding.

use rustls::ProtocolVersion;
use rustls::client::UnbufferedClientConnection;

use super::certificate::Certificate;
use super::settings::Client;

/// How a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// Whether the server's certificate was verified.
    pub verified: bool,
    /// When the server's certificate expires, in seconds since 1970.
    pub server_ends: Option<i64>,
    /// When the client certificate expires, if one is set, in seconds since 1970.
    pub client_ends: Option<i64>,
    /// The channel binding data of type `tls-server-end-point` (RFC 5929, section 4).
    pub(crate) end_point: Option<Vec<u8>>,
}

impl Encryption {
    /// Of a connection whose handshake is done.
    pub(super) fn of(connection: &UnbufferedClientConnection, client: &Client) -> Encryption {
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(|der| Certificate::parse(der));
        Encryption {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            },
            verified: client.verified,
            server_ends: certificate.map(|certificate| certificate.not_after),
            client_ends: client.client_ends,
            end_point: shown
                .zip(certificate)
                .and_then(|(der, c)| c.end_point_hash(der)),
        }
    }
}
