//! Pure: whether changes of a table are missing that was published late.

use super::counters::Counters;
use crate::resume::MissingChanges;

/// The operations of [`Counters`].
const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

/// What was known of a table when it was published, and its counters then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was made since the look before: it had no counters then.
    New,
    /// It was seen unpublished, with these counters.
    Unpublished(Counters),
    /// It was published once and somebody took it out: what its counters held then is not known.
    TakenOut,
    /// It is older than all that this process knows.
    Unknown,
}

/// What is known of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) origin: Origin,
    /// Its counters once every transaction that was open at its publication has ended and was reported.
    /// `None` where they are not kept, or where the table is gone.
    pub(crate) after: Option<Counters>,
    /// The changes of the stream, up to the point where `after` was read.
    pub(crate) streamed: Counters,
    /// Which of the operations were not published: those of [`Counters`].
    pub(crate) unpublished: [bool; 3],
    /// Changes were streamed shortly before `after` was read, or a server process may hold counts back: the
    /// counters may be behind the stream.
    pub(crate) counters_lag: bool,
}

/// What the evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing is missing.
    Whole,
    /// So much is missing, at least.
    Missing(Vec<MissingChanges>),
    /// Changes of these operations may be missing: nothing proves either.
    Possible(Vec<MissingChanges>),
}

/// Judges. Counters can prove that changes are missing, and never that none is: where they show none although
/// they may be behind, or were reset, that is [`Judgement::Possible`].
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let unknown = || {
        let operations = OPERATIONS.into_iter().zip(evidence.unpublished);
        let unpublished = operations.filter(|(_, unpublished)| *unpublished);
        let missing = |(operation, _)| MissingChanges {
            operation,
            count: 0,
        };
        Judgement::Possible(unpublished.map(missing).collect())
    };
    let Some(after) = evidence.after else {
        return unknown();
    };
    let before = match evidence.origin {
        Origin::TakenOut => return unknown(),
        Origin::Unpublished(before) => before,
        Origin::New | Origin::Unknown => Counters::default(),
    };
    let places = || before.iter().zip(&after).zip(&evidence.streamed);
    // A crash, or pg_stat_reset(), has set them to zero.
    if places().any(|((before, after), _)| after < before) {
        return unknown();
    }
    let missing: Vec<MissingChanges> = places()
        .zip(OPERATIONS)
        .zip(evidence.unpublished)
        .filter_map(|((((before, after), streamed), operation), unpublished)| {
            let count = after.saturating_sub(*before).saturating_sub(*streamed);
            (unpublished && count > 0).then_some(MissingChanges { operation, count })
        })
        .collect();
    // Reset since, or not kept for a role, or not reported yet: the stream holds more than they do.
    let counted_too_little =
        || places().any(|((before, after), streamed)| after.saturating_sub(*before) < *streamed);
    // What an older table counts now may have been done, and streamed, before it was seen unpublished.
    let trusts_stream = !matches!(evidence.origin, Origin::Unpublished(_));
    match missing.is_empty() {
        true if evidence.counters_lag || trusts_stream && counted_too_little() => unknown(),
        true => Judgement::Whole,
        false if evidence.origin == Origin::New => Judgement::Missing(missing),
        false => Judgement::Possible(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Evidence = Evidence {
        origin: Origin::New,
        after: Some([3, 0, 0]),
        streamed: [3, 0, 0],
        unpublished: [false, true, true],
        counters_lag: false,
    };

    fn missing(list: &[(&'static str, u64)]) -> Vec<MissingChanges> {
        let change = |&(operation, count)| MissingChanges { operation, count };
        list.iter().map(change).collect()
    }

    #[test]
    fn counters_above_the_stream_prove_what_is_missing() {
        let judged = |after, streamed| {
            judge(&Evidence {
                after: Some(after),
                streamed,
                ..NEW
            })
        };
        assert_eq!(judged([3, 0, 0], [3, 0, 0]), Judgement::Whole);
        let lost = missing(&[("update", 2), ("delete", 1)]);
        assert_eq!(judged([3, 2, 1], [3, 0, 0]), Judgement::Missing(lost));
        // What was changed after it was published is in the stream.
        let lost = missing(&[("update", 2)]);
        assert_eq!(judged([3, 7, 1], [3, 5, 1]), Judgement::Missing(lost));
        // Rolled-back inserts are counted, and inserts were published.
        assert_eq!(judged([9, 0, 0], [3, 0, 0]), Judgement::Whole);
    }

    #[test]
    fn inserts_count_where_they_were_not_published_either() {
        let late = Evidence {
            after: Some([5, 0, 0]),
            streamed: [2, 0, 0],
            unpublished: [true; 3],
            ..NEW
        };
        assert_eq!(judge(&late), Judgement::Missing(missing(&[("insert", 3)])));
    }

    #[test]
    fn where_the_counters_prove_nothing_changes_may_be_missing() {
        let both = missing(&[("update", 0), ("delete", 0)]);
        let possible = Judgement::Possible(both);
        for (what, evidence) in [
            ("not kept", Evidence { after: None, ..NEW }),
            (
                "reset",
                Evidence {
                    origin: Origin::Unpublished([9, 9, 9]),
                    ..NEW
                },
            ),
            (
                "behind",
                Evidence {
                    counters_lag: true,
                    ..NEW
                },
            ),
            (
                "taken out of the publication",
                Evidence {
                    origin: Origin::TakenOut,
                    ..NEW
                },
            ),
        ] {
            assert_eq!(judge(&evidence), possible, "{what}");
        }
        // They were reset, or are not kept for the role: the stream holds three inserts.
        let reset = Evidence {
            after: Some([0; 3]),
            ..NEW
        };
        assert_eq!(judge(&reset), possible);
        // Behind or not: more than the stream is more.
        let proven = Evidence {
            after: Some([3, 2, 0]),
            counters_lag: true,
            ..NEW
        };
        assert_eq!(
            judge(&proven),
            Judgement::Missing(missing(&[("update", 2)]))
        );
    }

    #[test]
    fn what_an_old_table_counted_may_be_older_than_all_that_is_tracked() {
        let old = |after| {
            judge(&Evidence {
                origin: Origin::Unknown,
                after: Some(after),
                streamed: [0; 3],
                ..NEW
            })
        };
        assert_eq!(old([9, 0, 0]), Judgement::Whole);
        let possible = missing(&[("update", 4)]);
        assert_eq!(old([9, 4, 0]), Judgement::Possible(possible));
    }

    #[test]
    fn what_a_table_counted_late_may_have_been_streamed_before_it_was_seen_unpublished() {
        let seen = |after, streamed| {
            judge(&Evidence {
                origin: Origin::Unpublished([5, 0, 0]),
                after: Some(after),
                streamed,
                ..NEW
            })
        };
        let possible = missing(&[("update", 2)]);
        assert_eq!(seen([5, 2, 0], [0; 3]), Judgement::Possible(possible));
        assert_eq!(seen([5, 0, 0], [9, 9, 0]), Judgement::Whole);
    }
}
