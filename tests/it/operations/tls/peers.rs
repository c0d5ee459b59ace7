//! Peers that break the protocol before, during and after the handshake, and logins that are refused.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use zemi::config::Config;
use zemi::error::{Error, Exit, Remedy};
use zemi::fuzzing::source;

use crate::support::{Server, Sql};

/// How long zemi may take to connect, in seconds.
const TIMEOUT: u64 = 2;

/// A peer that treats one connection so. Returns its port.
pub fn peer(treat: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            treat(stream);
        }
    });
    port
}

/// Takes a packet without a tag: SSLRequest or the startup packet.
pub fn take_packet(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// Waits until the other end goes.
fn wait(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The error of connecting to this peer in this mode.
fn error(mode: &str, port: u16) -> Error {
    let settings = [
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", &port.to_string()),
        ("DB_PASSWORD", "s3cret"),
        ("DB_SSL_MODE", mode),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let session = Sql::connect_within(&settings, Duration::from_secs(TIMEOUT));
    let error = session.err().expect("nobody is there to connect to");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error
}

#[test]
fn whatever_a_peer_answers_to_the_request_nothing_is_sent_in_plain_text() {
    let refused = Remedy::Stop(Exit::Refused);
    for (answer, wanted, remedy) in [
        (&b"N"[..], "the server does not offer TLS", refused),
        // Bytes behind the answer would be taken for a part of the encrypted session.
        (
            b"SE\0\0\0\x05x",
            "found bytes that are not encrypted",
            Remedy::Retry,
        ),
        (
            b"E\0\0\0\x0bMs3cret\0\0",
            "answered the request for TLS with an error",
            Remedy::Retry,
        ),
        (
            b"H",
            "expected S or N to the request for TLS, found 0x48",
            Remedy::Retry,
        ),
        (b"", "closed the connection", Remedy::Retry),
        // No TLS behind it.
        (
            b"S",
            "handshake: the server closed the connection",
            Remedy::Retry,
        ),
    ] {
        let port = peer(move |mut stream| {
            assert_eq!(take_packet(&mut stream), [4, 210, 22, 47]);
            stream.write_all(answer).unwrap();
            if answer == b"S" {
                // The ClientHello, and then it is gone.
                let _ = stream.read(&mut [0; 4096]);
                return;
            }
            if !answer.is_empty() {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                assert_eq!(rest, b"", "{answer:?}");
            }
        });
        let error = error("verify-full", port);
        let text = error.to_string();
        assert!(text.contains(wanted), "{text}");
        assert!(
            text.contains(&format!("127.0.0.1:{port}: TLS, mode verify-full: ")),
            "{text}"
        );
        assert_eq!(error.remedy(), remedy, "{text}");
    }
}

#[test]
fn a_peer_that_says_nothing_or_nonsense_is_left_in_time() {
    let late = "no answer within CONNECT_TIMEOUT";
    let silent = peer(|mut stream| wait(&mut stream));
    assert!(error("require", silent).to_string().contains(late));
    let silent = peer(|mut stream| {
        take_packet(&mut stream);
        stream.write_all(b"S").unwrap();
        wait(&mut stream);
    });
    assert!(error("require", silent).to_string().contains(late));
    let dripping = peer(|mut stream| {
        take_packet(&mut stream);
        stream.write_all(b"S").unwrap();
        let _ = stream.read(&mut [0; 4096]);
        // The head of a handshake record of 16 KiB, and then a byte now and then.
        let mut bytes = vec![22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xf0];
        bytes.resize(16 * 1024, 3);
        for byte in bytes {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let text = error("require", dripping).to_string();
    assert!(text.contains(late), "{text}");
    let nonsense = peer(|mut stream| {
        take_packet(&mut stream);
        stream.write_all(b"S").unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        wait(&mut stream);
    });
    let error = error("require", nonsense);
    assert!(
        error
            .to_string()
            .contains("does not speak TLS as it should"),
        "{error}"
    );
    assert_eq!(error.remedy(), Remedy::Retry);
}

/// A message with its tag and length.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

#[test]
fn methods_that_zemi_does_not_have_are_named() {
    let method = |code: u32, rest: &[u8]| {
        let body = [&code.to_be_bytes(), rest].concat();
        message(b'R', &body)
    };
    for (answer, wanted) in [
        (method(2, b""), "KerberosV5 (code 2)"),
        (method(6, b""), "SCM credentials (code 6)"),
        (method(7, b""), "GSSAPI (code 7)"),
        (method(9, b""), "SSPI (code 9)"),
        (method(99, b""), "unknown (code 99)"),
        (
            method(10, b"OAUTHBEARER\0\0"),
            "only these SASL mechanisms: OAUTHBEARER",
        ),
        // A proxy that ends the encryption offers to bind a channel that zemi does not have.
        (
            method(10, b"SCRAM-SHA-256-PLUS\0\0"),
            "only these SASL mechanisms: SCRAM-SHA-256-PLUS",
        ),
    ] {
        let port = peer(move |mut stream| {
            take_packet(&mut stream);
            stream.write_all(&answer).unwrap();
            wait(&mut stream);
        });
        let error = error("disable", port);
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.remedy(), Remedy::Stop(Exit::Refused), "{error}");
    }
}

#[test]
fn a_pooler_is_recognised_by_its_error() {
    for (fields, who) in [
        (
            "SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0",
            "PgBouncer",
        ),
        (
            "SFATAL\0VFATAL\0CXX000\0MTenant or user not found\0\0",
            "Supavisor",
        ),
        (
            "SFATAL\0C0A000\0MFeature not supported: RDS Proxy currently doesn’t support the option \
             wal_sender_timeout.\0\0",
            "RDS Proxy",
        ),
    ] {
        let port = peer(move |mut stream| {
            take_packet(&mut stream);
            stream.write_all(&message(b'E', fields.as_bytes())).unwrap();
            wait(&mut stream);
        });
        let error = error("disable", port);
        let wanted = format!("Hint: this is {who}: connect to the server itself");
        assert!(error.to_string().contains(&wanted), "{error}");
        assert_eq!(error.remedy(), Remedy::Stop(Exit::Config), "{error}");
    }
}

#[test]
fn a_pooler_that_swallows_the_wish_for_a_walsender_is_hinted_at() {
    // PgBouncer does so with ignore_startup_parameters = replication: what answers is an ordinary session.
    let server = Server::start(15, &[]);
    let vars = server.settings("DB_", "postgres").into_iter();
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    let (config, _) = Config::from_vars(vars).unwrap();
    let mut session = source::open_session(&config).unwrap();
    let error = source::identify(&mut session).unwrap_err();
    assert!(
        error.to_string().contains("not to a pooler that swallows"),
        "{error}"
    );
    assert_eq!(error.remedy(), Remedy::Stop(Exit::Config));
}
