//! Times at a fixed distance, and a timer that wakes an epoll loop for them.

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};

const NS_PER_SECOND: f64 = 1e9;

/// Intended times, whatever happens in between.
///
/// Sleeps on a timerfd: `epoll_wait` counts in milliseconds, which is longer than most requests take.
pub(crate) struct Ticker {
    interval_ns: f64,
    phase_ns: f64,
    /// Set by the first look at the clock.
    next_ns: Option<f64>,
    timer: OwnedFd,
}

impl Ticker {
    /// `rate` ticks per second; the first one comes after `phase` of an interval, so that several tickers do
    /// not tick together.
    pub(crate) fn new(rate: f64, phase: f64, registry: &Registry, token: Token) -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .context("timerfd")?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE).context("timerfd in epoll")?;
        let interval_ns = NS_PER_SECOND / rate;
        Ok(Ticker { interval_ns, phase_ns: interval_ns * phase, next_ns: None, timer })
    }

    /// The intended time of the next tick, if it has come. [`Ticker::advance`] goes on to the one after it.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<u64> {
        let next = *self.next_ns.get_or_insert(as_ns(now_ns) + self.phase_ns);
        (next <= as_ns(now_ns)).then(|| from_ns(next))
    }

    pub(crate) fn advance(&mut self) {
        self.next_ns = self.next_ns.map(|next| next + self.interval_ns);
    }

    /// Wakes the loop when the next tick is due; at once if it is.
    pub(crate) fn arm(&self, now_ns: u64) {
        let Some(next) = self.next_ns else { return };
        let wait_ns = from_ns((next - as_ns(now_ns)).max(1.0));
        let value = Timespec {
            tv_sec: i64::try_from(wait_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait_ns % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Arming resets the descriptor's readiness, so it is never read. It can only fail on bad arguments.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    /// The ticks that were due and have not been taken, by how long they have waited; none comes after that.
    pub(crate) fn abandon(&mut self, now_ns: u64, mut each: impl FnMut(u64)) {
        let Some(mut due) = self.next_ns.replace(f64::INFINITY) else { return };
        while due <= as_ns(now_ns) {
            each(from_ns(as_ns(now_ns) - due));
            due += self.interval_ns;
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts far less than the 2^53 ns (104 days) a double holds exactly"
)]
fn as_ns(ns: u64) -> f64 {
    ns as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole nanoseconds are wanted; never negative"
)]
fn from_ns(ns: f64) -> u64 {
    ns as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_distance_however_late_they_are_taken() {
        let poll = mio::Poll::new().unwrap();
        let mut ticker = Ticker::new(1000.0, 0.5, poll.registry(), Token(0)).unwrap();
        assert_eq!(ticker.due(1_000_000_000), None);
        let now = 1_003_000_000;
        let mut taken = Vec::new();
        while let Some(due) = ticker.due(now) {
            taken.push(due);
            ticker.advance();
        }
        assert_eq!(taken, [1_000_500_000, 1_001_500_000, 1_002_500_000]);
    }

    #[test]
    fn what_was_due_at_the_end_has_waited_and_nothing_is_due_after_it() {
        let poll = mio::Poll::new().unwrap();
        let mut ticker = Ticker::new(1000.0, 0.0, poll.registry(), Token(0)).unwrap();
        assert_eq!(ticker.due(5_000_000), Some(5_000_000));
        let mut waited = Vec::new();
        ticker.abandon(6_500_000, |ns| waited.push(ns));
        assert_eq!(waited, [1_500_000, 500_000]);
        assert_eq!(ticker.due(u64::MAX / 2), None);
    }

    #[test]
    fn the_loop_is_woken_when_a_tick_is_due() {
        let mut poll = mio::Poll::new().unwrap();
        let mut ticker = Ticker::new(1000.0, 1.0, poll.registry(), Token(3)).unwrap();
        ticker.due(0);
        ticker.arm(0);
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(std::time::Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<Token>>(), [Token(3)]);
    }
}
