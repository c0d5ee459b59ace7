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

/// Names of WIN1251 with the byte 0x98, which is no character, amid Cyrillic ones: of a table, of columns, of
/// a composite type and its attribute, and in the bounds of a partition. The key has another order than the
/// table.
const NAMES_OF_WIN1251: &str = "DO $$ BEGIN \
    EXECUTE format('CREATE TYPE %I AS (%I int, %I text)', E'\\xf2\\x98', E'\\xe0\\x98', E'\\xe1'); \
    EXECUTE format('CREATE TABLE %I (id int, %I text, %I text, v %I, PRIMARY KEY (%I, %I))', \
      E'\\xe7\\x98', E'\\xeb\\x98', E'\\xed', E'\\xf2\\x98', E'\\xed', E'\\xeb\\x98'); \
    EXECUTE format('INSERT INTO %I VALUES (1, %L, %L, ROW(1, %L))', \
      E'\\xe7\\x98', E'\\xf1\\x98', E'\\xef', E'\\xff'); \
    CREATE TABLE parted (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k); \
    CREATE TABLE other PARTITION OF parted FOR VALUES IN ('o'); \
    EXECUTE format('CREATE TABLE part PARTITION OF parted FOR VALUES IN (%L)', E'\\xe9\\x98'); \
    EXECUTE format('INSERT INTO part VALUES (1, %L)', E'\\xe9\\x98'); TRUNCATE part; END $$";

#[test]
fn names_of_win1251_keep_all_that_are_characters() {
    let (mut scene, mut zemi) = encoded("WIN1251");
    scene.sql.run(NAMES_OF_WIN1251);
    let columns = "operation, \"table\", primary_key, after, context";
    let expected = "CREATE|з\u{FFFD}|п,с\u{FFFD}|{\"v\": {\"б\": \"я\", \"а\u{FFFD}\": 1}, \"id\": 1, \
         \"н\": \"п\", \"л\u{FFFD}\": \"с\u{FFFD}\"}|{}\n\
         CREATE|parted|1,й\u{FFFD}|{\"k\": \"й\u{FFFD}\", \"id\": 1}|{}\n\
         TRUNCATE|part|-|{}|{\"zemi_partition\": {\"table\": \"parted\", \
         \"bounds\": \"((k IS NOT NULL) AND (k = 'й\u{FFFD}'::text))\", \"schema\": \"public\"}}";
    assert_eq!(scene.changes(columns), expected);
    // The catalog holds such names at the next start, too.
    zemi.stop();
    let zemi = scene.start();
    scene.sql.run("INSERT INTO t VALUES (1, E'\\xff')");
    let last = scene.changes_of("t", "after");
    assert_eq!(last, "{\"v\": \"я\", \"id\": 1}");
    assert!(!zemi.log().contains("trying again"), "{}", zemi.log());
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

#[test]
fn a_list_of_tables_in_a_database_with_such_names_is_followed() {
    let (mut scene, mut zemi) = encoded("WIN1251");
    scene.sql.run(NAMES_OF_WIN1251);
    scene.sql.run(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I (%I int)', E'\\xe9', E'\\xe9'); \
         EXECUTE format('CREATE TABLE %I (%I int PRIMARY KEY, n int)', E'\\xe6\\xe6', E'\\xe9'); END $$",
    );
    scene.caught_up();
    zemi.stop();
    let zemi = scene.start_with(&[("TABLES", "t,жж,й"), ("EXCLUDE_COLUMNS", "жж.n")]);
    scene.sql.run(
        "DO $$ BEGIN EXECUTE format('INSERT INTO %I VALUES (1, 1)', E'\\xe6\\xe6'); \
         EXECUTE format('UPDATE %I SET %I = 2', E'\\xe6\\xe6', E'\\xe9'); \
         EXECUTE format('INSERT INTO %I VALUES (1)', E'\\xe9'); END $$; INSERT INTO t VALUES (1, E'\\xff')",
    );
    let here = "\"table\" <> 'parted' AND transaction_id > (SELECT max(transaction_id) FROM \
                public.changes WHERE \"table\" = 'part')";
    assert_eq!(
        scene.changes_where(here, "operation, \"table\", primary_key, after"),
        "CREATE|жж|1|{\"й\": 1}\nUPDATE|жж|2|{\"й\": 2}\nCREATE|й|-|{\"й\": 1}\n\
         CREATE|t|1|{\"v\": \"я\", \"id\": 1}"
    );
    let log = zemi.log();
    assert!(!log.contains("matches no table"), "{log}");
    assert!(
        log.contains("ALTER TABLE \"public\".\"й\" REPLICA IDENTITY FULL"),
        "{log}"
    );
}

#[test]
fn values_of_other_types_are_right_beside_a_text_that_cannot_be_converted() {
    let (mut scene, zemi) = encoded("WIN1251");
    scene.sql.run(
        "CREATE EXTENSION hstore; \
         DO $$ BEGIN EXECUTE format('CREATE TYPE light AS ENUM (%L, %L)', \
           E'\\xea\\xf0', E'\\xe6\\x98'); END $$; \
         CREATE FUNCTION light_json(light) RETURNS json LANGUAGE sql STABLE AS \
           $$ SELECT json_build_object('l', $1::text) $$; \
         CREATE CAST (light AS json) WITH FUNCTION light_json(light); \
         CREATE TYPE pair AS (l light, h hstore, j json); \
         CREATE TABLE v (id int PRIMARY KEY, l light, p pair, ps pair[], t text)",
    );
    // A table beside it tells what to_jsonb says: in the same session, but in UTF-8.
    scene.sql.run(
        "DO $$ DECLARE kr text := E'\\xea\\xf0'; p pair; BEGIN \
         p := ROW(kr::light, hstore(kr, kr), to_json(kr))::pair; \
         INSERT INTO t VALUES (1, E'x\\x98\\xea'); \
         INSERT INTO v VALUES (1, kr::light, p, ARRAY[p, NULL], kr); \
         INSERT INTO v VALUES (2, E'\\xe6\\x98', NULL, NULL, kr); END $$",
    );
    let found = scene.changes("\"table\", primary_key, after");
    scene.sql.run("SET client_encoding = 'UTF8'");
    let said = scene.sql.value("SELECT to_jsonb(v) FROM v WHERE id = 1");
    let said = scene.there.value(&format!("SELECT '{said}'::jsonb"));
    let expected = format!(
        "t|1|{{\"v\": \"x\u{FFFD}к\", \"id\": 1}}\nv|1|{said}\n\
         v|2|{{\"l\": \"ж\u{FFFD}\", \"p\": null, \"t\": \"кр\", \"id\": 2, \"ps\": null}}"
    );
    assert_eq!(found, expected);
    // What to_jsonb gives for the last one is text that the server cannot send.
    let log = zemi.log();
    assert!(
        log.contains("values of public.light are written as text"),
        "{log}"
    );
}
