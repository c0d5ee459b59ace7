//! Encrypted connections: the request for TLS (PostgreSQL documentation, "SSL Session Encryption"), the
//! handshake, and who the server is.
//!
//! There is no way back to plain text from here: whatever goes wrong ends the connection.

mod buffers;
mod certificate;
mod failure;
mod files;
mod settings;
mod stream;
mod verify;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::ProtocolVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use self::buffers::{Incoming, Sheet};
pub use self::certificate::Certificate;
use self::failure::Failure;
use self::settings::Client;
use self::stream::TlsStream;
use super::Transport;
use super::connect::{remaining, timed_out};
use super::frame::{closed, read_failed, write_failed};
use crate::config::{Tls, TlsMode};
use crate::error::{At, Error, Kind, Result};

/// SSLRequest: its length and its code.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// How a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// Whether the server's certificate was verified.
    pub verified: bool,
    /// When the server's certificate ends, in seconds since 1970.
    pub server_ends: Option<i64>,
    /// When the client certificate ends, where one is set, in seconds since 1970.
    pub client_ends: Option<i64>,
    /// The channel binding data of type `tls-server-end-point`.
    pub(crate) end_point: Option<Vec<u8>>,
}

/// The error of TLS in an error of a transport, for a person.
pub(super) fn explained(e: &io::Error) -> Option<Error> {
    let failure: &Failure = e.get_ref()?.downcast_ref()?;
    Some(failure::explain(&failure.error).at(place(failure.mode)))
}

/// What stands in front of an error.
fn place(mode: TlsMode) -> String {
    format!("TLS, mode {mode}")
}

/// Asks the server for TLS, and shakes hands.
///
/// # Errors
/// [`Kind::Refused`] for what a person has to mend, with the mode in front.
pub(super) fn negotiate(
    socket: TcpStream,
    tls: &Tls,
    host: &str,
    deadline: Instant,
) -> Result<(Arc<dyn Transport>, Encryption)> {
    let shake = || -> Result<(Arc<dyn Transport>, Encryption)> {
        let client = settings::client(tls, host)?;
        request(&socket, deadline)?;
        let config = Arc::clone(&client.config);
        let connection = UnbufferedClientConnection::new(config, client.name.clone())
            .map_err(|e| failure::explain(&e))?;
        let (connection, incoming) = handshake(&socket, connection, deadline)?;
        let encryption = encryption(&connection, &client);
        let stream = TlsStream::new(socket, connection, incoming, tls.mode);
        Ok((Arc::new(stream), encryption))
    };
    shake()
        .map_err(|e| match e.kind() {
            Kind::Transient if Instant::now() >= deadline => timed_out(),
            _ => e,
        })
        .at(|| place(tls.mode))
}

/// Sends SSLRequest and reads the answer of one byte. A second byte was sent by somebody who wants it to be
/// taken for a part of the encrypted session (CVE-2021-23222).
fn request(socket: &TcpStream, deadline: Instant) -> Result<()> {
    let limited = |limit| {
        socket
            .set_read_timeout(limit)
            .and(socket.set_write_timeout(limit))
    };
    limited(Some(remaining(deadline)?)).map_err(write_failed)?;
    socket.write_all(&REQUEST).map_err(write_failed)?;
    let mut answer = [0; 2];
    match (socket.read(&mut answer).map_err(read_failed)?, answer) {
        (0, _) => Err(closed()),
        (1, [b'S', _]) => Ok(()),
        (_, [b'S', _]) => Err(Error::new(
            Kind::Protocol,
            "expected nothing before the TLS handshake, found bytes that are not encrypted",
        )
        .hint("somebody on the way may be tampering with the connection")),
        (_, [b'N', _]) => Err(Error::new(Kind::Refused, "the server does not offer TLS")
            .hint("set ssl = on at the server; only mode disable connects without encryption")),
        // An error message in plain text may be from anybody: it is not shown (CVE-2024-10977).
        (_, [b'E', _]) => Err(Error::new(
            Kind::Transient,
            "the server answered the request for TLS with an error",
        )
        .hint("its log says more")),
        (_, [other, _]) => Err(Error::new(
            Kind::Protocol,
            format!("expected S or N to the request for TLS, found 0x{other:02x}"),
        )
        .hint("is this a PostgreSQL server?")),
    }
}

/// Shakes hands within the deadline.
fn handshake(
    socket: &TcpStream,
    mut connection: UnbufferedClientConnection,
    deadline: Instant,
) -> Result<(UnbufferedClientConnection, Incoming)> {
    let (mut incoming, mut sheet) = (Incoming::default(), Sheet::default());
    loop {
        let UnbufferedStatus { discard, state } =
            connection.process_tls_records(incoming.pending());
        let mut wants_more = false;
        let mut failed = None;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                sheet.encode(&mut data).map_err(write_failed)?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                send(socket, &mut sheet, deadline)?;
                data.done();
            }
            Ok(ConnectionState::WriteTraffic(_)) => {
                incoming.discard(discard);
                return Ok((connection, incoming));
            }
            Ok(ConnectionState::BlockedHandshake) => wants_more = true,
            Ok(_) => return Err(closed().at("handshake")),
            Err(e) => failed = Some(e),
        }
        incoming.discard(discard);
        if let Some(e) = failed {
            // The server's log is to say why, too.
            if let Ok(ConnectionState::EncodeTlsData(mut data)) =
                connection.process_tls_records(incoming.pending()).state
                && sheet.encode(&mut data).is_ok()
            {
                let _ = send(socket, &mut sheet, deadline);
            }
            return Err(failure::explain(&e));
        }
        if wants_more {
            let limit = Some(remaining(deadline)?);
            socket.set_read_timeout(limit).map_err(read_failed)?;
            if incoming.fill(socket).map_err(read_failed)? == 0 {
                return Err(closed().at("handshake"));
            }
        }
    }
}

fn send(socket: &TcpStream, sheet: &mut Sheet, deadline: Instant) -> Result<()> {
    let limit = Some(remaining(deadline)?);
    socket.set_write_timeout(limit).map_err(write_failed)?;
    socket.write_all(sheet.filled()).map_err(write_failed)?;
    sheet.clear();
    Ok(())
}

fn encryption(connection: &UnbufferedClientConnection, client: &Client) -> Encryption {
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

#[cfg(test)]
mod tests;
