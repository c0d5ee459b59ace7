//! Health, metrics and status page, while all is well and while a server is away.

use std::time::Duration;

use crate::support::http::{free_port, get, json, metric, with_ports};
use crate::support::replay::assert_unique;
use crate::support::scene::{PATIENCE, caught_up, settings, streaming, with};
use crate::support::{Server, Sql, Zemi, wait_until};

#[test]
fn what_happens_is_counted_and_an_outage_is_shown() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let port = free_port();
    let zemi = streaming(&with_ports(
        settings(&source, Some(&destination)),
        port,
        port,
    ));
    let mut sql = Sql::open(&source, "postgres");
    sql.run(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE \"o\"\"dd\" (id int PRIMARY KEY);
         INSERT INTO t SELECT generate_series(1, 10000); INSERT INTO \"o\"\"dd\" VALUES (1);
         UPDATE t SET id = -id WHERE id <= 3; DELETE FROM t WHERE id = 4; TRUNCATE t",
    );
    caught_up(&mut sql);
    assert_all_is_counted(port);
    let status = json(port, "/status.json");
    assert_eq!(
        status["tables"]["public.t"],
        serde_json::json!([10000, 3, 1, 1])
    );
    assert_eq!(
        status["tables"]["public.o\"dd"],
        serde_json::json!([1, 0, 0, 0])
    );
    assert_eq!(status["state"], "streaming");
    assert_eq!(status["status"], "ok");
    assert!(get(port, "/status").1.starts_with("<!doctype html>"));
    for path in ["/readyz", "/ready", "/healthz", "/health", "/"] {
        assert_eq!(get(port, path).0, 200, "{path}");
        let said = json(port, path);
        assert_eq!(said["status"], "ok", "{path}");
        assert_eq!(said["replication"], true, "{path}");
        assert_eq!(said["storage"], true, "{path}");
    }

    destination.stop("fast");
    sql.run("INSERT INTO t VALUES (1)");
    wait_until("it says that the destination is away", PATIENCE, || {
        get(port, "/readyz").0 == 503
    });
    assert_destination_is_away(port);
    destination.up();
    caught_up(&mut sql);
    wait_until("it is ready again", PATIENCE, || {
        get(port, "/readyz").0 == 200
    });
    assert!(metric(port, "storage_reconnections_total") == 1.0);
    assert!(metric(port, "queue_bytes") == 0.0);
    assert!(metric(port, "ready") == 1.0);
    source.restart("fast");
    let mut sql = Sql::open(&source, "postgres");
    wait_until("it reads the source again", PATIENCE, || {
        metric(port, "replication_reconnections_total") == 1.0
    });
    assert!(metric(port, "replication_transient_errors_total") >= 1.0);
    assert!(metric(port, "replication_permanent_errors_total") == 0.0);
    caught_up(&mut sql);
    assert!(metric(port, "storage_reconnections_total") == 1.0);
    drop(zemi);
}

/// The metrics after the statements of the test above.
fn assert_all_is_counted(port: u16) {
    for (operation, count) in [
        ("insert", 10001.0),
        ("update", 3.0),
        ("delete", 1.0),
        ("truncate", 1.0),
    ] {
        let found = metric(port, &format!("changes_total{{operation=\"{operation}\"}}"));
        assert!(found == count, "{operation}: {found}");
        let name = match operation {
            "insert" => "CREATE".to_owned(),
            other => other.to_uppercase(),
        };
        let found = metric(
            port,
            &format!("changes_processed_total{{operation=\"{name}\"}}"),
        );
        assert!(found == count, "{name}: {found}");
    }
    assert!(metric(port, "transactions_total") == 1.0);
    assert!(metric(port, "transactions_processed_total") == 1.0);
    // Of the one transaction, every batch but the last was a fragment.
    let batches = metric(port, "batch_rows_count");
    assert!(metric(port, "transaction_early_flushes_total") == batches - 1.0);
    assert!(metric(port, "decode_duration_seconds_count") >= 1.0);
    assert!(metric(port, "decode_duration_seconds_sum") > 0.0);
    assert!(metric(port, "uptime_seconds") > 0.0);
    assert!(metric(port, "replication_transient_errors_total") == 0.0);
    assert!(metric(port, "commit_to_durable_seconds_count") == 1.0);
    assert!(metric(port, "batch_rows_sum") == 10006.0);
    assert!(metric(port, "replication_connected") == 1.0);
    assert!(metric(port, "storage_connected") == 1.0);
    assert!(metric(port, "queue_bytes") == 0.0);
    assert!(metric(port, "replication_lag_seconds") == 0.0);
    assert!(metric(port, "bytes_received_total") > 100_000.0);
    assert!(metric(port, "last_flushed_lsn") > 0.0);
}

