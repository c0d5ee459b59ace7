//! Each mode against each kind of certificate, on real servers.

use zemi::error::{Exit, Remedy};

use super::authority::{Authority, ECDSA, ED25519, P521, Pair, RSA, RSA_PSS};
use super::server::{self, role, set, show};
use crate::support::scene::PATIENCE;
use crate::support::{Server, Sql, Zemi};

/// Connects; returns the version of TLS that the server says it has.
fn connects(server: &Server, more: &[(&str, &str)]) -> String {
    let mut sql = Sql::connect(&role(server, more)).unwrap_or_else(|e| panic!("{more:?}: {e}"));
    sql.text("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
}

/// Does not connect, with this in the error, and never will.
fn refused(server: &Server, more: &[(&str, &str)], wanted: &str) -> String {
    let Err(error) = Sql::connect(&role(server, more)) else {
        panic!("{more:?} connects");
    };
    let text = error.to_string();
    assert!(text.contains(wanted), "{more:?}: {text}");
    assert_eq!(error.remedy(), Remedy::Stop(Exit::Refused), "{text}");
    text
}

fn with<'a>(mode: &'a str, root: &'a str) -> [(&'a str, &'a str); 2] {
    [("DB_SSL_MODE", mode), ("DB_SSL_ROOT_CERT", root)]
}

const NOBODY: &str = "has an issuer that is not trusted";

#[test]
fn each_mode_asks_for_what_it_says() {
    let authority = Authority::new(RSA);
    let other = Authority::new(ECDSA);
    let server = server::start(15, &authority.server("server", RSA));
    let (root, wrong) = (authority.root.cert(), other.root.cert());
    // Several certificates in one file, with text around them, as `openssl x509 -text` writes it.
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let both = format!("# first\n{}\nsecond:\n{}", read(&wrong), read(&root));
    let both = authority.file("both.crt", both.as_bytes());
    let require = [("DB_SSL_MODE", "require")];

    assert_eq!(connects(&server, &[]), "f|-");
    for more in [
        &require[..],
        &with("require", &root),
        &with("verify-ca", &root),
        &with("verify-full", &root),
        &with("verify-full", &both),
    ] {
        assert_eq!(connects(&server, more), "t|TLSv1.3", "{more:?}");
        let address = [more, &[("DB_HOST", "127.0.0.1")]].concat();
        assert_eq!(connects(&server, &address), "t|TLSv1.3", "{more:?}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let text = refused(&server, &with(mode, &wrong), NOBODY);
        assert!(
            text.contains(&format!("localhost:{}", server.port())),
            "{text}"
        );
        assert!(text.contains(&format!("TLS, mode {mode}: ")), "{text}");
    }
    let again = Authority::named(RSA, &authority);
    refused(
        &server,
        &with("verify-ca", &again.root.cert()),
        "does not fit its key",
    );
    for mode in ["verify-ca", "verify-full"] {
        // By what the system trusts.
        refused(&server, &[("DB_SSL_MODE", mode)], NOBODY);
    }

    let names = Some("subjectAltName=DNS:elsewhere.example,IP:10.9.8.7");
    show(
        &server,
        &authority.issue("wrong-host", RSA, "/CN=localhost", names, &[]),
    );
    connects(&server, &with("verify-ca", &root));
    let text = refused(&server, &with("verify-full", &root), "is for another host");
    assert!(text.contains("elsewhere.example"), "{text}");
    let address = [&with("verify-full", &root)[..], &[("DB_HOST", "127.0.0.1")]].concat();
    refused(&server, &address, "is for another host");

    let names = Some("subjectAltName=DNS:localhost");
    show(
        &server,
        &authority.issue("expired", RSA, "/CN=localhost", names, &["-days", "-1"]),
    );
    connects(&server, &require);
    for mode in ["require", "verify-ca", "verify-full"] {
        refused(&server, &with(mode, &root), "has expired");
    }

    set(&server, &[("ssl", "off")]);
    for mode in ["require", "verify-ca", "verify-full"] {
        refused(
            &server,
            &[("DB_SSL_MODE", mode)],
            "the server does not offer TLS",
        );
    }
    // And the program ends.
    let mut zemi = Zemi::start(&role(&server, &require));
    assert_eq!(zemi.wait_exit(PATIENCE), Some(77), "{}", zemi.log());
    assert!(zemi.log().contains("mode require"), "{}", zemi.log());
}

#[test]
fn certificates_that_libpq_accepts_are_accepted() {
    let authority = Authority::new(ECDSA);
    let server = server::start(17, &authority.server("server", ECDSA));
    let root = authority.root.cert();
    let full = |root: &str| connects(&server, &with("verify-full", root));
    assert_eq!(full(&root), "t|TLSv1.3");

    // A self-signed certificate that is itself the root, with nothing but a common name.
    for (name, kind) in [("self-rsa", RSA), ("self-ecdsa", ECDSA)] {
        let own = authority.self_signed(name, kind, "/CN=localhost", &[]);
        let path = own.cert();
        show(&server, &own);
        assert_eq!(full(&own.cert()), "t|TLSv1.3");
        refused(&server, &with("verify-ca", &root), NOBODY);
        let address = [&with("verify-full", &path)[..], &[("DB_HOST", "127.0.0.1")]].concat();
        refused(&server, &address, "is for another host");
    }
    let own = authority.self_signed("self-elsewhere", ECDSA, "/CN=elsewhere", &[]);
    show(&server, &own);
    refused(
        &server,
        &with("verify-full", &own.cert()),
        "is for another host",
    );
    connects(&server, &with("verify-ca", &own.cert()));
    let args = ["-signkey", &own.key(), "-days", "-1"];
    let own = Pair {
        cert: authority
            .convert(&own.cert, "expired.crt", "x509", &args)
            .into(),
        ..own
    };
    show(&server, &own);
    refused(&server, &with("verify-full", &own.cert()), "has expired");

    // Version 1, as the documentation of PostgreSQL makes it.
    let first = authority.issue("first", ECDSA, "/CN=localhost", None, &["-days", "30"]);
    show(&server, &first);
    connects(&server, &[("DB_SSL_MODE", "require")]);
    assert_eq!(full(&root), "t|TLSv1.3");
    refused(
        &server,
        &with("verify-ca", &Authority::new(ECDSA).root.cert()),
        NOBODY,
    );
    let again = Authority::named(ECDSA, &authority);
    refused(
        &server,
        &with("verify-ca", &again.root.cert()),
        "cannot be used",
    );
    show(
        &server,
        &authority.issue("first-old", ECDSA, "/CN=localhost", None, &["-days", "-1"]),
    );
    refused(&server, &with("verify-ca", &root), "has expired");

    // A server that is a CA, too.
    let names = Some("basicConstraints=CA:TRUE\nsubjectAltName=DNS:localhost");
    show(
        &server,
        &authority.issue("both", ECDSA, "/CN=x", names, &[]),
    );
    assert_eq!(full(&root), "t|TLSv1.3");
    // Two chains: the intermediate certificate comes with the server's.
    let middle = authority.issue(
        "middle",
        RSA,
        "/CN=middle",
        Some("basicConstraints=CA:TRUE"),
        &[],
    );
    let mut under = Authority::new(ECDSA);
    under.root = middle.clone();
    let leaf = under.server("leaf", ECDSA);
    let chain = [&leaf.cert, &middle.cert].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&leaf.cert, chain.concat()).unwrap();
    show(&server, &leaf);
    assert_eq!(full(&root), "t|TLSv1.3");
}

