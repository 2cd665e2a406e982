//! The open loop's schedule: when each request is meant to be sent, whatever the server does.

use super::link::Link;
use super::tally::Scribe;
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

const NS_PER_SECOND: f64 = 1e9;

/// Intended times at a fixed distance, and the connections with a free place.
///
/// Sleeps on a timerfd: `epoll_wait` counts in milliseconds, which is longer than most requests take.
pub(crate) struct Pace {
    interval_ns: f64,
    /// Where in the first interval this thread begins, so that threads do not send together.
    phase_ns: f64,
    /// Set by the first look at the clock after the connections are made.
    next_ns: Option<f64>,
    depth: usize,
    /// Connections with room, once per place; entries may be out of date and are checked when used.
    free: VecDeque<usize>,
    timer: OwnedFd,
}

impl Pace {
    /// `rate` requests per second from this thread.
    pub(crate) fn new(
        rate: f64,
        index: u32,
        threads: u32,
        depth: usize,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .context("timerfd")?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE).context("timerfd in epoll")?;
        let interval_ns = NS_PER_SECOND / rate;
        let phase_ns = interval_ns * f64::from(index) / f64::from(threads);
        Ok(Pace { interval_ns, phase_ns, next_ns: None, depth, free: VecDeque::new(), timer })
    }

    /// Connection `index` has `places` free places more.
    pub(crate) fn offer(&mut self, index: usize, places: usize) {
        self.free.extend(std::iter::repeat_n(index, places));
    }

    /// A connection and the intended time of the next request, if one is due and a connection is free.
    pub(crate) fn next(&mut self, now_ns: u64, links: &[Option<Link>]) -> Option<(usize, u64)> {
        let due = *self.next_ns.get_or_insert(as_ns(now_ns) + self.phase_ns);
        if due > as_ns(now_ns) {
            return None;
        }
        while let Some(index) = self.free.pop_front() {
            if links[index].as_ref().is_some_and(|link| link.connected && link.outstanding() < self.depth) {
                self.next_ns = Some(due + self.interval_ns);
                return Some((index, from_ns(due)));
            }
        }
        None
    }

    /// Wakes the loop when the next request is due. Nothing is armed while one is due already: then
    /// all connections are taken, and an answer wakes the loop.
    pub(crate) fn arm(&self, now_ns: u64) {
        let Some(due) = self.next_ns else { return };
        let wait_ns = due - as_ns(now_ns);
        if wait_ns <= 0.0 && self.free.is_empty() {
            return;
        }
        let wait_ns = from_ns(wait_ns.max(1.0));
        let value = Timespec {
            tv_sec: i64::try_from(wait_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait_ns % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Arming resets the descriptor's readiness, so it is never read. It can only fail on bad arguments.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    /// The run is over: requests that were due and never sent have waited at least until now.
    pub(crate) fn abandon(&mut self, scribe: &mut Scribe) {
        let now = as_ns(scribe.now_ns());
        let Some(mut due) = self.next_ns.take() else { return };
        while due <= now {
            scribe.unsent(from_ns(now - due));
            due += self.interval_ns;
        }
        self.next_ns = Some(f64::INFINITY);
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
