//! Pure: when the main thread has something to do by itself.

use std::time::{Duration, Instant};

use super::publication_refresh::PAUSE;
use crate::observe;

/// How often tables are looked for that came without a change of their own, and how often a summary is
/// logged.
const MINUTE: Duration = Duration::from_secs(60);

/// How often the catalog is glanced at. An UPDATE that is refused, because its table lost its replica
/// identity, leaves no trace in the stream: this is how long it is refused at most.
const GLANCE_INTERVAL: Duration = Duration::from_secs(5);

/// The times of what the main thread does while the others run.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh_at: Instant,
    glance_at: Instant,
    summary_at: Instant,
    /// `None` where no status page shows samples.
    sample_at: Option<Instant>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// A sample for the status page.
    pub sample: bool,
    /// The line of the last minute.
    pub summary: bool,
    /// A look at all tables; [`Schedule::refreshed`] has to follow.
    pub refresh: bool,
    /// A glance at the catalog.
    pub glance: bool,
}

impl Schedule {
    /// The first samples are due at once, where there is a status page; the rest after a minute.
    pub(super) fn new(now: Instant, status_page: bool) -> Schedule {
        Schedule {
            refresh_at: now + MINUTE,
            glance_at: now + GLANCE_INTERVAL,
            summary_at: now + MINUTE,
            sample_at: status_page.then_some(now),
        }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Instant {
        let next = self.refresh_at.min(self.summary_at).min(self.glance_at);
        self.sample_at.map_or(next, |sample| sample.min(next))
    }

    /// What is due now. Samples and summaries are put off until their next time.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let due = Due {
            sample: self.sample_at.is_some_and(|sample| now >= sample),
            summary: now >= self.summary_at,
            refresh: now >= self.refresh_at,
            glance: now >= self.glance_at,
        };
        if due.glance {
            self.glance_at = now + GLANCE_INTERVAL;
        }
        if due.sample {
            self.sample_at = Some(now + observe::SAMPLE_INTERVAL);
        }
        if due.summary {
            self.summary_at = now + MINUTE;
        }
        due
    }

    /// Notes that a look at all tables was `started` at `now`, or that the one before has not ended yet: then
    /// it is due again soon.
    pub(super) fn refreshed(&mut self, now: Instant, started: bool) {
        self.refresh_at = now + if started { MINUTE } else { PAUSE };
    }

    /// A relation was seen for the first time: other tables may have come with it, so a look at all of them
    /// is due, but not before `not_before`.
    pub(super) fn new_relation(&mut self, now: Instant, not_before: Instant) {
        self.refresh_at = self.refresh_at.min(now.max(not_before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Due = Due {
        sample: false,
        summary: false,
        refresh: false,
        glance: false,
    };

    #[test]
    fn samples_are_taken_where_a_status_page_shows_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, true);
        assert_eq!(schedule.next(), now);
        let sample = Due {
            sample: true,
            ..NOTHING
        };
        assert_eq!(schedule.due(now), sample);
        assert_eq!(schedule.due(now), NOTHING);
        let next = observe::SAMPLE_INTERVAL.min(GLANCE_INTERVAL);
        assert_eq!(schedule.next(), now + next);
        let without = Schedule::new(now, false);
        assert_eq!(without.next(), now + GLANCE_INTERVAL);
    }

    #[test]
    fn summary_and_refresh_come_each_minute_and_glances_in_between() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, false);
        let glance = Due {
            glance: true,
            ..NOTHING
        };
        assert_eq!(schedule.due(now + GLANCE_INTERVAL), glance);
        assert_eq!(schedule.due(now + GLANCE_INTERVAL), NOTHING);
        assert_eq!(schedule.next(), now + 2 * GLANCE_INTERVAL);
        let later = now + MINUTE;
        let all = Due {
            summary: true,
            refresh: true,
            ..glance
        };
        assert_eq!(schedule.due(later), all);
        schedule.refreshed(later, true);
        assert_eq!(schedule.due(later), NOTHING);
        assert_eq!(schedule.next(), later + GLANCE_INTERVAL);
        assert!(schedule.due(later + MINUTE).refresh);
    }

    #[test]
    fn a_refresh_that_could_not_start_is_tried_again_soon() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, false);
        schedule.refreshed(now, false);
        assert_eq!(schedule.next(), now + PAUSE);
        assert!(schedule.due(now + PAUSE).refresh);
    }

    #[test]
    fn a_new_relation_brings_the_refresh_forward_as_far_as_it_may() {
        let now = Instant::now();
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        // When a look may start again, and when it does.
        for (not_before, refresh) in [(0, 500), (500, 500), (900, 900)] {
            let mut schedule = Schedule::new(now, false);
            schedule.new_relation(at(500), at(not_before));
            assert_eq!(schedule.next(), at(refresh));
            // Another one puts nothing off.
            schedule.new_relation(at(600), at(2000));
            assert_eq!(schedule.next(), at(refresh));
        }
    }
}
