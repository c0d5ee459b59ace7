//! Pure: where the stream starts, and which changes may be missing there.

use std::fmt;

use crate::change::Encoding;
use crate::error::Result;
use crate::lsn::Lsn;

/// The slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPosition {
    /// `confirmed_flush_lsn`
    pub confirmed: Lsn,
    /// `wal_status` is `lost`: the server removed WAL that the slot needs.
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
}

/// Where the source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePosition {
    /// The end of WAL (IDENTIFY_SYSTEM).
    pub end: Lsn,
    /// The current timeline.
    pub timeline: u32,
    /// Where the timeline in [`SavedProgress`] ended, when the server is on a later one.
    pub switch: Option<Lsn>,
}

/// Why changes can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The slot was gone.
    SlotGone,
    /// The server removed WAL that the slot needed.
    SlotLost,
    /// The source was restored to an older state.
    SourceWentBack,
    /// The source failed over to a server that lacked the end of the old timeline.
    TimelineDiverged,
    /// The destination was restored or failed over and lacks rows that were confirmed.
    DestinationWentBack,
    /// The publications were gone when the WAL was written, and no others can stand in for them.
    PublicationGone,
    /// The publication of updates and deletes was gone, or disagreed with the first one, when the WAL was
    /// written.
    UpdatesUnpublished,
}

impl GapReason {
    /// The reason as the row in `changes` names it.
    pub fn name(self) -> &'static str {
        match self {
            GapReason::SlotGone => "slot_gone",
            GapReason::SlotLost => "slot_lost",
            GapReason::SourceWentBack => "source_went_back",
            GapReason::TimelineDiverged => "timeline_diverged",
            GapReason::DestinationWentBack => "destination_went_back",
            GapReason::PublicationGone => "publication_gone",
            GapReason::UpdatesUnpublished => "updates_unpublished",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GapReason::SlotGone => "the replication slot was gone",
            GapReason::SlotLost => "the source removed WAL that the slot needed",
            GapReason::SourceWentBack => "the source was restored to an older state",
            GapReason::TimelineDiverged => {
                "the source failed over to a server that lacked the end of the old timeline"
            }
            GapReason::DestinationWentBack => {
                "the destination was restored or failed over and lacks confirmed rows"
            }
            GapReason::PublicationGone => "the publications were gone for a while",
            GapReason::UpdatesUnpublished => {
                "the publication of updates and deletes could not be used for a while"
            }
        })
    }
}

/// A range of WAL whose changes may be missing from `changes`, or are in it although the source lost them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where the range begins.
    pub from: Lsn,
    /// Where the range ends.
    pub to: Lsn,
    /// The cause.
    pub reason: GapReason,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "changes between {} and {} may be missing: {}",
            self.from, self.to, self.reason
        )
    }
}

/// What is missing of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingChanges {
    /// `insert`, `update` or `delete`.
    pub operation: &'static str,
    /// How many changes are missing, at least; 0 where some may be.
    pub count: u64,
}

/// Changes of one table that were written before the table was published for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableGap {
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Where the range of WAL begins in which they were written.
    pub from: Lsn,
    /// Where it ends: the table was published by then.
    pub to: Lsn,
    /// By operation; never empty.
    pub missing: Vec<MissingChanges>,
    /// Nothing proves that changes are missing.
    pub possible: bool,
}

impl fmt::Display for TableGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.possible { "may be" } else { "are" };
        write!(f, "changes of {}.{} ", self.schema, self.table)?;
        for (place, missing) in self.missing.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "(" };
            match missing.count {
                0 => write!(f, "{comma}{}", missing.operation)?,
                count => write!(f, "{comma}{count} {}", missing.operation)?,
            }
        }
        write!(
            f,
            ") between {} and {} {verb} missing: the table was published late",
            self.from, self.to
        )
    }
}

/// Where the stream starts, and the gap before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartPoint {
    /// Transactions that end here or before are in the destination already.
    pub position: Lsn,
    /// What has to be recorded first.
    pub gap: Option<Gap>,
}

