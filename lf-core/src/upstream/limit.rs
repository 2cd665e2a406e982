//! How many calls may be in flight, and how many of them may be second ones.

use super::config::Limit;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Answers between two looks at the adaptive limit.
const SAMPLES_PER_LOOK: u32 = 32;
/// How much slower than without a queue answers may be before the limit goes down.
const TOLERANCE: f64 = 1.5;
/// The share of a new limit in the next one.
const SMOOTHING: f64 = 0.2;
/// Looks after which the limit is halved for one, to see how quick the servers are without a queue now.
const LOOKS_PER_PROBE: u32 = 100;

/// The adaptive limit: the gradient of Netflix's concurrency-limits (`GradientLimit`), which does with calls what TCP Vegas
/// (Brakmo and Peterson, 1995) does with segments: answers that come slower than without a queue say that one builds up.
#[derive(Debug, Default)]
struct Gradient {
    limit: f64,
    /// What an answer takes without a queue.
    base_us: f64,
    sum_us: f64,
    samples: u32,
    /// The most calls in flight since the last look.
    peak: usize,
    looks: u32,
    /// While it is probed how quick the servers are: the limit to go back to.
    probing: Option<f64>,
    /// Answers to come that are of before the limit was halved.
    old: usize,
}

impl Gradient {
    /// Takes the time of an answer; answers the new limit now and then.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to counts")]
    fn sample(&mut self, took: Duration, in_flight: usize, (min, max): (usize, usize)) -> Option<usize> {
        if self.old > 0 {
            self.old -= 1;
            return None;
        }
        self.sum_us += took.as_secs_f64() * 1e6;
        self.samples += 1;
        self.peak = self.peak.max(in_flight);
        if self.samples < SAMPLES_PER_LOOK {
            return None;
        }
        let now_us = (self.sum_us / f64::from(self.samples)).max(1.0);
        (self.sum_us, self.samples) = (0.0, 0);
        let peak = std::mem::take(&mut self.peak);
        self.look(now_us, peak, (min as f64, max as f64));
        Some(self.limit as usize)
    }

    fn look(&mut self, now_us: f64, peak: usize, (min, max): (f64, f64)) {
        self.looks = self.looks.wrapping_add(1);
        if let Some(limit) = self.probing.take() {
            (self.base_us, self.limit) = (now_us, limit);
            return;
        }
        self.base_us = if self.base_us == 0.0 { now_us } else { self.base_us.min(now_us) };
        if self.looks.is_multiple_of(LOOKS_PER_PROBE) {
            self.probing = Some(self.limit);
            self.old = peak;
            self.limit = (self.limit / 2.0).max(min);
            return;
        }
        // Who does not use the limit learns nothing about it.
        if (peak as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.base_us / now_us).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.limit = (self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING).clamp(min, max);
    }
}

/// The calls in flight of one upstream.
#[derive(Debug)]
pub(super) struct Limiter {
    kind: Limit,
    in_flight: AtomicUsize,
    limit: AtomicUsize,
    gradient: Mutex<Gradient>,
}

impl Limiter {
    pub(super) fn new(kind: Limit) -> Self {
        let limit = match kind {
            Limit::None => usize::MAX,
            Limit::Constant(limit) => limit,
            Limit::Adaptive { min, max } => (4 * min).min(max),
        };
        let gradient = Gradient { limit: limit as f64, ..Gradient::default() };
        Self { kind, in_flight: AtomicUsize::new(0), limit: AtomicUsize::new(limit), gradient: Mutex::new(gradient) }
    }

    /// Lets one more call in, or answers how many there may be.
    pub(super) fn enter(&self) -> Result<(), usize> {
        let limit = self.limit();
        let more = |count| (count < limit).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|_| limit)
    }

    /// A call is over; `took` if that says something about the servers.
    pub(super) fn leave(&self, took: Option<Duration>) {
        let in_flight = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let (Limit::Adaptive { min, max }, Some(took)) = (self.kind, took) else { return };
        // A sample more or less does not matter; waiting would.
        let Some(mut gradient) = self.gradient.try_lock() else { return };
        if let Some(limit) = gradient.sample(took, in_flight, (min, max)) {
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
}

/// A call earns this much of a second request, in thousandths.
const EARNED: u64 = 200;
/// What can be saved up, in thousandths.
const SAVED_MAX: u64 = 100_000;
/// Second requests that every second may have, however few calls there are.
const FLOOR_PER_SECOND: u64 = 10;

/// Keeps retries and backups from multiplying an outage.
#[derive(Debug, Default)]
pub(super) struct Budget {
    saved: AtomicU64,
    /// `second << 16 | used`: what the floor has given in that second.
    floor: AtomicU64,
}

impl Budget {
    pub(super) fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < SAVED_MAX {
            self.saved.fetch_add(EARNED, Ordering::Relaxed);
        }
    }

    /// Whether one more second request may be made.
    pub(super) fn spend(&self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        let from_floor = |word: u64| {
            let used = if word >> 16 == second { word & 0xffff } else { 0 };
            (used < FLOOR_PER_SECOND).then_some((second << 16) | (used + 1))
        };
        self.floor.fetch_update(Ordering::Relaxed, Ordering::Relaxed, from_floor).is_ok()
            || self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(1000)).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_constant_limit_lets_so_many_in() {
        let limiter = Limiter::new(Limit::Constant(2));
        assert_eq!([limiter.enter(), limiter.enter(), limiter.enter()], [Ok(()), Ok(()), Err(2)]);
        limiter.leave(None);
        assert_eq!(limiter.enter(), Ok(()));
    }

    /// A server that works on so many calls at a time; more wait for each other.
    fn settle(width: f64) -> usize {
        let limiter = Limiter::new(Limit::Adaptive { min: 4, max: 1000 });
        for _ in 0..2000 {
            let mut calls = 0;
            while limiter.enter().is_ok() {
                calls += 1;
            }
            let took = Duration::from_micros(1000).mul_f64((f64::from(calls) / width).max(1.0));
            (0..calls).for_each(|_| limiter.leave(Some(took)));
        }
        limiter.limit()
    }

    #[test]
    fn an_adaptive_limit_settles_near_what_the_servers_can_do_at_a_time() {
        for width in [20.0, 100.0] {
            let settled = settle(width) as f64;
            assert!(settled > width * 0.8 && settled < width * 4.0, "{settled} for {width}");
        }
    }

    #[test]
    fn an_adaptive_limit_goes_down_when_answers_get_slow() {
        let limiter = Limiter::new(Limit::Adaptive { min: 2, max: 100 });
        let run = |ms: u64, rounds: u32| {
            for _ in 0..rounds {
                let calls = std::iter::repeat_with(|| limiter.enter()).take_while(Result::is_ok).count();
                (0..calls).for_each(|_| limiter.leave(Some(Duration::from_millis(ms))));
            }
            limiter.limit()
        };
        assert!(run(1, 500) >= 50);
        assert!(run(20, 8) < 60);
    }

    #[test]
    fn second_requests_are_a_fifth_beyond_the_floor() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.spend(5000)).count(), 10);
        (0..100).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend(5999)).count(), 20);
        assert_eq!((0..100).filter(|_| budget.spend(6000)).count(), 10);
    }
}
