//! Connecting to the destination: its settings, its identity, and that an answered COMMIT is durable.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use super::identity::{DestinationIdentity, at_destination};
use super::login::open_session;
use super::schema;
use super::tables::Tables;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::source;
use crate::threads::STACK;
use crate::wire::Connection;

/// A session and what was read of the destination.
pub(crate) struct Prepared {
    session: Connection,
    identity: DestinationIdentity,
    /// `synchronous_commit` as the startup packet left it.
    synchronous_commit: String,
    /// The tables, where they existed already.
    pub(crate) tables: Option<Tables>,
}

/// Opens a session and reads all that does not depend on the source. Changes nothing.
pub(crate) fn prepare(config: &Config) -> Result<Prepared> {
    let mut prepared = connect(config)?;
    prepared.tables = schema::look(&mut prepared.session, config)?;
    Ok(prepared)
}

/// Opens a session and makes sure that an answered COMMIT is durable, see [`ready`].
pub(crate) fn open(
    config: &Config,
    source: &SourceIdentity,
    same_cluster: Option<bool>,
) -> Result<(Connection, DestinationIdentity, bool)> {
    ready(connect(config)?, config, source, same_cluster)
}

/// Opens a session and reads the identity of the destination.
fn connect(config: &Config) -> Result<Prepared> {
    let mut session = open_session(config)?;
    let row = session.rows(
        "SELECT current_setting('server_version_num') AS version, \
         current_setting('synchronous_commit') AS synchronous_commit, \
         pg_postmaster_start_time()::text AS started, \
         has_function_privilege('pg_control_system()', 'EXECUTE') AS may_read_control, \
         pg_is_in_recovery() AS in_recovery",
    )?;
    let fact = |column| row.value(0, column);
    let version: u32 = fact("version").and_then(|v| v.parse().ok()).unwrap_or(0);
    if version < 140_000 {
        return Err(Error::new(
            Kind::Setting,
            format!("expected PostgreSQL 14 or later at the destination, found {version}"),
        ));
    }
    if fact("in_recovery") == Some("t") {
        // It may be about to be promoted.
        return Err(Error::new(
            Kind::Transient,
            "expected a primary, found a standby in recovery",
        )
        .hint("promote it by SELECT pg_promote(), or point DEST_DB_HOST to the primary"));
    }
    let mut identity = DestinationIdentity {
        system: None,
        timeline: None,
        started: fact("started").unwrap_or_default().to_owned(),
    };
    // The name of the WAL file begins with the timeline, in hexadecimal; the control file still has the
    // earlier one until the checkpoint after a promotion is done.
    let timeline = ask_if_allowed(
        &mut session,
        "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS fact",
    )?;
    identity.timeline = timeline.and_then(|t| u32::from_str_radix(&t, 16).ok());
    if fact("may_read_control") == Some("t") {
        let control = "SELECT system_identifier AS fact FROM pg_control_system()";
        identity.system = ask_if_allowed(&mut session, control)?;
    }
    // Not in the startup packet, to whose value `SET search_path TO DEFAULT` goes back: that has to be the
    // role's own where tables are looked for and made.
    session.query("SET search_path = ''")?;
    Ok(Prepared {
        session,
        identity,
        synchronous_commit: fact("synchronous_commit").unwrap_or("nothing").to_owned(),
        tables: None,
    })
}

/// Asks for a fact that only makes a message better, or shows a failover. A server may refuse the function,
/// as those that are only compatible with PostgreSQL do: then it is not known.
fn ask_if_allowed(session: &mut Connection, sql: &str) -> Result<Option<String>> {
    match session.rows(sql) {
        Ok(row) => Ok(row.value(0, "fact").map(str::to_owned)),
        Err(e) if e.is_of_statement() => {
            log::debug!("destination: {e}");
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Makes sure that an answered COMMIT is durable. Returns the session, the identity of the destination, and
/// whether that is the source's cluster: there, a commit must not wait for the synchronous standby that
/// zemi is. `same_cluster` is the answer of an earlier session.
pub(crate) fn ready(
    prepared: Prepared,
    config: &Config,
    source: &SourceIdentity,
    same_cluster: Option<bool>,
) -> Result<(Connection, DestinationIdentity, bool)> {
    let Prepared {
        mut session,
        identity,
        synchronous_commit,
        ..
    } = prepared;
    let same_cluster = match same_cluster {
        Some(known) => known,
        None => source.is_cluster(&identity, config)?,
    };
    if same_cluster {
        session.query("SET synchronous_commit = local")?;
    } else if synchronous_commit != "on" {
        return Err(Error::new(
            Kind::Setting,
            format!(
                "expected synchronous_commit = on as the startup packet asks, found {synchronous_commit}"
            ),
        )
        .hint("connect to the server itself: a pooler swallowed the setting, and commits could be lost"));
    }
    Ok((session, identity, same_cluster))
}

/// Opens a session for `zemi check`; returns with it the server's version. `source` where it is known.
///
/// # Errors
/// All that would stop the writer here.
pub(crate) fn check_session(
    config: &Config,
    source: Option<&SourceIdentity>,
) -> Result<(Connection, String)> {
    let unknown = SourceIdentity {
        system_identifier: String::new(),
        started: String::new(),
    };
    let same_cluster = source.is_none().then_some(false);
    let opened = open(config, source.unwrap_or(&unknown), same_cluster);
    let (mut session, _, _) = at_destination(opened)?;
    let row = at_destination(session.rows("SHOW server_version"))?;
    let version = row
        .value(0, "server_version")
        .unwrap_or_default()
        .to_owned();
    Ok((session, version))
}

/// The identity of the source's cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIdentity {
    /// The source's system identifier.
    pub system_identifier: String,
    /// When the source's postmaster started: a physical clone has the same identifier.
    pub started: String,
}

impl SourceIdentity {
    /// Whether this is the source's own cluster. A physical clone has the source's identifier, but its
    /// postmaster did not start at the same microsecond.
    fn is_cluster(&self, destination: &DestinationIdentity, config: &Config) -> Result<bool> {
        if destination
            .system
            .as_ref()
            .is_some_and(|s| *s != self.system_identifier)
        {
            return Ok(false);
        }
        if destination.started == self.started {
            return Ok(true);
        }
        // The source may have been restarted since it was asked.
        let mut session = source::open_session(config)?;
        Ok(source::check(&mut session)?.started == destination.started)
    }
}

/// A session that is being opened on a thread of its own.
pub struct Preconnect(Receiver<(Instant, Result<Prepared>)>);

impl Preconnect {
    /// Starts the thread.
    pub(crate) fn open(config: &Arc<Config>) -> Preconnect {
        let (tell, opening) = bounded(1);
        let config = Arc::clone(config);
        let open = move || {
            let opened = prepare(&config);
            // Without a receiver, the source has refused meanwhile.
            let _ = tell.send((Instant::now(), opened));
        };
        let thread = thread::Builder::new().name("destination".into());
        if let Err(e) = thread.stack_size(STACK).spawn(open) {
            log::debug!("cannot start a thread: {e}");
        }
        Preconnect(opening)
    }

    /// The result, once; `None` when it was taken already, or is older than [`source::FRESH`].
    pub(crate) fn take(&self) -> Option<Result<Prepared>> {
        let (ended, opened) = self.0.recv().ok()?;
        (ended.elapsed() < source::FRESH).then_some(opened)
    }
}
