//! Pure: what one connection finds out that the next start of the stream depends on.

use super::detour::Detour;
use super::silence::Silence;
use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;
use crate::resume::Gap;
use crate::sqlstate;

/// What earlier connections found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Which publications exist at the WAL that comes next.
    pub publications: PublicationNames,
    /// The form in which values are asked for.
    pub detour: Detour,
    /// A gap that was found and not yet handed to the decoder.
    pub gap: Option<Gap>,
    /// How long the source may be silent.
    pub silence: Silence,
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
/// at the WAL that it decodes, and fails where one did not exist yet, or where two disagreed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PublicationNames {
    /// All.
    #[default]
    All,
    /// The second one cannot be named in the WAL that comes next. Where that ends is asked at the next start.
    First,
    /// The second one is not named in the WAL before this position.
    FirstUntil(Lsn),
    /// The first one did not exist either: the WAL up to its creation cannot be decoded.
    Gone,
}

/// The publications of a stream that is about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// How many of the names the stream has, at most.
    pub count: usize,
    /// Where the stream has to end, because more can be named from there on.
    pub limit: Option<Lsn>,
    /// The limit was set just now: what the second one alone publishes is lost up to there.
    pub is_new: bool,
}

impl PublicationNames {
    /// What a stream that starts at `position` names. `wal_end` tells where the WAL ends after the
    /// publications were brought in line.
    ///
    /// # Errors
    /// Those of `wal_end`.
    pub(super) fn name_from(
        &mut self,
        position: Lsn,
        wal_end: impl FnOnce() -> Result<Lsn>,
    ) -> Result<Named> {
        let is_new = *self == PublicationNames::First;
        if is_new {
            *self = PublicationNames::FirstUntil(wal_end()?);
        }
        let limit = match *self {
            PublicationNames::FirstUntil(until) if position < until => Some(until),
            PublicationNames::FirstUntil(_) => {
                *self = PublicationNames::All;
                None
            }
            _ => None,
        };
        Ok(Named {
            count: limit.map_or(usize::MAX, |_| 1),
            limit,
            is_new: is_new && limit.is_some(),
        })
    }

    /// Whether the WAL that comes next cannot be decoded.
    pub(super) fn are_gone(self) -> bool {
        self == PublicationNames::Gone
    }

    /// Whether the stream, durable up to `position`, has reached WAL in which both exist.
    pub(super) fn first_is_over(self, position: Lsn) -> bool {
        matches!(self, PublicationNames::FirstUntil(until) if position >= until)
    }

    /// Notes the error that ended the stream. Where a publication is missing, or where two disagree on the
    /// columns of a table (0A000, `pgoutput_column_list_init` and `check_and_init_gencol` in `pgoutput.c`),
    /// the next start takes that into account.
    pub(super) fn note(&mut self, error: Error) -> Error {
        let is_missing = error.is_sqlstate(sqlstate::UNDEFINED_OBJECT);
        let disagree = error.is_sqlstate(sqlstate::FEATURE_NOT_SUPPORTED);
        *self = match self {
            PublicationNames::All | PublicationNames::Gone if is_missing || disagree => {
                PublicationNames::First
            }
            PublicationNames::First | PublicationNames::FirstUntil(_) if is_missing => {
                PublicationNames::Gone
            }
            _ => return error,
        };
        error.as_kind(Kind::Transient)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::{Remedy, SqlState};
    use crate::resume::{GapReason, Stretch};

    fn missing() -> Error {
        let code = SqlState::from_bytes(sqlstate::UNDEFINED_OBJECT.as_bytes());
        Error::server(code, "publication \"x\" does not exist")
    }

    fn named(names: &mut PublicationNames, position: u64, end: u64) -> Named {
        names.name_from(Lsn(position), || Ok(Lsn(end))).unwrap()
    }

    #[test]
    fn without_the_second_publication_the_first_is_named_and_then_none_is_left() {
        let mut names = PublicationNames::default();
        let error = names.note(missing());
        assert_eq!(error.remedy(), Remedy::Retry);
        let alone = |is_new| Named {
            count: 1,
            limit: Some(Lsn(50)),
            is_new,
        };
        assert_eq!(named(&mut names, 49, 50), alone(true));
        // The end of WAL is asked for once: what lies behind it has both.
        assert_eq!(named(&mut names, 49, 70), alone(false));
        names.note(missing());
        assert!(names.are_gone());
        assert_eq!(named(&mut names, 0, 90).limit, None);
    }

    #[test]
    fn publications_that_disagreed_leave_the_first_alone_to_be_named() {
        let mut names = PublicationNames::default();
        let code = SqlState::from_bytes(sqlstate::FEATURE_NOT_SUPPORTED.as_bytes());
        let disagree = || Error::server(code, "cannot use different column lists");
        assert_eq!(names.note(disagree()).remedy(), Remedy::Retry);
        assert_eq!(named(&mut names, 10, 50).count, 1);
        // Not a matter of the publications then.
        assert_ne!(names.note(disagree()).remedy(), Remedy::Retry);
        assert_eq!(names, PublicationNames::FirstUntil(Lsn(50)));
    }

    #[test]
    fn both_are_named_from_where_both_exist() {
        let mut names = PublicationNames::FirstUntil(Lsn(50));
        assert!(!names.first_is_over(Lsn(49)));
        assert!(names.first_is_over(Lsn(50)));
        assert!(named(&mut names, 50, 70).count > 2);
        assert_eq!(names, PublicationNames::All);
        assert!(!names.first_is_over(Lsn(51)));
        // Nothing was written in between.
        let mut names = PublicationNames::First;
        let all = named(&mut names, 70, 70);
        assert_eq!((all.limit, all.is_new), (None, false));
    }

    #[test]
    fn a_start_that_was_handed_on_leaves_only_the_first_name() {
        let gone = PublicationNames::Gone;
        let first = PublicationNames::FirstUntil(Lsn(50));
        for (before, after) in [(gone, PublicationNames::All), (first, first)] {
            let mut findings = Findings {
                publications: before,
                gap: Stretch::new(Lsn(1), Lsn(2), 1)
                    .map(|unknown| Gap::unknown(unknown, GapReason::PublicationGone)),
                ..Findings::default()
            };
            findings.handed_on();
            assert_eq!((findings.publications, findings.gap), (after, None));
        }
    }

    #[test]
    fn another_error_changes_nothing() {
        let mut names = PublicationNames::FirstUntil(Lsn(50));
        let error = names.note(Error::new(Kind::Busy, "x"));
        assert_eq!(error.kind(), Kind::Busy);
        assert_eq!(names, PublicationNames::FirstUntil(Lsn(50)));
    }
}
