//! Pure: the form in which the walsender is asked for values, and how long it is another one than usual.
//!
//! The walsender fails at the same change each time where it cannot send a text in UTF-8 or a row as text.
//! Then it is asked for another form, until the transaction of that change is durable.

use std::time::{Duration, Instant};

use crate::change::ClientEncoding;
use crate::error::{Error, Kind};
use crate::lsn::Lsn;
use crate::source::{self, message::XLogData};
use crate::sqlstate;

/// A change that needs the stored form again within this time after the last one: the next is not far.
const SOON: Duration = Duration::from_secs(600);

/// The stay in the stored form is at least so long then, and twice as long each time.
const FIRST_STAY: Duration = Duration::from_secs(60);

/// The longest such stay.
const LONGEST_STAY: Duration = Duration::from_secs(3600);

/// What the walsender is asked to send values in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StreamForm {
    /// The encoding of texts.
    pub encoding: ClientEncoding,
    /// Values in binary, where their type has a send function: text that is longer than 1 GB cannot be sent.
    pub binary: bool,
}

/// What an error says of the form.
#[derive(Debug)]
pub(super) enum Judged {
    /// Nothing.
    Unrelated(Error),
    /// The next connection asks for another form.
    Another(Error),
    /// No form can send this change.
    Impossible(Error),
}

/// The form of the next connection, and what it waits for where that is not the usual one.
#[derive(Debug, Default)]
pub(super) struct Detour {
    form: StreamForm,
    /// The change that could not be sent, where the walsender told.
    failed_at: Option<Lsn>,
    /// Where WAL ended when this form was first asked for: the change is not behind it.
    known_end: Option<Lsn>,
    reached: Reached,
    stay: Duration,
    stay_until: Option<Instant>,
    returned_at: Option<Instant>,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reached {
    /// The change has not come yet.
    #[default]
    Nothing,
    /// It has, its transaction is open.
    Change,
    /// Its transaction ends here.
    End(Lsn),
}

impl Detour {
    /// The form to ask for, where everything before `durable` is written.
    pub(super) fn form(&mut self, durable: Lsn, now: Instant) -> StreamForm {
        if self.is_over(durable, now) {
            self.end(now);
        }
        self.form
    }

    /// Notes that a stream starts, and where WAL ends then.
    pub(super) fn streams(&mut self, wal_end: Lsn) {
        if self.form == StreamForm::default() {
            return;
        }
        self.known_end.get_or_insert(wal_end);
        if self.reached == Reached::Change {
            self.reached = Reached::Nothing;
        }
    }

    /// Whether the stream has another form than the usual one.
    pub(super) fn is_under_way(&self) -> bool {
        self.form != StreamForm::default()
    }

    /// Notes a message of the stream.
    pub(super) fn message(&mut self, data: &XLogData<'_>) {
        match (self.reached, data.payload) {
            // Commit: flags, the position of the commit, its end, its time ("Logical Replication Message
            // Formats").
            (Reached::Change, [b'C', _flags, rest @ ..]) => {
                let end = rest.get(8..).and_then(<[u8]>::first_chunk);
                self.reached = end.map_or(Reached::Nothing, |end| {
                    Reached::End(Lsn(u64::from_be_bytes(*end)))
                });
            }
            (Reached::Nothing, _) if self.failed_at == Some(data.start) => {
                self.reached = Reached::Change;
            }
            _ => {}
        }
    }

    /// Whether the usual form will do from now on.
    pub(super) fn is_over(&self, durable: Lsn, now: Instant) -> bool {
        let stays = self.stay_until.is_some_and(|until| now < until);
        let behind = matches!(self.reached, Reached::End(end) if durable >= end)
            || self.known_end.is_some_and(|end| durable >= end);
        self.is_under_way() && behind && !stays
    }

    fn end(&mut self, now: Instant) {
        *self = Detour {
            stay: self.stay,
            returned_at: Some(now),
            ..Detour::default()
        };
    }