impl StartPoint {
    /// The same where the WAL up to `end` cannot be decoded, because the publications did not exist.
    pub fn behind_publications(self, end: Lsn) -> StartPoint {
        let gap = Gap {
            from: self.gap.map_or(self.position, |gap| gap.from).min(end),
            to: end,
            reason: GapReason::PublicationGone,
        };
        StartPoint {
            position: self.position.max(end),
            gap: Some(gap),
        }
    }
}

/// A start of the stream, the first or a later one: what decoder and writer have to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The epoch that begins; what belongs to another one is discarded.
    pub epoch: u64,
    /// Everything before is in the destination, or lost.
    pub position: Lsn,
    /// The source's timeline.
    pub timeline: u32,
    /// Where the timeline before this one ended, when the source has left it since it was last asked.
    pub switch: Option<Lsn>,
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
    /// The changes of the earlier timeline that were written beyond its end, where the writer stands at
    /// `flushed`: batches that were on their way when the source was asked have become durable since.
    pub fn divergence(&self, flushed: Lsn) -> Option<Gap> {
        let switch = self.switch.filter(|switch| flushed > *switch)?;
        Some(Gap {
            from: switch,
            to: flushed,
            reason: GapReason::TimelineDiverged,
        })
    }
}

/// Writes gaps beside the batches of the writer.
pub trait GapAnnouncement: Send + Sync {
    /// Announces a gap before the slot behind it is made. The process can be killed while the server makes
    /// the slot, and the server may complete it: without the announcement it would look like the slot of
    /// before. Notes durably at the destination that changes after `from` may be missing. Repeating it does
    /// nothing.
    ///
    /// # Errors
    /// A destination that is away or that refuses: then no slot may be made.
    fn announce_gap(&self, from: Lsn, timeline: u32) -> Result<()>;

    /// Records a gap of all tables in `changes`, before anything behind it is confirmed.
    ///
    /// # Errors
    /// A destination that is away or that refuses.
    fn record_gap(&self, gap: &Gap) -> Result<()>;

