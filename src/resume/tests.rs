//! The decision in single situations, and in all orders of its positions against a model of both histories.

use super::*;

fn slot(confirmed: u64) -> SlotPosition {
    SlotPosition {
        confirmed: Lsn(confirmed),
        lost: false,
    }
}

fn known(flushed: u64) -> SavedProgress {
    SavedProgress {
        flushed: Lsn(flushed),
        timeline: 1,
        destination_changed: false,
        gap_pending: false,
        parted: None,
    }
}

fn source(end: u64) -> SourcePosition {
    SourcePosition {
        end: Lsn(end),
        timeline: 1,
        left: None,
        started: None,
    }
}

/// The source is on timeline 2 now, and has timeline 1 up to here.
fn promoted(end: u64, switch: u64) -> SourcePosition {
    SourcePosition {
        timeline: 2,
        left: Some(TimelineEnd {
            timeline: 1,
            end: Lsn(switch),
            at_most: false,
        }),
        ..source(end)
    }
}

fn begun(at: u64) -> Option<Started> {
    Some(Started {
        at: Lsn(at),
        next_xid: 700,
    })
}

fn stretch(from: u64, to: u64, timeline: u32) -> Option<Stretch> {
    Stretch::new(Lsn(from), Lsn(to), timeline)
}

/// Position, reason, WAL that is unknown, rows that never happened.
type Said = (u64, Option<GapReason>, Option<Stretch>, Option<Stretch>);

fn said(point: &StartPoint) -> Said {
    let gap = point.gap.as_ref();
    let never = gap.and_then(|gap| gap.never_happened.as_ref());
    (
        point.position.0,
        gap.map(|gap| gap.reason),
        gap.and_then(|gap| gap.unknown),
        never.map(|never| never.rows),
    )
}

/// Position and gap as a text.
fn text(point: &StartPoint) -> String {
    let (position, reason, unknown, never) = said(point);
    let mut text = position.to_string();
    if let Some(reason) = reason {
        text += &format!(" {}", reason.name());
    }
    for (name, stretch) in [("unknown", unknown), ("never", never)] {
        if let Some(Stretch { from, to, timeline }) = stretch {
            text += &format!(" {name} {}-{}@{timeline}", from.0, to.0);
        }
    }
    text
}

const LOST: SlotPosition = SlotPosition {
    confirmed: Lsn(30),
    lost: true,
};

fn pending(flushed: u64) -> SavedProgress {
    SavedProgress {
        gap_pending: true,
        ..known(flushed)
    }
}

#[test]
fn a_slot_that_continues_has_no_gap_and_one_that_does_not_leaves_what_is_unknown() {
    let back = SavedProgress {
        destination_changed: true,
        ..known(20)
    };
    for (before, now, known, end, expected) in [
        // The later of progress and slot is where it goes on.
        (Some(slot(10)), 10, known(10), 99, "10"),
        (Some(slot(10)), 10, known(20), 99, "20"),
        (Some(slot(20)), 20, known(10), 99, "20"),
        (None, 50, known(40), 45, "50 slot_gone unknown 40-50@1"),
        (
            Some(LOST),
            50,
            known(40),
            45,
            "50 slot_lost unknown 40-50@1",
        ),
        // Made anew when the gap was not recorded yet.
        (
            Some(slot(50)),
            50,
            pending(40),
            99,
            "50 slot_gone unknown 40-50@1",
        ),
        // The slot is ahead of a destination that went back; or it still has everything.
        (
            Some(slot(30)),
            30,
            back,
            99,
            "30 destination_went_back unknown 20-30@1",
        ),
        (Some(slot(20)), 20, back, 99, "20"),
    ] {
        let found = decide(before, slot(now), Some(known), source(end));
        assert_eq!(text(&found), expected, "{before:?}");
    }
}

