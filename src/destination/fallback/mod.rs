//! Rows that a plain COPY refused, written in smaller runs inside the open transaction.
//!
//! Rows that are in `changes` already (written by Bemi or another tracker) are passed over. A row that
//! the destination refuses for its data is found by halving, and written in another form. A row whose
//! position is taken by a different change gets the next free one.
//!
//! Every run is a COPY behind a savepoint, and what it is compared with goes as values in a query: no
//! statement here creates or alters anything, so that no event trigger runs.

mod decision;
mod key;
mod lookup;
mod positions;

use std::collections::BTreeMap;
use std::ops::Range;

use self::decision::{AfterCopy, AfterForm, AfterMove, after_copy, after_form, after_move};
use self::key::{Key, parse_uuid};
use self::lookup::Presence;
use super::copy;
use super::forms::{self, Form};
use super::statements;
use super::tables::Tables;
use crate::change::copy::Tuples;
use crate::change::table_counts::ByOperation;
use crate::change::{Batch, Patch, RowShape, TruncatedTables};
use crate::error::{Error, Kind, Result};
use crate::wire::Connection;

/// Begins an attempt.
const SAVEPOINT: &str = "SAVEPOINT zemi";

/// Ends an attempt that succeeded.
const RELEASE: &str = "RELEASE SAVEPOINT zemi";

/// Undoes an attempt, and leaves no level of savepoints behind.
const UNDO: &str = "ROLLBACK TO SAVEPOINT zemi; RELEASE SAVEPOINT zemi";

/// How often rows are compared with the table: another tracker may write into it at the same time.
const COMPARISONS: u8 = 3;

/// How far behind a taken position the next free one is looked for, in two steps.
const REACH: [i64; 2] = [100, 1_000_000];

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Rows that were in the table already, by the name of their table.
    pub(super) duplicates: BTreeMap<String, ByOperation>,
    /// Rows written in another form.
    pub(super) replaced: u64,
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

    fn add_duplicate(&mut self, key: &Key<'_>) {
        let table = format!("{}.{}", key.schema, key.table);
        let counts = self.duplicates.entry(table).or_default();
        if let Some(count) = counts.get_mut(key.operation_index()) {
            *count += 1;
        }
    }
}

/// Writes rows inside the transaction that is open on this connection.
pub(super) struct Fallback<'a> {
    connection: &'a mut Connection,
    tables: &'a Tables,
    shape: RowShape,
    rows: &'a [u8],
    truncated: &'a [TruncatedTables],
    outcome: Outcome,
}

/// The bytes of a row in the batch.
type RowRange = Range<usize>;

/// What comparing rows with the table showed.
#[derive(Default)]
struct Compared {
    /// The table lacks them.
    missing: Vec<RowRange>,
    /// A different change has their place in the unique key.
    taken: Vec<RowRange>,
}

