//! The whole pipeline over encrypted lines, without and with faults of the network.

use std::thread;
use std::time::Duration;

use zemi::error::Remedy;

use super::authority::{Authority, ECDSA, RSA};
use super::server::{admit, role, set, start};
use crate::support::load::{Load, TABLES, assert_all_is_there};
use crate::support::network_faults::disturb;
use crate::support::proxy::{NetworkFault, Proxy};
use crate::support::{Scene, Sql, Zemi};

/// Two servers that take encrypted sessions only, but for those of the tests. Their certificates last as long
/// as the authority does.
fn encrypted(authority: &Authority) -> (Scene, Zemi) {
    let source = start(17, &authority.server("source", RSA));
    let destination = start(15, &authority.server("destination", ECDSA));
    set(&destination, &[("ssl_max_protocol_version", "TLSv1.2")]);
    let root = authority.root.cert();
    Scene::on(source, Some(destination))
        .networked()
        .before(TABLES)
        .with(&[("DB_SSL_MODE", "verify-full"), ("DB_SSL_ROOT_CERT", &root)])
        .streaming()
}

/// All sessions of zemi are encrypted.
fn assert_encrypted(scene: &Scene) {
    let question = "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl), \
                    min(version) \
                    FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'zemi'";
    for (server, version) in [(&scene.source, "TLSv1.3"), (scene.destination(), "TLSv1.2")] {
        let found = Sql::open(server, "postgres").text(question);
        assert_eq!(found, format!("t|0|{version}"));
    }
}

#[test]
fn both_lines_carry_everything_at_once() {
    let authority = Authority::new(ECDSA);
    let (mut scene, _zemi) = encrypted(&authority);
    assert_encrypted(&scene);
    let load = Load::start(&scene.source, 5, 3);
    thread::sleep(Duration::from_secs(4));
    load.stop();
    assert!(assert_all_is_there(&mut scene.sql, &mut scene.there) > 1000);
    assert_encrypted(&scene);
}

#[test]
fn bad_weather_on_encrypted_lines_loses_nothing() {
    let authority = Authority::new(ECDSA);
    let (mut scene, _zemi) = encrypted(&authority);
    disturb(&scene, 7, 48);
    assert!(assert_all_is_there(&mut scene.sql, &mut scene.there) > 100);
}

#[test]
fn a_handshake_that_is_cut_is_tried_again() {
    let authority = Authority::new(ECDSA);
    let server = start(16, &authority.server("server", ECDSA));
    admit(&server, "hostssl all app 127.0.0.1/32 scram-sha-256");
    let net = Proxy::start(server.port());
    let (port, root) = (net.port().to_string(), authority.root.cert());
    let settings = role(
        &server,
        &[
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", &port),
            ("DB_SSL_MODE", "verify-full"),
            ("DB_SSL_ROOT_CERT", &root),
        ],
    );
    let mut failed = 0;
    for limit in (0..12).chain((12..4_000).step_by(97)) {
        net.set(NetworkFault::CutAfter(limit));
        if let Err(error) = Sql::connect(&settings) {
            failed += 1;
            assert_eq!(error.remedy(), Remedy::Retry, "{limit}: {error}");
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("127.0.0.1:{port}: ")),
                "{error}"
            );
        }
    }
    assert!(failed > 15, "{failed}");
    net.set(NetworkFault::None);
    Sql::connect(&settings).unwrap_or_else(|e| panic!("{e}"));
}
