//! Pure: what one connection finds out that the next start of the stream depends on.

use crate::error::{Error, Kind};
use crate::lsn::Lsn;
use crate::resume::Gap;
use crate::sqlstate;

/// What earlier connections found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Which publications exist at the WAL that comes next.
    pub publications: PublicationNames,
    /// A gap that was found and not yet handed to the decoder.
    pub gap: Option<Gap>,
}

impl Findings {
    /// Notes that the decoder has a start that takes all of it into account.
    pub(super) fn handed_on(&mut self) {
        self.gap = None;
        if self.publications.are_gone() {
            self.publications = PublicationNames::All;
        }
    }
}

/// Which of the publications are named in START_REPLICATION. A walsender reads them in the catalog as it was
/// at the WAL that it decodes, and fails where one did not exist yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PublicationNames {
    /// All.
    #[default]
    All,
    /// The second one did not exist when the WAL before this position was written.
    FirstUntil(Lsn),
    /// The first one did not exist either: the WAL up to its creation cannot be decoded.
    Gone,
}

impl PublicationNames {
    /// How many of the names a stream that starts at `position` has, at most.
    pub(super) fn count_from(&mut self, position: Lsn) -> usize {
        if self.first_is_over(position) {
            *self = PublicationNames::All;
        }
        match self {
            PublicationNames::FirstUntil(_) => 1,
            PublicationNames::All | PublicationNames::Gone => usize::MAX,
        }
    }

    /// Whether the WAL that comes next cannot be decoded.
    pub(super) fn are_gone(self) -> bool {
        self == PublicationNames::Gone
    }

    /// Whether the stream, durable up to `position`, has reached WAL in which both exist.
    pub(super) fn first_is_over(self, position: Lsn) -> bool {
        matches!(self, PublicationNames::FirstUntil(until) if position >= until)
    }

    /// Notes the error that ended the stream; where a publication is missing, the next start takes that into
    /// account. `wal_end` is where the source's WAL ended when the stream started: all publications existed.
    pub(super) fn note(&mut self, error: Error, wal_end: Lsn) -> Error {
        if !error.is_sqlstate(sqlstate::UNDEFINED_OBJECT) {
            return error;
        }
        *self = match self {
            PublicationNames::FirstUntil(_) => PublicationNames::Gone,
            PublicationNames::All | PublicationNames::Gone => PublicationNames::FirstUntil(wal_end),
        };
        error.as_kind(Kind::Transient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Remedy, SqlState};
    use crate::resume::GapReason;

    fn missing() -> Error {
        let code = SqlState::from_bytes(sqlstate::UNDEFINED_OBJECT.as_bytes());
        Error::server(code, "publication \"x\" does not exist")
    }

    #[test]
    fn without_the_second_publication_the_first_is_named_and_then_none_is_left() {
        let mut names = PublicationNames::default();
        let error = names.note(missing(), Lsn(50));
        assert_eq!(error.remedy(), Remedy::Retry);
        assert_eq!(names, PublicationNames::FirstUntil(Lsn(50)));
        assert_eq!(names.count_from(Lsn(49)), 1);
        names.note(missing(), Lsn(60));
        assert!(names.are_gone());
        assert!(names.count_from(Lsn(0)) > 2);
    }

    #[test]
    fn both_are_named_from_where_both_exist() {
        let mut names = PublicationNames::FirstUntil(Lsn(50));
        assert!(!names.first_is_over(Lsn(49)));
        assert!(names.first_is_over(Lsn(50)));
        assert!(names.count_from(Lsn(50)) > 2);
        assert_eq!(names, PublicationNames::All);
        assert!(!names.first_is_over(Lsn(51)));
    }

    #[test]
    fn a_start_that_was_handed_on_leaves_only_the_first_name() {
        let gone = PublicationNames::Gone;
        let first = PublicationNames::FirstUntil(Lsn(50));
        for (before, after) in [(gone, PublicationNames::All), (first, first)] {
            let mut findings = Findings {
                publications: before,
                gap: Some(Gap {
                    from: Lsn(1),
                    to: Lsn(2),
                    reason: GapReason::PublicationGone,
                }),
            };
            findings.handed_on();
            assert_eq!((findings.publications, findings.gap), (after, None));
        }
    }

    #[test]
    fn another_error_changes_nothing() {
        let mut names = PublicationNames::FirstUntil(Lsn(50));
        let error = names.note(Error::new(Kind::Busy, "x"), Lsn(60));
        assert_eq!(error.kind(), Kind::Busy);
        assert_eq!(names, PublicationNames::FirstUntil(Lsn(50)));
    }
}
