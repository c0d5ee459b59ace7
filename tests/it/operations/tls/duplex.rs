//! One connection that is read and written at once, against a peer that does what PostgreSQL hardly ever
//! does: new keys in the middle, tickets in pieces, messages in records of a few bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use zemi::config::Config;
use zemi::wire::Connection;

use super::authority::{Authority, ECDSA, Pair};
use super::peers::{message, peer, take_packet};

type Stream = StreamOwned<ServerConnection, TcpStream>;

pub fn config(
    pair: &Pair,
    version: &'static SupportedProtocolVersion,
    fragment: Option<usize>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(&pair.key).unwrap(),
        )
        .unwrap();
    config.max_fragment_size = fragment;
    config.send_tls13_tickets = 4;
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(config)
}

/// A server that lets anybody in, and goes on so.
fn server(config: Arc<ServerConfig>, go_on: impl FnOnce(Stream) + Send + 'static) -> u16 {
    peer(move |mut socket| {
        take_packet(&mut socket);
        socket.write_all(b"S").unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        take_packet(&mut stream);
        stream.write_all(&message(b'R', &[0; 4])).unwrap();
        stream.write_all(&message(b'Z', b"I")).unwrap();
        stream.flush().unwrap();
        go_on(stream);
    })
}

fn connect(port: u16, root: &str) -> Connection {
    let settings = [
        ("DB_HOST", "localhost"),
        ("DB_PORT", &port.to_string()),
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", root),
    ];
    let vars = settings.map(|(name, value)| (name.into(), value.into()));
    let (config, _) = Config::from_vars(vars).unwrap();
    let limit = Duration::from_secs(20);
    Connection::open(&config.source, &[], limit).unwrap_or_else(|e| panic!("{e}"))
}

/// The byte at a place of an endless text.
fn byte(at: usize) -> u8 {
    (at * 7 + at / 251) as u8
}

fn text(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(byte).collect()
}

/// Sends a text while it answers each byte that comes, with new keys now and then.
fn talk(mut stream: Stream, total: usize, fresh_keys: bool) {
    let mut received = 0;
    let mut sent = 0;
    let mut round = 0;
    let mut buffer = vec![0; 20_000];
    while sent < total || received < total {
        if sent < total {
            let length = (1 + round * 977 % 19_000).min(total - sent);
            stream.write_all(&text(sent, length)).unwrap();
            stream.flush().unwrap();
            sent += length;
        }
        if fresh_keys && round % 3 == 0 {
            stream.conn.refresh_traffic_keys().unwrap();
            stream.flush().unwrap();
        }
        round += 1;
        if received < total {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0);
            assert!(buffer[..read] == text(received, read), "behind {received}");
            received += read;
        }
    }
}

/// One thread reads the text while another writes it.
fn exchange(connection: Connection, total: usize, sizes: &[usize]) {
    let (transport, rest) = connection.into_parts();
    thread::scope(|scope| {
        let writer = Arc::clone(&transport);
        scope.spawn(move || {
            let (mut sent, mut round) = (0, 0);
            while sent < total {
                let length = (1 + round * 7919 % 150_000).min(total - sent);
                writer.write_all(&text(sent, length)).unwrap();
                sent += length;
                round += 1;
            }
        });
        let mut received = 0;
        let mut check = |bytes: &[u8]| {
            assert!(bytes == text(received, bytes.len()), "behind {received}");
            received += bytes.len();
            received
        };
        let mut done = check(&rest);
        let mut buffer = vec![0; 100_000];
        for size in sizes.iter().cycle() {
            if done == total {
                break;
            }
            let read = transport.read(&mut buffer[..*size]).unwrap();
            assert_ne!(read, 0, "the end came too early, behind {done}");
            done = check(&buffer[..read]);
        }
    });
}

#[test]
fn two_threads_use_one_connection_while_its_keys_change() {
    let authority = Authority::new(ECDSA);
    let pair = authority.server("server", ECDSA);
    const TOTAL: usize = 3_000_000;
    for (version, fragment, fresh_keys) in [
        (&TLS13, None, true),
        // The tickets come in pieces, and so may any other message of the handshake.
        (&TLS13, Some(64), true),
        (&TLS13, Some(32), false),
        (&TLS12, None, false),
        (&TLS12, Some(64), false),
    ] {
        let total = if fragment.is_some() {
            TOTAL / 10
        } else {
            TOTAL
        };
        let config = config(&pair, version, fragment);
        let port = server(config, move |stream| talk(stream, total, fresh_keys));
        let connection = connect(port, &authority.root.cert());
        exchange(connection, total, &[65_536, 1, 100, 8_192, 100_000]);
    }
}

#[test]
fn a_read_is_woken_and_ends_in_time() {
    let authority = Authority::new(ECDSA);
    let config = config(&authority.server("server", ECDSA), &TLS13, None);
    let port = server(config, |mut stream| {
        let _ = stream.read(&mut [0; 10]);
        // Half a record, and then nothing more.
        let mut record = Vec::new();
        stream.conn.writer().write_all(&[7; 1000]).unwrap();
        stream.conn.write_tls(&mut record).unwrap();
        stream.sock.write_all(&record[..500]).unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    let transport = connect(port, &authority.root.cert()).transport();
    let limit = Some(Duration::from_millis(100));
    transport.set_read_timeout(limit).unwrap();
    for _ in 0..2 {
        let error = transport.read(&mut [0; 10]).unwrap_err();
        let kind = error.kind();
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        assert!(matches!(kind, TimedOut | WouldBlock), "{error}");
        transport.write_all(b"x").unwrap();
    }
    transport.set_read_timeout(None).unwrap();
    let reader = Arc::clone(&transport);
    let read = thread::spawn(move || reader.read(&mut [0; 10]));
    while !read.is_finished() {
        // Also should the thread not be there yet.
        transport.shutdown(std::net::Shutdown::Both);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read.join().unwrap().unwrap(), 0);
}

#[test]
fn bytes_that_somebody_changed_are_noticed() {
    let authority = Authority::new(ECDSA);
    let config = config(&authority.server("server", ECDSA), &TLS13, None);
    let port = server(config, |mut stream| {
        let mut record = Vec::new();
        stream
            .conn
            .writer()
            .write_all(&message(b'N', &[0; 1000]))
            .unwrap();
        stream.conn.write_tls(&mut record).unwrap();
        record[700] ^= 1;
        stream.sock.write_all(&record).unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    let mut connection = connect(port, &authority.root.cert());
    let error = connection.receive().unwrap_err();
    assert!(
        error.to_string().contains("TLS, mode verify-full: "),
        "{error}"
    );
    assert_eq!(error.remedy(), zemi::error::Remedy::Retry);
    assert!(
        connection.send(b"x").is_err(),
        "nothing is sent on a broken connection"
    );
}
