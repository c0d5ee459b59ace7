//! What the Zig program of the same name takes, and how it is meant here.

use super::*;

#[test]
fn zero_is_no_port_and_no_limit() {
    let off = config(&[("HEALTH_PORT", "0"), ("METRICS_PORT", "0")]);
    assert_eq!((off.health_port, off.metrics_port), (None, None));
    let one = config(&[("HEALTH_PORT", "0"), ("METRICS_PORT", "8081")]);
    assert_eq!((one.health_port, one.metrics_port), (None, Some(8081)));
    let limit = |text| config(&[("CONNECT_TIMEOUT", text)]).connect_timeout;
    assert!(limit("0") > Duration::from_secs(300 * 86_400));
    assert!(std::time::Instant::now().checked_add(limit("0")).is_some());
    assert_eq!(limit("1"), Duration::from_secs(1));
    assert_eq!(limit("86400"), Duration::from_secs(86_400));
}

#[test]
fn empty_entries_of_lists_are_passed_over() {
    let config = config(&[
        ("TABLES", ", a,, \tb ,"),
        ("EXCLUDE_TABLES", "c,"),
        ("EXCLUDE_COLUMNS", ",a.x,,b.y"),
        ("HASH_COLUMNS", "a.z, ,"),
        ("HASH_KEY", KEY),
    ]);
    let tables = config.tables.unwrap();
    let shown: Vec<String> = tables.iter().map(Pattern::to_string).collect();
    assert_eq!(shown, ["a", "b"]);
    assert_eq!(config.exclude_tables.len(), 1);
    assert_eq!(config.exclude_columns.len(), 2);
    assert!(config.exclude_columns[1].matches("public", "b", "y"));
    assert_eq!(config.hash_columns.len(), 1);
    let nothing = [("EXCLUDE_TABLES", ","), ("EXCLUDE_COLUMNS", " , ")];
    assert_eq!(super::config(&nothing), super::config(&[]));
}

#[test]
fn upper_case_in_the_slots_name_is_folded_with_a_warning() {
    let (config, warnings) = read(&[("SLOT_NAME", "My_Slot_1")]).unwrap();
    assert_eq!(config.slot_name, "my_slot_1");
    assert_eq!(
        warnings,
        [
            "SLOT_NAME is \"My_Slot_1\": names of slots are in lower case, so the slot is \"my_slot_1\""
        ]
    );
}

#[test]
fn the_publications_name_is_kept_with_what_sql_makes_of_it() {
    let long = "P".repeat(63);
    for (text, name, folded) in [
        ("zemi", "zemi", None),
        ("MyPub", "MyPub", Some("mypub")),
        ("ÄPub", "ÄPub", Some("Äpub")),
        ("\"MyPub\"", "MyPub", None),
        ("\"my pub\"", "my pub", None),
        ("\"a\"\"B\"", "a\"B", None),
        ("a\"B", "a\"B", Some("a\"b")),
        ("\"", "\"", None),
        (&long, &long, Some(&"p".repeat(63))),
        (&format!("\"{long}\""), &long, None),
    ] {
        let config = config(&[("PUBLICATION_NAME", text)]);
        assert_eq!(config.publication_name, name, "{text}");
        assert_eq!(config.publication_folded.as_deref(), folded, "{text}");
    }
}

#[test]
fn root_certificates_of_a_line_in_plain_text_get_a_warning() {
    for name in ["DB_SSL_ROOT_CERT", "DESTINATION_DB_SSL_ROOT_CERT"] {
        let (with, warnings) = read(&[(name, "/no/such/file")]).unwrap();
        assert_eq!(with, config(&[]));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let begin = format!("{name} has no effect, and the connection is not encrypted: ");
        assert!(warnings[0].starts_with(&begin), "{warnings:?}");
        assert!(!warnings[0].contains("such"), "{warnings:?}");
    }
}
