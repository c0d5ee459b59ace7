//! Facts of the source's catalog, asked on a session of their own.

use std::collections::HashMap;
use std::sync::Arc;

use super::source;
use crate::backoff::Backoff;
use crate::change::json::{Ask, CompositeField, ValueType, builtin};
use crate::change::{Catalog, RelationFacts};
use crate::config::Config;
use crate::control::Control;
use crate::error::{At, Error, Kind, Remedy, Result};
use crate::lsn::Oid;
use crate::wire::Connection;

/// Which relations are zemi's own.
pub trait OwnTables: Send + Sync {
    /// The tables of changes and of progress, where they are in the source's database; else empty.
    fn in_source(&self) -> Vec<Oid>;
}

/// The catalog behind a session that is opened when it is needed, and again when it was lost.
pub struct SourceCatalog {
    config: Arc<Config>,
    control: Arc<Control>,
    own: Arc<dyn OwnTables>,
    session: Option<Connection>,
    types: HashMap<Oid, ValueType>,
}

impl SourceCatalog {
    /// A catalog that has asked nothing yet.
    pub fn new(config: Arc<Config>, control: Arc<Control>, own: Arc<dyn OwnTables>) -> Self {
        SourceCatalog {
            config,
            control,
            own,
            session: None,
            types: HashMap::new(),
        }
    }

    fn attempt<T>(&mut self, ask: &impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => source::open_session(&self.config)?,
        };
        let answer = ask(&mut session);
        // An error of a statement alone leaves the session as it was.
        if answer.as_ref().map_or_else(is_of_statement, |_| true) {
            self.session = Some(session);
        }
        answer
    }

    /// Runs a query until it succeeds; gives up when the end is asked for or nothing can mend it.
    fn ask<T>(&mut self, ask: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.attempt(&ask) {
                Ok(answer) => return Ok(answer),
                Err(e) => e,
            };
            // A name that cannot be converted: one that has no UTF-8 is not compared by it either.
            if source::is_unconvertible(&error)
                && let Some(session) = self.session.as_mut()
            {
                source::take_bytes_as_stored(session)?;
            }
            if matches!(error.remedy(), Remedy::Stop(_)) {
                return Err(error.at("reading the source's catalog"));
            }
            if error.is_server_stopping() {
                // The source waits for what it sent to be confirmed, and that waits for this answer,
                // which it no longer gives.
                self.control.end_stream();
            }
            log::warn!("reading the source's catalog: {error}; trying again");
            if !self.control.pause(backoff.wait()) {
                return Err(Error::new(
                    Kind::Stopped,
                    "stopped while reading the catalog",
                ));
            }
        }
    }
}

/// Types inside each other deeper than this are left to the source: a row type can hold an array of
/// itself.
const DEEPEST: u32 = 8;

impl SourceCatalog {
    /// How `to_jsonb` treats a type: it looks through domains, then for an array, a composite, and last a
    /// function that casts to json (`json_categorize_type`, `jsonfuncs.c`).
    fn resolve(&mut self, type_oid: Oid, depth: u32) -> Result<ValueType> {
        if let Some(known) = builtin(type_oid) {
            return Ok(known);
        }
        if let Some(known) = self.types.get(&type_oid) {
            return Ok(known.clone());
        }
        let found = self
            .ask_type(type_oid, depth)
            .at(|| format!("type with OID {type_oid}"))?;
        if depth == 0 {
            self.types.insert(type_oid, found.clone());
        }
        Ok(found)
    }

    fn ask_type(&mut self, type_oid: Oid, depth: u32) -> Result<ValueType> {
        let row = self.ask(|session| session.rows(&type_query(type_oid)))?;
        let oid = |column: usize| {
            row.first(column)
                .and_then(|oid| oid.parse().ok())
                .filter(|oid| *oid != 0)
                .map(Oid)
        };
        let Some(name) = row.first(0) else {
            // Dropped since: its values are what they look like.
            return Ok(ValueType::Text);
        };
        let cast = || ValueType::Cast {
            type_name: name.into(),
        };
        if depth > DEEPEST {
            return Ok(cast());
        }
        if let Some(base) = oid(1) {
            return self.resolve(base, depth + 1);
        }
        if let Some(element) = oid(2) {
            let delimiter = row.first(3).and_then(|d| d.bytes().next()).unwrap_or(b',');
            let element = Arc::new(self.resolve(element, depth + 1)?);
            return Ok(ValueType::Array { element, delimiter });
        }
        if let Some(relation) = oid(4) {
            let attributes = self.ask(|session| {
                session.rows(&format!(
                    "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = {relation} \
                     AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
                ))
            })?;
            let mut fields = Vec::with_capacity(attributes.rows.len());
            for attribute in &attributes.rows {
                let text = |i: usize| attribute.get(i).and_then(Option::as_deref);
                let type_oid = text(1).and_then(|oid| oid.parse().ok()).map(Oid);
                let value_type = match type_oid {
                    Some(type_oid) => self.resolve(type_oid, depth + 1)?,
                    None => ValueType::Text,
                };
                fields.push(CompositeField::new(text(0).unwrap_or_default(), value_type));
            }
            return Ok(ValueType::Composite(fields.into()));
        }
        Ok(match row.first(5) {
            Some("c hstore_to_json") => ValueType::Hstore,
            Some(_) => cast(),
            None => ValueType::Text,
        })
    }
}

