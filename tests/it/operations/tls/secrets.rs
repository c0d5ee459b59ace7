//! What is said about encrypted lines, and that no secret is in it.

use super::authority::{Authority, ECDSA};
use super::server::{ask_clients, start};
use crate::support::scene::{PATIENCE, settings, streaming};
use crate::support::{Sql, Zemi};

#[test]
fn check_says_how_each_side_is_encrypted_and_until_when() {
    let authority = Authority::new(ECDSA);
    let server = start(18, &authority.server("server", ECDSA));
    ask_clients(&server, &authority.root.cert);
    let client = authority.issue("client", ECDSA, "/CN=postgres", None, &["-days", "400"]);
    let mut settings = settings(&server, None);
    settings.extend(
        [
            ("DB_SSL_MODE", "verify-full"),
            ("DB_SSL_ROOT_CERT", &authority.root.cert()),
            ("DB_SSL_CERT", &client.cert()),
            ("DB_SSL_KEY", &client.key()),
            ("DEST_DB_SSL_MODE", "require"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let today = Sql::open(&server, "postgres").value("SELECT current_date + 30");
    let (code, out, errors) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{out}{errors}");
    for line in [
        "ok    source       TLS 1.3, mode verify-full".to_owned(),
        "ok    source       the client certificate is valid until".to_owned(),
        // It is given for 30 days, and it is a moment old.
        format!("warn  source       the server's certificate expires on {today}"),
        // A root certificate was given, and so it is verified.
        "ok    destination  TLS 1.3, mode require".to_owned(),
    ] {
        assert!(out.contains(&line), "{line}\n{out}");
    }
    settings.retain(|(name, _)| name != "DB_SSL_ROOT_CERT");
    settings.push(("DB_SSL_MODE".into(), "require".into()));
    let (code, out, errors) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(
        out.contains("the server's identity is not verified"),
        "{out}"
    );

    // As much as it ever says, with passwords, keys and certificates in use.
    settings.push(("LOG_LEVEL".into(), "trace".into()));
    let mut zemi = streaming(&settings);
    zemi.stop();
}

#[test]
#[should_panic(expected = "the secret \"s3cret-of-app\" is in this")]
fn a_log_that_holds_a_password_fails_the_test() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo the password is s3cret-of-app >&2"]);
    command.env("DB_PASSWORD", "s3cret-of-app");
    let mut process = Zemi::spawn(command);
    process.wait_exit(PATIENCE);
}
