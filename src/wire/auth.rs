//! Startup and authentication (PostgreSQL documentation, "Start-up", "SASL Authentication").

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::connection::Session;
use super::pooler;
use super::response::server_error;
use crate::config::{Endpoint, Password, Secret};
use crate::error::{Error, Kind, Result};
use crate::sqlstate;

/// Authentication messages are short; a longer one does not come from a PostgreSQL server.
const LIMIT: usize = 64 * 1024;

/// Sends the startup packet, answers what the server asks for, and reads until it is ready.
pub(super) fn start(
    session: &mut Session,
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
    if let Err(error) = session.write(&message) {
        // The server may have gone because of our certificate; then it has said so.
        return Err(session.read(LIMIT).err().unwrap_or(error));
    }
    authenticate(session, endpoint)?;
    loop {
        match session.read(LIMIT)? {
            (b'Z', _) => return Ok(()),
            (b'E', body) => return Err(startup_error(body)),
            // ParameterStatus, BackendKeyData, NegotiateProtocolVersion; notices are logged by read.
            (b'S' | b'K' | b'v', _) => {}
            (tag, _) => return Err(unexpected(tag)),
        }
    }
}

fn authenticate(session: &mut Session, endpoint: &Endpoint) -> Result<()> {
    loop {
        let (code, data) = match session.read(LIMIT)? {
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
            3 => reply(session, password(endpoint)?.expose())?,
            5 => {
                let salt = <[u8; 4]>::try_from(data.as_slice()).map_err(|_| unexpected(b'R'))?;
                let secret = password(endpoint)?.expose();
                reply(
                    session,
                    md5_hash(endpoint.user.as_bytes(), secret, salt).as_bytes(),
                )?;
            }
            10 => scram(session, endpoint, &data)?,
            other => return Err(unsupported(other)),
        }
    }
}

fn scram(session: &mut Session, endpoint: &Endpoint, mechanisms: &[u8]) -> Result<()> {
    let offered = |wanted: &str| {
        mechanisms
            .split(|b| *b == 0)
            .any(|m| m == wanted.as_bytes())
    };
    let end_point = session.encryption().and_then(|e| e.end_point.clone());
    // The password is bound to the certificate that we saw: nobody in between can use the exchange. Where
    // we could and the server could not, it is told so, and finds out who has taken the offer away.
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
    session.write(&message)?;
    scram.update(&sasl_data(session, 11)?).map_err(broken)?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(broken)?;
    session.write(&message)?;
    scram.finish(&sasl_data(session, 12)?).map_err(|e| {
        Error::new(
            Kind::Refused,
            "the server could not prove that it knows the password",
        )
        .caused_by(e)
        .hint("this may be another server than the one that was meant")
    })
}

fn sasl_data(session: &mut Session, wanted: u32) -> Result<Vec<u8>> {
    match session.read(LIMIT)? {
        (b'R', body) => match body.split_first_chunk::<4>() {
            Some((code, data)) if u32::from_be_bytes(*code) == wanted => Ok(data.to_vec()),
            _ => Err(unexpected(b'R')),
        },
        (b'E', body) => Err(startup_error(body)),
        (tag, _) => Err(unexpected(tag)),
    }
}

fn reply(session: &mut Session, secret: &[u8]) -> Result<()> {
    let mut message = BytesMut::new();
    frontend::password_message(secret, &mut message)
        .map_err(|e| Error::new(Kind::Setting, "the password holds a zero byte").caused_by(e))?;
    session.write(&message)
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
    // "… no encryption", and "… SSL off" in older versions: what most hosted servers say to plain text.
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
