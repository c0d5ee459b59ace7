//! Tables that were published late: followed until their counters have settled, and recorded as a gap where
//! changes are missing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::table_watch::TableWatch;
use crate::change::{Lineage, Tracked};
use crate::error::Result;
use crate::lsn::{Lsn, Oid};
use crate::resume::{GapAnnouncement, TableGap};
use crate::source::late::{
    Counters, Evidence, Judgement, Look, Origin, counters_by_name, idle_since, judge, look,
    read_counters, reads_counters,
};
use crate::source::publication::{self, Followed, Published};
use crate::threads::lock;
use crate::wire::Connection;

/// How long after the end of the last transaction that was open at the publication the counters have settled:
/// a server process reports after 10 s at the latest (`PGSTAT_IDLE_INTERVAL`, `pgstat.c`).
const SETTLE: Duration = Duration::from_secs(15);

/// How long the stream may be behind the counters before it is taken for lagging.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many tables that are not published have their counters remembered.
const REMEMBERED: usize = 1000;

/// What the look before showed.
#[derive(Debug)]
struct Seen {
    look: Look,
    /// Tables that were not published, or not their updates and deletes.
    unpublished: HashMap<Oid, Counters>,
}

impl Seen {
    /// What this says of a table that is published now.
    fn origin(&self, table: Oid) -> Origin {
        match self.unpublished.get(&table) {
            _ if table > self.look.newest => Origin::New,
            Some(counters) => Origin::Unpublished(*counters),
            None => Origin::TakenOut,
        }
    }
}

/// A table that was published late.
#[derive(Debug)]
struct Pending {
    table: Followed,
    origin: Origin,
    /// The transactions with lower numbers have to end first.
    horizon: u64,
    /// When they had ended.
    ended: Option<Instant>,
    /// The changes of the stream at that time, and how often it had started when the table was published.
    streamed: Counters,
    starts: u64,
    /// The counters when they had settled, and where the WAL ended then.
    settled: Option<(Option<Counters>, Lsn, Instant)>,
}

/// A relation of which the stream brought the first change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewRelation {
    pub(crate) oid: Oid,
    /// A column is marked as part of its replica identity: UPDATE and DELETE can be published.
    pub(crate) has_identity: bool,
    pub(crate) schema: String,
    pub(crate) table: String,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    pending: Vec<Pending>,
    /// Those that are being judged, and are not among the pending ones meanwhile.
    judging: Vec<Followed>,
    /// The publication whose comment holds those that are pending.
    kept_in: Option<String>,
}

/// Follows the tables that were published late.
pub(crate) struct LateTables {
    /// Held while the servers are asked.
    state: Mutex<State>,
    /// The relations that came since the last look, and are newer than what that showed.
    relations: Mutex<Vec<NewRelation>>,
    /// [`Look::newest`] of the last look; the highest OID before the first one.
    newest: AtomicU32,
    watch: Arc<TableWatch>,
    gaps: Arc<dyn GapAnnouncement>,
}

impl LateTables {
    /// Nothing is known yet.
    pub(crate) fn new(watch: Arc<TableWatch>, gaps: Arc<dyn GapAnnouncement>) -> LateTables {
        LateTables {
            state: Mutex::default(),
            relations: Mutex::default(),
            newest: AtomicU32::new(u32::MAX),
            watch,
            gaps,
        }
    }