/// The pages and metrics while the source is followed and the destination is stopped.
fn assert_destination_is_away(port: u16) {
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(get(port, "/health").0, 200);
    assert_eq!(get(port, "/ready").0, 503);
    for path in ["/health", "/ready", "/status.json"] {
        let said = json(port, path);
        assert_eq!(said["status"], "unhealthy", "{path}");
        assert_eq!(said["replication"], true, "{path}");
        assert_eq!(said["storage"], false, "{path}");
    }
    let ready = json(port, "/readyz");
    assert_eq!(ready["state"], "destination away");
    assert_eq!(ready["destination"]["connected"], false);
    assert!(ready["destination"]["last_error"]["message"].is_string());
    assert_eq!(ready["source"]["connected"], true);
    assert_eq!(ready["since"], ready["destination"]["since"]);
    assert_eq!(ready["last_error"], ready["destination"]["last_error"]);
    assert!(metric(port, "ready") == 0.0);
    wait_until("the lag is shown", PATIENCE, || {
        metric(port, "replication_lag_seconds") > 0.0
    });
    assert!(metric(port, "replication_lag_bytes") > 0.0);
    assert!(metric(port, "queue_bytes") > 0.0);
    assert!(metric(port, "persist_errors_total") > 0.0);
    let errors = json(port, "/status.json")["destination"]["errors"].clone();
    assert!(errors[0]["message"].is_string(), "{errors}");
}

#[test]
fn pages_answer_before_the_servers_do_and_each_port_has_its_own() {
    let (health, metrics, nobody) = (free_port(), free_port(), free_port());
    let settings: Vec<(String, String)> = vec![("DB_PORT".into(), nobody.to_string())];
    let zemi = Zemi::start(&with_ports(settings, health, metrics));
    zemi.wait_for_log("trying again", PATIENCE);
    assert_eq!(get(health, "/healthz").0, 200);
    assert_eq!(get(health, "/readyz").0, 503);
    assert_eq!(get(health, "/metrics").0, 404);
    assert_eq!(get(metrics, "/healthz").0, 404);
    assert_eq!(get(metrics, "/"), (200, "ok\n".to_owned()));
    assert!(get(health, "/").1.starts_with("{\"state\":"));
    assert!(metric(metrics, "replication_transient_errors_total") >= 1.0);
    assert!(metric(metrics, "replication_connected") == 0.0);
    let mut asked = Zemi::with_args(&["health"], &with_ports(Vec::new(), health, metrics));
    assert_eq!(asked.wait_exit(PATIENCE), Some(0));
    let mut asked = Zemi::with_args(&["health"], &with_ports(Vec::new(), metrics, health));
    assert_eq!(asked.wait_exit(PATIENCE), Some(69));
    let mut second = Zemi::start(&with_ports(Vec::new(), health, metrics));
    assert_eq!(second.wait_exit(PATIENCE), Some(78));
    assert!(
        second.log().contains("as HEALTH_PORT asks"),
        "{}",
        second.log()
    );
}

/// A trigger that refuses every row as a full disk would.
const FULL_DISK: &str = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END$$;
    CREATE TRIGGER full_disk BEFORE INSERT ON changes
    FOR EACH STATEMENT EXECUTE FUNCTION full_disk()";

