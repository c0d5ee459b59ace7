//! Rows that a plain COPY refused, written in pieces inside the open transaction.
//!
//! Rows that are in `changes` already (written by Bemi or another tracker) are passed over. A row that
//! the destination refuses for its data is found by halving, and written in another form. A row whose
//! position is taken by a different change gets the next free one.
//!
//! Every piece is a COPY behind a savepoint, and what it is compared with goes as values in a query: no
//! statement here creates or alters anything, so that no event trigger runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use super::copy::{self as send};
use super::forms::{self, Form};
use super::tables::Tables;
use crate::change::copy::{self, Tuples};
use crate::change::table_counts::ByOperation;
use crate::change::{Batch, Patch, RowShape, TruncatedTables, uuid};
use crate::error::{Error, Kind, Result};
use crate::lsn::PgTimestamp;
use crate::sqlstate;
use crate::wire::{Connection, literal};

/// The attempt is undone, and leaves no level of savepoints behind.
const UNDO: &str = "ROLLBACK TO SAVEPOINT zemi; RELEASE SAVEPOINT zemi";

/// How often a piece is compared with the table: another tracker may write into it at the same time.
const LOOKS: u8 = 3;

/// How far behind a taken position the next free one is looked for, in two steps.
const REACH: [i64; 2] = [100, 1_000_000];

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that were in the table already, by the name of their table.
    pub duplicates: BTreeMap<String, ByOperation>,
    /// Rows written in another form.
    pub replaced: u64,
}

impl Outcome {
    /// Adds what was done to other rows.
    pub(super) fn add(&mut self, other: Outcome) {
        self.replaced += other.replaced;
        for (table, more) in other.duplicates {
            let counts = self.duplicates.entry(table).or_default();
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
    }
}

/// Writes rows inside the transaction that is open on this session.
pub struct Fallback<'a> {
    session: &'a mut Connection,
    tables: &'a Tables,
    shape: RowShape,
    rows: &'a [u8],
    truncated: &'a [TruncatedTables],
    /// What was done so far.
    pub outcome: Outcome,
}

/// Where a row stands in the batch.
type Place = Range<usize>;

/// What comparing rows with the table showed.
#[derive(Default)]
struct Compared {
    /// They are not there.
    new: Vec<Place>,
    /// A different change has their place in the unique key.
    taken: Vec<Place>,
}

