//! Writing a batch: one flight where the destination takes it, and what to do where it does not.

use super::copy;
use super::durable::Durable;
use super::fallback::{Fallback, Outcome};
use super::session::{Core, Session};
use super::statements::{self, Bracket};
use super::verdict::{Verdict, judge};
use crate::change::Batch;
use crate::error::{Error, Kind, Result};
use crate::sqlstate;

/// How the rows of a batch are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Method {
    /// By one COPY.
    #[default]
    Copy,
    /// Row by row where needed, see [`Fallback`].
    Fallback,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is committed.
    Durable(Durable, Outcome),
    /// It is a fragment in a transaction that is still open.
    Open(Outcome),
}

/// What to find out after an error, before the batch is given up or written in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Nothing.
    None,
    /// The guard is sent as a whole statement from now on: a pooler that hands out another server session for
    /// each transaction lacks the prepared one.
    WithoutPrepared,
    /// Where the progress stands: the guard failed, or a trigger divided by zero.
    Progress,
    /// How the table looks: a column was dropped, or has lost its default.
    Tables,
}

fn check_after(error: &Error, prepared: bool, continues: bool) -> Check {
    match error.code() {
        // A later fragment uses no prepared statement, holds the lock of the row already, and cannot be sent
        // again alone.
        Some(sqlstate::INVALID_SQL_STATEMENT_NAME) if prepared && !continues => {
            Check::WithoutPrepared
        }
        Some(sqlstate::DIVISION_BY_ZERO) if !continues => Check::Progress,
        Some(sqlstate::NOT_NULL_VIOLATION | sqlstate::UNDEFINED_COLUMN) => Check::Tables,
        _ => Check::None,
    }
}

/// What comes after an error that no check has explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The error goes to the caller.
    Fail,
    /// So does it, and the transaction is written by the fallback when it comes again: its earlier fragments
    /// were undone with this one.
    FallbackFromItsStart,
    /// The batch is written by the fallback now.
    Fallback,
}

fn next_after(error: &Error, method: Method, continues: bool) -> Next {
    match method {
        Method::Copy if error.is_about_data() && continues => Next::FallbackFromItsStart,
        Method::Copy if error.is_about_data() => Next::Fallback,
        _ => Next::Fail,
    }
}

impl Session {
    /// Writes a batch. `method` is how it is begun, and holds afterwards how it had to be written.
    ///
    /// # Errors
    /// The session is of no more use: its transaction may still be open.
    pub(crate) fn write(
        &mut self,
        batch: &Batch,
        timeline: u32,
        method: &mut Method,
    ) -> Result<Written> {
        loop {
            let error = match self.attempt(batch, timeline, *method) {
                Ok(written) => return Ok(written),
                Err(e) => e,
            };
            if let Some(durable) = self.after_error(batch, timeline, error, method)? {
                return Ok(Written::Durable(durable, Outcome::default()));
            }
        }
    }

    fn attempt(&mut self, batch: &Batch, timeline: u32, method: Method) -> Result<Written> {
        check_shape(&self.core, batch)?;
        if batch.continues && !self.core.connection.in_transaction() {
            // Alone it would be committed without the fragments before it.
            return Err(Error::new(
                Kind::Transient,
                "the fragments before this one are gone",
            ));
        }
        let core = &self.core;
        let bracket = Bracket::new(&core.sql, core.prepared, batch, self.position, timeline);
        let (tag, outcome) = match method {
            Method::Copy => (self.copy(batch, bracket)?, Outcome::default()),
            Method::Fallback => self.fallback(batch, &bracket)?,
        };
        if batch.open {
            return Ok(Written::Open(outcome));
        }
        let durable = Durable::by_commit(&tag, batch.end)?;
        self.position = batch.end;
        Ok(Written::Durable(durable, outcome))
    }

    /// Prepares another attempt, or finds out that the batch is durable.
    fn after_error(
        &mut self,
        batch: &Batch,
        timeline: u32,
        error: Error,
        method: &mut Method,
    ) -> Result<Option<Durable>> {
        let in_transaction = self.core.connection.in_transaction();
        if error.kind() != Kind::Server || !in_transaction && batch.continues {
            return Err(error);
        }
        if in_transaction {
            self.core.connection.query("ROLLBACK")?;
        }
        if error.is_sqlstate(sqlstate::DIVISION_BY_ZERO) {
            self.core.check_guard(self.position, timeline)?;
        }
        match check_after(&error, self.core.prepared, batch.continues) {
            Check::None => {}
            Check::WithoutPrepared => {
                self.core.prepared = false;
                return Ok(None);
            }
            Check::Progress => {
                let sent = (!batch.open).then_some(batch.end);
                let verdict = judge(self.core.read_progress()?, self.position, sent);
                if verdict != Verdict::AsLeft {
                    let durable = self.core.reconcile(verdict, self.position, timeline)?;
                    self.position = durable.as_ref().map_or(self.position, Durable::lsn);
                    return Ok(durable);
                }
            }
            Check::Tables => {
                self.core.refresh_tables()?;
                check_shape(&self.core, batch)?;
            }
        }
        match next_after(&error, *method, batch.continues) {
            Next::Fail => Err(error),
            Next::FallbackFromItsStart => {
                *method = Method::Fallback;
                Err(error)
            }
            Next::Fallback => {
                *method = Method::Fallback;
                log::debug!("destination: {error}; writing the batch row by row where needed");
                Ok(None)
            }
        }
    }

