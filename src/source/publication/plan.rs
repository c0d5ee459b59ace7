//! Pure: what has to be done for the publications to be as the settings and the tables ask for.
//!
//! PostgreSQL refuses UPDATE and DELETE on a published table without a usable replica identity. So there
//! are two publications: `<name>` and `<name>_updates`, and a table that cannot publish its updates is
//! only ever in the first, which then publishes inserts and truncates alone.

use std::collections::{BTreeMap, BTreeSet};

use super::advice::fix;
use super::state::{ALL_OPERATIONS, MARK, Publication, State, Table};
use crate::change::{Lineage, Tracked};
use crate::config::Config;
use crate::lsn::Oid;
use crate::wire::identifier;

/// The first version that can publish stored generated columns, and does where it is asked to
/// (`server_version_num`).
const GENERATED_COLUMNS: u32 = 180_000;

/// What `<name>` publishes beside `<name>_updates`.
const NEW_ROWS: &str = "insert, truncate";

/// What `<name>_updates` publishes.
const OLD_ROWS: &str = "update, delete";

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Statements of one transaction, so that no point of the write-ahead log sees one without the others.
    Transaction(Vec<String>),
    /// Wait for the transactions that are older than the publication of this name.
    WaitForEarlierTransactions(String),
    /// Put `<name>_next` in the place of `<name>`, when no transaction is older than it.
    DeferredSwitch,
}

/// A table that the settings want and zemi's role may not publish by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forbidden {
    pub(super) oid: Oid,
    /// The topmost partitioned table above it, or itself.
    pub(super) root: Oid,
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
    /// Tables whose UPDATE and DELETE are not tracked, quoted for SQL.
    pub(super) untracked: BTreeSet<String>,
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
        tables: (!scope.for_all).then(|| scope.listed(|_| true)),
        publish: scope.first_publishes(),
    };
    let updates = Wanted {
        // Listed before they are needed here: see `deferred_switch`.
        tables: Some(scope.listed(|table| table.identity.is_usable())),
        publish: OLD_ROWS,
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
    Ok(Plan {
        steps: scope.steps(&first, &updates),
        is_required: state.publications.first.is_none(),
        untracked: scope.untracked(),
        forbidden: forbidden
            .into_iter()
            .map(|table| Forbidden {
                oid: table.oid,
                root: table.root,
                table: table.quoted(),
                fix: fix(table, &config.source.user, &state.names.first),
            })
            .collect(),
    })
}

/// What a publication has to be.
#[derive(Debug, Clone)]
struct Wanted {
    /// `None`: FOR ALL TABLES.
    tables: Option<BTreeSet<Oid>>,
    publish: &'static str,
}

/// What the questions of a plan are answered from.
struct Scope<'a> {
    state: &'a State,
    tracked: &'a Tracked,
    /// All but zemi's own, by OID.
    tables: BTreeMap<Oid, &'a Table>,
    /// FOR ALL TABLES is wanted, and is possible or there.
    for_all: bool,
    /// Leaves are published: their identity and their TRUNCATE are their own.
    via_root: bool,
}

