//! Which tables PostgreSQL would refuse UPDATE and DELETE on, and that the SQL that zemi advises mends it.

use super::{findings, listed};
use crate::support::{Scene, Sql};

/// A name, the statements that make a table of it that has a column `id`, and what the advice begins with;
/// `None` where the identity is usable.
type Case = (&'static str, &'static str, Option<&'static str>);

const ON_ALL: &[Case] = &[
    ("t_key", "CREATE TABLE t_key (id int PRIMARY KEY)", None),
    (
        "t_full",
        "CREATE TABLE t_full (id int); ALTER TABLE t_full REPLICA IDENTITY FULL",
        None,
    ),
    (
        "t_bare",
        "CREATE TABLE t_bare (id int)",
        Some("REPLICA IDENTITY FULL"),
    ),
    (
        "t_nothing",
        "CREATE TABLE t_nothing (id int); ALTER TABLE t_nothing REPLICA IDENTITY NOTHING",
        Some("REPLICA IDENTITY FULL"),
    ),
    (
        "t_nothing_with_key",
        "CREATE TABLE t_nothing_with_key (id int PRIMARY KEY);
         ALTER TABLE t_nothing_with_key REPLICA IDENTITY NOTHING",
        Some("REPLICA IDENTITY DEFAULT"),
    ),
    (
        "t_deferrable",
        "CREATE TABLE t_deferrable (id int PRIMARY KEY DEFERRABLE)",
        Some("REPLICA IDENTITY FULL"),
    ),
    (
        "t_dropped",
        "CREATE TABLE t_dropped (id int NOT NULL); CREATE UNIQUE INDEX dropped ON t_dropped (id);
         ALTER TABLE t_dropped REPLICA IDENTITY USING INDEX dropped; DROP INDEX dropped",
        Some("REPLICA IDENTITY FULL"),
    ),
    (
        "t_dropped_with_key",
        "CREATE TABLE t_dropped_with_key (id int PRIMARY KEY, n int NOT NULL DEFAULT 1);
         CREATE UNIQUE INDEX dropped ON t_dropped_with_key (n);
         ALTER TABLE t_dropped_with_key REPLICA IDENTITY USING INDEX dropped; DROP INDEX dropped",
        Some("REPLICA IDENTITY DEFAULT"),
    ),
    (
        "t_part",
        "CREATE TABLE t_root (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE t_part PARTITION OF t_root FOR VALUES FROM (0) TO (100);
         ALTER TABLE t_part REPLICA IDENTITY NOTHING",
        Some("REPLICA IDENTITY DEFAULT"),
    ),
    (
        "t_stored",
        "CREATE TABLE t_stored (id int, g int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE t_stored REPLICA IDENTITY FULL",
        None,
    ),
];

const ON_18: &[Case] = &[
    (
        "t_stored_key",
        "CREATE TABLE t_stored_key (id int, g int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY)",
        None,
    ),
    (
        "v_key",
        "CREATE TABLE v_key (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2))",
        None,
    ),
    (
        "v_full",
        "CREATE TABLE v_full (id int, g int GENERATED ALWAYS AS (id * 2));
         ALTER TABLE v_full REPLICA IDENTITY FULL",
        Some("ADD PRIMARY KEY (…), REPLICA IDENTITY DEFAULT"),
    ),
    (
        "v_full_with_key",
        "CREATE TABLE v_full_with_key (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2));
         ALTER TABLE v_full_with_key REPLICA IDENTITY FULL",
        Some("REPLICA IDENTITY DEFAULT"),
    ),
    (
        "v_full_with_index",
        "CREATE TABLE v_full_with_index (id int NOT NULL UNIQUE, n int UNIQUE,
         g int GENERATED ALWAYS AS (id * 2)); ALTER TABLE v_full_with_index REPLICA IDENTITY FULL",
        Some("REPLICA IDENTITY USING INDEX \"v_full_with_index_id_key\""),
    ),
    (
        "v_deferrable",
        "CREATE TABLE v_deferrable (id int PRIMARY KEY DEFERRABLE, g int GENERATED ALWAYS AS (id * 2))",
        Some("DROP CONSTRAINT \"v_deferrable_pkey\", ADD PRIMARY KEY (id)"),
    ),
    (
        "v_bare",
        "CREATE TABLE v_bare (id int, g int GENERATED ALWAYS AS (id * 2))",
        Some("ADD PRIMARY KEY (…)"),
    ),
];

