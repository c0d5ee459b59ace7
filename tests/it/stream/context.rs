//! Context: what the application says of its changes, in messages of the prefix `_bemi`.

use crate::support::replay::assert_unique;
use crate::support::{Scene, Server};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";

/// The statement that sends this context.
fn say(context: &str) -> String {
    format!(
        "SELECT pg_logical_emit_message(true, '_bemi', '{}')",
        context.replace('\'', "''")
    )
}

/// The key and the context of each change, as far as these differ from `{}`.
fn contexts(scene: &mut Scene) -> String {
    scene.changes_where("true", "coalesce(primary_key, operation), context")
}

#[test]
fn a_change_takes_the_nearest_context_before_it_or_else_the_first() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    let (a, b, c) = (
        say("{\"c\": \"a\"}"),
        say("{\"c\": \"b\"}"),
        say("{\"c\": \"c\"}"),
    );
    let insert = |id: u32| format!("INSERT INTO t VALUES ({id})");
    scene.sql.run(&insert(1));
    scene
        .sql
        .run(&format!("BEGIN; {a}; {}; {}; COMMIT", insert(2), insert(3)));
    scene.sql.run(&format!(
        "BEGIN; {}; {b}; {}; {c}; {}; COMMIT",
        insert(4),
        insert(5),
        insert(6)
    ));
    scene
        .sql
        .run(&format!("BEGIN; {}; {}; {a}; COMMIT", insert(7), insert(8)));
    scene
        .sql
        .run(&format!("BEGIN; {a}; {b}; {}; {c}; COMMIT", insert(9)));
    // The last transaction's context is not the next one's, nor is that of one without a change.
    scene.sql.run(&insert(10));
    scene.sql.run(&a);
    scene.sql.run(&format!("{}; {b}; TRUNCATE t", insert(11)));
    assert_eq!(
        contexts(&mut scene),
        r#"1|{}
2|{"c": "a"}
3|{"c": "a"}
4|{"c": "b"}
5|{"c": "b"}
6|{"c": "c"}
7|{"c": "a"}
8|{"c": "a"}
9|{"c": "b"}
10|{}
11|{"c": "b"}
TRUNCATE|{"c": "b"}"#
    );
    assert_unique(&mut scene.sql);
}

/// As Bemi's packages do it: a trigger sends the comment of the statement ahead of each row.
const TELLING: &str = "
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_logical_emit_message(true, '_bemi',
            jsonb_set(substring(current_query() FROM '/\\*Bemi (.*) Bemi\\*/')::jsonb,
                      '{op}', to_jsonb(TG_OP || coalesce(NEW.id, OLD.id)))::text);
        RETURN coalesce(NEW, OLD);
    END $$;
    CREATE TRIGGER tell BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION tell()";

#[test]
fn each_row_has_the_context_that_a_trigger_sent_for_it() {
    let plain = "CREATE TABLE plain (id int PRIMARY KEY)";
    let (mut scene, _zemi) = Scene::one(15)
        .before(&format!("{TABLE}; {plain}; {TELLING}"))
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1), (2), (3) /*Bemi {\"user\": 7} Bemi*/");
    scene
        .sql
        .run("UPDATE t SET v = 'x' WHERE id < 3 /*Bemi {\"user\": 8} Bemi*/");
    scene.sql.run(
        "WITH gone AS (DELETE FROM t WHERE id = 3 RETURNING id) INSERT INTO plain SELECT id FROM gone \
         /*Bemi {\"user\": 9} Bemi*/",
    );
    assert_eq!(
        scene.changes_where("true", "operation, \"table\", primary_key, context"),
        r#"CREATE|t|1|{"op": "INSERT1", "user": 7}
CREATE|t|2|{"op": "INSERT2", "user": 7}
CREATE|t|3|{"op": "INSERT3", "user": 7}
UPDATE|t|1|{"op": "UPDATE1", "user": 8}
UPDATE|t|2|{"op": "UPDATE2", "user": 8}
DELETE|t|3|{"op": "DELETE3", "user": 9}
CREATE|plain|3|{"op": "DELETE3", "user": 9}"#
    );
}

