//! Pure: gaps, and how they are named.

use std::fmt;

use crate::error::Result;
use crate::lsn::{Lsn, Xid};

/// Why changes can be missing, or rows be there that the source does not have.
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

/// A range of WAL; `from` is before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub from: Lsn,
    /// Where it ends.
    pub to: Lsn,
    /// The timeline of the WAL.
    pub timeline: u32,
}

impl Stretch {
    /// The range, unless it is empty.
    pub fn new(from: Lsn, to: Lsn, timeline: u32) -> Option<Stretch> {
        (from < to).then_some(Stretch { from, to, timeline })
    }
}

/// What is known of where rows begin that never happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It is there.
    Exact,
    /// It may be earlier: nothing tells where the past of the source ends.
    OrEarlier,
    /// It may be later: the first of the rows may have happened.
    OrLater,
}

/// Rows of `changes` that are of a past which the source does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverHappened {
    /// The positions of these rows. Rows that are written behind the gap can have them, too: the source
    /// gives them out again.
    pub rows: Stretch,
    /// What is known of where they begin.
    pub begin: Begin,
    /// Transactions whose rows are before `rows.from`, and whose commits were behind it.
    pub transactions: Vec<Xid>,
}

/// What `changes` lacks and what it has too much, since the source or the destination is not where it was.
/// At least one of both stretches is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The cause.
    pub reason: GapReason,
    /// WAL of the source whose changes may be missing.
    pub unknown: Option<Stretch>,
    /// Rows that the source does not have.
    pub never_happened: Option<NeverHappened>,
}

impl Gap {
    /// A gap of changes that may be missing.
    pub fn unknown(stretch: Stretch, reason: GapReason) -> Gap {
        Gap {
            reason,
            unknown: Some(stretch),
            never_happened: None,
        }
    }

    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let never = self.never_happened.as_ref().map(|never| never.rows);
        self.unknown.into_iter().chain(never)
    }

    /// Where the first of both stretches begins.
    pub fn from(&self) -> Lsn {
        let from = self.stretches().map(|stretch| stretch.from).min();
        from.unwrap_or_default()
    }

    /// Where the last of both stretches ends.
    pub fn to(&self) -> Lsn {
        let to = self.stretches().map(|stretch| stretch.to).max();
        to.unwrap_or_default()
    }

    /// Rows up to `written` are there, which became durable after the gap was found.
    pub fn extend_to(&mut self, written: Lsn) {
        if let Some(never) = &mut self.never_happened {
            never.rows.to = never.rows.to.max(written);
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Stretch { from, to, .. }) = self.unknown {
            write!(f, "changes between {from} and {to} may be missing")?;
        }
        if let Some(NeverHappened { rows, begin, .. }) = &self.never_happened {
            let and = if self.unknown.is_some() { ", and " } else { "" };
            let begin = match begin {
                Begin::Exact => "",
                Begin::OrEarlier => " or earlier",
                Begin::OrLater => " or later",
            };
            write!(
                f,
                "{and}rows with positions between {}{begin} and {} are of a past that the source no longer \
                 has",
                rows.from, rows.to
            )?;
        }
        write!(f, ": {}", self.reason)
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

/// Writes gaps beside the batches of the writer.
pub trait GapAnnouncement: Send + Sync {
    /// Announces a gap before the slot behind it is made. The process can be killed while the server makes
    /// the slot, and the server may complete it: without the announcement it would look like the slot of
    /// before. Notes durably at the destination that changes after the progress may be missing, and in
    /// `parted` the end of the source's WAL where that is before the progress. Repeating it does nothing.
    ///
    /// # Errors
    /// A destination that is away or that refuses: then no slot may be made.
    fn announce_gap(&self, parted: Option<Lsn>, timeline: u32) -> Result<()>;

    /// The transactions that have rows before this position and may have committed behind it.
    ///
    /// # Errors
    /// A destination that is away or that refuses.
    fn transactions_before(&self, position: Lsn) -> Result<Vec<Xid>>;

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
