//! Pure: the queries that compare rows with the table, and what their answers mean.

use super::key::{Key, parse_uuid};
use crate::change::{TruncatedTables, uuid};
use crate::destination::copy::{same_time, timestamp};
use crate::hex;
use crate::wire::ResultSet;

/// What the table says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The table lacks it.
    Missing,
    /// A different change has its place in the unique key.
    Taken,
    /// The table holds it.
    Written,
}

/// The query for rows of the table that may be these: with each the number of the row here (`n`), whether it
/// is of the same transaction (`same`), and its `id`.
///
/// A row of the table is the same change where transaction and time of the commit are the same: a server
/// that was set back or promoted gives positions and numbers out again, within the second.
pub(super) fn query(changes: &str, keys: &[Key<'_>], truncated: &[TruncatedTables]) -> String {
    let values: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| {
            let first = first_of_truncate(key, truncated).unwrap_or(key.position);
            format!(
                "({n}, '{}'::uuid, {}::bigint, {first}::bigint, {}, {}, {}, {}, {}::bigint, {}::bigint)",
                hex::text(&key.id),
                key.position,
                bytes(&key.table),
                bytes(&key.schema),
                bytes(&key.database),
                bytes(&key.operation),
                key.xid,
                key.commit_time.0,
            )
        })
        .collect();
    let values = values.join(", ");
    let written = format!(
        "c.transaction_id = r.xid AND {}",
        same_time("c.committed_at", "r.time")
    );
    // As bytes: a name may have a character that the destination's encoding lacks.
    let equal = |column| format!("convert_to(c.{column}, 'UTF8') = r.{column}");
    let table = ["\"table\"", "schema", "database", "operation"]
        .map(equal)
        .join(" AND ");
    format!(
        "WITH v (n, id, position, first, \"table\", schema, database, operation, xid, time) AS \
         (VALUES {values}), r AS MATERIALIZED (SELECT n, id, position, first, \"table\", schema, \
         database, operation, xid, {} AS time FROM v) \
         SELECT r.n, true AS same, c.id FROM r JOIN {changes} c ON c.id = r.id WHERE {written} \
         UNION ALL SELECT r.n, {written}, c.id FROM r JOIN {changes} c \
         ON c.position = r.position AND {table} \
         UNION ALL SELECT r.n, true, c.id FROM r JOIN {changes} c \
         ON c.position BETWEEN r.first AND r.position AND {table} \
         WHERE r.first < r.position AND {written}",
        timestamp("v.time")
    )
}

/// The position of the statement, where this is a row of a TRUNCATE of several tables.
fn first_of_truncate(key: &Key<'_>, truncated: &[TruncatedTables]) -> Option<i64> {
    let position = u64::try_from(key.position).ok()?;
    let of = |t: &&TruncatedTables| (t.first.0..=t.last.0).contains(&position);
    let truncated = truncated.iter().find(of)?;
    (key.operation == "TRUNCATE").then_some(i64::try_from(truncated.first.0).ok()?)
}

/// What the answer to [`query`] says of each of the rows.
pub(super) fn presence(keys: &[Key<'_>], found: &ResultSet) -> Vec<Presence> {
    let mut presence = vec![Presence::Missing; keys.len()];
    for row in 0..found.rows.len() {
        let n = found.value(row, "n").and_then(|n| n.parse().ok());
        let Some(n) = n else { continue };
        let (Some(key), Some(presence)) = (keys.get::<usize>(n), presence.get_mut(n)) else {
            continue;
        };
        let id = found.value(row, "id").and_then(parse_uuid);
        // Two ids of zemi's making differ within a transaction: two changes at one position.
        let another = id.is_some_and(|id| id != key.id && uuid::same_transaction(id, key.id));
        if found.value(row, "same") == Some("t") && !another {
            *presence = Presence::Written;
        } else if *presence == Presence::Missing {
            *presence = Presence::Taken;
        }
    }
    presence
}

/// An expression of the type bytea.
pub(super) fn bytes(text: &str) -> String {
    format!("decode('{}', 'hex')", hex::text(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::{Lsn, PgTimestamp, Xid};

    fn key(position: i64, operation: &str) -> Key<'_> {
        Key {
            id: own_id(position),
            database: "d".into(),
            schema: "s".into(),
            table: "t".into(),
            operation: operation.into(),
            commit_time: PgTimestamp(3),
            xid: 4,
            position,
        }
    }

    fn own_id(position: i64) -> [u8; 16] {
        let position = Lsn(u64::try_from(position).unwrap_or_default());
        uuid::change_id(PgTimestamp(3), position, 5)
    }

    fn answer(rows: &[(&str, &str, [u8; 16])]) -> ResultSet {
        let row = |(n, same, id): &(&str, &str, [u8; 16])| {
            let fields = [(*n).to_owned(), (*same).to_owned(), hex::text(id)];
            fields.map(Some).to_vec()
        };
        ResultSet {
            columns: ["n", "same", "id"].map(str::to_owned).to_vec(),
            rows: rows.iter().map(row).collect(),
            tag: String::new(),
        }
    }

    #[test]
    fn a_row_is_written_where_one_found_row_is_the_same_change() {
        use Presence::{Missing, Taken, Written};
        let random = [9; 16];
        for (found, expected) in [
            (vec![], Missing),
            (vec![("0", "t", own_id(7))], Written),
            // Bemi's ids are random.
            (vec![("0", "t", random)], Written),
            // Another transaction, or another change of this one, has the place.
            (vec![("0", "f", random)], Taken),
            (vec![("0", "t", own_id(8))], Taken),
            (vec![("0", "f", random), ("0", "t", random)], Written),
            (vec![("0", "t", random), ("0", "f", random)], Written),
            // Of another row, or of none.
            (vec![("1", "t", random)], Missing),
            (vec![("2", "t", random), ("x", "t", random)], Missing),
        ] {
            let keys = [key(7, "CREATE"), key(9, "CREATE")];
            assert_eq!(presence(&keys, &answer(&found))[0], expected, "{found:?}");
        }
    }

    #[test]
    fn only_rows_of_a_truncate_begin_at_its_statement() {
        let truncated = [TruncatedTables {
            xid: Xid(4),
            first: Lsn(10),
            last: Lsn(12),
        }];
        for (position, operation, first) in [
            (10, "TRUNCATE", Some(10)),
            (12, "TRUNCATE", Some(10)),
            (13, "TRUNCATE", None),
            (9, "TRUNCATE", None),
            (11, "DELETE", None),
            (-1, "TRUNCATE", None),
        ] {
            let found = first_of_truncate(&key(position, operation), &truncated);
            assert_eq!(found, first, "{position} {operation}");
        }
    }

    #[test]
    fn names_are_compared_as_bytes() {
        let sql = query("public.changes", &[key(7, "CREATE"), key(8, "DELETE")], &[]);
        // "t", "s", "d" and "CREATE".
        let names = ["74", "73", "64", "435245415445"].map(|hex| format!("decode('{hex}', 'hex')"));
        assert!(sql.contains(&names.join(", ")), "{sql}");
        assert!(sql.contains("(0, '") && sql.contains(", (1, '"), "{sql}");
    }
}
