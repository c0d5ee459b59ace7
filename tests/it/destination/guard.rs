//! The guard: a batch that fails, wherever it fails, never moves the progress past its rows.

use std::time::Duration;

use crate::support::load::{Load, TABLES, assert_all_is_there};
use crate::support::proxy::{NetworkFault, Proxy};
use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{
    PATIENCE, caught_up, changes, settings, streaming, wait_for_locked, with,
};
use crate::support::{Scene, Server, Sql, Zemi, wait_until};

/// Much less than the default of `SHUTDOWN_TIMEOUT`, which is 30 s.
const MOMENT: Duration = Duration::from_secs(20);

/// Two servers, a table `t`, and zemi.
fn guarded(before_there: &str) -> (Scene, Zemi) {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let setup = Scene::two(15).before(table).before_there(before_there);
    setup.streaming()
}

/// The progress that is saved at the destination.
fn flushed(scene: &mut Scene) -> String {
    scene.there.value("SELECT flushed_lsn FROM zemi_progress")
}

/// A trigger on `changes` that raises this SQLSTATE for the rows of `t`, as `make` says when.
fn refuse(dest: &mut Sql, make: &str, sqlstate: &str) {
    dest.run(&format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE 'not now' USING ERRCODE = '{sqlstate}'; END$$;
         CREATE {make}"
    ));
}

/// How the log names what that trigger raised.
const REFUSED: &str = "public.refuse() line 1 at RAISE";

#[test]
fn a_batch_that_fails_inside_copy_or_at_commit_is_written_when_it_can_be() {
    let (mut scene, zemi) = guarded("");
    let inside = "TRIGGER refuse BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION refuse()";
    let at_commit = "CONSTRAINT TRIGGER refuse AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED \
                     FOR EACH ROW EXECUTE FUNCTION refuse()";
    let mut id = 0;
    // No space, an error of the application's, one of the data, and the guard's own division by zero.
    for make in [inside, at_commit] {
        for sqlstate in ["53100", "P0001", "23514", "22012"] {
            id += 1;
            let failures = zemi.log().matches(REFUSED).count();
            refuse(&mut scene.there, make, sqlstate);
            let before = scene.sql.value("SELECT pg_current_wal_insert_lsn()");
            scene.sql.run(&format!("INSERT INTO t VALUES ({id}, 'v')"));
            let zemi = &zemi;
            wait_until("zemi fails twice", PATIENCE, || {
                zemi.log().matches(REFUSED).count() > failures + 1
            });
            let flushed = flushed(&mut scene);
            let moved = format!("SELECT '{flushed}'::pg_lsn > '{before}'");
            assert_eq!(
                scene.sql.value(&moved),
                "f",
                "{sqlstate}: the progress moved to {flushed}"
            );
            let confirmed = format!(
                "SELECT confirmed_flush_lsn > '{before}' FROM pg_replication_slots WHERE slot_name = 'zemi'"
            );
            assert_eq!(scene.sql.value(&confirmed), "f", "{sqlstate} was confirmed");
            scene.there.run("DROP TRIGGER refuse ON changes");
            caught_up(&mut scene.sql);
        }
    }
    let keys: Vec<String> = (1..=id).map(|id: i32| id.to_string()).collect();
    assert_eq!(changes(&mut scene.there, "primary_key"), keys.join("\n"));
}

#[test]
fn defaults_of_the_destination_do_not_weaken_a_commit() {
    let (mut scene, _zemi) = guarded(
        "ALTER DATABASE postgres SET default_transaction_read_only = on;
         ALTER DATABASE postgres SET default_transaction_isolation = 'serializable';
         ALTER DATABASE postgres SET synchronous_commit = off;
         ALTER DATABASE postgres SET statement_timeout = '1ms';
         ALTER DATABASE postgres SET search_path = 'nowhere';
         ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '1ms'",
    );
    scene
        .sql
        .run("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 20000) g");
    caught_up(&mut scene.sql);
    assert_eq!(scene.there.value("SELECT count(*) FROM changes"), "20000");
}

#[test]
fn progress_that_somebody_moved_is_read_again() {
    let (mut scene, _zemi) = guarded("");
    scene.sql.run("INSERT INTO t VALUES (1, 'v')");
    caught_up(&mut scene.sql);
    // Ahead of what was read, as by an operator who wrote the change in between by hand.
    let here = scene.sql.value("SELECT pg_current_wal_insert_lsn()");
    scene
        .there
        .run(&format!("UPDATE zemi_progress SET flushed_lsn = '{here}'"));
    scene.sql.run("INSERT INTO t VALUES (2, 'v')");
    caught_up(&mut scene.sql);
    assert_eq!(changes(&mut scene.there, "primary_key"), "1\n2");
    // Back, as a restored backup has it: what was confirmed meanwhile cannot be had again.
    scene
        .there
        .run(&format!("UPDATE zemi_progress SET flushed_lsn = '{here}'"));
    scene.sql.run("INSERT INTO t VALUES (3, 'v')");
    caught_up(&mut scene.sql);
    assert_eq!(
        scene
            .there
            .text("SELECT operation, primary_key FROM changes ORDER BY created_at, position"),
        "CREATE|1\nCREATE|2\nMESSAGE|-\nCREATE|3"
    );
    // Removed: the position is known from the session.
    scene.there.run("DELETE FROM zemi_progress");
    scene.sql.run("INSERT INTO t VALUES (4, 'v')");
    caught_up(&mut scene.sql);
    assert_eq!(
        scene
            .there
            .value("SELECT count(*) FROM changes WHERE primary_key = '4'"),
        "1"
    );
    assert_ne!(flushed(&mut scene), "");
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_written_again() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run(TABLES);
    let proxy = Proxy::start(destination.port());
    let mut settings = settings(&source, Some(&destination));
    settings.push(("DEST_DB_PORT".into(), proxy.port().to_string()));
    let zemi = streaming(&settings);
    let load = Load::small(&source, 5, 2);
    proxy.set(NetworkFault::LosingReplies);
    wait_until("twenty replies are lost", PATIENCE, || {
        proxy.replies_lost() >= 20
    });
    proxy.set(NetworkFault::None);
    load.stop();
    let mut dest = Sql::open(&destination, "postgres");
    assert_all_is_there(&mut sql, &mut dest);
    drop(zemi);
}

