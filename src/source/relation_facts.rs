//! What the catalog says of a relation: the question, its answer, and what is kept of it when the relation is
//! altered or dropped before its rows are read.

use std::collections::HashMap;

use super::own_tables;
use super::types::NOW;
use crate::change::{Ancestor, AnswersAt, Described, Holds, RelationFacts};
use crate::lsn::{Oid, PgTimestamp, Xid};
use crate::wire::ResultSet;

/// All that can change in the names above a relation without a Relation message for it: of each of those
/// tables, `c` in the schema `n`.
const STAMP: &str = "concat_ws(' ', n.nspname, c.relname, c.relkind, (SELECT \
    string_agg(i.inhparent::text, ' ' ORDER BY i.inhparent) FROM pg_inherits i WHERE i.inhrelid = c.oid)) \
    AS stamp";

/// The question for what any relation needs, in one message.
pub(super) fn query(relation: Oid) -> String {
    let columns = |which: &str| {
        format!(
            "SELECT a.attname, i.indimmediate AND i.indisvalid AS usable \
             FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.attnum \
             WHERE i.indrelid = {relation} AND i.{which} AND k.place <= i.indnkeyatts ORDER BY k.place"
        )
    };
    let chain = format!(
        "WITH RECURSIVE up(oid, place) AS (SELECT {relation}::oid, 0 UNION \
         SELECT inhparent, up.place + 1 FROM pg_inherits, up WHERE inhrelid = up.oid) \
         SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS partitioned, c.xmin, n.xmin AS schema_xmin, \
         {STAMP}, {} AS own \
         FROM (SELECT oid, min(place) AS place FROM up GROUP BY oid) u JOIN pg_class c USING (oid) \
         JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY u.place, c.oid",
        own_tables::condition("c.oid")
    );
    [columns("indisprimary"), columns("indisreplident"), chain].join("; ")
}

/// The question for the keys by which partitions of a table send old rows, as columns of that table. Columns
/// have one name in all of them, but not one number.
pub(super) fn keys_query(relation: Oid) -> String {
    format!(
        "WITH RECURSIVE down(oid) AS (SELECT {relation}::oid UNION ALL \
         SELECT inhrelid FROM pg_inherits, down WHERE inhparent = down.oid), \
         keys AS (SELECT DISTINCT array_agg(r.attnum ORDER BY r.attnum) AS key FROM down \
         JOIN pg_class c ON c.oid = down.oid AND c.relkind = 'r' AND c.relreplident IN ('d', 'i') \
         JOIN pg_index i ON i.indrelid = c.oid \
         AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END \
         CROSS JOIN unnest(i.indkey) WITH ORDINALITY k(attnum, place) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.place <= i.indnkeyatts \
         JOIN pg_attribute r ON r.attrelid = {relation} AND r.attname = a.attname GROUP BY c.oid) \
         SELECT k.n, r.attname FROM (SELECT key, row_number() OVER () AS n FROM keys) k \
         JOIN pg_attribute r ON r.attrelid = {relation} AND r.attnum = ANY (k.key) ORDER BY k.n, r.attnum"
    )
}

/// The question for the partitioned tables that have exactly the columns of a relation.
pub(super) fn alike_query(relation: Oid) -> String {
    let columns = |table: &str| {
        format!(
            "(SELECT array_agg(attname ORDER BY attname) FROM pg_attribute \
             WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped)"
        )
    };
    format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'p' AND {} = {}",
        columns("c.oid"),
        columns(&relation.to_string())
    )
}

/// The answer to [`alike_query`].
pub(super) fn alike(found: &ResultSet) -> Vec<Ancestor> {
    let names = found.values("nspname").into_iter();
    let names = names.zip(found.values("relname"));
    let ancestor = |(schema, table)| Ancestor {
        schema,
        table,
        partitioned: true,
    };
    names.map(ancestor).collect()
}

