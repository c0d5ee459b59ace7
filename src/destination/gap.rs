//! Gaps: announced in `zemi_progress` before the slot is made anew, and recorded in `changes`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::connect::{self, SourceIdentity};
use super::identity::at_destination;
use super::login;
use super::progress::ProgressSql;
use super::tables::{self, Tables};
use super::{schema, statements};
use crate::change::RowShape;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::hex;
use crate::json_text;
use crate::lsn::{Lsn, Xid};
use crate::observe::metrics::Metrics;
use crate::resume::{Begin, Gap, GapAnnouncement, NeverHappened, StreamStart, Stretch, TableGap};
use crate::wire::literal;

/// Announces gaps in `zemi_progress`, on a session of its own: the reader calls it while the writer uses its
/// own.
pub(crate) struct GapAnnouncer {
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Which cluster the source is.
    pub(crate) source: SourceIdentity,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
}

impl GapAnnouncement for GapAnnouncer {
    fn announce_gap(&self, parted: Option<Lsn>, timeline: u32) -> Result<()> {
        let (mut session, identity, same_cluster) = at_destination(
            connect::open(&self.config, &self.source, None).map_err(login::passing),
        )?;
        let names = at_destination(tables::locate(&mut session))?;
        let system = &self.source.system_identifier;
        let sql = ProgressSql::new(&self.config, &names, system, &identity, same_cluster);
        let announcement = sql.announce_gap(parted, timeline);
        at_destination(session.query(&statements::transaction(&[announcement]))).map(drop)
    }

    fn transactions_before(&self, position: Lsn) -> Result<Vec<Xid>> {
        let (mut session, _, _) = at_destination(connect::open(&self.config, &self.source, None))?;
        let names = at_destination(tables::locate(&mut session))?;
        let database = &self.config.source.database;
        let sql = transactions_before(names.changes(), database, position);
        let found = at_destination(session.rows(&sql))?;
        let xids = found.values("xid").into_iter();
        Ok(xids.filter_map(|xid| xid.parse().ok().map(Xid)).collect())
    }

    fn record_gap(&self, gap: &Gap) -> Result<()> {
        let id = new_id();
        self.record(|tables| vec![statement(gap, gap.to(), id, tables, &self.config)])?;
        self.note(&gap.to_string());
        log_gap(gap, "source");
        Ok(())
    }

    fn record_table_gaps(&self, gaps: &[TableGap]) -> Result<()> {
        self.record(|tables| {
            let statement = |gap| table_statement(gap, new_id(), tables, &self.config);
            gaps.iter().map(statement).collect()
        })?;
        for gap in gaps {
            self.note(&gap.to_string());
            log::error!(
                side = "source", from:% = gap.from, to:% = gap.to,
                table:% = format_args!("{}.{}", gap.schema, gap.table);
                "{gap}. It is recorded in changes as an operation MESSAGE"
            );
        }
        Ok(())
    }
}

/// How far behind its own position the row of a gap may go.
const FREE: u32 = 10_000;

/// How many of the last rows before a position tell when that position was current.
const LAST_ROWS: u32 = 1000;

/// The query for the transactions with rows before `position` that may have committed behind it. The time of
/// a commit is taken just before its record is written, so the times ascend with the records, but for what
/// happens between two statements of a backend.
fn transactions_before(changes: &str, database: &str, position: Lsn) -> String {
    let before = format!(
        "FROM {changes} WHERE database = {} AND position < {} AND operation <> 'MESSAGE'",
        literal(database),
        position.0
    );
    format!(
        "SELECT DISTINCT transaction_id AS xid {before} AND committed_at >= (SELECT min(committed_at) - \
         interval '1 minute' FROM (SELECT committed_at {before} ORDER BY position DESC LIMIT {LAST_ROWS}) AS \
         last)"
    )
}

impl GapAnnouncer {
    fn note(&self, text: &str) {
        self.metrics.gaps.add(1);
        self.metrics.source.note(&text);
    }

    fn record(&self, statements: impl Fn(&Tables) -> Vec<String>) -> Result<()> {
        let (mut session, _, _) = at_destination(connect::open(&self.config, &self.source, None))?;
        let Some(tables) = at_destination(schema::look(&mut session, &self.config))? else {
            return Err(Error::new(
                Kind::Transient,
                "expected the table of changes, found none",
            ));
        };
        let transaction = statements::transaction(&statements(&tables));
        match session.query(&transaction) {
            // Bemi's table may allow its own four operations only.
            Err(e) if e.is_about_data() => {
                log::error!("the gap could not be recorded in changes: {e}");
                Ok(())
            }
            done => at_destination(done.map(drop)),
        }
    }
}

/// Logs a gap as an error. `side` is the server that showed it: `source` or `destination`.
pub(crate) fn log_gap(gap: &Gap, side: &str) {
    log::error!(
        side, from:% = gap.from(), to:% = gap.to();
        "{gap}. It is recorded in changes as an operation MESSAGE"
    );
}