#[test]
fn older_versions_and_all_kinds_of_signatures_are_spoken() {
    let authority = Authority::new(RSA);
    let server = server::start(14, &authority.server("server", RSA));
    let root = authority.root.cert();
    let full = || connects(&server, &with("verify-full", &root));
    set(&server, &[("ssl_max_protocol_version", "TLSv1.2")]);
    assert_eq!(full(), "t|TLSv1.2");
    assert_eq!(
        connects(&server, &[("DB_SSL_MODE", "require")]),
        "t|TLSv1.2"
    );
    show(&server, &authority.server("ecdsa", ECDSA));
    assert_eq!(full(), "t|TLSv1.2");
    assert_eq!(
        connects(&server, &[("DB_SSL_MODE", "require")]),
        "t|TLSv1.2"
    );
    let first = authority.issue("first", RSA, "/CN=localhost", None, &[]);
    show(&server, &first);
    assert_eq!(full(), "t|TLSv1.2");
    set(&server, &[("ssl_ciphers", "AES256-SHA256")]);
    show(&server, &authority.server("again", RSA));
    refused(&server, &with("verify-full", &root), "HandshakeFailure");
    set(
        &server,
        &[("ssl_ciphers", "HIGH"), ("ssl_max_protocol_version", "")],
    );

    // The password is bound to the certificate by the hash of its signature; the server would refuse
    // another one, and that it were not bound at all.
    let names = Some("subjectAltName=DNS:localhost");
    let issue = |name: &str, more: &[&str]| authority.issue(name, RSA, "/CN=x", names, more);
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:-1",
        "-sha384",
    ];
    let signed: [(&str, Pair); 4] = [
        ("SHA-384", issue("sha384", &["-sha384"])),
        ("SHA-512", issue("sha512", &["-sha512"])),
        ("PSS", issue("pss", &pss)),
        (
            "Ed25519",
            authority.issue("ed25519", ED25519, "/CN=x", names, &[]),
        ),
    ];
    for (what, pair) in &signed {
        show(&server, pair);
        assert_eq!(full(), "t|TLSv1.3", "{what}");
    }
    // Signed by Ed25519, it has no hash: the server offers a channel binding that cannot be computed.
    let ed25519 = authority.self_signed("self", ED25519, "/CN=localhost", &[]);
    show(&server, &ed25519);
    assert_eq!(
        connects(&server, &with("verify-full", &ed25519.cert())),
        "t|TLSv1.3"
    );
    // Keys that the server takes and zemi does not know: it is told by an alert, before any certificate.
    for (name, kind, said) in [("p521", P521, "P-521"), ("rsa-pss", RSA_PSS, "rsassaPss")] {
        show(&server, &authority.issue(name, kind, "/CN=x", names, &[]));
        refused(&server, &[("DB_SSL_MODE", "require")], said);
    }
    // Signed by such a key.
    let other = Authority::new(P521);
    show(&server, &other.server("by-p521", RSA));
    refused(&server, &with("verify-ca", &other.root.cert()), "P-521");
    show(
        &server,
        &authority.issue("sha1", RSA, "/CN=x", names, &["-sha1"]),
    );
    assert_eq!(
        connects(&server, &[("DB_SSL_MODE", "require")]),
        "t|TLSv1.3"
    );
}
