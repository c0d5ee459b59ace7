//! What the writer is given to do, in the order of the stream.

use crate::change::Batch;
use crate::replication::start::StreamStart;

/// One thing to do.
#[derive(Debug)]
pub enum Work {
    /// Take note of a start; undo an open piece of a transaction.
    Start(StreamStart),
    /// Write a batch, or only confirm its end when it has no rows.
    Batch(Box<Batch>),
    /// Everything is written: end.
    End,
}