/// The id of the row of a gap. A row whose COMMIT got no answer is written again with the same id.
pub(crate) type GapId = u128;

fn id_of(event: impl std::hash::Hash) -> GapId {
    static PROCESS: OnceLock<RandomState> = OnceLock::new();
    let process = PROCESS.get_or_init(RandomState::new);
    let half = |n: u8| u128::from(process.hash_one((n, &event)));
    // Version 8 of RFC 9562: made as the application likes.
    let id = half(0) << 64 | half(1);
    id & !(0xF000_C000_0000_0000_0000) | 0x8000_8000_0000_0000_0000
}

/// That of a gap which is recorded once, whatever fails.
pub(crate) fn new_id() -> GapId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    id_of(("once", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// That of the gap at the start of a stream. One epoch has several where publications were dropped.
pub(crate) fn id_at_start(start: &StreamStart) -> GapId {
    id_of(("start", start.epoch, start.position))
}

fn stretch(
    value: json_text::Value<'_>,
    of: &Stretch,
    more: impl FnOnce(&mut json_text::Object<'_>),
) {
    value.object(|found| {
        found.key("from").display(of.from);
        found.key("to").display(of.to);
        found.key("timeline").number(of.timeline);
        more(found);
    });
}

/// The statement that inserts a row of operation MESSAGE, whose context names both stretches and the reason.
/// `position` is where the stream goes on.
pub(crate) fn statement(
    gap: &Gap,
    position: Lsn,
    id: GapId,
    tables: &Tables,
    config: &Config,
) -> String {
    let context = json_text::object(|context| {
        context.key("zemi_gap").object(|found| {
            found.key("from").display(gap.from());
            found.key("to").display(gap.to());
            found.key("reason").string(gap.reason.name());
            found.key("slot").string(&config.slot_name);
            if let Some(unknown) = &gap.unknown {
                stretch(found.key("unknown"), unknown, |_| {});
            }
            if let Some(never) = &gap.never_happened {
                never_happened(found.key("never_happened"), never);
            }
        });
    });
    message(tables, config, ["", ""], position, id, &context)
}

fn never_happened(value: json_text::Value<'_>, never: &NeverHappened) {
    stretch(value, &never.rows, |found| {
        match never.begin {
            Begin::Exact => {}
            Begin::OrEarlier => found.key("or_earlier").boolean(true),
            Begin::OrLater => found.key("or_later").boolean(true),
        }
        if !never.transactions.is_empty() {
            found.key("transactions").array(|all| {
                for Xid(xid) in &never.transactions {
                    all.item().number(*xid);
                }
            });
        }
    });
}

/// As [`statement`], with schema and table, and in the context the operations: the number of changes that are
/// missing at least, or null where that is not known.
fn table_statement(gap: &TableGap, id: GapId, tables: &Tables, config: &Config) -> String {
    let context = json_text::object(|context| {
        context.key("zemi_gap").object(|found| {
            found.key("from").display(gap.from);
            found.key("to").display(gap.to);
            found.key("reason").string("listed_late");
            found.key("slot").string(&config.slot_name);
            found.key("schema").string(&gap.schema);
            found.key("table").string(&gap.table);
            found.key("possible").boolean(gap.possible);
            found.key("operations").object(|operations| {
                for missing in &gap.missing {
                    let value = operations.key(missing.operation);
                    match missing.count {
                        0 => value.null(),
                        count => value.number(count),
                    }
                }
            });
        });
    });
    let names = [gap.schema.as_str(), &gap.table];
    message(tables, config, names, gap.to, id, &context)
}

/// A row of operation MESSAGE about a table, or about all where its names are empty, unless the row with this
/// id is there. It takes the next free position: a gap of before may have this one.
fn message(
    tables: &Tables,
    config: &Config,
    [schema, table]: [&str; 2],
    position: Lsn,
    id: GapId,
    context: &str,
) -> String {
    let created_at = match tables.shape {
        RowShape::Plain => "",
        RowShape::WithCreatedAt => "now(), ",
    };
    let changes = tables.names.changes();
    let id = hex::text(&id.to_be_bytes());
    let [database, schema, table] = [&*config.source.database, schema, table].map(literal);
    format!(
        "INSERT INTO {changes} ({}) SELECT '{id}'::uuid, NULL, '{{}}', '{{}}', {database}, {schema}, \
         {table}, 'MESSAGE', now(), now(), 0, (SELECT s.free FROM generate_series({position}::bigint, \
         {position}::bigint + {FREE}) s(free) WHERE NOT EXISTS (SELECT FROM {changes} c WHERE \
         c.position = s.free AND c.\"table\" = {table} AND c.schema = {schema} AND c.database = {database} \
         AND c.operation = 'MESSAGE') LIMIT 1), {created_at}{} \
         WHERE NOT EXISTS (SELECT FROM {changes} WHERE id = '{id}'::uuid)",
        tables.shape.columns(),
        literal(context),
        position = position.0,
    )
}
