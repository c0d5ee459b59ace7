//! Settings as the Zig program of the same name takes them, and what it left on a server.

use crate::support::process::exit::REFUSED;
use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming, with};
use crate::support::{Server, Sql, Zemi};

const PUBLICATIONS: &str = "SELECT pubname FROM pg_publication ORDER BY pubname COLLATE \"C\"";

#[test]
fn values_that_switch_something_off_are_taken() {
    let server = Server::start(15, &[]);
    let settings = with(
        &settings(&server, None),
        &[
            ("HEALTH_PORT", "0"),
            ("METRICS_PORT", "0"),
            ("CONNECT_TIMEOUT", "0"),
            ("SHUTDOWN_TIMEOUT", "86400"),
            ("LOG_LEVEL", "ERR"),
            ("TABLES", "t,,u,"),
            ("EXCLUDE_COLUMNS", ",t.secret,"),
            ("SLOT_NAME", "ZEMI"),
        ],
    );
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, secret text); CREATE TABLE v (id int)");
    let mut zemi = Zemi::start(&settings);
    crate::support::wait_until("the slot is there and in use", PATIENCE, || {
        sql.value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'zemi' AND active")
            == "1"
    });
    sql.run("INSERT INTO v VALUES (1); INSERT INTO t VALUES (2, 's')");
    caught_up(&mut sql);
    let rows = changes(&mut sql, "\"table\", after");
    assert_eq!(rows, "t|{\"id\": 2}");
    assert_eq!(zemi.log(), "");
    zemi.stop();
}

#[test]
fn a_publication_that_sql_folded_is_found_everywhere() {
    let server = Server::start(15, &[]);
    let settings = with(
        &settings(&server, None),
        &[("PUBLICATION_NAME", "MyPub"), ("TABLES", "t")],
    );
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION MyPub FOR ALL TABLES; \
         COMMENT ON PUBLICATION mypub IS 'made by zemi'",
    );
    let (code, out, _) = Zemi::says(&["check"], &settings);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("mypub found"), "{out}");
    assert!(out.contains("no publication is called \"MyPub\""), "{out}");

    // It becomes a list, by way of mypub_next.
    let mut zemi = streaming(&settings);
    assert!(zemi.log().contains("publication mypub"), "{}", zemi.log());
    let said = zemi.log().matches("no publication is called").count();
    assert!((1..=2).contains(&said), "{}", zemi.log());
    sql.run("INSERT INTO t VALUES (1); UPDATE t SET id = 2");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut sql, "operation, primary_key"),
        "CREATE|1\nUPDATE|2"
    );
    assert_eq!(sql.text(PUBLICATIONS), "mypub\nmypub_updates");
    zemi.stop();
    let (_, shown, _) = Zemi::says(&["cleanup"], &settings);
    assert!(shown.contains("would drop publication mypub in"), "{shown}");
    assert!(
        shown.contains("would drop publication mypub_updates in"),
        "{shown}"
    );

    // The second one alone tells as well which ones are meant.
    sql.run("DROP PUBLICATION mypub");
    let (code, shown, errors) = Zemi::says(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{shown}{errors}");
    assert_eq!(sql.text(PUBLICATIONS), "");

    // Where neither is there, the name is taken as it is written; with quotes always.
    sql.run("CREATE PUBLICATION mypub FOR TABLE t");
    let quoted = with(&settings, &[("PUBLICATION_NAME", "\"MyPub\"")]);
    streaming(&quoted).stop();
    assert_eq!(sql.text(PUBLICATIONS), "MyPub\nMyPub_updates\nmypub");
    let mut zemi = streaming(&settings);
    assert!(
        zemi.log().contains("publication MyPub and"),
        "{}",
        zemi.log()
    );
    sql.run("INSERT INTO t VALUES (3)");
    caught_up(&mut sql);
    assert_eq!(changes(&mut sql, "primary_key"), "1\n2\n3");
    zemi.stop();
    let (code, shown, errors) = Zemi::says(&["cleanup", "--yes"], &settings);
    assert_eq!(code, 0, "{shown}{errors}");
    assert_eq!(sql.text(PUBLICATIONS), "mypub");
    sql.run("DROP PUBLICATION mypub");
    let last = with(&settings, &[("CLEANUP_ON_SHUTDOWN", "true")]);
    let mut zemi = streaming(&last);
    assert_eq!(sql.text(PUBLICATIONS), "MyPub\nMyPub_updates");
    zemi.stop();
    assert_eq!(sql.text(PUBLICATIONS), "");
}

