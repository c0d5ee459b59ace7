//! The judge: `changes` replayed gives exactly the tables.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Sql;

/// Replays the changes of `schema.table` in the order of their positions and compares the result with
/// `to_jsonb` of every row of the table. The table has a primary key of the columns `key`, and its
/// changes have been recorded since it was empty. Returns the number of changes.
pub fn assert_replays(source: &mut Sql, destination: &mut Sql, table: &str, key: &[&str]) -> usize {
    let mut replay = Replay::new(table, key);
    replay.follow(destination);
    replay.assert_same(source);
    replay.changes
}

/// How many changes are read at a time.
const PIECE: usize = 50_000;

/// A table, replayed from its changes as far as they have come.
#[derive(Debug)]
pub struct Replay {
    schema: String,
    name: String,
    key: Vec<String>,
    rows: BTreeMap<String, Map<String, Value>>,
    /// The position of the last change.
    position: i64,
    /// How many changes there were.
    pub changes: usize,
}

impl Replay {
    /// Of `schema.table`, empty, with a primary key of these columns.
    pub fn new(table: &str, key: &[&str]) -> Replay {
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        Replay {
            schema: schema.to_owned(),
            name: name.to_owned(),
            key: key.iter().map(|&column| column.to_owned()).collect(),
            rows: BTreeMap::new(),
            position: i64::MIN,
            changes: 0,
        }
    }

    /// Replays the changes that came since.
    pub fn follow(&mut self, destination: &mut Sql) {
        loop {
            let rows = destination.rows(&format!(
                "SELECT operation, before, after, position FROM public.changes \
                 WHERE schema = '{}' AND \"table\" = '{}' AND position > {} \
                 ORDER BY position LIMIT {PIECE}",
                self.schema, self.name, self.position
            ));
            for row in &rows {
                self.apply(row);
            }
            self.changes += rows.len();
            if rows.len() < PIECE {
                return;
            }
        }
    }

    fn apply(&mut self, row: &[Option<String>]) {
        let object = |column: usize| -> Map<String, Value> {
            let text = row[column].as_deref().unwrap_or("{}");
            serde_json::from_str(text).expect("an object")
        };
        let (table, replayed) = (&self.name, &mut self.rows);
        let at = row[3].as_deref().unwrap_or_default();
        self.position = at.parse().expect("a number");
        let (before, after) = (object(1), object(2));
        match row[0].as_deref() {
            Some("CREATE") => {
                let twice = replayed.insert(key_of(&after, &self.key), after);
                assert!(
                    twice.is_none(),
                    "{table}: row created twice at {at}: {twice:?}"
                );
            }
            Some("UPDATE") => {
                let old = if before.is_empty() { &after } else { &before };
                let row = replayed.remove(&key_of(old, &self.key));
                let mut row = row.unwrap_or_else(|| panic!("{table}: update of no row at {at}"));
                row.extend(after);
                replayed.insert(key_of(&row, &self.key), row);
            }
            Some("DELETE") => {
                let gone = replayed.remove(&key_of(&before, &self.key));
                assert!(gone.is_some(), "{table}: delete of no row at {at}");
            }
            Some("TRUNCATE") => replayed.clear(),
            other => panic!("{table}: operation {other:?} at {at}"),
        }
    }

    /// Compares what was replayed with the table as it stands.
    pub fn assert_same(&mut self, source: &mut Sql) {
        let (schema, name) = (&self.schema, &self.name);
        // A row that was written while the table had another column still has its value.
        let columns = source.text(&format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = '{schema}.{name}'::regclass \
             AND attnum > 0 AND NOT attisdropped"
        ));
        for row in self.rows.values_mut() {
            row.retain(|column, _| columns.lines().any(|c| c == column));
        }
        source.run("SET timezone = 'UTC'");
        let real = source.rows(&format!("SELECT to_jsonb(t) FROM {schema}.{name} t"));
        let real: BTreeMap<String, Map<String, Value>> = real
            .iter()
            .map(|row| serde_json::from_str(row[0].as_deref().unwrap()).expect("an object"))
            .map(|row: Map<String, Value>| (key_of(&row, &self.key), row))
            .collect();
        let lost: Vec<&String> = real
            .keys()
            .filter(|key| !self.rows.contains_key(*key))
            .collect();
        let left: Vec<&String> = self
            .rows
            .keys()
            .filter(|key| !real.contains_key(*key))
            .collect();
        assert!(
            lost.is_empty() && left.is_empty(),
            "{name}: {} rows are missing: {:?}; {} were deleted and are still there: {:?}",
            lost.len(),
            lost.iter().take(20).collect::<Vec<_>>(),
            left.len(),
            left.iter().take(20).collect::<Vec<_>>()
        );
        for (key, row) in &real {
            assert_eq!(Some(row), self.rows.get(key), "{name}: row {key}");
        }
    }
}

fn key_of(row: &Map<String, Value>, key: &[String]) -> String {
    let part = |column: &String| row.get(column).map_or("absent".into(), Value::to_string);
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
