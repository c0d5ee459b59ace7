//! Pure: what the progress of a new session says about the batch that the last one sent.

use crate::lsn::Lsn;

/// Where `zemi_progress.flushed_lsn` stands, seen from the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Where the writer left it.
    AsLeft,
    /// At the end of the batch whose COMMIT got no answer: it was committed.
    Committed(Lsn),
    /// Further on: another process moves it.
    Moved(Lsn),
    /// Further back: the destination was restored, or is another one, and lacks rows that were confirmed.
    WentBack(Lsn),
    /// There is no row.
    Gone,
}

/// Judges the position that was found by the one that is expected; `sent` is the end of a batch of unclear
/// fate.
pub(super) fn judge(found: Option<Lsn>, expected: Lsn, sent: Option<Lsn>) -> Verdict {
    match found {
        None => Verdict::Gone,
        Some(found) if found == expected => Verdict::AsLeft,
        Some(found) if Some(found) == sent => Verdict::Committed(found),
        Some(found) if found > expected => Verdict::Moved(found),
        Some(found) => Verdict::WentBack(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_tells_what_became_of_the_batch() {
        for (found, sent, verdict) in [
            (Some(50), None, Verdict::AsLeft),
            (Some(50), Some(60), Verdict::AsLeft),
            // A batch that ends where the progress stands is not known to be written.
            (Some(50), Some(50), Verdict::AsLeft),
            (Some(60), Some(60), Verdict::Committed(Lsn(60))),
            (Some(60), None, Verdict::Moved(Lsn(60))),
            (Some(55), Some(60), Verdict::Moved(Lsn(55))),
            (Some(61), Some(60), Verdict::Moved(Lsn(61))),
            (Some(49), Some(60), Verdict::WentBack(Lsn(49))),
            (Some(0), None, Verdict::WentBack(Lsn(0))),
            (None, Some(60), Verdict::Gone),
            (None, None, Verdict::Gone),
        ] {
            let found_lsn = found.map(Lsn);
            assert_eq!(
                judge(found_lsn, Lsn(50), sent.map(Lsn)),
                verdict,
                "{found:?}, {sent:?}"
            );
        }
    }
}
