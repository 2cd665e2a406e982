//! One upstream: its servers, its pools, and the way of a call to one of them.

use super::call::{Call, CallError, Done, Place};
use super::config::UpstreamConfig;
use super::flight::{Attempt, Flight, Sent};
use super::keeper::{Chores, Item, Keeper};
use super::limit::{Budget, Limiter};
use super::link::{Client, Link, LinkState, State};
use super::pool::{Next, Pool, Seat};
use super::roster::{Roster, Server, Spec};
use super::stats::UpstreamStats;
use super::wire::{Wire, request};
use crate::codec::Raw;
use crate::dialer::{DialFailure, DialOptions, Dialer};
use crate::remote::Remote;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What all upstreams of a server share.
pub(super) struct Base {
    pub(super) links: Dialer<Wire, Client>,
    pub(super) chores: Dialer<Raw, Chores>,
    pub(super) bound: OnceLock<Bound>,
}

/// The running server, and a keeper in each of its groups.
pub(super) struct Bound {
    pub(super) remote: Remote,
    pub(super) keepers: Box<[Keeper]>,
}

impl Base {
    /// The running server; the first to come binds it. `None` if it is gone.
    pub(super) fn bind(self: &Arc<Self>, remote: &Remote) -> Option<&Bound> {
        let mut news = false;
        let bound = self.bound.get_or_init(|| {
            news = true;
            Bound { remote: remote.clone(), keepers: (0..remote.groups()).map(|_| Keeper::default()).collect() }
        });
        if news {
            for (group, keeper) in bound.keepers.iter().enumerate() {
                match self.chores.task(remote, group, Some((Arc::clone(self), group))) {
                    Ok(token) => keeper.begin(remote, token),
                    Err(error) => tracing::error!(%error, "nobody watches over the time of calls that wait"),
                }
            }
        }
        (!bound.keepers.is_empty()).then_some(bound)
    }
}

/// How a server is found for a request.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    Anybody,
    /// The same one, over a new connection.
    Again(&'a Arc<Server>),
    /// Another one.
    Backup,
}

/// One upstream.
pub(super) struct Core {
    pub(super) name: Arc<str>,
    pub(super) config: UpstreamConfig,
    pub(super) base: Arc<Base>,
    pub(super) specs: Mutex<Vec<Spec>>,
    pub(super) roster: RwLock<Roster>,
    pools: OnceLock<Box<[Pool]>>,
    pub(super) stats: UpstreamStats,
    pub(super) limiter: Limiter,
    budget: Budget,
    began: Instant,
    serial: AtomicU32,
    retired: AtomicBool,
}

