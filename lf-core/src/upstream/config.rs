//! What an upstream is to be: servers, protocol, limits with units, defaults and reasons.

use std::path::PathBuf;
use std::time::Duration;

/// Where the servers of an upstream are written down. A server is `HOST:PORT`, `[V6]:PORT`, `unix:/PATH` or `unix:@NAME`,
/// and may be followed by `weight=N` (1 to 1000; default 1). A name with several addresses is a server for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Here.
    List(Vec<String>),
    /// In a file, one a line; what follows a `#` is a comment. The file is looked at again now and then; what cannot be
    /// understood is logged and changes nothing.
    File(PathBuf),
}

impl Default for Servers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// What the servers speak. One call at a time on a connection, apart from redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// nshead; the answer carries the `log_id` of its request.
    #[default]
    Nshead,
    /// HTTP/1.1.
    Http,
    /// A 32-bit big-endian length before each frame.
    Len32,
    /// Lines.
    Line,
    /// RESP2: commands follow each other without waiting, answers come in their order.
    Redis,
}

/// Which server gets a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, smoothly by weight.
    #[default]
    RoundRobin,
    /// The less loaded (by calls in flight and weight) of two random ones.
    PowerOfTwo,
    /// By [`Call::key`](super::Call::key): the same key to the same server, for as long as that one is up.
    Hash,
}

/// How many calls may be in flight, all groups together; more are refused at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// As many as connections and queues hold.
    #[default]
    None,
    /// So many.
    Constant(usize),
    /// As many as do not make the servers slower than they usually are.
    Adaptive {
        /// Never fewer.
        min: usize,
        /// Never more.
        max: usize,
    },
}

/// Asks servers now and then whether they are there, whatever calls say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Between two questions to one server.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// With HTTP, the path to `GET`, which has to be answered with 2xx. `None`: a connection is enough.
    pub path: Option<String>,
}

/// The settings of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its servers.
    pub servers: Servers,
    /// What they speak. Default nshead.
    pub protocol: Protocol,
    /// Who gets a call. Default round robin.
    pub balance: Balance,
    /// Idle connections that are kept, in each group. Default 64.
    pub keepalive: usize,
    /// How long an idle connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// Connections to one server at most; each group has its share of them, at least one. Default 1024.
    pub max_connections: usize,
    /// Calls in flight on one connection at most; the server has to answer them in their order. `None`, the default: 128 with
    /// redis, else 1. Not with HTTP.
    pub pipeline: Option<usize>,
    /// Calls that wait for a connection at most, for each server in each group. Default 1024.
    pub queue: usize,
    /// How long connecting may take. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a call may take, all in all, unless it says so itself. Default 5 s.
    pub timeout: Duration,
    /// How often a call may be tried again. Default 1. All retries and backups together are a fifth of the calls at most, beyond
    /// ten a second.
    pub retries: u32,
    /// Whether a call that was sent and not answered may be sent again although it does not say that it is idempotent.
    pub retry_sent: bool,
    /// After how long without an answer another server is asked, too. Default never. The first answer counts.
    pub backup_after: Option<Duration>,
    /// Failures within `fail_timeout` that take a server out. Default 3; 0 takes none out.
    pub max_fails: u32,
    /// How long it stays out, until one call tries it again. Default 10 s.
    pub fail_timeout: Duration,
    /// Calls in flight. Default no limit.
    pub limit: Limit,
    /// Questions of our own. Default none.
    pub probe: Option<Probe>,
    /// Bytes of an answer's body at most. Default 16 MiB.
    pub answer_max: usize,
    /// How often names are looked up again. Default 30 s; `None` never.
    pub dns_refresh: Option<Duration>,
    /// The `Host` of HTTP requests that name none. Default the upstream's name.
    pub host: Option<String>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            servers: Servers::default(),
            protocol: Protocol::default(),
            balance: Balance::default(),
            keepalive: 64,
            idle_timeout: Duration::from_secs(60),
            max_connections: 1024,
            pipeline: None,
            queue: 1024,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            retries: 1,
            retry_sent: false,
            backup_after: None,
            max_fails: 3,
            fail_timeout: Duration::from_secs(10),
            limit: Limit::None,
            probe: None,
            answer_max: 16 << 20,
            dns_refresh: Some(Duration::from_secs(30)),
            host: None,
        }
    }
}

