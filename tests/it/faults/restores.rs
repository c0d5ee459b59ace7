//! Servers that are set back to a copy, recovered to a point, or replaced by a standby: what is missing is
//! named, and what was written and never happened.

use crate::support::http::{free_port, metric};
use crate::support::proxy::{NetworkFault, Proxy};
use crate::support::scene::{PATIENCE, Settings, caught_up, settings, streaming, with};
use crate::support::{Server, Sql, Zemi, wait_until};

/// The keys of the rows that never happened, by the query of README.
pub fn never_happened(there: &mut Sql) -> String {
    let readme = include_str!("../../../README.md");
    let mut blocks = readme
        .split("```sql\n")
        .map(|rest| rest.split("```").next().unwrap());
    let query = blocks
        .find(|block| block.contains("never_happened"))
        .unwrap();
    let query = query.trim().trim_end_matches(';');
    there.text(&format!(
        "SELECT primary_key FROM ({query}) c ORDER BY primary_key::int"
    ))
}

fn keys(keys: impl IntoIterator<Item = u32>) -> String {
    let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    keys.join("\n")
}

fn end(sql: &mut Sql) -> String {
    sql.value("SELECT pg_current_wal_insert_lsn()")
}

/// Two servers of one version, and a zemi between them.
struct World {
    zemi: Zemi,
    sql: Option<Sql>,
    there: Sql,
    settings: Settings,
    source: Server,
    destination: Server,
}

impl World {
    fn new(major: u32) -> World {
        let (source, destination) = (Server::start(major, &[]), Server::start(major, &[]));
        let port = free_port().to_string();
        let settings = settings(&source, Some(&destination));
        let settings = with(
            &settings,
            &[("METRICS_PORT", &port), ("HTTP_BIND", "127.0.0.1")],
        );
        let mut sql = Sql::open(&source, "postgres");
        sql.run("CREATE TABLE t (id int PRIMARY KEY)");
        let zemi = streaming(&settings);
        let mut world = World {
            zemi,
            sql: Some(sql),
            there: Sql::open(&destination, "postgres"),
            settings,
            source,
            destination,
        };
        world.insert(1, 1);
        world.caught_up();
        world
    }

    fn sql(&mut self) -> &mut Sql {
        let open = || Sql::open(&self.source, "postgres");
        self.sql.get_or_insert_with(open)
    }

    fn insert(&mut self, from: u32, to: u32) {
        // Each a transaction of its own.
        for id in from..=to {
            self.sql().run(&format!("INSERT INTO t VALUES ({id})"));
        }
    }

    fn caught_up(&mut self) {
        caught_up(self.sql());
    }

    /// Ends the sessions and the server.
    fn stop_source(&mut self, mode: &str) {
        self.sql = None;
        self.source.stop(mode);
    }

    /// Starts zemi again and waits for the gap.
    fn start(&mut self) {
        self.zemi.kill();
        self.zemi = streaming(&self.settings);
        self.wait_for_gap();
    }

    fn wait_for_gap(&mut self) {
        let there = &mut self.there;
        wait_until("the gap is recorded", PATIENCE, || {
            there.value("SELECT count(*) FROM changes WHERE operation = 'MESSAGE'") != "0"
        });
    }

    /// All rows behind the gap, in the order in which they were written.
    fn behind_the_gap(&mut self) -> String {
        self.there.text(
            "SELECT primary_key FROM changes WHERE operation <> 'MESSAGE' AND created_at > \
             (SELECT max(created_at) FROM changes WHERE operation = 'MESSAGE') ORDER BY created_at, position",
        )
    }

    /// A value in the context of the only gap.
    fn gap(&mut self, path: &str) -> String {
        self.there.value(&format!(
            "SELECT context #>> '{{zemi_gap,{path}}}' FROM changes WHERE operation = 'MESSAGE'"
        ))
    }

    /// What was written between both positions may be missing, says the gap.
    fn assert_unknown(&mut self, from: &str, to: &str) {
        let [start, end] = ["from", "to"].map(|side| self.gap(&format!("unknown,{side}")));
        let within = format!("SELECT '{start}'::pg_lsn <= '{from}' AND '{to}'::pg_lsn <= '{end}'");
        assert_eq!(self.there.value(&within), "t", "{start} {from} {to} {end}");
    }