impl<'a> Scope<'a> {
    fn new(state: &'a State, config: &Config, tracked: &'a Tracked) -> Scope<'a> {
        let first = state.publications.first.as_ref();
        let foreign_for_all = first.is_some_and(|p| p.all_tables && !p.is_ours());
        let own = |table: &Table| state.own_tables.contains(&table.oid);
        Scope {
            state,
            tracked,
            tables: state
                .tables
                .iter()
                .filter(|table| !own(table))
                .map(|table| (table.oid, table))
                .collect(),
            for_all: config.tables.is_none() && (state.superuser || foreign_for_all),
            via_root: false,
        }
    }

    /// The tables that hold rows.
    fn leaves(&self) -> impl Iterator<Item = &'a Table> {
        self.tables.values().copied().filter(|t| !t.partitioned)
    }

    fn tracks(&self, table: &Table) -> bool {
        self.tracked
            .tracks(&Lineage::new(&table.schema, &table.name, &[]))
    }

    /// What the first publication publishes. A list leaves updates and deletes to the second one.
    fn first_publishes(&self) -> &'static str {
        // FOR ALL TABLES holds zemi's own tables, too, and their UPDATE and DELETE have to work.
        let usable = |t: &Table| t.partitioned || t.identity.is_usable();
        if self.for_all && self.state.tables.iter().all(usable) {
            ALL_OPERATIONS
        } else {
            NEW_ROWS
        }
    }

    /// What a list holds of the leaves that are wanted in it. Published through its root, a partition is
    /// named and filtered as the root, as long as all of the root's partitions can be.
    fn listed(&self, wanted: impl Fn(&Table) -> bool) -> BTreeSet<Oid> {
        let take = |table: &Table| {
            let root = self.tables.get(&table.root).filter(|_| self.via_root);
            let named = root.copied().unwrap_or(table);
            let allowed = self.for_all || table.owned && named.owned;
            allowed && self.tracks(named) && wanted(table)
        };
        let (taken, left): (Vec<&Table>, Vec<&Table>) = self.leaves().partition(|t| take(t));
        let incomplete: BTreeSet<Oid> = left.iter().map(|table| table.root).collect();
        let by_root = |table: &Table| self.via_root && !incomplete.contains(&table.root);
        taken
            .into_iter()
            .map(|t| if by_root(t) { t.root } else { t.oid })
            .collect()
    }

    /// The tables that are to be tracked and that only another role can list.
    fn forbidden(&self) -> Vec<&'a Table> {
        let forbidden = |t: &&Table| !self.for_all && !t.owned && self.tracks(t);
        self.leaves().filter(forbidden).collect()
    }

    fn untracked(&self) -> BTreeSet<String> {
        let untracked = |t: &&Table| !t.identity.is_usable() && self.tracks(t);
        self.leaves().filter(untracked).map(Table::quoted).collect()
    }

    fn steps(&self, wanted: &Wanted, wanted_updates: &Wanted) -> Vec<Step> {
        let names = &self.state.names;
        let publications = &self.state.publications;
        let first = publications.first.as_ref();
        let next = publications.next.as_ref().filter(|p| p.is_ours());
        // Beside a first publication of another role, none of zemi's own.
        let foreign = first.is_some_and(|p| !p.is_ours());
        let is_ours = |now: Option<&Publication>| now.map_or(!foreign, |p| p.is_ours());

        // PostgreSQL turns no publication FOR ALL TABLES into a list: another one takes its place.
        let is_staged =
            wanted.tables.is_some() && first.is_some_and(|p| p.all_tables && p.is_ours());
        let until_switched = Wanted {
            tables: None,
            publish: NEW_ROWS,
        };
        let wanted_now = if is_staged { &until_switched } else { wanted };
        let narrows = first.is_some_and(|p| p.publish == ALL_OPERATIONS && p.is_ours())
            && wanted_now.publish == NEW_ROWS;

        let mut listing = Vec::new();
        if is_ours(publications.updates.as_ref()) {
            let now = publications.updates.as_ref();
            listing = self.diff_statements(&names.updates, now, wanted_updates);
        }
        let mut statements = Vec::new();
        if is_ours(first) {
            statements = self.diff_statements(&names.first, first, wanted_now);
        }
        if is_staged {
            statements.extend(self.diff_statements(&names.next, next, wanted));
        } else if next.is_some() {
            statements.push(format!("DROP PUBLICATION {}", identifier(&names.next)));
        }

        let mut steps = Vec::new();
        if narrows && !listing.is_empty() {
            steps.push(Step::Transaction(std::mem::take(&mut listing)));
            steps.push(Step::WaitForEarlierTransactions(names.updates.clone()));
        }
        listing.append(&mut statements);
        if !listing.is_empty() {
            steps.push(Step::Transaction(listing));
        }
        if is_staged {
            steps.push(Step::DeferredSwitch);
        }
        steps
    }

    /// The statements that make `name` what it has to be.
    fn diff_statements(
        &self,
        name: &str,
        now: Option<&Publication>,
        wanted: &Wanted,
    ) -> Vec<String> {
        let Some(now) = now else {
            return self.create_statements(name, wanted);
        };
        let name_sql = identifier(name);
        let mut statements = Vec::new();
        if now.all_tables != wanted.tables.is_none() {
            // A publication cannot be altered from or to FOR ALL TABLES.
            statements.push(format!("DROP PUBLICATION {name_sql}"));
            statements.extend(self.create_statements(name, wanted));
            return statements;
        }
        if now.publish != wanted.publish {
            statements.push(format!(
                "ALTER PUBLICATION {name_sql} SET (publish = '{}')",
                wanted.publish
            ));
        }
        if now.via_root != self.via_root {
            statements.push(format!(
                "ALTER PUBLICATION {name_sql} SET (publish_via_partition_root = {})",
                self.via_root
            ));
        }
        if let Some(oids) = &wanted.tables {
            let added = self.table_list(oids.difference(&now.tables));
            let dropped = self.table_list(now.tables.difference(oids));
            for (verb, list) in [("ADD", added), ("DROP", dropped)] {
                if !list.is_empty() {
                    statements.push(format!("ALTER PUBLICATION {name_sql} {verb} TABLE {list}"));
                }
            }
        }
        statements
    }

    fn create_statements(&self, name: &str, wanted: &Wanted) -> Vec<String> {
        let name = identifier(name);
        let target = match &wanted.tables {
            None => " FOR ALL TABLES".to_owned(),
            Some(oids) if oids.is_empty() => String::new(),
            Some(oids) => format!(" FOR TABLE {}", self.table_list(oids)),
        };
        let generated = if self.state.version >= GENERATED_COLUMNS {
            ", publish_generated_columns = stored"
        } else {
            ""
        };
        vec![
            format!(
                "CREATE PUBLICATION {name}{target} WITH (publish = '{}', \
                 publish_via_partition_root = {}{generated})",
                wanted.publish, self.via_root
            ),
            format!("COMMENT ON PUBLICATION {name} IS '{MARK}'"),
        ]
    }

    /// Those of these tables that exist, as SQL lists them.
    fn table_list<'b>(&self, oids: impl IntoIterator<Item = &'b Oid>) -> String {
        let tables = oids.into_iter().filter_map(|oid| self.tables.get(oid));
        let tables: Vec<String> = tables.map(|t| format!("ONLY {}", t.quoted())).collect();
        tables.join(", ")
    }
}

#[cfg(test)]
mod tests;
