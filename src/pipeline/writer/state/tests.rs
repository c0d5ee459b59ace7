//! The transitions of the writer, each in a table of its situations.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::change::{Batch, Encoding};
use crate::error::SqlState;
use crate::observe::metrics::Metrics;
use crate::resume::{Gap, GapReason, Stretch, TimelineEnd};

/// A session by its position alone.
#[derive(Debug, PartialEq, Eq)]
struct At(u64);

impl Position for At {
    fn position(&self) -> Lsn {
        Lsn(self.0)
    }
}

fn disconnected() -> State<At> {
    State::Disconnected { position: Lsn(5) }
}

fn in_transaction() -> State<At> {
    State::InTransaction {
        session: At(7),
        fragments: Accounting::default(),
    }
}

fn server(code: &str) -> Error {
    Error::server(SqlState::from_bytes(code.as_bytes()), "no")
}

#[test]
fn a_state_that_was_taken_has_lost_its_session_and_keeps_the_position() {
    for (mut state, position) in [
        (disconnected(), 5),
        (State::Idle(At(6)), 6),
        (in_transaction(), 7),
    ] {
        let taken = state.take();
        assert_eq!(taken.position(), Lsn(position));
        assert!(matches!(state, State::Disconnected { position: p } if p == Lsn(position)));
    }
}

#[test]
fn a_batch_is_written_in_the_transaction_that_it_belongs_to() {
    let ready = |state: State<At>, continues| state.ready_for(continues);
    assert!(matches!(
        ready(disconnected(), false),
        Ok(ReadyTo::Connect(Lsn(5)))
    ));
    assert!(matches!(
        ready(State::Idle(At(6)), false),
        Ok(ReadyTo::Write(At(6), _))
    ));
    assert!(matches!(
        ready(in_transaction(), true),
        Ok(ReadyTo::Write(At(7), _))
    ));
    for (state, continues) in [
        (disconnected(), true),
        (State::Idle(At(6)), true),
        (in_transaction(), false),
    ] {
        let error = ready(state, continues).unwrap_err();
        assert_eq!(error.remedy(), Remedy::Retry);
    }
}

#[test]
fn the_counts_of_fragments_stay_with_their_transaction() {
    let metrics = Metrics::default();
    let mut batch = Batch::default();
    batch.counts.insert = 3;
    let mut fragments = Accounting::default();
    fragments.fragment(&batch, Default::default(), &metrics);
    let state = State::InTransaction {
        session: At(7),
        fragments,
    };
    let Ok(ReadyTo::Write(_, fragments)) = state.ready_for(true) else {
        unreachable!("a transaction was open")
    };
    assert_eq!(metrics.inserts.get(), 0);
    fragments.committed(&batch, &metrics);
    assert_eq!(metrics.inserts.get(), 6);
}

#[test]
fn fragments_are_undone_once_and_only_in_an_open_transaction() {
    let never = |_| unreachable!("no transaction is open");
    let state = disconnected().without_fragments(never);
    assert!(matches!(state, State::Disconnected { position: Lsn(5) }));
    let state = State::Idle(At(6)).without_fragments(never);
    assert_eq!(state.idle(), Some(At(6)));
    let state = in_transaction().without_fragments(Some);
    assert_eq!(state.idle(), Some(At(7)));
    let state = in_transaction().without_fragments(|_| None);
    assert!(matches!(state, State::Disconnected { position: Lsn(7) }));
    assert_eq!(in_transaction().idle(), None);
}

#[test]
fn a_failed_fragment_keeps_the_method_and_what_was_missing_until_rows_are_durable() {
    let mut recovery = Recovery::CLEAN;
    assert!(recovery.proven());
    assert_eq!(*recovery.method(), Method::Copy);
    *recovery.method() = Method::Fallback;
    assert!(recovery.proven());
    for (missing, known) in [(false, false), (true, true), (false, true)] {
        recovery = recovery.fragment_failed(missing);
        assert!(!recovery.proven());
        assert_eq!(*recovery.method(), Method::Fallback);
        assert_eq!(recovery.table_missing(), known, "{missing}");
    }
    let mut recovery = Recovery::CLEAN.fragment_failed(true);
    assert_eq!(*recovery.method(), Method::Copy);
}

