//! The judge: `changes` replayed gives exactly the tables.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Sql;

/// Replays the changes of `schema.table` in the order of their positions and compares the result with
/// `to_jsonb` of every row of the table. The table has a primary key of the columns `key`, and its
/// changes have been recorded since it was empty. Returns the number of changes.
pub fn assert_replays(source: &mut Sql, destination: &mut Sql, table: &str, key: &[&str]) -> usize {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    let rows = destination.rows(&format!(
        "SELECT operation, before, after, position FROM public.changes \
         WHERE schema = '{schema}' AND \"table\" = '{name}' ORDER BY position"
    ));
    let mut replayed: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for row in &rows {
        let object = |column: usize| -> Map<String, Value> {
            let text = row[column].as_deref().unwrap_or("{}");
            serde_json::from_str(text).expect("an object")
        };
        let at = row[3].as_deref().unwrap_or_default();
        let (before, after) = (object(1), object(2));
        match row[0].as_deref() {
            Some("CREATE") => {
                let twice = replayed.insert(key_of(&after, key), after);
                assert!(
                    twice.is_none(),
                    "{table}: row created twice at {at}: {twice:?}"
                );
            }
            Some("UPDATE") => {
                let old = if before.is_empty() { &after } else { &before };
                let row = replayed.remove(&key_of(old, key));
                let mut row = row.unwrap_or_else(|| panic!("{table}: update of no row at {at}"));
                row.extend(after);
                replayed.insert(key_of(&row, key), row);
            }
            Some("DELETE") => {
                let gone = replayed.remove(&key_of(&before, key));
                assert!(gone.is_some(), "{table}: delete of no row at {at}");
            }
            Some("TRUNCATE") => replayed.clear(),
            other => panic!("{table}: operation {other:?} at {at}"),
        }
    }
    // A row that was written while the table had another column still has its value.
    let columns = source.text(&format!(
        "SELECT attname FROM pg_attribute WHERE attrelid = '{schema}.{name}'::regclass \
         AND attnum > 0 AND NOT attisdropped"
    ));
    for row in replayed.values_mut() {
        row.retain(|column, _| columns.lines().any(|c| c == column));
    }
    source.run("SET timezone = 'UTC'");
    let real = source.rows(&format!("SELECT to_jsonb(t) FROM {schema}.{name} t"));
    let real: BTreeMap<String, Map<String, Value>> = real
        .iter()
        .map(|row| serde_json::from_str(row[0].as_deref().unwrap()).expect("an object"))
        .map(|row: Map<String, Value>| (key_of(&row, key), row))
        .collect();
    assert_eq!(
        real.len(),
        replayed.len(),
        "{table}: number of rows, real and replayed"
    );
    for (key, row) in &real {
        assert_eq!(Some(row), replayed.get(key), "{table}: row {key}");
    }
    rows.len()
}

fn key_of(row: &Map<String, Value>, key: &[&str]) -> String {
    let part = |column: &&str| row.get(*column).map_or("absent".into(), Value::to_string);
    key.iter().map(part).collect::<Vec<_>>().join(",")
}

/// Every change has a position and an id of its own, and so has every key of Bemi's constraint.
pub fn assert_unique(destination: &mut Sql) {
    let twice = destination.text(
        "SELECT count(*) - count(DISTINCT (position, transaction_id)), \
         count(*) - count(DISTINCT id), \
         count(*) - count(DISTINCT (position, \"table\", schema, database, operation)) \
         FROM public.changes",
    );
    assert_eq!(twice, "0|0|0");
}
