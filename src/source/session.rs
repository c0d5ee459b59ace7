//! Sessions with the source.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::stored;
use crate::config::Config;
use crate::error::{At, Result};
use crate::sqlstate;
use crate::threads::STACK;
use crate::wire::session_settings::{set_version_dependent, startup};
use crate::wire::{Connection, ResultSet, identifier, with_login_hint};

/// `application_name` of every session on the source, which `synchronous_standby_names` may hold.
pub(crate) const APPLICATION: &str = "zemi";

/// Settings of every session on the source, beside those of every session at all. A walsender prints by
/// some of them, and casts to json that an ordinary session is asked for have to be computed by the same.
/// PostgreSQL 18 says by a warning that a publication is missing.
///
/// `synchronous_commit=local`: see [`IS_STANDBY`].
const SESSION: [(&str, &str); 6] = [
    ("application_name", APPLICATION),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("client_min_messages", "warning"),
    ("synchronous_commit", "local"),
];

/// How long a session waits for an answer. A host in between may answer for a server that is gone (a proxy, a
/// tunnel), and a server's process may hang: TCP notices neither. Most questions take milliseconds; see
/// [`patiently`] for one that may take hours.
pub(crate) const ANSWER: Duration = Duration::from_secs(120);

/// Runs a statement that may wait for transactions of the application, however long these take.
///
/// # Errors
/// The source's connection.
pub(crate) fn patiently(session: &mut Connection, sql: &str) -> Result<ResultSet> {
    session.set_read_timeout(None)?;
    let answer = session.rows(sql);
    session.set_read_timeout(Some(ANSWER))?;
    answer
}

/// Settings of a walsender of the database. Its time limit is longer than the interval of zemi's status
/// updates, whatever the server's own limit is.
const WALSENDER: [(&str, &str); 3] = [
    ("replication", "database"),
    ("search_path", ""),
    ("wal_sender_timeout", "60s"),
];

/// In a database of encoding SQL_ASCII texts and names may hold any bytes: none are converted, and the server
/// would refuse to send those that are not UTF-8.
const STORED_IN_SQL_ASCII: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
     WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'";

macro_rules! is_standby {
    () => {
        "pg_catalog.current_setting('synchronous_standby_names') OPERATOR(pg_catalog.~*) \
         '(^|[[:space:],(])(\"zemi\"|zemi|[*]|\"[*]\")($|[[:space:],)])'"
    };
}

macro_rules! commit_for_others {
    () => {
        concat!(
            "pg_catalog.set_config('synchronous_commit', CASE WHEN \
             pg_catalog.current_setting('synchronous_standby_names') = '' OR ",
            is_standby!(),
            " THEN 'local' ELSE 'on' END, true)"
        )
    };
}

/// An SQL condition: whether commits of this cluster wait for a standby called [`APPLICATION`]. By the
/// setting and not by `pg_stat_replication`, whose columns are NULL without `pg_read_all_stats`, and which
/// calls a walsender that has yet to catch up `potential`. Names are compared regardless of case, and `*` is
/// every name (PostgreSQL documentation, "Replication").
pub(crate) const IS_STANDBY: &str = is_standby!();

/// An SQL expression: makes the commit of this transaction wait for the synchronous standbys of this cluster
/// unless zemi is one of them, for whose confirmation it would wait. Without any it is `local` as well: a
/// session goes by the setting as it was when its client sent the statements.
pub(crate) const COMMIT_FOR_OTHERS: &str = commit_for_others!();

/// Begins a transaction of DDL: under the role's own search path, by which functions of event triggers may
/// name theirs without a schema.
pub(crate) const BEGIN_DDL: &str = concat!(
    "BEGIN; SET LOCAL search_path TO DEFAULT; SELECT ",
    commit_for_others!()
);

/// Opens an ordinary session.
///
/// # Errors
/// As for [`Connection::open`], with what to do about it.
pub fn open_session(config: &Config) -> Result<Connection> {
    let open = || {
        let opened = Connection::open(&config.source, &startup(&SESSION), config.connect_timeout);
        let mut session = opened.map_err(|e| with_login_hint(e, &config.source, "DB"))?;
        session.answer_unconvertible_by(stored::query);
        // The search path is not in the startup packet, so that `SET search_path TO DEFAULT` gives the role's
        // own.
        session.query("SET search_path = ''")?;
        session.query(STORED_IN_SQL_ASCII)?;
        set_version_dependent(&mut session)?;
        session.set_read_timeout(Some(ANSWER))?;
        Ok(session)
    };
    open().at(|| "source".into())
}

