//! Pure: free positions for rows whose own are taken, for many rows by one question.
//!
//! Hosts that ran the same script have the same positions: all rows of the second one move.

use super::key::Key;
use super::lookup::bytes;
use crate::wire::ResultSet;

/// The positions that rows of one table and operation want, and where they may go.
pub(super) struct Group<'k, 'a> {
    key: &'k Key<'a>,
    /// The places of the rows among those that were given, and the positions that they have; ascending.
    wanted: Vec<(usize, i64)>,
    /// Stretches in which a place is looked for: apart from each other, ascending, both ends in them.
    stretches: Vec<(i64, i64)>,
}

/// Rows by table and operation. Each may move by `reach` and twice the number of its group.
pub(super) fn groups<'k, 'a>(keys: &'k [Key<'a>], reach: i64) -> Vec<Group<'k, 'a>> {
    let mut groups: Vec<Group<'k, 'a>> = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let wanted = (place, key.position);
        match groups.iter_mut().find(|group| group.key.shares_place(key)) {
            Some(group) => group.wanted.push(wanted),
            None => groups.push(Group {
                key,
                wanted: vec![wanted],
                stretches: Vec::new(),
            }),
        }
    }
    for group in &mut groups {
        group.wanted.sort_by_key(|(_, position)| *position);
        let count = i64::try_from(group.wanted.len()).unwrap_or(i64::MAX);
        let reach = reach.saturating_add(count.saturating_mul(2));
        for (_, position) in &group.wanted {
            let end = position.saturating_add(reach);
            match group.stretches.last_mut() {
                Some((_, last)) if *position <= last.saturating_add(1) => *last = end,
                _ => group.stretches.push((*position, end)),
            }
        }
    }
    groups
}

impl Group<'_, '_> {
    /// The query for the positions in the stretches that rows have, as runs of neighbours: `low` to `high`.
    pub(super) fn query(&self, changes: &str) -> String {
        let stretches: Vec<String> = self
            .stretches
            .iter()
            .map(|(low, high)| format!("({low}::bigint, {high}::bigint)"))
            .collect();
        // As bytes: else an index on one of these columns may be taken, with all rows of the table in it.
        let equal = [
            ("\"table\"", &self.key.table),
            ("schema", &self.key.schema),
            ("database", &self.key.database),
            ("operation", &self.key.operation),
        ]
        .map(|(column, text)| format!("convert_to(c.{column}, 'UTF8') = {}", bytes(text)));
        format!(
            "SELECT min(position) AS low, max(position) AS high FROM \
             (SELECT position, position - row_number() OVER (ORDER BY position) AS run FROM \
             (SELECT DISTINCT c.position FROM (VALUES {}) s(low, high) \
             JOIN {changes} c ON c.position BETWEEN s.low AND s.high WHERE {}) taken) runs \
             GROUP BY run ORDER BY 1",
            stretches.join(", "),
            equal.join(" AND ")
        )
    }

    /// The places of the rows and their new positions by the answer to the query: each the next one that is
    /// free, in the order of the rows. `None` where a stretch has too few.
    pub(super) fn assign(&self, taken: &ResultSet) -> Option<Vec<(usize, i64)>> {
        let number = |row: usize, name| taken.value(row, name)?.parse::<i64>().ok();
        let runs: Option<Vec<(i64, i64)>> = (0..taken.rows.len())
            .map(|row| Some((number(row, "low")?, number(row, "high")?)))
            .collect();
        let mut runs = runs?.into_iter().peekable();
        let mut stretches = self.stretches.iter();
        let mut stretch = stretches.next()?;
        let mut next = i64::MIN;
        let mut assigned = Vec::with_capacity(self.wanted.len());
        for (place, position) in &self.wanted {
            while *position > stretch.1 {
                stretch = stretches.next()?;
            }
            next = next.max(*position);
            while let Some((low, high)) = runs.peek().copied() {
                if next < low {
                    break;
                }
                if next <= high {
                    next = high.checked_add(1)?;
                }
                runs.next();
            }
            if next > stretch.1 {
                return None;
            }
            assigned.push((*place, next));
            next = next.checked_add(1)?;
        }
        Some(assigned)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lsn::PgTimestamp;

    fn key<'a>(table: &'a str, position: i64) -> Key<'a> {
        Key {
            id: [0; 16],
            database: "d".into(),
            schema: "s".into(),
            table: table.into(),
            operation: "CREATE".into(),
            commit_time: PgTimestamp(0),
            xid: 1,
            position,
        }
    }

    fn taken(runs: &[(i64, i64)]) -> ResultSet {
        let row = |(low, high): &(i64, i64)| vec![Some(low.to_string()), Some(high.to_string())];
        ResultSet {
            columns: vec!["low".into(), "high".into()],
            rows: runs.iter().map(row).collect(),
            tag: String::new(),
        }
    }

    #[test]
    fn each_row_gets_the_next_free_position_in_the_order_of_the_rows() {
        for (wanted, runs, expected) in [
            (&[5][..], &[(5, 5)][..], Some(&[6][..])),
            (&[5, 6, 7], &[(5, 7)], Some(&[8, 9, 10])),
            (&[5, 9], &[(5, 5), (9, 9)], Some(&[6, 10])),
            (&[5, 6], &[(5, 5), (7, 7)], Some(&[6, 8])),
            // Runs before, and one that was not taken after all.
            (&[50], &[(40, 45), (47, 49)], Some(&[50])),
            (&[5, 1000], &[(5, 8), (1000, 1001)], Some(&[9, 1002])),
            // No place within 10 and twice the number of rows.
            (&[5], &[(5, 17)], None),
            (&[5], &[(5, 16)], Some(&[17])),
        ] {
            let keys: Vec<Key<'_>> = wanted.iter().map(|p| key("t", *p)).collect();
            let groups = groups(&keys, 10);
            assert_eq!(groups.len(), 1);
            let found = groups[0].assign(&taken(runs));
            let found: Option<Vec<i64>> = found.map(|f| f.into_iter().map(|(_, p)| p).collect());
            assert_eq!(found.as_deref(), expected, "{wanted:?} {runs:?}");
        }
    }

    #[test]
    fn rows_of_each_table_and_operation_are_a_group() {
        let mut deleted = key("t", 5);
        deleted.operation = "DELETE".into();
        let keys = [key("t", 7), key("u", 5), key("t", 5), deleted];
        let groups = groups(&keys, 10);
        let wanted: Vec<_> = groups.iter().map(|g| g.wanted.clone()).collect();
        assert_eq!(wanted, [vec![(2, 5), (0, 7)], vec![(1, 5)], vec![(3, 5)]]);
        assert_eq!(groups[0].stretches, [(5, 21)]);
        let far = [key("t", 5), key("t", 500)];
        assert_eq!(super::groups(&far, 10)[0].stretches, [(5, 19), (500, 514)]);
    }
}
