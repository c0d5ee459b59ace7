//! Tables that are published later than they are written to: what they lost is a gap.

use crate::support::scene::{PATIENCE, caught_up, settings, streaming, with};
use crate::support::{Server, Sql, wait_until};

/// What the gaps of single tables say.
const TABLE_GAPS: &str = "SELECT \"table\", context->'zemi_gap'->>'operations', \
                          context->'zemi_gap'->>'possible' FROM changes \
                          WHERE operation = 'MESSAGE' ORDER BY 1";

/// A table that is made, filled, updated and emptied before zemi can have listed it, while one without a key
/// keeps it from being published at once.
fn new_tables(major: u32) {
    let server = Server::start(major, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let zemi = streaming(&settings(&server, None));
    sql.run(
        "BEGIN; CREATE TABLE inv (id int PRIMARY KEY, total int); \
         INSERT INTO inv VALUES (1, 100), (2, 200), (3, 300); \
         UPDATE inv SET total = total + 1 WHERE id < 3; DELETE FROM inv WHERE id = 3; COMMIT",
    );
    // With nothing missing, there is no gap.
    sql.run("CREATE TABLE quiet (id int PRIMARY KEY); INSERT INTO quiet VALUES (1)");
    zemi.wait_for_log("public.inv is published from", PATIENCE);
    sql.run("UPDATE inv SET total = 0 WHERE id = 1");
    zemi.wait_for_log("the table was published late", 4 * PATIENCE);
    let gap = "inv|{\"delete\": 1, \"update\": 2}|false";
    let inv =
        "SELECT operation, primary_key FROM changes WHERE \"table\" = 'inv' ORDER BY position";
    wait_until("the gap is recorded", PATIENCE, || {
        sql.text(TABLE_GAPS) == gap
    });
    let seen = sql.text(inv);
    let seen: Vec<&str> = seen.lines().filter(|line| *line != "MESSAGE|-").collect();
    assert_eq!(seen, ["CREATE|1", "CREATE|2", "CREATE|3", "UPDATE|1"]);
    zemi.wait_for_log("no change of public.quiet is missing", 2 * PATIENCE);
    assert_eq!(sql.text(TABLE_GAPS), gap);
}

#[test]
fn updates_of_a_table_before_it_was_listed_leave_a_gap_on_15() {
    new_tables(15);
}

#[test]
fn updates_of_a_table_before_it_was_listed_leave_a_gap_on_18() {
    new_tables(18);
}

#[test]
fn updates_of_a_table_that_was_made_while_zemi_was_stopped_may_be_missing() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO nopk VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    sql.run("CREATE TABLE inv (id int PRIMARY KEY, total int); INSERT INTO inv VALUES (1, 1)");
    sql.run("UPDATE inv SET total = 2");
    let _zemi = streaming(&settings);
    wait_until("the gap is recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "inv|{\"update\": 1}|true"
    });
}

#[test]
fn a_table_that_an_administrator_takes_out_of_the_publication_comes_back_with_a_gap() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int); CREATE TABLE t (id int PRIMARY KEY, v int)");
    let zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (1, 0)");
    caught_up(&mut sql);
    sql.run("ALTER PUBLICATION zemi_updates DROP TABLE t");
    sql.run("UPDATE t SET v = 1");
    zemi.wait_for_log("public.t is published from", PATIENCE);
    wait_until("the gap is recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "t|{\"delete\": null, \"update\": null}|true"
    });
    sql.run("UPDATE t SET v = 2");
    caught_up(&mut sql);
    assert_eq!(
        sql.value("SELECT count(*) FROM changes WHERE operation = 'UPDATE'"),
        "1"
    );
}

#[test]
fn a_table_that_comes_and_goes_before_it_is_listed_leaves_a_gap() {
    let server = Server::start(17, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let _zemi = streaming(&settings(&server, None));
    sql.run("CREATE TABLE staging (id int PRIMARY KEY); INSERT INTO staging VALUES (1), (2)");
    sql.run("UPDATE staging SET id = 3 WHERE id = 2; DROP TABLE staging");
    wait_until("the gap is recorded", 2 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "staging|{\"delete\": null, \"update\": null}|true"
    });
}

#[test]
fn a_table_that_was_listed_late_is_judged_by_the_next_process_where_the_first_was_killed() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run("CREATE TABLE inv (id int PRIMARY KEY, total int); INSERT INTO inv VALUES (1, 1)");
    sql.run("UPDATE inv SET total = 2");
    let comment = "SELECT obj_description(oid, 'pg_publication') FROM pg_publication \
                   WHERE pubname = 'zemi_updates'";
    wait_until("the table is kept", PATIENCE, || {
        sql.value(comment).contains("\"table\":\"inv\"")
    });
    zemi.kill();
    let _zemi = streaming(&settings);
    wait_until("the gap is recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "inv|{\"update\": 1}|true"
    });
    wait_until("the table is no longer kept", PATIENCE, || {
        sql.value(comment) == "made by zemi"
    });
}

#[test]
fn a_table_that_takes_the_place_of_another_loses_nothing_silently() {
    let server = Server::start(18, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int); CREATE TABLE t (id int PRIMARY KEY, v int)");
    let zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (1, 0)");
    sql.run(
        "BEGIN; CREATE TABLE t_new (LIKE t INCLUDING ALL); INSERT INTO t_new SELECT * FROM t; \
         ALTER TABLE t RENAME TO t_old; ALTER TABLE t_new RENAME TO t; COMMIT; UPDATE t SET v = 1",
    );
    zemi.wait_for_log("public.t is published from", PATIENCE);
    wait_until("the gap is recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "t|{\"update\": 1}|false"
    });
}

