//! Pure: the state of the writer and its transitions.

use crate::destination::accounting::Accounting;
use crate::destination::write::Method;
use crate::error::{Error, Kind, Remedy, Result};
use crate::lsn::Lsn;
use crate::resume::StreamStart;
use crate::sqlstate;

/// Where a session's progress stands.
pub(super) trait Position {
    fn position(&self) -> Lsn;
}

/// The session and its transaction. Without a session nothing can be written, and what was written in a
/// transaction goes with it.
#[derive(Debug)]
pub(super) enum State<S> {
    /// There is no session. The progress of the next one has to stand at this position.
    Disconnected { position: Lsn },
    /// No transaction is open.
    Idle(S),
    /// The transaction of the session holds the first fragments of a source transaction.
    InTransaction { session: S, fragments: Accounting },
}

/// What there is to write a batch with.
#[derive(Debug)]
pub(super) enum ReadyTo<S> {
    /// To write: with this session, whose transaction holds these fragments.
    Write(S, Accounting),
    /// To connect first: the progress of the session has to stand at this position.
    Connect(Lsn),
}

impl<S: Position> State<S> {
    /// Where the progress stands, or stood in the last session.
    pub(super) fn position(&self) -> Lsn {
        match self {
            State::Disconnected { position } => *position,
            State::Idle(session) | State::InTransaction { session, .. } => session.position(),
        }
    }

    /// Takes the state out and leaves the one without a session: what fails before it is put back has lost
    /// its session.
    pub(super) fn take(&mut self) -> State<S> {
        let position = self.position();
        std::mem::replace(self, State::Disconnected { position })
    }

    /// What there is to write a batch with, which `continues` the transaction of the fragments before it or
    /// begins another one.
    ///
    /// # Errors
    /// The open transaction is not the one that the batch belongs to.
    pub(super) fn ready_for(self, continues: bool) -> Result<ReadyTo<S>> {
        match (self, continues) {
            (State::InTransaction { session, fragments }, true) => {
                Ok(ReadyTo::Write(session, fragments))
            }
            (State::Idle(session), false) => Ok(ReadyTo::Write(session, Accounting::default())),
            (State::Disconnected { position }, false) => Ok(ReadyTo::Connect(position)),
            (State::Idle(_) | State::Disconnected { .. }, true) => Err(Error::new(
                Kind::Transient,
                "the fragments before this one are gone",
            )),
            (State::InTransaction { .. }, false) => Err(Error::new(
                Kind::Transient,
                "a transaction of other fragments is open",
            )),
        }
    }

    /// Whether a transaction of fragments is open.
    pub(super) fn has_fragments(&self) -> bool {
        matches!(self, State::InTransaction { .. })
    }

    /// Undoes the transaction of the fragments by `rollback`, which gives the session back where it answers:
    /// a source that goes away costs no session of the destination.
    pub(super) fn without_fragments(self, rollback: impl FnOnce(S) -> Option<S>) -> State<S> {
        let position = self.position();
        match self {
            State::InTransaction { session, .. } => {
                rollback(session).map_or(State::Disconnected { position }, State::Idle)
            }
            other => other,
        }
    }

    /// The session, where no transaction is open.
    pub(super) fn idle(self) -> Option<S> {
        match self {
            State::Idle(session) => Some(session),
            State::Disconnected { .. } | State::InTransaction { .. } => None,
        }
    }
}

/// What has failed since rows became durable the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Nothing, or COPY has refused rows that are here to be written in another way.
    None { method: Method },
    /// A fragment, whose transaction is read again: that a session can be opened says little about the
    /// destination.
    ReadAgain {
        method: Method,
        /// A fragment found a table missing, which the next session makes again.
        table_missing: bool,
    },
}

impl Recovery {
    /// Nothing has failed.
    pub(super) const CLEAN: Recovery = Recovery::None {
        method: Method::Copy,
    };

    /// How the next batch is written.
    pub(super) fn method(&mut self) -> &mut Method {
        match self {
            Recovery::None { method } | Recovery::ReadAgain { method, .. } => method,
        }
    }

    /// Whether a session that was opened, or a batch that was read again, shows that the destination works.
    pub(super) fn proven(self) -> bool {
        matches!(self, Recovery::None { .. })
    }

    /// Whether a missing table was found since.
    fn table_missing(self) -> bool {
        matches!(
            self,
            Recovery::ReadAgain {
                table_missing: true,
                ..
            }
        )
    }

    /// A fragment failed.
    pub(super) fn fragment_failed(mut self, missing: bool) -> Recovery {
        Recovery::ReadAgain {
            method: *self.method(),
            table_missing: missing || self.table_missing(),
        }
    }
}

/// What to do after an attempt that failed and can be made again with what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Give up.
    Stop,
    /// Wait and try again.
    Again {
        /// A table was missing: the next session makes it again, once.
        table_missing: bool,
    },
}

/// Decides by the error; `table_missing` where an attempt before has found a table missing.
pub(super) fn retry_after(error: &Error, table_missing: bool) -> Retry {
    let missing = error.is_sqlstate(sqlstate::UNDEFINED_TABLE) && !table_missing;
    let again = error.remedy() == Remedy::Retry && error.kind() != Kind::Resync;
    if missing || again {
        let table_missing = missing || table_missing;
        return Retry::Again { table_missing };
    }
    Retry::Stop
}

/// What to do with a batch that cannot be written with what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// Give up.
    Stop,
    /// Read the stream again: other rows are needed than these.
    ReadAgain,
    /// Read it again since the fragments before this one were undone with it.
    FragmentFailed {
        /// A table was missing: the next session makes it again, once.
        table_missing: bool,
    },
}

/// Decides by the error; `fragment` where the batch is a part of a larger transaction.
pub(super) fn undelivered(error: &Error, fragment: bool, recovery: Recovery) -> Undelivered {
    let missing =
        fragment && error.is_sqlstate(sqlstate::UNDEFINED_TABLE) && !recovery.table_missing();
    match error.remedy() {
        Remedy::Stop(_) if !missing => Undelivered::Stop,
        _ if fragment && error.kind() != Kind::Resync => Undelivered::FragmentFailed {
            table_missing: missing,
        },
        _ => Undelivered::ReadAgain,
    }
}

/// What a start of the stream asks of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnStart {
    /// Nothing: this writer has asked for a later epoch since.
    Ignore,
    /// To go on.
    Continue,
    /// To ask for the stream again from where the progress stands: a batch of the epoch before was committed
    /// after the source had been asked for this one.
    AskAgain,
    /// To record a gap and move the progress behind it.
    Record,
}

/// Decides for a writer in this epoch whose progress stands at `position`.
pub(super) fn on_start(start: &StreamStart, epoch: u64, position: Lsn) -> OnStart {
    if start.epoch < epoch && start.gap.is_none() {
        return OnStart::Ignore;
    }
    if start.gap_behind(position).is_some() {
        return OnStart::Record;
    }
    if start.epoch != epoch && position > start.position {
        return OnStart::AskAgain;
    }
    OnStart::Continue
}

#[cfg(test)]
mod tests;
