//! Partitions: leaves are published, and the topmost table stands for them in a list.

use super::listed;
use crate::support::Scene;

const ROOTS: &str = "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
     CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
     CREATE TABLE q (id int, v text) PARTITION BY RANGE (id);
     CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (100);
     ALTER TABLE q1 REPLICA IDENTITY FULL;
     CREATE TABLE bare (id int);
     CREATE TABLE parent (id int PRIMARY KEY);
     CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)";

fn a_later_partition(major: u32) {
    let (mut scene, _zemi) = Scene::one(major).before(ROOTS).streaming();
    // Without a primary key of the root, a partition that is made later could not publish its updates.
    assert_eq!(listed(&mut scene.sql, "zemi_updates"), "p q1 parent child");
    scene.sql.run(
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);
         INSERT INTO p VALUES (150, 'a'); UPDATE p SET v = 'b'; DELETE FROM p",
    );
    assert_eq!(
        scene.changes_where("\"table\" LIKE 'p%'", "operation, primary_key"),
        "CREATE|150\nUPDATE|150\nDELETE|150"
    );
    // One partition may be emptied alone.
    scene.sql.run("INSERT INTO p VALUES (1, 'a'); TRUNCATE p1");
    let truncated = scene.changes_where("operation = 'TRUNCATE'", "operation");
    assert_eq!(truncated, "TRUNCATE");
}

#[test]
fn a_partition_that_is_made_later_is_covered_by_its_root_on_15() {
    a_later_partition(15);
}

#[test]
fn a_partition_that_is_made_later_is_covered_by_its_root_on_18() {
    a_later_partition(18);
}

#[test]
fn a_name_in_tables_covers_all_below_it() {
    let (mut scene, mut zemi) = Scene::one(15)
        .before(ROOTS)
        .with(&[("TABLES", "p,q,parent"), ("EXCLUDE_TABLES", "child")])
        .streaming();
    assert_eq!(listed(&mut scene.sql, "zemi"), "p q parent");
    assert_eq!(listed(&mut scene.sql, "zemi_updates"), "p q1 parent");
    zemi.stop();
    let _zemi = scene.start_with(&[("TABLES", "p1")]);
    assert_eq!(listed(&mut scene.sql, "zemi"), "p1");
}

#[test]
fn publications_by_the_root_are_altered() {
    let (mut scene, mut zemi) = Scene::one(15).before(ROOTS).streaming();
    zemi.stop();
    scene.sql.run(
        "ALTER PUBLICATION zemi SET (publish_via_partition_root = true);
         ALTER PUBLICATION zemi_updates SET (publish_via_partition_root = true)",
    );
    let _zemi = scene.start_with(&[("PUBLISH_VIA_PARTITION_ROOT", "true")]);
    let by_root = "SELECT count(*) FROM pg_publication WHERE pubviaroot";
    assert_eq!(scene.sql.value(by_root), "0");
}
