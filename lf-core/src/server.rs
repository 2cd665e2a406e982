//! Building, running, draining and stopping a server.

use crate::acceptor::{Acceptor, StopAccepting};
use crate::admin::{self, Exhibit};
use crate::codec::Codec;
use crate::config::{
    Config, Deal, OUTGOING_MAX_DEFAULT, OutputLimits, Promotion, Rebalance, Timeouts, Trigger, in_range,
};
use crate::dialer::Dialer;
use crate::error::Error;
use crate::group::Group;
use crate::handler::Handler;
use crate::listener::{Address, ListenOptions, Listener};
use crate::monitor;
use crate::remote::Remote;
use crate::service::{Endpoint, Service};
use crate::shared::Shared;
use crate::signals::Signals;
use crate::stats::Snapshot;
use crate::sys::claim::Notes;
use crate::worker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long threads get to end after the last connection has left.
const JOIN: Duration = Duration::from_secs(1);

/// How many servers this process has described, so that a dialer knows its own.
static IDENTITIES: AtomicU64 = AtomicU64::new(0);

struct Plan {
    address: Address,
    options: ListenOptions,
    service: u16,
}

/// Collects what a server is to be; [`build`](Self::build) checks it.
pub struct Builder {
    config: Config,
    plans: Vec<Plan>,
    services: Vec<Box<dyn Service>>,
    exhibits: Vec<Arc<dyn Exhibit>>,
    identity: u64,
    admin: Option<Address>,
}

