//! Pure: where the stream starts, and which changes may be missing there, or never happened.

mod gap;
#[cfg(test)]
mod tests;

pub use self::gap::{
    Begin, Gap, GapAnnouncement, GapReason, MissingChanges, NeverHappened, Stretch, TableGap,
};
use crate::change::Encoding;
use crate::lsn::Lsn;

/// The slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPosition {
    /// `confirmed_flush_lsn`
    pub confirmed: Lsn,
    /// The slot cannot be used: `wal_status` is `lost`, or it is ahead of the server.
    pub lost: bool,
}

/// The progress that the destination holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedProgress {
    /// `zemi_progress.flushed_lsn`
    pub flushed: Lsn,
    /// The source's timeline when it was written.
    pub timeline: u32,
    /// The destination is another server, or on another timeline, than the one that wrote it.
    pub destination_changed: bool,
    /// A slot was about to be made anew and the gap is not recorded yet: the position of a slot that exists
    /// now does not prove that the changes before it were received.
    pub gap_pending: bool,
    /// The end of the source's WAL when that was announced, where it was before the progress: the source had
    /// gone back, and its WAL may have grown past the progress since.
    pub parted: Option<Lsn>,
}

/// Where a timeline that the source has left ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineEnd {
    /// The timeline.
    pub timeline: u32,
    /// What the source has of it ends here.
    pub end: Lsn,
    /// The timeline is not of the source's own past, and where the two parted is not known: here at the
    /// latest.
    pub at_most: bool,
}

/// Where the source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePosition {
    /// The end of WAL (IDENTIFY_SYSTEM).
    pub end: Lsn,
    /// The current timeline.
    pub timeline: u32,
    /// The end of the timeline in [`SavedProgress`], when the server is on a later one.
    pub left: Option<TimelineEnd>,
    /// Where the server began to write when it was started last, where that is known: asked for when it was
    /// set back.
    pub started: Option<Started>,
}

/// Where a server began to write when it was started last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The position.
    pub at: Lsn,
    /// The next transaction's number then, of 64 bits.
    pub next_xid: u64,
}

/// Where the stream starts, and the gap before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPoint {
    /// Transactions that end here or before are in the destination already.
    pub position: Lsn,
    /// What has to be recorded first.
    pub gap: Option<Gap>,
}

impl StartPoint {
    /// The same where the WAL up to `end` of this timeline cannot be decoded, because the publications did
    /// not exist.
    pub fn behind_publications(mut self, end: Lsn, timeline: u32) -> StartPoint {
        let unknown = self.gap.as_ref().and_then(|gap| gap.unknown);
        let from = unknown.map_or(self.position, |unknown| unknown.from);
        if let Some(unknown) = Stretch::new(from, end, timeline) {
            let mut gap = Gap::unknown(unknown, GapReason::PublicationGone);
            if let Some(found) = self.gap.take_if(|gap| gap.never_happened.is_some()) {
                gap.reason = found.reason;
                gap.never_happened = found.never_happened;
            }
            self.gap = Some(gap);
        }
        StartPoint {
            position: self.position.max(end),
            gap: self.gap,
        }
    }
}

/// A start of the stream, the first or a later one: what decoder and writer have to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStart {
    /// The epoch that begins; what belongs to another one is discarded.
    pub epoch: u64,
    /// Everything before is in the destination, or lost.
    pub position: Lsn,
    /// The source's timeline.
    pub timeline: u32,
    /// The timeline before this one, when the source has left it since it was last asked.
    pub left: Option<TimelineEnd>,
    /// What has to be recorded first.
    pub gap: Option<Gap>,
    /// What the texts of the stream are encoded in.
    pub encoding: Encoding,
    /// Where the stream has to end and to start again: from there on more publications can be named.
    pub limit: Option<Lsn>,
}

/// Whether the stream can go on from the slot; else it is made anew before [`decide`] is asked.
pub(crate) fn slot_is_usable(slot: Option<SlotPosition>) -> bool {
    slot.is_some_and(|slot| !slot.lost)
}