impl Core {
    pub(super) fn new(
        name: &str,
        config: UpstreamConfig,
        base: &Arc<Base>,
        specs: Vec<Spec>,
        roster: Roster,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            limiter: Limiter::new(config.limit),
            config,
            base: Arc::clone(base),
            specs: Mutex::new(specs),
            roster: RwLock::new(roster),
            pools: OnceLock::new(),
            stats: UpstreamStats::default(),
            budget: Budget::default(),
            began: Instant::now(),
            serial: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        })
    }

    /// Milliseconds since it was made, and one more.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn pools(&self) -> &[Pool] {
        self.pools.get().map_or(&[], |pools| pools)
    }

    pub(super) fn pool(&self, group: usize) -> Option<&Pool> {
        self.pools().get(group)
    }

    /// Makes its pools, and begins to probe. Does nothing the second time.
    pub(super) fn begin(self: &Arc<Self>, bound: &Bound) {
        let mut news = false;
        self.pools.get_or_init(|| {
            news = true;
            let groups = bound.keepers.len();
            let links_max = (self.config.max_connections / groups.max(1)).max(1);
            (0..groups).map(|group| Pool::new(group, links_max)).collect()
        });
        if news
            && self.config.probe.is_some()
            && let Some(keeper) = bound.keepers.first()
        {
            keeper.watch(&bound.remote, Instant::now(), Item::Probe(Arc::downgrade(self)));
        }
    }

    fn at(&self, server: Option<&Arc<Server>>) -> Place {
        Place { upstream: Arc::clone(&self.name), server: server.map(|server| Arc::clone(&server.name)) }
    }

    pub(super) fn call(self: &Arc<Self>, remote: &Remote, group: usize, call: Call, done: Done) {
        self.stats.calls.add();
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let at = || self.at(None);
        let bound = self.base.bind(remote).filter(|_| !self.is_retired());
        let begun = bound.ok_or_else(|| CallError::Stopping { at: at() }).and_then(|bound| {
            self.begin(bound);
            self.pool(group).ok_or_else(|| CallError::Request { at: at(), reason: "there is no such group" })?;
            let request = request::write(&call, &self.name, &self.config, serial);
            let request = request.map_err(|reason| CallError::Request { at: at(), reason })?;
            self.limiter.enter().map_err(|limit| CallError::Overloaded { at: at(), limit })?;
            Ok(request)
        });
        match begun {
            Ok(request) => {
                self.budget.earn();
                self.dispatch(&Flight::new(self, group, call, request, done), Way::Anybody);
            }
            Err(error) => {
                self.stats.errors.add(&error);
                done(Err(error));
            }
        }
    }

    /// Whether the budget allows one more second request.
    pub(super) fn may_ask_twice(&self) -> bool {
        let may = self.budget.spend(self.now_ms());
        if !may {
            self.stats.over_budget.add();
        }
        may
    }

    /// Finds a server for one more request of `flight`.
    pub(super) fn dispatch(self: &Arc<Self>, flight: &Arc<Flight>, way: Way<'_>) {
        let roster = Arc::clone(&self.roster.read());
        let backup = matches!(way, Way::Backup);
        if backup && (roster.len() < 2 || !self.may_ask_twice()) {
            return;
        }
        let Some(pool) = self.pool(flight.group) else { return };
        let Some((server, seat, trial)) = pool.seat(self, &roster, flight, &way) else {
            if !backup {
                flight.fail(|at| CallError::NoServer { at }, None);
            }
            return;
        };
        if backup {
            self.stats.backups.add();
        }
        match seat {
            Seat::Link(link) => self.send_on(&link, Attempt::new(flight, &server, backup, trial), way),
            Seat::Dial => self.dial(Attempt::new(flight, &server, backup, trial)),
            Seat::Queued | Seat::QueueFull if trial => {
                server.health.end_trial();
                self.wait(flight, &server, &seat);
            }
            Seat::Queued | Seat::QueueFull => self.wait(flight, &server, &seat),
        }
    }

    fn wait(&self, flight: &Arc<Flight>, server: &Arc<Server>, seat: &Seat) {
        if matches!(seat, Seat::Queued) {
            self.stats.queued.add();
            return self.watch(flight);
        }
        let limit = self.config.queue;
        flight.fail(|at| CallError::QueueFull { at, limit }, Some(server));
    }

    /// Has the time of a call that no link watches over kept by its group's keeper.
    fn watch(&self, flight: &Arc<Flight>) {
        let (Some(bound), Some(due)) = (self.base.bound.get(), flight.next_due()) else { return };
        if let Some(keeper) = bound.keepers.get(flight.group) {
            keeper.watch(&bound.remote, due, Item::Flight(Arc::downgrade(flight)));
        }
    }

    fn send_on(self: &Arc<Self>, link: &Arc<Link>, attempt: Attempt, way: Way<'_>) {
        let flight = Arc::clone(&attempt.flight);
        if !flight.take_off(&attempt.server, link) {
            drop(attempt);
            return self.give_back(link, flight.group);
        }
        match link.push(attempt) {
            Ok(()) => {
                if !link.is_opened() {
                    self.watch(&flight);
                }
                link.poke(self);
            }
            Err(attempt) => {
                // It has ended this very moment.
                drop(attempt);
                flight.stay_on_ground(link);
                self.dispatch(&flight, way);
            }
        }
    }

    /// A seat was taken for a call that is over.
    fn give_back(self: &Arc<Self>, link: &Arc<Link>, group: usize) {
        let Some(pool) = self.pool(group) else { return };
        match pool.release(self, link) {
            Next::Keep => {}
            Next::Close => {
                link.shun();
                link.poke(self);
            }
            Next::Serve(flight) => self.send_on(link, Attempt::new(&flight, &link.server, false, false), Way::Anybody),
        }
    }

    fn dial(self: &Arc<Self>, attempt: Attempt) {
        let (flight, server) = (Arc::clone(&attempt.flight), Arc::clone(&attempt.server));
        let (Some(pool), Some(bound)) = (self.pool(flight.group), self.base.bound.get()) else { return };
        let link = Arc::new(Link::new(&server));
        if !flight.take_off(&server, &link) || link.push(attempt).is_err() {
            self.dispatch_waiting(pool.closed(&server, None));
            return;
        }
        // Deadlines of connecting are cut to milliseconds: one more, and it is not given up before the call.
        let left = flight.deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let options =
            DialOptions { connect_timeout: Some(self.config.connect_timeout.min(left)), ..DialOptions::default() };
        let state = State::Link(LinkState::new(self, &link, flight.group));
        match self.base.links.connect(&bound.remote, flight.group, &server.address, &options, state) {
            Ok(token) => {
                link.name(token);
                if self.config.pipelines() {
                    pool.offer(self, &link);
                }
                // Until it is connected, it has no timer of its own.
                if self.config.backup_after.is_some() {
                    self.watch(&flight);
                }
            }
            Err(failed) => {
                let waiting = pool.closed(&server, Some(&link));
                drop(link.close());
                let at = self.at(Some(&server));
                let error = match &failed.error {
                    DialFailure::Gone => CallError::Stopping { at },
                    DialFailure::Full { limit } => {
                        tracing::warn!(upstream = %self.name, limit, "no further connection: raise outgoing_max");
                        CallError::Overloaded { at, limit: *limit }
                    }
                    error @ (DialFailure::Stranger
                    | DialFailure::NoGroup { .. }
                    | DialFailure::NoTarget(_)
                    | DialFailure::Register(_)
                    | DialFailure::Connect { .. }) => CallError::Connect { at, error: error.raw_os_error() },
                };
                drop(failed);
                self.request_failed(&server, &error);
                flight.request_failed(&server, &link, error, Sent::No);
                self.dispatch_waiting(waiting);
            }
        }
    }

    pub(super) fn dispatch_waiting(self: &Arc<Self>, waiting: Vec<Arc<Flight>>) {
        for flight in waiting {
            self.dispatch(&flight, Way::Anybody);
        }
    }

    /// Counts a failed request, and takes its server out if there were too many.
    pub(super) fn request_failed(&self, server: &Arc<Server>, error: &CallError) {
        server.stats.errors.add(error);
        match error {
            CallError::Connect { .. }
            | CallError::Timeout { .. }
            | CallError::Closed { .. }
            | CallError::Malformed { .. } => self.server_failed(server),
            CallError::TooLarge { .. }
            | CallError::Overloaded { .. }
            | CallError::NoServer { .. }
            | CallError::QueueFull { .. }
            | CallError::Stopping { .. }
            | CallError::Request { .. } => {}
        }
    }

    pub(super) fn server_failed(&self, server: &Arc<Server>) {
        let window_ms = u64::try_from(self.config.fail_timeout.as_millis()).unwrap_or(u64::MAX / 2);
        if server.health.failed(self.now_ms(), self.config.max_fails, window_ms) {
            server.stats.outs.add();
            tracing::warn!(upstream = %self.name, server = %server.name, "the server is out");
        }
    }

    pub(super) fn server_succeeded(&self, server: &Arc<Server>) {
        if server.health.succeeded() {
            tracing::info!(upstream = %self.name, server = %server.name, "the server is back");
        }
    }

    /// Takes another list of servers. Who is not in it gets no further call.
    pub(super) fn set_roster(self: &Arc<Self>, roster: &Roster) {
        let old = std::mem::replace(&mut *self.roster.write(), Arc::clone(roster));
        for server in roster.iter() {
            server.retired.store(false, Ordering::Relaxed);
        }
        for server in old.iter().filter(|server| !roster.iter().any(|kept| Arc::ptr_eq(kept, server))) {
            server.retired.store(true, Ordering::Relaxed);
        }
        self.look_over_links();
    }

    /// It is an upstream no more: idle connections go, calls under way come to their end.
    pub(super) fn retire(self: &Arc<Self>) {
        self.retired.store(true, Ordering::Relaxed);
        self.look_over_links();
    }

    fn look_over_links(self: &Arc<Self>) {
        for link in self.pools().iter().flat_map(Pool::free_links) {
            if self.is_retired() || link.server.retired.load(Ordering::Relaxed) {
                link.poke(self);
            }
        }
    }
}
