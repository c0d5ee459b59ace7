//! A standby takes the place of a server: of the source, with its slot or without the last transactions; of
//! the destination, without its last commits. And servers that are set back to what they were.

use super::restores::never_happened;
use crate::support::cluster::PASSWORD;
use crate::support::http::{free_port, get, with_ports};
use crate::support::load::{Load, TABLES, assert_all_is_there};
use crate::support::process::exit::CONFIG;
use crate::support::proxy::Proxy;
use crate::support::replay::assert_unique;
use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// A standby that follows this server by the physical slot `standby`; both run.
fn standby_of(primary: &Server, more: &[(&str, &str)]) -> Server {
    Sql::open(primary, "postgres").run("SELECT pg_create_physical_replication_slot('standby')");
    primary.stop("fast");
    let port = primary.port();
    let to =
        format!("host=127.0.0.1 port={port} user=postgres password={PASSWORD} dbname=postgres");
    let mut options = vec![
        ("primary_conninfo", to.as_str()),
        ("primary_slot_name", "standby"),
        ("hot_standby_feedback", "on"),
        ("wal_retrieve_retry_interval", "100ms"),
    ];
    options.extend(more);
    let standby = primary.standby(&options);
    primary.up();
    standby
}

fn set(sql: &mut Sql, name: &str, value: &str) {
    sql.run(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    sql.run("SELECT pg_reload_conf()");
    wait_until("the setting holds", PATIENCE, || {
        sql.value(&format!("SHOW {name}")) == value
    });
}

/// The settings with the port of the one side replaced by this network's.
fn through(settings: &[(String, String)], name: &str, net: &Proxy) -> Vec<(String, String)> {
    let mut settings = settings.to_vec();
    settings.push((name.into(), net.port().to_string()));
    settings
}

/// A source with a standby that has its slots, a destination, and zemi.
struct Failover {
    zemi: Zemi,
    scene: Scene,
    standby: Server,
}

impl Failover {
    fn new() -> Failover {
        let primary = Server::start(17, &[]);
        Sql::open(&primary, "postgres").run(TABLES);
        let standby = standby_of(&primary, &[("sync_replication_slots", "on")]);
        let (scene, zemi) = Scene::on(primary, Some(Server::start(15, &[])))
            .networked()
            .with(&[("SLOT_FAILOVER", "true")])
            .streaming();
        Failover {
            zemi,
            scene,
            standby,
        }
    }

    /// The standby has the slot, to be used after a promotion.
    fn wait_for_slot(&self) {
        let mut standby = Sql::open(&self.standby, "postgres");
        let mut sql = Sql::open(&self.scene.source, "postgres");
        // It looks every half a minute where nothing happens.
        wait_until("the standby has the slot", PATIENCE * 4, || {
            // It takes a slot over when it knows all that the slot needs: it has to move a little.
            sql.run("SELECT pg_log_standby_snapshot(), pg_logical_emit_message(true, 'test', '')");
            let slot = "SELECT synced AND NOT temporary FROM pg_replication_slots \
                        WHERE slot_name = 'zemi'";
            standby.value(slot) == "t"
        });
    }

    /// The primary crashes and the standby takes its place.
    fn fail_over(&self) -> Sql {
        self.scene.source.stop("immediate");
        self.standby.up();
        self.standby.promote();
        self.scene.nets[0].lead_to(self.standby.port());
        Sql::open(&self.standby, "postgres")
    }
}

#[test]
fn a_failover_of_the_source_under_load_loses_nothing() {
    let mut failover = Failover::new();
    set(
        &mut Sql::open(&failover.scene.source, "postgres"),
        "synchronized_standby_slots",
        "standby",
    );
    let load = Load::small(&failover.scene.source, 17, 2);
    failover.wait_for_slot();
    let count = "SELECT count(*) FROM changes";
    let before: u64 = failover.scene.there.value(count).parse().unwrap();
    wait_until("zemi writes", PATIENCE, || {
        failover.scene.there.value(count).parse::<u64>().unwrap() > before + 200
    });
    let mut sql = failover.fail_over();
    load.stop();
    failover.zemi.wait_for_log("connecting again", PATIENCE);
    let number = assert_all_is_there(&mut sql, &mut failover.scene.there);
    assert!(number > 200, "{number} changes are no load");
    sql.run("INSERT INTO accounts SELECT -generate_series(1, 1000)");
    let more = assert_all_is_there(&mut sql, &mut failover.scene.there);
    assert_eq!(more, number + 1000);
    let gaps = "SELECT count(*) FROM changes WHERE operation = 'MESSAGE'";
    assert_eq!(failover.scene.there.value(gaps), "0");
    let slot = "SELECT failover FROM pg_replication_slots WHERE slot_name = 'zemi'";
    assert_eq!(sql.value(slot), "t");
}

#[test]
fn what_a_promoted_source_lacks_is_a_gap_and_what_it_does_then_is_not_passed_over() {
    let mut failover = Failover::new();
    let warning = "synchronized_standby_slots is empty";
    failover.zemi.wait_for_log(warning, PATIENCE);
    let mut old = Sql::open(&failover.scene.source, "postgres");
    old.run("INSERT INTO accounts VALUES (1)");
    caught_up(&mut old);
    failover.wait_for_slot();
    failover.standby.stop("fast");
    // Much of it, so that the new timeline begins far behind.
    old.run("INSERT INTO accounts SELECT generate_series(2, 2000)");
    caught_up(&mut old);
    drop(old);
    let mut sql = failover.fail_over();
    sql.run("INSERT INTO accounts VALUES (3001), (3002)");
    caught_up(&mut sql);
    let log = failover.zemi.log();
    assert!(log.contains("lacked the end of the old timeline"), "{log}");
    let seen = "SELECT operation, coalesce(context->'zemi_gap'->>'reason', primary_key) FROM changes \
                WHERE primary_key IS NULL OR primary_key::int IN (1, 2000) OR primary_key::int > 2000 \
                ORDER BY created_at, position";
    assert_eq!(
        failover.scene.there.text(seen),
        "CREATE|1\nCREATE|2000\nMESSAGE|timeline_diverged\nCREATE|3001\nCREATE|3002"
    );
    let lost: Vec<String> = (2..=2000).map(|key| key.to_string()).collect();
    let never = never_happened(&mut failover.scene.there);
    assert_eq!(never, lost.join("\n"));
    assert_unique(&mut failover.scene.there);
}

#[test]
fn a_slot_of_before_is_synchronised_and_a_server_that_cannot_is_named() {
    let server = Server::start(17, &[("synchronized_standby_slots", "")]);
    let mut plain = settings(&server, None);
    let mut sql = Sql::open(&server, "postgres");
    let failover = "SELECT failover FROM pg_replication_slots WHERE slot_name = 'zemi'";
    let mut zemi = streaming(&plain);
    assert_eq!(sql.value(failover), "f");
    zemi.stop();
    plain.push(("SLOT_FAILOVER".into(), "true".into()));
    let zemi = streaming(&plain);
    assert_eq!(sql.value(failover), "t");
    drop(zemi);

    let server = Server::start(15, &[]);
    let mut settings = settings(&server, None);
    settings.push(("SLOT_FAILOVER".into(), "true".into()));
    let mut zemi = Zemi::start(&settings);
    assert_eq!(zemi.wait_exit(PATIENCE), Some(CONFIG), "{}", zemi.log());
    let wanted = "SLOT_FAILOVER is true: expected PostgreSQL 17 or later, found 15";
    assert!(zemi.log().contains(wanted), "{}", zemi.log());
    let mut sql = Sql::open(&server, "postgres");
    assert_eq!(sql.value("SELECT count(*) FROM pg_replication_slots"), "0");
}

/// A destination whose standby lacks the last commits takes its place, while zemi runs or stands still.
fn destination_fails_over(running: bool) {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let standby = standby_of(&destination, &[]);
    let net = Proxy::start(destination.port());
    let settings = through(&settings(&source, Some(&destination)), "DEST_DB_PORT", &net);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    let mut behind = Sql::open(&standby, "postgres");
    wait_until("the standby has it", PATIENCE, || {
        behind.value("SELECT count(*) FROM changes") == "1"
    });
    drop(behind);
    standby.stop("fast");
    sql.run("INSERT INTO t VALUES (2)");
    caught_up(&mut sql);
    if !running {
        zemi.kill();
    }
    destination.stop("immediate");
    standby.up();
    net.lead_to(standby.port());
    if running {
        // A standby that is not promoted yet is waited for.
        sql.run("INSERT INTO t VALUES (3)");
        zemi.wait_for_log("found a standby in recovery", PATIENCE);
    }
    standby.promote();
    if !running {
        zemi = streaming(&settings);
        sql.run("INSERT INTO t VALUES (3)");
    }
    caught_up(&mut sql);
    let mut there = Sql::open(&standby, "postgres");
    let seen = "operation, coalesce(context->'zemi_gap'->>'reason', primary_key)";
    assert_eq!(
        changes(&mut there, seen),
        "CREATE|1\nMESSAGE|destination_went_back\nCREATE|3"
    );
    assert!(zemi.log().contains("lacks confirmed rows"));
}

#[test]
fn rows_that_a_promoted_destination_lacks_are_a_gap_while_zemi_runs() {
    destination_fails_over(true);
}

#[test]
fn rows_that_a_promoted_destination_lacks_are_a_gap_when_zemi_starts() {
    destination_fails_over(false);
}

/// A source that is set back to a copy of its data, while zemi runs or stands still.
fn source_set_back(running: bool) {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let settings = settings(&source, Some(&destination));
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    drop(sql);
    source.stop("fast");
    source.keep();
    source.up();
    let mut sql = Sql::open(&source, "postgres");
    sql.run("INSERT INTO t SELECT generate_series(2, 5000)");
    caught_up(&mut sql);
    drop(sql);
    if !running {
        zemi.kill();
    }
    source.stop("immediate");
    source.give_back();
    source.up();
    if !running {
        zemi = streaming(&settings);
    }
    zemi.wait_for_log("the source was restored to an older state", PATIENCE);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("INSERT INTO t VALUES (10001), (10002)");
    caught_up(&mut sql);
    let mut there = Sql::open(&destination, "postgres");
    let seen = "SELECT operation, coalesce(context->'zemi_gap'->>'reason', primary_key) FROM changes \
                WHERE primary_key IS NULL OR primary_key::int IN (1, 5000) OR primary_key::int > 5000 \
                ORDER BY created_at, position";
    assert_eq!(
        there.text(seen),
        "CREATE|1\nCREATE|5000\nMESSAGE|source_went_back\nCREATE|10001\nCREATE|10002"
    );
    assert_unique(&mut there);
}

#[test]
fn a_source_that_is_set_back_while_zemi_runs_is_a_gap() {
    source_set_back(true);
}

#[test]
fn a_source_that_is_set_back_before_zemi_starts_is_a_gap() {
    source_set_back(false);
}

/// The destination is a standby when zemi starts: for the first time, or with rows there that it replicated.
fn destination_is_a_standby_at_the_start(first: bool) {
    let (source, primary) = (Server::start(15, &[]), Server::start(15, &[]));
    let standby = standby_of(&primary, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut behind = Sql::open(&standby, "postgres");
    if !first {
        let _zemi = streaming(&settings(&source, Some(&primary)));
        sql.run("INSERT INTO t VALUES (1)");
        caught_up(&mut sql);
        wait_until("the standby has it", PATIENCE, || {
            let there = "SELECT to_regclass('changes') IS NOT NULL";
            behind.value(there) == "t" && behind.value("SELECT count(*) FROM changes") == "1"
        });
    }
    let port = free_port();
    let settings = with_ports(settings(&source, Some(&standby)), port, port);
    let zemi = Zemi::start(&settings);
    zemi.wait_for_log("found a standby in recovery", PATIENCE);
    if !first {
        sql.run("INSERT INTO t VALUES (2)");
    }
    wait_until("it tries again", PATIENCE, || {
        zemi.log().matches("trying again").count() > 2
    });
    assert!(zemi.log().contains("promote it by SELECT pg_promote()"));
    let (status, health) = get(port, "/healthz");
    assert_eq!((status, get(port, "/readyz").0), (200, 503));
    assert!(health.contains("found a standby in recovery"), "{health}");
    drop(primary);
    standby.promote();
    zemi.wait_for_log("streaming from", PATIENCE);
    sql.run("INSERT INTO t VALUES (3)");
    caught_up(&mut sql);
    let seen = "SELECT primary_key FROM changes WHERE operation = 'CREATE' ORDER BY position";
    let expected = if first { "3" } else { "1\n2\n3" };
    assert_eq!(behind.text(seen), expected);
    wait_until("it is ready", PATIENCE, || get(port, "/readyz").0 == 200);
}

#[test]
fn a_standby_as_the_destination_of_a_first_start_is_waited_for_until_it_is_promoted() {
    destination_is_a_standby_at_the_start(true);
}

#[test]
fn a_standby_that_has_the_rows_is_waited_for_until_it_is_promoted_and_nothing_is_lost() {
    destination_is_a_standby_at_the_start(false);
}
