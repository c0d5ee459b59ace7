//! What flows between the threads: from the reader to the decoder whole frames, read in place; from the
//! decoder to the writer what it has to do, in the order of the stream.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::change::Batch;
use crate::error::Result;
use crate::lsn::PgTimestamp;
use crate::resume::StreamStart;
use crate::wire::{FRAME_LIMIT, FrameHead, HEAD};

/// The usual size of a chunk in bytes.
pub(crate) const SIZE: usize = 64 * 1024;

/// The size while no read has filled one: a stream that is quiet needs no more.
pub(crate) const QUIET_SIZE: usize = 8 * 1024;

/// A buffer that a large frame made grow beyond this is not used again.
const KEPT_SIZE: usize = 4 * SIZE;

/// The right to hold one large frame. A second large frame is read only when the first one has become a row,
/// so that memory does not grow with the number of large frames in succession.
#[derive(Debug)]
pub struct Large(Receiver<()>);

impl Drop for Large {
    fn drop(&mut self) {
        // Disconnected where the channel was dropped first.
        let _ = self.0.try_recv();
    }
}

/// Gives out that right, to one holder at a time.
#[derive(Debug)]
pub(crate) struct LargeFrames {
    places: Sender<()>,
    taken: Receiver<()>,
}

impl Default for LargeFrames {
    fn default() -> LargeFrames {
        let (places, taken) = bounded(1);
        LargeFrames { places, taken }
    }
}

impl LargeFrames {
    /// Whether a buffer of so many bytes needs the right.
    pub(crate) fn is_large(size: usize) -> bool {
        size > KEPT_SIZE
    }

    /// Waits up to `limit` for the right; `None` where it is still held.
    pub(crate) fn take(&self, limit: Duration) -> Option<Large> {
        let taken = self.places.send_timeout((), limit);
        taken.is_ok().then(|| Large(self.taken.clone()))
    }
}

/// What the reader hands to the decoder.
#[derive(Debug)]
pub(crate) enum ReaderEvent {
    /// The stream starts, or starts again.
    Start(StreamStart),
    /// Frames of the stream.
    Frames(Chunk),
    /// The stream was ended as asked.
    End,
}

/// Whole frames in succession.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The buffer; only the first `filled` bytes mean something.
    pub bytes: Vec<u8>,
    /// How many bytes of whole frames there are.
    pub filled: usize,
    /// When they were received.
    pub received_at: PgTimestamp,
    /// Held while the chunk has a large frame.
    pub large: Option<Large>,
}

impl Chunk {
    /// The CopyData bodies in it, in order; other frames are passed over. Ends with an error at a frame whose
    /// length is invalid.
    pub fn copy_data(&self) -> impl Iterator<Item = Result<&[u8]>> {
        let mut rest = self.bytes.get(..self.filled).unwrap_or_default();
        std::iter::from_fn(move || {
            loop {
                let head = match FrameHead::parse(rest, FRAME_LIMIT) {
                    Ok(head) => head?,
                    Err(e) => {
                        rest = &[];
                        return Some(Err(e));
                    }
                };
                let (frame, after) = rest.split_at_checked(head.length)?;
                rest = after;
                if head.tag == b'd' {
                    return Some(Ok(frame.get(HEAD..).unwrap_or_default()));
                }
            }
        })
    }

    /// The buffer for another chunk; `None` where a large frame made it grow.
    pub(crate) fn recycle(self) -> Option<Vec<u8>> {
        (self.bytes.len() <= KEPT_SIZE).then_some(self.bytes)
    }
}

/// What the writer has to do.
#[derive(Debug)]
pub enum WriterCommand {
    /// Take note of a start; undo the fragments of an open transaction.
    Start(StreamStart),
    /// Write a batch, or only confirm its end when it has no rows.
    Batch(Box<Batch>),
    /// Everything is written: end.
    End,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_large_frame_is_held_at_a_time() {
        let frames = LargeFrames::default();
        let first = frames.take(Duration::ZERO);
        assert!(first.is_some() && frames.take(Duration::ZERO).is_none());
        drop(first);
        assert!(frames.take(Duration::ZERO).is_some());
        assert!(frames.take(Duration::ZERO).is_some());
    }

    #[test]
    fn copy_data_is_found_among_other_frames_and_the_unfilled_rest_ignored() {
        let bytes = b"d\0\0\0\x06abN\0\0\0\x05xd\0\0\0\x04d\0\0\0\x05zd\0\0".to_vec();
        let filled = bytes.len() - 3;
        let chunk = Chunk {
            bytes,
            filled,
            received_at: PgTimestamp(0),
            large: None,
        };
        let found: Vec<_> = chunk.copy_data().map(Result::unwrap).collect();
        assert_eq!(found, [&b"ab"[..], b"", b"z"]);
    }
}
