//! A relation as the row encoder needs it: computed once per Relation message.

use std::sync::Arc;

use super::catalog::{Catalog, Described, FIRST_USER_OID, Holds, RelationFacts};
use super::copy;
use super::json::{self, ValueType};
use super::lineage::Lineage;
use super::notes::Note;
use super::settings::{ColumnPolicy, Settings};
use crate::error::Result;
use crate::lsn::{Oid, PgTimestamp, Xid};
use crate::pgoutput::{KeptRelation, Relation, ReplicaIdentity};

/// One published column.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    /// `"name":`, escaped for the JSON object.
    pub prefix: Vec<u8>,
    pub value_type: ValueType,
    /// Earlier forms of an altered type, the latest last: for values that were written before.
    pub earlier: Vec<ValueType>,
    pub type_oid: Oid,
    /// Part of the replica identity; under FULL every column is.
    pub key: bool,
    pub policy: ColumnPolicy,
}

/// One relation of the stream.
#[derive(Debug)]
pub struct RelationPlan {
    pub(super) columns: Vec<ColumnPlan>,
    /// Indexes into `columns` of what makes the `primary_key`.
    pub(super) primary_key: Vec<usize>,
    /// Of a partitioned table, the keys by which partitions may send old rows as if they were whole: which
    /// of the columns belong to each.
    pub(super) partition_keys: Vec<Vec<bool>>,
    /// Columns are left out: an UPDATE of these alone shows nothing.
    pub(super) leaves_out: bool,
    /// The fields `database`, `schema` and `table`, encoded.
    pub(super) fixed: Vec<u8>,
    /// Its own name and those of the tables above it.
    pub(super) lineage: Lineage,
    /// The name of the relation itself.
    pub(super) name: Arc<str>,
    /// The name in its rows, by which they are counted.
    pub(super) row_name: Arc<str>,
    /// What the log has to say.
    pub(super) notes: Vec<Note>,
    /// Where the batch counts its changes.
    pub(super) table_counts_index: usize,
    /// Inserts, updates, deletes and truncates of the stream, see [`super::Assembler::take_streamed`].
    pub(super) streamed: [u64; 4],
    pub(super) tracked: bool,
    pub(super) ours: bool,
    /// The names above it hold for transactions that committed until then.
    pub(super) lineage_until: PgTimestamp,
    holds: Holds,
    /// What to work it out from again when those names change; `None` where they cannot unnoticed.
    described: Option<KeptRelation>,
    /// The types of columns that an `ALTER TYPE` or `CREATE CAST` can change.
    types: Vec<Oid>,
    /// The facts about them hold for transactions that committed until then.
    pub(super) types_until: PgTimestamp,
    /// Up to this commit time the facts are the newest: values that do not fit are not asked about again.
    reread_until: PgTimestamp,
    /// [`super::AnswersAt::generation`] of when the types were read.
    generation: u64,
}

/// How long, in microseconds of the source's clock, facts are taken to hold where only a new cast to json
/// could change them: enums and other types of users are common, casts to json for them are rare.
const CAST_LEASE: i64 = 1_000_000;

/// The same for the names above a relation, where they decide about nothing but the name in its rows. Where a
/// filter may show or hide values by them, they are those of each transaction: one question covers all that
/// have committed until then, so that a stream with a backlog has one for many.
const NAME_LEASE: i64 = 1_000_000;

/// How many earlier forms of a type are kept.
const KEPT_FORMS: usize = 4;

