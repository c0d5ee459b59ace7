//! Changes that the walsender cannot send in the usual form: the stream goes on in another one, and back.

use std::time::Duration;

use crate::support::{Scene, Zemi, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often the stream has gone back to the usual form.
fn times_back(zemi: &Zemi) -> usize {
    zemi.log()
        .matches("what could not be sent as usual is behind")
        .count()
}

#[test]
fn a_text_that_cannot_be_converted_does_not_change_the_form_for_good() {
    let (mut scene, zemi) = Scene::one(15)
        .source_database(
            "shop",
            "ENCODING 'WIN1252' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    let insert = |id: u32, bytes: &str| format!("INSERT INTO t VALUES ({id}, E'{bytes}')");
    scene.sql.run("SET client_encoding = 'SQL_ASCII'");
    scene.sql.run(&insert(1, "caf\\xe9"));
    scene.caught_up();
    assert_eq!(times_back(&zemi), 0);
    scene.sql.run(&insert(2, "x\\x81\\xe9"));
    wait_until("the usual form", PATIENCE, || times_back(&zemi) == 1);
    scene.sql.run(&insert(3, "caf\\xe9"));
    scene.caught_up();
    assert_eq!(
        zemi.log().matches("cannot convert to UTF-8").count(),
        1,
        "{}",
        zemi.log()
    );
    assert_eq!(
        scene.changes("primary_key, after ->> 'v'"),
        "1|café\n2|x\u{FFFD}é\n3|café"
    );
}

#[test]
fn a_database_without_encoding_is_streamed_in_one_form() {
    let (mut scene, zemi) = Scene::one(15)
        .source_database(
            "shop",
            "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1, E'\\xe9'), (2, E'\\xc3\\xa9')");
    assert_eq!(
        scene.changes("primary_key, after ->> 'v'"),
        "1|\u{FFFD}\n2|é"
    );
    assert!(!zemi.log().contains("connecting again"), "{}", zemi.log());
}
