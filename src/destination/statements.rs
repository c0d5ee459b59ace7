//! Pure: the statements of a transaction of the destination, as a list that is joined once.

use super::progress::ProgressSql;
use crate::change::Batch;
use crate::lsn::Lsn;

/// Starts every transaction of the destination.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

const COMMIT: &str = "COMMIT";

/// The text of one Query message with these statements.
pub(super) fn join(statements: &[String]) -> String {
    statements.join("; ")
}

/// The text of one Query message that runs these statements as a transaction.
pub(super) fn transaction(statements: &[String]) -> String {
    let mut all = vec![BEGIN.to_owned()];
    all.extend_from_slice(statements);
    all.push(COMMIT.to_owned());
    join(&all)
}

/// What goes before and behind the rows of a batch in the transaction of the destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bracket {
    /// The beginning of the transaction and the guard; empty inside an open transaction.
    pub(super) before: Vec<String>,
    /// The guard where it could not be in front, and COMMIT; empty while fragments follow.
    pub(super) after: Vec<String>,
}

impl Bracket {
    /// For a batch that moves the progress from `previous` to its end. With `prepared`, the session knows the
    /// prepared guard.
    ///
    /// The end of a transaction larger than a batch is not known at its first fragment: that locks the row of
    /// the progress, and the last fragment moves it.
    pub(super) fn new(
        sql: &ProgressSql,
        prepared: bool,
        batch: &Batch,
        previous: Lsn,
        timeline: u32,
    ) -> Bracket {
        let begin = || BEGIN.to_owned();
        let commit = || COMMIT.to_owned();
        let advance = || sql.advance(previous, batch.end, timeline);
        let (before, after) = match (batch.continues, batch.open) {
            (false, false) if prepared => {
                let advance = sql.advance_prepared(previous, batch.end, timeline);
                (vec![begin(), advance], vec![commit()])
            }
            (false, false) => (vec![begin(), advance()], vec![commit()]),
            (false, true) => (vec![begin(), sql.lock(previous)], vec![]),
            (true, true) => (vec![], vec![]),
            (true, false) => (vec![], vec![advance(), commit()]),
        };
        Bracket { before, after }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::destination::identity::DestinationIdentity;
    use crate::destination::tables::TableNames;

    fn sql() -> ProgressSql {
        let settings = [("DB_NAME", "d"), ("DB_PASSWORD", "p")];
        let settings = settings.map(|(name, value)| (name.into(), value.into()));
        let (config, _) = Config::from_vars(settings).unwrap();
        let identity = DestinationIdentity {
            system: None,
            timeline: None,
            started: String::new(),
        };
        let names = TableNames::in_schema("public");
        ProgressSql::new(&config, &names, "7", &identity, false)
    }

    #[test]
    fn each_part_of_a_transaction_has_its_own_beginning_and_end() {
        let sql = sql();
        let (from, to) = (Lsn(5), Lsn(9));
        let lock = sql.lock(from);
        let advance = sql.advance(from, to, 2);
        let prepared = sql.advance_prepared(from, to, 2);
        let (begin, commit) = (BEGIN.to_owned(), COMMIT.to_owned());
        for (continues, open, is_prepared, before, after) in [
            (false, false, true, vec![&begin, &prepared], vec![&commit]),
            (false, false, false, vec![&begin, &advance], vec![&commit]),
            (false, true, true, vec![&begin, &lock], vec![]),
            (true, true, true, vec![], vec![]),
            (true, false, true, vec![], vec![&advance, &commit]),
            (true, false, false, vec![], vec![&advance, &commit]),
        ] {
            let mut batch = Batch::default();
            batch.advance(to);
            batch.continues = continues;
            batch.open = open;
            let found = Bracket::new(&sql, is_prepared, &batch, from, 2);
            let found = (found.before.iter().collect(), found.after.iter().collect());
            assert_eq!(found, (before, after), "{continues} {open} {is_prepared}");
        }
    }

    #[test]
    fn a_transaction_is_one_message() {
        assert_eq!(
            transaction(&["SELECT 1".to_owned(), "SELECT 2".to_owned()]),
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT 1; SELECT 2; COMMIT"
        );
    }
}