#[test]
fn a_source_that_was_replaced_leaves_what_never_happened() {
    let started = |started| SourcePosition {
        started: begun(started),
        ..source(30)
    };
    let of_later = SavedProgress {
        timeline: 2,
        ..known(40)
    };
    let parted = SavedProgress {
        parted: Some(Lsn(30)),
        ..pending(40)
    };
    for (before, now, known, source, expected) in [
        // A source that went back is not asked beyond its end, and for all that the copy's slot has not.
        (
            Some(slot(10)),
            10,
            known(40),
            source(30),
            "10 source_went_back never 10-40@1",
        ),
        // Without the slot.
        (
            None,
            32,
            known(40),
            started(25),
            "32 source_went_back unknown 25-32@1 never 25-40@1",
        ),
        (
            None,
            50,
            known(40),
            source(30),
            "50 source_went_back unknown 30-50@1 never 30-40@1",
        ),
        // Its WAL has grown past the progress since the gap was announced.
        (
            Some(slot(35)),
            35,
            parted,
            source(60),
            "35 source_went_back unknown 30-35@1 never 30-40@1",
        ),
        // A copy of before a promotion: its WAL may be longer than the progress.
        (
            Some(slot(10)),
            10,
            of_later,
            source(60),
            "10 source_went_back never 10-40@2",
        ),
        // Changes of the new timeline are not taken for written.
        (
            Some(slot(10)),
            10,
            known(40),
            promoted(99, 35),
            "35 timeline_diverged never 35-40@1",
        ),
        (Some(slot(10)), 10, known(40), promoted(99, 40), "40"),
        // A slot that was made on the new timeline.
        (
            Some(slot(50)),
            50,
            known(40),
            promoted(99, 35),
            "50 timeline_diverged unknown 35-50@2 never 35-40@1",
        ),
        (
            None,
            50,
            known(40),
            promoted(45, 35),
            "50 timeline_diverged unknown 35-50@2 never 35-40@1",
        ),
    ] {
        let found = decide(before, slot(now), Some(known), source);
        assert_eq!(text(&found), expected);
    }
}

#[test]
fn a_first_start_has_no_gap_whether_or_not_the_slot_was_there() {
    for before in [None, Some(slot(10))] {
        let found = decide(before, slot(10), None, source(99));
        assert_eq!(said(&found), (10, None, None, None));
    }
}

/// What became of the source since the progress was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Nothing.
    Same,
    /// A standby was promoted, or a backup recovered to a point: the old timeline ends here.
    Switched { at: u64 },
    /// A copy was put back; it ends here.
    Copy { end: u64 },
    /// A copy of an earlier timeline was put back.
    Earlier { end: u64 },
    /// Recovered along another timeline, which left that of the progress here; the server knows of `at`.
    Sibling { end: u64, at: u64 },
}

/// How the slot was found, and where it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Found(u64),
    Gone(u64),
    Lost(u64),
    /// Made anew by a process that was killed then; the source ended at `then`.
    Pending {
        then: u64,
        now: u64,
    },
}

/// One order of all positions. Each position is the end of one commit, of both histories.
#[derive(Debug, Clone, Copy)]
struct Order {
    flushed: u64,
    end: u64,
    past: Past,
    slot: Slot,
    destination_changed: bool,
    /// Where the server began to write when it was started last, where it tells. Rows of before that never
    /// happened are told by their transactions.
    started: Option<u64>,
}

/// The highest position.
const LAST: u64 = 5;

impl Order {
    /// Up to here the rows that were written are of the source's own past.
    fn shared(&self) -> u64 {
        match self.past {
            Past::Same => self.flushed,
            Past::Switched { at } => at.min(self.flushed),
            Past::Copy { end } | Past::Earlier { end } | Past::Sibling { end, .. } => end,
        }
    }

    /// Whether servers can get there.
    fn is_possible(&self) -> bool {
        let Order { flushed, end, .. } = *self;
        let past = match self.past {
            Past::Same => flushed <= end,
            Past::Switched { at } => at <= end,
            // A copy whose WAL has grown past the progress looks as if nothing had happened, unless that was
            // announced before.
            Past::Copy { end: copied } => {
                let announced = matches!(self.slot, Slot::Pending { then, .. } if then < flushed);
                copied < flushed && copied <= end && (end < flushed || announced)
            }
            Past::Earlier { end: copied } => copied < flushed && copied <= end,
            Past::Sibling { end: parted, at } => parted < flushed && parted <= at && at <= end,
        };
        let slot = match self.slot {
            Slot::Found(confirmed) => match self.past {
                Past::Same | Past::Switched { .. } => confirmed <= end,
                // It is a part of the copy.
                _ => confirmed <= self.shared(),
            },
            Slot::Gone(now) | Slot::Lost(now) => now >= end,
            Slot::Pending { then, now } => {
                self.shared() <= then
                    && then <= now
                    && now <= end
                    && (matches!(self.past, Past::Copy { .. }) || now >= flushed)
            }
        };
        let started = self
            .started
            .is_none_or(|at| self.shared() <= at && at <= end);
        past && slot && started
    }

