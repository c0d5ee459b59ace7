//! The row that records a gap: what cannot be known is at least said.

use crate::config::Config;
use crate::replication::start::Gap;
use crate::wire::literal;

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
