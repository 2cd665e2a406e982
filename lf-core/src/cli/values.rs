//! What an operator writes for the policies of a server.

use crate::config::{Deal, Promotion, Trigger};
use clap::ValueEnum;
use clap::builder::PossibleValue;

impl ValueEnum for Promotion {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Adaptive, Self::Kernel]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Adaptive => ("adaptive", "One leader per group; a follower is promoted when the leader blocks"),
            Self::Kernel => ("kernel", "All workers wait in `epoll_wait`"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for Trigger {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::OneShot, Self::Edge]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::OneShot => ("oneshot", "EPOLLONESHOT and re-arm"),
            Self::Edge => ("edge", "EPOLLET"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for Deal {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::RoundRobin, Self::LeastConnections, Self::PowerOfTwo]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::RoundRobin => ("round-robin", "One group after the other"),
            Self::LeastConnections => ("least", "The group with the fewest connections"),
            Self::PowerOfTwo => ("p2c", "The less loaded of two random groups"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}