#[test]
fn rows_of_an_upsert_have_the_context_that_came_last_before_them() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(&format!("{TABLE}; {TELLING}"))
        .streaming();
    scene
        .sql
        .run("INSERT INTO t VALUES (1) /*Bemi {\"user\": 1} Bemi*/");
    // The trigger speaks for the row 1 that is not written, and for that alone.
    for (rows, user) in [("(1)", 2), ("(1), (2)", 3)] {
        scene.sql.run(&format!(
            "INSERT INTO t VALUES {rows} ON CONFLICT DO NOTHING /*Bemi {{\"user\": {user}}} Bemi*/"
        ));
    }
    // It speaks twice for one row: as INSERT, then as UPDATE.
    scene.sql.run(
        "INSERT INTO t VALUES (2), (3) ON CONFLICT (id) DO UPDATE SET v = 'x' \
         /*Bemi {\"user\": 4} Bemi*/",
    );
    assert_eq!(
        scene.changes_where("true", "operation, primary_key, context"),
        r#"CREATE|1|{"op": "INSERT1", "user": 1}
CREATE|2|{"op": "INSERT2", "user": 3}
UPDATE|2|{"op": "UPDATE2", "user": 4}
CREATE|3|{"op": "INSERT3", "user": 4}"#
    );
}

#[test]
fn rows_that_a_foreign_key_removes_have_their_own_context() {
    let parents = "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1), (2)";
    let table = "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE); \
                 INSERT INTO t VALUES (11, 1), (12, 1), (13, 2)";
    let tell = format!(
        "{}; {}",
        TELLING,
        "CREATE TRIGGER tell BEFORE DELETE ON parents FOR EACH ROW EXECUTE FUNCTION tell()"
    );
    // current_query() is the statement of the application also within what a foreign key does.
    let (mut scene, _zemi) = Scene::one(15)
        .before(&format!("{parents}; {table}; {tell}"))
        .streaming();
    scene
        .sql
        .run("DELETE FROM parents WHERE id = 1 /*Bemi {\"user\": 1} Bemi*/");
    assert_eq!(
        scene.changes_where("true", "operation, \"table\", primary_key, context"),
        r#"DELETE|parents|1|{"op": "DELETE1", "user": 1}
DELETE|t|11|{"op": "DELETE11", "user": 1}
DELETE|t|12|{"op": "DELETE12", "user": 1}"#
    );
}

#[test]
fn a_context_of_a_megabyte_arrives() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    let text = "SELECT pg_logical_emit_message(true, '_bemi', \
                json_build_object('text', repeat('x', 1000000))::text)";
    scene.sql.run(&format!(
        "BEGIN; {text}; INSERT INTO t VALUES (1), (2); COMMIT"
    ));
    assert_eq!(
        scene.changes_where("true", "primary_key, length(context->>'text')"),
        "1|1000000\n2|1000000"
    );
}