    /// Records gaps of single tables in `changes`, all or none.
    ///
    /// # Errors
    /// A destination that is away or that refuses.
    fn record_table_gaps(&self, gaps: &[TableGap]) -> Result<()>;
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
    if !slot_is_usable(before) || known.gap_pending {
        let reason = match before {
            Some(slot) if slot.lost => GapReason::SlotLost,
            _ => GapReason::SlotGone,
        };
        let gap = Gap {
            from: known.flushed.min(slot.confirmed),
            to: slot.confirmed,
            reason,
        };
        return StartPoint {
            position: slot.confirmed,
            gap: Some(gap),
        };
    }
    if let Some(switch) = source.switch
        && known.flushed > switch
    {
        let gap = Gap {
            from: switch,
            to: known.flushed,
            reason: GapReason::TimelineDiverged,
        };
        return StartPoint {
            position: slot.confirmed.max(switch),
            gap: Some(gap),
        };
    }
    if known.flushed > source.end {
        let gap = Gap {
            from: source.end,
            to: known.flushed,
            reason: GapReason::SourceWentBack,
        };
        return StartPoint {
            position: slot.confirmed.min(source.end),
            gap: Some(gap),
        };
    }
    if known.destination_changed && slot.confirmed > known.flushed {
        let gap = Gap {
            from: known.flushed,
            to: slot.confirmed,
            reason: GapReason::DestinationWentBack,
        };
        return StartPoint {
            position: slot.confirmed,
            gap: Some(gap),
        };
    }
    StartPoint {
        position: known.flushed.max(slot.confirmed),
        gap: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(confirmed: u64) -> SlotPosition {
        SlotPosition {
            confirmed: Lsn(confirmed),
            lost: false,
        }
    }

    fn known(flushed: u64) -> Option<SavedProgress> {
        Some(SavedProgress {
            flushed: Lsn(flushed),
            timeline: 1,
            destination_changed: false,
            gap_pending: false,
        })
    }

    fn source(end: u64) -> SourcePosition {
        SourcePosition {
            end: Lsn(end),
            timeline: 1,
            switch: None,
        }
    }

    #[test]
    fn the_later_of_progress_and_slot_is_where_it_goes_on() {
        for (confirmed, flushed, start) in [(10, 10, 10), (10, 20, 20), (20, 10, 20)] {
            let found = decide(
                Some(slot(confirmed)),
                slot(confirmed),
                known(flushed),
                source(99),
            );
            assert_eq!(
                found,
                StartPoint {
                    position: Lsn(start),
                    gap: None
                }
            );
        }
    }

    #[test]
    fn a_first_start_has_no_gap_whether_or_not_the_slot_was_there() {
        for before in [None, Some(slot(10))] {
            let found = decide(before, slot(10), None, source(99));
            assert_eq!(
                found,
                StartPoint {
                    position: Lsn(10),
                    gap: None
                }
            );
        }
    }

    #[test]
    fn a_slot_that_is_gone_or_lost_leaves_a_gap() {
        let lost = SlotPosition {
            confirmed: Lsn(30),
            lost: true,
        };
        for (before, reason) in [
            (None, GapReason::SlotGone),
            (Some(lost), GapReason::SlotLost),
        ] {
            let found = decide(before, slot(50), known(40), source(99));
            let gap = Gap {
                from: Lsn(40),
                to: Lsn(50),
                reason,
            };
            assert_eq!(
                found,
                StartPoint {
                    position: Lsn(50),
                    gap: Some(gap)
                }
            );
        }
    }

    #[test]
    fn a_new_slot_whose_gap_was_not_recorded_yet_is_no_slot_to_go_on_from() {
        let mut pending = known(40);
        if let Some(known) = &mut pending {
            known.gap_pending = true;
        }
        let found = decide(Some(slot(50)), slot(50), pending, source(99));
        let gap = Gap {
            from: Lsn(40),
            to: Lsn(50),
            reason: GapReason::SlotGone,
        };
        assert_eq!(found.gap, Some(gap));
    }

    #[test]
    fn a_source_that_went_back_is_never_asked_beyond_its_end() {
        let found = decide(Some(slot(10)), slot(10), known(40), source(30));
        let gap = Gap {
            from: Lsn(30),
            to: Lsn(40),
            reason: GapReason::SourceWentBack,
        };
        assert_eq!(
            found,
            StartPoint {
                position: Lsn(10),
                gap: Some(gap)
            }
        );
    }

    #[test]
    fn after_a_failover_changes_of_the_new_timeline_are_not_taken_for_written() {
        let mut at = source(99);
        at.switch = Some(Lsn(35));
        let found = decide(Some(slot(10)), slot(10), known(40), at);
        let gap = Gap {
            from: Lsn(35),
            to: Lsn(40),
            reason: GapReason::TimelineDiverged,
        };
        assert_eq!(
            found,
            StartPoint {
                position: Lsn(35),
                gap: Some(gap)
            }
        );
        at.switch = Some(Lsn(40));
        let found = decide(Some(slot(10)), slot(10), known(40), at);
        assert_eq!(
            found,
            StartPoint {
                position: Lsn(40),
                gap: None
            }
        );
    }

    #[test]
    fn a_destination_that_went_back_behind_the_slot_leaves_a_gap() {
        let back = SavedProgress {
            flushed: Lsn(20),
            timeline: 1,
            destination_changed: true,
            gap_pending: false,
        };
        let found = decide(Some(slot(30)), slot(30), Some(back), source(99));
        let gap = Gap {
            from: Lsn(20),
            to: Lsn(30),
            reason: GapReason::DestinationWentBack,
        };
        assert_eq!(
            found,
            StartPoint {
                position: Lsn(30),
                gap: Some(gap)
            }
        );
        // Where the slot still has everything, nothing is lost.
        let found = decide(Some(slot(20)), slot(20), Some(back), source(99));
        assert_eq!(
            found,
            StartPoint {
                position: Lsn(20),
                gap: None
            }
        );
    }
}
