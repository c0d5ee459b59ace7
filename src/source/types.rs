//! What the source's catalog says about types: how their values become JSON, and how old that is.
//!
//! The stream does not tell when a type changes: a Relation message comes again after an `ALTER TABLE`,
//! but not after an `ALTER TYPE` of a column's type, nor after a `CREATE CAST`. So each fact carries the
//! source's time at which it was read, and holds for the transactions that committed until then. Before a
//! later transaction's row is written, one query compares what a type is made of by the `xmin` of its
//! catalog rows. A backlog is covered by one query, and types that are built in, which cannot change, by
//! none.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use crate::change::json::{CompositeField, ValueType, builtin};
use crate::change::{AnswersAt, FIRST_USER_OID};
use crate::lsn::{Oid, PgTimestamp};
use crate::wire::ResultSet;

/// Types nested deeper than this are left to the source. No real type comes near: the quotes of a composite's
/// text double with each level.
const MAX_TYPE_DEPTH: u32 = 32;

/// With more types than these, all are forgotten and asked for again: those of tables that are gone are not
/// kept for ever.
const MAX_FACTS: usize = 2048;

/// One type.
#[derive(Debug, Clone)]
struct Fact {
    name: Box<str>,
    shape: Shape,
    /// Another text when a row of the type in the catalog is another one.
    stamp: Box<str>,
    /// Holds for transactions that committed until then.
    as_of: PgTimestamp,
}

/// What a type is made of. `to_jsonb` looks through domains, then for an array, a composite, and last a
/// function that casts to json (`json_categorize_type`, `jsonfuncs.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Domain(Oid),
    Array { element: Oid, delimiter: u8 },
    Composite(Vec<(String, Oid)>),
    Hstore,
    Cast,
    Text,
}

impl Shape {
    fn parts(&self) -> impl Iterator<Item = Oid> {
        let (one, attributes) = match self {
            Shape::Domain(part) | Shape::Array { element: part, .. } => (Some(*part), &[][..]),
            Shape::Composite(attributes) => (None, attributes.as_slice()),
            Shape::Hstore | Shape::Cast | Shape::Text => (None, &[][..]),
        };
        one.into_iter().chain(attributes.iter().map(|a| a.1))
    }
}

/// The facts that were asked for so far.
#[derive(Debug, Default)]
pub(super) struct Types {
    facts: HashMap<Oid, Fact>,
    resolved: HashMap<Oid, ValueType>,
    generation: u64,
}

impl Types {
    /// How the values of a type become JSON, as far as it was learned.
    pub(super) fn known(&mut self, type_oid: Oid) -> Option<ValueType> {
        if let Some(known) = builtin(type_oid) {
            return Some(known);
        }
        if let Some(known) = self.resolved.get(&type_oid) {
            return Some(known.clone());
        }
        self.facts.get(&type_oid)?;
        Some(self.resolve(type_oid, 0))
    }

    /// Those of these types that were not asked for yet.
    pub(super) fn unknown(&self, types: &[Oid]) -> Vec<Oid> {
        let mut unknown = types.to_vec();
        unknown
            .retain(|type_oid| !self.facts.contains_key(type_oid) && builtin(*type_oid).is_none());
        unknown
    }

    fn resolve(&mut self, type_oid: Oid, depth: u32) -> ValueType {
        if let Some(known) = builtin(type_oid) {
            return known;
        }
        if let Some(known) = self.resolved.get(&type_oid) {
            return known.clone();
        }
        let Some(fact) = self.facts.get(&type_oid).cloned() else {
            return ValueType::Text;
        };
        let cast = || ValueType::Cast { type_oid };
        if depth > MAX_TYPE_DEPTH {
            return cast();
        }
        // PostgreSQL makes no type that holds itself. Should a catalog say so, the recursion ends at its
        // second visit: each type is resolved once.
        self.resolved.insert(type_oid, cast());
        let found = match &fact.shape {
            Shape::Domain(base) => self.resolve(*base, depth + 1),
            Shape::Array { element, delimiter } => ValueType::Array {
                element: Arc::new(self.resolve(*element, depth + 1)),
                delimiter: *delimiter,
            },
            Shape::Composite(attributes) => {
                let fields = attributes.iter().map(|(name, type_oid)| {
                    CompositeField::new(name, self.resolve(*type_oid, depth + 1))
                });
                ValueType::Composite(fields.collect())
            }
            Shape::Hstore => ValueType::Hstore,
            Shape::Cast => cast(),
            Shape::Text => ValueType::Text,
        };
        self.resolved.insert(type_oid, found.clone());
        found
    }

    /// The name of a type as SQL wants it, where it was learned.
    pub(super) fn name(&self, type_oid: Oid) -> Option<&str> {
        let fact = self.facts.get(&type_oid)?;
        (!fact.name.is_empty()).then_some(&*fact.name)
    }