#[test]
fn any_json_is_kept_and_the_rest_is_kept_as_text() {
    let (mut scene, _zemi) = Scene::one(15)
        .before("CREATE TABLE t (id text PRIMARY KEY)")
        .streaming();
    let invalid = |text: &str| serde_json::json!({ "zemi_invalid": text }).to_string();
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let nested = "[".repeat(200) + &"]".repeat(200);
    let broken = [
        "",
        " ",
        "{oops",
        "{'a': 1}",
        "{\"a\": 1} x",
        "{\"a\": 1,}",
        "NaN",
        "nul",
        "\"",
        "é",
        "{\"a\": \"\\u0000\"}",
        "{\"a\": \"\\ud800\"}",
        "{\"\\udc00\": 1}",
        "{\"a\": 1e200000}",
        "{\"a\": 01}",
        "\u{1}",
        "{\"a\": \"tab\there\"}",
        &deep,
    ];
    let kept = [
        "{\"a\": 1}",
        "{}",
        "[1, \"two\", null]",
        "\"text\"",
        "5",
        "-1.50e3",
        "true",
        "[]",
        "{\"a\": {\"b\": [{\"ключ\": \"🦀\"}]}}",
        "{\"a\": \"\\ud83e\\udd80 \\\"\\\\ \\n\"}",
        " \n{\"a\":\t1}\r\n",
        "{\"a\": 1, \"a\": 2}",
        "{\"\": \"\"}",
        &nested,
        "{\"n\": 12345678901234567890.123456789012345678901234567890}",
    ];
    let mut wanted: Vec<(String, String)> = Vec::new();
    wanted.extend(broken.iter().map(|c| ((*c).to_owned(), invalid(c))));
    wanted.extend(kept.iter().map(|c| ((*c).to_owned(), (*c).to_owned())));
    wanted.extend(["null", " null\n"].map(|c| (c.to_owned(), "{}".to_owned())));
    for (n, (context, _)) in wanted.iter().enumerate() {
        scene.sql.run(&format!(
            "BEGIN; {}; INSERT INTO t VALUES ({n}); COMMIT",
            say(context)
        ));
    }
    // Bytes that are no text at all.
    scene.sql.run(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '\\x7bff00'::bytea); \
         INSERT INTO t VALUES ('bytes'); COMMIT",
    );
    scene.changes_of("t", "1");
    for (n, (context, json)) in wanted.iter().enumerate() {
        let json = json.replace('\'', "''");
        let found = scene.sql.text(&format!(
            "SELECT context = '{json}'::jsonb, left(context::text, 300) FROM changes \
             WHERE primary_key = '{n}'"
        ));
        let context: String = context.chars().take(100).collect();
        assert!(found.starts_with("t|"), "{context:?} became {found}");
    }
    assert_eq!(
        scene
            .sql
            .value("SELECT context FROM changes WHERE primary_key = 'bytes'"),
        "{\"zemi_invalid\": \"{\u{FFFD}\u{FFFD}\"}"
    );
}

#[test]
fn other_messages_are_no_context() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    let other = [
        "_bemi_heartbeat",
        "bemi",
        "_BEMI",
        "_bem",
        "_bemi ",
        " _bemi",
        "",
        "_zemi",
    ]
    .map(|prefix| format!("SELECT pg_logical_emit_message(true, '{prefix}', '{{\"no\": 1}}')"))
    .join("; ");
    let loose = "SELECT pg_logical_emit_message(false, '_bemi', '{\"no\": 2}')";
    scene.sql.run(&format!(
        "BEGIN; {loose}; {other}; INSERT INTO t VALUES (1); {loose}; {other}; COMMIT"
    ));
    scene.sql.run(loose);
    scene.sql.run("INSERT INTO t VALUES (2)");
    scene.sql.run(&format!(
        "BEGIN; {other}; INSERT INTO t VALUES (3); {}; {other}; {loose}; INSERT INTO t VALUES (4); COMMIT",
        say("{\"yes\": 1}")
    ));
    assert_eq!(
        contexts(&mut scene),
        "1|{}\n2|{}\n3|{\"yes\": 1}\n4|{\"yes\": 1}"
    );
}

