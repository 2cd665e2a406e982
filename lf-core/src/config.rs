//! Every limit of a server, with its unit, its default and its reason.

use crate::error::Error;
use crate::sys::limits;
use std::time::Duration;

/// How a group keeps its events flowing while handlers block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promotion {
    /// One leader per group waits and serves; a follower is promoted when the leader is stuck in a handler.
    #[default]
    Adaptive,
    /// Every worker waits in `epoll_wait` and takes one event at a time; the kernel's wait queue passes the baton.
    Kernel,
}

/// How epoll is asked for events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// `EPOLLONESHOT`: an event disarms its connection, whose owner re-arms it.
    #[default]
    OneShot,
    /// `EPOLLET`: registered once; only the claim word keeps to one owner.
    Edge,
}

/// How the acceptor chooses a group for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deal {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The group that has the fewest connections.
    LeastConnections,
    /// The less loaded of two random groups.
    PowerOfTwo,
}

/// Whether connections move between groups when their turn ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rebalance {
    /// A connection stays where it was dealt.
    #[default]
    Off,
    /// A group that has this many percent more connections than the least loaded one (and at least two more) gives
    /// some away.
    Margin {
        /// In percent of the least loaded group's connections, 1 or more.
        percent: u32,
    },
}

/// Deadlines of a connection. `None` waits for ever.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From being accepted to the first byte.
    pub first_byte: Option<Duration>,
    /// From the first byte of a frame to its last, however steadily they drip (slow-loris).
    pub frame: Option<Duration>,
    /// Without a byte in either direction, no frame in progress.
    pub idle: Option<Duration>,
    /// Output is waiting and the peer takes none of it.
    pub write_stall: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Some(Duration::from_secs(60)),
            frame: Some(Duration::from_secs(30)),
            idle: Some(Duration::from_secs(300)),
            write_stall: Some(Duration::from_secs(30)),
        }
    }
}

/// Bounds on what is kept in memory for peers that read slowly, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct OutputLimits {
    /// Queued on one connection: from here on it is not read any more.
    pub high: usize,
    /// Queued on one connection: from here down it is read again.
    pub low: usize,
    /// Queued on one connection at most; a send over it is refused, a handler's answer over it closes the connection.
    pub max: usize,
    /// Queued on all connections together; sends over it are refused.
    pub total_max: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self { high: 256 * 1024, low: 64 * 1024, max: 16 * 1024 * 1024, total_max: 1024 * 1024 * 1024 }
    }
}

/// The validated settings of a server.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) groups: usize,
    pub(crate) workers: usize,
    pub(crate) workers_max: usize,
    pub(crate) promotion: Promotion,
    pub(crate) trigger: Trigger,
    pub(crate) deal: Deal,
    pub(crate) rebalance: Rebalance,
    pub(crate) pin: bool,
    pub(crate) tick: Duration,
    pub(crate) batch_events: usize,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_address: Option<usize>,
    pub(crate) outgoing_max: Option<usize>,
    pub(crate) accepts_per_second: Option<u32>,
    pub(crate) timeouts: Timeouts,
    pub(crate) output: OutputLimits,
    pub(crate) drain: Duration,
    pub(crate) name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            groups: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers: 4,
            workers_max: 64,
            promotion: Promotion::default(),
            trigger: Trigger::default(),
            deal: Deal::default(),
            rebalance: Rebalance::default(),
            pin: false,
            tick: Duration::from_millis(1),
            batch_events: 64,
            max_connections: None,
            max_per_address: None,
            outgoing_max: None,
            accepts_per_second: None,
            timeouts: Timeouts::default(),
            output: OutputLimits::default(),
            drain: Duration::from_secs(10),
            name: "lf".into(),
        }
    }
}

/// Groups at most: a connection remembers its group in 16 bits, and more than cores gain nothing.
const GROUPS_MAX: usize = 1024;
/// Workers of one group at most; each is a thread.
const WORKERS_MAX: usize = 1024;
/// Events of one wait at most; the cursor of a batch counts in 16 bits.
const BATCH_EVENTS_MAX: usize = 1024;
/// Slots of the connection table at most: tokens count them in 32 bits, and the last ones are reserved.
const CONNECTIONS_MAX: usize = 1 << 31;
/// Connections that a server opens at most, and tasks; together with the others they fit into 32 bits.
const OUTGOING_MAX: usize = 1 << 30;
/// ... unless told otherwise, if anything of it can open one.
pub(crate) const OUTGOING_MAX_DEFAULT: usize = 1024;
/// Connections at most unless told otherwise, where the descriptor limit is next to none.
const CONNECTIONS_MAX_DEFAULT: usize = 1 << 22;
/// Descriptors for standard streams, logs, and what the host program opens.
const DESCRIPTORS_SPARE: usize = 32;