/// Ends the wait of zemi's own commits for zemi itself: of those whose statements were sent before it became
/// a synchronous standby, see [`COMMIT_FOR_OTHERS`]. They are committed all the same.
///
/// # Errors
/// The source's connection.
pub(crate) fn release_own_commits(session: &mut Connection) -> Result<()> {
    let released = session.rows(&format!(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {IS_STANDBY} AND wait_event = 'SyncRep' \
         AND application_name = '{APPLICATION}' AND usename = current_user"
    ))?;
    if !released.rows.is_empty() {
        log::warn!(
            "synchronous_standby_names has come to hold zemi: ended the wait of zemi's own commit for it"
        );
    }
    Ok(())
}

/// Ends the wait of a COMMIT for zemi, for which zemi's walsender waits in turn: to print a value of a
/// composite type, it needs a lock on the type that the transaction holds which made it
/// (`lookup_rowtype_tupdesc`, `typcache.c`). Where zemi's role may not end it, the statement that does is
/// logged, once a session.
///
/// # Errors
/// The source's connection.
pub(crate) fn release_walsender(
    session: &mut Connection,
    warned: &mut BTreeSet<String>,
) -> Result<()> {
    let holders = session.rows(&format!(
        "SELECT a.pid, a.wait_event FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) holder \
         JOIN pg_stat_activity a ON a.pid = holder WHERE {IS_STANDBY} AND w.wait_event_type = 'Lock' \
         AND w.backend_type = 'walsender' AND w.application_name = '{APPLICATION}' \
         AND w.usename = current_user"
    ))?;
    for row in 0..holders.rows.len() {
        let pid = holders.value(row, "pid").unwrap_or_default();
        // Hidden from a role without pg_read_all_stats.
        let wait = holders.value(row, "wait_event");
        if wait.is_some_and(|wait| wait != "SyncRep") {
            continue;
        }
        let cancel = format!("SELECT pg_cancel_backend({pid})");
        let waits = format!(
            "the walsender waits for a composite type that the transaction of pid {pid} made, and its COMMIT \
             for zemi as its synchronous standby"
        );
        let ended = wait.is_some() && session.query(&cancel).is_ok();
        if ended {
            log::warn!("{waits}: ended the wait of that COMMIT, which holds all the same");
        } else if warned.insert(format!("w{pid}")) {
            log::error!("{waits}. Hint: {cancel}; it holds all the same");
        }
    }
    Ok(())
}

/// Opens a session on a walsender of the database, with values in this encoding.
///
/// # Errors
/// As for [`Connection::open`], with what to do about it.
pub(crate) fn open_replication(config: &Config, encoding: &str) -> Result<Connection> {
    let mut own = [SESSION.as_slice(), &WALSENDER].concat();
    own.push(("client_encoding", encoding));
    let opened = Connection::open(&config.source, &startup(&own), config.connect_timeout);
    opened
        .map_err(|e| {
            if e.is_sqlstate(sqlstate::INSUFFICIENT_PRIVILEGE)
                || e.is_sqlstate(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION)
            {
                return e.hint(format!(
                    "ALTER ROLE {} REPLICATION; and allow the role in pg_hba.conf",
                    identifier(&config.source.user)
                ));
            }
            if e.is_sqlstate(sqlstate::TOO_MANY_CONNECTIONS) {
                return e.hint("raise max_wal_senders on the source");
            }
            with_login_hint(e, &config.source, "DB")
        })
        .and_then(|mut session| {
            session.query(STORED_IN_SQL_ASCII)?;
            set_version_dependent(&mut session)?;
            session.set_read_timeout(Some(ANSWER))?;
            Ok(session)
        })
        .at(|| "source".into())
}

/// How long a session that was not used yet counts as a new one.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// An ordinary session and one on a walsender.
pub struct SourceSessions {
    /// The ordinary one.
    pub(crate) session: Connection,
    /// The one on a walsender.
    pub(crate) walsender: Connection,
    opened: Instant,
}

impl SourceSessions {
    /// Opens both side by side, which takes as long as one: most of it is waiting.
    ///
    /// # Errors
    /// The first of [`open_session`], else that of [`open_replication`].
    pub(crate) fn open(config: &Config, encoding: &str) -> Result<SourceSessions> {
        let (session, walsender) = thread::scope(|scope| {
            let walsender = thread::Builder::new()
                .name("walsender".into())
                .stack_size(STACK)
                .spawn_scoped(scope, || open_replication(config, encoding));
            let session = open_session(config);
            let walsender = walsender.map(|thread| thread.join());
            (session, walsender)
        });
        Ok(SourceSessions {
            session: session?,
            walsender: match walsender {
                Ok(Ok(opened)) => opened?,
                // No thread could be started, or it ended without a result.
                _ => open_replication(config, encoding)?,
            },
            opened: Instant::now(),
        })
    }

    /// Whether they were opened less than [`FRESH`] ago.
    pub(crate) fn is_fresh(&self) -> bool {
        self.opened.elapsed() < FRESH
    }
}