impl<'a> Fallback<'a> {
    /// Prepares the transaction.
    pub(super) fn new(
        connection: &'a mut Connection,
        tables: &'a Tables,
        batch: &'a Batch,
    ) -> Result<Fallback<'a>> {
        // What a deferred constraint refuses has to show at its row, not at COMMIT. A table that was filled
        // a moment ago has no statistics: its indexes are used nevertheless.
        let mut settings = vec![
            "SET CONSTRAINTS ALL IMMEDIATE".to_owned(),
            "SET LOCAL enable_seqscan = off".to_owned(),
            "SET LOCAL enable_hashjoin = off".to_owned(),
            "SET LOCAL enable_mergejoin = off".to_owned(),
        ];
        if tables.lockable {
            // The lock of a writer, to the end of the transaction; a savepoint that is undone gives back
            // that of its COPY. A trigger or constraint that is dropped between two attempts would let
            // another form of a row in where the row itself would have been taken.
            let changes = tables.names.changes();
            settings.push(format!("LOCK TABLE {changes} IN ROW EXCLUSIVE MODE"));
        }
        connection.query(&statements::join(&settings))?;
        Ok(Fallback {
            connection,
            tables,
            shape: batch.shape,
            rows: &batch.rows,
            truncated: &batch.truncated,
            outcome: Outcome::default(),
        })
    }

    /// What was done.
    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// Writes the rows of the batch. An error leaves the transaction to be rolled back.
    pub(super) fn write(&mut self) -> Result<()> {
        let mut end = 0;
        let ranges = Tuples::new(self.rows).map(|tuple| {
            let start = end;
            end += tuple.len();
            start..end
        });
        let ranges: Vec<RowRange> = ranges.collect();
        if self.truncated.is_empty() || !self.tables.position_indexed {
            return self.write_rows(&ranges, COMPARISONS);
        }
        // Another tracker's rows of a TRUNCATE are in the way of no key.
        let compared = self.compare(&ranges)?;
        self.write_rows(&compared.missing, COMPARISONS)?;
        self.move_rows(&compared.taken)
    }

    /// Gives the rows of a transaction their late context.
    pub(super) fn patch(&mut self, patch: &Patch, database: &str) -> Result<()> {
        let (mut form, mut patch) = (Form::WHOLE, patch.clone());
        let context = patch.context.clone();
        let mut failure: Option<Error> = None;
        loop {
            let statement = copy::patch_statement(&self.tables.names, &patch, database);
            // In a message of its own: one that the server cannot convert runs nothing at all.
            self.connection.query(SAVEPOINT)?;
            let sql = statements::join(&[statement, RELEASE.to_owned()]);
            let Err(error) = self.connection.query(&sql) else {
                if let Some(error) = failure {
                    self.note_replaced(&error);
                }
                return Ok(());
            };
            self.connection.query(UNDO)?;
            form = match after_form(form, &error) {
                AfterForm::Try(next) => next,
                AfterForm::Refused => return Err(refused(error)),
                AfterForm::Fail => return Err(error),
            };
            patch.context = form.json(&context);
            failure = failure.or(Some(error));
        }
    }

    fn note_replaced(&mut self, error: &Error) {
        self.outcome.replaced += 1;
        log::warn!("the destination refused a row: {error}; it was written in another form");
    }

    fn row(&self, range: &RowRange) -> &'a [u8] {
        self.rows.get(range.clone()).unwrap_or_default()
    }

    /// Writes these rows; they may be compared with the table so many times.
    fn write_rows(&mut self, ranges: &[RowRange], comparisons: u8) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let Err(error) = self.copy(&self.runs(ranges)) else {
            return Ok(());
        };
        match after_copy(&error, ranges.len(), comparisons) {
            AfterCopy::Fail => Err(error),
            AfterCopy::Compare => {
                let compared = self.compare(ranges)?;
                self.write_rows(&compared.missing, comparisons.saturating_sub(1))?;
                self.move_rows(&compared.taken)
            }
            AfterCopy::OtherForm => {
                let range = ranges.first().cloned().unwrap_or_default();
                self.write_refused(&range, error)
            }
            AfterCopy::Halve => {
                let (first, second) = ranges.split_at(ranges.len() / 2);
                self.write_rows(first, comparisons)?;
                self.write_rows(second, comparisons)
            }
        }
    }

    /// Writes one row that was refused as it is.
    fn write_refused(&mut self, range: &RowRange, error: Error) -> Result<()> {
        // The table may hold it in another form, which stands in the way of no key but its id.
        let compared = self.compare(std::slice::from_ref(range))?;
        if compared.missing.is_empty() {
            return Ok(());
        }
        self.write_other_form(self.row(range), error)
    }

    /// The bytes of these rows; neighbours are one run.
    fn runs(&self, ranges: &[RowRange]) -> Vec<&'a [u8]> {
        let mut runs: Vec<RowRange> = Vec::new();
        for range in ranges {
            match runs.last_mut() {
                Some(run) if run.end == range.start => run.end = range.end,
                _ => runs.push(range.clone()),
            }
        }
        runs.iter().map(|run| self.row(run)).collect()
    }

    /// One attempt, undone where it fails.
    fn copy(&mut self, runs: &[&[u8]]) -> Result<()> {
        let copy = copy::copy_statement(&self.tables.names, self.shape);
        let sql = statements::join(&[SAVEPOINT.to_owned(), copy, RELEASE.to_owned()]);
        let Err(error) = copy::send_copy(self.connection, &sql, runs) else {
            return Ok(());
        };
        // Where the session is lost, this fails, too.
        self.connection.query(UNDO)?;
        Err(error)
    }

    /// Writes a row that was refused with this error.
    fn write_other_form(&mut self, row: &[u8], error: Error) -> Result<()> {
        let mut step = after_form(Form::WHOLE, &error);
        loop {
            let form = match step {
                AfterForm::Try(form) => form,
                AfterForm::Refused | AfterForm::Fail => return Err(refused(error)),
            };
            let attempt = form.of(row, self.tables.primary_key_limit);
            let Err(again) = self.copy(&[&attempt]) else {
                self.note_replaced(&error);
                return Ok(());
            };
            step = after_form(form, &again);
            if step == AfterForm::Fail {
                return Err(again);
            }
        }
    }

    /// Looks these rows up in the table. Those that it holds are counted, and left out of the answer.
    fn compare(&mut self, ranges: &[RowRange]) -> Result<Compared> {
        let keys: Vec<Key<'a>> = ranges.iter().map(|r| Key::read(self.row(r))).collect();
        let changes = self.tables.names.changes();
        let sql = lookup::query(changes, &keys, self.truncated);
        let found = self.connection.rows(&sql)?;
        let presence = lookup::presence(&keys, &found);
        let mut compared = Compared::default();
        for ((range, key), presence) in ranges.iter().zip(&keys).zip(presence) {
            match presence {
                Presence::Missing => compared.missing.push(range.clone()),
                Presence::Taken => compared.taken.push(range.clone()),
                Presence::Written => self.outcome.add_duplicate(key),
            }
        }
        Ok(compared)
    }

    /// Writes rows at the next free positions, all at once where that succeeds.
    fn move_rows(&mut self, ranges: &[RowRange]) -> Result<()> {
        if ranges.len() > 1 && self.move_together(ranges)? {
            return Ok(());
        }
        for range in ranges {
            self.move_row(self.row(range))?;
        }
        Ok(())
    }

    /// One COPY of all rows at their new positions; false where one of them is refused.
    fn move_together(&mut self, ranges: &[RowRange]) -> Result<bool> {
        let rows: Vec<&[u8]> = ranges.iter().map(|range| self.row(range)).collect();
        for _ in 0..COMPARISONS {
            let positions = self.free_positions(&rows)?;
            let moved: Vec<Vec<u8>> = rows
                .iter()
                .zip(positions)
                .map(|(row, position)| forms::moved(row, position, None))
                .collect();
            let Err(error) = self.copy(&[&moved.concat()]) else {
                return Ok(true);
            };
            match after_move(&error) {
                AfterMove::Fail => return Err(error),
                // Another process has taken a place since.
                AfterMove::TryNext => {}
                AfterMove::OtherForm => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Writes a row at the next free position. It keeps its id, by which it is known when it comes again,
    /// unless a different change has that, too.
    fn move_row(&mut self, row: &[u8]) -> Result<()> {
        let mut failure = None;
        for attempt in 0..COMPARISONS {
            let position = self.free_positions(&[row])?.first().copied();
            let id = if attempt > 0 { self.random_id()? } else { None };
            let row = forms::moved(row, position.ok_or_else(no_position)?, id);
            let Err(error) = self.copy(&[&row]) else {
                return Ok(());
            };
            match after_move(&error) {
                AfterMove::Fail => return Err(error),
                AfterMove::TryNext => failure = Some(error),
                AfterMove::OtherForm => return self.write_other_form(&row, error),
            }
        }
        Err(refused(failure.unwrap_or_else(no_position)))
    }

    fn random_id(&mut self) -> Result<Option<[u8; 16]>> {
        let found = self.connection.rows("SELECT gen_random_uuid() AS id")?;
        Ok(found.value(0, "id").and_then(parse_uuid))
    }

    /// For each of these rows the next position that no row with the same table and operation has, nor
    /// another one of these.
    fn free_positions(&mut self, rows: &[&[u8]]) -> Result<Vec<i64>> {
        let keys: Vec<Key<'_>> = rows.iter().map(|row| Key::read(row)).collect();
        'reach: for reach in REACH {
            let mut free = vec![0; rows.len()];
            for group in positions::groups(&keys, reach) {
                let taken = self
                    .connection
                    .rows(&group.query(self.tables.names.changes()))?;
                let Some(assigned) = group.assign(&taken) else {
                    continue 'reach;
                };
                for (place, position) in assigned {
                    if let Some(free) = free.get_mut(place) {
                        *free = position;
                    }
                }
            }
            return Ok(free);
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

/// A constraint or trigger that no form of the row satisfies: it is never skipped.
fn refused(error: Error) -> Error {
    Error::new(
        Kind::Transient,
        "the destination refuses a row in every form",
    )
    .caused_by(error)
    .hint("look for a constraint, trigger, rule or missing partition of the table of changes")
}