#[test]
fn an_attempt_is_made_again_where_that_can_mend_it() {
    let again = |table_missing| Retry::Again { table_missing };
    for (error, missing, expected) in [
        (server("57P01"), false, again(false)),
        (server("53100"), true, again(true)),
        (Error::new(Kind::Transient, "gone"), false, again(false)),
        (server("42P01"), false, again(true)),
        (server("42P01"), true, Retry::Stop),
        (server("42501"), false, Retry::Stop),
        (Error::new(Kind::Resync, "moved"), false, Retry::Stop),
        (Error::new(Kind::Setting, "bad"), false, Retry::Stop),
    ] {
        assert_eq!(retry_after(&error, missing), expected, "{error}, {missing}");
    }
}

#[test]
fn a_batch_that_cannot_be_written_is_read_again_unless_a_person_has_to_act() {
    let failed = |table_missing| Undelivered::FragmentFailed { table_missing };
    let resync = || Error::new(Kind::Resync, "moved");
    let missing_before = Recovery::CLEAN.fragment_failed(true);
    for (error, fragment, recovery, expected) in [
        (resync(), false, Recovery::CLEAN, Undelivered::ReadAgain),
        (resync(), true, Recovery::CLEAN, Undelivered::ReadAgain),
        (server("57P01"), true, Recovery::CLEAN, failed(false)),
        (server("23505"), true, Recovery::CLEAN, failed(false)),
        (server("42P01"), true, Recovery::CLEAN, failed(true)),
        (server("42P01"), true, missing_before, Undelivered::Stop),
        (server("42P01"), false, Recovery::CLEAN, Undelivered::Stop),
        (server("42501"), true, Recovery::CLEAN, Undelivered::Stop),
        (
            Error::new(Kind::Stopped, "stopped"),
            false,
            Recovery::CLEAN,
            Undelivered::Stop,
        ),
    ] {
        let found = undelivered(&error, fragment, recovery);
        assert_eq!(found, expected, "{error}, {fragment}");
    }
}

#[test]
fn a_start_is_ignored_followed_asked_for_again_or_recorded() {
    let gone = Stretch::new(Lsn(1), Lsn(40), 1);
    let gone = gone.map(|unknown| Gap::unknown(unknown, GapReason::SlotGone));
    // Epoch and position of the start, its gap, the end of the timeline before. The writer is in epoch 3 at
    // position 50.
    for (epoch, position, gap, switch, expected) in [
        (3, 50, None, None, OnStart::Continue),
        (3, 40, None, None, OnStart::Continue),
        (4, 50, None, None, OnStart::Continue),
        (4, 60, None, None, OnStart::Continue),
        (4, 40, None, None, OnStart::AskAgain),
        (2, 50, None, None, OnStart::Ignore),
        (2, 40, None, Some(45), OnStart::Ignore),
        (2, 40, gone.clone(), None, OnStart::Record),
        (4, 40, gone, Some(45), OnStart::Record),
        (4, 45, None, Some(45), OnStart::Record),
        (3, 45, None, Some(45), OnStart::Record),
        (4, 50, None, Some(50), OnStart::Continue),
    ] {
        let start = StreamStart {
            epoch,
            position: Lsn(position),
            timeline: 2,
            left: switch.map(|end| TimelineEnd {
                timeline: 1,
                end: Lsn(end),
                at_most: false,
            }),
            gap,
            encoding: Encoding::Utf8,
            limit: None,
        };
        assert_eq!(on_start(&start, 3, Lsn(50)), expected, "{start:?}");
    }
}
