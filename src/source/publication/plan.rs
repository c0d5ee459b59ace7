//! Pure: what has to be done for the publications to be as the settings and the tables ask for.
//!
//! PostgreSQL refuses UPDATE and DELETE on a published table without a usable replica identity. So there
//! are two publications: `<name>` and `<name>_updates`, and a table that cannot publish its updates is
//! only ever in the first, which then publishes inserts and truncates alone.

use std::collections::{BTreeMap, BTreeSet};

use super::advice::fix;
use super::identity::IdentityIndex;
use super::state::{ALL_OPERATIONS, Publication, State, Table};
use super::statements::{Statement, Wanted, Writer, transactions};
use crate::change::Tracked;
use crate::config::Config;
use crate::lsn::Oid;

/// What `<name>` publishes beside `<name>_updates`.
const NEW_ROWS: &str = "insert, truncate";

/// What `<name>_updates` publishes.
const OLD_ROWS: &str = "update, delete";

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Statements of one transaction, so that no point of the write-ahead log sees one without the others.
    Transaction(Vec<Statement>),
    /// Wait for the transactions that are older than the publication of this name.
    WaitForEarlierTransactions(String),
    /// Put `<name>_next` in the place of `<name>`, when no transaction is older than it.
    DeferredSwitch,
}

/// A table that the settings want and zemi's role may not publish by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// Its own OID, and those of the partitioned tables above it.
    pub(super) chain: Vec<Oid>,
    /// Quoted for SQL.
    pub(super) table: String,
    /// The SQL that allows it.
    pub(super) fix: String,
}

/// What is to be done, in order, and what is to be said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Empty where everything is as it has to be.
    pub(super) steps: Vec<Step>,
    /// There is no `<name>` yet: a step that fails leaves nothing to follow. Else it is used as it is.
    pub(super) is_required: bool,
    /// Tables whose UPDATE and DELETE are not tracked.
    pub(super) untracked: BTreeSet<Oid>,
    /// Tables that the steps do not publish for lack of rights. A publication may list them all the same.
    pub(super) forbidden: Vec<Forbidden>,
}

/// Nothing can be published: there is no publication, and zemi's role owns none of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The first of them, quoted for SQL.
    pub(super) table: String,
    pub(super) owner: String,
    /// The SQL that allows it.
    pub(super) fix: String,
}

/// Compares what there is with what the settings ask for. A publication that zemi did not make is never
/// touched, and is used alone, or with a second one that zemi did not make either.
pub(super) fn plan(state: &State, config: &Config, tracked: &Tracked) -> Result<Plan, Refusal> {
    let scope = Scope::new(state, config, tracked);
    let first = Wanted {
        tables: (!scope.for_all).then(|| scope.listed(&|_| true, &|_| true)),
        publish: scope.first_publishes(),
        generated: scope.with_stored,
    };
    // A partition that is made later has the primary key of the table above it, and not its identity.
    let has_key = |table: &Table| table.primary_key == IdentityIndex::Usable;
    let is_usable = |table: &Table| table.is_usable(scope.with_stored);
    let updates = Wanted {
        // Listed before they are needed here: see `deferred_switch`.
        tables: Some(scope.listed(&is_usable, &has_key)),
        publish: OLD_ROWS,
        generated: scope.with_stored,
    };
    let forbidden = scope.forbidden();
    let nothing_to_list = first.tables.as_ref().is_some_and(BTreeSet::is_empty);
    if state.publications.first.is_none()
        && nothing_to_list
        && let Some(&table) = forbidden.first()
    {
        return Err(Refusal {
            table: table.quoted(),
            owner: table.owner.clone(),
            fix: fix(table, &config.source.user, &state.names.first),
        });
    }
    let forbid = |table: &Table| Forbidden {
        chain: table.chain().collect(),
        table: table.quoted(),
        fix: fix(table, &config.source.user, &state.names.first),
    };
    Ok(Plan {
        steps: scope.steps(&first, &updates),
        is_required: state.publications.first.is_none(),
        untracked: scope.untracked(),
        forbidden: forbidden.into_iter().map(forbid).collect(),
    })
}

