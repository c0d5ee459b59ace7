//! The careful way to write rows that COPY refused: through a temporary table, piece by piece.
//!
//! Rows that are in `changes` already (written by Bemi or another tracker) are passed over. A row that
//! the destination refuses for its data is found by halving, and written in a safe form. A row whose
//! position is taken by a change of another transaction gets the next free one.

use super::flight;
use crate::change::row;
use crate::error::{Error, Kind, Result};
use crate::wire::Connection;

/// The table's columns: JSON as text, so that COPY itself refuses nothing.
const TEMPORARY: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS zemi_rows (id uuid, primary_key text, \
     before text, after text, database text, schema text, \"table\" text, operation text, \
     committed_at timestamptz, queued_at timestamptz, transaction_id bigint, position bigint, \
     context text, n bigint GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP";

/// A primary key is cut to this many characters when its index refuses it: a B-tree takes about 2,700
/// bytes, and a character has up to four.
const SAFE_KEY: usize = 600;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that were in the table already.
    pub duplicates: u64,
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
    /// The session, inside a transaction.
    pub session: &'a mut Connection,
    /// How many characters the column `primary_key` takes.
    pub key_limit: Option<usize>,
    /// What was done so far.
    pub outcome: Outcome,
}

impl Careful<'_> {
    /// Writes these rows. An error leaves the transaction to be rolled back.
    pub fn write(&mut self, rows: &[u8], count: u32) -> Result<()> {
        self.session.query(TEMPORARY)?;
        self.session
            .query("TRUNCATE pg_temp.zemi_rows RESTART IDENTITY")?;
        let copy = format!(
            "COPY pg_temp.zemi_rows ({}) FROM STDIN (FORMAT binary)",
            row::COLUMNS
        );
        flight::fly(self.session, &copy, rows)?;
        self.range(1, u64::from(count))
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
        for form in [Form::ShortKey, Form::Strings, Form::Omitted] {
            match self.insert(from, to, form) {
                Ok(()) => {
                    self.outcome.replaced += 1;
                    log::warn!(
                        "the destination refused a row: {error}; it was written in a safe form"
                    );
                    return Ok(());
                }
                Err(e) if e.is_about_data() => {}
                Err(e) => return Err(e),
            }
        }
        // A constraint or trigger that no form of the row satisfies: it is never skipped.
        Err(
            Error::new(Kind::Network, "the destination refuses a row in every form")
                .caused_by(error)
                .hint("look for a constraint, trigger or rule on public.changes that refuses rows"),
        )
    }

    fn insert(&mut self, from: u64, to: u64, form: Form) -> Result<()> {
        self.session.query("SAVEPOINT zemi")?;
        let sql = format!(
            "INSERT INTO public.changes ({}) SELECT {} FROM pg_temp.zemi_rows \
             WHERE n BETWEEN {from} AND {to} ORDER BY n ON CONFLICT DO NOTHING",
            row::COLUMNS,
            form.select(self.key_limit)
        );
        let inserted = match self.session.rows(&sql) {
            Ok(set) => crate::wire::rows_of_tag(&set.tag),
            Err(e) => {
                self.session.query("ROLLBACK TO SAVEPOINT zemi")?;
                return Err(e);
            }
        };
        self.session.query("RELEASE SAVEPOINT zemi")?;
        let missing = (to - from + 1).saturating_sub(inserted);
        if missing > 0 {
            let moved = self.conflicts(from, to, form)?;
            self.outcome.duplicates += missing.saturating_sub(moved);
        }
        Ok(())
    }

    /// Of the rows that met a conflict, those of the same transaction are duplicates; the others are
    /// different changes, and each takes the next free position, with an id of its own. Returns how many
    /// those are.
    fn conflicts(&mut self, from: u64, to: u64, form: Form) -> Result<u64> {
        let found = self.session.rows(&format!(
            "SELECT r.n FROM pg_temp.zemi_rows r WHERE r.n BETWEEN {from} AND {to} \
             AND NOT EXISTS (SELECT FROM public.changes c WHERE c.position = r.position \
             AND c.\"table\" = r.\"table\" AND c.schema = r.schema AND c.database = r.database \
             AND c.operation = r.operation AND c.transaction_id = r.transaction_id) ORDER BY r.n"
        ))?;
        let mut moved = 0;
        for row in &found.rows {
            let n: u64 = row
                .first()
                .and_then(|n| n.as_deref()?.parse().ok())
                .unwrap_or(0);
            self.next_position(n, form)?;
            moved += 1;
        }
        Ok(moved)
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