/// A role that lists the tables it may publish: PostgreSQL sends nothing of a new table.
#[test]
fn all_that_was_written_to_a_table_before_a_role_listed_it_is_a_gap() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run(
        "CREATE ROLE app; CREATE ROLE zemi LOGIN REPLICATION PASSWORD 'secret' IN ROLE app; \
         GRANT CREATE ON DATABASE postgres TO zemi; GRANT CREATE ON SCHEMA public TO zemi, app; \
         SET ROLE app; CREATE TABLE t (id int PRIMARY KEY)",
    );
    let settings = with(
        &settings(&server, None),
        &[("DB_USER", "zemi"), ("DB_PASSWORD", "secret")],
    );
    let zemi = streaming(&settings);
    sql.run("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1), (2)");
    sql.run("UPDATE late SET id = 3 WHERE id = 2");
    zemi.wait_for_log("public.late is published from", PATIENCE);
    sql.run("INSERT INTO late VALUES (4)");
    sql.run("RESET ROLE");
    wait_until("the gap is recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == "late|{\"insert\": 2, \"update\": 1}|false"
    });
    let seen = "SELECT primary_key FROM changes WHERE \"table\" = 'late' AND operation = 'CREATE'";
    assert_eq!(sql.text(seen), "4");
}

#[test]
fn an_update_is_refused_for_seconds_only_when_a_table_loses_its_key() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int, v int, CONSTRAINT pkey PRIMARY KEY (id))");
    let zemi = streaming(&settings(&server, None));
    sql.run("INSERT INTO t VALUES (1, 0)");
    caught_up(&mut sql);
    sql.run("ALTER TABLE t DROP CONSTRAINT pkey");
    let mut refused = 0;
    wait_until("UPDATE is allowed again", PATIENCE / 2, || {
        let done = sql.try_rows("UPDATE t SET v = 1").is_ok();
        refused += u32::from(!done);
        done
    });
    assert!(refused > 0, "the publication has all operations");
    zemi.wait_for_log("has no usable replica identity", PATIENCE);
}

/// What a transaction does to the catalog is seen although no other one began since the glance before it
/// ended.
#[test]
fn a_key_that_is_dropped_by_the_only_transaction_is_missed_by_no_glance() {
    let server = Server::start(15, &[("autovacuum", "off")]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int, v int, CONSTRAINT pkey PRIMARY KEY (id))");
    let destination = Server::start(15, &[]);
    let zemi = streaming(&with(
        &settings(&server, Some(&destination)),
        &[("LOG_LEVEL", "debug")],
    ));
    let glances = || zemi.log().matches("nothing has changed").count();
    sql.run("INSERT INTO t VALUES (1, 0)");
    let before = glances();
    sql.run("BEGIN; ALTER TABLE t DROP CONSTRAINT pkey");
    wait_until("zemi has glanced", PATIENCE, || glances() > before);
    sql.run("COMMIT");
    wait_until("UPDATE is allowed again", PATIENCE / 2, || {
        sql.try_rows("UPDATE t SET v = 1").is_ok()
    });
}

/// The counters of a role, or of a server that reset them, show less than the stream holds.
#[test]
fn counters_that_show_less_than_the_stream_prove_nothing() {
    let server = Server::start(18, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let zemi = streaming(&settings(&server, None));
    let fill = |table: &str| {
        format!(
            "CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1), (2); \
             UPDATE {table} SET id = 3 WHERE id = 2"
        )
    };
    sql.run("SET track_counts = off");
    sql.run(&fill("uncounted"));
    sql.run("SET track_counts = on");
    sql.run(&fill("reset"));
    zemi.wait_for_log("public.reset is published from", PATIENCE);
    wait_until("the server has counted", PATIENCE, || {
        sql.value("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'reset'") == "1"
    });
    sql.run("SELECT pg_stat_reset()");
    let unknown = "{\"delete\": null, \"update\": null}|true";
    let both = format!("reset|{unknown}\nuncounted|{unknown}");
    wait_until("both gaps are recorded", 4 * PATIENCE, || {
        sql.text(TABLE_GAPS) == both
    });
}

/// More tables than one look records one by one, left to the next process.
#[test]
fn each_of_hundreds_of_late_tables_has_its_gap_after_a_stop() {
    let server = Server::start(15, &[]);
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE nopk (i int)");
    let settings = settings(&server, None);
    let mut zemi = streaming(&settings);
    sql.run(
        "DO $$BEGIN FOR n IN 1..150 LOOP EXECUTE format('CREATE TABLE l%s (id int PRIMARY KEY); \
         INSERT INTO l%s VALUES (1); UPDATE l%s SET id = 2', n, n, n); END LOOP; END$$",
    );
    zemi.wait_for_log("public.l150 is published from", PATIENCE);
    caught_up(&mut sql);
    zemi.stop();
    let _zemi = streaming(&settings);
    let gaps = "SELECT count(*) FROM changes WHERE operation = 'MESSAGE'";
    wait_until("all gaps are recorded", 4 * PATIENCE, || {
        sql.value(gaps) == "150"
    });
}