#[test]
fn what_is_rolled_back_says_nothing() {
    let server = Server::start(15, &[("max_prepared_transactions", "2")]);
    let (mut scene, _zemi) = Scene::on(server, None).before(TABLE).streaming();
    let (a, b, c) = (
        say("{\"c\": \"a\"}"),
        say("{\"c\": \"b\"}"),
        say("{\"c\": \"c\"}"),
    );
    scene
        .sql
        .run(&format!("BEGIN; {a}; INSERT INTO t VALUES (1); ROLLBACK"));
    scene.sql.run("INSERT INTO t VALUES (2)");
    // A context and a row in a savepoint that is undone, one in a savepoint that stays.
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO t VALUES (3); SAVEPOINT s; {a}; INSERT INTO t VALUES (4); ROLLBACK TO s;
         INSERT INTO t VALUES (5); SAVEPOINT u; {b}; INSERT INTO t VALUES (6); RELEASE u;
         INSERT INTO t VALUES (7); SAVEPOINT w; {c}; ROLLBACK TO w; INSERT INTO t VALUES (8); COMMIT"
    ));
    // All of a transaction's contexts undone.
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO t VALUES (9); SAVEPOINT s; {a}; ROLLBACK TO s; INSERT INTO t VALUES (10); COMMIT"
    ));
    // Prepared: it counts when it commits.
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO t VALUES (11); {c}; PREPARE TRANSACTION 'stays';
         BEGIN; INSERT INTO t VALUES (12); {c}; PREPARE TRANSACTION 'goes'"
    ));
    scene.sql.run("INSERT INTO t VALUES (13)");
    scene.sql.run("ROLLBACK PREPARED 'goes'");
    scene.sql.run("COMMIT PREPARED 'stays'");
    let found = contexts(&mut scene);
    let mut found: Vec<&str> = found.lines().collect();
    // By position, what was prepared stands where it was written.
    found.sort_by_key(|line| line.split('|').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(
        found,
        [
            "2|{}",
            "3|{\"c\": \"b\"}",
            "5|{\"c\": \"b\"}",
            "6|{\"c\": \"b\"}",
            "7|{\"c\": \"b\"}",
            "8|{\"c\": \"b\"}",
            "9|{}",
            "10|{}",
            "11|{\"c\": \"c\"}",
            "13|{}",
        ]
    );
}

#[test]
fn a_late_context_reaches_rows_that_were_streamed_already() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    let shown =
        "count(*), count(DISTINCT position), min(primary_key::int), max(primary_key::int), context";
    let summary = |scene: &mut Scene| {
        scene.changes_where("false", "1");
        scene.sql.text(&format!(
            "SELECT {shown} FROM changes WHERE operation <> 'TRUNCATE' \
             GROUP BY context, transaction_id ORDER BY 3"
        ))
    };
    let insert = |from: u32, to: u32| {
        format!("INSERT INTO t SELECT n, repeat('x', n % 90) FROM generate_series({from}, {to}) n")
    };
    // Several batches ahead of the first context, with others before and after in the same stream.
    scene.sql.run("INSERT INTO t VALUES (1)");
    scene.sql.run(&format!(
        "BEGIN; {}; {}; {}; {}; {}; COMMIT",
        insert(2, 20_001),
        say("{\"first\": true}"),
        insert(20_002, 30_001),
        say("{\"second\": true}"),
        insert(30_002, 40_001)
    ));
    scene.sql.run("INSERT INTO t VALUES (40002)");
    // The context is all that comes after the last batch was full; and no context at all.
    scene.sql.run(&format!(
        "BEGIN; {}; {}; COMMIT",
        insert(50_001, 60_001),
        say("{\"last\": true}")
    ));
    scene.sql.run(&insert(70_001, 80_000));
    assert_eq!(
        summary(&mut scene),
        "1|1|1|1|{}\n30000|30000|2|30001|{\"first\": true}\n10000|10000|30002|40001|{\"second\": true}\n\
         1|1|40002|40002|{}\n10001|10001|50001|60001|{\"last\": true}\n10000|10000|70001|80000|{}"
    );
    // The rows themselves are whole.
    assert_eq!(
        scene.sql.text(
            "SELECT count(*) FILTER (WHERE after = to_jsonb(t)), count(*) FROM changes \
             LEFT JOIN t ON t.id = primary_key::int"
        ),
        "60003|60003"
    );
    assert_unique(&mut scene.sql);
}

