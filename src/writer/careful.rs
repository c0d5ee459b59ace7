//! The careful way to write rows that COPY refused: through a temporary table, piece by piece.
//!
//! Rows that are in `changes` already (written by Bemi or another tracker) are passed over. A row that
//! the destination refuses for its data is found by halving, and written in a safe form. A row whose
//! position is taken by a change of another transaction gets the next free one.

use std::collections::BTreeMap;

use super::{flight, safe};
use crate::change::batch::Patch;
use crate::change::copy::Tuples;
use crate::change::row;
use crate::change::tally::ByOperation;
use crate::error::{Error, Kind, Result};
use crate::wire::Connection;

/// The table's columns: JSON as text, so that COPY itself refuses next to nothing.
const TEMPORARY: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS zemi_rows (id uuid, primary_key text, \
     before text, after text, database text, schema text, \"table\" text, operation text, \
     committed_at timestamptz, queued_at timestamptz, transaction_id bigint, position bigint, \
     context text, n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY) ON COMMIT DROP";

/// Holds the lock of an INSERT to the end of the transaction; a savepoint that is undone gives it back.
/// Otherwise a trigger or constraint that somebody drops between two attempts lets a lesser form of a row
/// in where the row itself would have been taken.
const HOLD: &str = "INSERT INTO public.changes (id) SELECT NULL::uuid WHERE false";

/// A primary key is cut to this many characters when its index refuses it: a B-tree takes about 2,700
/// bytes, and a character has up to four.
pub(super) const SAFE_KEY: usize = 600;

/// A row has the place of another one in the unique key.
const SAME: &str = "c.position = r.position AND c.\"table\" = r.\"table\" AND c.schema = r.schema \
     AND c.database = r.database AND c.operation = r.operation";

/// A row that is a duplicate: it is there, written for the same transaction. A server that was set back or
/// promoted gives positions and numbers out again, within the second, so the time of the commit counts, too.
fn written() -> String {
    format!(
        "c.transaction_id = r.transaction_id AND {}",
        flight::same_time("c.committed_at", "r.committed_at")
    )
}

/// The attempt is undone, and leaves no level of savepoints behind.
const UNDO: &str = "ROLLBACK TO SAVEPOINT zemi; RELEASE SAVEPOINT zemi";

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that were in the table already, by the name of their table.
    pub duplicates: BTreeMap<String, ByOperation>,
    /// Rows written in a safe form.
    pub replaced: u64,
}

/// How much of a row is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    AsItIs,
    /// The primary key cut.
    ShortKey,
    /// JSON values as strings of their text.
    Strings,
    /// JSON values left out.
    Omitted,
}

impl Form {
    /// The expressions for the columns, in the order of [`row::COLUMNS`].
    fn select(self, key_limit: Option<usize>) -> String {
        let json = |column: &str| match self {
            // The first character is the version byte of a binary jsonb.
            Form::AsItIs | Form::ShortKey => format!("substr({column}, 2)::jsonb"),
            Form::Strings => format!("to_jsonb(substr({column}, 2))"),
            Form::Omitted => format!(
                "CASE WHEN {column} IS NOT NULL THEN jsonb_build_object('zemi_omitted', \
                 'refused by the destination', 'bytes', octet_length({column}) - 1) END"
            ),
        };
        let limit = key_limit.unwrap_or(SAFE_KEY).min(SAFE_KEY);
        let key = match self {
            Form::AsItIs => "primary_key".to_owned(),
            _ => format!("left(primary_key, {limit})"),
        };
        format!(
            "id, {key}, {}, {}, database, schema, \"table\", operation, committed_at, queued_at, \
             transaction_id, position, {}",
            json("before"),
            json("after"),
            json("context")
        )
    }
}

/// Writes rows inside the transaction that is open on this session.
pub struct Careful<'a> {
    session: &'a mut Connection,
    /// How many characters the column `primary_key` takes.
    key_limit: Option<usize>,
    /// What was done so far.
    pub outcome: Outcome,
    /// Duplicates were looked for among the rows of the temporary table, and these numbers taken out.
    looked: bool,
    gone: Vec<u64>,
    /// `ON CONFLICT` does not work with the constraints of this table.
    plain: bool,
}

