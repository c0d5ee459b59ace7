//! Taking over from the Zig Zemi and from Bemi, and going back.

use crate::support::replay::assert_replays;
use crate::support::scene::{
    PATIENCE, caught_up, changes, confirmed, drop_slot, settings, streaming, with,
};
use crate::support::{Server, Sql, Zemi};

/// The slot that Bemi's worker and the Zig program use where no other is set.
const SLOT: &str = "bemi_local";

/// Makes of the rows that are there what the Zig program would have written: ids of its own, all tables of
/// a TRUNCATE at one position, and every value a string.
const AS_ZIG_WRITES: &str = "UPDATE changes SET id = gen_random_uuid(), position = CASE operation \
     WHEN 'TRUNCATE' THEN coalesce((SELECT max(p.position) FROM changes p \
       WHERE p.transaction_id = changes.transaction_id AND p.operation = 'TRUNCATE' AND p.\"table\" = 'a' \
       AND p.position <= changes.position), position) ELSE position END, \
     after = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each_text(after)), \
     queued_at = now()";

#[test]
fn truncates_of_several_tables_that_come_again_are_not_doubled() {
    // With the first table excluded, no row is in the way of the key at all.
    for (excluded, per_truncate) in [("", 3), ("a", 2)] {
        let server = Server::start(15, &[]);
        let mut sql = Sql::open(&server, "postgres");
        sql.run(
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); \
             CREATE TABLE c (id int PRIMARY KEY); CREATE PUBLICATION bemi FOR ALL TABLES",
        );
        let settings = with(&settings(&server, None), &[("PUBLICATION_NAME", "bemi")]);
        let mut first = streaming(&settings);
        sql.run(&format!(
            "SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"
        ));
        sql.run("INSERT INTO b VALUES (1); TRUNCATE a, b, c");
        // Twice in one transaction.
        sql.run("BEGIN; TRUNCATE a, b, c; INSERT INTO c VALUES (2); TRUNCATE a, b, c; COMMIT");
        sql.run("TRUNCATE c");
        caught_up(&mut sql);
        first.stop();
        drop_slot(&mut sql, "zemi");
        sql.run(AS_ZIG_WRITES);
        sql.run(&format!(
            "DELETE FROM changes WHERE \"table\" = '{excluded}'"
        ));
        let positions = "SELECT count(DISTINCT position) FROM changes WHERE operation = 'TRUNCATE' \
             AND \"table\" <> 'c'";
        assert_eq!(sql.value(positions), "3");
        let before = sql.text("SELECT id FROM changes ORDER BY id");
        let count = before.lines().count();
        assert_eq!(count, 3 * per_truncate + 3);

        let again = with(
            &settings,
            &[("SLOT_NAME", SLOT), ("EXCLUDE_TABLES", excluded)],
        );
        let zemi = streaming(&again);
        confirmed(&mut sql, SLOT);
        assert_eq!(sql.text("SELECT id FROM changes ORDER BY id"), before);
        // What is new is not taken for what was there.
        sql.run("TRUNCATE a, b, c");
        confirmed(&mut sql, SLOT);
        let now = sql.value("SELECT count(*) FROM changes");
        assert_eq!(now, (count + per_truncate).to_string(), "{}", zemi.log());
        assert!(!zemi.log().contains("WARN"), "{}", zemi.log());
    }
}

#[test]
fn the_zig_program_is_taken_over_and_finds_its_own_when_it_comes_back() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE a (id int PRIMARY KEY, v text)");
    let publication = "SELECT p.*, (SELECT count(*) FROM pg_publication) FROM pg_publication p";
    // As its code makes both.
    sql.run("CREATE PUBLICATION bemi FOR ALL TABLES WITH (publish_via_partition_root = true)");
    sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"
    ));
    let found = sql.text(publication);
    sql.run("INSERT INTO a SELECT g, 'v' || g FROM generate_series(1, 50) g");
    let names = [("SLOT_NAME", SLOT), ("PUBLICATION_NAME", "bemi")];
    let settings = with(&settings(&server, None), &names);
    let mut zemi = streaming(&settings);
    confirmed(&mut sql, SLOT);
    zemi.stop();
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "50");
    assert_eq!(sql.text(publication), found);
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sql.text(publication), found);

    // It makes what it lacks, and inserts with its own constraint's name.
    sql.run("CREATE TABLE IF NOT EXISTS changes (id uuid)");
    for column in [
        "committed_at",
        "table",
        "primary_key",
        "operation",
        "context",
        "before",
        "after",
    ] {
        let exists = format!(
            "SELECT count(*) FROM pg_indexes WHERE tablename = 'changes' \
             AND indexname = 'changes_{column}_index'"
        );
        assert_eq!(sql.value(&exists), "1", "{column}");
    }
    for (offset, rows) in [("0", "50"), ("1", "51")] {
        sql.run(&format!(
            "INSERT INTO changes (primary_key, before, after, context, database, schema, \"table\", \
             operation, committed_at, queued_at, transaction_id, position) \
             SELECT primary_key, '{{}}', '{{}}', '{{}}', database, schema, \"table\", operation, \
             committed_at, now(), transaction_id, position + {offset} FROM changes \
             ORDER BY position DESC LIMIT 1 \
             ON CONFLICT ON CONSTRAINT changes_position_table_schema_database_operation_unique DO NOTHING"
        ));
        assert_eq!(sql.value("SELECT count(*) FROM changes"), rows);
    }
    // Its slot and publication are there, and what it reads next begins where zemi stopped.
    let (code, said, _) = Zemi::says(&["cleanup"], &settings);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("publication bemi"), "{said}");
    assert!(said.contains("stays: it was not made by zemi"), "{said}");
    sql.run("INSERT INTO a VALUES (51, 'later')");
    let read = format!(
        "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('{SLOT}', NULL, NULL, 'proto_version', \
         '2', 'publication_names', 'bemi', 'messages', 'true') WHERE position('later'::bytea in data) > 0"
    );
    assert_eq!(sql.value(&read), "1");
}

