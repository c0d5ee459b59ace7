//! The status page in a real browser, and the log for programs.
//!
//! The browser is Debian's package chromium; where it is not installed, the test says so.

use std::process::Command;

use crate::support::http::{free_port, with_ports};
use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Server, Sql, Zemi};

/// The page as it stands after a few refreshes. Time runs ahead in the browser while nothing is under way.
fn rendered(port: u16) -> String {
    let profile = std::env::temp_dir().join(format!("zemi-chromium-{}", std::process::id()));
    let output = Command::new("chromium")
        .args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run".split(' '))
        .args(
            "--disable-background-networking --disable-component-update --disable-sync".split(' '),
        )
        .args("--disable-dev-shm-usage --window-size=500,900 --virtual-time-budget=9000".split(' '))
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--dump-dom", &format!("http://127.0.0.1:{port}/status")])
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(&profile);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing_that_a_table_is_called() {
    if !Command::new("chromium")
        .arg("--version")
        .output()
        .is_ok_and(|v| v.status.success())
    {
        eprintln!("skipped: chromium is not installed (Debian: apt-get install chromium)");
        return;
    }
    let server = Server::start(15, &[]);
    let port = free_port();
    let _zemi = streaming(&with_ports(settings(&server, None), port, port));
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE TABLE \"<img src=x onerror=document.title=1>\" (id int PRIMARY KEY);
         INSERT INTO \"<img src=x onerror=document.title=1>\" SELECT generate_series(1, 1234)",
    );
    caught_up(&mut sql);
    let page = rendered(port);
    for part in [
        "<title>zemi</title>",
        "<b id=\"state\" class=\"good\">streaming</b>",
        "public.&lt;img src=x onerror=document.title=1&gt;",
        "1,234",
        "<td>SLOT_NAME</td><td>zemi</td>",
    ] {
        assert!(page.contains(part), "no {part} in:\n{page}");
    }
    assert!(!page.contains("<img"), "{page}");
    // Rates come with the second look.
    let inserts = "<td class=\"zero\">0<small class=\"mut\">1,234</small></td>";
    assert!(page.contains(inserts), "{page}");

    server.stop("fast");
    let page = rendered(port);
    assert!(page.contains("<b class=\"bad\">away</b>"), "{page}");
    let errors = page.split("id=\"errors\"").nth(1).unwrap();
    assert!(
        errors.split("</section>").next().unwrap().contains(" ago"),
        "{errors}"
    );
}

#[test]
fn each_line_of_the_json_log_is_an_object_with_the_same_five_keys() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE \"a\"\"\\b\" (id int)");
    let mut settings = settings(&server, None);
    settings.push(("LOG_FORMAT".into(), "json".into()));
    let mut zemi = streaming(&settings);
    server.restart("fast");
    zemi.wait_for_log("wait_seconds", PATIENCE);
    zemi.stop();
    let log = zemi.log();
    settings.push(("DB_PORT".into(), "none".into()));
    let mut refused = Zemi::start(&settings);
    assert_eq!(refused.wait_exit(PATIENCE), Some(78));
    let mut seen = Vec::new();
    for line in log.lines().chain(refused.log().lines()) {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        let mut expected = ["time", "level", "target", "message", "fields"];
        expected.sort_unstable();
        assert_eq!(keys, expected, "{line}");
        seen.push(line);
    }
    let fields = |begin: &str| {
        let mut all = seen
            .iter()
            .filter(|l| l["message"].as_str().unwrap().starts_with(begin));
        all.next()
            .unwrap_or_else(|| panic!("no {begin} in:\n{log}"))["fields"]
            .clone()
    };
    assert_eq!(fields("streaming from")["slot"], "zemi");
    assert_eq!(
        fields("UPDATE and DELETE")["table"],
        "\"public\".\"a\"\"\\b\""
    );
    assert_eq!(fields("DB_PORT")["exit_code"], 78);
    let retried = seen
        .iter()
        .find(|l| l["fields"]["wait_seconds"].is_number())
        .unwrap();
    assert!(retried["fields"]["side"].is_string(), "{retried}");
}