    /// Notes what a reconcile of the publications has published, `before` which the source was looked at.
    /// `flushed` is the durable position at the start of the process: changes behind it may be missing.
    ///
    /// # Errors
    /// The source's connection.
    pub(crate) fn published(
        &self,
        session: &mut Connection,
        before: Look,
        flushed: Option<Lsn>,
        published: &Published,
    ) -> Result<()> {
        for table in &published.added {
            self.watch.add(table.oid);
        }
        let after = match published.added.is_empty() {
            true => before,
            false => look(session)?,
        };
        let untracked = published.untracked.keys();
        let names: Vec<&str> = untracked
            .chain(published.forbidden.keys())
            .take(REMEMBERED)
            .map(String::as_str)
            .collect();
        let unpublished = counters_by_name(session, &names)?;
        let mut state = lock(&self.state);
        // What is not published yet is still to be compared with the look before it came.
        let reached = match &state.seen {
            Some(seen) if published.incomplete => seen.look,
            _ => before,
        };
        self.newest.store(reached.newest.0, Ordering::Relaxed);
        let seen = state.seen.replace(Seen {
            look: reached,
            unpublished,
        });
        let name = published.names.last();
        state.kept_in = name.cloned();
        if seen.is_none()
            && let Some(name) = name
        {
            for table in publication::read_followed(session, name)? {
                self.watch.add(table.oid);
                let starts = self.watch.read(table.oid).starts;
                let horizon = before.next_transaction;
                let pending = Pending::new(table, Origin::Unknown, horizon, starts);
                state.pending.push(pending);
            }
        }
        if published.added.is_empty() {
            return Ok(());
        }
        for table in &published.added {
            let origin = seen
                .as_ref()
                .map_or(Origin::Unknown, |seen| seen.origin(table.oid));
            let from = seen.as_ref().map(|seen| seen.look.wal_end).or(flushed);
            let followed = Followed {
                oid: table.oid,
                schema: table.schema.clone(),
                table: table.table.clone(),
                unpublished: [table.first, table.updates, table.updates],
                from: from.unwrap_or(before.wal_end).min(after.wal_end),
                to: after.wal_end,
            };
            log::info!(
                table:% = followed;
                "{followed} is published from {} on",
                after.wal_end
            );
            let starts = self.watch.read(table.oid).starts;
            let mut pending = Pending::new(followed, origin, after.next_transaction, starts);
            if state.pending.len() >= publication::KEPT {
                // It would be lost with the process.
                pending.settled = Some((None, Lsn::ZERO, Instant::now()));
            }
            state.pending.push(pending);
        }
        self.keep(session, &state)
    }

    /// Whether the publications were brought in line for a stream of this process: before, its slot may be
    /// another process's, and the publications with it.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.state).seen.is_some()
    }

    /// Keeps the tables where the next process finds them.
    fn keep(&self, session: &mut Connection, state: &State) -> Result<()> {
        let Some(publication) = &state.kept_in else {
            return Ok(());
        };
        let pending = state.pending.iter().map(|pending| &pending.table);
        let tables = state.judging.iter().chain(pending);
        if let Err(e) = publication::keep_followed(session, publication, tables) {
            log::warn!("publication {publication}: the tables that were published late: {e}");
        }
        Ok(())
    }

    /// Notes a relation that the stream described for the first time.
    pub(crate) fn seen(&self, relation: NewRelation) {
        let is_new = relation.has_identity && relation.oid.0 > self.newest.load(Ordering::Relaxed);
        let mut relations = lock(&self.relations);
        if is_new && relations.len() < REMEMBERED {
            relations.push(relation);
        }
    }

    /// Takes up the relations that were made and dropped between two looks: they were never listed, so that
    /// their inserts were published and nothing else, unless `everything` was.
    ///
    /// # Errors
    /// The source's connection.
    pub(crate) fn dropped(
        &self,
        session: &mut Connection,
        before: Look,
        everything: bool,
        tracked: &Tracked,
    ) -> Result<()> {
        let relations = std::mem::take(&mut *lock(&self.relations));
        let oids: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
        let there = read_counters(session, &oids)?;
        let mut state = lock(&self.state);
        let from = state.seen.as_ref().map(|seen| seen.look.wal_end);
        for relation in relations {
            let lineage = Lineage::new(&relation.schema, &relation.table, &[]);
            if everything || there.contains_key(&relation.oid) || !tracked.tracks(&lineage) {
                continue;
            }
            let table = Followed {
                oid: relation.oid,
                schema: relation.schema,
                table: relation.table,
                unpublished: [false, true, true],
                from: from.unwrap_or(before.wal_end),
                to: before.wal_end,
            };
            state.pending.push(Pending::new(table, Origin::New, 0, 0));
        }
        Ok(())
    }

    /// Notes a look that found nothing to reconcile.
    pub(crate) fn looked(&self, look: Look) {
        if let Some(seen) = &mut lock(&self.state).seen {
            self.newest.store(look.newest.0, Ordering::Relaxed);
            seen.look = look;
        }
    }

    /// Judges the tables whose counters have settled; records a gap where changes are missing.
    ///
    /// # Errors
    /// The source's connection, or a destination that cannot be told of a gap: it is told at the next look.
    pub(crate) fn settle(&self, session: &mut Connection) -> Result<()> {
        // Only this thread takes tables out, and those that come meanwhile are new.
        let mut pending = {
            let mut state = lock(&self.state);
            let pending = std::mem::take(&mut state.pending);
            state.judging = pending
                .iter()
                .map(|pending| pending.table.clone())
                .collect();
            pending
        };
        let count = pending.len();
        let outcome = self.judge_all(session, &mut pending);
        let is_done = pending.len() < count;
        let mut state = lock(&self.state);
        state.judging.clear();
        pending.append(&mut state.pending);
        self.watch
            .keep(|oid| pending.iter().any(|pending| pending.table.oid == oid));
        state.pending = pending;
        outcome?;
        match is_done {
            true => self.keep(session, &state),
            false => Ok(()),
        }
    }

    fn judge_all(&self, session: &mut Connection, pending: &mut Vec<Pending>) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let now = look(session)?;
        let oids: Vec<Oid> = pending.iter().map(|pending| pending.table.oid).collect();
        let counters = match reads_counters(session)? {
            true => read_counters(session, &oids)?,
            false => HashMap::new(),
        };
        for table in pending.iter_mut() {
            table.follow(now, counters.get(&table.table.oid).copied(), &self.watch);
        }
        if pending
            .iter()
            .all(|table| table.evidence(&self.watch).is_none())
        {
            return Ok(());
        }
        let longest = pending.iter().filter_map(|table| table.ended);
        let longest = longest.map(|ended| ended.elapsed()).max().unwrap_or(SETTLE);
        let held_back = idle_since(session, longest.as_secs().saturating_add(30))?;
        let (mut judged, mut gaps) = (Vec::new(), Vec::new());
        for table in std::mem::take(pending) {
            let Some(mut evidence) = table.evidence(&self.watch) else {
                pending.push(table);
                continue;
            };
            evidence.counters_lag |= held_back;
            gaps.extend(table.gap(&evidence));
            judged.push(table);
        }
        if gaps.is_empty() {
            return Ok(());
        }
        let recorded = self.gaps.record_table_gaps(&gaps);
        if recorded.is_err() {
            pending.append(&mut judged);
        }
        recorded
    }
}