    fn assert_counted(&self, gaps: f64) {
        let port = self
            .settings
            .iter()
            .find(|(name, _)| name == "METRICS_PORT");
        let counted = metric(port.unwrap().1.parse().unwrap(), "gaps_total");
        assert!(counted == gaps, "{counted} gaps");
    }
}

/// A base backup, as `pg_basebackup` makes it: without the slot. Where it is `recovered`, that begins a new
/// timeline. Rows that were written to `changes` and never happened were not named, nor was a row that was
/// written before there was a slot.
fn base_backup_put_back(major: u32, recovered: bool) {
    let mut world = World::new(major);
    let mut open = Sql::open(&world.source, "postgres");
    // Its row is before the end of the backup, and its commit behind.
    open.run("BEGIN; INSERT INTO t VALUES (50)");
    let mut sql = world.sql.take().unwrap();
    world.source.keep_backup(&mut sql);
    world.sql = Some(sql);
    world.insert(2, 4);
    open.run("COMMIT");
    drop(open);
    world.insert(5, 7);
    world.caught_up();
    world.zemi.kill();
    world.stop_source("immediate");
    world.source.give_back();
    if recovered {
        world.source.write("data/recovery.signal", "");
        world
            .source
            .write("data/postgresql.auto.conf", "restore_command = 'false'\n");
    }
    world.source.up();
    wait_until("the server is recovered", PATIENCE, || {
        world.sql().value("SELECT pg_is_in_recovery()") == "f"
    });
    let from = end(world.sql());
    world.insert(100, 100);
    let to = end(world.sql());
    world.start();
    world.insert(200, 201);
    world.caught_up();
    let reason = if recovered {
        "timeline_diverged"
    } else {
        "source_went_back"
    };
    assert_eq!(world.gap("reason"), reason);
    assert_eq!(world.behind_the_gap(), "200\n201");
    world.assert_unknown(&from, &to);
    assert_eq!(never_happened(&mut world.there), keys((2..=7).chain([50])));
    world.assert_counted(1.0);
}

#[test]
fn a_base_backup_that_is_put_back_names_what_never_happened_and_what_is_unknown_on_15() {
    base_backup_put_back(15, false);
}

#[test]
fn a_base_backup_that_is_put_back_names_what_never_happened_and_what_is_unknown_on_18() {
    base_backup_put_back(18, false);
}

#[test]
fn a_base_backup_that_is_recovered_names_what_never_happened_and_what_is_unknown() {
    base_backup_put_back(15, true);
}

#[test]
fn a_recovery_to_a_point_names_what_never_happened_by_the_timelines() {
    let mut world = World::new(15);
    let mut sql = world.sql.take().unwrap();
    world.source.keep_backup(&mut sql);
    world.sql = Some(sql);
    world.insert(2, 4);
    let mut open = Sql::open(&world.source, "postgres");
    open.run("BEGIN; INSERT INTO t VALUES (50)");
    world.sql().run("SELECT pg_create_restore_point('here')");
    world.insert(5, 7);
    open.run("COMMIT");
    drop(open);
    world.caught_up();
    world.zemi.kill();
    world.stop_source("fast");
    // The WAL of before is the archive.
    let archive = world.source.dir().join("archive");
    std::fs::rename(world.source.dir().join("data/pg_wal"), &archive).unwrap();
    world.source.give_back();
    world.source.write("data/recovery.signal", "");
    let archive = archive.display();
    world.source.write(
        "data/postgresql.auto.conf",
        &format!(
            "restore_command = 'cp {archive}/%f %p'\nrecovery_target_name = 'here'\n\
             recovery_target_action = 'promote'\n"
        ),
    );
    world.source.up();
    wait_until("the server is recovered", PATIENCE, || {
        world.sql().value("SELECT pg_is_in_recovery()") == "f"
    });
    // Far beyond the progress: only the timeline tells.
    world
        .sql()
        .run("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))");
    world.insert(100, 100);
    world.start();
    world.insert(200, 200);
    world.caught_up();
    assert_eq!(world.gap("reason"), "timeline_diverged");
    assert_eq!(world.gap("never_happened,timeline"), "1");
    assert_eq!(world.gap("unknown,timeline"), "2");
    assert_eq!(never_happened(&mut world.there), keys((5..=7).chain([50])));
    assert_eq!(world.behind_the_gap(), "200");
    world.assert_counted(1.0);
}