/// What holds for all upstreams of a server.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamsOptions {
    /// How often files with servers are looked at. Default 1 s.
    pub file_poll: Duration,
}

impl Default for UpstreamsOptions {
    fn default() -> Self {
        Self { file_poll: Duration::from_secs(1) }
    }
}

/// Why there is no such upstream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// A setting is outside of what it may be.
    #[error("upstream {upstream}: {setting} = {value} is out of range: {limit}")]
    Setting {
        /// The upstream.
        upstream: String,
        /// The setting.
        setting: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        limit: &'static str,
    },
    /// A server could not be understood, or its name not be looked up.
    #[error(
        "upstream {upstream}: server {input:?}: {reason}; write HOST:PORT, [V6]:PORT or unix:/PATH, and perhaps weight=N"
    )]
    Server {
        /// The upstream.
        upstream: String,
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file with its servers could not be read.
    #[error("upstream {upstream}: cannot read its servers from {path}: {source}", path = path.display())]
    File {
        /// The upstream.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that looks after files and names could not be started.
    #[error("upstream {upstream}: cannot start the thread that looks its servers up: {source}")]
    Thread {
        /// The upstream.
        upstream: String,
        /// What the system said.
        source: std::io::Error,
    },
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Most of what is counted here is allocated as it is needed; a million is a slip.
const COUNT_MAX: usize = 1_000_000;

impl UpstreamConfig {
    pub(super) fn validate(&self, upstream: &str) -> Result<(), UpstreamError> {
        let wrong = |setting, value: String, limit| {
            Err(UpstreamError::Setting { upstream: upstream.to_owned(), setting, value, limit })
        };
        let times = [
            ("idle_timeout", Some(self.idle_timeout)),
            ("connect_timeout", Some(self.connect_timeout)),
            ("timeout", Some(self.timeout)),
            ("backup_after", self.backup_after),
            ("fail_timeout", Some(self.fail_timeout)),
            ("probe.interval", self.probe.as_ref().map(|probe| probe.interval)),
            ("probe.timeout", self.probe.as_ref().map(|probe| probe.timeout)),
            ("dns_refresh", self.dns_refresh),
        ];
        for (setting, time) in times {
            if time.is_some_and(|time| time < Duration::from_millis(1) || time > DAY) {
                return wrong(setting, format!("{:?}", time.unwrap_or_default()), "from 1 ms to a day");
            }
        }
        let counts = [
            ("max_connections", self.max_connections),
            ("pipeline", self.pipeline.unwrap_or(1)),
            ("limit", if let Limit::Constant(count) = self.limit { count } else { 1 }),
            ("limit.min", if let Limit::Adaptive { min, .. } = self.limit { min } else { 1 }),
        ];
        for (setting, count) in counts {
            if !(1..=COUNT_MAX).contains(&count) {
                return wrong(setting, count.to_string(), "from 1 to 1000000");
            }
        }
        if let (Protocol::Http, Some(count @ 2..)) = (self.protocol, self.pipeline) {
            return wrong("pipeline", count.to_string(), "1, because calls over HTTP do not share a connection");
        }
        let host = self.host.as_deref().unwrap_or(upstream);
        if self.protocol == Protocol::Http && !crate::codec::http::host::is_valid(host.as_bytes()) {
            return wrong(
                "host",
                format!("{host:?}"),
                "a host, perhaps with a port; where none is given, the upstream's name",
            );
        }
        for (setting, count) in [("keepalive", self.keepalive), ("queue", self.queue)] {
            if count > COUNT_MAX {
                return wrong(setting, count.to_string(), "from 0 to 1000000");
            }
        }
        match self.limit {
            Limit::Adaptive { min, max } if max < min || max > COUNT_MAX => {
                wrong("limit.max", max.to_string(), "from limit.min to 1000000")
            }
            Limit::None | Limit::Constant(_) | Limit::Adaptive { .. } => Ok(()),
        }
    }

    /// Calls in flight on one connection.
    pub(super) fn calls_per_connection(&self) -> usize {
        self.pipeline.unwrap_or(match self.protocol {
            Protocol::Redis => 128,
            Protocol::Nshead | Protocol::Http | Protocol::Len32 | Protocol::Line => 1,
        })
    }

    /// Whether a connection may have several.
    pub(super) fn pipelines(&self) -> bool {
        self.calls_per_connection() > 1
    }
}
