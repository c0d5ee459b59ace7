//! The ways to log in that `pg_hba.conf` knows: those that zemi has, and those that it has not.

use zemi::error::{Error, Exit, Remedy};

use super::authority::{Authority, ECDSA, RSA};
use super::server::{PASSWORD, ROLE, admit, ask_clients, role, start};
use crate::support::scene::PATIENCE;
use crate::support::{Server, Sql, Zemi};

/// What is asked of a set of settings.
type Check<'a> = dyn Fn(&[(&str, &str)]) + 'a;

fn logs_in(server: &Server, more: &[(&str, &str)]) {
    let sql = Sql::connect(&role(server, more));
    let mut sql = sql.unwrap_or_else(|e| panic!("{more:?}: {e}"));
    assert_eq!(sql.value("SELECT current_user"), ROLE);
}

fn error(server: &Server, more: &[(&str, &str)]) -> Error {
    let session = Sql::connect(&role(server, more));
    session.err().unwrap_or_else(|| panic!("{more:?} logs in"))
}

fn refused(server: &Server, more: &[(&str, &str)], wanted: &str) {
    let error = error(server, more);
    let text = error.to_string();
    assert!(text.contains(wanted), "{more:?}: {text}");
    assert_eq!(error.remedy(), Remedy::Stop(Exit::Refused), "{text}");
}

#[test]
fn each_method_works_in_plain_text_and_encrypted() {
    let authority = Authority::new(ECDSA);
    let server = start(15, &authority.server("server", ECDSA));
    let mut sql = Sql::open(&server, "postgres");
    let plain: &[(&str, &str)] = &[];
    let encrypted: &[(&str, &str)] = &[("DB_SSL_MODE", "require")];
    let wrong = [("DB_SSL_MODE", "require"), ("DB_PASSWORD", "wr0ng")];
    for (stored, method) in [
        ("scram-sha-256", "trust"),
        ("scram-sha-256", "password"),
        ("scram-sha-256", "scram-sha-256"),
        ("scram-sha-256", "md5"),
        ("md5", "md5"),
        ("md5", "password"),
    ] {
        sql.run(&format!(
            "SET password_encryption = '{stored}'; ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'"
        ));
        admit(&server, &format!("host all {ROLE} 127.0.0.1/32 {method}"));
        logs_in(&server, plain);
        logs_in(&server, encrypted);
        if method != "trust" {
            refused(&server, &wrong, "password authentication failed");
        }
    }
    // A password that is stored as MD5 cannot be proved by SCRAM.
    admit(
        &server,
        &format!("host all {ROLE} 127.0.0.1/32 scram-sha-256"),
    );
    refused(&server, encrypted, "password authentication failed");

    admit(&server, &format!("host all {ROLE} 127.0.0.1/32 reject"));
    refused(&server, encrypted, "pg_hba.conf rejects connection");
    admit(&server, &format!("hostssl all {ROLE} 127.0.0.1/32 md5"));
    logs_in(&server, encrypted);
    refused(&server, plain, "no encryption");
    refused(
        &server,
        plain,
        "Hint: the server may take encrypted connections only: set DB_SSL_MODE=",
    );
    let line = format!("hostssl all {ROLE} 127.0.0.1/32 md5\nlocal all {ROLE} peer");
    admit(&server, &line);
    let socket = server.dir().join("socket").display().to_string();
    // Nothing is encrypted there, whatever the mode is, and nothing needs to be.
    let socket = [("DB_HOST", socket.as_str()), ("DB_SSL_MODE", "verify-full")];
    refused(&server, &socket, "Peer authentication failed");
    admit(&server, &format!("local all {ROLE} md5"));
    logs_in(&server, &socket);
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new(RSA);
    let server = start(16, &authority.server("server", RSA));
    ask_clients(&server, &authority.root.cert);
    admit(&server, &format!("hostssl all {ROLE} 127.0.0.1/32 cert"));
    let root = authority.root.cert();
    let encrypted = [
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", root.as_str()),
    ];
    refused(
        &server,
        &encrypted,
        "connection requires a valid client certificate",
    );
    let with = |cert: &str, key: &str, check: &Check<'_>| {
        check(
            &[
                &encrypted[..],
                &[("DB_SSL_CERT", cert), ("DB_SSL_KEY", key)],
            ]
            .concat(),
        );
    };
    let works = |more: &[(&str, &str)]| logs_in(&server, more);

    let subject = format!("/CN={ROLE}");
    let issue = |name: &str, kind: &[&str]| authority.issue(name, kind, &subject, None, &[]);
    let (rsa, ecdsa) = (issue("rsa", RSA), issue("ecdsa", ECDSA));
    let pkcs1 = authority.convert(&rsa.key, "pkcs1.key", "rsa", &["-traditional"]);
    let sec1 = authority.convert(&ecdsa.key, "sec1.key", "ec", &[]);
    for (key, form) in [
        (&rsa.key(), "BEGIN PRIVATE KEY"),
        (&pkcs1, "BEGIN RSA PRIVATE KEY"),
        (&sec1, "BEGIN EC PRIVATE KEY"),
    ] {
        let text = std::fs::read_to_string(key).unwrap();
        assert!(text.contains(form), "{text}");
    }
    with(&rsa.cert(), &rsa.key(), &works);
    with(&rsa.cert(), &pkcs1, &works);
    with(&ecdsa.cert(), &ecdsa.key(), &works);
    with(&ecdsa.cert(), &sec1, &works);

    // Another role's.
    let other = authority.issue("other", ECDSA, "/CN=somebody", None, &[]);
    let stranger = |more: &[(&str, &str)]| {
        refused(&server, more, "certificate authentication failed for user");
    };
    with(&other.cert(), &other.key(), &stranger);
    // A certificate of an unknown issuer: the server names that, or closes before its alert was read.
    let own = authority.self_signed("self", ECDSA, &subject, &[]);
    with(&own.cert(), &own.key(), &|more| {
        let error = error(&server, more);
        let text = error.to_string();
        assert!(
            text.contains("UnknownCA") || error.remedy() == Remedy::Retry,
            "{text}"
        );
    });
}