macro_rules! settings {
    ($($(#[$doc:meta])+ $name:ident($($argument:ident: $type:ty),+) { $($field:ident).+ = $value:expr })+) => {
        impl Builder {
            $($(#[$doc])+
            #[must_use]
            pub fn $name(mut self, $($argument: $type),+) -> Self {
                self.config.$($field).+ = $value;
                self
            })+
        }
    };
}

settings! {
    /// Groups: epoll sets, each with its own workers. Default: one per core. 1 to 1024.
    groups(count: usize) { groups = count }
    /// Workers that a group starts with, parked ones included. Default 4.
    workers(count: usize) { workers = count }
    /// Workers that a group may grow to while handlers block. Default 64, at most 1024.
    workers_max(count: usize) { workers_max = count }
    /// Who waits for events. Default [`Promotion::Adaptive`].
    promotion(promotion: Promotion) { promotion = promotion }
    /// How epoll is asked. Default [`Trigger::OneShot`].
    trigger(trigger: Trigger) { trigger = trigger }
    /// Who gets a new connection. Default [`Deal::RoundRobin`].
    deal(deal: Deal) { deal = deal }
    /// Whether connections move between groups. Default [`Rebalance::Off`].
    rebalance(rebalance: Rebalance) { rebalance = rebalance }
    /// Pins the workers of group N to core N (modulo the cores). Default off.
    pin(pin: bool) { pin = pin }
    /// How long a leader may be stuck before it is deposed (100 us to 1 s). Default 1 ms.
    tick(tick: Duration) { tick = tick }
    /// Events taken from epoll at a time (1 to 1024); with [`Promotion::Kernel`] it is always 1. Default 64.
    batch_events(count: usize) { batch_events = count }
    /// Connections at most; more are refused. Default: as many as the descriptor limit allows.
    max_connections(count: usize) { max_connections = Some(count) }
    /// Connections of one peer address at most. Default: no limit.
    max_per_address(count: usize) { max_per_address = Some(count) }
    /// Connections that the server opens at most, and tasks ([`Dialer`]): so many descriptors are kept for them. Default
    /// 1024 if it has a dialer, else none.
    outgoing_max(count: usize) { outgoing_max = Some(count) }
    /// Connections accepted per second at most; more wait in the listen queue. Default: no limit.
    accepts_per_second(count: u32) { accepts_per_second = Some(count) }
    /// Deadlines of connections.
    timeouts(timeouts: Timeouts) { timeouts = timeouts }
    /// Bounds on queued output.
    output_limits(limits: OutputLimits) { output = limits }
    /// How long [`Running::drain`] waits for connections to finish. Default 10 s.
    drain_timeout(time: Duration) { drain = time }
    /// What the server's threads are called. Default "lf".
    name(name: impl Into<String>) { name = name.into() }
}

impl Builder {
    /// Adds a listener, whose connections `handler` serves.
    #[must_use]
    pub fn listen<C: Codec, H: Handler<C>>(self, address: Address, codec: C, handler: H) -> Self {
        self.listen_with(address, ListenOptions::default(), codec, handler)
    }

    /// Adds a listener with options of its own.
    #[must_use]
    pub fn listen_with<C: Codec, H: Handler<C>>(
        mut self,
        address: Address,
        options: ListenOptions,
        codec: C,
        handler: H,
    ) -> Self {
        let service = self.serve_with(codec, handler);
        self.plans.push(Plan { address, options, service });
        self
    }

    /// A way to open connections from the server's groups, which `handler` serves.
    pub fn dialer<C: Codec, H: Handler<C>>(&mut self, codec: C, handler: H) -> Dialer<C, H> {
        self.config.outgoing_max.get_or_insert(OUTGOING_MAX_DEFAULT);
        Dialer::new(self.identity, self.serve_with(codec, handler))
    }

    /// Shows more on the admin pages.
    pub(crate) fn exhibit(&mut self, exhibit: Arc<dyn Exhibit>) {
        self.exhibits.push(exhibit);
    }

    fn serve_with<C: Codec, H: Handler<C>>(&mut self, codec: C, handler: H) -> u16 {
        self.services.push(Box::new(Endpoint { codec, handler }));
        u16::try_from(self.services.len() - 1).unwrap_or(u16::MAX)
    }

    /// Serves `/status`, `/metrics`, `/connections` and `/healthz` over HTTP at an address of its own, which must be
    /// a loopback one or a unix socket. Default: nowhere.
    #[must_use]
    pub fn admin(mut self, address: Address) -> Self {
        self.admin = Some(address);
        self
    }

    /// Checks everything and opens the listeners. No connection is accepted yet.
    ///
    /// # Errors
    /// If a setting is out of range, the descriptor limit is too low, or a listener cannot be opened.
    pub fn build(self) -> Result<Server, Error> {
        self.config.validate()?;
        if self.plans.is_empty() {
            return Err(Error::NoListener);
        }
        in_range("listeners and dialers", self.services.len(), 1, usize::from(u16::MAX))?;
        let admin_descriptors = self.admin.as_ref().map_or(0, |_| admin::DESCRIPTORS);
        let outgoing_max = self.config.outgoing_max.unwrap_or(0);
        let max_connections = self.config.settle_connections(self.plans.len() + admin_descriptors, outgoing_max)?;
        let groups = (0..self.config.groups).map(|index| Group::new(index, &self.config)).collect::<Result<_, _>>()?;
        let mut listeners = Vec::new();
        for plan in self.plans {
            listeners.push((plan.service, Listener::open(&plan.address, &plan.options)?));
        }
        let drain = self.config.drain;
        let shared = Arc::new(Shared::new(
            self.config,
            groups,
            self.services.into(),
            self.exhibits.into(),
            self.identity,
            (max_connections, outgoing_max),
        ));
        let addresses = listeners.iter().map(|(_, listener)| listener.address().clone()).collect();
        let (acceptor, stop) = Acceptor::new(Arc::clone(&shared), listeners)?;
        let admin = self.admin.map(|address| admin::server(address, &shared)).transpose()?.map(Box::new);
        Ok(Server { shared, acceptor, stop, addresses, admin, drain })
    }
}

/// A server that is ready to start: its sockets are bound.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Acceptor,
    stop: StopAccepting,
    addresses: Vec<Address>,
    admin: Option<Box<Server>>,
    drain: Duration,
}

impl Server {
    /// Begins to describe a server.
    #[must_use]
    pub fn builder() -> Builder {
        let identity = IDENTITIES.fetch_add(1, Ordering::Relaxed);
        Builder {
            config: Config::default(),
            plans: Vec::new(),
            services: Vec::new(),
            exhibits: Vec::new(),
            identity,
            admin: None,
        }
    }

    /// Where the listeners are, in the order in which they were added, with their real ports.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin pages are.
    #[must_use]
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref()?.addresses.first()
    }

    /// Connections that the server takes at most.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.shared.max_connections
    }

    /// A handle to reach connections from any thread; it may be given to handlers before the start.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(&self.shared)
    }

    /// Starts the server's threads and returns. Signals are left alone.
    ///
    /// # Errors
    /// If a thread cannot be started; what was started is stopped again.
    pub fn start(self) -> Result<Running, Error> {
        let admin = self.admin.map(|server| server.start()).transpose()?.map(Box::new);
        let running =
            Running { shared: self.shared, stop: self.stop, addresses: self.addresses, admin, drain: self.drain };
        // From here on, an early return drops `running`, which stops what was started.
        let spawned = Error::system("start a thread");
        let acceptor = self.acceptor;
        let started = (0..running.shared.groups.len())
            .flat_map(|group| std::iter::repeat_n(group, running.shared.config.workers))
            .try_for_each(|group| worker::start(&running.shared, group).map(drop))
            .and_then(|()| monitor::start(&running.shared))
            .and_then(|()| {
                let name = format!("{}-acceptor", running.shared.config.name);
                running.shared.spawn(name, move || acceptor.run())
            });
        started.map_err(spawned)?;
        Ok(running)
    }

    /// Runs until `SIGTERM` or `SIGINT`, then drains; a second signal ends at once.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn run(self) -> Result<Ended, Error> {
        let signals = Signals::listen().map_err(Error::system("listen for signals"))?;
        self.run_until(&signals, || ())
    }

    /// As [`run`](Self::run), for who tells others where the server is before it runs: they may send `signals` at once.
    /// `last_orders` is called when the first one has come, before connections hear of the drain.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn run_until(self, signals: &Signals, last_orders: impl FnOnce()) -> Result<Ended, Error> {
        let running = self.start()?;
        let first = signals.wait();
        tracing::info!(signal = first, "draining; a second signal ends at once");
        last_orders();
        Ok(running.drain_unless(|| signals.pending()))
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Ended {
    /// Connections that were not done at the drain deadline, or at the second signal.
    pub cut: usize,
    /// The second signal, if one came.
    pub forced_by: Option<i32>,
    /// Threads that were stuck in handlers and were left behind.
    pub threads_left: usize,
}

