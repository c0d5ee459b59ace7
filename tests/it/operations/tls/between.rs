//! A man in the middle: a process that ends the encryption on both sides, with a certificate of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};
use zemi::error::{Exit, Remedy};

use super::authority::{Authority, ECDSA};
use super::duplex::config;
use super::peers::{peer, take_packet};
use super::server::{PASSWORD, admit, role, start};
use crate::support::Sql;

/// Connects to the real server as a client does that trusts its authority.
fn real_server(port: u16, authority: &Authority) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(&authority.root.cert).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"S");
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        socket,
    )
}

/// Hands on what each side says in turn.
fn hand_on(client: &mut impl ReadWrite, server: &mut impl ReadWrite) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        for up in [true, false] {
            let (from, to): (&mut dyn ReadWrite, &mut dyn ReadWrite) = match up {
                true => (client, server),
                false => (server, client),
            };
            let read = from.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..read])?;
            to.flush()?;
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Mode `require` accepts any certificate; the password is still not given to a
/// holder of another certificate than that of the server.
#[test]
fn who_is_between_gets_nothing_by_scram() {
    let authority = Authority::new(ECDSA);
    let server = start(15, &authority.server("server", ECDSA));
    let own = config(
        &authority.self_signed("between", ECDSA, "/CN=x", &[]),
        &TLS13,
        None,
    );
    admit(&server, "hostssl all app 127.0.0.1/32 scram-sha-256");
    let mut upstream = real_server(server.port(), &authority);
    let port = peer(move |mut socket| {
        take_packet(&mut socket);
        socket.write_all(b"S").unwrap();
        let mut client = StreamOwned::new(ServerConnection::new(own).unwrap(), socket);
        // Either side may go without a word.
        let _ = hand_on(&mut client, &mut upstream);
    });
    let port = port.to_string();
    let settings = role(&server, &[("DB_SSL_MODE", "require"), ("DB_PORT", &port)]);
    let error = Sql::connect(&settings).err().expect("it is refused");
    let text = error.to_string();
    assert!(
        text.contains("something in between ends the encryption"),
        "{text}"
    );
    assert!(!text.contains(PASSWORD), "{text}");
    assert_eq!(error.remedy(), Remedy::Stop(Exit::Refused));
}