#[test]
fn a_slot_that_another_tracker_left_is_named_at_the_first_start_and_by_check() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    sql.run("CREATE DATABASE other");
    let settings = settings(&server, None);
    // One of another database or plugin says nothing about this one.
    Sql::open(&server, "other").run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"
    ));
    let (_, said, _) = Zemi::says(&["check"], &settings);
    assert!(!said.contains(SLOT), "{said}");
    sql.run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));

    sql.run("CREATE PUBLICATION dbz_publication FOR ALL TABLES");
    sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"
    ));
    sql.run("INSERT INTO t VALUES (1)");
    let fix = "SLOT_NAME=bemi_local PUBLICATION_NAME=dbz_publication";
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{said}");
    let line = said.lines().find(|line| line.contains(fix));
    assert!(
        line.is_some_and(|line| line.starts_with("warn  slot")),
        "{said}"
    );
    let mut zemi = streaming(&settings);
    assert!(zemi.log().contains(fix), "{}", zemi.log());
    sql.run("INSERT INTO t VALUES (2)");
    caught_up(&mut sql);
    zemi.stop();

    // The slot alone is not enough: a publication that is made now shows nothing of what was committed.
    let mut zemi = Zemi::start(&with(
        &settings,
        &[("SLOT_NAME", SLOT), ("PUBLICATION_NAME", "other")],
    ));
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
    let log = zemi.log();
    assert!(
        log.contains("Hint: PUBLICATION_NAME=dbz_publication"),
        "{log}"
    );
    assert_eq!(
        sql.value("SELECT count(*) FROM pg_publication WHERE pubname = 'other'"),
        "0"
    );

    // As the advice says, also after a start beside it.
    let zemi = streaming(&with(
        &settings,
        &[("SLOT_NAME", SLOT), ("PUBLICATION_NAME", "dbz_publication")],
    ));
    confirmed(&mut sql, SLOT);
    assert_eq!(
        changes(&mut sql, "operation, primary_key"),
        "CREATE|1\nCREATE|2"
    );
    drop(zemi);

    // What the start without the names has made is named until it is gone.
    let advised = with(
        &settings,
        &[("SLOT_NAME", SLOT), ("PUBLICATION_NAME", "dbz_publication")],
    );
    let left = "slot zemi is in this database, too, and not in use";
    let (code, said, _) = Zemi::says(&["check"], &advised);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(left), "{said}");
    let (code, said, _) = Zemi::says(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{said}");
    let (_, said, _) = Zemi::says(&["check"], &advised);
    assert!(!said.contains(left), "{said}");
    assert_eq!(
        sql.value("SELECT slot_name FROM pg_replication_slots"),
        SLOT
    );
}

#[test]
fn tables_that_another_publication_does_not_list_are_named_at_the_start_and_by_check() {
    // As the Zig program makes it with TABLES=a.
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); \
         CREATE PUBLICATION bemi FOR TABLE a",
    );
    let settings = with(&settings(&server, None), &[("PUBLICATION_NAME", "bemi")]);
    let fix = "ALTER PUBLICATION \"bemi\" ADD TABLE \"public\".\"b\"";
    let warning = |said: &str| {
        let line = said.lines().find(|line| line.contains(fix))?;
        Some(line.contains("does not publish \"public\".\"b\": not tracked"))
    };
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!((code, warning(&said)), (0, Some(true)), "{said}");
    let mut zemi = streaming(&settings);
    assert_eq!(warning(&zemi.log()), Some(true), "{}", zemi.log());
    // Its own tables are in that database by now, and are not among them.
    let (_, said, _) = Zemi::says(&["check"], &settings);
    assert!(
        warning(&said).is_some() && !said.contains("\"changes\""),
        "{said}"
    );
    sql.run(fix);
    sql.run("INSERT INTO b VALUES (1)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "\"table\", primary_key"), "b|1");
    zemi.stop();
    let (_, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(warning(&said), None, "{said}");
}