impl RelationPlan {
    /// Works out the plan from a Relation message and the catalog.
    pub fn new(
        relation: &Relation<'_>,
        settings: &Settings,
        catalog: &mut dyn Catalog,
        transaction: Option<(Xid, PgTimestamp)>,
        again: bool,
    ) -> Result<RelationPlan> {
        let commit_time = transaction.map_or(PgTimestamp(i64::MIN), |(_, time)| time);
        let encoding = settings.encoding;
        let schema = encoding.name(relation.schema(), catalog)?;
        let table = encoding.name(relation.name, catalog)?;
        let facts = catalog.relation(&Described {
            relation: relation.relation,
            schema: &schema,
            table: &table,
            xid: transaction.map(|(xid, _)| xid),
            again: transaction.filter(|_| again).map(|(_, time)| time),
        })?;
        let lineage = Lineage::new(&schema, &table, &facts.ancestors);
        let tracked = !facts.ours && settings.tracked().tracks(&lineage);
        let maybe = Lineage::new(&schema, &table, &facts.maybe_below);
        let mut notes = Vec::new();
        let mut types: Vec<Oid> = Vec::new();
        let mut columns = Vec::with_capacity(relation.columns.len());
        let mut names = Vec::with_capacity(relation.columns.len());
        for column in relation.columns.iter() {
            let name = encoding.name(column.name, catalog)?;
            let mut prefix = Vec::with_capacity(name.len() + 3);
            json::write_string(&mut prefix, name.as_bytes());
            prefix.push(b':');
            let mut policy = settings.policy(&lineage, facts.unknown, &name);
            // A value that should be masked is never written.
            if policy == ColumnPolicy::Keep && !facts.maybe_below.is_empty() {
                policy = settings.policy(&maybe, false, &name);
                if policy != ColumnPolicy::Keep && !notes.contains(&Note::MaybeDetached) {
                    notes.push(Note::MaybeDetached);
                }
            }
            // The types of what is not written are never asked for.
            let asked = tracked && settings.coerce && policy == ColumnPolicy::Keep;
            if asked && column.type_oid.0 >= FIRST_USER_OID && !types.contains(&column.type_oid) {
                types.push(column.type_oid);
            }
            let value_type = if asked && column.type_oid.0 < FIRST_USER_OID {
                catalog.value_type(column.type_oid)?
            } else {
                ValueType::Text
            };
            let (key, type_oid) = (column.key, column.type_oid);
            columns.push(ColumnPlan {
                prefix,
                value_type,
                earlier: Vec::new(),
                type_oid,
                key,
                policy,
            });
            names.push(name);
        }
        let row_names = if settings.via_root {
            lineage.root()
        } else {
            lineage.own()
        };
        let name: Arc<str> = format!("{schema}.{table}").into();
        let key = primary_key(&facts, relation.replica_identity, &names, &columns);
        note(
            &mut notes,
            &facts,
            relation.replica_identity,
            settings,
            &key,
            &columns,
        );
        let part_of = |key: &Vec<String>| names.iter().map(|name| key.contains(name)).collect();
        let mut plan = RelationPlan {
            partition_keys: facts.partition_keys.iter().map(part_of).collect(),
            leaves_out: columns.iter().any(|c| c.policy == ColumnPolicy::LeaveOut),
            notes,
            primary_key: key,
            columns,
            fixed: fixed(settings, row_names),
            row_name: match lineage.own() == row_names {
                true => Arc::clone(&name),
                false => format!("{}.{}", row_names.0, row_names.1).into(),
            },
            name,
            lineage,
            table_counts_index: 0,
            streamed: [0; 4],
            tracked,
            ours: facts.ours,
            lineage_until: match facts.holds {
                Holds::Always => PgTimestamp(i64::MAX),
                _ => commit_time,
            },
            holds: facts.holds,
            described: (facts.holds != Holds::Always).then(|| relation.keep()),
            types,
            types_until: PgTimestamp(i64::MAX),
            reread_until: PgTimestamp(i64::MIN),
            generation: 0,
        };
        plan.first_types(commit_time, catalog)?;
        if plan.types.iter().any(|oid| catalog.is_type_gone(*oid)) {
            plan.notes.push(Note::LostTypes);
        }
        Ok(plan)
    }

    fn first_types(&mut self, commit_time: PgTimestamp, catalog: &mut dyn Catalog) -> Result<()> {
        if self.types.is_empty() {
            return Ok(());
        }
        self.generation = catalog.types_at(&self.types, commit_time)?.generation;
        self.read_types(catalog)?;
        for column in &mut self.columns {
            column.earlier.clear();
        }
        self.check_types(commit_time, catalog)
    }

    /// Whether it is part of a table that may be tracked.
    pub(super) fn is_tracked_part(&self) -> bool {
        self.lineage.is_part() && !self.ours
    }

    /// Makes sure that the names above it are those of this transaction. True where it was worked out again.
    /// Not needed up to `lineage_until`.
    ///
    /// PostgreSQL sends no Relation message for a table after a change of one above it. Version 14 sends none
    /// after a new name of the schema, either: a table with nothing above it keeps the old one until the next
    /// message.
    pub(super) fn check_lineage(
        &mut self,
        settings: &Settings,
        catalog: &mut dyn Catalog,
        (xid, commit_time): (Xid, PgTimestamp),
    ) -> Result<bool> {
        let state = catalog.lineages_at(xid, commit_time)?;
        let is_new = self.holds != Holds::While(state.generation);
        if let Some(described) = self.described.take_if(|_| is_new) {
            let transaction = Some((xid, commit_time));
            let plan = RelationPlan::new(&described.get(), settings, catalog, transaction, true);
            // Where that fails, it is tried again with the next row.
            self.described = Some(described);
            *self = RelationPlan {
                streamed: self.streamed,
                ..plan?
            };
        }
        let lease = if settings.has_filters() {
            0
        } else {
            NAME_LEASE
        };
        self.lineage_until = match self.holds {
            Holds::Always => PgTimestamp(i64::MAX),
            Holds::While(_) => PgTimestamp(state.as_of.0.saturating_add(lease)),
            Holds::UntilAsked => state.as_of,
            Holds::Once => commit_time,
        };
        Ok(is_new)
    }

