//! Every encoding of databases, with each of its characters: in the stored form of the stream as well as in
//! UTF-8, they are what the server's own conversion makes of them.

use zemi::wire::literal;

use crate::support::process::exit::CONFIG;
use crate::support::scene::{PATIENCE, caught_up, drop_slot, settings, streaming, with};
use crate::support::{Server, Sql, Zemi};

/// A database of an encoding, followed into the UTF8 database `postgres` of the same server.
struct Database<'a> {
    server: &'a Server,
    sql: Sql,
    there: Sql,
    encoding: &'static str,
    /// Hexadecimal digits of a character that is none in UTF-8; empty where the encoding has no such.
    bad: String,
}

/// Characters beyond ASCII: of one byte each, or by the ranges of `wchar.c`.
fn candidates(encoding: &str) -> &'static str {
    match encoding {
        "EUC_JP" | "EUC_JIS_2004" => {
            "SELECT (a << 8) + b FROM high h(a), high l(b) UNION ALL SELECT 36352 + b FROM high b \
             UNION ALL SELECT (143 << 16) + (a << 8) + b FROM high h(a), high l(b)"
        }
        "EUC_KR" | "EUC_CN" => "SELECT (a << 8) + b FROM high h(a), high l(b)",
        // The planes that it has.
        "EUC_TW" => {
            "SELECT (a << 8) + b FROM high h(a), high l(b) UNION ALL \
             SELECT (142::bigint << 24) + (p << 16) + (a << 8) + b \
             FROM unnest('{161,162,163,164,165,166,167,175}'::bigint[]) p, high h(a), high l(b)"
        }
        _ => "SELECT generate_series(128, 255)",
    }
}

impl<'a> Database<'a> {
    /// The table `chars` holds all candidates that a text can have: `v`, and what they are in UTF-8 (`u`).
    fn new(server: &'a Server, encoding: &'static str) -> Database<'a> {
        let name = encoding.to_lowercase();
        let mut there = Sql::open(server, "postgres");
        there.run(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 \
             LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        let mut sql = Sql::open(server, &name);
        sql.run(&format!(
            "SET client_encoding = 'UTF8'; \
             CREATE FUNCTION utf8(b bytea) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN \
               RETURN convert(b, '{encoding}', 'UTF8'); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$; \
             CREATE FUNCTION stored(b bytea) RETURNS text LANGUAGE plpgsql AS $$ BEGIN \
               RETURN convert_from(b, '{encoding}'); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$; \
             CREATE TABLE chars AS WITH high(b) AS (SELECT generate_series(161, 254)), \
               candidates(n) AS ({}), \
               bytes AS (SELECT n, decode(to_hex(n), 'hex') AS b FROM candidates) \
               SELECT n, b, utf8(b) AS u, stored(b) AS v FROM bytes; \
             DELETE FROM chars WHERE v IS NULL; \
             CREATE TYPE pair AS (n int, v text); \
             CREATE TABLE t (id int PRIMARY KEY, v text, a text[], p pair, j jsonb)",
            candidates(encoding)
        ));
        let bad =
            sql.value("SELECT encode(b, 'hex') FROM chars WHERE u IS NULL ORDER BY n LIMIT 1");
        Database {
            server,
            sql,
            there,
            encoding,
            bad,
        }
    }

    /// Names of type, table and columns that have characters of the encoding.
    fn make_names(&mut self) {
        self.sql.run(
            "DO $$ DECLARE good text[] := ARRAY(SELECT v FROM chars WHERE octet_length(u) > 1 \
               ORDER BY n DESC LIMIT 6); name text := good[1] || good[2]; \
             BEGIN EXECUTE format('CREATE TYPE %I AS (%I int, %I text)', name || 't', good[3], good[4]); \
               EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, %I %I)', name, good[5], name || 't'); \
             END $$",
        );
    }

    /// A row of `t` with a character that is none in UTF-8 amid good ones.
    fn write_bad(&mut self) {
        if self.bad.is_empty() {
            return;
        }
        let bad = &self.bad;
        self.sql.run(&format!(
            "INSERT INTO t (id, v) SELECT 0, 'a' || g || convert_from('\\x{bad}', '{}') || g || 'b' \
             FROM (SELECT v FROM chars WHERE u IS NOT NULL ORDER BY n DESC LIMIT 1) good(g)",
            self.encoding
        ));
    }

    /// Rows with all characters that have an equivalent, from this id on; one of the table with such names;
    /// and a context.
    fn write_good(&mut self, from: u32) {
        self.sql.run(&format!(
            "WITH texts(n, v) AS (SELECT n / 512, string_agg(v || 'x', '' ORDER BY n) FROM chars \
               WHERE u IS NOT NULL GROUP BY n / 512) \
             INSERT INTO t SELECT {from} + row_number() OVER (ORDER BY n), v, ARRAY[v, NULL], \
               ROW(1, v)::pair, to_json(v)::jsonb FROM texts; \
             DO $$ DECLARE good text[] := ARRAY(SELECT v FROM chars WHERE octet_length(u) > 1 \
                 ORDER BY n DESC LIMIT 6); BEGIN \
               EXECUTE format('INSERT INTO %I VALUES ({from}, ROW(1, %L))', good[1] || good[2], good[6]); \
               PERFORM pg_logical_emit_message(true, '_bemi', '{{\"user\": \"' || good[6] || '\"}}'); END $$"
        ));
    }

