//! Who may come in: the limit per address, and the rate of accepting.

use crate::peer::Peer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Connections by address, where there is a limit to them.
#[derive(Debug)]
pub(crate) struct Admission {
    max_per_address: Option<usize>,
    guests: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    pub(crate) fn new(max_per_address: Option<usize>) -> Self {
        Self { max_per_address, guests: Mutex::new(HashMap::new()) }
    }

    /// Counts a connection in; `false` if its address has as many as it may. Peers without one are not limited.
    #[must_use]
    pub(crate) fn enter(&self, peer: Peer) -> bool {
        let (Some(max), Some(ip)) = (self.max_per_address, peer.ip()) else { return true };
        let mut guests = self.guests.lock();
        let here = guests.entry(ip).or_insert(0);
        if *here >= max {
            return false;
        }
        *here += 1;
        true
    }

    /// Counts a connection out that `enter` let in.
    pub(crate) fn leave(&self, peer: Peer) {
        let (Some(_), Some(ip)) = (self.max_per_address, peer.ip()) else { return };
        let mut guests = self.guests.lock();
        if let Some(here) = guests.get_mut(&ip) {
            *here -= 1;
            if *here == 0 {
                guests.remove(&ip);
            }
        }
    }
}

/// A token bucket that holds a tenth of a second's worth.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: (per_second / 10.0).max(1.0), filled: now }
    }

    /// How long to wait until one may come; zero if one may now.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let burst = (self.per_second / 10.0).max(1.0);
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(burst);
        self.filled = now;
        Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.per_second)
    }

    /// One has come.
    pub(crate) fn spend(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::new(Some(text.parse().expect("an address")))
    }

    #[test]
    fn an_address_gets_its_place_back_when_a_connection_leaves() {
        let admission = Admission::new(Some(1));
        assert!(admission.enter(peer("127.0.0.1:1")));
        assert!(!admission.enter(peer("127.0.0.1:2")));
        assert!(admission.enter(peer("127.0.0.2:1")));
        assert!(admission.enter(Peer::NONE));
        admission.leave(peer("127.0.0.1:1"));
        assert!(admission.enter(peer("127.0.0.1:3")));
        admission.leave(peer("127.0.0.1:3"));
        admission.leave(peer("127.0.0.2:1"));
        assert!(admission.guests.lock().is_empty());
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_says_how_long_to_wait() {
        let now = Instant::now();
        let mut rate = Rate::new(100, now);
        for _ in 0..10 {
            assert_eq!(rate.wait(now), Duration::ZERO);
            rate.spend();
        }
        let wait = rate.wait(now);
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(10));
        assert_eq!(rate.wait(now + wait + Duration::from_micros(1)), Duration::ZERO);
    }
}
