//! Gaps: announced in `zemi_progress` before the slot is made anew, and recorded in `changes`.

use std::sync::Arc;

use super::connect::{self, SourceIdentity};
use super::identity::at_destination;
use super::login;
use super::progress::ProgressSql;
use super::statements;
use super::tables::{self, Tables};
use crate::change::RowShape;
use crate::config::Config;
use crate::error::Result;
use crate::json_text;
use crate::lsn::Lsn;
use crate::resume::{Gap, GapAnnouncement};
use crate::wire::literal;

/// Announces gaps in `zemi_progress`, on a session of its own: the reader calls it while the writer uses its
/// own.
pub(crate) struct GapAnnouncer {
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Which cluster the source is.
    pub(crate) source: SourceIdentity,
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
    let created_at = match tables.shape {
        RowShape::Plain => "",
        RowShape::WithCreatedAt => "now(), ",
    };
    format!(
        "INSERT INTO {} ({}) VALUES (gen_random_uuid(), NULL, '{{}}', '{{}}', {}, '', '', 'MESSAGE', now(), \
         now(), 0, {}, {created_at}{}) ON CONFLICT DO NOTHING",
        tables.names.changes(),
        tables.shape.columns(),
        literal(&config.source.database),
        gap.to.0,
        literal(&context)
    )
}