    /// Whether the catalog lacked this type when it was asked last.
    pub(super) fn is_gone(&self, type_oid: Oid) -> bool {
        let fact = self.facts.get(&type_oid);
        fact.is_some_and(|fact| fact.stamp.is_empty())
    }

    /// The types that these are made of and that can have changed before this time.
    pub(super) fn stale(&self, types: &[Oid], at: PgTimestamp) -> Vec<Oid> {
        let mut stale = self.parts(types);
        stale.retain(|type_oid| self.facts.get(type_oid).is_some_and(|f| f.as_of < at));
        stale
    }

    /// These types and all that they are made of, without those that come with the server.
    fn parts(&self, types: &[Oid]) -> Vec<Oid> {
        let mut parts: Vec<Oid> = Vec::new();
        let mut next = types.to_vec();
        while let Some(type_oid) = next.pop() {
            if type_oid.0 >= FIRST_USER_OID && !parts.contains(&type_oid) {
                parts.push(type_oid);
                let fact = self.facts.get(&type_oid);
                next.extend(fact.iter().flat_map(|fact| fact.shape.parts()));
            }
        }
        parts
    }

    /// Takes the answer to [`stamps_query`] for these types. Those that changed are forgotten, and so are
    /// the types that are made of them.
    pub(super) fn compare(&mut self, asked: &[Oid], at: PgTimestamp, answer: &ResultSet) {
        let mut changed = false;
        for type_oid in asked {
            let row = rows(answer).find(|row| row.oid("oid") == Some(*type_oid));
            let stamp = row.and_then(|row| row.text("stamp")).unwrap_or_default();
            let as_of = row.and_then(|row| row.time("as_of")).unwrap_or(at).max(at);
            match self.facts.get_mut(type_oid) {
                Some(fact) if *fact.stamp == *stamp => fact.as_of = as_of,
                _ => {
                    self.facts.remove(type_oid);
                    changed = true;
                }
            }
        }
        if changed {
            self.forget_incomplete();
            self.generation += 1;
            self.resolved.clear();
        }
    }

    /// Forgets all facts where there are too many.
    pub(super) fn bound(&mut self) {
        if self.facts.len() > MAX_FACTS {
            self.forget();
        }
    }

    /// Forgets all facts.
    pub(super) fn forget(&mut self) {
        self.facts.clear();
        self.resolved.clear();
        self.generation += 1;
    }

    /// Forgets the types of which a part is not known.
    fn forget_incomplete(&mut self) {
        loop {
            let known: HashSet<Oid> = self.facts.keys().copied().collect();
            let whole = |part: Oid| known.contains(&part) || builtin(part).is_some();
            self.facts.retain(|_, fact| fact.shape.parts().all(whole));
            if self.facts.len() == known.len() {
                return;
            }
        }
    }

    /// Until when the facts of these types hold; `at` at least, which they were just compared for.
    pub(super) fn state(&self, types: &[Oid], at: PgTimestamp) -> AnswersAt {
        let parts = self.parts(types);
        let known = parts.iter().filter_map(|part| self.facts.get(part));
        AnswersAt {
            as_of: known.map(|fact| fact.as_of).min().unwrap_or(at).max(at),
            generation: self.generation,
        }
    }

    /// Takes the answer to [`facts_query`] for these types. One that the catalog does not have was dropped:
    /// its values are written as text.
    pub(super) fn learn(&mut self, asked: &[Oid], answer: &ResultSet) {
        let dropped = |type_oid: &Oid| (*type_oid, Fact::of_dropped_type());
        self.facts.extend(asked.iter().map(dropped));
        let mut fresh: HashMap<Oid, Fact> = HashMap::new();
        for row in rows(answer) {
            let Some(type_oid) = row.oid("oid") else {
                continue;
            };
            let fact = fresh.entry(type_oid).or_insert_with(|| Fact::of(row));
            if let (Shape::Composite(attributes), Some(name), Some(part)) = (
                &mut fact.shape,
                row.text("attribute"),
                row.oid("attribute_type"),
            ) {
                attributes.push((name.to_owned(), part));
            }
        }
        self.facts.extend(fresh);
        self.resolved.clear();
    }
}

/// A row of an answer, read by the names of its columns.
#[derive(Clone, Copy)]
struct Row<'a> {
    answer: &'a ResultSet,
    at: usize,
}

impl<'a> Row<'a> {
    fn text(self, column: &str) -> Option<&'a str> {
        self.answer.value(self.at, column)
    }

    fn oid(self, column: &str) -> Option<Oid> {
        self.text(column)?.parse().ok().map(Oid)
    }

    fn time(self, column: &str) -> Option<PgTimestamp> {
        self.text(column)?.parse().ok().map(PgTimestamp)
    }
}

fn rows(answer: &ResultSet) -> impl Iterator<Item = Row<'_>> {
    (0..answer.rows.len()).map(move |at| Row { answer, at })
}

