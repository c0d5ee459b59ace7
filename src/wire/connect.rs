//! Connects to an endpoint, within one deadline.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::deadline::remaining;
use super::tls::encryption::Encryption;
use super::tls::handshake;
use super::transport::Transport;
use crate::config::{Endpoint, Host, TlsMode};
use crate::error::{Error, Kind, Result};

/// TCP keepalive: the idle time before the first probe, the time between probes, their number, and how long
/// data may stay unacknowledged (tcp(7)). The reader of a stream sends a status update every 10 s, so a
/// half-open connection is noticed within 30 s.
///
/// The last one is Linux's alone. No probe is sent while data waits to be acknowledged, so that elsewhere the
/// system's own limit of retransmissions holds, which is some minutes. (macOS has TCP_RXT_CONNDROPTIME, for
/// which no safe call exists.)
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 4;
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(18);

/// The stack of the resolver thread, in bytes: `getaddrinfo` reads configuration files into it.
const RESOLVER_STACK: usize = 256 * 1024;

/// A connected transport, and how it is encrypted where it is.
pub(super) type Connected = (Arc<dyn Transport>, Option<Encryption>);

/// Connects to the endpoint: over TCP to each address that the name resolves to, in order, or to the
/// Unix socket in the directory, which is never encrypted.
pub(super) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Connected> {
    match &endpoint.host {
        Host::Unix(directory) => {
            let stream = unix(directory, endpoint.port, deadline)?;
            Ok((Arc::new(stream), None))
        }
        Host::Tcp(name) => {
            let stream = tcp(name, endpoint.port, deadline)?;
            if endpoint.tls.mode == TlsMode::Disable {
                return Ok((Arc::new(stream), None));
            }
            let (stream, encryption) = handshake::negotiate(stream, &endpoint.tls, name, deadline)?;
            Ok((stream, Some(encryption)))
        }
    }
}

fn unix(directory: &Path, port: u16, deadline: Instant) -> Result<UnixStream> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    let attempt = || -> std::io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let left = deadline.saturating_duration_since(Instant::now());
        // Connecting to a local socket blocks only while the server's queue is full.
        socket.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        socket.connect(&SockAddr::unix(&path)?)?;
        socket.set_write_timeout(None)?;
        Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
    };
    attempt().map_err(|e| {
        let message = format!("cannot connect to {}", path.display());
        Error::new(Kind::Transient, message)
            .caused_by(e)
            .hint("is the server running, and is this its unix_socket_directories?")
    })
}

fn tcp(name: &str, port: u16, deadline: Instant) -> Result<TcpStream> {
    let addresses = resolve(name, port, deadline)?;
    let mut last = Error::new(Kind::Transient, "the name resolves to no address");
    for (index, address) in addresses.iter().enumerate() {
        // An address that does not answer leaves time for the following ones.
        let shares = u32::try_from(addresses.len() - index).unwrap_or(1);
        match tcp_one(address, remaining(deadline)? / shares) {
            Ok(stream) => return Ok(stream),
            Err(e) => {
                last = Error::new(Kind::Transient, format!("cannot connect to {address}"))
                    .caused_by(e)
                    .hint("is the server running, and does listen_addresses include this one?");
            }
        }
    }
    Err(last)
}

fn tcp_one(address: &SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(*address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.connect_timeout(
        &SockAddr::from(*address),
        limit.max(Duration::from_millis(1)),
    )?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    let tuned = SockRef::from(&stream);
    tuned.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )?;
    #[cfg(target_os = "linux")]
    tuned.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

/// Calls the resolver on a thread of its own, since `getaddrinfo` has no time limit. A thread that outlives
/// the deadline ends by itself and changes nothing.
fn resolve(name: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, question) = mpsc::channel();
    let asked = name.to_owned();
    thread::Builder::new()
        .name("resolver".into())
        .stack_size(RESOLVER_STACK)
        .spawn(move || {
            let found = (asked.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // At the deadline the receiver is gone.
            let _ = answer.send(found);
        })
        .map_err(|e| Error::new(Kind::Transient, "cannot start a thread").caused_by(e))?;
    match question.recv_timeout(remaining(deadline)?) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(e)) => Err(Error::new(Kind::Transient, "the name cannot be resolved")
            .caused_by(e)
            .hint("check the host name and this host's DNS")),
        Err(_) => Err(Error::new(
            Kind::Transient,
            "the name was not resolved within CONNECT_TIMEOUT",
        )
        .hint("check this host's DNS")),
    }
}