    /// Takes note of the error that ended a stream, or an attempt at one.
    pub(super) fn judge(&mut self, error: Error, now: Instant) -> Judged {
        let before = self.form;
        if source::is_unconvertible(&error) {
            self.form.encoding = ClientEncoding::AsStored;
        } else if is_too_long(&error) {
            if before.binary {
                return Judged::Impossible(impossible(&error));
            }
            self.form.binary = true;
        } else {
            return Judged::Unrelated(error);
        }
        if self.form == before {
            return Judged::Unrelated(error);
        }
        self.failed_at = error.wal_position();
        self.reached = Reached::Nothing;
        self.known_end = None;
        self.stay_until = self.next_stay(now);
        Judged::Another(error)
    }

    /// Texts in the stored form are the same ones, only more work: a database with many that cannot be
    /// converted is not connected to anew for each. Values in binary are much more work.
    fn next_stay(&mut self, now: Instant) -> Option<Instant> {
        let soon = |at: Instant| now.saturating_duration_since(at) < SOON;
        if self.form.binary || !self.returned_at.is_some_and(soon) {
            self.stay = Duration::ZERO;
            return None;
        }
        self.stay = (self.stay * 2).clamp(FIRST_STAY, LONGEST_STAY);
        now.checked_add(self.stay)
    }
}

/// Whether the walsender failed because a value or a row in its memory would pass 1 GB: `palloc` says so by
/// an internal error (`mcxt.c`), `enlargeStringInfo` by 54000 (`stringinfo.c`). A position tells that the
/// output plugin was at work.
fn is_too_long(error: &Error) -> bool {
    let is_alloc = || {
        error.is_sqlstate(sqlstate::INTERNAL_ERROR)
            && error
                .message()
                .contains("invalid memory alloc request size")
    };
    error.wal_position().is_some()
        && (error.is_sqlstate(sqlstate::PROGRAM_LIMIT_EXCEEDED) || is_alloc())
}

/// The end of the stream at a change that no form can bring.
fn impossible(error: &Error) -> Error {
    let at = error.wal_position().unwrap_or_default();
    let message = format!(
        "the source cannot send the change at {at}: expected a row of at most 1 GB, found one that is longer \
         both as text and in binary: {}",
        error.without_hint()
    );
    Error::new(Kind::Transient, message).hint(
        "no logical decoding can read past it. Everything before it is written. To give it up, with all \
         other changes from there to now: SELECT pg_replication_slot_advance(slot_name, \
         pg_current_wal_lsn()) on the source, with the name in SLOT_NAME; the next start of zemi records \
         them as a gap",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::error::{Remedy, SqlState};

    const USUAL: StreamForm = StreamForm {
        encoding: ClientEncoding::Utf8,
        binary: false,
    };
    const STORED: StreamForm = StreamForm {
        encoding: ClientEncoding::AsStored,
        binary: false,
    };

    fn failure(code: &str, message: &str, lsn: u64) -> Error {
        let error = Error::server(SqlState::from_bytes(code.as_bytes()), message);
        match lsn {
            0 => error,
            lsn => error.at_wal(Lsn(lsn)),
        }
    }

    fn unconvertible(lsn: u64) -> Error {
        failure("22P05", "x", lsn)
    }

    fn too_long(lsn: u64) -> Error {
        failure("XX000", "invalid memory alloc request size 1200000003", lsn)
    }

    /// A message with this payload, as it starts.
    fn message(detour: &mut Detour, start: u64, payload: &[u8]) {
        detour.message(&XLogData {
            start: Lsn(start),
            wal_end: Lsn(0),
            payload,
        });
    }

    /// A transaction of one change at `change`, which ends at `end`.
    fn transaction(detour: &mut Detour, change: u64, end: u64) {
        message(detour, change, b"B");
        message(detour, 0, b"R");
        message(detour, change, b"I");
        let commit = [b"C\0".as_slice(), &[0; 8], &end.to_be_bytes(), &[0; 8]].concat();
        message(detour, end, &commit);
    }

    #[test]
    fn the_form_is_another_one_until_the_transaction_of_the_change_is_durable() {
        let now = Instant::now();
        let mut detour = Detour::default();
        assert!(matches!(
            detour.judge(unconvertible(10), now),
            Judged::Another(_)
        ));
        assert_eq!(detour.form(Lsn(5), now), STORED);
        detour.streams(Lsn(100));
        // Transactions come by their commits: the one before has later changes and an earlier end.
        transaction(&mut detour, 12, 20);
        assert!(!detour.is_over(Lsn(20), now));
        transaction(&mut detour, 10, 30);
        for (durable, over) in [(29, false), (30, true)] {
            assert_eq!(detour.is_over(Lsn(durable), now), over, "{durable}");
        }
        assert_eq!(detour.form(Lsn(29), now), STORED);
        assert_eq!(detour.form(Lsn(30), now), USUAL);
        assert!(!detour.is_under_way() && !detour.is_over(Lsn(99), now));
    }

    #[test]
    fn a_connection_that_is_lost_in_the_transaction_begins_it_again() {
        let now = Instant::now();
        let mut detour = Detour::default();
        detour.judge(unconvertible(10), now);
        detour.streams(Lsn(100));
        message(&mut detour, 10, b"I");
        detour.streams(Lsn(110));
        transaction(&mut detour, 12, 20);
        assert!(!detour.is_over(Lsn(20), now));
        transaction(&mut detour, 10, 30);
        // The position of the end is known, whatever becomes of the connection.
        detour.streams(Lsn(120));
        assert!(detour.is_over(Lsn(30), now));
    }

    #[test]
    fn without_a_position_the_end_of_wal_of_then_is_waited_for() {
        let now = Instant::now();
        for lsn in [0, 10] {
            let mut detour = Detour::default();
            detour.judge(unconvertible(lsn), now);
            detour.streams(Lsn(100));
            detour.streams(Lsn(200));
            transaction(&mut detour, 50, 60);
            assert!(!detour.is_over(Lsn(99), now));
            assert!(detour.is_over(Lsn(100), now), "{lsn}");
        }
    }

    #[test]
    fn a_row_that_is_too_long_as_text_comes_in_binary_and_one_that_is_then_ends_the_stream() {
        let now = Instant::now();
        let mut detour = Detour::default();
        let limit = failure("54000", "string buffer exceeds maximum allowed length", 10);
        assert!(matches!(detour.judge(limit, now), Judged::Another(_)));
        assert!(detour.form(Lsn(5), now).binary);
        // It may hold text that cannot be converted as well.
        assert!(matches!(
            detour.judge(unconvertible(10), now),
            Judged::Another(_)
        ));
        let both = StreamForm {
            binary: true,
            ..STORED
        };
        assert_eq!(detour.form(Lsn(5), now), both);
        let Judged::Impossible(error) = detour.judge(too_long(0x1A), now) else {
            panic!("expected the end");
        };
        let text = error.to_string();
        assert!(
            text.contains("the change at 0/1A") && text.contains("pg_replication_slot_advance")
        );
        assert_eq!(error.remedy(), Remedy::Retry);
    }

    #[test]
    fn other_errors_say_nothing_of_the_form() {
        let now = Instant::now();
        for error in [
            failure("53200", "out of memory", 10),
            failure("XX000", "could not open relation", 10),
            // Not of the output plugin.
            too_long(0),
            Error::new(Kind::Transient, "closed"),
        ] {
            let mut detour = Detour::default();
            assert!(matches!(detour.judge(error, now), Judged::Unrelated(_)));
            assert_eq!(detour.form(Lsn(5), now), USUAL);
        }
        let mut detour = Detour::default();
        detour.judge(unconvertible(10), now);
        let again = detour.judge(unconvertible(10), now);
        assert!(matches!(again, Judged::Unrelated(_)), "{again:?}");
    }

    #[test]
    fn a_database_with_many_such_texts_is_not_connected_to_for_each_of_them() {
        let began = Instant::now();
        let mut detour = Detour::default();
        let mut now = began;
        let mut durable = 10;
        for stay in [0, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            detour.judge(unconvertible(durable), now);
            detour.streams(Lsn(durable + 90));
            transaction(&mut detour, durable, durable + 5);
            let end = Lsn(durable + 5);
            if stay > 0 {
                let before = now + Duration::from_secs(stay - 1);
                assert!(!detour.is_over(end, before), "{stay}");
            }
            now += Duration::from_secs(stay);
            assert_eq!(detour.form(end, now), USUAL, "{stay}");
            durable += 100;
        }
        // A rare one is over as soon as it is behind.
        now += SOON;
        detour.judge(unconvertible(durable), now);
        detour.streams(Lsn(durable + 90));
        transaction(&mut detour, durable, durable + 5);
        assert!(detour.is_over(Lsn(durable + 5), now));
    }
}