/// Name, base type of a domain, element and its delimiter of an array, relation of a composite, and the
/// function of a cast to json (type 114), which counts only for types that are not built in: language and
/// source of it, since its name alone would not tell hstore's from another one.
fn type_query(type_oid: Oid) -> String {
    format!(
        "SELECT format_type(t.oid, NULL), t.typbasetype, \
         CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem ELSE 0 END, \
         (SELECT e.typdelim FROM pg_type e WHERE e.oid = t.typelem), \
         CASE WHEN t.typtype = 'c' THEN t.typrelid ELSE 0 END, \
         (SELECT l.lanname || ' ' || p.prosrc FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc \
          JOIN pg_language l ON l.oid = p.prolang \
          WHERE c.castsource = t.oid AND c.casttarget = 114 AND c.castmethod = 'f' \
          AND t.oid >= 16384) \
         FROM pg_type t WHERE t.oid = {type_oid}"
    )
}

impl Ask for SourceCatalog {
    fn to_json(&mut self, type_name: &str, text: &[u8], out: &mut Vec<u8>) -> bool {
        // A NUL byte cannot be part of a query, nor of a text of PostgreSQL.
        let text = String::from_utf8_lossy(text).replace('\0', "\u{FFFD}");
        let sql = format!(
            "SELECT to_jsonb({}::{type_name})::text",
            crate::wire::literal(&text)
        );
        // What the cast itself refuses is no reason to ask again.
        let answer = self.ask(|session| match session.rows(&sql) {
            Err(e) if is_of_statement(&e) => Ok(None),
            other => other.map(Some),
        });
        let Ok(Some(answer)) = answer else {
            return false;
        };
        answer
            .first(0)
            .map(|json| out.extend_from_slice(json.as_bytes()))
            .is_some()
    }
}

/// Whether a server refused a statement and not the session: not a lost connection (class 08), a lack of
/// resources (53) or an operator's act (57).
fn is_of_statement(error: &Error) -> bool {
    error.kind() == Kind::Server
        && error
            .sqlstate()
            .is_some_and(|state| !matches!(state.class(), "08" | "53" | "57"))
}

impl Catalog for SourceCatalog {
    fn relation(&mut self, relation: Oid) -> Result<RelationFacts> {
        let own = self.own.in_source();
        // The arrays of both indexes in one row, and the relation's ancestors, by which the parts of a
        // partitioned or inherited table of changes are recognised.
        let columns = |which: &str| {
            format!(
                "SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, place) \
                 JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.attnum \
                 WHERE i.indrelid = {relation} AND i.{which} AND k.place <= i.indnkeyatts \
                 ORDER BY k.place"
            )
        };
        let sql = format!(
            "{}; {}; WITH RECURSIVE up(oid) AS (SELECT {relation}::oid UNION \
             SELECT inhparent FROM pg_inherits, up WHERE inhrelid = up.oid) SELECT oid FROM up",
            columns("indisprimary"),
            columns("indisreplident")
        );
        let mut sets = self
            .ask(|session| session.query(&sql))
            .at(|| format!("relation with OID {relation}"))?
            .into_iter()
            .map(|set| {
                set.rows
                    .into_iter()
                    .filter_map(|row| row.into_iter().next().flatten())
            });
        let mut next = || sets.next().into_iter().flatten().collect::<Vec<String>>();
        let (primary_key, identity_index, ancestors) = (next(), next(), next());
        let ours = ancestors
            .iter()
            .filter_map(|oid| oid.parse().ok())
            .any(|o| own.contains(&Oid(o)));
        Ok(RelationFacts {
            ours,
            primary_key,
            identity_index,
        })
    }

    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType> {
        self.resolve(type_oid, 0)
    }

    fn forget_type(&mut self, _: Oid) {
        // Types are made of each other: an array of a domain over a composite. They are few and cheap
        // to ask for again.
        self.types.clear();
    }
}