#[test]
fn a_destination_that_answers_and_takes_nothing_is_never_ready() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let port = free_port();
    let settings = with_ports(settings(&source, Some(&destination)), port, port);
    let _zemi = streaming(&settings);
    let mut sql = Sql::open(&source, "postgres");
    let mut other = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, x text)");
    // Within a batch, and larger than one.
    for rows in [
        "SELECT 0, ''",
        "SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n",
    ] {
        other.run(FULL_DISK);
        let before = metric(port, "persist_errors_total");
        sql.run(&format!("INSERT INTO t {rows}"));
        wait_until("it is refused", PATIENCE, || {
            metric(port, "persist_errors_total") > before
        });
        let mut seen = 0;
        wait_until("it is refused again and again", PATIENCE, || {
            seen += u32::from(get(port, "/readyz").0 == 200);
            metric(port, "persist_errors_total") >= before + 4.0
        });
        assert_eq!(seen, 0, "it said that it is ready");
        assert_eq!(get(port, "/healthz").0, 200);
        other.run("DROP TRIGGER full_disk ON changes; DROP FUNCTION full_disk");
        wait_until("it is ready again", PATIENCE, || {
            get(port, "/readyz").0 == 200
        });
    }
    caught_up(&mut sql);
    // The second one is larger than a batch, however often it was begun anew.
    assert!(metric(port, "transaction_early_flushes_total") >= 4.0);
    assert_eq!(other.value("SELECT count(*) FROM changes"), "20001");
}

#[test]
fn no_text_of_a_trigger_is_shown_since_it_may_hold_a_row() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let port = free_port();
    let settings = with_ports(settings(&source, Some(&destination)), port, port);
    let zemi = streaming(&with(&settings, &[("LOG_LEVEL", "debug")]));
    let mut sql = Sql::open(&source, "postgres");
    let mut other = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, x text)");
    for (id, sqlstate) in ["P0001", "53100", "ZZ001", "40001"].iter().enumerate() {
        other.run(&format!(
            "CREATE OR REPLACE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
                 RAISE EXCEPTION 'bad %', NEW USING ERRCODE = '{sqlstate}', DETAIL = NEW, HINT = NEW; END$$;
             CREATE TRIGGER bad BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION bad()"
        ));
        sql.run(&format!("INSERT INTO t VALUES ({id}, 'TopSecret')"));
        let place = format!("public.bad() line 2 at RAISE (SQLSTATE {sqlstate})");
        wait_until("the pages show the error", PATIENCE, || {
            get(port, "/readyz").1.contains(&place)
        });
        for path in ["/status.json", "/status", "/healthz", "/readyz"] {
            let (_, body) = get(port, path);
            assert!(!body.contains("TopSecret"), "{path}: {body}");
        }
        other.run("DROP TRIGGER bad ON changes");
        caught_up(&mut sql);
    }
    assert!(!zemi.log().contains("TopSecret"), "{}", zemi.log());
}

#[test]
fn waiting_for_the_destination_is_not_decoding() {
    let server = Server::start(15, &[]);
    let port = free_port();
    let _zemi = streaming(&with_ports(settings(&server, None), port, port));
    let mut sql = Sql::open(&server, "postgres");
    let mut other = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, x text)");
    caught_up(&mut sql);
    other.run("BEGIN; LOCK TABLE changes IN EXCLUSIVE MODE");
    // Several batches: the decoder waits inside a chunk.
    sql.run("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n");
    let held = Duration::from_secs(6);
    std::thread::sleep(held);
    other.run("COMMIT");
    caught_up(&mut sql);
    let decoding = metric(port, "decode_duration_seconds_sum");
    assert!(decoding < held.as_secs_f64(), "{decoding}");
    assert!(metric(port, "persist_duration_seconds_sum") > 5.0);
}

#[test]
fn duplicates_are_not_counted_as_changes() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&server, None);
    let mut first = streaming(&settings);
    sql.run("SELECT pg_create_logical_replication_slot('second', 'pgoutput')");
    sql.run("INSERT INTO t SELECT generate_series(1, 5); UPDATE t SET id = 6 WHERE id = 5");
    caught_up(&mut sql);
    first.stop();
    let port = free_port();
    let more = [("SLOT_NAME", "second"), ("METRICS_PORT", &port.to_string())];
    let _second = streaming(&with(&settings, &more));
    sql.run("INSERT INTO t VALUES (7)");
    wait_until("the new row is there", PATIENCE, || {
        sql.value("SELECT count(*) FROM changes WHERE primary_key = '7'") == "1"
    });
    wait_until("it is counted", PATIENCE, || {
        metric(port, "changes_total{operation=\"insert\"}") == 1.0
    });
    assert!(metric(port, "changes_total{operation=\"update\"}") == 0.0);
    assert!(metric(port, "changes_duplicated_total") == 6.0);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "7");
    assert_unique(&mut sql);
}