    fn decide(&self) -> (StartPoint, u64) {
        let timeline = if matches!(self.past, Past::Same | Past::Copy { .. }) {
            2
        } else {
            3
        };
        let timeline = if matches!(self.past, Past::Earlier { .. }) {
            1
        } else {
            timeline
        };
        let left = match self.past {
            Past::Switched { at } => Some((at, false)),
            Past::Sibling { at, .. } => Some((at, true)),
            _ => None,
        };
        let source = SourcePosition {
            end: Lsn(self.end),
            timeline,
            left: left.map(|(end, at_most)| TimelineEnd {
                timeline: 2,
                end: Lsn(end),
                at_most,
            }),
            started: self.started.and_then(begun),
        };
        let mut saved = SavedProgress {
            timeline: 2,
            destination_changed: self.destination_changed,
            ..known(self.flushed)
        };
        let (before, now) = match self.slot {
            Slot::Found(confirmed) => (Some(slot(confirmed)), confirmed),
            Slot::Gone(now) => (None, now),
            Slot::Lost(now) => {
                let lost = SlotPosition {
                    lost: true,
                    ..slot(0)
                };
                (Some(lost), now)
            }
            Slot::Pending { then, now } => {
                saved.gap_pending = true;
                saved.parted = (then < self.flushed).then_some(Lsn(then));
                (Some(slot(now)), now)
            }
        };
        (decide(before, slot(now), Some(saved), source), now)
    }

    /// Plays both histories and the stream, and compares what is missing and what is too much with what the
    /// gap names.
    fn check(&self) {
        let (point, confirmed) = self.decide();
        let position = point.position.0;
        assert!(
            position >= confirmed,
            "the server sends nothing before its slot"
        );
        match self.slot {
            Slot::Found(_) | Slot::Pending { .. } => assert!(position <= self.end.max(confirmed)),
            Slot::Gone(_) | Slot::Lost(_) => assert_eq!(position, confirmed),
        }
        let (_, reason, unknown, never) = said(&point);
        assert_eq!(reason.is_some(), unknown.or(never).is_some());
        for stretch in unknown.into_iter().chain(never) {
            assert!(stretch.from < stretch.to);
        }
        let gap = point.gap.as_ref();
        let begin = gap.and_then(|gap| gap.never_happened.as_ref());
        let begin = begin.map(|never| never.begin);
        let (or_earlier, or_later) = (
            begin == Some(Begin::OrEarlier),
            begin == Some(Begin::OrLater),
        );
        let within = |stretch: Option<Stretch>, commit: u64| {
            stretch.is_some_and(|s| s.from.0 < commit && commit <= s.to.0)
        };
        let found = matches!(self.slot, Slot::Found(_));
        // A slot that is a part of a copy may be behind its end.
        let of_copy = !matches!(self.past, Past::Same | Past::Switched { .. });
        let again = of_copy && (found || or_earlier);
        let told = self.started.filter(|started| *started < self.flushed);
        assert!(
            !or_later || told.is_none(),
            "the server tells where it began"
        );
        for commit in 1..=LAST + 1 {
            let (shared, written) = (commit <= self.shared(), commit <= self.flushed);
            let sent = commit > position;
            // In the source's history now.
            let there = shared && written;
            // Zemi itself confirmed what it does not track.
            let untracked = found
                && !self.destination_changed
                && commit <= confirmed
                && self.shared() == self.flushed;
            if !there && !sent && !untracked {
                assert!(
                    within(unknown, commit) || or_earlier,
                    "{commit} is lost and not named"
                );
            }
            assert!(
                !(untracked && within(unknown, commit)),
                "{commit} is not tracked"
            );
            if there && sent {
                assert!(again, "{commit} comes twice");
            }
            if within(unknown, commit) {
                assert!(!sent, "{commit} is named and comes");
                assert!(!there || or_earlier, "{commit} is named and there");
            }
            // In the history of before.
            if written && !shared {
                assert!(
                    within(never, commit) || or_earlier || told >= Some(commit),
                    "{commit} never happened, and is not named"
                );
            }
            if within(never, commit) {
                assert!(written, "{commit} was never written");
                assert!(!shared || or_earlier || or_later, "{commit} happened");
            }
        }
    }
}