impl Ended {
    /// What a program should exit with: 0 if everything was finished, 3 if connections were cut at the deadline,
    /// 128 + N if a second signal N came first.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.forced_by {
            Some(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            None if self.cut > 0 => 3,
            None => 0,
        }
    }
}

/// A server at work. Dropped, it stops at once.
pub struct Running {
    shared: Arc<Shared>,
    stop: StopAccepting,
    addresses: Vec<Address>,
    admin: Option<Box<Running>>,
    drain: Duration,
}

impl Running {
    /// Where the listeners are, in the order in which they were added.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin pages are.
    #[must_use]
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref()?.addresses.first()
    }

    /// The counters, summed now.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// A handle to reach connections from any thread.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(&self.shared)
    }

    /// Stops accepting, lets turns in progress finish and queued output go out, closes who is idle, and cuts the rest
    /// at the drain deadline.
    pub fn drain(self) -> Ended {
        self.drain_unless(|| None)
    }

    /// Cuts all connections and ends all threads.
    pub fn stop(mut self) -> Ended {
        self.drain = Duration::ZERO;
        self.drain_unless(|| None)
    }

    fn drain_unless(mut self, mut forced_by: impl FnMut() -> Option<i32>) -> Ended {
        let deadline = Instant::now() + self.drain;
        self.shared.draining.store(true, Ordering::Release);
        self.stop.stop();
        let mut signal = None;
        let mut give_up = || {
            signal = signal.or_else(&mut forced_by);
            signal.is_some() || Instant::now() >= deadline
        };
        // Who comes in between the stop and the sweep is found by the next sweep.
        let mut left = usize::MAX;
        while left > 0 && !give_up() {
            self.shared.tell_all(Notes::DRAIN, &mut give_up);
            let sweep = deadline.min(Instant::now() + Duration::from_millis(100));
            left = self.shared.wait_until_empty(sweep, &mut give_up);
        }
        let (cut, threads_left) = self.end(signal.is_none());
        if cut > 0 {
            tracing::warn!(connections = cut, "cut at the end of the drain");
        }
        Ended { cut, forced_by: signal, threads_left }
    }

    /// Ends the threads and, unless it has to be done at once, tells the handlers of the connections that are cut.
    /// Answers (connections cut, threads left behind).
    fn end(&mut self, properly: bool) -> (usize, usize) {
        self.shared.draining.store(true, Ordering::Release);
        self.stop.stop();
        let cut = self.shared.stats.connections.load(Ordering::Acquire);
        if let Some(admin) = &mut self.admin {
            admin.end(properly);
        }
        if !properly {
            return (cut, self.shared.stop(Instant::now()));
        }
        if cut > 0 || self.shared.stats.outgoing.load(Ordering::Acquire) > 0 {
            self.shared.tell_all(Notes::CLOSE, || false);
        }
        let threads_left = self.shared.stop(Instant::now() + JOIN);
        // What came in while the threads ended.
        self.shared.tell_all(Notes::CLOSE, || false);
        (cut, threads_left)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.shared.is_stopping() {
            self.end(true);
        }
    }
}
