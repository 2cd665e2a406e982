//! The open loop's schedule: when each request is meant to be sent, whatever the server does.

use super::dialect::Dialect;
use super::link::Link;
use super::tally::Scribe;
use super::ticker::Ticker;
use anyhow::Result;
use mio::{Registry, Token};
use std::collections::VecDeque;

/// Intended times at a fixed distance, and the connections with a free place.
pub(crate) struct Pace {
    ticker: Ticker,
    depth: usize,
    /// Connections with room, once per place; entries may be out of date and are checked when used.
    free: VecDeque<usize>,
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
        let ticker = Ticker::new(rate, f64::from(index) / f64::from(threads), registry, token)?;
        Ok(Pace { ticker, depth, free: VecDeque::new() })
    }

    /// Connection `index` has `places` free places more.
    pub(crate) fn offer(&mut self, index: usize, places: usize) {
        self.free.extend(std::iter::repeat_n(index, places));
    }

    /// A connection and the intended time of the next request, if one is due and a connection is free.
    pub(crate) fn next<T>(&mut self, now_ns: u64, links: &[Option<Link<T>>]) -> Option<(usize, u64)> {
        let due = self.ticker.due(now_ns)?;
        while let Some(index) = self.free.pop_front() {
            if links[index].as_ref().is_some_and(|link| link.connected && link.outstanding() < self.depth) {
                self.ticker.advance();
                return Some((index, due));
            }
        }
        None
    }

    /// Wakes the loop when the next request is due. Nothing is armed while one is due already: then
    /// all connections are taken, and an answer wakes the loop.
    pub(crate) fn arm(&mut self, now_ns: u64) {
        if self.free.is_empty() && self.ticker.due(now_ns).is_some() {
            return;
        }
        self.ticker.arm(now_ns);
    }

    /// The run is over: requests that were due and never sent have waited at least until now.
    pub(crate) fn abandon<D: Dialect>(&mut self, scribe: &mut Scribe, dialect: &mut D) {
        let now_ns = scribe.now_ns();
        self.ticker.abandon(now_ns, |waited_ns| scribe.unsent(dialect.unasked(), waited_ns));
    }
}