/// The answer to [`query`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    facts: RelationFacts,
    /// The relation and the tables above it, each with its [`STAMP`]; empty where the relation is gone.
    chain: Vec<(Oid, Box<str>)>,
    /// The relation is a partitioned table, published by its own name.
    is_partitioned: bool,
    /// The transactions that last altered each of them, or its schema.
    altered_by: Vec<Xid>,
}

/// How the tables of this process are known, where they are in the source's database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnNames {
    /// Their OIDs, also those of tables that had the names earlier.
    pub oids: Vec<Oid>,
    /// Their schemas and names.
    pub names: Vec<(String, String)>,
}

impl OwnNames {
    fn has(&self, schema: &str, table: &str) -> bool {
        let is_it = |name: &(String, String)| name.0 == schema && name.1 == table;
        self.names.iter().any(is_it)
    }
}

impl Found {
    /// Adds the answer to [`alike_query`].
    pub(super) fn maybe_below(&mut self, tables: Vec<Ancestor>) {
        self.facts.maybe_below = tables;
    }

    /// Reads the answer.
    pub(super) fn read(answers: &[ResultSet], described: &Described<'_>, own: &OwnNames) -> Found {
        let values = |set: usize, column: &str| match answers.get(set) {
            Some(found) => found.values(column),
            None => Vec::new(),
        };
        let usable = answers.first().and_then(|found| found.value(0, "usable"));
        let mut found = Found {
            facts: RelationFacts {
                primary_key: values(0, "attname"),
                key_is_usable: usable == Some("t"),
                identity_index: values(1, "attname"),
                ..RelationFacts::default()
            },
            ..Found::default()
        };
        found.facts.ours = own.has(described.schema, described.table);
        if let Some(chain) = answers.get(2) {
            for row in 0..chain.rows.len() {
                found.add_table(chain, row, own);
            }
        }
        found
    }

    /// Whether [`keys_query`] has an answer.
    pub(super) fn is_partitioned(&self) -> bool {
        self.is_partitioned
    }

    /// Adds the answer to [`keys_query`].
    pub(super) fn partition_keys(&mut self, found: &ResultSet) {
        let mut last = None;
        let numbers = found.values("n").into_iter();
        for (number, name) in numbers.zip(found.values("attname")) {
            match self.facts.partition_keys.last_mut() {
                Some(key) if last.as_ref() == Some(&number) => key.push(name),
                _ => self.facts.partition_keys.push(vec![name]),
            }
            last = Some(number);
        }
    }

    fn add_table(&mut self, chain: &ResultSet, row: usize, own: &OwnNames) {
        let text = |column: &str| chain.value(row, column).unwrap_or_default();
        let Ok(oid) = text("oid").parse().map(Oid) else {
            return;
        };
        let (schema, table) = (text("nspname"), text("relname"));
        self.facts.ours |= text("own") == "t" || own.oids.contains(&oid) || own.has(schema, table);
        let altered_by = ["xmin", "schema_xmin"].into_iter();
        self.altered_by
            .extend(altered_by.filter_map(|by| text(by).parse().ok().map(Xid)));
        let partitioned = text("partitioned") == "t";
        if self.chain.is_empty() {
            self.is_partitioned = partitioned;
        } else {
            self.facts.ancestors.push(Ancestor {
                schema: schema.to_owned(),
                table: table.to_owned(),
                partitioned,
            });
        }
        self.chain.push((oid, text("stamp").into()));
    }
}

/// For how many relations the facts are kept.
const KEPT: usize = 8 * 1024;

/// The facts of relations as they were last: a partition may be detached, or any relation dropped, before its
/// rows are read.
#[derive(Debug, Default)]
pub(super) struct Known {
    relations: HashMap<Oid, (u64, RelationFacts)>,
    clock: u64,
    /// The tables above relations, by their [`STAMP`]: few, however many partitions there are.
    above: HashMap<Oid, Box<str>>,
    /// How current `above` is.
    state: AnswersAt,
    /// Transactions that committed later did so behind every change of `above`.
    changed: PgTimestamp,
}

