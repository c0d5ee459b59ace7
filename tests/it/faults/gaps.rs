//! Changes that cannot be known any more are said to be missing, and the rest goes on.

use crate::support::scene::{PATIENCE, caught_up, changes, settings, streaming};
use crate::support::{Server, Sql, wait_until};

/// Publications that somebody drops while zemi is away, and while it runs.
fn dropped_publications(major: u32) {
    let source = Server::start(major, &[]);
    let destination = Server::start(major, &[]);
    let mut sql = Sql::open(&source, "postgres");
    let mut dest = Sql::open(&destination, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let settings = settings(&source, Some(&destination));
    let mut zemi = streaming(&settings);
    sql.run("INSERT INTO t VALUES (1)");
    caught_up(&mut sql);
    zemi.kill();
    sql.run("INSERT INTO t VALUES (2)");
    sql.run("DROP PUBLICATION zemi, zemi_updates");
    sql.run("INSERT INTO t VALUES (3)");
    let zemi = streaming(&settings);
    zemi.wait_for_log("may be missing: the publications were gone", PATIENCE);
    wait_until("zemi streams again", PATIENCE, || {
        zemi.log().ends_with("\n")
            && zemi
                .log()
                .lines()
                .last()
                .unwrap()
                .contains("streaming from")
    });
    sql.run("INSERT INTO t VALUES (4)");
    caught_up(&mut sql);
    let seen = changes(&mut dest, "operation, primary_key");
    assert_eq!(seen, "CREATE|1\nCREATE|2\nMESSAGE|-\nCREATE|4");
    let gap = dest
        .value("SELECT context->'zemi_gap'->>'reason' FROM changes WHERE operation = 'MESSAGE'");
    assert_eq!(gap, "publication_gone");

    sql.run("DROP PUBLICATION zemi, zemi_updates");
    sql.run("INSERT INTO t VALUES (5)");
    wait_until("zemi finds another gap", PATIENCE, || {
        zemi.log().matches("may be missing").count() > 1
    });
    wait_until("zemi streams again", PATIENCE, || {
        zemi.log()
            .lines()
            .last()
            .unwrap()
            .contains("streaming from")
    });
    sql.run("INSERT INTO t VALUES (6)");
    caught_up(&mut sql);
    let last = "SELECT operation, primary_key FROM changes ORDER BY position DESC LIMIT 2";
    assert_eq!(dest.text(last), "CREATE|6\nMESSAGE|-");
}

#[test]
fn publications_that_were_dropped_leave_a_gap_on_15() {
    dropped_publications(15);
}

#[test]
fn publications_that_were_dropped_leave_a_gap_on_18() {
    dropped_publications(18);
}
