//! Transactions: from messages in the order of the stream to rows in a batch.
//!
//! Keeps what one transaction needs: its head, the nearest context, and the position of the last
//! change, so that every change has a position of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::batch::{Batch, Patch, TruncatedTables};
use super::catalog::Catalog;
use super::context::{self, context_json};
use super::encoding::Encoding;
use super::json;
use super::notes::Note;
use super::reasons::Reasons;
use super::relation::RelationPlan;
use super::row::{self, EncodeError, Operation, RowHead, RowValues, Tools};
use super::settings::Settings;
use super::shape::RowShape;
use super::truncated_parts::{self, Named, TruncatedPart, TruncatedRow};
use crate::error::{At, Error, Kind, Result};
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};
use crate::pgoutput::{Begin, Commit, LogicalMessage, Message, Relation, Truncate};

/// A buffer for contexts that grew beyond this is not kept for the next transaction.
const KEPT_CONTEXT: usize = 16 * 1024;

struct Transaction {
    xid: Xid,
    final_lsn: Lsn,
    commit_time: PgTimestamp,
    /// The transaction is in the destination already: its changes are passed over.
    skip: bool,
    has_context: bool,
    /// Questions to the catalog see what the transaction did, see [`Catalog::wait_until_visible`].
    catalog_visible: bool,
    /// The first and the last change that came before any context.
    without_context: Option<(Lsn, Lsn)>,
    /// Some of those changes have a context that names a partition.
    has_members: bool,
}

/// Where a message stands in the stream.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The start of its WAL record, from XLogData; 0/0 for Relation and Type messages.
    pub lsn: Lsn,
    /// When it was read from the stream.
    pub queued_at: PgTimestamp,
}

/// Makes rows of messages.
pub struct Assembler {
    settings: Settings,
    relations: HashMap<Oid, RelationPlan>,
    transaction: Option<Transaction>,
    context: Vec<u8>,
    json: json::Writer,
    /// A value in UTF-8, where the source did not convert it.
    text: Vec<u8>,
    /// Why values of each relation were replaced so far.
    warned: HashMap<Oid, Reasons>,
    /// Those that [`Assembler::take_new_reasons`] has not returned yet.
    new_reasons: Vec<(Arc<str>, Reasons)>,
    /// The remarks that were made so far.
    noted: HashSet<(Oid, Note)>,
    /// Those that [`Assembler::take_new_note`] has not returned yet.
    new_notes: Vec<(Oid, Note)>,
    /// The names in rows that are not the relation's own: one for all partitions of a table, so that they are
    /// counted together.
    row_names: HashSet<Arc<str>>,
    /// A context with what a row says of its partition.
    merged: Vec<u8>,
    /// Transactions that end here or before are in the destination, or on their way there.
    done: Lsn,
    /// The WAL record of the last change, and how many changes of that record came before it.
    record: (Lsn, u64),
}

impl Assembler {
    /// An assembler that has seen nothing yet.
    pub fn new(settings: Settings) -> Assembler {
        Assembler {
            settings,
            relations: HashMap::new(),
            transaction: None,
            context: context::NONE.to_vec(),
            json: json::Writer::new(),
            text: Vec::new(),
            warned: HashMap::new(),
            new_reasons: Vec::new(),
            noted: HashSet::new(),
            new_notes: Vec::new(),
            row_names: HashSet::new(),
            merged: Vec::new(),
            done: Lsn::ZERO,
            record: (Lsn::ZERO, 0),
        }
    }

    /// Prepares for the stream to start again. Transactions that end at `done` or before are passed over
    /// when they come again; so are those that this assembler has finished, unless `forget`: then
    /// their rows were discarded on the way and have to come again.
    pub fn restart(&mut self, done: Lsn, forget: bool) {
        self.relations.clear();
        self.row_names.clear();
        self.transaction = None;
        self.record = (Lsn::ZERO, 0);
        self.done = if forget { done } else { self.done.max(done) };
    }

    /// Which columns a row has, and the number of characters that the destination's `primary_key` column
    /// takes.
    pub fn set_table(&mut self, shape: RowShape, primary_key_limit: Option<usize>) {
        self.settings.shape = shape;
        self.settings.primary_key_limit = primary_key_limit;
    }

    /// Which columns a row has.
    pub fn shape(&self) -> RowShape {
        self.settings.shape
    }