/// A cold copy, with the slot or without. Rows with positions between the end of the copy and the end of the
/// server's WAL were not named: it had been written to before zemi came.
fn cold_copy_put_back(slot: bool, restarts: u32) {
    let mut world = World::new(15);
    world.stop_source("fast");
    world.source.keep();
    if !slot {
        world.source.keep_no_slots();
    }
    world.source.up();
    world.insert(2, 60);
    world.caught_up();
    world.zemi.kill();
    world.stop_source("immediate");
    world.source.give_back();
    world.source.up();
    // Each moves the place where the server began to write last.
    (0..restarts).for_each(|_| world.source.restart("fast"));
    let from = end(world.sql());
    world.insert(100, 110);
    let to = end(world.sql());
    world.start();
    world.insert(200, 200);
    world.caught_up();
    assert_eq!(world.gap("reason"), "source_went_back");
    assert_eq!(never_happened(&mut world.there), keys(2..=60));
    if slot {
        // All of it comes, also with the positions of rows that never happened.
        assert_eq!(world.behind_the_gap(), keys((100..=110).chain([200])));
        assert_eq!(world.gap("unknown"), "");
        assert_eq!(world.gap("never_happened,or_earlier"), "");
    } else {
        assert_eq!(world.behind_the_gap(), "200");
        world.assert_unknown(&from, &to);
        assert_eq!(world.gap("never_happened,or_earlier"), "true");
    }
    world.assert_counted(1.0);
}

#[test]
fn a_cold_copy_with_the_slot_names_what_never_happened_and_loses_nothing() {
    cold_copy_put_back(true, 0);
}

#[test]
fn a_cold_copy_that_was_started_several_times_names_what_never_happened_too() {
    cold_copy_put_back(true, 5);
}

#[test]
fn a_cold_copy_without_the_slot_names_what_never_happened_and_what_is_unknown() {
    cold_copy_put_back(false, 0);
}

/// The progress was before the end of the server's WAL, on another timeline: what was written since was
/// taken for written, and dropped.
#[test]
fn a_copy_of_an_earlier_timeline_that_has_outgrown_the_progress_loses_nothing() {
    let mut world = World::new(15);
    world.stop_source("fast");
    world.source.keep();
    world.source.write("data/standby.signal", "");
    world.source.up();
    world.source.promote();
    world.insert(2, 9);
    world.caught_up();
    let timeline = "SELECT timeline FROM zemi_progress";
    assert_eq!(world.there.value(timeline), "2");
    world.zemi.kill();
    world.stop_source("immediate");
    world.source.give_back();
    world.source.up();
    world.insert(100, 110);
    let fill = "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))";
    world.sql().run(fill);
    world.insert(111, 112);
    world.start();
    world.caught_up();
    assert_eq!(world.gap("reason"), "source_went_back");
    assert_eq!(world.gap("never_happened,timeline"), "2");
    assert_eq!(never_happened(&mut world.there), keys(2..=9));
    assert_eq!(world.behind_the_gap(), keys(100..=112));
    world.assert_counted(1.0);
}

/// The WAL outgrew the progress between the two starts: the second one alone sees nothing of the restore.
#[test]
fn a_restore_is_known_to_the_start_after_one_that_was_killed_while_it_made_the_slot() {
    let mut world = World::new(15);
    world.stop_source("fast");
    world.source.keep();
    world.source.keep_no_slots();
    world.source.up();
    world.insert(2, 60);
    world.caught_up();
    world.zemi.kill();
    world.stop_source("immediate");
    world.source.give_back();
    world.source.up();
    let from = end(world.sql());
    world.insert(100, 100);
    // The new slot waits for this transaction.
    let mut other = Sql::open(&world.source, "postgres");
    other.run("BEGIN; SELECT txid_current()");
    world.zemi = Zemi::start(&world.settings);
    world.zemi.wait_for_log("creating the slot waits", PATIENCE);
    world.zemi.kill();
    let fill = "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))";
    world.sql().run(fill);
    world.insert(101, 101);
    let to = end(world.sql());
    other.run("COMMIT");
    world.start();
    world.insert(200, 200);
    world.caught_up();
    assert_eq!(world.gap("reason"), "source_went_back");
    assert_eq!(never_happened(&mut world.there), keys(2..=60));
    assert_eq!(world.behind_the_gap(), "200");
    world.assert_unknown(&from, &to);
    world.assert_counted(1.0);
}

