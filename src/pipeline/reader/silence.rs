//! Pure: how long a source may be silent.
//!
//! A walsender says nothing while nothing is committed, and the kernel notices that packets vanish by those
//! that get no answer. What ends a connection at a host in between (a proxy, a tunnel) answers those itself,
//! though nothing passes it. So a source that is silent is asked for a reply, and is taken for gone without.

use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;

/// After so long without a byte the server is asked for a reply, at each status update.
const ASK: Duration = Duration::from_secs(20);

/// So long after the last byte the connection is given up: together with
/// `writer::FRAGMENTS_WITHOUT_SOURCE` less than a minute.
const LIMIT: Duration = Duration::from_secs(40);

/// The longest limit. A walsender that is busy with WAL of which nothing is wanted replies late, before
/// PostgreSQL 16 after minutes, and begins anew with each connection.
const LONGEST: Duration = Duration::from_secs(3600);

/// Counts the time in which reading brought nothing: what passes while other threads are waited for, or while
/// the process is stopped, is no silence of the source's.
#[derive(Debug)]
pub(super) struct Silence {
    silent: Duration,
    limit: Duration,
    /// The durable position when the source was given up last.
    given_up_at: Lsn,
}

impl Default for Silence {
    fn default() -> Silence {
        Silence {
            silent: Duration::ZERO,
            limit: LIMIT,
            given_up_at: Lsn::ZERO,
        }
    }
}

impl Silence {
    /// Bytes came, or a connection begins.
    pub(super) fn heard(&mut self) {
        self.silent = Duration::ZERO;
    }

    /// Nothing came for so long. Returns whether the server is to be asked for a reply.
    ///
    /// # Errors
    /// The source has been silent for too long; it is waited for twice as long as long as nothing becomes
    /// durable.
    pub(super) fn waited(&mut self, time: Duration, durable: Lsn) -> Result<bool> {
        if durable > self.given_up_at {
            self.limit = LIMIT;
        }
        self.silent += time;
        if self.silent < self.limit {
            return Ok(self.silent >= ASK);
        }
        let message = format!(
            "expected a reply of the source's, found silence for {} s",
            self.silent.as_secs()
        );
        self.silent = Duration::ZERO;
        self.given_up_at = durable;
        self.limit = (self.limit * 2).min(LONGEST);
        Err(Error::new(Kind::Transient, message)
            .hint(
                "either its walsender decodes a large transaction of tables that are not followed, which \
                 needs nothing; or look at the network, and at proxies or tunnels on the way to the source",
            ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// How many reads of 10 s without a byte there are before the one that ends the connection, and before
    /// the first that asks.
    fn reads(silence: &mut Silence, durable: u64) -> (u32, u32) {
        let (mut all, mut quiet) = (0, 0);
        while let Ok(ask) = silence.waited(Duration::from_secs(10), Lsn(durable)) {
            all += 1;
            quiet += u32::from(!ask);
        }
        (all, quiet)
    }

    #[test]
    fn a_silent_source_is_asked_and_then_given_up() {
        let mut silence = Silence::default();
        assert_eq!(reads(&mut silence, 0), (3, 1));
        let mut silence = Silence::default();
        for _ in 0..100 {
            for ask in [false, true, true] {
                let asked = silence.waited(Duration::from_secs(10), Lsn::ZERO);
                assert_eq!(asked.unwrap(), ask);
            }
            silence.heard();
        }
    }

    #[test]
    fn a_source_that_never_gets_ahead_is_waited_for_longer_each_time_until_it_does() {
        let mut silence = Silence::default();
        let mut limits = Vec::new();
        for _ in 0..9 {
            silence.heard();
            limits.push(reads(&mut silence, 7).0 + 1);
        }
        assert_eq!(limits, [4, 8, 16, 32, 64, 128, 256, 360, 360]);
        assert_eq!(reads(&mut silence, 8).0 + 1, 4);
        assert_eq!(reads(&mut silence, 8).0 + 1, 8);
    }

    #[test]
    fn reads_of_a_second_each_are_added() {
        let mut silence = Silence::default();
        let second = Duration::from_secs(1);
        let waited = (0..).find(|_| silence.waited(second, Lsn::ZERO).is_err());
        assert_eq!(waited, Some(39));
    }
}
