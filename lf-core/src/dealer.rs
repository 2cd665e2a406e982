//! Which group a new connection goes to.

use crate::config::Deal;
use crate::group::Group;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(crate) struct Dealer {
    policy: Deal,
    dealt: usize,
    random: u64,
}

impl Dealer {
    pub(crate) fn new(policy: Deal) -> Self {
        Self { policy, dealt: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The index of the group for the next connection.
    pub(crate) fn deal(&mut self, groups: &[Group]) -> usize {
        self.choose(groups.len(), |index| groups[index].connections.load(Ordering::Relaxed))
    }

    fn choose(&mut self, groups: usize, load: impl Fn(usize) -> usize) -> usize {
        self.dealt = self.dealt.wrapping_add(1);
        match self.policy {
            Deal::RoundRobin => self.dealt % groups,
            // Among equals the turn goes round, too.
            Deal::LeastConnections => {
                (0..groups).map(|index| (index + self.dealt) % groups).min_by_key(|index| load(*index)).unwrap_or(0)
            }
            Deal::PowerOfTwo => {
                let (one, two) = (self.next_below(groups), self.next_below(groups));
                if load(two) < load(one) { two } else { one }
            }
        }
    }

    /// xorshift64 (Marsaglia, 2003): quality does not matter here.
    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below `limit`")]
    fn next_below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn deal(policy: Deal, groups: usize, rounds: usize) -> Vec<usize> {
        let mut loads = vec![0; groups];
        let mut dealer = Dealer::new(policy);
        for _ in 0..rounds {
            let chosen = dealer.choose(groups, |index| loads[index]);
            loads[chosen] += 1;
        }
        loads
    }

    #[test]
    fn round_robin_and_least_connections_deal_evenly() {
        assert_eq!(deal(Deal::RoundRobin, 3, 9), [3, 3, 3]);
        assert_eq!(deal(Deal::LeastConnections, 3, 9), [3, 3, 3]);
    }

    #[test]
    fn two_choices_stay_close_to_even() {
        let loads = deal(Deal::PowerOfTwo, 8, 8000);
        assert!(loads.iter().all(|load| (990..=1010).contains(load)), "{loads:?}");
    }

    #[test]
    fn least_connections_fills_the_gap_that_leavers_made() {
        let mut dealer = Dealer::new(Deal::LeastConnections);
        assert_eq!(dealer.choose(3, |index| [5, 1, 5][index]), 1);
    }
}
