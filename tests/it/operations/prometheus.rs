//! The metrics: their names and values, and whether Prometheus itself takes them.
//!
//! `promtool` and `prometheus` come with Debian's package prometheus; where they are not installed, the
//! tests say so and check the rest.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::http::{free_port, get, metric, try_get, with_ports};
use crate::support::proxy::{NetworkFault, Proxy};
use crate::support::scene::{PATIENCE, caught_up, drop_slot, settings, streaming};
use crate::support::{Server, Sql, Zemi, wait_until};

/// What there is beside what the Zig program exports, by type.
const NAMES: [(&str, &str); 3] = [
    (
        "counter",
        "changes_total transactions_total values_replaced_total gaps_total bytes_received_total \
         batches_total",
    ),
    (
        "gauge",
        "start_time_seconds replication_lag_seconds queue_bytes slot_retained_bytes ready \
         build_info",
    ),
    ("histogram", "commit_to_durable_seconds batch_rows"),
];

/// What the Zig program exports (its `Metrics.render`), and is exported here.
const SHARED: [(&str, &str); 3] = [
    (
        "counter",
        "changes_processed_total changes_filtered_total changes_duplicated_total \
         transactions_processed_total wal_messages_received_total keepalives_received_total \
         decode_errors_total persist_errors_total storage_reconnections_total \
         replication_reconnections_total transaction_early_flushes_total \
         replication_transient_errors_total replication_permanent_errors_total",
    ),
    (
        "gauge",
        "replication_lag_bytes last_received_lsn last_flushed_lsn replication_connected \
         storage_connected uptime_seconds",
    ),
    (
        "histogram",
        "persist_duration_seconds decode_duration_seconds",
    ),
];

/// The upper bounds of its histograms.
const BOUNDS: &str = "0.001 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf";

/// Which of these the dashboard does not show: second names, and what the other panels tell as well.
const NOT_SHOWN: &str = "changes_processed_total transactions_processed_total uptime_seconds \
                         transaction_early_flushes_total replication_transient_errors_total \
                         replication_permanent_errors_total decode_duration_seconds";

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let found = version.is_ok_and(|v| v.status.success());
    if !found {
        eprintln!(
            "skipped in part: {program} is not installed (Debian: apt-get install prometheus)"
        );
    }
    found
}

fn script(name: &str) -> String {
    format!("{}/scripts/deploy/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs promtool; its complaints are the failure.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "promtool {arguments:?}: {said:?}");
}

/// The metrics of zemi that a text names.
fn named_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("zemi_")).collect()
}

/// A zemi whose servers are not there: it answers all the same.
fn alone(port: u16) -> Zemi {
    let nobody = free_port().to_string();
    let settings = with_ports(vec![("DB_PORT".into(), nobody)], port, port);
    let zemi = Zemi::start(&settings);
    wait_until("it answers", PATIENCE, || {
        try_get(port, "/metrics").is_some()
    });
    zemi
}

