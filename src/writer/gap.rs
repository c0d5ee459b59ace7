//! The row that records a gap: what cannot be known is at least said.

use std::sync::Arc;

use super::flight::BEGIN;
use super::progress::ProgressSql;
use super::session::{self, SourceMark, at_destination};
use super::tables::{self, Tables};
use crate::change::RowShape;
use crate::config::Config;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::replication::start::{Gap, GapMark};
use crate::wire::literal;

/// Announces gaps in `zemi_progress`, on a session of its own: the writer's may be in use.
pub struct GapMarker {
    /// The settings.
    pub config: Arc<Config>,
    /// Which cluster the source is.
    pub source: SourceMark,
}

impl GapMark for GapMarker {
    fn mark(&self, from: Lsn, timeline: u32) -> Result<()> {
        let (mut session, identity, _) =
            at_destination(session::open(&self.config, &self.source, None))?;
        let names = at_destination(tables::locate(&mut session))?;
        let system = &self.source.system_identifier;
        let sql = ProgressSql::new(&self.config, &names, system, &identity);
        let mark = sql.mark(from, timeline);
        at_destination(session.query(&format!("{BEGIN}; {mark}; COMMIT"))).map(drop)
    }
}

/// Inserts a row of operation MESSAGE whose context names both positions and the reason.
pub fn statement(gap: &Gap, tables: &Tables, config: &Config) -> String {
    let context = format!(
        "{{\"zemi_gap\": {{\"from\": \"{}\", \"to\": \"{}\", \"reason\": \"{}\", \"slot\": \"{}\"}}}}",
        gap.from,
        gap.to,
        gap.reason.name(),
        config.slot_name
    );
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