impl<'a> Careful<'a> {
    /// Prepares the session, which is inside a transaction.
    pub fn new(session: &'a mut Connection, key_limit: Option<usize>) -> Result<Careful<'a>> {
        // What a deferred constraint refuses has to show at its row, not at COMMIT.
        session.query(&format!(
            "SET CONSTRAINTS ALL IMMEDIATE; {TEMPORARY}; {HOLD}"
        ))?;
        Ok(Careful {
            session,
            key_limit,
            outcome: Outcome::default(),
            looked: false,
            gone: Vec::new(),
            plain: false,
        })
    }

    /// Writes these rows. An error leaves the transaction to be rolled back.
    pub fn write(&mut self, rows: &[u8], count: u32) -> Result<()> {
        let error = match self.stage(rows) {
            Ok(()) => return self.range(1, u64::from(count)),
            Err(e) if e.is_about_data() => e,
            Err(e) => return Err(e),
        };
        if count > 1 {
            let half = count / 2;
            let length = Tuples::new(rows).take(half as usize).map(<[u8]>::len).sum();
            let (first, second) = rows.split_at_checked(length).unwrap_or((rows, &[]));
            self.write(first, half)?;
            return self.write(second, count - half);
        }
        for row in [safe::in_ascii(rows), safe::omitted(rows)] {
            match self.stage(&row) {
                Ok(()) => {
                    self.note_replaced(&error);
                    return self.range(1, 1);
                }
                Err(e) if e.is_about_data() => {}
                Err(e) => return Err(e),
            }
        }
        Err(refused(error))
    }

    /// Gives the rows of a transaction their late context.
    pub fn patch(&mut self, patch: &Patch, database: &str) -> Result<()> {
        let mut patch = patch.clone();
        let mut failure: Option<Error> = None;
        let safe = [
            safe::json_in_ascii(&patch.context),
            safe::json_omitted(&patch.context),
        ];
        let mut safe = safe.into_iter();
        loop {
            self.session.query("SAVEPOINT zemi")?;
            let error = match self
                .session
                .query(&flight::patch_statement(&patch, database))
            {
                Ok(_) => {
                    self.session.query("RELEASE SAVEPOINT zemi")?;
                    if let Some(error) = failure {
                        self.note_replaced(&error);
                    }
                    return Ok(());
                }
                Err(e) => e,
            };
            self.session.query(UNDO)?;
            if !error.is_about_data() {
                return Err(error);
            }
            match safe.next() {
                Some(context) => patch.context = context,
                None => return Err(refused(error)),
            }
            failure = failure.or(Some(error));
        }
    }

    fn note_replaced(&mut self, error: &Error) {
        self.outcome.replaced += 1;
        log::warn!("the destination refused a row: {error}; it was written in a safe form");
    }

    /// Brings the rows into the temporary table, and nothing else.
    fn stage(&mut self, rows: &[u8]) -> Result<()> {
        (self.looked, self.gone) = (false, Vec::new());
        self.session
            .query("SAVEPOINT zemi; TRUNCATE pg_temp.zemi_rows RESTART IDENTITY")?;
        let copy = format!(
            "COPY pg_temp.zemi_rows ({}) FROM STDIN (FORMAT binary)",
            row::COLUMNS
        );
        let staged = flight::fly(self.session, &copy, rows);
        let end = if staged.is_ok() {
            "RELEASE SAVEPOINT zemi"
        } else {
            UNDO
        };
        // A session that is lost has said so already.
        match (staged, self.session.query(end)) {
            (Ok(_), end) => end.map(drop),
            (Err(e), _) => Err(e),
        }
    }

    /// Inserts the rows numbered `from` to `to`.
    fn range(&mut self, from: u64, to: u64) -> Result<()> {
        let error = match self.insert(from, to, Form::AsItIs) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        if !error.is_about_data() {
            return Err(error);
        }
        if from < to {
            let middle = from + (to - from) / 2;
            self.range(from, middle)?;
            return self.range(middle + 1, to);
        }
        if self.plain && error.is_sqlstate("23505") {
            return self.conflicts(from, to, Form::AsItIs);
        }
        for form in [Form::ShortKey, Form::Strings, Form::Omitted] {
            match self.insert(from, to, form) {
                Ok(()) => {
                    self.note_replaced(&error);
                    return Ok(());
                }
                Err(e) if e.is_about_data() => {}
                Err(e) => return Err(e),
            }
        }
        Err(refused(error))
    }

    fn insert(&mut self, from: u64, to: u64, form: Form) -> Result<()> {
        self.session.query("SAVEPOINT zemi")?;
        let sql = format!(
            "INSERT INTO public.changes ({}) SELECT {} FROM pg_temp.zemi_rows \
             WHERE n BETWEEN {from} AND {to} ORDER BY n{}",
            row::COLUMNS,
            form.select(self.key_limit),
            if self.plain {
                ""
            } else {
                " ON CONFLICT DO NOTHING"
            }
        );
        let inserted = match self.session.rows(&sql) {
            Ok(set) => crate::wire::rows_of_tag(&set.tag),
            Err(e) => {
                self.session.query(UNDO)?;
                if e.is_sqlstate("55000") && !self.plain {
                    // A DEFERRABLE unique constraint: duplicates are looked for first instead.
                    self.plain = true;
                    self.look_for_duplicates(from)?;
                    return self.insert(from, to, form);
                }
                return Err(e);
            }
        };
        let gone = self.gone.iter().filter(|n| (from..=to).contains(n)).count() as u64;
        let met_conflicts = inserted < (to - from + 1).saturating_sub(gone);
        if met_conflicts && !self.looked {
            self.session.query(UNDO)?;
            self.look_for_duplicates(from)?;
            return self.insert(from, to, form);
        }
        self.session.query("RELEASE SAVEPOINT zemi")?;
        if met_conflicts {
            self.conflicts(from, to, form)?;
        }
        Ok(())
    }

    /// Takes out and counts the rows from number `from` on that are in the table already. Those before
    /// were written just now.
    fn look_for_duplicates(&mut self, from: u64) -> Result<()> {
        self.looked = true;
        let written = written();
        let found = self.session.rows(&format!(
            "DELETE FROM pg_temp.zemi_rows r WHERE r.n >= {from} AND EXISTS (SELECT FROM public.changes c \
             WHERE {SAME} AND {written}) \
             RETURNING r.n, r.operation, r.schema || '.' || r.\"table\""
        ))?;
        for row in &found.rows {
            let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or_default();
            self.gone.extend(text(0).parse::<u64>());
            let operation = match text(1) {
                "UPDATE" => 1,
                "DELETE" => 2,
                "TRUNCATE" => 3,
                _ => 0,
            };
            let counts = self.outcome.duplicates.entry(text(2).into()).or_default();
            if let Some(count) = counts.get_mut(operation) {
                *count += 1;
            }
        }
        Ok(())
    }

    /// Rows that met a conflict with a change of another transaction are different changes: each takes the
    /// next free position, with an id of its own.
    fn conflicts(&mut self, from: u64, to: u64, form: Form) -> Result<()> {
        let written = written();
        let found = self.session.rows(&format!(
            "SELECT r.n FROM pg_temp.zemi_rows r WHERE r.n BETWEEN {from} AND {to} \
             AND NOT EXISTS (SELECT FROM public.changes c WHERE {SAME} AND {written}) \
             ORDER BY r.n"
        ))?;
        for row in &found.rows {
            let n = row.first().and_then(|n| n.as_deref()?.parse().ok());
            self.next_position(n.unwrap_or(0), form)?;
        }
        Ok(())
    }

    fn next_position(&mut self, n: u64, form: Form) -> Result<()> {
        let select = form
            .select(self.key_limit)
            .replacen("id,", "gen_random_uuid(),", 1)
            .replacen("transaction_id, position", "transaction_id, p.free", 1);
        self.session
            .query(&format!(
                "INSERT INTO public.changes ({}) SELECT {select} FROM pg_temp.zemi_rows r, LATERAL (\
                 SELECT min(s.free) AS free FROM generate_series(r.position, r.position + 100000) s(free) \
                 WHERE NOT EXISTS (SELECT FROM public.changes c WHERE c.position = s.free \
                 AND c.\"table\" = r.\"table\" AND c.schema = r.schema AND c.database = r.database \
                 AND c.operation = r.operation)) p WHERE r.n = {n}",
                row::COLUMNS
            ))
            .map(drop)
    }
}

/// A constraint or trigger that no form of the row satisfies: it is never skipped.
fn refused(error: Error) -> Error {
    Error::new(Kind::Network, "the destination refuses a row in every form")
        .caused_by(error)
        .hint("look for a constraint, trigger, rule or missing partition of public.changes")
}
