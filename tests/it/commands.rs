//! The commands beside following the stream.

use std::process::{Command, Output};

use super::support::scene::{PATIENCE, caught_up, settings, streaming};
use super::support::{Server, Sql};

/// Runs `zemi` with these arguments to its end.
fn zemi(arguments: &[&str], settings: &[(String, String)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zemi"));
    command.args(arguments).env_clear();
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
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
    running.sigterm();
    assert_eq!(running.wait_exit(PATIENCE), Some(0));
    let (code, done, errors) = zemi(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(done.lines().count(), 4, "{done}");
    assert_eq!(zemi(&["cleanup"], &settings).1, "nothing to drop\n");
    let mut kept = Sql::open(&destination, "postgres");
    assert_eq!(kept.value("SELECT count(*) FROM changes"), "1");
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
    running.sigterm();
    assert_eq!(running.wait_exit(PATIENCE), Some(0));
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
