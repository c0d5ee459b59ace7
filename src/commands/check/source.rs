//! The source: server, walsender, slot, publications.

use std::collections::BTreeMap;

use super::super::finding::Findings;
use super::{encryption, identities, slot, tables, versions};
use crate::change::Tracked;
use crate::config::Config;
use crate::destination::connect::SourceIdentity;
use crate::error::{Error, Result};
use crate::source::{self, Identity, Server, failover, filters, predecessor, publication};
use crate::sqlstate;
use crate::wire::Connection;

/// What the checks of the destination need to know of the source.
pub struct Source {
    /// Which cluster the source is.
    pub identity: SourceIdentity,
    /// What refuses a first start: the slot was read through another publication.
    pub first_start: Option<Error>,
}

/// Checks all of it, as far as one step allows the next.
pub fn check(config: &Config, findings: &mut Findings) -> Option<Source> {
    let mut session = match source::open_session(config) {
        Ok(session) => session,
        Err(e) => {
            findings.error("source", &e);
            return None;
        }
    };
    let server = match source::check(&mut session) {
        Ok(server) => server,
        Err(e) => {
            findings.error("source", &e);
            return None;
        }
    };
    findings.ok(
        "source",
        format!(
            "PostgreSQL {} at {}, wal_level = {}",
            server.version_text, config.source, server.wal_level
        ),
    );
    versions::check(server.version, findings);
    encryption::check(&config.source, session.encryption(), "source", findings);
    if server.encoding == "SQL_ASCII" {
        findings.warn(
            "source",
            "the database's encoding is SQL_ASCII: bytes that are not UTF-8 will be replaced by U+FFFD",
            "keep text in a database with encoding UTF8",
        );
    }
    let identity = match walsender(config, &mut session, findings) {
        Ok(identity) => Some(SourceIdentity {
            system_identifier: identity.system_identifier,
            started: server.started.clone(),
        }),
        Err(e) => {
            let full = e.is_sqlstate(sqlstate::TOO_MANY_CONNECTIONS);
            let e = match full {
                true => e.hint("raise max_wal_senders, or max_connections, and restart the source"),
                false => e,
            };
            findings.error("senders", &e);
            None
        }
    };
    if let Err(e) = failover::check(&server, config) {
        findings.error("slot", &e);
    } else if let Err(e) = standbys(config, &mut session, findings) {
        findings.error("slot", &e);
    }
    if let Err(e) = slot::check(config, &mut session, findings) {
        findings.error("slot", &e);
    }
    if let Err(e) = publication::check_unshared(&mut session, config) {
        findings.error("publication", &e);
    }
    match publications(config, &mut session, &server, findings) {
        Ok(untracked) => {
            if let Err(e) = tables::check(config, &mut session, &untracked, findings) {
                findings.error("tables", &e);
            }
            if let Err(e) = identities::check(config, &mut session, findings) {
                findings.error("tables", &e);
            }
        }
        Err(e) => findings.error("publication", &e),
    }
    let first_start = source::slot::read_row(&mut session, &config.slot_name)
        .ok()
        .flatten()
        .and_then(|_| predecessor::check_publication(&mut session, config).err());
    Some(Source {
        identity: identity?,
        first_start,
    })
}

/// Takes a sender as the service would, and counts what is left.
fn walsender(
    config: &Config,
    session: &mut Connection,
    findings: &mut Findings,
) -> Result<Identity> {
    let mut walsender = source::open_replication(config, "UTF8")?;
    let identity = source::identify(&mut walsender)?;
    let user = &config.source.user;
    let senders = session.rows(
        "SELECT current_setting('max_wal_senders') AS max_senders, count(*) AS used FROM pg_stat_activity \
         WHERE backend_type = 'walsender'",
    )?;
    findings.ok(
        "senders",
        format!(
            "role {user} may start a walsender; {} of {} are in use, with that of this check",
            senders.value(0, "used").unwrap_or_default(),
            senders.value(0, "max_senders").unwrap_or_default()
        ),
    );
    Ok(identity)
}

/// What `SLOT_FAILOVER` asks for.
fn standbys(config: &Config, session: &mut Connection, findings: &mut Findings) -> Result<()> {
    let lack = failover::look(session, config)?;
    if lack.slot {
        let name = &config.slot_name;
        findings.warn(
            "slot",
            format!("{name} is not synchronised to standbys: zemi makes it so at its next start"),
            failover::alter(config),
        );
    }
    if lack.standby_slots {
        findings.warn("slot", failover::AHEAD, failover::AHEAD_HINT);
    }
    Ok(())
}

fn publications(
    config: &Config,
    session: &mut Connection,
    server: &Server,
    findings: &mut Findings,
) -> Result<BTreeMap<String, String>> {
    let tracked = Tracked::new(config);
    let published = publication::dry_run(session, server, config, &tracked)?;
    match published.names.as_slice() {
        [] => findings.ok(
            "publication",
            format!(
                "{} is not there yet: zemi makes it",
                config.publication_name
            ),
        ),
        names => findings.ok("publication", format!("{} found", names.join(" and "))),
    }
    if let Some(remark) = &published.remark {
        findings.ok("publication", remark.as_str());
    }
    for left_out in &published.left_out {
        findings.warn("publication", &left_out.found, &left_out.fix);
    }
    for no_match in filters::without_match(session, config)? {
        findings.warn("tables", no_match.found, no_match.fix);
    }
    for (table, fix) in &published.forbidden {
        findings.fail(
            "tables",
            format!("{table} cannot be published by this role"),
            fix,
        );
    }
    Ok(published.untracked)
}
