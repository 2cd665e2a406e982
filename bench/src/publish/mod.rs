//! Publishing over a server's control side: at a rate, or as fast as it can within a window.

mod engine;
mod ids;
mod ledger;
mod link;
mod message;

pub(crate) use engine::{Published, Publisher};
pub(crate) use ids::{Distribution, Ids};
pub(crate) use ledger::Ledger;
pub(crate) use link::Via;
pub(crate) use message::read;

use crate::load::Target;
use anyhow::{Result, bail};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When messages are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Open loop: so many a second, whatever the server does. Latency counts from the intended time.
    PerSecond(f64),
    /// Closed loop: whenever there is room, in the window and among the unanswered.
    Max,
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Rate::Max),
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
            Ok(_) | Err(_) => bail!("--rate {text}: give a number of messages per second above 0, or max"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}"),
            Rate::Max => f.write_str("max"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is published, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) control: Target,
    /// What a control side off loopback asks for.
    pub(crate) token: Option<String>,
    pub(crate) via: Via,
    pub(crate) rate: Rate,
    pub(crate) distribution: Distribution,
    pub(crate) seed: u64,
    /// Bytes of a message.
    pub(crate) size: usize,
    pub(crate) connections: u32,
    /// Unanswered messages per connection.
    pub(crate) depth: usize,
    /// Messages that not everybody has yet; 0: however many.
    pub(crate) window: usize,
    /// Publish so many and end.
    pub(crate) messages: Option<u64>,
    /// An answer, or in a full window a delivery, that takes longer is an error.
    pub(crate) timeout: Duration,
}

impl Plan {
    /// Messages that may be on their way to the server at a time.
    pub(crate) fn unanswered_max(&self) -> u32 {
        u32::try_from(self.depth).unwrap_or(u32::MAX).saturating_mul(self.connections)
    }

    /// # Errors
    /// If the plan is inconsistent, or nobody listens on the control address.
    pub(crate) fn check(&self) -> Result<()> {
        if self.connections == 0 || self.depth == 0 {
            bail!("--publishers and --depth are 1 or more");
        }
        message::Press::new(self.size)?;
        self.control.probe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_above_nothing_or_max() {
        for text in ["max", "0.5", "16666"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(text.parse::<Rate>().unwrap_err().to_string().contains("or max"), "{text}");
        }
    }
}
