//! What is refused, and with which words.

use std::os::unix::ffi::OsStringExt;

use super::*;

#[test]
fn two_names_of_one_setting_may_not_differ() {
    let same = [("DEST_DB_HOST", "a"), ("DESTINATION_DB_HOST", "a")];
    assert_eq!(config(&same).destination.host, Host::Tcp("a".into()));
    let different = [("DESTINATION_DB_HOST", "b"), ("DEST_DB_HOST", "a")];
    assert_eq!(
        refusal(&different),
        "DEST_DB_HOST and DESTINATION_DB_HOST are two names of one setting and differ: \
         expected one of them"
    );
    let text = refusal(&[
        ("DEST_DB_PASSWORD", "hunter1"),
        ("DESTINATION_DB_PASSWORD", "hunter2"),
    ]);
    assert!(!text.contains("hunter"), "{text}");
    // Set but empty is unset.
    let one = [("DESTINATION_DB_HOST", "b"), ("DEST_DB_HOST", "")];
    assert_eq!(config(&one).destination.host, Host::Tcp("b".into()));
}

#[test]
// One table.
#[allow(clippy::too_many_lines)]
fn every_bad_value_is_refused_by_name_with_what_it_was_and_what_it_may_be() {
    let long_host = "h".repeat(254);
    let long_slot = "s".repeat(64);
    let long_publication = "p".repeat(64);
    let boolean = "true or false (1, 0, yes, no, on, off)";
    let tables = "expected a comma list of schema.table or table, * allowed";
    let columns = "expected a comma list of schema.table.column or table.column, * allowed";
    for (name, text, was, may_be) in [
        (
            "DB_PORT",
            "abc",
            "\"abc\"",
            "a whole number from 1 to 65535",
        ),
        ("DB_PORT", "0", "\"0\"", "a whole number from 1 to 65535"),
        (
            "DB_PORT",
            "65536",
            "\"65536\"",
            "a whole number from 1 to 65535",
        ),
        (
            "DB_PORT",
            "+5432",
            "\"+5432\"",
            "a whole number from 1 to 65535",
        ),
        ("DB_PORT", "-1", "\"-1\"", "a whole number from 1 to 65535"),
        (
            "DB_PORT",
            "_54",
            "\"_54\"",
            "a whole number from 1 to 65535",
        ),
        (
            "DB_PORT",
            "54_",
            "\"54_\"",
            "a whole number from 1 to 65535",
        ),
        ("DB_PORT", " ", "\" \"", "a whole number from 1 to 65535"),
        (
            "DB_PORT",
            "tcp://10.0.0.9:5432",
            "\"tcp://10.0.0.9:5432\"",
            "enableServiceLinks",
        ),
        (
            "DEST_DB_PORT",
            "x",
            "\"x\"",
            "a whole number from 1 to 65535",
        ),
        (
            "DESTINATION_DB_PORT",
            "x",
            "\"x\"",
            "a whole number from 1 to 65535",
        ),
        ("DB_HOST", "a,b", "\"a,b\"", "one name, one address"),
        ("DB_HOST", &long_host, "\"hhh", "one name, one address"),
        ("DB_HOST", "a b", "\"a b\"", "one name, one address"),
        ("DB_HOST", "db\r", "\"db\\r\"", "one name, one address"),
        (
            "DB_HOST",
            "db:5432",
            "\"db:5432\"",
            "the port has a setting of its own",
        ),
        ("DB_HOST", "[::1]", "\"[::1]\"", "IPv6 without brackets"),
        ("DB_HOST", "a\0b", "\"a\\0b\"", "without a zero byte"),
        ("DB_HOST", "run/pg", "\"run/pg\"", "absolute directory"),
        (
            "DB_NAME",
            "a\0b",
            "\"a\\0b\"",
            "the name of a database without a zero byte",
        ),
        (
            "DB_USER",
            "a\0b",
            "\"a\\0b\"",
            "the name of a role without a zero byte",
        ),
        ("DEST_DB_HOST", "a,b", "\"a,b\"", "one name, one address"),
        (
            "DEST_DB_NAME",
            "a\0b",
            "\"a\\0b\"",
            "the name of a database",
        ),
        ("DEST_DB_USER", "a\0b", "\"a\\0b\"", "the name of a role"),
        (
            "SLOT_NAME",
            "Zemí",
            "\"Zemí\"",
            "1 to 63 letters a-z, digits and underscores",
        ),
        ("SLOT_NAME", "a-b", "\"a-b\"", "1 to 63 letters a-z"),
        ("SLOT_NAME", &long_slot, "\"sss", "1 to 63 letters a-z"),
        (
            "PUBLICATION_NAME",
            &long_publication,
            "\"ppp",
            "1 to 63 bytes",
        ),
        (
            "PUBLICATION_NAME",
            "a\0",
            "\"a\\0\"",
            "1 to 63 bytes, none of them zero",
        ),
        ("PUBLICATION_NAME", "\"\"", "\"\\\"\\\"\"", "1 to 63 bytes"),
        (
            "LOG_LEVEL",
            "loud",
            "\"loud\"",
            "one of off, error, err, warn, info, debug, trace",
        ),
        ("LOG_FORMAT", "xml", "\"xml\"", "one of text, json"),
        ("CHANGES_FORMAT", "csv", "\"csv\"", "one of bemi, sql"),
        ("TABLES", " , ", "\" , \"", "expected one table at least"),
        ("TABLES", " ", "\" \"", "expected one table at least"),
        (
            "TABLES",
            "a.b.c",
            "\"a.b.c\", has more than two names",
            tables,
        ),
        (
            "EXCLUDE_TABLES",
            "a,,b.",
            "entry 3 of the list, \"b.\", has an empty name",
            tables,
        ),
        (
            "EXCLUDE_COLUMNS",
            "email",
            "\"email\", names no table",
            columns,
        ),
        (
            "HASH_COLUMNS",
            "a..b",
            "\"a..b\", has an empty name",
            columns,
        ),
        ("PUBLISH_VIA_PARTITION_ROOT", "maybe", "\"maybe\"", boolean),
        ("CLEANUP_ON_SHUTDOWN", "2", "\"2\"", boolean),
        ("JSON_TYPE_COERCION", "t", "\"t\"", boolean),
        (
            "DB_SSL_MODE",
            "prefer",
            "\"prefer\"",
            "one of disable, require, verify-ca, verify-full",
        ),
        (
            "DESTINATION_DB_SSL_MODE",
            "verify_full",
            "\"verify_full\"",
            "one of disable, require, verify-ca, verify-full",
        ),
        (
            "GIN_PENDING_LIST_LIMIT",
            "63",
            "\"63\"",
            "a whole number from 64 to 2097151",
        ),
        (
            "GIN_PENDING_LIST_LIMIT",
            "4MB",
            "\"4MB\"",
            "Hint: the unit is kB",
        ),
        (
            "SHUTDOWN_TIMEOUT",
            "86401",
            "\"86401\"",
            "a whole number from 0 to 86400",
        ),
        (
            "SHUTDOWN_TIMEOUT",
            "30s",
            "\"30s\"",
            "Hint: the unit is seconds",
        ),
        (
            "CONNECT_TIMEOUT",
            "86401",
            "\"86401\"",
            "a whole number from 0 to 86400",
        ),
        (
            "MAX_TRANSACTION_CHANGES",
            "many",
            "\"many\"",
            "a whole number from 0",
        ),
        ("QUERY_TIMEOUT", "30s", "\"30s\"", "a whole number from 0"),
        (
            "QUERY_TIMEOUT",
            "99999999999999999999",
            "\"9999",
            "a whole number from 0",
        ),
    ] {
        let message = refusal(&[(name, text)]);
        assert!(message.starts_with(name), "{message}");
        assert!(message.contains(was), "{message} lacks {was}");
        assert!(message.contains(may_be), "{message} lacks {may_be}");
    }
}