#[test]
fn files_that_do_not_go_together_are_refused_and_not_repeated() {
    let authority = Authority::new(RSA);
    let server = start(16, &authority.server("server", RSA));
    let root = authority.root.cert();
    let subject = format!("/CN={ROLE}");
    let issue = |name: &str, kind: &[&str]| authority.issue(name, kind, &subject, None, &[]);
    let (rsa, ecdsa) = (issue("rsa", RSA), issue("ecdsa", ECDSA));
    let key_text = std::fs::read_to_string(&rsa.key).unwrap();
    let body = key_text.lines().nth(2).unwrap();
    let passphrase = ["-aes256", "-passout", "pass:s3cret"];
    let locked = authority.convert(&rsa.key, "locked.key", "pkey", &passphrase);
    let cut = authority.file("cut.key", &key_text.as_bytes()[..key_text.len() - 40]);
    let old_locked = [&passphrase[..], &["-traditional"]].concat();
    let old_locked = authority.convert(&rsa.key, "old.key", "rsa", &old_locked);
    for (cert, key, wanted) in [
        (
            rsa.cert(),
            ecdsa.key(),
            "DB_SSL_KEY names holds the key of another certificate",
        ),
        (
            rsa.cert(),
            locked,
            "DB_SSL_KEY names holds an encrypted key",
        ),
        (
            rsa.cert(),
            old_locked,
            "DB_SSL_KEY names holds an encrypted key",
        ),
        (rsa.cert(), cut, "DB_SSL_KEY names holds no private key"),
        (
            rsa.cert(),
            rsa.cert(),
            "DB_SSL_KEY names holds no private key",
        ),
        (
            rsa.key(),
            rsa.key(),
            "DB_SSL_CERT names holds no certificate",
        ),
    ] {
        let error = error(
            &server,
            &[
                ("DB_SSL_MODE", "verify-full"),
                ("DB_SSL_ROOT_CERT", root.as_str()),
                ("DB_SSL_CERT", cert.as_str()),
                ("DB_SSL_KEY", key.as_str()),
            ],
        );
        let text = error.to_string();
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains(body) && !text.contains("s3cret"), "{text}");
        assert_eq!(error.remedy(), Remedy::Stop(Exit::Config), "{text}");
    }
    let empty = authority.file("empty.crt", b"nothing");
    let mut zemi = Zemi::start(&role(
        &server,
        &[
            ("DB_SSL_MODE", "verify-ca"),
            ("DB_SSL_ROOT_CERT", empty.as_str()),
        ],
    ));
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78), "{}", zemi.log());
    let wanted = "the file that DB_SSL_ROOT_CERT names holds no certificate";
    assert!(zemi.log().contains(wanted), "{}", zemi.log());
}