/// What an application does: none of it may fail.
fn use_all(sql: &mut Sql, cases: &[&Case]) {
    for (table, ..) in cases {
        sql.run(&format!(
            "INSERT INTO {table} (id) VALUES (1); UPDATE {table} SET id = 2; DELETE FROM {table}"
        ));
    }
}

fn advice_is_enough(major: u32) {
    let mut cases: Vec<&Case> = ON_ALL.iter().collect();
    if major >= 18 {
        cases.extend(ON_18);
    }
    let make: Vec<&str> = cases.iter().map(|(_, make, _)| *make).collect();
    let (mut scene, mut zemi) = Scene::one(major).before(&make.join(";")).streaming();
    use_all(&mut scene.sql, &cases);
    let before = listed(&mut scene.sql, "zemi_updates");
    for (table, _, advice) in &cases {
        let is_listed = before.split(' ').any(|listed| listed == *table);
        assert_eq!(is_listed, advice.is_none(), "{table}: {before}");
    }

    let found = findings(&scene.settings);
    let log = zemi.log();
    for (table, _, advice) in &cases {
        let quoted = format!("\"public\".\"{table}\"");
        let of_table = |found: &&(String, String)| {
            found.0.starts_with("no usable replica identity") && found.0.ends_with(&quoted)
        };
        let fix = found.iter().find(of_table).map(|(_, fix)| fix.as_str());
        let Some(advice) = advice else {
            assert_eq!(fix, None, "{table}");
            continue;
        };
        let expected = format!("ALTER TABLE {quoted} {advice}");
        assert_eq!(fix, Some(expected.as_str()), "{table}: {found:#?}");
        assert!(log.contains(&format!("To track them: {expected}")), "{log}");
        scene.sql.run(&expected.replace('…', "id"));
    }
    zemi.stop();
    let _zemi = scene.start();
    use_all(&mut scene.sql, &cases);
    scene.caught_up();
    for (table, ..) in &cases {
        let operations = format!(
            "SELECT string_agg(operation, ' ' ORDER BY position) FROM (SELECT * FROM changes \
             WHERE \"table\" = '{table}' OR \"table\" = 't_root' AND '{table}' = 't_part' \
             ORDER BY position DESC LIMIT 3) c"
        );
        let found = scene.sql.value(&operations);
        assert_eq!(found, "CREATE UPDATE DELETE", "{table}");
    }
    let found = findings(&scene.settings);
    let left = found
        .iter()
        .filter(|(found, _)| found.starts_with("no usable"));
    assert_eq!(left.count(), 0, "{found:#?}");
}

#[test]
fn the_advice_for_each_identity_is_enough_on_15() {
    advice_is_enough(15);
}

#[test]
fn the_advice_for_each_identity_is_enough_on_18() {
    advice_is_enough(18);
}

#[test]
fn publications_that_come_from_17_publish_stored_columns_from_then_on() {
    let before = "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);
                  CREATE TABLE bare (id int)";
    let (mut scene, mut zemi) = Scene::one(18).before(before).streaming();
    zemi.stop();
    // As pg_upgrade leaves them.
    scene.sql.run(
        "ALTER PUBLICATION zemi SET (publish_generated_columns = none);
         ALTER PUBLICATION zemi_updates SET (publish_generated_columns = none)",
    );
    let _zemi = scene.start();
    scene
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 2");
    assert_eq!(
        scene.changes_of("t", "operation, after"),
        "CREATE|{\"g\": 2, \"id\": 1}\nUPDATE|{\"g\": 4, \"id\": 2}"
    );
}

#[test]
fn a_table_becomes_unlogged_once_it_is_left_out() {
    let before = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)";
    let (mut scene, mut zemi) = Scene::one(15).before(before).streaming();
    let unlog = "ALTER TABLE t SET UNLOGGED";
    assert!(scene.sql.try_rows(unlog).is_err());
    zemi.stop();
    let mut zemi = scene.start_with(&[("EXCLUDE_TABLES", "t")]);
    scene.sql.run(unlog);
    zemi.stop();
    // An unlogged table is never published: the setting has done its part.
    let _zemi = scene.start();
    scene
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 2; INSERT INTO u VALUES (1)");
    assert_eq!(scene.changes("\"table\""), "u");
}
