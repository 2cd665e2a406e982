//! Times in buckets, a quarter of a power of two wide. Everything is relaxed: statistics order nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a histogram: 0, 1, 2, 3 us, then four to each power of two, up to a minute and more.
const BUCKETS: usize = 4 * 26;

/// Times of answers, to a quarter of a power of two.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "below 4")]
const fn bucket_of(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let power = u64::BITS - 1 - us.leading_zeros();
    let quarter = (us >> (power - 2)) & 3;
    let bucket = 4 * (power as usize - 1) + quarter as usize;
    if bucket < BUCKETS { bucket } else { BUCKETS - 1 }
}

/// The least number of microseconds that is above the bucket.
const fn end_us(bucket: usize) -> u64 {
    let next = bucket + 1;
    if next < 4 { next as u64 } else { (4 + next as u64 % 4) << (next / 4 - 1) }
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// For each power of two: (upper bound in seconds, how many are in it), the last without a bound.
    pub(crate) fn by_powers(&self) -> Vec<(f64, u64)> {
        let sum = |of: &[AtomicU64]| of.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
        let last = BUCKETS / 4 - 1;
        let bound = |power: usize| if power == last { f64::INFINITY } else { end_us(4 * power + 3) as f64 / 1e6 };
        self.buckets.chunks(4).enumerate().map(|(power, of)| (bound(power), sum(of))).collect()
    }

    /// At most this long was what `share` (0 to 1) of all answers took.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let total = self.count();
        let mut above = total as f64 * share;
        for (index, bucket) in self.buckets.iter().enumerate() {
            above -= bucket.load(Ordering::Relaxed) as f64;
            if total > 0 && above <= 0.0 {
                return Duration::from_micros(end_us(index));
            }
        }
        Duration::ZERO
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_the_bucket_below_its_end() {
        for us in (0..5000).chain([1 << 20, (1 << 25) - 1]) {
            let bucket = bucket_of(us);
            assert!(us < end_us(bucket) && (bucket == 0 || us >= end_us(bucket - 1)), "{us} in {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_right_to_a_quarter() {
        let times = Histogram::default();
        assert_eq!(times.percentile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| times.add(Duration::from_micros(us)));
        for (share, us) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = times.percentile(share).as_secs_f64() * 1e6;
            assert!(found >= us && found <= us * 1.26, "{share}: {found}");
        }
        assert_eq!(times.by_powers().iter().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!((times.sum_seconds() - 0.5005).abs() < 1e-9);
    }
}
