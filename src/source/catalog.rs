//! Facts of the source's catalog, asked on a session of their own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cast;
use super::partitions;
use super::relation_facts::{self, Found, Known};
use super::session::{IS_STANDBY, open_session};
use super::stored;
use super::types::{Types, facts_query, stamps_query};
use crate::backoff::Backoff;
use crate::change::json::{Ask, ValueType};
use crate::change::{
    AnswersAt, Catalog, Characters, Convert, Described, RelationFacts, StoredEncoding, TreeNode,
};
use crate::config::Config;
use crate::error::{At, Error, Kind, Remedy, Result, SqlState};
use crate::lsn::{Lsn, Oid, PgTimestamp, Xid};
use crate::sqlstate;
use crate::wire::{Connection, ResultSet};

pub use super::relation_facts::OwnNames;

/// Where zemi is a synchronous standby, the longest wait for a transaction to become visible that does not
/// show the wait event `SyncRep`: it may still be about to wait for zemi, and the event of another role's
/// session is hidden without `pg_read_all_stats`. Other transactions become visible within microseconds.
const MAX_WAIT_AS_STANDBY: Duration = Duration::from_millis(100);

/// Between two looks at a transaction that is not visible yet; each pause is twice the one before.
const VISIBILITY_POLL_FIRST: Duration = Duration::from_millis(1);
const VISIBILITY_POLL_LAST: Duration = Duration::from_millis(256);

/// How long an answer is waited for at first, and at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(45);
const LAST_PATIENCE: Duration = Duration::from_secs(3600);

/// So many causes for values that stay text are logged: types may come and go without end.
const MAX_UNCAST: usize = 300;

/// A transaction that is invisible for so long is logged: with a synchronous standby away, it stays so until
/// that is back.
const VISIBILITY_WARN_AFTER: Duration = Duration::from_secs(10);

/// Which relations are zemi's own.
pub trait OwnTables: Send + Sync {
    /// The tables of changes and of progress, where they are in the source's database; else empty.
    fn in_source(&self) -> OwnNames;
}

/// How a question that has to wait is ended.
pub trait StreamControl: Send + Sync {
    /// Sleeps for `time`, or until the end is asked for. False when it was.
    fn pause(&self, time: Duration) -> bool;

    /// Ends the replication connection, so that the stream starts again.
    fn end_stream(&self);
}

/// The catalog behind a session that is opened when it is needed, and again when it was lost.
pub struct SourceCatalog {
    config: Arc<Config>,
    control: Arc<dyn StreamControl>,
    own: Arc<dyn OwnTables>,
    session: Option<Connection>,
    /// How long an answer is waited for: longer each time it did not come, so that one that takes long comes
    /// in the end.
    patience: Duration,
    types: Types,
    known: Known,
    characters: Characters,
    /// The types whose values the source could not cast, and why: what the log said already.
    uncast: HashSet<(Oid, Option<SqlState>)>,
}

impl SourceCatalog {
    /// A catalog that has asked nothing yet.
    pub fn new(
        config: Arc<Config>,
        control: Arc<dyn StreamControl>,
        own: Arc<dyn OwnTables>,
    ) -> Self {
        SourceCatalog {
            config,
            control,
            own,
            session: None,
            patience: FIRST_PATIENCE,
            types: Types::default(),
            known: Known::default(),
            characters: Characters::default(),
            uncast: HashSet::new(),
        }
    }