/// As behind a pooler that hands out another server session for each transaction: the guard that was
/// prepared is gone, and the plain one does its work.
#[test]
fn a_session_that_forgets_what_was_prepared_is_written_to_all_the_same() {
    let source = Server::start(15, &[]);
    let destination = Server::start(15, &[]);
    let mut sql = Sql::open(&source, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut settings = settings(&source, Some(&destination));
    settings.push(("GIN_PENDING_LIST_LIMIT".into(), "16384".into()));
    let zemi = streaming(&settings);
    let mut dest = Sql::open(&destination, "postgres");
    dest.run(
        "CREATE TABLE limits (kb text); GRANT ALL ON limits TO public; \
         CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO public.limits VALUES (current_setting('gin_pending_list_limit')); \
         EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$; \
         CREATE TRIGGER forget AFTER INSERT ON changes EXECUTE FUNCTION forget()",
    );
    for id in 1..=3 {
        sql.run(&format!("INSERT INTO t VALUES ({id})"));
        caught_up(&mut sql);
    }
    let written = "SELECT string_agg(primary_key, ' ' ORDER BY position) FROM changes";
    assert_eq!(dest.value(written), "1 2 3");
    assert_eq!(dest.text("SELECT DISTINCT kb FROM limits"), "16MB");
    assert!(!zemi.log().contains("WARN"), "{}", zemi.log());
}

/// A backend whose line is dead kept the row of the progress for two hours, the default of the kernel.
#[test]
fn the_destination_notices_a_dead_line_by_itself() {
    let (mut scene, _zemi) = guarded("");
    scene.there.run(
        "CREATE TABLE seen (v text);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
           INSERT INTO public.seen SELECT string_agg(current_setting(n), ' ') FROM unnest(ARRAY[
             'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout']) n;
           RETURN NULL; END$$;
         CREATE TRIGGER look AFTER INSERT ON changes EXECUTE FUNCTION look()",
    );
    scene.sql.run("INSERT INTO t VALUES (1, 'x')");
    caught_up(&mut scene.sql);
    assert_eq!(scene.there.value("SELECT v FROM seen"), "10 5 4 20000");
}

#[test]
fn a_table_of_changes_that_was_dropped_is_made_again_for_a_large_transaction_too() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let _zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (0, '')");
    caught_up(&mut sql);
    sql.run("DROP TABLE changes");
    sql.run("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) n");
    caught_up(&mut sql);
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "2000");
    assert_unique(&mut sql);
}

#[test]
fn a_batch_that_a_dead_process_left_in_flight_is_not_written_twice() {
    let (source, destination) = (Server::start(15, &[]), Server::start(15, &[]));
    let mut sql = Sql::open(&source, "postgres");
    let mut there = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = with(
        &settings(&source, Some(&destination)),
        &[("SHUTDOWN_TIMEOUT", "1")],
    );
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (0)");
    caught_up(&mut sql);
    let mut blocker = Sql::open(&destination, "postgres");
    blocker.run("BEGIN; LOCK TABLE changes IN EXCLUSIVE MODE");
    sql.run("INSERT INTO t SELECT generate_series(1, 100)");
    wait_for_locked(&mut there, 1);
    zemi.sigterm();
    assert_eq!(zemi.wait_exit(MOMENT), Some(0));
    // The backend of the first flight still has all of it; that of the second waits for its progress.
    let zemi = streaming(&settings);
    wait_for_locked(&mut there, 2);
    blocker.run("COMMIT");
    sql.run("INSERT INTO t VALUES (101)");
    caught_up(&mut sql);
    assert_eq!(assert_replays(&mut sql, &mut there, "t", &["id"]), 102);
    assert_unique(&mut there);
    drop(zemi);
}

#[test]
fn another_destination_goes_on_where_the_one_before_ended() {
    let mut scene = Scene::two(15)
        .before("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .ready();
    let mut zemi = scene.start();
    scene.insert(1, 10);
    scene.caught_up();
    zemi.stop();
    scene.insert(11, 20);
    let second = Server::start(15, &[]);
    let mut zemi = streaming(&settings(&scene.source, Some(&second)));
    scene.insert(21, 30);
    scene.caught_up();
    zemi.stop();
    scene.insert(31, 40);
    let _zemi = scene.start();
    scene.caught_up();
    let span = "SELECT operation, min(primary_key::int), max(primary_key::int), count(*) \
                FROM changes GROUP BY 1, primary_key::int > 20 ORDER BY 2";
    assert_eq!(scene.there.text(span), "CREATE|1|10|10\nCREATE|31|40|10");
    let mut there = Sql::open(&second, "postgres");
    assert_eq!(there.text(span), "CREATE|11|20|10\nCREATE|21|30|10");
}
