//! The encryption of a connection, the verification of the server, and the expiry of certificates.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::finding::Findings;
use crate::calendar::Date;
use crate::config::{Endpoint, Host};
use crate::wire::Encryption;

/// A certificate that expires within this time is a warning: 30 days.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Adds findings about the connection; `encryption` is `None` for plain text and Unix sockets.
pub fn check(
    endpoint: &Endpoint,
    encryption: Option<&Encryption>,
    about: &'static str,
    findings: &mut Findings,
) {
    check_at(endpoint, encryption, about, SystemTime::now(), findings);
}

fn check_at(
    endpoint: &Endpoint,
    encryption: Option<&Encryption>,
    about: &'static str,
    now: SystemTime,
    findings: &mut Findings,
) {
    let mode = endpoint.tls.mode;
    let Some(encryption) = encryption else {
        return match &endpoint.host {
            Host::Unix(_) => {
                findings.ok(about, "a Unix socket: not encrypted, and not on a network")
            }
            Host::Tcp(host) if is_this_host(host) => {
                findings.ok(about, "mode disable: not encrypted, on this host");
            }
            Host::Tcp(_) => findings.warn(
                about,
                "mode disable: password and rows can be read on the way",
                "DB_SSL_MODE=verify-full (DEST_DB_SSL_MODE for the destination)",
            ),
        };
    };
    let found = format!("{}, mode {mode}", encryption.version);
    if encryption.verified {
        findings.ok(about, found);
    } else {
        findings.warn(
            about,
            format!("{found}: encrypted, but the server's identity is not verified"),
            "DB_SSL_MODE=verify-full (DEST_DB_SSL_MODE for the destination)",
        );
    }
    for (whose, ends) in [
        ("the server's certificate", encryption.server_ends),
        ("the client certificate", encryption.client_ends),
    ] {
        let Some(ends) = ends else {
            continue;
        };
        let ends = u64::try_from(ends).unwrap_or(0);
        let day = Date::of_unix_seconds(ends);
        let ends = UNIX_EPOCH + Duration::from_secs(ends);
        if ends < now {
            findings.warn(about, format!("{whose} has expired on {day}"), "renew it");
        } else if ends < now + EXPIRES_SOON {
            findings.warn(about, format!("{whose} expires on {day}"), "renew it");
        } else {
            findings.ok(about, format!("{whose} is valid until {day}"));
        }
    }
}

fn is_this_host(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    fn said(vars: &[(&str, &str)], encryption: Option<&Encryption>) -> String {
        let vars = vars.iter().map(|(name, text)| (name.into(), text.into()));
        let endpoint = Config::from_vars(vars).unwrap().0.source;
        let mut findings = Findings::default();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        check_at(&endpoint, encryption, "source", now, &mut findings);
        findings.text()
    }

    #[test]
    fn plain_text_is_worth_a_warning_where_others_are_on_the_line() {
        assert!(said(&[("DB_HOST", "::1")], None).starts_with("ok "));
        assert!(said(&[("DB_HOST", "/run/pg")], None).starts_with("ok "));
        assert!(said(&[("DB_HOST", "10.0.0.1")], None).starts_with("warn "));
    }

    #[test]
    fn the_end_of_each_certificate_is_named() {
        let mut encryption = Encryption {
            version: "TLS 1.3",
            verified: true,
            server_ends: Some(1_800_000_000 + 31 * 86_400),
            client_ends: Some(1_800_000_000 + 29 * 86_400),
            end_point: None,
        };
        let mode = [("DB_SSL_MODE", "verify-full")];
        let text = said(&mode, Some(&encryption));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok    source       TLS 1.3, mode verify-full");
        assert_eq!(
            lines[1],
            "ok    source       the server's certificate is valid until 2027-02-15"
        );
        assert_eq!(
            lines[2],
            "warn  source       the client certificate expires on 2027-02-13 -> renew it"
        );
        encryption.verified = false;
        encryption.server_ends = Some(1_799_999_999);
        let text = said(&[("DB_SSL_MODE", "require")], Some(&encryption));
        assert!(
            text.contains("the server's identity is not verified"),
            "{text}"
        );
        assert!(
            text.contains("the server's certificate has expired on 2027-01-15"),
            "{text}"
        );
    }
}