impl Fact {
    /// From a row of the answer to [`facts_query`]; without the attributes of a composite.
    fn of(row: Row<'_>) -> Fact {
        let part = row.oid("part").unwrap_or(Oid(0));
        let delimiter = row.text("delimiter").and_then(|d| d.bytes().next());
        let shape = match (row.text("kind"), row.text("json_cast")) {
            (Some("domain"), _) => Shape::Domain(part),
            (Some("array"), _) => Shape::Array {
                element: part,
                delimiter: delimiter.unwrap_or(b','),
            },
            (Some("composite"), _) => Shape::Composite(Vec::new()),
            (_, Some("c hstore_to_json")) => Shape::Hstore,
            (_, Some(_)) => Shape::Cast,
            (_, None) => Shape::Text,
        };
        Fact {
            name: row.text("name").unwrap_or_default().into(),
            shape,
            stamp: row.text("stamp").unwrap_or_default().into(),
            as_of: row.time("as_of").unwrap_or(PgTimestamp(i64::MIN)),
        }
    }

    fn of_dropped_type() -> Fact {
        Fact {
            name: Box::default(),
            shape: Shape::Text,
            stamp: Box::default(),
            as_of: PgTimestamp(i64::MIN),
        }
    }
}

/// The stamp of the type `t`. Whatever committed and answered before [`NOW`] is in it.
const STAMP: &str = "concat_ws(' ', t.xmin, t.typnamespace, \
    (SELECT n.xmin FROM pg_namespace n WHERE n.oid = t.typnamespace), \
    (SELECT string_agg(a.xmin::text, ',' ORDER BY a.attnum) FROM pg_attribute a \
     WHERE a.attrelid = t.typrelid AND a.attnum > 0), \
    (SELECT c.oid || '.' || c.xmin FROM pg_cast c WHERE c.castsource = t.oid AND c.casttarget = 114)) \
    AS stamp";

/// The time of the statement, before its snapshot.
pub(super) const NOW: &str = "(extract(epoch FROM statement_timestamp() \
    - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8 AS as_of";

/// Asks how these types are now.
pub(super) fn stamps_query(types: &[Oid]) -> String {
    format!(
        "SELECT t.oid, {STAMP}, {NOW} FROM pg_type t WHERE t.oid = ANY({})",
        list(types)
    )
}

/// Asks for types and all that they are made of: a row for each type, or for each attribute of one. A cast
/// to json (type 114) counts only for types that are not built in; its function's language and source tell
/// hstore's from another one of that name. `OFFSET 0` keeps the planner from joining whole catalogs.
pub(super) fn facts_query(types: &[Oid]) -> String {
    format!(
        "WITH RECURSIVE reach(oid) AS (SELECT unnest({}) UNION \
         SELECT p.part FROM reach r, \
         LATERAL (SELECT * FROM pg_type WHERE oid = r.oid OFFSET 0) t, LATERAL ( \
          SELECT t.typbasetype WHERE t.typtype = 'd' UNION ALL \
          SELECT t.typelem WHERE t.typsubscript = 'array_subscript_handler'::regproc UNION ALL \
          SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid \
          AND a.attnum > 0 AND NOT a.attisdropped OFFSET 0) p(part)) \
         SELECT t.oid, {STAMP}, {NOW}, format_type(t.oid, NULL) AS name, \
         CASE WHEN t.typtype = 'd' THEN 'domain' \
          WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN 'array' \
          WHEN t.typtype = 'c' THEN 'composite' END AS kind, \
         CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END AS part, \
         (SELECT e.typdelim FROM pg_type e WHERE e.oid = t.typelem) AS delimiter, \
         (SELECT l.lanname || ' ' || f.prosrc FROM pg_cast c JOIN pg_proc f ON f.oid = c.castfunc \
          JOIN pg_language l ON l.oid = f.prolang WHERE c.castsource = t.oid AND c.casttarget = 114 \
          AND c.castmethod = 'f' AND t.oid >= {FIRST_USER_OID}) AS json_cast, \
         a.attname AS attribute, a.atttypid AS attribute_type \
         FROM reach r, LATERAL (SELECT xmin, * FROM pg_type WHERE oid = r.oid OFFSET 0) t \
         LEFT JOIN LATERAL (SELECT attname, atttypid, attnum FROM pg_attribute \
          WHERE t.typtype = 'c' AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped OFFSET 0) a \
         ON true \
         ORDER BY t.oid, a.attnum",
        list(types)
    )
}

fn list(types: &[Oid]) -> String {
    let mut list = String::from("'{");
    for (n, type_oid) in types.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        // Writing into a String cannot fail.
        let _ = write!(list, "{comma}{type_oid}");
    }
    list.push_str("}'::oid[]");
    list
}

#[cfg(test)]
mod tests;
