//! The row that records a gap: what cannot be known is at least said.

use std::sync::Arc;

use super::flight::BEGIN;
use super::progress::ProgressSql;
use super::session::{self, SourceMark, at_destination};
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
        let sql = ProgressSql::new(&self.config, &self.source.system_identifier, &identity);
        let mark = sql.mark(from, timeline);
        at_destination(session.query(&format!("{BEGIN}; {mark}; COMMIT"))).map(drop)
    }
}

/// Inserts a row of operation MESSAGE whose context names both positions and the reason.
pub fn statement(gap: &Gap, config: &Config) -> String {
    let context = format!(
        "{{\"zemi_gap\": {{\"from\": \"{}\", \"to\": \"{}\", \"reason\": \"{}\", \"slot\": \"{}\"}}}}",
        gap.from,
        gap.to,
        gap.reason.name(),
        config.slot_name
    );
    format!(
        "INSERT INTO public.changes (id, primary_key, before, after, context, database, schema, \"table\", \
         operation, committed_at, queued_at, transaction_id, position) \
         VALUES (gen_random_uuid(), NULL, '{{}}', '{{}}', {}, {}, '', '', 'MESSAGE', now(), now(), 0, {}) \
         ON CONFLICT DO NOTHING",
        literal(&context),
        literal(&config.source.database),
        gap.to.0
    )
}