#[test]
fn all_names_are_there_and_dashboard_and_alerts_name_no_others() {
    let port = free_port();
    let _zemi = alone(port);
    let page = get(port, "/metrics").1;
    let mut expected = BTreeSet::new();
    let own = NAMES.map(|names| ("zemi", names));
    let shared = SHARED.map(|names| ("zemi", names));
    let second = SHARED.map(|names| ("bemi", names));
    for (prefix, (kind, names)) in own.into_iter().chain(shared).chain(second) {
        for name in names.split_whitespace() {
            let line = format!("# TYPE {prefix}_{name} {kind}");
            assert!(page.lines().any(|l| l == line), "{line}:\n{page}");
            expected.insert(line);
        }
    }
    for name in SHARED[2].1.split_whitespace() {
        for bound in BOUNDS.split_whitespace() {
            let bucket = format!("zemi_{name}_bucket{{le=\"{bound}\"}} 0");
            assert!(page.lines().any(|l| l == bucket), "{bucket}:\n{page}");
        }
    }
    let found: BTreeSet<String> = page
        .lines()
        .filter(|l| l.starts_with("# TYPE "))
        .map(str::to_owned)
        .collect();
    assert_eq!(found, expected);
    let version = format!(
        "zemi_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    assert!(page.contains(&version), "{page}");

    let series = named_in(&page);
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(script(file)).unwrap();
        let named = named_in(&text);
        assert!(named.len() >= 5, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    let dashboard = std::fs::read_to_string(script("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for (_, names) in NAMES.into_iter().chain(SHARED) {
        for name in names.split_whitespace() {
            let is_second = NOT_SHOWN.split_whitespace().any(|other| other == name);
            let shown = panels.iter().any(|panel| {
                let targets = panel["targets"].as_array().unwrap().iter();
                let mut texts = targets.filter_map(|t| t["expr"].as_str());
                texts.any(|text| text.contains(&format!("zemi_{name}")))
            });
            assert!(shown != is_second, "{name}: a panel shows it: {shown}");
        }
    }
    if is_installed("promtool") {
        promtool(&["check", "metrics"], &page);
        promtool(&["check", "rules", &script("alerts.yml")], "");
    }
}

#[test]
fn what_is_filtered_replaced_refused_lost_and_there_already_is_counted() {
    let server = Server::start(15, &[]);
    let proxy = Proxy::start(server.port());
    let port = free_port();
    let mut settings = with_ports(settings(&server, None), port, port);
    for (name, value) in &mut settings {
        if name == "DB_PORT" {
            *value = proxy.port().to_string();
        }
    }
    settings.push(("EXCLUDE_TABLES".into(), "hidden".into()));
    let mut zemi = streaming(&settings);
    let mut sql = Sql::open(&server, "postgres");
    // It has every change of what follows, for another zemi.
    sql.run("SELECT pg_copy_logical_replication_slot('zemi', 'again')");
    sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, j json); CREATE TABLE hidden (id int PRIMARY KEY)",
    );
    sql.run("INSERT INTO hidden SELECT generate_series(1, 7); INSERT INTO t VALUES (0)");
    sql.run("INSERT INTO t VALUES (1, '\"\\u0000\"'), (2, '[1]'), (3, '\"\\ud800\"')");
    caught_up(&mut sql);
    assert!(metric(port, "values_replaced_total") == 2.0);
    assert!(metric(port, "changes_filtered_total") == 7.0);
    assert!(metric(port, "changes_total{operation=\"insert\"}") == 4.0);
    assert!(metric(port, "decode_errors_total") == 0.0);
    let rows = metric(port, "batch_rows_sum");
    assert!(rows == 4.0, "{rows}");
    assert!(metric(port, "persist_duration_seconds_count") == metric(port, "batches_total"));
    assert!(metric(port, "wal_messages_received_total") > 11.0);
    assert!(metric(port, "last_flushed_lsn") <= metric(port, "last_received_lsn"));

    proxy.set(NetworkFault::Garbling("garble"));
    sql.run("INSERT INTO t VALUES (4, '[\"\"]'), (5, '\"garble\"')");
    sql.run("CREATE TABLE u (id text PRIMARY KEY); INSERT INTO u VALUES ('garble')");
    caught_up(&mut sql);
    assert!(metric(port, "decode_errors_total") == 1.0);
    let again = metric(port, "replication_reconnections_total");
    assert!(again >= 1.0);
    assert!(metric(port, "replication_transient_errors_total") >= again);
    let changes = "SELECT count(*), count(DISTINCT position) FROM changes";
    assert_eq!(sql.text(changes), "7|7");

    // Another slot, and progress of its own: all of it is there already.
    zemi.stop();
    drop(zemi);
    let mut again = settings.clone();
    again.push(("SLOT_NAME".into(), "again".into()));
    let mut zemi = streaming(&again);
    wait_until("it comes to the end", PATIENCE, || {
        metric(port, "changes_duplicated_total") == 7.0
    });
    assert!(metric(port, "changes_total{operation=\"insert\"}") == 0.0);
    assert!(metric(port, "changes_processed_total{operation=\"CREATE\"}") == 0.0);
    assert_eq!(sql.text(changes), "7|7");
    zemi.stop();
    drop(zemi);

    drop_slot(&mut sql, "zemi");
    let _zemi = streaming(&settings);
    assert!(metric(port, "gaps_total") == 1.0);
    let errors = get(port, "/status.json").1;
    assert!(errors.contains("may be missing"), "{errors}");
}

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    dir: std::path::PathBuf,
}

impl Prometheus {
    fn start(dir: &Path, port: u16, scraped: u16) -> Prometheus {
        std::fs::create_dir(dir).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ {:?} ]\n\
             scrape_configs:\n- job_name: zemi\n  static_configs:\n  - targets: [ '127.0.0.1:{scraped}' ]\n",
            script("alerts.yml")
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}/prometheus.yml", dir.display()))
            .arg(format!("--storage.tsdb.path={}/data", dir.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let dir = dir.to_owned();
        Prometheus { child, dir }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_its_alerts_work() {
    if !is_installed("prometheus") {
        return;
    }
    let server = Server::start(15, &[]);
    let port = free_port();
    let mut zemi = streaming(&with_ports(settings(&server, None), port, port));
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)");
    caught_up(&mut sql);
    let asked = free_port();
    let dir = std::env::temp_dir().join(format!("zemi-prometheus-{}", std::process::id()));
    let _prometheus = Prometheus::start(&dir, asked, port);
    let read = |path: &str| -> Option<serde_json::Value> {
        let (status, content) = try_get(asked, path)?;
        (status == 200).then(|| serde_json::from_str(&content).unwrap())
    };
    let value = |query: &str| {
        let answer = read(&format!("/api/v1/query?query={query}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?;
        value.parse::<f64>().ok()
    };
    wait_until("it has scraped", PATIENCE, || {
        value("sum(zemi_changes_total)") == Some(100.0)
    });
    assert_eq!(value("up"), Some(1.0));
    assert_eq!(value("zemi_ready"), Some(1.0));
    assert_eq!(value("zemi_batch_rows_sum"), Some(100.0));
    let rules = read("/api/v1/rules").unwrap();
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(rules.len(), 7);
    let firing = |name: &str| {
        let rules = read("/api/v1/rules")?;
        let mut all = rules["data"]["groups"][0]["rules"].as_array()?.iter();
        let rule = all.find(|r| r["name"] == name)?;
        assert_eq!(rule["lastError"], serde_json::Value::Null, "{rule}");
        rule["state"].as_str().map(str::to_owned)
    };
    assert_eq!(firing("ZemiGap").as_deref(), Some("inactive"));

    zemi.stop();
    wait_until("it sees that zemi is down", PATIENCE, || {
        firing("ZemiDown").as_deref() == Some("pending")
    });
    drop_slot(&mut sql, "zemi");
    let _zemi = streaming(&with_ports(settings(&server, None), port, port));
    wait_until("it sees the gap", PATIENCE, || {
        firing("ZemiGap").as_deref() == Some("firing")
    });
}
