//! Databases whose text is not UTF-8: it arrives as characters where it stands for any, and the stream
//! goes on where it does not.

use crate::support::scene::{caught_up, changes, settings, streaming};
use crate::support::{Server, Sql, Zemi};

/// Follows a database of this encoding on one server, into a UTF8 database beside it. The statements of
/// the tests are plain ASCII: their bytes come from escapes.
struct Scene {
    source: Sql,
    destination: Sql,
    zemi: Zemi,
    server: Server,
}

impl Scene {
    fn new(encoding: &str) -> Scene {
        let server = Server::start(15, &[]);
        let mut destination = Sql::open(&server, "postgres");
        destination.run(&format!(
            "CREATE DATABASE shop ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        let mut settings = settings(&server, None);
        settings.push(("DB_NAME".into(), "shop".into()));
        settings.push(("DEST_DB_NAME".into(), "postgres".into()));
        let mut source = Sql::open(&server, "shop");
        source.run("SET client_encoding = 'SQL_ASCII'");
        source.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
        Scene {
            source,
            destination,
            zemi: streaming(&settings),
            server,
        }
    }

    /// A table and a column with these bytes in their names, and a row with others.
    fn make_and_fill(&mut self, table: &str, column: &str, value: &str) {
        self.source.run(&format!(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE %I (%I text PRIMARY KEY, n int)', E'{table}', \
             E'{column}'); EXECUTE format('INSERT INTO %I VALUES (%L, 1)', E'{table}', E'{value}'); \
             EXECUTE format('UPDATE %I SET n = 2', E'{table}'); END $$"
        ));
    }

    fn changes(&mut self, columns: &str) -> String {
        caught_up(&mut self.source);
        changes(&mut self.destination, columns)
    }

    /// How often the log names the relation as one with bytes that stand for no character.
    fn told(&self, relation: &str) -> usize {
        let wanted = format!("{relation} holds text with bytes that stand for no character");
        self.zemi.log().matches(&wanted).count()
    }
}

#[test]
fn latin1_is_converted_by_the_server() {
    let mut scene = Scene::new("LATIN1");
    scene
        .source
        .run("INSERT INTO t VALUES (1, E'caf\\xe9 \\xff')");
    scene.make_and_fill("\\xe9t\\xe9", "cl\\xe9", "\\xfc");
    assert_eq!(
        scene.changes("operation, \"table\", primary_key, after"),
        "CREATE|t|1|{\"v\": \"café ÿ\", \"id\": 1}\n\
         CREATE|été|ü|{\"n\": 1, \"clé\": \"ü\"}\n\
         UPDATE|été|ü|{\"n\": 2, \"clé\": \"ü\"}"
    );
    assert!(!scene.zemi.log().contains(" WARN "), "{}", scene.zemi.log());
}

#[test]
fn bytes_of_win1252_that_stand_for_nothing_are_replaced_and_all_others_kept() {
    let mut scene = Scene::new("WIN1252");
    scene
        .source
        .run("INSERT INTO t VALUES (1, E'5 \\x80 caf\\xe9')");
    scene
        .source
        .run("INSERT INTO t VALUES (2, E'x\\x81y\\xe9')");
    scene
        .source
        .run("INSERT INTO t VALUES (3, E'5 \\x80 caf\\xe9'), (4, E'\\x8d')");
    // The context comes as bytes, too.
    scene.source.run(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', E'{\"user\": \"Ren\\xe9\"}'); \
         DELETE FROM t WHERE id = 4; COMMIT",
    );
    scene.make_and_fill("\\xe9t\\xe9", "cl\\xe9", "\\xfc");
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
    assert_eq!(scene.told("public.t"), 1, "{}", scene.zemi.log());
    assert_eq!(scene.told("public.été"), 0, "{}", scene.zemi.log());
}

#[test]
fn names_of_win1252_with_bytes_that_stand_for_nothing_do_not_stop_the_stream() {
    let mut scene = Scene::new("WIN1252");
    scene.make_and_fill("t\\x81", "c\\x8d", "v");
    scene.source.run("INSERT INTO t VALUES (1, E'caf\\xe9')");
    assert_eq!(
        scene.changes("\"table\", primary_key, after"),
        "t\u{FFFD}|v|{\"n\": 1, \"c\u{FFFD}\": \"v\"}\n\
         t\u{FFFD}|v|{\"n\": 2, \"c\u{FFFD}\": \"v\"}\n\
         t|1|{\"v\": \"café\", \"id\": 1}"
    );
}

#[test]
fn sql_ascii_is_utf8_where_it_is_valid() {
    let mut scene = Scene::new("SQL_ASCII");
    scene
        .source
        .run("INSERT INTO t VALUES (1, E'caf\\xc3\\xa9')");
    scene
        .source
        .run("INSERT INTO t VALUES (2, E'caf\\xe9!'), (3, E'\\xe9\\xc3\\xa9')");
    scene.make_and_fill("\\xc3\\xa9t\\xe9", "cl\\xff", "\\xc3\\xbc");
    scene.source.run("INSERT INTO t VALUES (4, E'caf\\xe9!')");
    assert_eq!(
        scene.changes("operation, \"table\", primary_key, after"),
        "CREATE|t|1|{\"v\": \"café\", \"id\": 1}\n\
         CREATE|t|2|{\"v\": \"caf\u{FFFD}!\", \"id\": 2}\n\
         CREATE|t|3|{\"v\": \"\u{FFFD}é\", \"id\": 3}\n\
         CREATE|ét\u{FFFD}|ü|{\"n\": 1, \"cl\u{FFFD}\": \"ü\"}\n\
         UPDATE|ét\u{FFFD}|ü|{\"n\": 2, \"cl\u{FFFD}\": \"ü\"}\n\
         CREATE|t|4|{\"v\": \"caf\u{FFFD}!\", \"id\": 4}"
    );
    assert_eq!(scene.told("public.t"), 1, "{}", scene.zemi.log());
}

#[test]
fn a_start_in_a_database_with_such_names_works() {
    let mut scene = Scene::new("SQL_ASCII");
    scene.make_and_fill("t\\xe9", "c\\xe9", "\\xe9");
    caught_up(&mut scene.source);
    scene.zemi.kill();
    let mut settings = settings(&scene.server, None);
    settings.push(("DB_NAME".into(), "shop".into()));
    settings.push(("DEST_DB_NAME".into(), "postgres".into()));
    scene.zemi = streaming(&settings);
    scene.source.run("INSERT INTO t VALUES (9, E'\\xe9')");
    assert!(scene.changes("primary_key").ends_with("\n9"));
}
