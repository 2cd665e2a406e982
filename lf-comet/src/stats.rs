//! What is counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// How a subscriber is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `/test/{id}`: an HTML page that never ends.
    Test,
    /// `/stream/{id}`: bytes as they are.
    Stream,
    /// `/stream/{id}?format=ndjson`: a JSON line a message.
    Ndjson,
    /// `/events/{id}`: server-sent events.
    Events,
    /// `/poll/{id}`: a request a message, or some.
    Poll,
    /// `/ws/{id}`: WebSocket.
    Socket,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Test, Self::Stream, Self::Ndjson, Self::Events, Self::Poll, Self::Socket];

    /// Its name in metrics and lists.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Stream => "stream",
            Self::Ndjson => "ndjson",
            Self::Events => "sse",
            Self::Poll => "poll",
            Self::Socket => "websocket",
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// The program's counters and gauges.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $help])+ pub $name: Counter,)+
            /// Subscribers that are connected, by transport.
            pub connected: [Gauge; Transport::ALL.len()],
            /// Bytes that wait for subscribers that are slow, beside what the sockets hold.
            pub waiting_bytes: Gauge,
        }

        impl Stats {
            /// Name, explanation and value of every counter.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name.get()),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Ids that connections logged in as.
    logins,
    /// Ids that connections logged out of, as they asked or as they died.
    logouts,
    /// Messages that were published.
    published,
    /// Messages handed to connections.
    handed_over,
    /// Messages for connections that had just gone.
    gone,
    /// Messages dropped because too much waits for all subscribers, or for a connection that is busy.
    dropped_full,
    /// Messages dropped as they came, because too much waits for their subscriber.
    dropped_newest,
    /// Messages dropped as the oldest of those that wait for their subscriber.
    dropped_oldest,
    /// Messages lost with subscribers that were disconnected because too much waited for them.
    dropped_disconnected,
    /// Subscribers that were disconnected because too much waited for them.
    slow_disconnects,
    /// Subscribers that were disconnected because they answered no ping.
    silent_disconnects,
    /// Subscribers that came back and were given all that they had missed.
    resumed,
    /// Subscribers that came back and were told that something is lost.
    lost,
    /// Requests of subscribers refused for lack of a valid token or origin.
    unauthorized,
    /// Publications that waited because too many deliveries were under way.
    publisher_waits,
    /// Publications refused because too many deliveries were under way for too long.
    overloaded,
    /// Heartbeats sent.
    heartbeats,
}

impl Stats {
    /// The subscribers that are connected over `transport`.
    pub fn connected(&self, transport: Transport) -> &Gauge {
        &self.connected[transport as usize]
    }
}
