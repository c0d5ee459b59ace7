//! Executes a plan, or tries it and undoes it.

use super::deferred_switch::{take_place, wait_for_earlier_transactions};
use super::names::Names;
use super::plan::{Plan, Step};
use super::state::Publications;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::source::session::BEGIN_DDL;
use crate::sqlstate;
use crate::wire::{Connection, identifier};

/// How long a table's lock is waited for, in milliseconds: long enough that autovacuum, which holds it for
/// hours, is asked to give way (`deadlock_timeout`, 1 s), and not so long that anything else has to.
const LOCK_TIMEOUT: u32 = 5_000;

/// What becomes of the transactions of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are committed.
    Commit,
    /// All statements run in one transaction that is rolled back, and nothing is waited for.
    DryRun,
}

/// Executes the steps of a plan that was made from this state. Where there is a first publication already, a
/// step that fails is logged, and the publications are used as they are.
///
/// # Errors
/// A step that fails where there is no first publication; the source's connection.
pub(super) fn apply(
    session: &mut Connection,
    plan: &Plan,
    names: &Names,
    config: &Config,
    mode: Mode,
) -> Result<()> {
    let done = match mode {
        Mode::Commit => execute(session, &plan.steps, names, config),
        Mode::DryRun => dry_run(session, &plan.steps, names, config),
    };
    if let Err(error) = done.at(|| format!("bringing publication {} in line", names.first)) {
        let _ = session.query("ROLLBACK");
        // Without the right to make the second one, the first is used as it is.
        if plan.is_required {
            return Err(retry_when_dropped(error));
        }
        log::warn!("{error}");
    }
    Ok(())
}

fn execute(session: &mut Connection, steps: &[Step], names: &Names, config: &Config) -> Result<()> {
    for step in steps {
        match step {
            Step::Transaction(statements) => {
                let statements = statements.iter().map(|s| s.sql.as_str()).collect();
                transact(session, statements, "COMMIT", names, config)?
            }
            Step::WaitForEarlierTransactions(name) => wait_for_earlier_transactions(session, name)?,
            Step::DeferredSwitch => {
                if !take_place(session, names)? {
                    log::info!(
                        "publication {} becomes a list of tables when the transactions that are open now \
                         have ended",
                        names.first
                    );
                }
            }
        }
    }
    Ok(())
}

/// No table is locked: what only its owner can list is known from the catalog.
fn dry_run(session: &mut Connection, steps: &[Step], names: &Names, config: &Config) -> Result<()> {
    let statements: Vec<&str> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Transaction(statements) => statements.as_slice(),
            Step::WaitForEarlierTransactions(_) | Step::DeferredSwitch => &[],
        })
        .filter_map(|statement| statement.bare.as_deref())
        .collect();
    if statements.is_empty() {
        return Ok(());
    }
    transact(session, statements, "ROLLBACK", names, config)
}

/// Runs these statements in one transaction that ends by `end`.
fn transact(
    session: &mut Connection,
    statements: Vec<&str>,
    end: &str,
    names: &Names,
    config: &Config,
) -> Result<()> {
    let sql = format!(
        "{BEGIN_DDL}; SET LOCAL lock_timeout = {LOCK_TIMEOUT}; {}; {end}",
        statements.join("; ")
    );
    session.query(&sql).map(drop).map_err(|e| {
        if !e.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE) {
            return e;
        }
        let user = identifier(&config.source.user);
        e.hint(format!(
            "GRANT CREATE ON DATABASE {} TO {user}; or let a superuser CREATE PUBLICATION {} FOR ALL TABLES",
            identifier(&config.source.database),
            identifier(&names.first)
        ))
    })
}

/// A table or schema of the list that was dropped meanwhile is not found by the next look.
fn retry_when_dropped(error: Error) -> Error {
    let dropped = [
        sqlstate::UNDEFINED_TABLE,
        sqlstate::UNDEFINED_OBJECT,
        sqlstate::INVALID_SCHEMA_NAME,
    ];
    if dropped.iter().any(|code| error.is_sqlstate(code)) {
        error.as_kind(Kind::Transient)
    } else {
        error
    }
}

/// The names for START_REPLICATION. The third publication is not followed before it is the first.
pub(super) fn followed(names: Names, publications: &Publications) -> Vec<String> {
    let first = publications.first.as_ref().map(|_| names.first);
    let updates = publications.follows_updates().then_some(names.updates);
    first.into_iter().chain(updates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;

    #[test]
    fn only_what_was_dropped_is_tried_again() {
        let of = |code: &str| {
            let error = Error::server(SqlState::from_bytes(code.as_bytes()), "x");
            retry_when_dropped(error).kind()
        };
        assert_eq!(of(sqlstate::UNDEFINED_TABLE), Kind::Transient);
        assert_eq!(of(sqlstate::INVALID_SCHEMA_NAME), Kind::Transient);
        assert_eq!(of(sqlstate::INSUFFICIENT_PRIVILEGE), Kind::Server);
    }

    #[test]
    fn the_publications_that_exist_are_followed_but_for_the_next_one() {
        let publication = super::super::state::Publication {
            all_tables: true,
            publish: String::new(),
            via_root: false,
            generated: false,
            tables: [].into(),
            marked: true,
            owned: true,
        };
        let publications = |first: bool, updates: bool| Publications {
            first: first.then(|| publication.clone()),
            updates: updates.then(|| publication.clone()),
            next: Some(publication.clone()),
            columns_differ: false,
        };
        let names = |first, updates| followed(Names::of("p"), &publications(first, updates));
        assert_eq!(names(true, true), ["p", "p_updates"]);
        assert_eq!(names(true, false), ["p"]);
        assert_eq!(names(false, true), ["p_updates"]);
        assert!(names(false, false).is_empty());
    }

    #[test]
    fn beside_one_that_zemi_did_not_make_the_second_one_is_followed_where_both_agree() {
        let publication = |ours: bool, publish: &str| super::super::state::Publication {
            all_tables: true,
            publish: publish.into(),
            via_root: false,
            generated: false,
            tables: [].into(),
            marked: ours,
            owned: true,
        };
        let with = |publish, updates, columns_differ| {
            let publications = Publications {
                first: Some(publication(false, publish)),
                updates: Some(updates),
                next: None,
                columns_differ,
            };
            followed(Names::of("p"), &publications).len()
        };
        let (new, all) = ("insert, truncate", "insert, update, delete, truncate");
        let by_hand = || publication(false, "update, delete");
        assert_eq!(with(new, by_hand(), false), 2);
        assert_eq!(with(new, by_hand(), true), 1);
        let mut generated = by_hand();
        generated.generated = true;
        assert_eq!(with(new, generated, false), 1);
        let ours = || publication(true, "update, delete");
        assert_eq!(with(new, ours(), false), 2);
        assert_eq!(with(all, ours(), false), 1);
    }
}