fn pasts() -> Vec<Past> {
    let mut all = vec![Past::Same];
    for end in 0..=LAST {
        all.extend([
            Past::Switched { at: end },
            Past::Copy { end },
            Past::Earlier { end },
        ]);
        all.extend((end..=LAST).map(|at| Past::Sibling { end, at }));
    }
    all
}

fn slots() -> Vec<Slot> {
    let mut all = Vec::new();
    for now in 0..=LAST {
        all.extend([Slot::Found(now), Slot::Gone(now), Slot::Lost(now)]);
        all.extend((0..=now).map(|then| Slot::Pending { then, now }));
    }
    all
}

#[test]
fn in_every_order_of_positions_all_that_is_lost_or_too_much_is_named_and_nothing_else() {
    let mut possible = 0;
    for (past, slot) in pasts()
        .into_iter()
        .flat_map(|past| slots().into_iter().map(move |slot| (past, slot)))
    {
        for n in 0..(LAST + 1) * LAST * 2 * (LAST + 2) {
            let order = Order {
                flushed: 1 + n % LAST,
                end: n / LAST % (LAST + 1),
                past,
                slot,
                destination_changed: n / LAST / (LAST + 1) % 2 == 1,
                started: (n / LAST / (LAST + 1) / 2).checked_sub(1),
            };
            if order.is_possible() {
                possible += 1;
                let checked = std::panic::catch_unwind(|| order.check());
                assert!(checked.is_ok(), "{order:?}: {:?}", order.decide());
            }
        }
    }
    assert!(possible > 5000, "{possible} orders");
}

#[test]
fn publications_that_are_gone_lengthen_what_is_unknown_and_keep_what_never_happened() {
    let behind = |source, end| {
        let found = decide(None, slot(50), Some(known(40)), source);
        said(&found.behind_publications(Lsn(end), 2))
    };
    let gone = Some(GapReason::PublicationGone);
    assert_eq!(behind(source(45), 60), (60, gone, stretch(40, 60, 2), None));
    let diverged = Some(GapReason::TimelineDiverged);
    let never = stretch(35, 40, 1);
    assert_eq!(
        behind(promoted(45, 35), 60),
        (60, diverged, stretch(35, 60, 2), never)
    );
    let whole = decide(Some(slot(40)), slot(40), Some(known(40)), source(45));
    assert_eq!(
        said(&whole.clone().behind_publications(Lsn(60), 1)),
        (60, gone, stretch(40, 60, 1), None)
    );
    assert_eq!(
        said(&whole.behind_publications(Lsn(40), 1)),
        (40, None, None, None)
    );
}

#[test]
fn what_became_durable_after_the_decision_never_happened_either() {
    let at = promoted(99, 35);
    let start = |known| {
        let point = decide(Some(slot(10)), slot(10), Some(known), at);
        StreamStart {
            epoch: 1,
            position: point.position,
            timeline: 2,
            left: at.left,
            gap: point.gap,
            encoding: Encoding::Utf8,
            limit: None,
        }
    };
    let rows = |flushed, written| {
        let gap = start(known(flushed)).gap_behind(Lsn(written));
        gap.and_then(|gap| gap.never_happened)
            .map(|never| never.rows)
    };
    assert_eq!(rows(30, 30), None);
    assert_eq!(rows(30, 45), stretch(35, 45, 1));
    assert_eq!(rows(40, 40), stretch(35, 40, 1));
    assert_eq!(rows(40, 45), stretch(35, 45, 1));
}
