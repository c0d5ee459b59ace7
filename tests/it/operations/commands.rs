//! The commands beside following the stream.

use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Server, Sql, Zemi};

/// Runs `zemi` with these arguments to its end.
fn zemi(arguments: &[&str], settings: &[(String, String)]) -> (i32, String, String) {
    Zemi::says(arguments, settings)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn status_and_cleanup_show_what_is_there_and_drop_it() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let settings = settings(&source, Some(&destination));
    let (code, out, _) = zemi(&["status", "--json"], &settings);
    assert_eq!(code, 0);
    assert_eq!(json(&out)["slot"]["exists"], false);
    assert_eq!(json(&out)["progress"]["exists"], false);
    assert_eq!(zemi(&["cleanup"], &settings).1, "nothing to drop\n");

    let mut running = streaming(&settings);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    let (code, out, _) = zemi(&["status", "--json"], &settings);
    assert_eq!(code, 0);
    let status = json(&out);
    assert_eq!(status["slot"]["active"], true);
    assert_eq!(status["slot"]["wal_status"], "reserved");
    assert!(status["slot"]["unconfirmed_bytes"].is_i64());
    assert!(status["progress"]["unwritten_bytes"].as_i64().unwrap() >= 0);
    let (_, text, _) = zemi(&["status"], &settings);
    assert!(text.contains("confirmed_flush_lsn"), "{text}");

    // While zemi runs, the slot cannot be dropped, and nothing else is.
    let (code, shown, _) = zemi(&["cleanup"], &settings);
    assert_eq!(code, 0);
    for thing in [
        "slot zemi",
        "publication zemi in",
        "publication zemi_updates",
        "progress at",
    ] {
        assert!(shown.contains(&format!("would drop {thing}")), "{shown}");
    }
    let (code, shown, errors) = zemi(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 75, "{shown}{errors}");
    assert!(errors.contains("stop the zemi"), "{errors}");
    assert_eq!(zemi(&["cleanup"], &settings).1.lines().count(), 5);
    running.stop();
    let (code, done, errors) = zemi(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(done.lines().count(), 5, "{done}");
    assert!(done.contains("\ndropped"), "{done}");
    assert_eq!(zemi(&["cleanup"], &settings).1, "nothing to drop\n");
    let mut kept = Sql::open(&destination, "postgres");
    assert_eq!(kept.value("SELECT count(*) FROM changes"), "1");

    destination.stop("fast");
    let (code, out, errors) = zemi(&["status", "--json"], &settings);
    assert_eq!(code, 69, "{errors}");
    assert_eq!(json(&out)["slot"]["exists"], false);
    assert!(json(&out)["progress"]["error"].is_string(), "{out}");
}

#[test]
fn a_server_that_does_not_answer_is_an_error_with_its_place() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    drop(nobody);
    let settings = vec![("DB_PORT".to_owned(), port)];
    for command in ["status", "cleanup"] {
        let (code, _, errors) = zemi(&[command], &settings);
        assert_eq!(code, 69, "{errors}");
        assert!(errors.contains("source: "), "{errors}");
    }
    let (code, _, errors) = zemi(&["health"], &[]);
    assert_eq!(code, 78);
    assert!(errors.contains("HEALTH_PORT"), "{errors}");
    let (code, _, _) = zemi(&["frobnicate"], &[]);
    assert_eq!(code, 64);
}

#[test]
fn check_finds_what_would_not_work_and_changes_nothing() {
    let server = Server::start(15, &[("max_slot_wal_keep_size", "1GB")]);
    let settings = settings(&server, None);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE \"no key\" (id int)");
    let (code, out, errors) = zemi(&["check"], &settings);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(
        out.contains("-> ALTER TABLE \"public\".\"no key\" REPLICA IDENTITY FULL"),
        "{out}"
    );
    assert!(out.contains("1 without a primary key"), "{out}");
    assert!(!out.contains("fail"), "{out}");
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots) \
                + (SELECT count(*) FROM pg_class WHERE relname IN ('changes', 'zemi_progress'))";
    assert_eq!(sql.value(left), "0");

    sql.run(
        "ALTER TABLE \"no key\" REPLICA IDENTITY FULL; ALTER TABLE \"no key\" ADD PRIMARY KEY (id)",
    );
    let mut running = streaming(&settings);
    // That zemi runs is how it should be.
    let (code, out, _) = zemi(&["check"], &settings);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("zemi is in use by zemi at "), "{out}");
    assert!(out.contains("wal_status = reserved"), "{out}");
    running.stop();
    sql.run("DROP INDEX changes_context_index");
    let (code, out, _) = zemi(&["check", "--json"], &settings);
    assert_eq!(code, 0);
    let findings = json(&out);
    let levels: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (&f["level"], &f["found"]))
        .collect();
    let warned: Vec<_> = levels
        .iter()
        .filter(|(level, _)| *level == "warn")
        .collect();
    assert_eq!(warned.len(), 1, "{out}");
    assert_eq!(warned[0].1, "no valid index begins with: context");
    let all = findings.as_array().unwrap();
    let mend = all.iter().find(|f| f["level"] == "warn").unwrap()["mend"]
        .as_str()
        .unwrap();
    // The SQL in it is what mends it.
    sql.run(mend.split(": ").nth(1).unwrap());
    let (_, out, _) = zemi(&["check"], &settings);
    assert!(out.contains("public.changes has its indexes"), "{out}");

    sql.run("ALTER TABLE changes DROP COLUMN after; CREATE ROLE somebody LOGIN PASSWORD 'x'");
    let (code, out, _) = zemi(&["check"], &settings);
    assert_eq!(code, 78);
    assert!(out.contains("expected a column after, found none"), "{out}");
    let mut other = settings.clone();
    other.push(("DB_USER".into(), "somebody".into()));
    other.push(("DB_PASSWORD".into(), "x".into()));
    let (code, out, _) = zemi(&["check"], &other);
    assert_eq!(code, 78);
    assert!(out.contains("ALTER ROLE \"somebody\" REPLICATION"), "{out}");
}

