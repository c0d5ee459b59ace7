//! Facts of the source's catalog, asked on a session of their own.

use std::collections::HashMap;
use std::sync::Arc;

use super::source;
use crate::backoff::Backoff;
use crate::change::json::{Ask, ValueType, builtin};
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
        let answer = ask(&mut session)?;
        self.session = Some(session);
        Ok(answer)
    }

    /// Runs a query until it succeeds; gives up when the end is asked for or nothing can mend it.
    fn ask<T>(&mut self, ask: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.attempt(&ask) {
                Ok(answer) => return Ok(answer),
                Err(e) => e,
            };
            if matches!(error.remedy(), Remedy::Stop(_)) {
                return Err(error.at("reading the source's catalog"));
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

impl Ask for SourceCatalog {
    fn to_json(&mut self, type_name: &str, text: &[u8], out: &mut Vec<u8>) -> bool {
        let text = String::from_utf8_lossy(text);
        let sql = format!(
            "SELECT to_jsonb({}::{type_name})::text",
            crate::wire::literal(&text)
        );
        match self.ask(|session| session.rows(&sql)) {
            Ok(answer) => answer
                .first(0)
                .map(|json| out.extend_from_slice(json.as_bytes()))
                .is_some(),
            Err(_) => false,
        }
    }
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
        if let Some(known) = builtin(type_oid) {
            return Ok(known);
        }
        if let Some(known) = self.types.get(&type_oid) {
            return Ok(known.clone());
        }
        Ok(ValueType::Text)
    }

    fn forget_type(&mut self, _: Oid) {
        // Types are made of each other: an array of a domain over a composite. They are few and cheap
        // to ask for again.
        self.types.clear();
    }
}