    fn attempt<T>(&mut self, ask: &impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                // Behind the same address there may be another server now, with another clock.
                self.types.forget();
                self.known.expire();
                open_session(&self.config)?
            }
        };
        session.set_read_timeout(Some(self.patience))?;
        let asked = Instant::now();
        let answer = ask(&mut session);
        self.patience = match &answer {
            Err(e) if e.kind() == Kind::Transient && asked.elapsed() >= self.patience => {
                LAST_PATIENCE.min(self.patience * 2)
            }
            _ => FIRST_PATIENCE,
        };
        // An error of a statement alone leaves the session as it was.
        if answer
            .as_ref()
            .map_or_else(Error::is_of_statement, |_| true)
        {
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

impl SourceCatalog {
    /// Asks for types, all in one query.
    fn learn(&mut self, types: &[Oid]) -> Result<()> {
        if types.is_empty() {
            return Ok(());
        }
        let sql = facts_query(types);
        let answer = self
            .ask(|session| session.rows(&sql))
            .at(|| format!("types with OIDs {types:?}"))?;
        self.types.learn(types, &answer);
        Ok(())
    }
}

impl Ask for SourceCatalog {
    fn to_json(&mut self, type_oid: Oid, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        if text.len() > cast::LONGEST_TEXT {
            return Ok(false);
        }
        let answer = self
            .ask(
                |session| match session.query_with(cast::QUERY, type_oid, text) {
                    Err(e) if cast::is_answer(&e) => Ok(Err(e)),
                    other => other.map(Ok),
                },
            )
            .at(|| format!("a cast to json of the type with OID {type_oid}"))?;
        let json = match &answer {
            Ok(rows) => rows.first(0),
            Err(error) => {
                self.warn_of_cast(type_oid, error)?;
                None
            }
        };
        out.extend_from_slice(json.unwrap_or_default().as_bytes());
        Ok(json.is_some())
    }
}

impl Convert for SourceCatalog {
    fn to_utf8(
        &mut self,
        encoding: StoredEncoding,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let mut characters = std::mem::take(&mut self.characters);
        let decoded = encoding.decode(&mut characters, text, out, |name, unknown| {
            self.ask(|session| stored::convert(session, name, unknown))
        });
        self.characters = characters;
        decoded.at(|| "text as it is stored".into())
    }
}

impl SourceCatalog {
    /// Says once for each type and SQLSTATE why its values stay text.
    fn warn_of_cast(&mut self, type_oid: Oid, error: &Error) -> Result<()> {
        if self.uncast.len() >= MAX_UNCAST || !self.uncast.insert((type_oid, error.sqlstate())) {
            return Ok(());
        }
        let mut fix = None;
        if cast::is_of_rights(error) {
            let sql = cast::fix_query(type_oid, &self.config.source.user);
            let answer = self.ask(|session| session.rows(&sql))?;
            fix = answer.value(0, "fix").map(str::to_owned);
        }
        let name = self.types.name(type_oid).unwrap_or("a type that is gone");
        let cause = cast::cause(error);
        let fix = fix.unwrap_or_else(|| {
            "to_jsonb() of such a value shows the error; its text is written until then".to_owned()
        });
        log::warn!(
            side = "source", sqlstate = error.code();
            "values of {name} are written as text, here and in rows to come, and counted: the source cannot \
             cast them to json: {cause}. Hint: {fix}"
        );
        Ok(())
    }
}

/// The text of a value that a walsender gave without conversion, without conversion.
fn text_as_stored(session: &mut Connection, type_oid: Oid, value: &[u8]) -> Result<Vec<u8>> {
    session.query("BEGIN; SET LOCAL client_encoding = 'SQL_ASCII'")?;
    let text = session.text_of(type_oid, value);
    session.query("ROLLBACK")?;
    text
}

/// Asks for what locks tables; `None` where another transaction holds one of them for longer: it may wait for
/// zemi, which is its synchronous standby.
fn bounds_within_a_second(session: &mut Connection, sql: &str) -> Result<Option<ResultSet>> {
    let sql = format!("BEGIN READ ONLY; SET LOCAL lock_timeout = '1s'; {sql}; COMMIT");
    let mut answered = session.query(&sql);
    if answered.as_ref().is_err_and(Error::is_unconvertible) {
        session.roll_back()?;
        answered = stored::query(session, &sql);
    }
    match answered {
        Ok(mut sets) => Ok((sets.len() > 2).then(|| sets.swap_remove(2))),
        Err(e) if e.is_of_statement() => {
            session.roll_back()?;
            match e.is_sqlstate(sqlstate::LOCK_NOT_AVAILABLE) {
                true => Ok(None),
                false => Err(e),
            }
        }
        Err(e) => Err(e),
    }
}

/// Asks whether other sessions see what a transaction did, which they do when its synchronous standbys have
/// it, and whether it waits for those. By a snapshot, which takes none of the locks of `pg_locks`. The stream
/// numbers a transaction by 32 bits, a snapshot by 64: the number meant is the one nearest to the snapshot's.
fn visibility_query(transaction: Xid) -> String {
    format!(
        "SELECT pg_visible_in_snapshot((next + ahead - CASE WHEN ahead >= 2147483648 THEN 4294967296 \
         ELSE 0 END)::text::xid8, snapshot) AS is_visible, {IS_STANDBY} AS is_standby, \
         EXISTS (SELECT FROM pg_stat_activity WHERE backend_xid = '{transaction}'::xid \
         AND wait_event = 'SyncRep') AS waits_for_standby \
         FROM pg_current_snapshot() snapshot, \
         LATERAL (SELECT pg_snapshot_xmax(snapshot)::text::bigint AS next) n, \
         LATERAL (SELECT ({transaction} - next) & 4294967295 AS ahead) a"
    )
}

impl Catalog for SourceCatalog {
    fn wait_until_visible(&mut self, transaction: Xid) -> Result<bool> {
        let sql = visibility_query(transaction);
        let since = Instant::now();
        let mut pause = VISIBILITY_POLL_FIRST;
        let mut warned = false;
        loop {
            let answer = self.ask(|session| session.rows(&sql))?;
            if answer.value(0, "is_visible") == Some("t") {
                return Ok(true);
            }
            let waits_for_standby = answer.value(0, "waits_for_standby") == Some("t");
            let is_standby = answer.value(0, "is_standby") == Some("t");
            if is_standby && (waits_for_standby || since.elapsed() >= MAX_WAIT_AS_STANDBY) {
                return Ok(false);
            }
            if !warned && since.elapsed() >= VISIBILITY_WARN_AFTER {
                warned = true;
                log::warn!(
                    "transaction {transaction} has committed and is not visible to other sessions yet: it \
                     waits for a synchronous standby. What it says of tables and types is waited for, too"
                );
            }
            if !self.control.pause(pause) {
                return Err(Error::new(
                    Kind::Stopped,
                    "stopped while a transaction waits for its synchronous standby",
                ));
            }
            pause = VISIBILITY_POLL_LAST.min(pause * 2);
        }
    }

    fn relation(&mut self, described: &Described<'_>) -> Result<RelationFacts> {
        let own = self.own.in_source();
        let relation = described.relation;
        let sql = relation_facts::query(relation);
        let answers = self
            .ask(|session| session.query(&sql))
            .at(|| format!("relation with OID {relation}"))?;
        let mut found = Found::read(&answers, described, &own);
        if found.is_partitioned() {
            let sql = relation_facts::keys_query(relation);
            found.partition_keys(&self.ask(|session| session.rows(&sql))?);
        }
        if self.known.may_be_detached(relation, described.xid, &found) {
            let sql = relation_facts::alike_query(relation);
            let answer = self.ask(|session| session.rows(&sql))?;
            found.maybe_below(relation_facts::alike(&answer));
        }
        let rows = (described.xid, described.again);
        Ok(self.known.settle(relation, rows, found, &own))
    }

    fn partition_tree(&mut self, relations: &[Oid]) -> Result<Vec<TreeNode>> {
        let sql = partitions::tree_query(relations);
        let answer = self.ask(|session| session.rows(&sql))?;
        Ok(partitions::tree(&answer))
    }

    fn partition_bounds(
        &mut self,
        relations: &[Oid],
        may_lock: bool,
    ) -> Result<Vec<Option<String>>> {
        let mut bounds = Vec::with_capacity(relations.len());
        for relations in relations.chunks(partitions::AT_ONCE) {
            let mut found = None;
            if may_lock {
                let sql = partitions::bounds_query(relations, true);
                found = self.ask(|session| bounds_within_a_second(session, &sql))?;
            }
            let found = match found {
                Some(found) => found,
                None => {
                    let sql = partitions::bounds_query(relations, false);
                    self.ask(|session| session.rows(&sql))?
                }
            };
            bounds.extend(partitions::bounds(&found));
        }
        Ok(bounds)
    }

    fn text_of(&mut self, type_oid: Oid, value: &[u8], as_stored: bool) -> Result<Option<Vec<u8>>> {
        let answer = self.ask(|session| {
            let text = match as_stored {
                true => text_as_stored(session, type_oid, value),
                false => session.text_of(type_oid, value),
            };
            match text {
                Err(e) if cast::is_answer(&e) => Ok(Err(e)),
                other => other.map(Ok),
            }
        });
        match answer.at(|| format!("the text of a value of the type with OID {type_oid}"))? {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                log::debug!(
                    "no text for a value of the type with OID {type_oid}: {}",
                    cast::cause(&error)
                );
                Ok(None)
            }
        }
    }

    fn value_type(&mut self, type_oid: Oid) -> Result<ValueType> {
        if let Some(known) = self.types.known(type_oid) {
            return Ok(known);
        }
        self.learn(&[type_oid])?;
        Ok(self.types.known(type_oid).unwrap_or(ValueType::Text))
    }

    fn is_type_gone(&self, type_oid: Oid) -> bool {
        self.types.is_gone(type_oid)
    }

    fn types_at(&mut self, types: &[Oid], at: PgTimestamp) -> Result<AnswersAt> {
        self.types.bound();
        self.learn(&self.types.unknown(types))?;
        let stale = self.types.stale(types, at);
        if !stale.is_empty() {
            let sql = stamps_query(&stale);
            let answer = self
                .ask(|session| session.rows(&sql))
                .at(|| format!("types with OIDs {stale:?}"))?;
            self.types.compare(&stale, at, &answer);
            self.learn(&self.types.unknown(types))?;
        }
        Ok(self.types.state(types, at))
    }

    fn lineages_at(&mut self, transaction: Xid, at: PgTimestamp) -> Result<AnswersAt> {
        if self.known.state().as_of < at {
            let stamps = self.known.stamps_query();
            let sql = format!("{}; {stamps}", visibility_query(transaction));
            let answers = self.ask(|session| session.query(&sql))?;
            let is_visible = answers.first().and_then(|a| a.value(0, "is_visible"));
            match answers.get(1) {
                Some(answer) if is_visible == Some("t") => self.known.compare(at, answer),
                _ => {
                    self.wait_until_visible(transaction)?;
                    let answer = self.ask(|session| session.rows(&stamps))?;
                    self.known.compare(at, &answer);
                }
            }
        }
        Ok(self.known.state())
    }

    fn gone(&mut self, relations: &[Oid]) -> Result<(Vec<Oid>, Lsn)> {
        let oids: Vec<String> = relations.iter().map(Oid::to_string).collect();
        // The position is read after the snapshot was taken, in which they are gone.
        let sql = format!(
            "SELECT oid, pg_current_wal_insert_lsn() AS wal_end FROM unnest('{{{}}}'::oid[]) oid \
             WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = oid.oid)",
            oids.join(",")
        );
        let answer = match self.attempt(&|session: &mut Connection| session.rows(&sql)) {
            Ok(answer) => answer,
            Err(e) => {
                log::debug!("which relations are gone: {e}");
                return Ok((Vec::new(), Lsn::ZERO));
            }
        };
        let wal_end = answer.value(0, "wal_end").and_then(|end| end.parse().ok());
        let gone = answer.values("oid").into_iter();
        let gone = gone.filter_map(|oid| oid.parse().ok().map(Oid));
        Ok(wal_end.map_or_else(Default::default, |wal_end| (gone.collect(), wal_end)))
    }

    fn forget_relations(&mut self, relations: &[Oid]) {
        self.known.forget(relations);
    }

    fn forget_types(&mut self) {
        self.types.forget();
    }
}