/// What the questions of a plan are answered from.
struct Scope<'a> {
    state: &'a State,
    tracked: &'a Tracked,
    /// By OID.
    all: BTreeMap<Oid, &'a Table>,
    /// All but zemi's own, by OID.
    tables: BTreeMap<Oid, &'a Table>,
    /// FOR ALL TABLES is wanted, and is possible or there.
    for_all: bool,
    /// Stored generated columns are published: those of zemi as the one beside them that is not zemi's.
    with_stored: bool,
}

impl<'a> Scope<'a> {
    fn new(state: &'a State, config: &Config, tracked: &'a Tracked) -> Scope<'a> {
        let foreign = state.publications.first.as_ref().filter(|p| !p.is_ours());
        let all: BTreeMap<Oid, &Table> = state.tables.iter().map(|t| (t.oid, t)).collect();
        let own = |oid: &Oid| state.own_tables.contains(oid);
        let for_all = state.superuser || foreign.is_some_and(|p| p.all_tables);
        Scope {
            state,
            tracked,
            tables: all
                .iter()
                .filter(|(oid, _)| !own(oid))
                .map(|(oid, table)| (*oid, *table))
                .collect(),
            all,
            for_all: config.tables.is_none() && for_all,
            with_stored: foreign.is_none_or(|p| p.generated),
        }
    }

    /// The tables that hold rows.
    fn leaves(&self) -> impl Iterator<Item = &'a Table> {
        self.tables.values().copied().filter(|t| !t.partitioned)
    }

    fn tracks(&self, table: &Table) -> bool {
        self.tracked.tracks(&table.lineage)
    }

    /// What the first publication publishes. A list leaves updates and deletes to the second one.
    fn first_publishes(&self) -> &'static str {
        // FOR ALL TABLES holds zemi's own tables, too, and those that a tool makes while it works: their
        // UPDATE and DELETE have to work.
        let usable = |t: &Table| t.partitioned || t.is_usable(self.with_stored);
        if self.for_all && !self.state.has_tools && self.state.tables.iter().all(usable) {
            ALL_OPERATIONS
        } else {
            NEW_ROWS
        }
    }

    /// What a list holds of the tables that are wanted in it. The topmost partitioned table stands for those
    /// below it, also for later ones, where it may be listed, `stands`, and all below it are wanted.
    fn listed(
        &self,
        is_wanted: &dyn Fn(&Table) -> bool,
        stands: &dyn Fn(&Table) -> bool,
    ) -> BTreeSet<Oid> {
        let may_list = |table: &Table| (self.for_all || table.owned) && self.tracks(table);
        let (taken, left): (Vec<&Table>, Vec<&Table>) =
            self.leaves().partition(|t| may_list(t) && is_wanted(t));
        let incomplete: BTreeSet<Oid> = left.iter().flat_map(|t| t.above.iter().copied()).collect();
        let standing: BTreeSet<Oid> = self
            .tables
            .values()
            .filter(|t| t.partitioned && !incomplete.contains(&t.oid) && may_list(t) && stands(t))
            .map(|t| t.oid)
            .collect();
        let named = |table: &Table| {
            let above = table.above.iter().rev().copied();
            above.into_iter().find(|oid| standing.contains(oid))
        };
        let roots = standing.iter().filter_map(|oid| self.tables.get(oid));
        let roots = roots.map(|table| named(table).unwrap_or(table.oid));
        let leaves = taken.iter().map(|table| named(table).unwrap_or(table.oid));
        leaves.chain(roots).collect()
    }

    /// The tables that are to be tracked and that only another role can list.
    fn forbidden(&self) -> Vec<&'a Table> {
        let forbidden = |t: &&Table| !self.for_all && !t.owned && self.tracks(t);
        self.leaves().filter(forbidden).collect()
    }

    fn untracked(&self) -> BTreeSet<Oid> {
        let untracked = |t: &&Table| !t.is_usable(self.with_stored) && self.tracks(t);
        self.leaves().filter(untracked).map(|t| t.oid).collect()
    }

    fn steps(&self, wanted: &Wanted, wanted_updates: &Wanted) -> Vec<Step> {
        let names = &self.state.names;
        let publications = &self.state.publications;
        let (first, updates) = (publications.first.as_ref(), publications.updates.as_ref());
        let next = publications.next.as_ref().filter(|p| p.is_ours());
        let writer = Writer {
            version: self.state.version,
            tables: &self.all,
            spare: &names.next,
        };
        if publications.is_foreign() {
            return self.beside_foreign(&writer, wanted_updates);
        }

        // PostgreSQL turns no publication FOR ALL TABLES into a list: another one takes its place.
        let is_staged = wanted.tables.is_some() && first.is_some_and(|p| p.all_tables);
        let until_switched = Wanted {
            tables: None,
            publish: NEW_ROWS,
            generated: wanted.generated,
        };
        let wanted_now = if is_staged { &until_switched } else { wanted };
        let narrows =
            first.is_some_and(|p| p.publish == ALL_OPERATIONS) && wanted_now.publish == NEW_ROWS;

        let mut listing = [
            writer.options(&names.first, first, wanted_now),
            writer.options(&names.next, next.filter(|_| is_staged), wanted),
        ]
        .concat();
        if updates.is_none_or(Publication::is_ours) {
            listing.extend(writer.options(&names.updates, updates, wanted_updates));
            listing.extend(writer.differences(&names.updates, updates, wanted_updates));
        }
        let mut rest = Vec::new();
        if let Some(next) = next.filter(|_| !is_staged) {
            rest = writer.drop(&names.next, next);
        }
        let mut statements = writer.differences(&names.first, first, wanted_now);
        if is_staged {
            statements.extend(writer.differences(&names.next, next, wanted));
        }
        // The spare name has to be free before a publication takes it.
        let spare_is_needed = statements.iter().any(|s| s.head.contains(" RENAME TO "));
        match spare_is_needed {
            true => statements.splice(..0, rest).for_each(drop),
            false => statements.extend(rest),
        }

        let mut steps = Vec::new();
        if narrows && !listing.is_empty() {
            steps.extend(in_transactions(std::mem::take(&mut listing)));
            steps.push(Step::WaitForEarlierTransactions(names.updates.clone()));
        }
        listing.append(&mut statements);
        steps.extend(in_transactions(listing));
        if is_staged {
            steps.push(Step::DeferredSwitch);
        }
        steps
    }

    /// Beside a first publication of another role, zemi makes none. One that it made before is kept up where
    /// the first one is FOR ALL TABLES and publishes no updates and deletes; else it is dropped.
    fn beside_foreign(&self, writer: &Writer<'_>, wanted_updates: &Wanted) -> Vec<Step> {
        let names = &self.state.names;
        let publications = &self.state.publications;
        let first = publications.first.as_ref();
        let mut statements = Vec::new();
        if let Some(updates) = publications.updates.as_ref().filter(|p| p.is_ours()) {
            statements = match first.is_some_and(Publication::leaves_updates_to_another) {
                true => [
                    writer.options(&names.updates, Some(updates), wanted_updates),
                    writer.differences(&names.updates, Some(updates), wanted_updates),
                ]
                .concat(),
                false => writer.drop(&names.updates, updates),
            };
        }
        if let Some(next) = publications.next.as_ref().filter(|p| p.is_ours()) {
            statements.extend(writer.drop(&names.next, next));
        }
        in_transactions(statements).collect()
    }
}

fn in_transactions(statements: Vec<Statement>) -> impl Iterator<Item = Step> {
    transactions(statements).into_iter().map(Step::Transaction)
}

#[cfg(test)]
mod tests;