impl Pending {
    fn new(table: Followed, origin: Origin, horizon: u64, starts: u64) -> Pending {
        Pending {
            table,
            origin,
            horizon,
            ended: None,
            streamed: [0; 3],
            starts,
            settled: None,
        }
    }

    /// Goes on to the next step where its time has come. `counters` are those of now.
    fn follow(&mut self, now: Look, counters: Option<Counters>, watch: &TableWatch) {
        let Some(ended) = self.ended else {
            if now.oldest_transaction >= self.horizon {
                self.ended = Some(Instant::now());
                self.streamed = watch.read(self.table.oid).streamed;
            }
            return;
        };
        let is_gone = counters.is_none();
        if self.settled.is_none() && (is_gone || ended.elapsed() >= SETTLE) {
            self.settled = Some((counters, now.wal_flushed, Instant::now()));
        }
    }

    /// What the evidence says is missing.
    fn gap(&self, evidence: &Evidence) -> Option<TableGap> {
        let table = &self.table;
        let (missing, possible) = match judge(evidence) {
            Judgement::Whole => {
                log::info!(
                    table:% = table;
                    "no change of {table} is missing that was made before it was published"
                );
                return None;
            }
            Judgement::Missing(missing) => (missing, false),
            Judgement::Possible(missing) => (missing, true),
        };
        Some(TableGap {
            schema: table.schema.clone(),
            table: table.table.clone(),
            from: table.from,
            to: table.to,
            missing,
            possible,
        })
    }

    /// What is known, once the stream has come as far as the counters; or has not for too long.
    fn evidence(&self, watch: &TableWatch) -> Option<Evidence> {
        let (after, end, since) = self.settled?;
        let seen = watch.read(self.table.oid);
        let is_behind = seen.position < end;
        // Without counters there is nothing to compare the stream with.
        if after.is_some() && is_behind && since.elapsed() < PATIENCE {
            return None;
        }
        Some(Evidence {
            origin: self.origin,
            after,
            streamed: seen.streamed,
            unpublished: self.table.unpublished,
            counters_lag: is_behind
                || seen.starts != self.starts
                || seen
                    .streamed
                    .iter()
                    .skip(1)
                    .ne(self.streamed.iter().skip(1)),
        })
    }
}