impl Known {
    /// Whether a relation that was never seen before may have been a partition when the transaction wrote to
    /// it.
    pub(super) fn may_be_detached(&self, relation: Oid, xid: Option<Xid>, found: &Found) -> bool {
        let altered = |by: &Xid| xid.is_some_and(|xid| precedes(xid, *by));
        found.chain.len() == 1
            && !self.relations.contains_key(&relation)
            && found.altered_by.iter().any(altered)
    }

    /// How current the names above relations are.
    pub(super) fn state(&self) -> AnswersAt {
        self.state
    }

    /// They are asked for again before the next row: they may be those of another server.
    pub(super) fn expire(&mut self) {
        self.state.as_of = PgTimestamp::default();
    }

    /// Asks how the tables above relations are now, and for a time before that.
    pub(super) fn stamps_query(&self) -> String {
        let oids: Vec<String> = self.above.keys().map(Oid::to_string).collect();
        format!(
            "SELECT c.oid, {STAMP}, {NOW} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = ANY('{{{}}}'::oid[])",
            oids.join(",")
        )
    }

    /// Takes the answer to it, for a transaction that committed at this time and that it sees.
    pub(super) fn compare(&mut self, at: PgTimestamp, answer: &ResultSet) {
        let as_of = answer.value(0, "as_of").and_then(|time| time.parse().ok());
        let oids = answer.values("oid").into_iter().zip(answer.values("stamp"));
        let stamp = |(oid, stamp): (String, String)| Some((Oid(oid.parse().ok()?), stamp.into()));
        let now: HashMap<Oid, Box<str>> = oids.filter_map(stamp).collect();
        let state = &mut self.state;
        state.as_of = as_of.map_or(at, PgTimestamp).max(at);
        if now != self.above {
            state.generation += 1;
            self.changed = state.as_of;
            self.above = now;
        }
    }

    fn note_above(&mut self, chain: Vec<(Oid, Box<str>)>) {
        if self.above.len() > KEPT {
            self.above.clear();
            self.state.generation += 1;
        }
        for (oid, stamp) in chain.into_iter().skip(1) {
            // Another one is noticed by the next comparison, which knows the time.
            self.above.entry(oid).or_insert(stamp);
        }
    }

    /// The facts that hold for the rows of a transaction, by what was found now and what was known before.
    pub(super) fn settle(
        &mut self,
        relation: Oid,
        (xid, again): (Option<Xid>, Option<PgTimestamp>),
        found: Found,
        own: &OwnNames,
    ) -> RelationFacts {
        let known = self.relations.get(&relation).map(|(_, facts)| facts);
        let mut facts = found.facts;
        let mut holds = Holds::Always;
        if found.chain.is_empty() {
            facts = match known {
                Some(known) => known.clone(),
                None => RelationFacts {
                    unknown: true,
                    ours: facts.ours || own.oids.contains(&relation),
                    ..facts
                },
            };
            // That it was gone is no fact to keep: a catalog that is behind may have it later.
            return facts;
        }
        if let Some(known) = known {
            let is_kept = |above: &Ancestor| facts.ancestors.contains(above);
            let altered = |by: &Xid| xid.is_some_and(|xid| precedes(xid, *by));
            let is_changed = !known.ancestors.iter().all(is_kept);
            let is_older = found.altered_by.iter().any(altered);
            let is_since = again.is_some_and(|at| at > self.changed);
            if is_changed && is_older && !is_since {
                // The rows were written before a table above it was detached or renamed; or after that, by a
                // transaction that had begun before.
                holds = Holds::Once;
                facts.maybe_below =
                    std::mem::replace(&mut facts.ancestors, known.ancestors.clone());
                facts.ours |= known.ours;
            } else if is_changed && again.is_some() && !is_since {
                holds = Holds::UntilAsked;
                facts.maybe_below.clone_from(&known.ancestors);
            }
        }
        // What holds for these rows alone is not kept.
        let kept = RelationFacts {
            maybe_below: Vec::new(),
            ..facts.clone()
        };
        self.keep(relation, kept);
        let is_below = found.chain.len() > 1;
        self.note_above(found.chain);
        facts.holds = match holds {
            Holds::Always if is_below => Holds::While(self.state.generation),
            holds => holds,
        };
        facts
    }

