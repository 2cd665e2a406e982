//! Which of several servers: smooth weighted round robin, the power of two choices, rendezvous hashing.

use super::config::Balance;
use super::roster::Server;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// FNV-1a with a finisher (Stafford's mix 13 of splitmix64): the same on every machine, and in every version.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Chooses for one group.
#[derive(Debug)]
pub(super) struct Picker {
    random: u64,
    /// Smooth round robin: what each server has saved up, by its place in the roster.
    saved: Vec<i64>,
}

impl Picker {
    pub(super) fn new(group: usize) -> Self {
        Self { random: mix(group as u64 + 1) | 1, saved: Vec::new() }
    }

    /// The place of a server among those that `may` be asked.
    pub(super) fn pick(
        &mut self,
        balance: Balance,
        servers: &[Arc<Server>],
        key: &[u8],
        may: impl Fn(&Server) -> bool,
    ) -> Option<usize> {
        match balance {
            Balance::RoundRobin => self.next_in_turn(servers, may),
            Balance::PowerOfTwo => self.less_loaded_of_two(servers, may),
            Balance::Hash => highest_score(servers, hash_of(key), may),
        }
    }

    /// nginx's smooth weighted round robin: everybody saves its weight, the richest pays for all.
    fn next_in_turn(&mut self, servers: &[Arc<Server>], may: impl Fn(&Server) -> bool) -> Option<usize> {
        if self.saved.len() != servers.len() {
            self.saved = vec![0; servers.len()];
        }
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, server) in servers.iter().enumerate().filter(|(_, server)| may(server)) {
            let weight = i64::from(server.weight());
            total += weight;
            self.saved[index] += weight;
            if best.is_none_or(|best| self.saved[index] > self.saved[best]) {
                best = Some(index);
            }
        }
        if let Some(best) = best {
            self.saved[best] -= total;
        }
        best
    }

    /// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
    fn less_loaded_of_two(&mut self, servers: &[Arc<Server>], may: impl Fn(&Server) -> bool) -> Option<usize> {
        let count = servers.iter().filter(|server| may(server)).count();
        let first = self.below(count)?;
        // Never the same one twice.
        let second = self.below(count - 1).map_or(first, |other| if other >= first { other + 1 } else { other });
        let nth = |nth: usize| servers.iter().enumerate().filter(|(_, server)| may(server)).nth(nth);
        let (one, other) = (nth(first)?, nth(second)?);
        // The load with the call that comes, so that weights count among the idle, too.
        let load = |server: &Server| (server.in_flight.load(Ordering::Relaxed) as u64 + 1, u64::from(server.weight()));
        let ((load_one, weight_one), (load_other, weight_other)) = (load(one.1), load(other.1));
        Some(if load_other * weight_one < load_one * weight_other { other.0 } else { one.0 })
    }

    /// xorshift64 (Marsaglia, 2003).
    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below `limit`")]
    fn below(&mut self, limit: usize) -> Option<usize> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (limit > 0).then(|| (self.random % limit as u64) as usize)
    }
}

/// Weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights by Schindelhauer and Schomaker, 2005): whoever is
/// missing, the order of the others stays, so only the keys of the missing one move.
fn highest_score(servers: &[Arc<Server>], key: u64, may: impl Fn(&Server) -> bool) -> Option<usize> {
    let score = |server: &Server| {
        // From above 0 to 1.
        let unit = ((mix(key ^ server.hash) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        f64::from(server.weight()) / -unit.ln()
    };
    let scored = servers.iter().enumerate().filter(|(_, server)| may(server)).map(|(i, server)| (i, score(server)));
    scored.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::upstream::roster::{Roster, Spec, muster};

    fn servers(list: &[&str]) -> Roster {
        let specs: Vec<_> = list.iter().map(|text| Spec::parse(text).expect("a server")).collect();
        muster("be", &specs, &[]).expect("a roster")
    }

    #[test]
    fn round_robin_goes_by_weight_and_does_not_bunch() {
        let servers = servers(&["127.0.0.1:1 weight=5", "127.0.0.1:2", "127.0.0.1:3"]);
        let mut picker = Picker::new(0);
        let order: Vec<_> =
            (0..14).map(|_| picker.pick(Balance::RoundRobin, &servers, b"", |_| true).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0].repeat(2));
    }

    #[test]
    fn two_choices_take_the_less_loaded() {
        let servers = servers(&["127.0.0.1:1", "127.0.0.1:2 weight=2", "127.0.0.1:3"]);
        let mut picker = Picker::new(3);
        for _ in 0..4000 {
            let chosen = picker.pick(Balance::PowerOfTwo, &servers, b"", |_| true).unwrap();
            servers[chosen].in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let loads: Vec<_> = servers.iter().map(|server| server.in_flight.load(Ordering::Relaxed)).collect();
        assert!(loads[0].abs_diff(1000) < 20 && loads[1].abs_diff(2000) < 20, "{loads:?}");
        let only = picker.pick(Balance::PowerOfTwo, &servers, b"", |server| server.weight() == 2);
        assert_eq!(only, Some(1));
        assert_eq!(picker.pick(Balance::PowerOfTwo, &servers, b"", |_| false), None);
    }

    #[test]
    fn hashing_goes_by_weight_and_only_the_keys_of_a_missing_server_move() {
        let servers = servers(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3 weight=2"]);
        let mut picker = Picker::new(0);
        let mut place = |key: u32, missing: Option<usize>| {
            let gone = missing.map(|index| Arc::clone(&servers[index]));
            let may = |server: &Server| gone.as_ref().is_none_or(|gone| gone.hash != server.hash);
            picker.pick(Balance::Hash, &servers, &key.to_le_bytes(), may).unwrap()
        };
        let homes: Vec<_> = (0..8000).map(|key| place(key, None)).collect();
        for (server, expected) in [(0, 2000), (1, 2000), (2, 4000)] {
            let count = homes.iter().filter(|home| **home == server).count();
            assert!(count.abs_diff(expected) < 200, "server {server}: {count}");
        }
        let mut taken = [0; 3];
        for (key, home) in (0..8000).zip(&homes) {
            let now = place(key, Some(1));
            assert!(now != 1 && (*home == 1 || now == *home), "key {key}");
            taken[now] += usize::from(*home == 1);
        }
        assert!(taken[0] > 500 && taken[2] > 1000, "{taken:?}");
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(hash_of(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash_of(b"user:42"), hash_of(b"user:42"));
        assert_ne!(hash_of(b"user:42"), hash_of(b"user:43"));
    }
}
