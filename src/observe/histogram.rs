//! Histograms: how often something took how long, or was how large.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of buckets that a histogram has at most, that of infinity included.
const MAX_BUCKETS: usize = 17;

/// Counts observations by upper bounds, as Prometheus does ("Histogram" in its documentation of metric
/// types). Observing takes two atomic additions and no lock.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, ascending, in the unit that is observed; infinity is added behind them.
    bounds: &'static [u64],
    /// Observed units in one shown unit: 1e6 for microseconds shown as seconds. Dividing by it gives the
    /// nearest number, such as 0.025; multiplying by 1e-6 does not.
    per: f64,
    counts: [AtomicU64; MAX_BUCKETS],
    sum: AtomicU64,
}

/// A copy of a histogram at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bound, in the unit that is shown, and how many observations were at most that.
    pub buckets: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum, in the unit that is shown.
    pub sum: f64,
}

impl Histogram {
    /// Microseconds, shown as seconds: 0.25 ms to 60 s.
    pub const fn of_microseconds() -> Histogram {
        const BOUNDS: &[u64] = &[
            250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
            1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
        ];
        Histogram::new(BOUNDS, 1e6)
    }

    /// Rows: 1 to 10,000.
    pub const fn of_rows() -> Histogram {
        const BOUNDS: &[u64] = &[0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000];
        Histogram::new(BOUNDS, 1.0)
    }

    const fn new(bounds: &'static [u64], per: f64) -> Histogram {
        Histogram {
            bounds,
            per,
            counts: [const { AtomicU64::new(0) }; MAX_BUCKETS],
            sum: AtomicU64::new(0),
        }
    }

    /// Adds `times` observations of the same value, in the unit that is observed.
    pub fn observe(&self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// All observations so far.
    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        let mut counts = self.counts.iter().map(|c| c.load(Relaxed));
        for &bound in self.bounds {
            count += counts.next().unwrap_or_default();
            buckets.push((bound as f64 / self.per, count));
        }
        count += counts.next().unwrap_or_default();
        let sum = self.sum.load(Relaxed) as f64 / self.per;
        Reading {
            buckets,
            count,
            sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_counted_in_every_bucket_that_is_not_too_small() {
        let histogram = Histogram::of_rows();
        for (value, times) in [(0, 1), (1, 2), (2, 1), (10_000, 1), (10_001, 3)] {
            histogram.observe(value, times);
        }
        let read = histogram.read();
        assert_eq!(read.buckets.first(), Some(&(0.0, 1)));
        assert_eq!(read.buckets.get(1), Some(&(1.0, 3)));
        assert_eq!(read.buckets.get(2), Some(&(3.0, 4)));
        assert_eq!(read.buckets.last(), Some(&(10_000.0, 5)));
        assert_eq!(read.count, 8);
        assert!((read.sum - 40_007.0).abs() < 1e-6, "{}", read.sum);
    }

    #[test]
    fn what_is_above_the_last_bound_is_counted_too() {
        let histogram = Histogram::of_microseconds();
        histogram.observe(60_000_000, 1);
        histogram.observe(60_000_001, 2);
        let read = histogram.read();
        assert_eq!(read.buckets.last(), Some(&(60.0, 1)));
        assert_eq!(read.count, 3);
    }

    #[test]
    fn bounds_ascend_and_there_is_a_counter_for_each_and_for_infinity() {
        for histogram in [Histogram::of_rows(), Histogram::of_microseconds()] {
            assert!(histogram.bounds.is_sorted());
            assert!(histogram.bounds.len() < MAX_BUCKETS);
        }
    }
}
