#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::config::TlsMode;

/// A server whose handshake messages are cut into records of `fragment` bytes.
fn server(fragment: usize) -> ServerConnection {
    // The name holds what tells apart the tests of this process.
    let path = std::env::temp_dir().join(format!("zemi-tls-{}-{fragment}.pem", std::process::id()));
    let file = path.display().to_string();
    let arguments =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 2";
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .args(["-keyout", &file, "-out", &format!("{file}.crt")])
        .output();
    assert!(made.expect("openssl is there").status.success());
    let cert = CertificateDer::from_pem_file(format!("{file}.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(&path).unwrap();
    for name in [file.clone(), format!("{file}.crt")] {
        std::fs::remove_file(name).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    config.max_fragment_size = Some(fragment);
    config.send_tls13_tickets = 1;
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Does the handshake and returns the messages that the server sends behind it, not sent yet: a ticket.
fn accept(mut socket: &TcpStream, connection: &mut ServerConnection) -> Vec<u8> {
    let mut request = [0; 8];
    socket.read_exact(&mut request).unwrap();
    Write::write_all(&mut socket, b"S").unwrap();
    loop {
        connection.read_tls(&mut socket).unwrap();
        connection.process_new_packets().unwrap();
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).unwrap();
        }
        if !connection.is_handshaking() {
            return out;
        }
        Write::write_all(&mut socket, &out).unwrap();
    }
}

/// A writer has to give the connection the part of a handshake message that the reader holds.
#[test]
fn a_handshake_message_may_arrive_in_parts_between_writes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (step, steps) = channel();
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = server(64);
        let ticket = accept(&socket, &mut connection);
        assert!(ticket.len() > 200, "in several records");
        let mut said = [0; 3];
        // In the head of a record, in its middle, and between two.
        let first = RECORD + usize::from(u16::from_be_bytes([ticket[3], ticket[4]]));
        for range in [
            0..first,
            first..first + 3,
            first + 3..first + 20,
            first + 20..2 * first,
        ] {
            socket.write_all(&ticket[range]).unwrap();
            step.send(()).unwrap();
            while connection.reader().read(&mut said).is_err() {
                connection.read_tls(&mut socket).unwrap();
                connection.process_new_packets().unwrap();
            }
            assert_eq!(&said, b"abc");
        }
        socket.write_all(&ticket[2 * first..]).unwrap();
        connection.writer().write_all(b"done").unwrap();
        connection.complete_io(&mut socket).unwrap();
    });
    let tls = Tls {
        mode: TlsMode::Require,
        ..Tls::default()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let (transport, encryption) = negotiate(socket, &tls, "x", deadline).unwrap();
    assert!(!encryption.verified);
    assert_eq!(encryption.version, "TLS 1.3");
    let mut buffer = [0; 10];
    for () in steps {
        transport
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        assert!(transport.read(&mut buffer).is_err());
        transport.write_all(b"abc").unwrap();
    }
    transport.set_read_timeout(None).unwrap();
    assert_eq!(transport.read(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"done");
    peer.join().unwrap();
}

/// The head of a record.
const RECORD: usize = 5;
