//! The whole pipeline over encrypted lines, in good weather and in bad.

use std::thread;
use std::time::Duration;

use zemi::error::Remedy;

use super::authority::{Authority, ECDSA, RSA};
use super::server::{admit, role, set, start};
use crate::support::load::{Load, Random, TABLES, assert_all_is_there};
use crate::support::proxy::{Proxy, Weather};
use crate::support::scene::{settings, streaming};
use crate::support::{Server, Sql, Zemi};

/// Two servers that take encrypted sessions only, but for those of the tests, each behind a network.
struct Scene {
    source: Server,
    destination: Server,
    nets: [Proxy; 2],
    _zemi: Zemi,
    _authority: Authority,
}

impl Scene {
    fn new() -> Scene {
        let authority = Authority::new(ECDSA);
        let source = start(17, &authority.server("source", RSA));
        let destination = start(15, &authority.server("destination", ECDSA));
        set(&destination, &[("ssl_max_protocol_version", "TLSv1.2")]);
        Sql::open(&source, "postgres").run(TABLES);
        let nets = [
            Proxy::start(source.port()),
            Proxy::start(destination.port()),
        ];
        let mut settings = settings(&source, Some(&destination));
        for (name, net) in ["DB_PORT", "DEST_DB_PORT"].into_iter().zip(&nets) {
            settings.push((name.into(), net.port().to_string()));
        }
        settings.push(("DB_SSL_MODE".into(), "verify-full".into()));
        settings.push(("DB_SSL_ROOT_CERT".into(), authority.root.cert()));
        let zemi = streaming(&settings);
        Scene {
            source,
            destination,
            nets,
            _zemi: zemi,
            _authority: authority,
        }
    }

    /// All sessions of zemi are encrypted.
    fn assert_encrypted(&self) {
        let question = "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl), \
                        min(version) \
                        FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'zemi'";
        for (server, version) in [(&self.source, "TLSv1.3"), (&self.destination, "TLSv1.2")] {
            let found = Sql::open(server, "postgres").text(question);
            assert_eq!(found, format!("t|0|{version}"));
        }
    }

    fn judge(&self) -> usize {
        let mut source = Sql::open(&self.source, "postgres");
        let mut destination = Sql::open(&self.destination, "postgres");
        assert_all_is_there(&mut source, &mut destination)
    }
}

#[test]
fn both_lines_carry_everything_at_once() {
    let scene = Scene::new();
    scene.assert_encrypted();
    let load = Load::start(&scene.source, 5, 3);
    thread::sleep(Duration::from_secs(4));
    load.stop();
    assert!(scene.judge() > 1000);
    scene.assert_encrypted();
}

#[test]
fn bad_weather_on_encrypted_lines_loses_nothing() {
    let scene = Scene::new();
    let load = Load::small(&scene.source, 7, 2);
    let mut random = Random::new(7);
    for round in 0..40 {
        let net = &scene.nets[random.below(2) as usize];
        let weather = match round % 5 {
            0 => Weather::Dripping,
            1 => Weather::Slow(random.below(50)),
            // In the middle of whatever comes then: a record, its head, a handshake.
            2 | 3 => Weather::CutAfter(random.below(20_000)),
            _ => Weather::Stalled,
        };
        net.set(weather);
        if round % 5 == 3 {
            net.cut();
        }
        // Long enough for it to be met.
        thread::sleep(Duration::from_millis(random.below(400)));
        net.set(Weather::Fair);
    }
    load.stop();
    assert!(scene.judge() > 100);
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
        net.set(Weather::CutAfter(limit));
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
    net.set(Weather::Fair);
    Sql::connect(&settings).unwrap_or_else(|e| panic!("{e}"));
}