    /// Forgets relations of which no row comes any more.
    pub(super) fn forget(&mut self, gone: &[Oid]) {
        for relation in gone {
            self.relations.remove(relation);
        }
    }

    fn keep(&mut self, relation: Oid, facts: RelationFacts) {
        self.clock += 1;
        if self.relations.len() >= KEPT && !self.relations.contains_key(&relation) {
            let mut ages: Vec<u64> = self.relations.values().map(|(at, _)| *at).collect();
            let (_, middle, _) = ages.select_nth_unstable(KEPT / 2);
            let middle = *middle;
            self.relations.retain(|_, (at, _)| *at >= middle);
        }
        self.relations.insert(relation, (self.clock, facts));
    }
}

/// Whether a transaction has the lower number; numbers begin again at 2^32.
fn precedes(xid: Xid, other: Xid) -> bool {
    xid.0.wrapping_sub(other.0) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parents: &[&str], altered_by: u32) -> Found {
        let above = |name: &&str| Ancestor {
            schema: "s".into(),
            table: (*name).into(),
            partitioned: true,
        };
        Found {
            facts: RelationFacts {
                ancestors: parents.iter().map(above).collect(),
                ..RelationFacts::default()
            },
            chain: vec![(Oid(1), Box::default())],
            is_partitioned: false,
            altered_by: vec![Xid(altered_by)],
        }
    }

    fn settle(known: &mut Known, xid: u32, found: Found) -> Option<String> {
        let facts = known.settle(Oid(1), (Some(Xid(xid)), None), found, &OwnNames::default());
        facts.ancestors.last().map(|above| above.table.clone())
    }

    #[test]
    fn rows_from_before_a_partition_was_detached_keep_its_root() {
        let mut known = Known::default();
        let root = Some("p".to_owned());
        assert_eq!(settle(&mut known, 10, found(&["m", "p"], 5)), root);
        assert_eq!(settle(&mut known, 11, found(&[], 20)), root);
        assert_eq!(settle(&mut known, 20, found(&[], 20)), None);
        assert_eq!(settle(&mut known, 11, found(&[], 20)), None);
        // Detached in the middle, and renamed.
        assert_eq!(settle(&mut known, 30, found(&["m", "p"], 5)), root);
        assert_eq!(settle(&mut known, 31, found(&["m"], 40)), root);
        assert_eq!(
            settle(&mut known, 41, found(&["m", "q"], 40)),
            Some("q".into())
        );
        // Numbers begin again.
        assert_eq!(
            settle(&mut known, u32::MAX, found(&[], 3)),
            Some("q".into())
        );
        assert_eq!(settle(&mut known, 4, found(&[], 3)), None);
    }

    #[test]
    fn a_relation_that_is_gone_is_as_it_was_or_unknown() {
        let mut known = Known::default();
        let own = OwnNames::default();
        let gone = known.settle(Oid(1), (None, None), Found::default(), &own);
        assert!(gone.unknown && gone.ancestors.is_empty());
        settle(&mut known, 10, found(&["p"], 5));
        let gone = known.settle(Oid(1), (None, None), Found::default(), &own);
        assert!(!gone.unknown);
        assert_eq!(gone.ancestors.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let mut known = Known::default();
        let last = u32::try_from(3 * KEPT).unwrap_or_default();
        for oid in 0..=last {
            known.keep(Oid(oid), RelationFacts::default());
            assert!(known.relations.len() <= KEPT);
        }
        assert!(known.relations.contains_key(&Oid(last)));
        assert!(!known.relations.contains_key(&Oid(0)));
    }
}