pub(crate) fn in_range(name: &'static str, value: usize, min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let (value, limit) = (value.to_string(), format!("from {min} to {max}"));
    Err(Error::Setting { name, value, limit, remedy: "choose a value in that range" })
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        in_range("groups", self.groups, 1, GROUPS_MAX)?;
        in_range("workers", self.workers, 1, WORKERS_MAX)?;
        in_range("workers_max", self.workers_max, self.workers, WORKERS_MAX)?;
        in_range("batch_events", self.batch_events, 1, BATCH_EVENTS_MAX)?;
        in_range("max_connections", self.max_connections.unwrap_or(1), 1, CONNECTIONS_MAX)?;
        in_range("max_per_address", self.max_per_address.unwrap_or(1), 1, CONNECTIONS_MAX)?;
        in_range("outgoing_max", self.outgoing_max.unwrap_or(0), 0, OUTGOING_MAX)?;
        in_range("output.high", self.output.high, 1, self.output.max)?;
        in_range("output.low", self.output.low, 0, self.output.high - 1)?;
        let percent = match self.rebalance {
            Rebalance::Off => 1,
            Rebalance::Margin { percent } => percent as usize,
        };
        in_range("rebalance.margin", percent, 1, 10_000)?;
        if self.rebalance != Rebalance::Off && self.promotion == Promotion::Kernel {
            return Err(Error::Setting {
                name: "rebalance",
                value: format!("{:?}", self.rebalance),
                limit: "off with Promotion::Kernel, which has no leader to watch".into(),
                remedy: "use Promotion::Adaptive, or deal by least connections",
            });
        }
        in_range("accepts_per_second", self.accepts_per_second.unwrap_or(1) as usize, 1, 100_000_000)?;
        let tick_us = usize::try_from(self.tick.as_micros()).unwrap_or(usize::MAX);
        in_range("tick (microseconds)", tick_us, 100, 1_000_000)?;
        self.validate_timeouts()
    }

    fn validate_timeouts(&self) -> Result<(), Error> {
        let Timeouts { first_byte, frame, idle, write_stall } = self.timeouts;
        let named = [("first_byte", first_byte), ("frame", frame), ("idle", idle), ("write_stall", write_stall)];
        for (name, value) in named {
            let ms = value.map_or(1, |value| usize::try_from(value.as_millis()).unwrap_or(usize::MAX));
            in_range(name, ms, 1, 1000 * 3600 * 24 * 365).map_err(|_| Error::Setting {
                name,
                value: format!("{:?}", value.unwrap_or_default()),
                limit: "from 1 ms to 365 days".into(),
                remedy: "choose a value in that range, or none to wait for ever",
            })?;
        }
        Ok(())
    }

    /// Raises the descriptor limit and settles how many connections there may be beside the `outgoing` ones.
    pub(crate) fn settle_connections(&self, listeners: usize, outgoing: usize) -> Result<usize, Error> {
        let limit = limits::raise_descriptors().map_err(Error::system("read the limit of open descriptors"))?;
        // Two descriptors a group (epoll, wake-up), the acceptor's pair, the listeners.
        let reserved = DESCRIPTORS_SPARE + 2 * (self.groups + 1) + listeners + outgoing;
        let reachable = limit.saturating_sub(reserved);
        match self.max_connections {
            Some(wanted) if wanted > reachable => {
                Err(Error::Descriptors { wanted, limit, reserved, outgoing, reachable })
            }
            Some(wanted) => Ok(wanted),
            None if reachable == 0 => Err(Error::Descriptors { wanted: 1, limit, reserved, outgoing, reachable }),
            None => Ok(reachable.min(CONNECTIONS_MAX_DEFAULT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_limit() {
        let error = Config { groups: 0, ..Config::default() }.validate().unwrap_err();
        assert!(error.to_string().contains("groups = 0"), "{error}");
        assert!(error.to_string().contains("from 1 to 1024"), "{error}");
    }

    #[test]
    fn a_combination_that_would_do_nothing_is_refused() {
        let rebalance = Rebalance::Margin { percent: 20 };
        let config = Config { promotion: Promotion::Kernel, rebalance, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().contains("Adaptive"));
    }

    #[test]
    fn connections_beyond_the_descriptor_limit_are_refused_with_the_remedy() {
        let config = Config { max_connections: Some(1 << 30), ..Config::default() };
        let text = config.settle_connections(1, 0).unwrap_err().to_string();
        assert!(text.contains("max_connections = 1073741824") && text.contains("ulimit -Hn"), "{text}");
    }
}