    /// What the texts of the stream are encoded in, from its start on.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        self.settings.encoding = encoding;
    }

    /// A relation in which values were replaced for reasons that it had not had yet.
    pub fn take_new_reasons(&mut self) -> Option<(Arc<str>, Reasons)> {
        self.new_reasons.pop()
    }

    /// Schema and name of a relation, and what is remarkable about it that was not said yet.
    pub fn take_new_note(&mut self) -> Option<(&str, &str, Note)> {
        while let Some((relation, note)) = self.new_notes.pop() {
            // Only a relation that was described has notes; it may be forgotten since.
            if self.relations.contains_key(&relation) {
                let plan = self.relations.get(&relation)?;
                let (schema, table) = plan.lineage.own();
                return Some((schema, table, note));
            }
        }
        None
    }

    /// The name of a relation that was described, with its schema.
    pub fn relation_name(&self, relation: Oid) -> Option<&str> {
        self.relations.get(&relation).map(|plan| &*plan.name)
    }

    /// The names of its schema and its own of a relation that was described.
    pub fn relation_names(&self, relation: Oid) -> Option<(&str, &str)> {
        self.relations.get(&relation).map(|plan| plan.lineage.own())
    }

    /// Forgets relations that were dropped and of which nothing comes any more.
    pub fn forget(&mut self, gone: &[Oid]) {
        for relation in gone {
            self.relations.remove(relation);
            self.warned.remove(relation);
        }
        self.noted.retain(|(relation, _)| !gone.contains(relation));
        // A name that no other relation has any more.
        self.row_names.retain(|name| Arc::strong_count(name) > 1);
    }

    /// How many rows of a relation were inserted, updated and deleted since this was asked last, as far as
    /// the relation was described since: rows of fragments that come again are counted again.
    pub fn take_streamed(&mut self, relation: Oid) -> [u64; 3] {
        let Some(plan) = self.relations.get_mut(&relation) else {
            return [0; 3];
        };
        let [inserted, updated, deleted, _] = std::mem::take(&mut plan.streamed);
        [inserted, updated, deleted]
    }

    /// The transaction that has begun and not ended, and the position of its commit record.
    pub fn open_transaction(&self) -> Option<(Xid, Lsn)> {
        let open = self.transaction.as_ref()?;
        Some((open.xid, open.final_lsn))
    }

    /// Whether a transaction has begun and not ended.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Takes the next message and appends the row that it makes to `batch`. A Truncate makes several: see
    /// [`Assembler::truncated`], by which a caller bounds what it holds.
    ///
    /// # Errors
    /// A message that has no place here, or whose row does not fit its relation: nothing of it was
    /// written. Errors of the catalog pass through; the message can be given again then.
    pub fn apply(
        &mut self,
        place: Place,
        message: &Message<'_>,
        catalog: &mut dyn Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let record = self.record;
        let result = self.take(place, message, catalog, batch);
        if result.is_err() {
            self.record = record;
        }
        result
    }

    fn take(
        &mut self,
        place: Place,
        message: &Message<'_>,
        catalog: &mut dyn Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        match message {
            Message::Begin(begin) => self.begin(begin, batch),
            Message::Commit(commit) => self.commit(commit, batch),
            Message::Relation(relation) => self.relation(relation, catalog),
            // The Relation message that follows asks for the types of its columns.
            Message::Type(_) | Message::Origin(_) => Ok(()),
            Message::Logical(logical) => self.logical(logical, catalog, batch),
            Message::Insert(insert) => {
                let values = RowValues {
                    old: None,
                    new: Some(insert.new),
                };
                let of = Change::new(insert.relation, Operation::Insert);
                self.change(place, of, values, catalog, batch)
            }
            Message::Update(update) => {
                let values = RowValues {
                    old: update.old,
                    new: Some(update.new),
                };
                let of = Change::new(update.relation, Operation::Update);
                self.change(place, of, values, catalog, batch)
            }
            Message::Delete(delete) => {
                let values = RowValues {
                    old: Some(delete.old),
                    new: None,
                };
                let of = Change::new(delete.relation, Operation::Delete);
                self.change(place, of, values, catalog, batch)
            }
            Message::Truncate(truncate) => {
                for part in self.truncated(truncate, catalog)? {
                    self.truncate(place, &part, catalog, batch)?;
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, begin: &Begin, batch: &mut Batch) -> Result<()> {
        if let Some(open) = &self.transaction {
            return Err(misplaced(
                "Begin",
                format!("transaction {} is still open", open.xid),
            ));
        }
        self.transaction = Some(Transaction {
            xid: begin.xid,
            final_lsn: begin.final_lsn,
            commit_time: begin.commit_time,
            // A position that is done lies at the end of a record: it is beyond the start of this
            // commit record exactly when it is beyond its end.
            skip: begin.final_lsn < self.done,
            has_context: false,
            catalog_visible: false,
            without_context: None,
            has_members: false,
        });
        self.context.clear();
        self.context.shrink_to(KEPT_CONTEXT);
        self.merged.clear();
        self.merged.shrink_to(KEPT_CONTEXT);
        self.context.extend_from_slice(context::NONE);
        self.record = (Lsn::ZERO, 0);
        batch.begin(begin.commit_time);
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, batch: &mut Batch) -> Result<()> {
        let Some(open) = self.transaction.take() else {
            return Err(misplaced("Commit", "no transaction is open".into()));
        };
        if open.final_lsn != commit.commit_lsn {
            return Err(misplaced(
                "Commit",
                format!(
                    "transaction {} began for the commit at {} and ends with that at {}",
                    open.xid, open.final_lsn, commit.commit_lsn
                ),
            ));
        }
        self.done = self.done.max(commit.end_lsn);
        batch.commit(commit.end_lsn);
        Ok(())
    }

    fn relation(&mut self, relation: &Relation<'_>, catalog: &mut dyn Catalog) -> Result<()> {
        let mut transaction = None;
        if let Some(open) = &mut self.transaction {
            transaction = Some((open.xid, open.commit_time));
            if !open.catalog_visible {
                open.catalog_visible = catalog.wait_until_visible(open.xid)?;
            }
        }
        let mut plan = RelationPlan::new(relation, &self.settings, catalog, transaction, false)
            .at(|| {
                let (schema, name) = (relation.schema(), relation.name);
                format!(
                    "relation {}.{} (OID {})",
                    String::from_utf8_lossy(schema),
                    String::from_utf8_lossy(name),
                    relation.relation
                )
            })?;
        if let Some(earlier) = self.relations.get(&relation.relation) {
            plan.streamed = earlier.streamed;
        }
        self.relations.insert(relation.relation, plan);
        self.adopt(relation.relation);
        Ok(())
    }

    /// Takes the name and the notes of a plan that was worked out.
    fn adopt(&mut self, relation: Oid) {
        let Some(plan) = self.relations.get_mut(&relation) else {
            return;
        };
        if !Arc::ptr_eq(&plan.row_name, &plan.name) {
            match self.row_names.get(&plan.row_name) {
                Some(same) => plan.row_name = Arc::clone(same),
                None => {
                    self.row_names.insert(Arc::clone(&plan.row_name));
                }
            }
        }
        for note in plan.notes.drain(..) {
            if self.noted.insert((relation, note)) {
                self.new_notes.push((relation, note));
            }
        }
    }

    /// Makes sure that the names above a relation are those of the open transaction.
    #[cold]
    fn check_lineage(&mut self, relation: Oid, catalog: &mut dyn Catalog) -> Result<()> {
        let (Some(open), Some(plan)) = (&self.transaction, self.relations.get_mut(&relation))
        else {
            return Ok(());
        };
        let transaction = (open.xid, open.commit_time);
        if plan.check_lineage(&self.settings, catalog, transaction)? {
            self.adopt(relation);
        }
        Ok(())
    }

    fn logical(
        &mut self,
        message: &LogicalMessage<'_>,
        catalog: &mut dyn Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let Some(open) = &mut self.transaction else {
            return Ok(());
        };
        if !message.transactional || message.prefix != context::PREFIX || open.skip {
            return Ok(());
        }
        let lossy = self
            .settings
            .encoding
            .decode(message.content, &mut self.text, catalog)?;
        let content = lossy.map_or(message.content, |_| self.text.as_slice());
        if context_json(content, &mut self.context) | (lossy == Some(true)) {
            batch.open_counts().replaced += 1;
        }
        if open.has_context {
            return Ok(());
        }
        open.has_context = true;
        let Some((first, last)) = open.without_context else {
            return Ok(());
        };
        // Rows ahead of the first context take it. Those that are here are rewritten, unless some
        // have gone already or there is no room: then the writer patches them in the table.
        if !batch.continues_open() && batch.rewrite_open_context(&self.context) {
            return Ok(());
        }
        let context = self.context.clone();
        batch.patches.push(Patch {
            xid: open.xid,
            commit_time: open.commit_time,
            first,
            last,
            context,
            has_members: open.has_members,
        });
        Ok(())
    }

    fn change(
        &mut self,
        place: Place,
        of: Change<'_>,
        values: RowValues<'_>,
        catalog: &mut dyn Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let Change {
            relation,
            operation,
            named,
        } = of;
        let Some(mut open) = self.transaction.as_mut() else {
            return Err(misplaced(operation.sql(), "no transaction is open".into()));
        };
        if open.skip {
            return Ok(());
        }
        let Some(mut plan) = self.relations.get_mut(&relation) else {
            return Err(undescribed(operation, relation));
        };
        if open.commit_time > plan.lineage_until {
            self.check_lineage(relation, catalog)?;
            (open, plan) = match (&mut self.transaction, self.relations.get_mut(&relation)) {
                (Some(open), Some(plan)) => (open, plan),
                _ => return Err(undescribed(operation, relation)),
            };
        }
        // Counted for all changes, so that positions do not depend on which tables are tracked.
        let position = next_position(&mut self.record, place.lsn);
        if let Some(count) = plan.streamed.get_mut(operation as usize) {
            *count += 1;
        }
        if named.is_none() && !plan.tracked {
            batch.open_counts().filtered += u64::from(!plan.ours);
            return Ok(());
        }
        let member = named.map_or(&[][..], |row| &row.member);
        if !member.is_empty() {
            context::with_member(&self.context, member, &mut self.merged);
        }
        let head = RowHead {
            operation,
            position,
            xid: open.xid,
            commit_time: open.commit_time,
            queued_at: place.queued_at,
            context: match member.is_empty() {
                true => &self.context,
                false => &self.merged,
            },
            fixed: named.map(|row| row.fixed.as_slice()),
        };
        let mut tools = Tools {
            json: &mut self.json,
            catalog,
            text: &mut self.text,
            reasons: Reasons::default(),
            unanswered: None,
        };
        let replaced = encode(
            &mut batch.rows,
            plan,
            &self.settings,
            &head,
            &values,
            &mut tools,
        )
        .at(|| {
            format!(
                "{} of {} in transaction {}",
                operation.sql(),
                plan.name,
                open.xid
            )
        })?;
        if !tools.reasons.is_empty() {
            let warned = self.warned.entry(relation).or_default();
            let new = warned.extend(tools.reasons);
            if !new.is_empty() {
                self.new_reasons.push((Arc::clone(&plan.name), new));
            }
        }
        if self.text.len() > KEPT_CONTEXT {
            self.text = Vec::new();
        }
        let Some(replaced) = replaced else {
            batch.open_counts().filtered += 1;
            return Ok(());
        };
        if !open.has_context {
            open.without_context = Some((open.without_context.map_or(position, |w| w.0), position));
            open.has_members |= !member.is_empty();
        }
        batch.count += 1;
        count_table(batch, plan, &of);
        let counts = batch.open_counts();
        counts.replaced += replaced;
        counts.count(operation as usize);
        if operation == Operation::Truncate {
            batch.note_truncate(TruncatedTables {
                xid: open.xid,
                first: place.lsn,
                last: position,
            });
        }
        Ok(())
    }

    /// What the relations of a Truncate message become, in their order, for [`Assembler::truncate`] one
    /// by one: each may be a row, with a context that may be long.
    ///
    /// # Errors
    /// As for [`Assembler::apply`].
    pub fn truncated(
        &mut self,
        message: &Truncate<'_>,
        catalog: &mut dyn Catalog,
    ) -> Result<Vec<TruncatedPart>> {
        let Some(Transaction {
            skip, commit_time, ..
        }) = self.transaction
        else {
            return Err(misplaced("TRUNCATE", "no transaction is open".into()));
        };
        if skip {
            return Ok(Vec::new());
        }
        let relations: Vec<Oid> = message.relations.iter().collect();
        for relation in &relations {
            let plan = self.relations.get(relation);
            if plan.is_some_and(|plan| commit_time > plan.lineage_until) {
                self.check_lineage(*relation, catalog)?;
            }
        }
        let mut plans = Vec::with_capacity(relations.len());
        for relation in &relations {
            let plan = self.relations.get(relation);
            plans.push(plan.ok_or_else(|| undescribed(Operation::Truncate, *relation))?);
        }
        if !plans.iter().any(|plan| plan.is_tracked_part()) {
            return Ok(relations.iter().map(|r| TruncatedPart::plain(*r)).collect());
        }
        let mut may_lock = false;
        if let Some(open) = &mut self.transaction {
            if !open.catalog_visible {
                open.catalog_visible = catalog.wait_until_visible(open.xid)?;
            }
            may_lock = open.catalog_visible;
        }
        truncated_parts::find(&relations, &plans, &self.settings, catalog, may_lock)
    }

    /// Appends the row of a relation of a Truncate message, where it has one.
    ///
    /// # Errors
    /// As for [`Assembler::apply`].
    pub fn truncate(
        &mut self,
        place: Place,
        part: &TruncatedPart,
        catalog: &mut dyn Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let named = match &part.row {
            TruncatedRow::Covered => {
                // A position is counted for each relation of the message.
                next_position(&mut self.record, place.lsn);
                return Ok(());
            }
            TruncatedRow::Plain => None,
            TruncatedRow::Of(named) => Some(named),
        };
        let of = Change {
            named,
            ..Change::new(part.relation, Operation::Truncate)
        };
        let record = self.record;
        let result = self.change(place, of, RowValues::default(), catalog, batch);
        if result.is_err() {
            self.record = record;
        }
        result
    }
}

/// What was done to which relation, and the name in its row where that is another one.
#[derive(Clone, Copy)]
struct Change<'a> {
    relation: Oid,
    operation: Operation,
    named: Option<&'a Named>,
}

impl Change<'_> {
    fn new(relation: Oid, operation: Operation) -> Self {
        Change {
            relation,
            operation,
            named: None,
        }
    }
}