impl<'a> Fallback<'a> {
    /// Prepares the session, which is inside a transaction.
    pub fn new(
        session: &'a mut Connection,
        tables: &'a Tables,
        batch: &'a Batch,
    ) -> Result<Fallback<'a>> {
        // What a deferred constraint refuses has to show at its row, not at COMMIT. A table that was filled
        // a moment ago has no statistics: its indexes are used nevertheless.
        let mut sql = String::from(
            "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
             SET LOCAL enable_mergejoin = off",
        );
        if tables.lockable {
            // The lock of a writer, to the end of the transaction; a savepoint that is undone gives back
            // that of its COPY. A trigger or constraint that is dropped between two attempts would let a
            // lesser form of a row in where the row itself would have been taken.
            let _ = write!(
                sql,
                "; LOCK TABLE {} IN ROW EXCLUSIVE MODE",
                tables.names.changes()
            );
        }
        session.query(&sql)?;
        Ok(Fallback {
            session,
            tables,
            shape: batch.shape,
            rows: &batch.rows,
            truncated: &batch.truncated,
            outcome: Outcome::default(),
        })
    }

    /// Writes the rows of the batch. An error leaves the transaction to be rolled back.
    pub fn write(&mut self) -> Result<()> {
        let mut end = 0;
        let places = Tuples::new(self.rows).map(|tuple| {
            let start = end;
            end += tuple.len();
            start..end
        });
        let places: Vec<Place> = places.collect();
        if self.truncated.is_empty() || !self.tables.position_indexed {
            return self.range(&places, LOOKS);
        }
        // Another tracker's rows of a TRUNCATE are in the way of no key.
        let compared = self.compare(&places)?;
        self.range(&compared.new, LOOKS)?;
        self.move_all(&compared.taken)
    }

    /// Gives the rows of a transaction their late context.
    pub fn patch(&mut self, patch: &Patch, database: &str) -> Result<()> {
        let (mut form, mut patch) = (Form::WHOLE, patch.clone());
        let context = patch.context.clone();
        let mut failure: Option<Error> = None;
        loop {
            let statement = send::patch_statement(&self.tables.names, &patch, database);
            // In a message of its own: one that the server cannot convert runs nothing at all.
            self.session.query("SAVEPOINT zemi")?;
            let sql = format!("{statement}; RELEASE SAVEPOINT zemi");
            let Err(error) = self.session.query(&sql) else {
                if let Some(error) = failure {
                    self.note_replaced(&error);
                }
                return Ok(());
            };
            self.session.query(UNDO)?;
            if !error.is_about_data() {
                return Err(error);
            }
            form = match form.next(is_untranslatable(&error)) {
                Some(next) => next,
                None => return Err(refused(error)),
            };
            patch.context = form.json(&context);
            failure = failure.or(Some(error));
        }
    }

    fn note_replaced(&mut self, error: &Error) {
        self.outcome.replaced += 1;
        log::warn!("the destination refused a row: {error}; it was written in another form");
    }

    /// Writes these rows; they may be compared with the table so many times.
    fn range(&mut self, places: &[Place], looks: u8) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let error = match self.copy(&self.pieces(places)) {
            Ok(()) => return Ok(()),
            Err(e) if e.is_about_data() => e,
            Err(e) => return Err(e),
        };
        if error.is_sqlstate(sqlstate::UNIQUE_VIOLATION) && looks > 0 {
            let compared = self.compare(places)?;
            self.range(&compared.new, looks - 1)?;
            return self.move_all(&compared.taken);
        }
        if let [place] = places {
            // It may be there in another form, which stands in the way of no key but its id.
            if self.compare(places)?.new.is_empty() {
                return Ok(());
            }
            let row = self.rows.get(place.clone()).unwrap_or_default();
            return self.lesser_form(row, error);
        }
        let (first, second) = places.split_at(places.len() / 2);
        self.range(first, looks)?;
        self.range(second, looks)
    }

    /// The bytes of these rows, neighbours together.
    fn pieces(&self, places: &[Place]) -> Vec<&'a [u8]> {
        let mut runs: Vec<Place> = Vec::new();
        for place in places {
            match runs.last_mut() {
                Some(run) if run.end == place.start => run.end = place.end,
                _ => runs.push(place.clone()),
            }
        }
        let rows = self.rows;
        let bytes = |run: Place| rows.get(run).unwrap_or_default();
        runs.into_iter().map(bytes).collect()
    }

    /// One attempt, undone where it fails.
    fn copy(&mut self, pieces: &[&[u8]]) -> Result<()> {
        let copy = send::copy_statement(&self.tables.names, self.shape);
        let sql = format!("SAVEPOINT zemi; {copy}; RELEASE SAVEPOINT zemi");
        let Err(error) = send::send_copy(self.session, &sql, pieces) else {
            return Ok(());
        };
        // A session that is lost says so again.
        self.session.query(UNDO)?;
        Err(error)
    }

    /// Writes a row that was refused with this error.
    fn lesser_form(&mut self, row: &[u8], error: Error) -> Result<()> {
        let mut form = Form::WHOLE;
        let mut untranslatable = is_untranslatable(&error);
        while let Some(next) = form.next(untranslatable) {
            form = next;
            let attempt = form.of(row, self.tables.primary_key_limit);
            match self.copy(&[&attempt]) {
                Ok(()) => {
                    self.note_replaced(&error);
                    return Ok(());
                }
                Err(e) if e.is_about_data() => untranslatable = is_untranslatable(&e),
                Err(e) => return Err(e),
            }
        }
        Err(refused(error))
    }

    /// Looks these rows up in the table. Those that are there are counted, and left out of the answer.
    fn compare(&mut self, places: &[Place]) -> Result<Compared> {
        let keys = self.keys(places);
        let names = places.iter().zip(&keys);
        let found = self.session.rows(&self.lookup(&keys))?;
        // The number of a row and what stands in its place.
        let mut there: BTreeMap<usize, bool> = BTreeMap::new();
        for row in &found.rows {
            let text = |i: usize| row.get(i).and_then(Option::as_deref);
            let Some(key) = text(0).and_then(|n| n.parse().ok()) else {
                continue;
            };
            let id = text(2).and_then(parse_uuid);
            let own = keys.get(key).map(|key: &Key<'_>| key.id);
            let another_change = id
                .zip(own)
                .is_some_and(|(id, own)| id != own && uuid::same_transaction(id, own));
            let same = text(1) == Some("t") && !another_change;
            *there.entry(key).or_default() |= same;
        }
        let mut compared = Compared::default();
        for (n, (place, key)) in names.enumerate() {
            match there.get(&n) {
                None => compared.new.push(place.clone()),
                Some(false) => compared.taken.push(place.clone()),
                Some(true) => {
                    let table = format!("{}.{}", key.schema, key.table);
                    let counts = self.outcome.duplicates.entry(table).or_default();
                    if let Some(count) = counts.get_mut(key.operation_index()) {
                        *count += 1;
                    }
                }
            }
        }
        Ok(compared)
    }

    fn keys(&self, places: &[Place]) -> Vec<Key<'a>> {
        let rows = self.rows;
        let read = |place: &Place| Key::read(rows.get(place.clone()).unwrap_or_default());
        places.iter().map(read).collect()
    }

    /// The query for [`Fallback::compare`]: the number of each row for which there is one that may be it,
    /// whether that is of the same transaction, and its id.
    ///
    /// A row of the table is the same change where transaction and time of the commit are the same: a server
    /// that was set back or promoted gives positions and numbers out again, within the second.
    fn lookup(&self, keys: &[Key<'_>]) -> String {
        let mut values = String::new();
        for (n, key) in keys.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let first = self.first_of_truncate(key).unwrap_or(key.position);
            // Writing to a String cannot fail.
            let _ = write!(
                values,
                "{comma}({n}, '{}'::uuid, {}::bigint, {first}::bigint, {}, {}, {}, {}, {}::bigint, \
                 {}::bigint)",
                hex(&key.id),
                key.position,
                bytes(&key.table),
                bytes(&key.schema),
                bytes(&key.database),
                bytes(&key.operation),
                key.xid,
                key.commit_time.0,
            );
        }
        let changes = self.tables.names.changes();
        let written = format!(
            "c.transaction_id = r.xid AND {}",
            send::same_time("c.committed_at", "r.time")
        );
        // As bytes: a name may have a character that the destination's encoding lacks.
        let same = |column| format!("convert_to(c.{column}, 'UTF8') = r.{column}");
        let table = ["\"table\"", "schema", "database", "operation"]
            .map(same)
            .join(" AND ");
        format!(
            "WITH v (n, id, position, first, \"table\", schema, database, operation, xid, time) AS \
             (VALUES {values}), r AS MATERIALIZED (SELECT n, id, position, first, \"table\", schema, \
             database, operation, xid, {} AS time FROM v) \
             SELECT r.n, true, c.id FROM r JOIN {changes} c ON c.id = r.id WHERE {written} \
             UNION ALL SELECT r.n, {written}, c.id FROM r JOIN {changes} c \
             ON c.position = r.position AND {table} \
             UNION ALL SELECT r.n, true, c.id FROM r JOIN {changes} c \
             ON c.position BETWEEN r.first AND r.position AND {table} \
             WHERE r.first < r.position AND {written}",
            send::timestamp("v.time")
        )
    }

    /// The position of the statement, where this is a row of a TRUNCATE of several tables.
    fn first_of_truncate(&self, key: &Key<'_>) -> Option<i64> {
        let position = u64::try_from(key.position).ok()?;
        let of = |t: &&TruncatedTables| (t.first.0..=t.last.0).contains(&position);
        let truncated = self.truncated.iter().find(of)?;
        (key.operation == "TRUNCATE").then_some(i64::try_from(truncated.first.0).ok()?)
    }

    fn move_all(&mut self, places: &[Place]) -> Result<()> {
        for place in places {
            self.move_one(self.rows.get(place.clone()).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Writes a row at the next free position. It keeps its id, by which it is known when it comes again,
    /// unless a different change has that, too.
    fn move_one(&mut self, row: &[u8]) -> Result<()> {
        let mut failure = None;
        for attempt in 0..LOOKS {
            let (position, random) = self.free_position(&Key::read(row))?;
            let row = forms::moved(row, position, random.filter(|_| attempt > 0));
            match self.copy(&[&row]) {
                Ok(()) => return Ok(()),
                Err(e) if e.is_sqlstate(sqlstate::UNIQUE_VIOLATION) => failure = Some(e),
                Err(e) if e.is_about_data() => return self.lesser_form(&row, e),
                Err(e) => return Err(e),
            }
        }
        Err(refused(failure.unwrap_or_else(no_position)))
    }

    /// The next position that no row with the same table and operation has, and a new id.
    fn free_position(&mut self, key: &Key<'_>) -> Result<(i64, Option<[u8; 16]>)> {
        for reach in REACH {
            let found = self.session.rows(&format!(
                "SELECT s.free, gen_random_uuid() FROM generate_series({0}::bigint, {0}::bigint + {reach}) \
                 s(free) WHERE NOT EXISTS (SELECT FROM {1} c WHERE c.position = s.free AND c.\"table\" = {2} \
                 AND c.schema = {3} AND c.database = {4} AND c.operation = {5}) LIMIT 1",
                key.position,
                self.tables.names.changes(),
                literal(&key.table),
                literal(&key.schema),
                literal(&key.database),
                literal(&key.operation),
            ))?;
            let free = found.first(0).and_then(|text| text.parse().ok());
            if let Some(free) = free {
                return Ok((free, found.first(1).and_then(parse_uuid)));
            }
        }
        Err(no_position())
    }
}

fn no_position() -> Error {
    Error::new(
        Kind::Transient,
        format!(
            "no position is free within {} of the change's own",
            REACH[1]
        ),
    )
}

/// What tells a row from others.
struct Key<'a> {
    id: [u8; 16],
    database: std::borrow::Cow<'a, str>,
    schema: std::borrow::Cow<'a, str>,
    table: std::borrow::Cow<'a, str>,
    operation: std::borrow::Cow<'a, str>,
    commit_time: PgTimestamp,
    xid: i64,
    position: i64,
}

impl<'a> Key<'a> {
    /// Of an encoded row, see [`RowShape::columns`].
    fn read(tuple: &'a [u8]) -> Key<'a> {
        let mut fields = [&b""[..]; 12];
        for (place, field) in fields.iter_mut().zip(copy::fields(tuple)) {
            *place = field.unwrap_or_default();
        }
        let text = |i: usize| String::from_utf8_lossy(fields[i]);
        let number = |i: usize| fields[i].try_into().map_or(0, i64::from_be_bytes);
        Key {
            id: fields[0].try_into().unwrap_or_default(),
            database: text(4),
            schema: text(5),
            table: text(6),
            operation: text(7),
            commit_time: PgTimestamp(number(8)),
            xid: number(10),
            position: number(11),
        }
    }

    fn operation_index(&self) -> usize {
        match &*self.operation {
            "UPDATE" => 1,
            "DELETE" => 2,
            "TRUNCATE" => 3,
            _ => 0,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let text = String::with_capacity(2 * bytes.len());
    bytes.iter().fold(text, |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An expression of the type bytea.
fn bytes(text: &str) -> String {
    format!("decode('{}', 'hex')", hex(text.as_bytes()))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    (hex.len() == 32).then_some(u128::from_str_radix(&hex, 16).ok()?.to_be_bytes())
}

/// The destination's encoding lacks a character.
fn is_untranslatable(error: &Error) -> bool {
    error.is_sqlstate(sqlstate::CHARACTER_NOT_IN_REPERTOIRE)
        || error.is_sqlstate(sqlstate::UNTRANSLATABLE_CHARACTER)
}

/// A constraint or trigger that no form of the row satisfies: it is never skipped.
fn refused(error: Error) -> Error {
    Error::new(
        Kind::Transient,
        "the destination refuses a row in every form",
    )
    .caused_by(error)
    .hint("look for a constraint, trigger, rule or missing partition of the table of changes")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_of_a_row_is_read_from_its_fields() {
        let mut row = Vec::new();
        copy::tuple(&mut row, 13);
        copy::field(&mut row, &[7; 16]);
        for _ in 0..3 {
            copy::null(&mut row);
        }
        for text in ["db", "s", "t", "TRUNCATE"] {
            copy::field(&mut row, text.as_bytes());
        }
        for number in [11, 12, 13, 14] {
            copy::int8(&mut row, number);
        }
        copy::field(&mut row, b"\x01{}");
        let key = Key::read(&row);
        assert_eq!((key.id, &*key.database, &*key.table), ([7; 16], "db", "t"));
        assert_eq!((key.commit_time.0, key.xid, key.position), (11, 13, 14));
        assert_eq!(key.operation_index(), 3);
        // What is cut short is no reason to panic.
        for end in 0..row.len() {
            Key::read(&row[..end]);
        }
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        let id = 0x0190_1234_5678_7000_8000_0000_0000_0001_u128.to_be_bytes();
        assert_eq!(parse_uuid(&hex(&id)), Some(id));
        assert_eq!(parse_uuid("01901234-5678-7000-8000-000000000001"), Some(id));
        assert_eq!(parse_uuid("x"), None);
    }
}