    /// What the server says of all rows, but for the bad one: table, key and row.
    fn said(&mut self) -> Vec<[String; 3]> {
        let other = "SELECT quote_ident(relname) FROM pg_class c WHERE relkind = 'r' \
                     AND relnamespace = 'public'::regnamespace AND relname NOT IN ('t', 'chars')";
        let other = self.sql.value(other);
        let rows = self.sql.rows(&format!(
            "SELECT 't', id, to_jsonb(t) FROM t WHERE id > 0 UNION ALL \
             SELECT '{}', id, to_jsonb(o) FROM {other} o ORDER BY 1, 2",
            other.trim_matches('"')
        ));
        let mut rows = strings(rows);
        for [_, _, row] in &mut rows {
            // The order of keys depends on their lengths in the encoding.
            *row = self.there.value(&format!("SELECT {}::jsonb", literal(row)));
        }
        rows
    }

    fn found(&mut self) -> Vec<[String; 3]> {
        strings(self.there.rows(
            "SELECT \"table\", primary_key::int, after FROM public.changes WHERE primary_key <> '0' \
             ORDER BY \"table\" COLLATE \"C\", 2",
        ))
    }

    /// Two transactions: one with the bad row in front of all others, and one of good rows.
    fn judge(mut self) {
        let encoding = self.encoding;
        self.make_names();
        let name = encoding.to_lowercase();
        let settings = with(
            &settings(self.server, None),
            &[("DB_NAME", &name), ("DEST_DB_NAME", "postgres")],
        );
        let mut zemi: Zemi = streaming(&settings);
        self.sql.run("BEGIN");
        self.write_bad();
        self.write_good(1000);
        self.sql.run("COMMIT");
        self.write_good(2000);
        caught_up(&mut self.sql);
        let (said, found) = (self.said(), self.found());
        assert!(said.len() >= 4, "{encoding}: {said:?}");
        for (said, found) in said.iter().zip(&found) {
            assert_eq!(found, said, "{encoding}");
        }
        assert_eq!(found.len(), said.len(), "{encoding}");
        let contexts = "SELECT count(DISTINCT context) FROM public.changes WHERE context <> '{}'";
        assert_eq!(self.there.value(contexts), "1", "{encoding}");
        if !self.bad.is_empty() {
            let good = "SELECT v FROM chars WHERE u IS NOT NULL ORDER BY n DESC LIMIT 1";
            let good = self.sql.value(good);
            let row = "SELECT after ->> 'v' FROM public.changes WHERE primary_key = '0'";
            let row = self.there.value(row);
            assert_eq!(row, format!("a{good}\u{FFFD}{good}b"), "{encoding}");
        }
        let log = zemi.log();
        let warned = log.matches("bytes that stand for no character").count();
        assert_eq!(
            warned,
            usize::from(!self.bad.is_empty()),
            "{encoding}: {log}"
        );
        zemi.stop();
        drop_slot(&mut self.there, "zemi");
        self.there.run("TRUNCATE public.changes");
    }
}

/// Rows of three columns that are not NULL.
fn strings(rows: Vec<Vec<Option<String>>>) -> Vec<[String; 3]> {
    let row = |row: Vec<Option<String>>| {
        let row: Vec<String> = row.into_iter().map(Option::unwrap).collect();
        row.try_into().unwrap()
    };
    rows.into_iter().map(row).collect()
}

/// Judges these encodings, one after the other; returns those that have no character without equivalent.
fn judge(major: u32, encodings: &[&'static str]) -> Vec<&'static str> {
    let server = Server::start(major, &[]);
    let mut whole = Vec::new();
    for encoding in encodings {
        let database = Database::new(&server, encoding);
        if database.bad.is_empty() {
            whole.push(*encoding);
        }
        database.judge();
    }
    whole
}

#[test]
fn encodings_of_iso_8859() {
    let whole = judge(
        15,
        &[
            "LATIN1",
            "LATIN2",
            "LATIN3",
            "LATIN4",
            "LATIN5",
            "LATIN6",
            "LATIN7",
            "LATIN8",
            "LATIN9",
            "LATIN10",
            "ISO_8859_5",
            "ISO_8859_6",
            "ISO_8859_7",
            "ISO_8859_8",
        ],
    );
    // All 128 bytes of these are characters.
    assert_eq!(
        whole,
        [
            "LATIN1",
            "LATIN2",
            "LATIN4",
            "LATIN5",
            "LATIN6",
            "LATIN7",
            "LATIN8",
            "LATIN9",
            "LATIN10",
            "ISO_8859_5"
        ]
    );
}

#[test]
fn encodings_of_windows_and_koi8() {
    let whole = judge(
        15,
        &[
            "WIN866", "WIN874", "WIN1250", "WIN1251", "WIN1252", "WIN1253", "WIN1254", "WIN1255",
            "WIN1256", "WIN1257", "WIN1258", "KOI8R", "KOI8U",
        ],
    );
    assert_eq!(whole, ["WIN866", "WIN1256", "KOI8R", "KOI8U"]);
}

#[test]
fn encodings_of_several_bytes() {
    let whole = judge(
        15,
        &["EUC_JP", "EUC_KR", "EUC_CN", "EUC_TW", "EUC_JIS_2004"],
    );
    assert!(whole.is_empty(), "{whole:?}");
}

#[test]
fn encodings_of_the_oldest_and_the_newest_server() {
    for major in [14, 18] {
        judge(major, &["WIN1251", "WIN1255", "EUC_JP", "EUC_JIS_2004"]);
    }
}

#[test]
fn a_database_of_mule_internal_is_refused_with_what_to_do() {
    let server = Server::start(15, &[]);
    Sql::open(&server, "postgres").run(
        "CREATE DATABASE mule ENCODING 'MULE_INTERNAL' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let settings = with(
        &settings(&server, None),
        &[("DB_NAME", "mule"), ("DEST_DB_NAME", "postgres")],
    );
    let mut zemi = Zemi::start(&settings);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(CONFIG));
    let log = zemi.log();
    assert!(
        log.contains("Hint: no server converts MULE_INTERNAL to UTF-8"),
        "{log}"
    );
}
