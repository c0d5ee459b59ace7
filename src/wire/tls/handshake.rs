//! The request for TLS (PostgreSQL documentation, "SSL Session Encryption") and the handshake.
//!
//! There is no way back to plain text from here: every error ends the connection.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use super::buffers::{InputBuffer, OutputBuffer};
use super::encryption::Encryption;
use super::stream::TlsStream;
use super::{failure, settings};
use crate::config::Tls;
use crate::error::{At, Error, Kind, Result};
use crate::wire::deadline::{remaining, timed_out};
use crate::wire::io_error::{closed, read_failed, write_failed};
use crate::wire::transport::Transport;

/// SSLRequest: its length and its code.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Asks the server for TLS and does the handshake.
///
/// # Errors
/// [`Kind::Refused`] for what an operator has to change, with the mode in front.
pub(in crate::wire) fn negotiate(
    socket: TcpStream,
    tls: &Tls,
    host: &str,
    deadline: Instant,
) -> Result<(Arc<dyn Transport>, Encryption)> {
    let attempt = || -> Result<(Arc<dyn Transport>, Encryption)> {
        let client = settings::client(tls, host)?;
        request(&socket, deadline)?;
        let config = Arc::clone(&client.config);
        let connection = UnbufferedClientConnection::new(config, client.name.clone())
            .map_err(|e| failure::explain(&e))?;
        let (connection, input) = handshake(&socket, connection, deadline)?;
        let encryption = Encryption::of(&connection, &client);
        let stream = TlsStream::new(socket, connection, input, tls.mode);
        Ok((Arc::new(stream), encryption))
    };
    attempt()
        .map_err(|e| match e.kind() {
            Kind::Transient if Instant::now() >= deadline => timed_out(),
            _ => e,
        })
        .at(|| failure::place(tls.mode))
}

/// Sends SSLRequest and reads the answer of one byte. A second byte is an attempt to inject plain text into
/// the encrypted session (CVE-2021-23222).
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
        .hint("the connection may be tampered with on the way")),
        (_, [b'N', _]) => Err(Error::new(Kind::Refused, "the server does not offer TLS")
            .hint("set ssl = on at the server; only mode disable connects without encryption")),
        // An unencrypted error message has an unknown sender: it is not shown (CVE-2024-10977).
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

/// Does the handshake within the deadline. Bytes received behind it stay in the buffer.
fn handshake(
    socket: &TcpStream,
    mut connection: UnbufferedClientConnection,
    deadline: Instant,
) -> Result<(UnbufferedClientConnection, InputBuffer)> {
    let (mut input, mut output) = (InputBuffer::default(), OutputBuffer::default());
    loop {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(input.pending());
        let mut wants_more = false;
        let mut failed = None;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                output.encode(&mut data).map_err(write_failed)?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                send(socket, &mut output, deadline)?;
                data.done();
            }
            Ok(ConnectionState::WriteTraffic(_)) => {
                input.discard(discard);
                return Ok((connection, input));
            }
            Ok(ConnectionState::BlockedHandshake) => wants_more = true,
            Ok(_) => return Err(closed().at("handshake")),
            Err(e) => failed = Some(e),
        }
        input.discard(discard);
        if let Some(e) = failed {
            // The alert says the reason, for the server's log.
            if let Ok(ConnectionState::EncodeTlsData(mut data)) =
                connection.process_tls_records(input.pending()).state
                && output.encode(&mut data).is_ok()
            {
                let _ = send(socket, &mut output, deadline);
            }
            return Err(failure::explain(&e));
        }
        if wants_more {
            let limit = Some(remaining(deadline)?);
            socket.set_read_timeout(limit).map_err(read_failed)?;
            if input.fill(socket).map_err(read_failed)? == 0 {
                return Err(closed().at("handshake"));
            }
        }
    }
}

fn send(socket: &TcpStream, output: &mut OutputBuffer, deadline: Instant) -> Result<()> {
    let limit = Some(remaining(deadline)?);
    socket.set_write_timeout(limit).map_err(write_failed)?;
    socket.write_all(output.filled()).map_err(write_failed)?;
    output.clear();
    Ok(())
}

#[cfg(test)]
mod tests;