#[test]
fn settings_without_their_feature_are_refused_unless_they_ask_for_nothing() {
    for (name, text, expected) in [
        ("HEALTH_PORT", "65536", "a whole number from 0 to 65535"),
        ("METRICS_PORT", "http", "a whole number from 0 to 65535"),
        ("HTTP_BIND", "example.org", "an IPv4 or IPv6 address"),
        (
            "INITIAL_SNAPSHOT",
            "yes",
            "false, since this version has no initial snapshot yet",
        ),
        ("INITIAL_SNAPSHOT", "maybe", "true or false"),
        ("SLOT_FAILOVER", "maybe", "true or false"),
    ] {
        let message = refusal(&[(name, text)]);
        assert!(message.starts_with(name), "{message}");
        assert!(
            message.contains(&format!("expected {expected}")),
            "{message}"
        );
    }
    let asks_for_nothing = [("INITIAL_SNAPSHOT", "off")];
    assert_eq!(config(&asks_for_nothing), config(&[]));
}

#[test]
fn a_value_that_is_not_utf8_is_refused_by_name_where_it_is_ours() {
    let not_utf8 = |name: &str| [(name.into(), OsString::from_vec(b"caf\xe9".to_vec()))];
    for setting in SETTINGS {
        let error = Config::from_vars(not_utf8(setting.name)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{} is not UTF-8", setting.name)),
            "{text}"
        );
        assert!(!text.contains("caf"), "{text}");
        assert_eq!(error.kind(), Kind::Setting);
    }
    assert!(Config::from_vars(not_utf8("LANG")).is_ok());
    let name = OsString::from_vec(b"DB_\xff".to_vec());
    assert!(Config::from_vars([(name, "x".into())]).is_ok());
}