    /// Makes sure that the types of the columns are those of a transaction that committed at this time.
    /// Not needed up to `types_until`.
    pub(super) fn check_types(
        &mut self,
        commit_time: PgTimestamp,
        catalog: &mut dyn Catalog,
    ) -> Result<()> {
        let state = catalog.types_at(&self.types, commit_time)?;
        if state.generation != self.generation {
            self.read_types(catalog)?;
            self.generation = state.generation;
        }
        let exact = self
            .columns
            .iter()
            .any(|c| depends_on_catalog(&c.value_type));
        let lease = if exact { 0 } else { CAST_LEASE };
        self.types_until = PgTimestamp(state.as_of.0.saturating_add(lease));
        Ok(())
    }

    /// Reads the types again after a value did not fit them; false where that was done already for
    /// transactions of this time.
    pub(super) fn reread_types(
        &mut self,
        commit_time: PgTimestamp,
        catalog: &mut dyn Catalog,
    ) -> Result<bool> {
        if self.types.is_empty() || commit_time <= self.reread_until {
            return Ok(false);
        }
        catalog.forget_types();
        self.read_types(catalog)?;
        self.check_types(commit_time, catalog)?;
        self.reread_until = self.types_until;
        Ok(true)
    }

    fn read_types(&mut self, catalog: &mut dyn Catalog) -> Result<()> {
        for column in &mut self.columns {
            if !self.types.contains(&column.type_oid) || column.policy != ColumnPolicy::Keep {
                continue;
            }
            let now = catalog.value_type(column.type_oid)?;
            if now != column.value_type {
                let earlier = std::mem::replace(&mut column.value_type, now);
                column.earlier.retain(|form| *form != earlier);
                column.earlier.push(earlier);
                if column.earlier.len() > KEPT_FORMS {
                    column.earlier.remove(0);
                }
            }
        }
        Ok(())
    }
}

/// The fields `database`, `schema` and `table` of a row, encoded.
pub(super) fn fixed(settings: &Settings, (schema, table): (&str, &str)) -> Vec<u8> {
    let mut fixed = Vec::new();
    for text in [settings.database.as_str(), schema, table] {
        copy::field(&mut fixed, text.as_bytes());
    }
    fixed
}

/// Notes what the log has to say about a relation. `key` is its primary key.
fn note(
    notes: &mut Vec<Note>,
    facts: &RelationFacts,
    identity: ReplicaIdentity,
    settings: &Settings,
    key: &[usize],
    columns: &[ColumnPlan],
) {
    if facts.ours {
        return notes.clear();
    }
    if facts.unknown && settings.has_filters() {
        notes.push(Note::UnknownTables);
    }
    if facts.unknown && identity != ReplicaIdentity::Full && key.len() > 1 {
        notes.push(Note::UnknownKeyOrder);
    }
    let sent = |&place: &usize| columns.get(place).is_some_and(|column| column.key);
    if identity == ReplicaIdentity::Index && !key.iter().all(sent) {
        let by_default = facts.key_is_usable;
        notes.push(Note::KeyNotSent { by_default });
    }
}

/// Whether a type's JSON depends on names and attributes that can change at any time.
fn depends_on_catalog(value_type: &ValueType) -> bool {
    match value_type {
        ValueType::Composite(_) | ValueType::Cast { .. } => true,
        ValueType::Array { element, .. } => depends_on_catalog(element),
        _ => false,
    }
}

/// The columns that identify a row: the real primary key, else the replica identity index, else the
/// key columns that the stream marks (not under FULL, which marks all), else a column named `id`.
fn primary_key(
    facts: &RelationFacts,
    identity: ReplicaIdentity,
    names: &[String],
    columns: &[ColumnPlan],
) -> Vec<usize> {
    let find = |name: &String| names.iter().position(|n| n == name);
    for wanted in [&facts.primary_key, &facts.identity_index] {
        let found: Option<Vec<usize>> = wanted.iter().map(find).collect();
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return found;
        }
    }
    if identity != ReplicaIdentity::Full {
        let marked: Vec<usize> = columns
            .iter()
            .enumerate()
            .filter(|(_, c)| c.key)
            .map(|(i, _)| i)
            .collect();
        if !marked.is_empty() {
            return marked;
        }
    }
    find(&"id".to_owned()).into_iter().collect()
}
