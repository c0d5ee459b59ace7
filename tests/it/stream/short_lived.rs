//! Tables that come and go without end.

use crate::support::http::resident_kilobytes;
use crate::support::{Scene, Server};

/// How much memory zemi may have more after all of them, in kB.
const MOST_GROWTH: u64 = 1024;

/// Makes, fills and drops tables, each with a type of its own, in transactions of their own.
const CHURN: &str = "CREATE PROCEDURE churn(first int, last int) LANGUAGE plpgsql AS $$BEGIN \
     FOR n IN first..last LOOP \
         EXECUTE format('CREATE TYPE kind_%s AS ENUM (''a'')', n); \
         EXECUTE format('CREATE TABLE short_lived_%s (id int PRIMARY KEY, kind kind_%s, v json)', n, n); \
         EXECUTE format('INSERT INTO short_lived_%s VALUES (%s, ''a'', \
             ''\"\\u0000\"'')', n, n); \
         COMMIT; \
         EXECUTE format('DROP TABLE short_lived_%s; DROP TYPE kind_%s', n, n); \
         COMMIT; \
     END LOOP; END$$";

fn leave_nothing_in_memory(major: u32) {
    let (mut scene, zemi) = Scene::on(Server::start(major, &[]), Some(Server::start(major, &[])))
        .before(&format!("CREATE TABLE t (id int PRIMARY KEY); {CHURN}"))
        .streaming();
    // What the first ones need is no growth.
    scene.sql.run("CALL churn(1, 4500)");
    scene.caught_up();
    let before = resident_kilobytes(&zemi);
    for part in 3..5 {
        scene.sql.run(&format!(
            "CALL churn({}, {})",
            part * 1500 + 1,
            (part + 1) * 1500
        ));
        scene.caught_up();
    }
    let after = resident_kilobytes(&zemi);
    let written = "SELECT count(DISTINCT \"table\") FROM changes WHERE operation = 'CREATE'";
    assert_eq!(scene.there.value(written), "7500");
    println!("{before} kB, and after 3000 more tables {after} kB");
    assert!(after < before + MOST_GROWTH, "{before} kB, then {after} kB");
    let log = zemi.log();
    assert!(log.lines().count() < 1000, "{} lines", log.lines().count());
    assert!(!log.contains(" ERROR "), "{log}");
}

#[test]
fn tables_that_come_and_go_leave_nothing_in_memory_on_15() {
    leave_nothing_in_memory(15);
}

#[test]
fn tables_that_come_and_go_leave_nothing_in_memory_on_18() {
    leave_nothing_in_memory(18);
}