    /// Writes a batch in one flight; returns the tag of the last statement.
    fn copy(&mut self, batch: &Batch, bracket: Bracket) -> Result<String> {
        let core = &mut self.core;
        let names = &core.tables.names;
        let database = &core.environment.config.source.database;
        let mut all = bracket.before;
        if core.tables.position_indexed {
            let truncated = batch.truncated.iter();
            all.extend(truncated.map(|truncated| copy::truncated_before(names, truncated)));
        }
        all.push(copy::copy_statement(names, batch.shape));
        let patches = batch.patches.iter();
        all.extend(patches.map(|patch| copy::patch_statement(names, patch, database)));
        all.extend(bracket.after);
        let sql = statements::join(&all);
        let outcome = copy::send_copy(&mut core.connection, &sql, &[&batch.rows])?;
        Ok(outcome.last_tag)
    }

    /// Writes a batch in several steps; returns the tag of the last statement and what was done.
    fn fallback(&mut self, batch: &Batch, bracket: &Bracket) -> Result<(String, Outcome)> {
        let core = &mut self.core;
        if !bracket.before.is_empty() {
            core.connection.query(&statements::join(&bracket.before))?;
        }
        let mut fallback = Fallback::new(&mut core.connection, &core.tables, batch)?;
        fallback.write()?;
        for patch in &batch.patches {
            fallback.patch(patch, &core.environment.config.source.database)?;
        }
        let outcome = fallback.into_outcome();
        let mut tag = String::new();
        if !bracket.after.is_empty() {
            let mut sets = core.connection.query(&statements::join(&bracket.after))?;
            tag = sets.pop().map(|set| set.tag).unwrap_or_default();
        }
        Ok((tag, outcome))
    }
}

/// Rows that lack a column which the table needs, or have one that it lacks, are made again.
fn check_shape(core: &Core, batch: &Batch) -> Result<()> {
    let tables = &core.tables;
    if tables.shape == batch.shape || batch.count == 0 {
        return Ok(());
    }
    Err(Error::new(
        Kind::Resync,
        format!(
            "expected rows of {} with the columns {}",
            tables.names.changes(),
            tables.shape.columns()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;

    fn error(code: &str) -> Error {
        Error::server(SqlState::from_bytes(code.as_bytes()), "refused")
    }

    #[test]
    fn an_error_is_looked_into_by_its_sqlstate() {
        for (code, prepared, continues, check) in [
            ("26000", true, false, Check::WithoutPrepared),
            ("26000", true, true, Check::None),
            // Without the prepared guard, the name belongs to another statement.
            ("26000", false, false, Check::None),
            ("22012", true, false, Check::Progress),
            ("22012", false, false, Check::Progress),
            ("22012", true, true, Check::None),
            ("23502", true, false, Check::Tables),
            ("23502", true, true, Check::Tables),
            ("42703", false, false, Check::Tables),
            ("23505", true, false, Check::None),
            ("53100", true, false, Check::None),
        ] {
            let found = check_after(&error(code), prepared, continues);
            assert_eq!(found, check, "{code} {prepared} {continues}");
        }
    }

    #[test]
    fn only_data_that_copy_refused_goes_row_by_row() {
        for code in [
            "22021", "22012", "23505", "23502", "44000", "54000", "P0001", "XX000",
        ] {
            let e = error(code);
            assert_eq!(
                next_after(&e, Method::Copy, false),
                Next::Fallback,
                "{code}"
            );
            let again = Next::FallbackFromItsStart;
            assert_eq!(next_after(&e, Method::Copy, true), again, "{code}");
            // The fallback itself was refused: no third way is left.
            for continues in [false, true] {
                assert_eq!(next_after(&e, Method::Fallback, continues), Next::Fail);
            }
        }
        for code in ["42P01", "42703", "53100", "57P01", "40001", "26000"] {
            for continues in [false, true] {
                let next = next_after(&error(code), Method::Copy, continues);
                assert_eq!(next, Next::Fail, "{code}");
            }
        }
    }
}
