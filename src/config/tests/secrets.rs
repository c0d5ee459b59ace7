//! Passwords and keys: where they come from, and that nothing shows them.

use super::*;

#[test]
fn passwords_come_from_files_too_and_from_one_place_only() {
    let file = File::new("password", b"from file\n");
    let missing = format!("{}-missing", file.path());
    let from_file = config(&[("DB_PASSWORD_FILE", file.path())]);
    let expected = given("from file");
    assert_eq!(from_file.source.password, expected);
    assert_eq!(from_file.destination.password, expected);
    for name in ["DEST_DB_PASSWORD_FILE", "DESTINATION_DB_PASSWORD_FILE"] {
        let config = config(&[(name, file.path()), ("DB_PASSWORD", "direct")]);
        assert_eq!(config.source.password, given("direct"));
        assert_eq!(config.destination.password, expected, "{name}");
    }
    let own = config(&[
        ("DB_PASSWORD_FILE", file.path()),
        ("DEST_DB_PASSWORD", "own"),
    ]);
    assert_eq!(own.destination.password, given("own"));

    assert_eq!(
        refusal(&[("DB_PASSWORD", "x"), ("DB_PASSWORD_FILE", file.path())]),
        "DB_PASSWORD and DB_PASSWORD_FILE are both set: expected one"
    );
    assert_eq!(
        refusal(&[
            ("DESTINATION_DB_PASSWORD", "x"),
            ("DEST_DB_PASSWORD_FILE", file.path())
        ]),
        "DESTINATION_DB_PASSWORD and DEST_DB_PASSWORD_FILE are both set: expected one"
    );
    let text = refusal(&[("DB_PASSWORD_FILE", &missing)]);
    assert!(
        text.starts_with("the file that DB_PASSWORD_FILE names cannot be read: "),
        "{text}"
    );
    assert!(!text.contains("missing"), "{text}");
    let zero = File::new("zero-password", b"a\0b");
    let text = refusal(&[("DB_PASSWORD_FILE", zero.path())]);
    assert!(text.starts_with("DB_PASSWORD_FILE is not usable"), "{text}");
}

#[test]
fn an_empty_password_is_none_and_tells_where_it_was_empty() {
    let none = |setting: &str| Password::None {
        setting: setting.into(),
    };
    let both = config(&[("DB_PASSWORD", "")]);
    assert_eq!(both.source.password, none("DB_PASSWORD"));
    assert_eq!(both.destination.password, none("DB_PASSWORD"));
    let own = config(&[("DB_PASSWORD", ""), ("DEST_DB_PASSWORD", "own")]);
    assert_eq!(own.source.password, none("DB_PASSWORD"));
    assert_eq!(own.destination.password, given("own"));
    for name in ["DEST_DB_PASSWORD", "DESTINATION_DB_PASSWORD"] {
        let one = config(&[("DB_PASSWORD", "direct"), (name, "")]);
        assert_eq!(one.source.password, given("direct"));
        assert_eq!(one.destination.password, none(name));
    }
    // Another value counts, under whatever name.
    let file = File::new("beside-empty", b"from file");
    let from_file = config(&[("DB_PASSWORD", ""), ("DB_PASSWORD_FILE", file.path())]);
    assert_eq!(from_file.source.password, given("from file"));
    let two = config(&[("DEST_DB_PASSWORD", ""), ("DESTINATION_DB_PASSWORD", "own")]);
    assert_eq!(two.destination.password, given("own"));

    let empty = File::new("empty-password", b"\n");
    let from_file = config(&[("DEST_DB_PASSWORD_FILE", empty.path())]);
    assert_eq!(from_file.source.password, given("postgres"));
    let expected = none("DEST_DB_PASSWORD_FILE");
    assert_eq!(from_file.destination.password, expected);
    assert_eq!(
        config(&[("DB_PASSWORD_FILE", "")]).source.password,
        given("postgres")
    );
}

#[test]
fn hashed_columns_and_a_key_go_together() {
    let columns = ("HASH_COLUMNS", "users.email");
    let file = File::new("key", b"0123456789abcdef\xff\r\n");
    let short_file = File::new("short-key", b"0123456789abcde\n");
    let empty_file = File::new("empty-key", b"\n");
    let from_file = config(&[columns, ("HASH_KEY_FILE", file.path())]);
    assert_eq!(
        from_file.hash_key.unwrap().expose(),
        b"0123456789abcdef\xff"
    );

    assert_eq!(
        refusal(&[columns]),
        "HASH_COLUMNS is set: expected HASH_KEY or HASH_KEY_FILE with it"
    );
    assert_eq!(
        refusal(&[columns, ("HASH_KEY", KEY), ("HASH_KEY_FILE", file.path())]),
        "HASH_KEY and HASH_KEY_FILE are both set: expected one"
    );
    let short = "is not usable (its value is not shown): expected a key of at least 16 bytes";
    assert_eq!(
        refusal(&[columns, ("HASH_KEY", "0123456789abcde")]),
        format!("HASH_KEY {short}")
    );
    assert_eq!(
        refusal(&[columns, ("HASH_KEY_FILE", short_file.path())]),
        format!("HASH_KEY_FILE {short}")
    );
    assert_eq!(
        refusal(&[columns, ("HASH_KEY_FILE", empty_file.path())]),
        format!("HASH_KEY_FILE {short}")
    );
    let text = refusal(&[columns, ("HASH_KEY_FILE", "/no/such/file")]);
    assert!(
        text.starts_with("the file that HASH_KEY_FILE names cannot be read"),
        "{text}"
    );

    for (name, text) in [("HASH_KEY", KEY), ("HASH_KEY_FILE", file.path())] {
        let (_, warnings) = read(&[(name, text)]).unwrap();
        assert_eq!(
            warnings,
            [format!(
                "{name} has no effect: HASH_COLUMNS names no columns to hash"
            )]
        );
    }
}

#[test]
fn no_secret_is_in_debug_nor_in_any_refusal() {
    let secrets = [
        ("DB_PASSWORD", "hunter2-source"),
        ("DEST_DB_PASSWORD", "hunter2-destination"),
        ("HASH_KEY", "hunter2-key-0123456789"),
        ("HASH_COLUMNS", "users.email"),
    ];
    let config = config(&secrets);
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    assert!(format!("{config:?}").contains("<secret>"));
    for bad in [
        ("DB_HOST", "postgres://app:hunter2@db/shop"),
        ("DB_HOST", "app:hunter2@db"),
        ("DB_NAME", "postgresql://app:hunter2@db/shop"),
        ("DB_USER", "postgres://app:hunter2@db/shop"),
        ("DB_PASSWORD", "hunter2\0"),
        ("DB_PASSWORD_FILE", "hunter2"),
        ("DEST_DB_PASSWORD", "hunter2\0"),
        ("DB_SSL_KEY", "-----BEGIN hunter2"),
        ("HASH_KEY", "hunter2"),
        ("HASH_KEY_FILE", "hunter2"),
    ] {
        let text = refusal(&[&[bad], &secrets[3..]].concat());
        assert!(text.contains(bad.0), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
