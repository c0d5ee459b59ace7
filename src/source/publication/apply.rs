//! Executes a plan, or tries it and undoes it.

use super::deferred_switch::{take_place, wait_for_earlier_transactions};
use super::names::Names;
use super::plan::{Plan, Step};
use super::state::{LeftOut, Publications};
use super::statements::Statement;
use crate::config::Config;
use crate::error::{At, Error, Kind, Result};
use crate::source::session::BEGIN_DDL;
use crate::sqlstate;
use crate::wire::{Connection, identifier};

/// How long the lock of one of many tables is waited for, in milliseconds: long enough that autovacuum, which
/// holds it for hours, is asked to give way (`deadlock_timeout`, 1 s), and not so long that anything else has
/// to.
const LOCK_TIMEOUT: u32 = 2_000;

/// The same for a table of a transaction that failed.
const LOCK_TIMEOUT_ALONE: u32 = 50;

/// What becomes of the transactions of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are committed.
    Commit,
    /// All statements run in one transaction that is rolled back, and nothing is waited for.
    DryRun,
}

/// What was not done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// A step failed, or a table was left out.
    pub(super) incomplete: bool,
    /// The tables that were left out, but for those that are gone.
    pub(super) left_out: Vec<LeftOut>,
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
) -> Result<Done> {
    let mut done = Done::default();
    let executed = match mode {
        Mode::Commit => execute(session, &plan.steps, names, config, &mut done),
        Mode::DryRun => dry_run(session, &plan.steps, names, config),
    };
    if let Err(error) = executed.at(|| format!("bringing publication {} in line", names.first)) {
        let _ = session.roll_back();
        // Without the right to make the second one, the first is used as it is.
        if plan.is_required {
            return Err(retry_when_dropped(error));
        }
        done.incomplete = true;
        log::warn!("{error}");
    }
    Ok(done)
}

fn execute(
    session: &mut Connection,
    steps: &[Step],
    names: &Names,
    config: &Config,
    done: &mut Done,
) -> Result<()> {
    for step in steps {
        match step {
            Step::Transaction(statements) => {
                let sql: Vec<String> = statements.iter().map(Statement::sql).collect();
                let all = transact(session, &sql, "COMMIT", LOCK_TIMEOUT, names, config);
                match all {
                    Err(_) if statements.iter().any(|s| !s.tables.is_empty()) => {
                        one_by_one(session, statements, names, config, done)?;
                    }
                    all => all?,
                }
            }
            Step::WaitForEarlierTransactions(name) => wait_for_earlier_transactions(session, name)?,
            // A list that lacks a table waits for it.
            Step::DeferredSwitch if done.incomplete => {}
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

/// Does what a transaction that failed should have done, without the tables that it failed for: what names no
/// table together, then each table by itself.
fn one_by_one(
    session: &mut Connection,
    statements: &[Statement],
    names: &Names,
    config: &Config,
    done: &mut Done,
) -> Result<()> {
    session.roll_back()?;
    let (listing, other): (Vec<_>, Vec<_>) = statements.iter().partition(|s| !s.tables.is_empty());
    let other: Vec<String> = other.into_iter().map(Statement::sql).collect();
    transact(session, &other, "COMMIT", LOCK_TIMEOUT, names, config)?;
    for (head, table) in listing
        .iter()
        .flat_map(|s| s.tables.iter().map(|table| (&s.head, table)))
    {
        let sql = [format!("{head}{table}")];
        let Err(e) = transact(session, &sql, "COMMIT", LOCK_TIMEOUT_ALONE, names, config) else {
            continue;
        };
        session.roll_back()?;
        done.incomplete = true;
        if !is_dropped(&e) {
            done.left_out.push(LeftOut {
                found: format!("not done yet: {head}{table}: {}", e.without_hint()),
                fix: match e.is_unconvertible() {
                    // The statement has U+FFFD in the place of what has no UTF-8.
                    true => {
                        "give the table, its schema or the publication a name that is valid in the \
                             database's encoding"
                            .into()
                    }
                    false => {
                        "zemi tries again; if a session keeps the table locked, end its transaction"
                            .into()
                    }
                },
            });
        }
    }
    Ok(())
}

/// No table is locked: what only its owner can list is known from the catalog.
fn dry_run(session: &mut Connection, steps: &[Step], names: &Names, config: &Config) -> Result<()> {
    let statements: Vec<String> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Transaction(statements) => statements.as_slice(),
            Step::WaitForEarlierTransactions(_) | Step::DeferredSwitch => &[],
        })
        .filter(|statement| statement.is_tried)
        .map(Statement::sql)
        .collect();
    transact(
        session,
        &statements,
        "ROLLBACK",
        LOCK_TIMEOUT,
        names,
        config,
    )
}

/// Runs these statements in one transaction that ends by `end`.
fn transact(
    session: &mut Connection,
    statements: &[String],
    end: &str,
    lock_timeout: u32,
    names: &Names,
    config: &Config,
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "{BEGIN_DDL}; SET LOCAL lock_timeout = {lock_timeout}; {}; {end}",
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

fn is_dropped(error: &Error) -> bool {
    [
        sqlstate::UNDEFINED_TABLE,
        sqlstate::UNDEFINED_OBJECT,
        sqlstate::INVALID_SCHEMA_NAME,
    ]
    .iter()
    .any(|code| error.is_sqlstate(code))
}

/// A table or schema of the list that was dropped meanwhile is not found by the next look.
fn retry_when_dropped(error: Error) -> Error {
    if is_dropped(&error) {
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
