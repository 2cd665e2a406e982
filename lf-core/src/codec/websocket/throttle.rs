//! How often a peer may send what costs it little.

use super::{Limits, Violation};

/// Pings and pongs that a peer may send: `burst` at once and `per_s` in the long run; past it the connection is closed with
/// 1008.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRate {
    /// At once, after a pause.
    pub burst: u32,
    /// Per second, at most 1,000,000; 0 counts as 1.
    pub per_s: u32,
}

impl Default for ControlRate {
    /// 64 at once, then 10 a second. Clients ping every 20 s or so; the busiest measure a round trip a second, and a few
    /// send a pong with each message. A ping makes the server send, so a flood of them would be a cheap way to keep it at it.
    fn default() -> Self {
        Self { burst: 64, per_s: 10 }
    }
}

/// Counts the pings and pongs of a connection against [`Limits::control`]; 8 bytes.
///
/// It is apart from [`decode`](super::decode) because that has no clock. Counting between data messages instead would cut
/// off a subscriber that only listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// When all that came so far will have been paid off.
    paid_at_us: u64,
}

impl Throttle {
    /// Takes note of an [`Event::Ping`](super::Event::Ping) or [`Event::Pong`](super::Event::Pong) that came at `now_ms`, of
    /// any clock that does not go back.
    ///
    /// # Errors
    /// If it is one too many.
    pub fn admit(&mut self, limits: &Limits, now_ms: u64) -> Result<(), Violation> {
        let ControlRate { burst, per_s } = limits.control;
        let each_us = (1_000_000 / u64::from(per_s.max(1))).max(1);
        let now_us = now_ms.saturating_mul(1000);
        let paid_at_us = self.paid_at_us.max(now_us).saturating_add(each_us);
        if paid_at_us - now_us > each_us * u64::from(burst) {
            return Err(Violation::policy("more pings and pongs than this server takes"));
        }
        self.paid_at_us = paid_at_us;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(burst: u32, per_s: u32) -> Limits {
        Limits { control: ControlRate { burst, per_s }, ..Limits::default() }
    }

    fn admitted(throttle: &mut Throttle, limits: &Limits, now_ms: u64) -> usize {
        (0..1000).take_while(|_| throttle.admit(limits, now_ms).is_ok()).count()
    }

    #[test]
    fn a_burst_is_taken_and_after_it_the_rate() {
        let limits = limits(5, 10);
        let mut throttle = Throttle::default();
        assert_eq!(admitted(&mut throttle, &limits, 0), 5);
        assert_eq!(admitted(&mut throttle, &limits, 99), 0);
        assert_eq!(admitted(&mut throttle, &limits, 100), 1);
        assert_eq!(admitted(&mut throttle, &limits, 350), 2);
        assert_eq!(admitted(&mut throttle, &limits, 1_000_000), 5);
    }

    #[test]
    fn a_ping_every_twenty_seconds_is_always_taken() {
        let mut throttle = Throttle::default();
        for minute in 0..100_000 {
            throttle.admit(&Limits::default(), minute * 20_000).unwrap();
        }
        assert_eq!(throttle.paid_at_us, 99_999 * 20_000_000 + 100_000);
    }

    #[test]
    fn extremes_of_clock_and_rate_do_no_harm() {
        for (burst, per_s, expected) in [(0, 10, 0), (3, 0, 3), (u32::MAX, u32::MAX, 1000), (7, 1_000_000, 7)] {
            let limits = limits(burst, per_s);
            let mut throttle = Throttle::default();
            assert_eq!(admitted(&mut throttle, &limits, 1), expected, "burst {burst}, {per_s} a second");
        }
        let mut throttle = Throttle::default();
        throttle.admit(&limits(1, 1), u64::MAX).unwrap();
        assert!(throttle.admit(&limits(1, 1), 5).is_err(), "a clock that goes back does not pay");
    }
}