/// Encodes a row; where a value does not fit its type, the catalog is asked again once.
fn encode(
    out: &mut Vec<u8>,
    plan: &mut RelationPlan,
    settings: &Settings,
    head: &RowHead<'_>,
    values: &RowValues<'_>,
    tools: &mut Tools<'_>,
) -> Result<Option<u64>> {
    if head.commit_time > plan.types_until {
        plan.check_types(head.commit_time, tools.catalog)?;
    }
    let mut strict = row::encode(out, plan, settings, head, values, tools, false);
    if matches!(strict, Err(EncodeError::Type))
        && plan.reread_types(head.commit_time, tools.catalog)?
    {
        strict = row::encode(out, plan, settings, head, values, tools, false);
    }
    let encoded = match strict {
        Err(EncodeError::Type) => row::encode(out, plan, settings, head, values, tools, true),
        other => other,
    };
    encoded.map_err(|error| match tools.unanswered.take() {
        Some(unanswered) => unanswered,
        None => not_encoded(plan, error),
    })
}

/// Counts a row by the table that it names.
fn count_table(batch: &mut Batch, plan: &mut RelationPlan, of: &Change<'_>) {
    let (name, index) = match of.named {
        Some(row) => (&row.name, &mut 0),
        None => (&plan.row_name, &mut plan.table_counts_index),
    };
    batch.table_counts.count(name, of.operation as usize, index);
}

fn not_encoded(plan: &RelationPlan, error: EncodeError) -> Error {
    let found = match error {
        EncodeError::Columns { found } => found.to_string(),
        EncodeError::Type | EncodeError::Unanswered => "values of another type".into(),
    };
    Error::new(
        Kind::Decode,
        format!(
            "expected a tuple of {} columns as the Relation message said, found {found}",
            plan.columns.len()
        ),
    )
}

/// The position of the next change. The rows of one COPY and the tables of one TRUNCATE share a WAL
/// record: the n-th after the first gets `lsn + n`, which lies inside that record, because each row or
/// table takes several bytes of it.
fn next_position(record: &mut (Lsn, u64), lsn: Lsn) -> Lsn {
    *record = if record.0 == lsn {
        (lsn, record.1 + 1)
    } else {
        (lsn, 0)
    };
    Lsn(lsn.0.saturating_add(record.1))
}

fn undescribed(operation: Operation, relation: Oid) -> Error {
    misplaced(
        operation.sql(),
        format!("no Relation message described the relation with OID {relation}"),
    )
}

fn misplaced(message: &str, found: String) -> Error {
    Error::new(Kind::Decode, format!("{message} where {found}"))
}