#[test]
fn a_slot_that_was_read_through_another_publication_is_refused_by_check_as_at_the_start() {
    // Names that no tracker has by default.
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION trackpub FOR ALL TABLES");
    sql.run("SELECT pg_create_logical_replication_slot('track', 'pgoutput')");
    sql.run("INSERT INTO t VALUES (1)");
    let settings = with(&settings(&server, None), &[("SLOT_NAME", "track")]);
    let fix = "PUBLICATION_NAME=trackpub; or";
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 78, "{said}");
    let line = said.lines().find(|line| line.contains(fix));
    assert!(line.is_some_and(|line| line.starts_with("fail")), "{said}");
    let mut zemi = Zemi::start(&settings);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(78));
    assert!(zemi.log().contains(fix), "{}", zemi.log());
    assert_eq!(sql.value("SELECT count(*) FROM pg_publication"), "1");

    let settings = with(&settings, &[("PUBLICATION_NAME", "trackpub")]);
    let mut zemi = streaming(&settings);
    confirmed(&mut sql, "track");
    assert_eq!(changes(&mut sql, "primary_key"), "1");
    zemi.stop();
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_table_of_changes_that_the_roles_search_path_finds_first_is_used() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    // The Zig program names no schema: a role with a schema of its own has made its table there.
    sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE ROLE zemi LOGIN SUPERUSER PASSWORD 'secret'; \
         CREATE SCHEMA zemi AUTHORIZATION zemi; CREATE SCHEMA later; \
         CREATE TABLE zemi.changes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), primary_key varchar(255), \
         before jsonb NOT NULL DEFAULT '{}', after jsonb NOT NULL DEFAULT '{}', \
         context jsonb NOT NULL DEFAULT '{}', database varchar(255) NOT NULL, schema varchar(255) NOT NULL, \
         \"table\" varchar(255) NOT NULL, operation text NOT NULL, committed_at timestamptz NOT NULL, \
         queued_at timestamptz NOT NULL, transaction_id bigint NOT NULL, position bigint NOT NULL, \
         created_at timestamptz NOT NULL DEFAULT now(), \
         CONSTRAINT changes_position_table_schema_database_operation_unique \
         UNIQUE (position, \"table\", schema, database, operation)); \
         ALTER TABLE zemi.changes OWNER TO zemi; CREATE TABLE later.changes (LIKE zemi.changes)",
    );
    let settings = with(
        &settings(&server, None),
        &[("DB_USER", "zemi"), ("DB_PASSWORD", "secret")],
    );
    let mut zemi = streaming(&settings);
    assert!(
        zemi.log().contains("changes go to \"zemi\".changes"),
        "{}",
        zemi.log()
    );
    // A late context patches rows, a value that is refused takes the way by pieces.
    sql.run(
        "BEGIN; INSERT INTO t SELECT g, 'v' FROM generate_series(1, 20000) g; \
         SELECT pg_logical_emit_message(true, '_bemi', '{\"u\": 1}'); COMMIT",
    );
    sql.run("UPDATE t SET v = repeat('x', 10) WHERE id = 1");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM zemi.changes"), "20001");
    assert_eq!(
        sql.value("SELECT count(*) FROM zemi.changes WHERE context = '{\"u\": 1}'"),
        "20000"
    );
    assert_eq!(sql.value("SELECT count(*) FROM zemi.zemi_progress"), "1");
    assert_eq!(
        sql.value("SELECT to_regclass('public.changes') IS NULL"),
        "t"
    );
    let (code, said, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("\"zemi\".changes takes zemi's rows"),
        "{said}"
    );
    assert!(said.contains("is written"), "{said}");

    // Another one that comes into the path later does not draw the trail away.
    zemi.stop();
    sql.run("ALTER ROLE zemi SET search_path = later, zemi, public");
    let mut zemi = streaming(&settings);
    sql.run("DELETE FROM t WHERE id = 2");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM zemi.changes"), "20002");
    zemi.stop();
    let (code, said, _) = Zemi::says(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sql.value("SELECT count(*) FROM zemi.zemi_progress"), "0");
    sql.run("CREATE VIEW public.changes AS SELECT * FROM zemi.changes");
    let mut dest = Sql::open(&server, "postgres");
    assert_replays(&mut sql, &mut dest, "t", &["id"]);
}
