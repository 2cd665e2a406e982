//! Which ids there are, and which one is next.

use crate::random::Random;
use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Whole numbers in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    first: u32,
    count: u32,
}

impl Ids {
    /// `count` ids from `first` on.
    ///
    /// # Errors
    /// If there are none, or they pass the greatest number.
    pub(crate) fn new(first: u32, count: u32) -> Result<Self> {
        if count == 0 || first.checked_add(count - 1).is_none() {
            bail!("{count} ids from {first} on: give 1 or more, up to id {}", u32::MAX);
        }
        Ok(Ids { first, count })
    }

    pub(crate) fn count(self) -> u32 {
        self.count
    }

    pub(crate) fn at(self, index: u32) -> u32 {
        self.first + index
    }
}

impl FromStr for Ids {
    type Err = anyhow::Error;

    /// `FIRST-LAST`, or a count, from 1 on.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("ids {text:?}: give FIRST-LAST as in 1-10000, or how many, from 1 on");
        match text.split_once('-') {
            None => Ids::new(1, text.parse().with_context(wrong)?),
            Some((first, last)) => {
                let (first, last): (u32, u32) = (first.parse().with_context(wrong)?, last.parse().with_context(wrong)?);
                match last.checked_sub(first).and_then(|more| more.checked_add(1)) {
                    Some(count) => Ids::new(first, count),
                    None => bail!("{}", wrong()),
                }
            }
        }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.first + (self.count - 1))
    }
}

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who publishes how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// One id after the other.
    RoundRobin,
    /// Any id, each as likely as the other.
    Uniform,
    /// The n-th id as often as n to the power of minus this.
    Zipf(f64),
}

impl FromStr for Distribution {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("zipf:").map(str::parse::<f64>)) {
            ("round-robin", _) => Ok(Distribution::RoundRobin),
            ("uniform", _) => Ok(Distribution::Uniform),
            ("zipf", _) => Ok(Distribution::Zipf(1.0)),
            (_, Some(Ok(exponent))) if exponent.is_finite() && exponent >= 0.0 => Ok(Distribution::Zipf(exponent)),
            _ => bail!("distribution {text:?}: give round-robin, uniform, zipf or zipf:EXPONENT as in zipf:1.2"),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::RoundRobin => f.write_str("round-robin"),
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Draws ids by their index.
#[derive(Debug)]
pub(crate) struct Draw {
    count: u32,
    next: u32,
    random: Random,
    distribution: Distribution,
    /// Zipf: the share of the first ids up to each, ascending to 1.
    shares: Vec<f64>,
}

impl Draw {
    pub(crate) fn new(distribution: Distribution, count: u32, seed: u64) -> Self {
        let shares = match distribution {
            Distribution::Zipf(exponent) => shares(count, exponent),
            Distribution::RoundRobin | Distribution::Uniform => Vec::new(),
        };
        Draw { count, next: 0, random: Random::new(seed), distribution, shares }
    }

    pub(crate) fn next(&mut self) -> u32 {
        match self.distribution {
            Distribution::RoundRobin => {
                let index = self.next;
                self.next = if index + 1 < self.count { index + 1 } else { 0 };
                index
            }
            Distribution::Uniform => self.random.below(self.count),
            Distribution::Zipf(_) => {
                let share = self.random.unit();
                let index = self.shares.partition_point(|below| *below <= share);
                u32::try_from(index).unwrap_or(0).min(self.count - 1)
            }
        }
    }
}

fn shares(count: u32, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_range_or_a_count_and_nonsense_names_the_forms() {
        for (text, shown) in [("5", "1-5"), ("5-5", "5-5"), ("10-20", "10-20"), ("0-4294967294", "0-4294967294")] {
            assert_eq!(text.parse::<Ids>().unwrap().to_string(), shown);
        }
        for text in ["0", "", "5-4", "a-b", "0-4294967295"] {
            assert!(text.parse::<Ids>().is_err(), "{text}");
        }
        assert!("5-4".parse::<Ids>().unwrap_err().to_string().contains("FIRST-LAST"));
    }

    fn counts(distribution: &str, draws: usize) -> Vec<f64> {
        let mut draw = Draw::new(distribution.parse().unwrap(), 10, 3);
        let mut counts = vec![0.0; 10];
        (0..draws).for_each(|_| counts[draw.next() as usize] += 1.0);
        counts
    }

    #[test]
    fn ids_are_drawn_in_turn_alike_or_by_their_rank() {
        assert_eq!(counts("round-robin", 25)[..6], [3.0, 3.0, 3.0, 3.0, 3.0, 2.0]);
        assert!(counts("uniform", 10_000).iter().all(|count| (850.0..1150.0).contains(count)));
        let zipf = counts("zipf:1", 100_000);
        // 1/rank over the tenth harmonic number, 2.929.
        for (rank, count) in [(1.0, zipf[0]), (2.0, zipf[1]), (10.0, zipf[9])] {
            let expected = 100_000.0 / rank / 2.929;
            assert!((count / expected - 1.0).abs() < 0.05, "rank {rank}: {count} is not near {expected}");
        }
    }

    #[test]
    fn a_distribution_is_named_as_it_is_shown() {
        for text in ["round-robin", "uniform", "zipf:1.2"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert!("zipf:x".parse::<Distribution>().unwrap_err().to_string().contains("zipf:EXPONENT"));
    }
}