#[test]
fn publications_of_the_longest_name_have_a_second_and_a_third() {
    let server = Server::start(15, &[]);
    let name = format!("{}_{}", "ü".repeat(20), "p".repeat(22));
    assert_eq!(name.len(), 63);
    let settings = with(&settings(&server, None), &[("PUBLICATION_NAME", &name)]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE keyless (id int)");
    streaming(&settings).stop();
    let made = sql.text(PUBLICATIONS);
    let made: Vec<&str> = made.lines().collect();
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made.contains(&name.as_str()), "{made:?}");
    assert!(
        made.iter().any(|made| made.ends_with("_updates")),
        "{made:?}"
    );

    // The list takes the place of FOR ALL TABLES by way of the third one.
    let listed = with(&settings, &[("TABLES", "t")]);
    let mut zemi = streaming(&listed);
    sql.run("INSERT INTO t VALUES (1); UPDATE t SET id = 2; INSERT INTO keyless VALUES (3)");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut sql, "operation, primary_key"),
        "CREATE|1\nUPDATE|2"
    );
    assert_eq!(sql.text(PUBLICATIONS).lines().count(), 2);
    zemi.stop();
    let (code, done, errors) = Zemi::says(&["cleanup", "--yes"], &listed);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(done.matches("will drop publication").count(), 2, "{done}");
    assert_eq!(sql.text(PUBLICATIONS), "");
}

#[test]
fn an_empty_password_is_none_and_is_missed_only_where_one_is_asked_for() {
    let server = Server::start(15, &[]);
    let good = settings(&server, None);
    for name in ["DB_PASSWORD", "DEST_DB_PASSWORD", "DESTINATION_DB_PASSWORD"] {
        let mut zemi = Zemi::start(&with(&good, &[(name, "")]));
        assert_eq!(zemi.wait_exit(PATIENCE), Some(REFUSED));
        let log = zemi.log();
        let wanted = format!(
            "the server asks for the password of \"postgres\", and {name} is empty. \
             Hint: give it in {name};"
        );
        assert!(log.contains(&wanted), "{log}");
    }

    let rules = server.dir().join("data/pg_hba.conf");
    std::fs::write(
        &rules,
        "local all all trust\nhost all all 127.0.0.1/32 trust\n\
                            host replication all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    let mut sql = Sql::open(&server, "postgres");
    sql.run("SELECT pg_reload_conf()");
    crate::support::wait_until("the server asks for nothing", PATIENCE, || {
        Sql::as_role(&server, "postgres", "postgres", "wr0ng").is_ok()
    });
    let empty = std::env::temp_dir().join(format!("zemi-empty-{}", std::process::id()));
    std::fs::write(&empty, "\n").unwrap();
    let file = empty.to_str().unwrap();
    let mut nothing = with(&good, &[("DB_PASSWORD_FILE", file)]);
    nothing.retain(|(name, _)| name != "DB_PASSWORD");
    let socket = server.dir().join("socket");
    let local = [("DB_PASSWORD", ""), ("DB_HOST", socket.to_str().unwrap())];
    for (n, settings) in [
        with(&good, &[("DB_PASSWORD", "")]),
        with(&good, &local),
        nothing,
    ]
    .iter()
    .enumerate()
    {
        let mut zemi = streaming(settings);
        sql.run(&format!(
            "CREATE TABLE t{n} (id int PRIMARY KEY); INSERT INTO t{n} VALUES (1)"
        ));
        caught_up(&mut sql);
        assert_eq!(
            sql.value("SELECT count(*) FROM changes"),
            (n + 1).to_string()
        );
        zemi.stop();
    }
    std::fs::remove_file(&empty).unwrap();
}
