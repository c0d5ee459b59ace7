//! The encryption of both sides.

use super::*;

#[test]
fn each_side_has_its_own_encryption_or_the_sources() {
    let (root, cert, key) = (
        File::new("ca", b"a"),
        File::new("cert", b"b"),
        File::new("key", b"c"),
    );
    let source = [
        ("DB_SSL_MODE", "Verify-CA"),
        ("DB_SSL_ROOT_CERT", root.path()),
        ("DB_SSL_CERT", cert.path()),
        ("DB_SSL_KEY", key.path()),
    ];
    let both = config(&source);
    let file = |setting: &str, file: &File| PemFile {
        setting: setting.into(),
        path: file.path().into(),
    };
    let expected = Tls {
        mode: TlsMode::VerifyCa,
        root: Some(file("DB_SSL_ROOT_CERT", &root)),
        client: Some((file("DB_SSL_CERT", &cert), file("DB_SSL_KEY", &key))),
    };
    assert_eq!(both.source.tls, expected);
    assert_eq!(both.destination, both.source);

    let plain = config(&[&source[..], &[("DEST_DB_SSL_MODE", "disable")]].concat());
    assert_eq!(plain.source.tls, expected);
    assert_eq!(plain.destination.tls, Tls::default());

    for prefix in ["DEST_DB_", "DESTINATION_DB_"] {
        let mode = format!("{prefix}SSL_MODE");
        let name = format!("{prefix}SSL_ROOT_CERT");
        let own = config(&[&source[..], &[(&mode, "require"), (&name, key.path())]].concat());
        assert_eq!(own.destination.tls.mode, TlsMode::Require);
        assert_eq!(own.destination.tls.root, Some(file(&name, &key)));
        assert_eq!(own.destination.tls.client, expected.client);
        // Only the destination is encrypted.
        let own = config(&[(&mode, "verify-full")]);
        assert_eq!(own.source.tls, Tls::default());
        assert_eq!(own.destination.tls.mode, TlsMode::VerifyFull);
    }
}

#[test]
fn files_that_would_not_be_used_are_refused() {
    let file = File::new("pem", b"x");
    let missing = format!("{}-missing", file.path());
    for name in [
        "DB_SSL_ROOT_CERT",
        "DB_SSL_CERT",
        "DB_SSL_KEY",
        "DEST_DB_SSL_ROOT_CERT",
        "DESTINATION_DB_SSL_CERT",
        "DEST_DB_SSL_KEY",
    ] {
        if !name.contains("ROOT") {
            let text = refusal(&[(name, file.path())]);
            assert!(text.starts_with(&format!("{name} is set and ")), "{text}");
            assert!(
                text.ends_with("expected require, verify-ca or verify-full"),
                "{text}"
            );
        }
        let text = refusal(&[("DB_SSL_MODE", "require"), (name, &missing)]);
        let wanted = format!("the file that {name} names cannot be read: ");
        assert!(text.starts_with(&wanted), "{text}");
        assert!(!text.contains("missing"), "{text}");
    }
    let require = ("DB_SSL_MODE", "require");
    assert_eq!(
        refusal(&[require, ("DB_SSL_CERT", file.path())]),
        "DB_SSL_CERT is set: expected DB_SSL_KEY with it"
    );
    assert_eq!(
        refusal(&[require, ("DEST_DB_SSL_KEY", file.path())]),
        "DEST_DB_SSL_KEY is set: expected DEST_DB_SSL_CERT with it"
    );
}
