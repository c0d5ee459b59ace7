//! Databases whose text is not UTF-8: it arrives as characters where it stands for any, and the stream
//! goes on where it does not.

use crate::support::{Scene, Zemi};

/// What the databases of the tests have beside their encoding, which no locale fits.
const PLAIN: &str = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";

/// Follows a database of this encoding on one server, into a UTF8 database beside it. The statements of
/// the tests are plain ASCII: their bytes come from escapes.
fn encoded(encoding: &str) -> (Scene, Zemi) {
    Scene::one(15)
        .source_database("shop", &format!("ENCODING '{encoding}' {PLAIN}"))
        .before("SET client_encoding = 'SQL_ASCII'; CREATE TABLE t (id int PRIMARY KEY, v text)")
        .streaming()
}

/// A table and a column with these bytes in their names, and a row with others.
fn make_and_fill(scene: &mut Scene, table: &str, column: &str, value: &str) {
    scene.sql.run(&format!(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I (%I text PRIMARY KEY, n int)', E'{table}', \
         E'{column}'); EXECUTE format('INSERT INTO %I VALUES (%L, 1)', E'{table}', E'{value}'); \
         EXECUTE format('UPDATE %I SET n = 2', E'{table}'); END $$"
    ));
}

/// How often the log names the relation as one with bytes that stand for no character.
fn warned(zemi: &Zemi, relation: &str) -> usize {
    let wanted = format!("{relation} holds text with bytes that stand for no character");
    zemi.log().matches(&wanted).count()
}

#[test]
fn latin1_is_converted_by_the_server() {
    let (mut scene, zemi) = encoded("LATIN1");
    scene.sql.run("INSERT INTO t VALUES (1, E'caf\\xe9 \\xff')");
    make_and_fill(&mut scene, "\\xe9t\\xe9", "cl\\xe9", "\\xfc");
    assert_eq!(
        scene.changes("operation, \"table\", primary_key, after"),
        "CREATE|t|1|{\"v\": \"café ÿ\", \"id\": 1}\n\
         CREATE|été|ü|{\"n\": 1, \"clé\": \"ü\"}\n\
         UPDATE|été|ü|{\"n\": 2, \"clé\": \"ü\"}"
    );
    assert!(!zemi.log().contains(" WARN "), "{}", zemi.log());
}

#[test]
fn bytes_of_win1252_that_stand_for_nothing_are_replaced_and_all_others_kept() {
    let (mut scene, zemi) = encoded("WIN1252");
    scene
        .sql
        .run("INSERT INTO t VALUES (1, E'5 \\x80 caf\\xe9')");
    scene.sql.run("INSERT INTO t VALUES (2, E'x\\x81y\\xe9')");
    scene
        .sql
        .run("INSERT INTO t VALUES (3, E'5 \\x80 caf\\xe9'), (4, E'\\x8d')");
    // The context comes as bytes, too.
    scene.sql.run(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', E'{\"user\": \"Ren\\xe9\"}'); \
         DELETE FROM t WHERE id = 4; COMMIT",
    );
    make_and_fill(&mut scene, "\\xe9t\\xe9", "cl\\xe9", "\\xfc");
    assert_eq!(
        scene.changes("operation, \"table\", primary_key, after, context"),
        "CREATE|t|1|{\"v\": \"5 € café\", \"id\": 1}|{}\n\
         CREATE|t|2|{\"v\": \"x\u{FFFD}yé\", \"id\": 2}|{}\n\
         CREATE|t|3|{\"v\": \"5 € café\", \"id\": 3}|{}\n\
         CREATE|t|4|{\"v\": \"\u{FFFD}\", \"id\": 4}|{}\n\
         DELETE|t|4|{}|{\"user\": \"René\"}\n\
         CREATE|été|ü|{\"n\": 1, \"clé\": \"ü\"}|{}\n\
         UPDATE|été|ü|{\"n\": 2, \"clé\": \"ü\"}|{}"
    );
    assert_eq!(warned(&zemi, "public.t"), 1, "{}", zemi.log());
    assert_eq!(warned(&zemi, "public.été"), 0, "{}", zemi.log());
}

#[test]
fn names_of_win1252_with_bytes_that_stand_for_nothing_do_not_stop_the_stream() {
    let (mut scene, _zemi) = encoded("WIN1252");
    make_and_fill(&mut scene, "t\\x81", "c\\x8d", "v");
    scene.sql.run("INSERT INTO t VALUES (1, E'caf\\xe9')");
    assert_eq!(
        scene.changes("\"table\", primary_key, after"),
        "t\u{FFFD}|v|{\"n\": 1, \"c\u{FFFD}\": \"v\"}\n\
         t\u{FFFD}|v|{\"n\": 2, \"c\u{FFFD}\": \"v\"}\n\
         t|1|{\"v\": \"café\", \"id\": 1}"
    );
}

#[test]
fn sql_ascii_is_utf8_where_it_is_valid() {
    let (mut scene, zemi) = encoded("SQL_ASCII");
    scene.sql.run("INSERT INTO t VALUES (1, E'caf\\xc3\\xa9')");
    scene
        .sql
        .run("INSERT INTO t VALUES (2, E'caf\\xe9!'), (3, E'\\xe9\\xc3\\xa9')");
    make_and_fill(&mut scene, "\\xc3\\xa9t\\xe9", "cl\\xff", "\\xc3\\xbc");
    scene.sql.run("INSERT INTO t VALUES (4, E'caf\\xe9!')");
    assert_eq!(
        scene.changes("operation, \"table\", primary_key, after"),
        "CREATE|t|1|{\"v\": \"café\", \"id\": 1}\n\
         CREATE|t|2|{\"v\": \"caf\u{FFFD}!\", \"id\": 2}\n\
         CREATE|t|3|{\"v\": \"\u{FFFD}é\", \"id\": 3}\n\
         CREATE|ét\u{FFFD}|ü|{\"n\": 1, \"cl\u{FFFD}\": \"ü\"}\n\
         UPDATE|ét\u{FFFD}|ü|{\"n\": 2, \"cl\u{FFFD}\": \"ü\"}\n\
         CREATE|t|4|{\"v\": \"caf\u{FFFD}!\", \"id\": 4}"
    );
    assert_eq!(warned(&zemi, "public.t"), 1, "{}", zemi.log());
}

#[test]
fn a_start_in_a_database_with_such_names_works() {
    let (mut scene, mut zemi) = encoded("SQL_ASCII");
    make_and_fill(&mut scene, "t\\xe9", "c\\xe9", "\\xe9");
    scene.caught_up();
    zemi.kill();
    let _zemi = scene.start();
    scene.sql.run("INSERT INTO t VALUES (9, E'\\xe9')");
    assert!(scene.changes("primary_key").ends_with("\n9"));
}