/// The row of the second gap would have had the position of the first one's, and was not written.
#[test]
fn a_copy_that_is_put_back_twice_leaves_two_gaps() {
    let mut world = World::new(15);
    world.stop_source("fast");
    world.source.keep();
    world.source.up();
    for gaps in ["1", "2"] {
        world.insert(2, 60);
        world.caught_up();
        world.zemi.kill();
        world.stop_source("immediate");
        world.source.give_back();
        world.source.up();
        world.zemi = streaming(&world.settings);
        world.caught_up();
        let seen = "SELECT count(*) FROM changes WHERE operation = 'MESSAGE'";
        assert_eq!(world.there.value(seen), gaps);
    }
    let seen = never_happened(&mut world.there);
    assert_eq!(seen, keys((2..=60).flat_map(|key| [key, key])));
}

#[test]
fn a_standby_without_the_end_and_without_the_slot_names_what_never_happened_and_what_is_unknown() {
    let mut world = World::new(15);
    world.stop_source("fast");
    let port = world.source.port();
    let standby = world
        .source
        .standby(&[("primary_conninfo", &format!("host=127.0.0.1 port={port}"))]);
    standby.stop("fast");
    world.source.up();
    let net = Proxy::start(port);
    world.zemi.kill();
    world.settings = with(&world.settings, &[("DB_PORT", &net.port().to_string())]);
    world.zemi = streaming(&world.settings);
    world.insert(2, 9);
    world.caught_up();
    world.stop_source("immediate");
    standby.up();
    standby.promote();
    let mut sql = Sql::open(&standby, "postgres");
    let from = end(&mut sql);
    sql.run("INSERT INTO t VALUES (100)");
    let to = end(&mut sql);
    net.lead_to(standby.port());
    world.wait_for_gap();
    sql.run("INSERT INTO t VALUES (200)");
    caught_up(&mut sql);
    assert_eq!(world.gap("reason"), "timeline_diverged");
    assert_eq!(never_happened(&mut world.there), keys(2..=9));
    assert_eq!(world.behind_the_gap(), "200");
    world.assert_unknown(&from, &to);
    world.assert_counted(1.0);
}

/// Each attempt to record the gap was counted.
#[test]
fn a_destination_that_was_set_back_is_one_gap_however_often_recording_it_fails() {
    let mut world = World::new(15);
    let net = Proxy::start(world.destination.port());
    world.zemi.kill();
    world.settings = with(
        &world.settings,
        &[("DEST_DB_PORT", &net.port().to_string())],
    );
    world.zemi = streaming(&world.settings);
    world.there.run("CHECKPOINT");
    world.destination.stop("fast");
    world.destination.keep();
    world.destination.up();
    world.insert(2, 4);
    world.caught_up();
    net.set(NetworkFault::Refusing);
    net.cut();
    world.destination.stop("immediate");
    world.destination.give_back();
    world.destination.up();
    world.there = Sql::open(&world.destination, "postgres");
    world.there.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN RAISE 'no room' USING ERRCODE = 'disk_full'; END$$; \
         CREATE TRIGGER refuse BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    world.insert(5, 5);
    net.set(NetworkFault::None);
    wait_until("recording fails again", PATIENCE, || {
        world.zemi.log().matches("SQLSTATE 53100").count() > 2
    });
    world.assert_counted(1.0);
    world.there.run("DROP TRIGGER refuse ON changes");
    world.wait_for_gap();
    world.caught_up();
    assert_eq!(world.gap("reason"), "destination_went_back");
    assert_eq!(world.gap("never_happened"), "");
    assert_eq!(never_happened(&mut world.there), "");
    assert_eq!(world.behind_the_gap(), "5");
    world.assert_counted(1.0);
}
