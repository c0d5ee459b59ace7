//! Entries of the settings that match nothing.

use super::{findings, fix_of};
use crate::support::Scene;

#[test]
fn what_matches_nothing_is_said_at_the_start_and_by_check() {
    let before = "CREATE TABLE \"Users\" (id int PRIMARY KEY, secret text);
         CREATE TABLE orders (id int PRIMARY KEY); CREATE VIEW recent AS SELECT * FROM orders;
         CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)";
    let settings = [
        ("TABLES", "Users,orders,recent,scratch"),
        ("EXCLUDE_TABLES", "oders"),
        ("EXCLUDE_COLUMNS", "Users.secrets,users.secret"),
    ];
    let (scene, mut zemi) = Scene::one(15).before(before).with(&settings).streaming();
    let found = findings(&scene.settings);
    for (begin, fix) in [
        (
            "TABLES: recent matches no table: \"recent\" in schema \"public\" is a view",
            "name the tables",
        ),
        (
            "TABLES: scratch matches no table: \"scratch\" in schema \"public\" is an unlogged table",
            "ALTER",
        ),
        (
            "EXCLUDE_TABLES: oders matches no table",
            "the nearest name is \"orders\"",
        ),
        (
            "EXCLUDE_COLUMNS: Users.secrets matches no column",
            "the nearest name is \"secret\"",
        ),
        (
            "EXCLUDE_COLUMNS: users.secret matches no table",
            "the nearest name is \"Users\"",
        ),
    ] {
        let mend = fix_of(&found, begin);
        assert!(mend.starts_with(fix), "{begin}: {mend}");
        zemi.wait_for_log(begin, crate::support::scene::PATIENCE);
    }
    assert_eq!(
        zemi.log().matches("matches no").count(),
        5,
        "{}",
        zemi.log()
    );
    zemi.stop();
}
