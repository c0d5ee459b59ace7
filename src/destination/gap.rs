//! Gaps: announced in `zemi_progress` before the slot is made anew, and recorded in `changes`.

use std::sync::Arc;

use super::connect::{self, SourceIdentity};
use super::identity::at_destination;
use super::login;
use super::progress::ProgressSql;
use super::tables::{self, Tables};
use super::{schema, statements};
use crate::change::RowShape;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json_text;
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::resume::{Gap, GapAnnouncement, TableGap};
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
    fn announce_gap(&self, from: Lsn, timeline: u32) -> Result<()> {
        let (mut session, identity, same_cluster) = at_destination(
            connect::open(&self.config, &self.source, None).map_err(login::passing),
        )?;
        let names = at_destination(tables::locate(&mut session))?;
        let system = &self.source.system_identifier;
        let sql = ProgressSql::new(&self.config, &names, system, &identity, same_cluster);
        let announcement = sql.announce_gap(from, timeline);
        at_destination(session.query(&statements::transaction(&[announcement]))).map(drop)
    }

    fn record_gap(&self, gap: &Gap) -> Result<()> {
        self.note(&gap.to_string());
        log_gap(gap, "source");
        self.record(|tables| vec![statement(gap, tables, &self.config)])
    }

    fn record_table_gaps(&self, gaps: &[TableGap]) -> Result<()> {
        self.record(|tables| {
            let statement = |gap| table_statement(gap, tables, &self.config);
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
        side, from:% = gap.from, to:% = gap.to;
        "{gap}. It is recorded in changes as an operation MESSAGE"
    );
}

/// The statement that inserts a row of operation MESSAGE, whose context names both positions and the reason.
pub(crate) fn statement(gap: &Gap, tables: &Tables, config: &Config) -> String {
    let context = json_text::object(|context| {
        context.key("zemi_gap").object(|found| {
            found.key("from").display(gap.from);
            found.key("to").display(gap.to);
            found.key("reason").string(gap.reason.name());
            found.key("slot").string(&config.slot_name);
        });
    });
    message(tables, config, ["", ""], gap.to, &context)
}

/// As [`statement`], with schema and table, and in the context the operations: the number of changes that are
/// missing at least, or null where that is not known.
fn table_statement(gap: &TableGap, tables: &Tables, config: &Config) -> String {
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
    message(tables, config, [&gap.schema, &gap.table], gap.to, &context)
}

/// A row of operation MESSAGE about a table, or about all where its names are empty.
fn message(
    tables: &Tables,
    config: &Config,
    [schema, table]: [&str; 2],
    position: Lsn,
    context: &str,
) -> String {
    let created_at = match tables.shape {
        RowShape::Plain => "",
        RowShape::WithCreatedAt => "now(), ",
    };
    format!(
        "INSERT INTO {} ({}) VALUES (gen_random_uuid(), NULL, '{{}}', '{{}}', {}, {}, {}, 'MESSAGE', now(), \
         now(), 0, {}, {created_at}{}) ON CONFLICT DO NOTHING",
        tables.names.changes(),
        tables.shape.columns(),
        literal(&config.source.database),
        literal(schema),
        literal(table),
        position.0,
        literal(context)
    )
}
