//! Plain changes of plain tables, on every supported version.

use crate::support::replay::{assert_replays, assert_unique};
use crate::support::scene::{caught_up, changes, settings, streaming};
use crate::support::{Server, Sql};

/// Inserts, updates, deletes and a truncate, checked row by row.
fn crud(major: u32) {
    let server = Server::start(major, &[]);
    let mut sql = Sql::open(&server, "postgres");
    let zemi = streaming(&settings(&server, None));
    sql.run("CREATE TABLE t (id int PRIMARY KEY, v text, n numeric)");
    sql.run("INSERT INTO t VALUES (1, 'one', 1.50), (2, 'two', NULL)");
    sql.run("UPDATE t SET v = 'uno' WHERE id = 1");
    sql.run("UPDATE t SET id = 3 WHERE id = 1");
    sql.run("DELETE FROM t WHERE id = 2");
    caught_up(&mut sql);
    assert_replays(&mut sql, &mut Sql::open(&server, "postgres"), "t", &["id"]);
    sql.run("TRUNCATE t");
    caught_up(&mut sql);
    assert_eq!(
        changes(&mut sql, "operation, \"table\", primary_key, before, after"),
        r#"CREATE|t|1|{}|{"n": 1.50, "v": "one", "id": 1}
CREATE|t|2|{}|{"n": null, "v": "two", "id": 2}
UPDATE|t|1|{}|{"n": 1.50, "v": "uno", "id": 1}
UPDATE|t|3|{"id": 1}|{"n": 1.50, "v": "uno", "id": 3}
DELETE|t|2|{"id": 2}|{}
TRUNCATE|t|-|{}|{}"#
    );
    assert_unique(&mut sql);
    drop(zemi);
}

#[test]
fn crud_on_14() {
    crud(14);
}

#[test]
fn crud_on_15() {
    crud(15);
}

#[test]
fn crud_on_16() {
    crud(16);
}

#[test]
fn crud_on_17() {
    crud(17);
}

#[test]
fn crud_on_18() {
    crud(18);
}