#[test]
fn a_late_context_larger_than_a_batch_is_patched_in() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    let large = |letter: &str| {
        format!(
            "SELECT pg_logical_emit_message(true, '_bemi', \
             json_build_object('c', repeat('{letter}', 300000))::text)"
        )
    };
    // The first one does not fit into the batch of its rows; those of the second fill one each.
    scene.sql.run("INSERT INTO t VALUES (1)");
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO t VALUES (2), (3), (4); {}; INSERT INTO t VALUES (5), (6), (7); {}; \
         INSERT INTO t VALUES (8), (9); COMMIT",
        large("a"),
        large("b")
    ));
    scene.sql.run("INSERT INTO t VALUES (10)");
    assert_eq!(
        scene.changes_where(
            "true",
            "primary_key, left(context->>'c', 1), length(context->>'c')"
        ),
        "1|-|-\n2|a|300000\n3|a|300000\n4|a|300000\n5|a|300000\n6|a|300000\n7|a|300000\n\
         8|b|300000\n9|b|300000\n10|-|-"
    );
}

#[test]
fn a_late_context_reached_rows_of_a_lost_timeline() {
    let (mut scene, _zemi) = Scene::one(15).before(TABLE).streaming();
    scene.sql.run("INSERT INTO t VALUES (0)");
    scene.changes_where("false", "1");
    let mut other = crate::support::Sql::open(&scene.source, "postgres");
    scene
        .sql
        .run("BEGIN; INSERT INTO t SELECT generate_series(1, 10000)");
    let xid = scene.sql.text("SELECT txid_current()");
    // What a failover can leave: the number and a position of this transaction, an hour before.
    other.run(&format!(
        "INSERT INTO changes (database, schema, \"table\", operation, committed_at, queued_at, \
         transaction_id, position) SELECT database, schema, 'lost', operation, \
         now() - interval '1 hour', queued_at, {xid}, pg_current_wal_insert_lsn() - '0/0'::pg_lsn \
         FROM changes LIMIT 1"
    ));
    scene.sql.run(&format!(
        "INSERT INTO t SELECT generate_series(10001, 20000); {}; COMMIT",
        say("{\"late\": true}")
    ));
    scene.changes_where("false", "1");
    assert_eq!(
        scene.sql.text(&format!(
            "SELECT \"table\", context, count(*) FROM changes WHERE transaction_id = {xid} \
             GROUP BY 1, 2 ORDER BY 1"
        )),
        "lost|{}|1\nt|{\"late\": true}|20000"
    );
}

#[test]
fn a_late_context_stays_within_its_transaction_and_what_is_tracked() {
    let (mut scene, _zemi) = Scene::one(15)
        .before(&format!(
            "{TABLE}; CREATE TABLE hidden (id int PRIMARY KEY)"
        ))
        .with(&[("EXCLUDE_TABLES", "hidden")])
        .streaming();
    // Two transactions at once: their rows alternate in the write-ahead log.
    let mut other = crate::support::Sql::open(&scene.source, "postgres");
    let block = |from: u32| format!("INSERT INTO t SELECT generate_series({from}, {from} + 4999)");
    for sql in [&mut scene.sql, &mut other] {
        sql.run("BEGIN");
    }
    for n in 0..3 {
        scene.sql.run(&block(10_000 * n));
        other.run(&block(10_000 * n + 5000));
    }
    other.run(&format!(
        "{}; {}; COMMIT",
        say("{\"by\": \"other\"}"),
        block(60_000)
    ));
    scene.sql.run(&format!(
        "{}; {}; COMMIT",
        block(50_000),
        say("{\"by\": \"one\"}")
    ));
    // Rows of a table that is not tracked stand first.
    scene.sql.run(&format!(
        "BEGIN; INSERT INTO hidden SELECT generate_series(1, 20000); {}; INSERT INTO t VALUES (-1); COMMIT",
        say("{\"by\": \"third\"}")
    ));
    scene.changes_where("false", "1");
    assert_eq!(
        scene.sql.text(
            "SELECT context->>'by', count(*), count(*) FILTER (WHERE primary_key::int % 10000 < 5000), \
             count(DISTINCT transaction_id) FROM changes GROUP BY 1 ORDER BY 1"
        ),
        "one|20000|20000|1\nother|20000|5000|1\nthird|1|1|1"
    );
    assert_unique(&mut scene.sql);
}
