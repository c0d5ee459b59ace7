//! Startup and authentication (PostgreSQL documentation, "Start-up", "SASL Authentication").

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::message_stream::MessageStream;
use super::pooler;
use super::response::server_error;
use crate::config::{Endpoint, Password, Secret};
use crate::error::{Error, Kind, Result};
use crate::sqlstate;

/// The longest message before the session is ready, in bytes: those of PostgreSQL are much shorter.
const MAX_MESSAGE: usize = 64 * 1024;

/// Sends the startup packet, authenticates, and reads until ReadyForQuery.
pub(super) fn start(
    stream: &mut MessageStream,
    endpoint: &Endpoint,
    parameters: &[(&str, &str)],
) -> Result<()> {
    let mut message = BytesMut::new();
    let names = [
        ("user", endpoint.user.as_str()),
        ("database", endpoint.database.as_str()),
    ];
    frontend::startup_message(
        names.into_iter().chain(parameters.iter().copied()),
        &mut message,
    )
    .map_err(|e| {
        Error::new(Kind::Setting, "a connection setting holds a zero byte").caused_by(e)
    })?;
    if let Err(error) = stream.write(&message) {
        // A server that refused the client certificate has sent an alert before it closed.
        return Err(stream.read(MAX_MESSAGE).err().unwrap_or(error));
    }
    authenticate(stream, endpoint)?;
    loop {
        match stream.read(MAX_MESSAGE)? {
            (b'Z', _) => return Ok(()),
            (b'E', body) => return Err(startup_error(body)),
            // ParameterStatus, BackendKeyData, NegotiateProtocolVersion; notices are logged by read.
            (b'S' | b'K' | b'v', _) => {}
            (tag, _) => return Err(unexpected(tag)),
        }
    }
}

fn authenticate(stream: &mut MessageStream, endpoint: &Endpoint) -> Result<()> {
    loop {
        let (code, data) = match stream.read(MAX_MESSAGE)? {
            (b'R', body) => match body.split_first_chunk::<4>() {
                Some((code, data)) => (u32::from_be_bytes(*code), data.to_vec()),
                None => return Err(unexpected(b'R')),
            },
            (b'E', body) => return Err(startup_error(body)),
            (b'v', _) => continue,
            (tag, _) => return Err(unexpected(tag)),
        };
        match code {
            0 => return Ok(()),
            3 => reply(stream, password(endpoint)?.expose())?,
            5 => {
                let salt = <[u8; 4]>::try_from(data.as_slice()).map_err(|_| unexpected(b'R'))?;
                let secret = password(endpoint)?.expose();
                reply(
                    stream,
                    md5_hash(endpoint.user.as_bytes(), secret, salt).as_bytes(),
                )?;
            }
            10 => scram(stream, endpoint, &data)?,
            other => return Err(unsupported(other)),
        }
    }
}

fn scram(stream: &mut MessageStream, endpoint: &Endpoint, mechanisms: &[u8]) -> Result<()> {
    let offered = |wanted: &str| {
        mechanisms
            .split(|b| *b == 0)
            .any(|m| m == wanted.as_bytes())
    };
    let end_point = stream.encryption().and_then(|e| e.end_point.clone());
    // Channel binding ties the exchange to the certificate of this connection, so that it cannot be relayed.
    // Where the server does not offer it, the client says that it would have (`y`, RFC 5802, section 6): a
    // server that did offer it then detects that the offer was removed on the way.
    let (mechanism, binding) = match end_point {
        Some(hash) if offered(SCRAM_SHA_256_PLUS) => {
            let binding = ChannelBinding::tls_server_end_point(hash);
            (SCRAM_SHA_256_PLUS, binding)
        }
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offered(mechanism) {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "the server offers only these SASL mechanisms: {}",
                String::from_utf8_lossy(mechanisms)
                    .replace('\0', " ")
                    .trim_end()
            ),
        )
        .hint("zemi knows scram-sha-256, md5, password and cert"));
    }
    let secret = password(endpoint)?;
    let mut scram = ScramSha256::new(secret.expose(), binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut message).map_err(broken)?;
    stream.write(&message)?;
    scram.update(&sasl_data(stream, 11)?).map_err(broken)?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(broken)?;
    stream.write(&message)?;
    scram.finish(&sasl_data(stream, 12)?).map_err(|e| {
        Error::new(
            Kind::Refused,
            "the server could not prove that it knows the password",
        )
        .caused_by(e)
        .hint("this may be another server than the one that was meant")
    })
}

fn sasl_data(stream: &mut MessageStream, wanted: u32) -> Result<Vec<u8>> {
    match stream.read(MAX_MESSAGE)? {
        (b'R', body) => match body.split_first_chunk::<4>() {
            Some((code, data)) if u32::from_be_bytes(*code) == wanted => Ok(data.to_vec()),
            _ => Err(unexpected(b'R')),
        },
        (b'E', body) => Err(startup_error(body)),
        (tag, _) => Err(unexpected(tag)),
    }
}

fn reply(stream: &mut MessageStream, secret: &[u8]) -> Result<()> {
    let mut message = BytesMut::new();
    frontend::password_message(secret, &mut message)
        .map_err(|e| Error::new(Kind::Setting, "the password holds a zero byte").caused_by(e))?;
    stream.write(&message)
}

fn password(endpoint: &Endpoint) -> Result<&Secret> {
    match &endpoint.password {
        Password::Given(secret) => Ok(secret),
        Password::None { setting } => {
            let user = &endpoint.user;
            let message =
                format!("the server asks for the password of {user:?}, and {setting} is empty");
            Err(Error::new(Kind::Refused, message).hint(format!(
                "give it in {setting}; or let pg_hba.conf ask for none from this host"
            )))
        }
    }
}

fn startup_error(body: &[u8]) -> Error {
    let error = match pooler::recognise(server_error(body)) {
        Ok(error) => return error,
        Err(error) => error,
    };
    // "… no encryption", or "… SSL off" of older versions (`auth.c`): the message of a server that takes
    // encrypted connections only.
    let text = error.without_hint();
    if error.is_sqlstate(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION)
        && (text.contains("no encryption") || text.contains("SSL off"))
    {
        return error.hint(
            "the server may take encrypted connections only: set DB_SSL_MODE=verify-full \
             (DEST_DB_SSL_MODE for the destination); else look at its pg_hba.conf",
        );
    }
    if text.contains("channel binding") {
        return error.hint(
            "the certificate that zemi saw is not the server's own: something in between ends the \
             encryption, and may read along",
        );
    }
    if error.is_sqlstate(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION) {
        return error.hint("check the user, and the server's pg_hba.conf for this host");
    }
    error
}

fn unsupported(code: u32) -> Error {
    let name = match code {
        2 => "KerberosV5",
        6 => "SCM credentials",
        7 => "GSSAPI",
        9 => "SSPI",
        _ => "unknown",
    };
    Error::new(
        Kind::Refused,
        format!("the server asks for the authentication method {name} (code {code})"),
    )
    .hint("zemi knows scram-sha-256, md5, password and cert; change the line in pg_hba.conf")
}

fn unexpected(tag: u8) -> Error {
    Error::new(
        Kind::Protocol,
        format!("expected an authentication message, found one of type 0x{tag:02x}"),
    )
    .hint("is this a PostgreSQL server?")
}

fn broken(e: std::io::Error) -> Error {
    Error::new(Kind::Protocol, "the SCRAM exchange failed").caused_by(e)
}