impl StreamStart {
    /// The gap to record where the writer stands at `written`. Batches that were on their way when the source
    /// was asked have become durable since: they may be beyond the end of a timeline that the source has
    /// left.
    pub fn gap_behind(&self, written: Lsn) -> Option<Gap> {
        if let Some(gap) = &self.gap {
            let mut gap = gap.clone();
            gap.extend_to(written);
            return Some(gap);
        }
        let left = self.left?;
        let rows = Stretch::new(left.end, written, left.timeline)?;
        Some(Gap {
            reason: GapReason::TimelineDiverged,
            unknown: Stretch::new(left.end, self.position, self.timeline),
            never_happened: Some(NeverHappened {
                rows,
                begin: match left.at_most {
                    true => Begin::OrEarlier,
                    false => Begin::Exact,
                },
                transactions: Vec::new(),
            }),
        })
    }
}

/// What the progress and the source have in common.
struct Common {
    /// It ends here: the progress, or before.
    end: Lsn,
    /// Whether it may end elsewhere.
    begin: Begin,
    /// Why it ends before the progress.
    reason: Option<GapReason>,
    /// What is before `end` may have to come again: the stream goes on where the slot is.
    by_slot: bool,
}

impl Common {
    /// `confirmed` is the position of a slot that was found.
    fn of(known: &SavedProgress, source: &SourcePosition, confirmed: Option<Lsn>) -> Common {
        let at = |end, reason| Common {
            end,
            begin: Begin::Exact,
            reason,
            by_slot: false,
        };
        if let Some(left) = source.left.filter(|left| !left.at_most) {
            let diverged = known.flushed > left.end;
            let reason = diverged.then_some(GapReason::TimelineDiverged);
            return at(left.end.min(known.flushed), reason);
        }
        let went_back = known.flushed > source.end || known.timeline > source.timeline;
        if !went_back && known.parted.is_none() && source.left.is_none() {
            return at(known.flushed, None);
        }
        Common::set_back(known, source, confirmed)
    }

    /// Nothing but the position where the server began to write tells where the past ends. The server may
    /// have been started several times since; of a copy that holds the slot, the past has what the slot
    /// confirms.
    fn set_back(known: &SavedProgress, source: &SourcePosition, confirmed: Option<Lsn>) -> Common {
        let before = |end: &Lsn| *end < known.flushed;
        let started = source.started.map(|started| started.at).filter(before);
        let (end, begin) = match (confirmed, started) {
            (Some(_), Some(started)) => (started, Begin::Exact),
            (Some(confirmed), None) => (confirmed.min(known.flushed), Begin::OrLater),
            (None, started) => {
                let ends = [
                    source.left.map(|left| left.end),
                    known.parted,
                    Some(source.end),
                ];
                let ends = ends.into_iter().flatten().filter(before);
                // Without any, anywhere before the progress.
                let end = ends.chain(started).min().unwrap_or_default();
                (end, Begin::OrEarlier)
            }
        };
        let reason = match source.left {
            Some(_) => GapReason::TimelineDiverged,
            None => GapReason::SourceWentBack,
        };
        Common {
            end,
            begin,
            reason: before(&end).then_some(reason),
            by_slot: true,
        }
    }
}

/// Decides where to start from. `before` is the slot as it was found, `slot` as it is now: the same, or
/// a new one where that was not usable.
pub fn decide(
    before: Option<SlotPosition>,
    slot: SlotPosition,
    known: Option<SavedProgress>,
    source: SourcePosition,
) -> StartPoint {
    let Some(known) = known else {
        return StartPoint {
            position: slot.confirmed,
            gap: None,
        };
    };
    let found = slot_is_usable(before) && !known.gap_pending;
    let common = Common::of(&known, &source, found.then_some(slot.confirmed));
    let never_happened =
        Stretch::new(common.end, known.flushed, known.timeline).map(|rows| NeverHappened {
            rows,
            begin: common.begin,
            transactions: Vec::new(),
        });
    // The slot of before may have advanced past the progress: what is not tracked is confirmed only.
    let continues = found && common.reason.is_none() && !known.destination_changed;
    let unknown = match continues {
        true => None,
        false => Stretch::new(common.end, slot.confirmed, source.timeline),
    };
    let reason = common.reason.unwrap_or(match before {
        _ if found => GapReason::DestinationWentBack,
        Some(slot) if slot.lost => GapReason::SlotLost,
        _ => GapReason::SlotGone,
    });
    let is_gap = unknown.is_some() || never_happened.is_some();
    StartPoint {
        position: match common.by_slot && common.reason.is_some() {
            true => slot.confirmed,
            false => slot.confirmed.max(common.end),
        },
        gap: is_gap.then_some(Gap {
            reason,
            unknown,
            never_happened,
        }),
    }
}
