//! Health, metrics and status page, while all is well and while a server is away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::support::scene::{PATIENCE, caught_up, settings, streaming};
use super::support::{Server, Sql, Zemi, wait_until};

/// A port that is free now.
fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    probe.local_addr().unwrap().port()
}

/// The status code and the content.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: zemi\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, content) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, content.to_owned())
}

fn json(port: u16, path: &str) -> serde_json::Value {
    serde_json::from_str(&get(port, path).1).unwrap()
}

/// The value of a series of `/metrics`.
fn metric(port: u16, series: &str) -> f64 {
    let (status, page) = get(port, "/metrics");
    assert_eq!(status, 200);
    let line = page
        .lines()
        .find_map(|l| l.strip_prefix(&format!("zemi_{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in:\n{page}"))
        .parse()
        .unwrap()
}

fn with_ports(
    mut settings: Vec<(String, String)>,
    health: u16,
    metrics: u16,
) -> Vec<(String, String)> {
    for (name, value) in [
        ("HEALTH_PORT", health.to_string()),
        ("METRICS_PORT", metrics.to_string()),
        ("HTTP_BIND", "127.0.0.1".to_owned()),
    ] {
        settings.push((name.to_owned(), value));
    }
    settings
}

fn resident_kilobytes(zemi: &Zemi) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", zemi.id())).unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

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
    for (operation, count) in [
        ("insert", 10001.0),
        ("update", 3.0),
        ("delete", 1.0),
        ("truncate", 1.0),
    ] {
        let found = metric(port, &format!("changes_total{{operation=\"{operation}\"}}"));
        assert!(found == count, "{operation}: {found}");
    }
    assert!(metric(port, "transactions_total") == 1.0);
    assert!(metric(port, "commit_to_durable_seconds_count") == 1.0);
    assert!(metric(port, "batch_rows_sum") == 10006.0);
    assert!(metric(port, "replication_connected") == 1.0);
    assert!(metric(port, "storage_connected") == 1.0);
    assert!(metric(port, "queue_bytes") == 0.0);
    assert!(metric(port, "replication_lag_seconds") == 0.0);
    assert!(metric(port, "bytes_received_total") > 100_000.0);
    assert!(metric(port, "last_flushed_lsn") > 0.0);
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
    assert!(get(port, "/status").1.starts_with("<!doctype html>"));
    assert_eq!(get(port, "/readyz").0, 200);

    destination.stop("fast");
    sql.run("INSERT INTO t VALUES (1)");
    wait_until("it says that the destination is away", PATIENCE, || {
        get(port, "/readyz").0 == 503
    });
    assert_eq!(get(port, "/healthz").0, 200);
    let ready = json(port, "/readyz");
    assert_eq!(ready["state"], "destination away");
    assert_eq!(ready["destination"]["connected"], false);
    assert!(ready["destination"]["last_error"]["message"].is_string());
    assert_eq!(ready["source"]["connected"], true);
    wait_until("the lag is shown", PATIENCE, || {
        metric(port, "replication_lag_seconds") > 0.0
    });
    assert!(metric(port, "replication_lag_bytes") > 0.0);
    destination.up();
    caught_up(&mut sql);
    wait_until("it is ready again", PATIENCE, || {
        get(port, "/readyz").0 == 200
    });
    assert!(metric(port, "storage_reconnections_total") == 1.0);
    drop(zemi);
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

#[test]
fn a_thousand_idle_clients_and_garbage_cost_next_to_nothing() {
    let server = Server::start(15, &[]);
    let port = free_port();
    let zemi = streaming(&with_ports(settings(&server, None), port, port));
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(get(port, "/metrics").0, 200);
    let before = resident_kilobytes(&zemi);
    let mut clients = Vec::new();
    for n in 0..1000 {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        // It may be closed again already.
        let _ = match n % 3 {
            0 => client.write_all(b"GET / HTTP/1.1\r\nX-Endless: "),
            1 => client.write_all(&[0xff; 3000]),
            _ => Ok(()),
        };
        clients.push(client);
        if n % 100 == 0 {
            sql.run(&format!("INSERT INTO t VALUES ({n})"));
            assert_eq!(get(port, "/healthz").0, 200);
        }
    }
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "10");
    let grown = resident_kilobytes(&zemi).saturating_sub(before);
    assert!(grown < 2048, "{grown} kB more");
}