#[test]
fn check_counts_slots_and_senders_and_finds_a_lost_slot() {
    let server = Server::start(
        15,
        &[
            ("max_replication_slots", "1"),
            ("max_wal_senders", "1"),
            ("max_slot_wal_keep_size", "1MB"),
            ("min_wal_size", "32MB"),
            ("max_wal_size", "32MB"),
        ],
    );
    let settings = settings(&server, None);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut running = streaming(&settings);
    let (code, out, _) = zemi(&["check"], &settings);
    assert_eq!(code, 78, "{out}");
    assert!(out.contains("-> raise max_wal_senders"), "{out}");
    let mut other = settings.clone();
    other.push(("SLOT_NAME".into(), "other".into()));
    let (_, out, _) = zemi(&["check"], &other);
    assert!(
        out.contains("fail  slot         all 1 slots are taken"),
        "{out}"
    );

    running.stop();
    let (code, out, _) = zemi(&["check"], &settings);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("1 of 1 are in use, with that of this check"),
        "{out}"
    );
    crate::support::wait_until("the server gives the slot up", PATIENCE, || {
        sql.run("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t; SELECT pg_switch_wal()");
        sql.run("CHECKPOINT");
        sql.value("SELECT wal_status FROM pg_replication_slots") == "lost"
    });
    let (code, out, _) = zemi(&["check"], &settings);
    assert_eq!(code, 78, "{out}");
    assert!(out.contains("fail  slot         zemi is lost"), "{out}");
}

#[test]
fn check_sorts_tables_by_what_their_changes_will_hold() {
    let server = Server::start(16, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE TABLE whole (id int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE none (id int PRIMARY KEY); ALTER TABLE none REPLICA IDENTITY NOTHING;
         CREATE TABLE bare (id int); CREATE TABLE hidden (id int);
         CREATE TABLE indexed (id int NOT NULL UNIQUE);
         ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id_key;
         CREATE TABLE coded (id int PRIMARY KEY, code int NOT NULL UNIQUE);
         ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_code_key;
         DO $$BEGIN FOR n IN 1..9 LOOP EXECUTE format('CREATE TABLE key%s (id int PRIMARY KEY)', n);
         END LOOP; END$$",
    );
    let mut settings = settings(&server, None);
    settings.push(("EXCLUDE_TABLES".into(), "hidden".into()));
    let (code, out, errors) = zemi(&["check", "--json"], &settings);
    assert_eq!(code, 0, "{out}{errors}");
    let findings = json(&out);
    let find = |begin: &str| {
        let all = findings.as_array().unwrap().iter();
        let mut found = all.filter(|f| f["found"].as_str().unwrap().starts_with(begin));
        found.next().unwrap_or_else(|| panic!("no {begin}: {out}"))
    };
    assert_eq!(find("14 tracked")["level"], "ok");
    let without_key = find("2 without a primary key");
    assert_eq!(without_key["level"], "warn");
    let expected = serde_json::json!(["\"public\".\"bare\"", "\"public\".\"indexed\""]);
    assert_eq!(without_key["names"], expected);
    let key_only = find("11 without `before` but for the key");
    assert_eq!(key_only["names"].as_array().unwrap().len(), 11);
    let by_index = find("replica identity without the primary key");
    assert_eq!(
        by_index["names"],
        serde_json::json!(["\"public\".\"coded\""])
    );
    assert_eq!(find("1 with the whole old row")["level"], "ok");
    let untracked = findings.as_array().unwrap().iter().filter(|f| {
        let found = f["found"].as_str().unwrap();
        found.starts_with("no usable replica identity")
    });
    let mends: Vec<&str> = untracked.map(|f| f["mend"].as_str().unwrap()).collect();
    let mend = |table, to| format!("ALTER TABLE \"public\".\"{table}\" REPLICA IDENTITY {to}");
    assert_eq!(mends, [mend("bare", "FULL"), mend("none", "DEFAULT")]);
    let (_, text, _) = zemi(&["check"], &settings);
    assert_eq!(text.lines().count(), findings.as_array().unwrap().len());
    assert!(text.contains("and 6 more (--json names all)"), "{text}");
}
