//! The connections of one upstream in one group: which are free, how many there are, and who waits for one.

use super::balance::Picker;
use super::config::Balance;
use super::core::{Core, Way};
use super::flight::Flight;
use super::health::Standing;
use super::link::Link;
use super::roster::Server;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What there is to one server. A link is free while it may take one more call.
#[derive(Default)]
struct Bench {
    /// The last given back is the first taken: the others may grow old and go.
    free: Vec<Arc<Link>>,
    /// Links that are there, or being opened.
    open: usize,
    queue: VecDeque<Arc<Flight>>,
}

struct Inner {
    picker: Picker,
    /// By the server's address in memory, which an `Arc` in each link and in the roster keeps.
    benches: HashMap<usize, Bench>,
    /// Links without a call.
    idle: usize,
}

pub(super) struct Pool {
    inner: Mutex<Inner>,
    /// This group's share.
    links_max: usize,
}

/// Where a call goes.
pub(super) enum Seat {
    /// To a link that has room for it.
    Link(Arc<Link>),
    /// To a link that has to be opened first.
    Dial,
    Queued,
    QueueFull,
}

/// What becomes of a link that has done with a call.
pub(super) enum Next {
    Serve(Arc<Flight>),
    Keep,
    Close,
}

fn key_of(server: &Arc<Server>) -> usize {
    Arc::as_ptr(server) as usize
}

impl Pool {
    pub(super) fn new(group: usize, links_max: usize) -> Self {
        let inner = Inner { picker: Picker::new(group), benches: HashMap::new(), idle: 0 };
        Self { inner: Mutex::new(inner), links_max }
    }

    /// Chooses a server, and a seat there. `true`: the call is the one that tries whether its server is back.
    pub(super) fn seat(
        &self,
        core: &Core,
        roster: &[Arc<Server>],
        flight: &Arc<Flight>,
        way: &Way<'_>,
    ) -> Option<(Arc<Server>, Seat, bool)> {
        let tried = flight.tried();
        let mut inner = self.inner.lock();
        let (server, trial) = match way {
            Way::Again(server) if !server.retired.load(Ordering::Relaxed) => (Arc::clone(server), false),
            Way::Again(_) | Way::Anybody | Way::Backup => {
                inner.choose(core, roster, (&flight.key, &tried), way, self.links_max)?
            }
        };
        let fresh = matches!(way, Way::Again(_));
        let Inner { benches, idle, .. } = &mut *inner;
        let bench = benches.entry(key_of(&server)).or_default();
        let seat = if fresh && bench.open < self.links_max {
            bench.open += 1;
            Seat::Dial
        } else if let Some(link) = bench.take_free(core, idle) {
            Seat::Link(link)
        } else if bench.open < self.links_max {
            bench.open += 1;
            Seat::Dial
        } else {
            if bench.queue.len() >= core.config.queue {
                bench.queue.retain(|waiting| !waiting.is_over());
            }
            if bench.queue.len() < core.config.queue {
                bench.queue.push_back(Arc::clone(flight));
                Seat::Queued
            } else {
                Seat::QueueFull
            }
        };
        Some((server, seat, trial))
    }

    /// A link that takes several calls is there for others, too.
    pub(super) fn offer(&self, core: &Core, link: &Arc<Link>) {
        let mut inner = self.inner.lock();
        if link.is_closed() || link.load() >= core.config.calls_per_connection() {
            return;
        }
        let Inner { benches, idle, .. } = &mut *inner;
        benches.entry(key_of(&link.server)).or_default().put_free(link, idle);
    }

    /// A call has left a link.
    pub(super) fn release(&self, core: &Core, link: &Arc<Link>) -> Next {
        let mut inner = self.inner.lock();
        let Inner { benches, idle, .. } = &mut *inner;
        let bench = benches.entry(key_of(&link.server)).or_default();
        let unwanted = link.is_shunned() || core.is_retired() || link.server.retired.load(Ordering::Relaxed);
        if !unwanted && let Some(flight) = bench.next_waiting() {
            return Next::Serve(flight);
        }
        let load = link.add_load(-1);
        let too_many = load == 0 && *idle >= core.config.keepalive;
        if unwanted || too_many {
            bench.drop_free(link, idle, false);
            return if load == 0 { Next::Close } else { Next::Keep };
        }
        if link.is_free() {
            *idle += usize::from(load == 0);
        } else {
            bench.put_free(link, idle);
        }
        Next::Keep
    }

    /// Takes a link out if no call has it; `false` if one has.
    pub(super) fn retire(&self, link: &Arc<Link>) -> bool {
        let mut inner = self.inner.lock();
        if link.load() > 0 {
            return false;
        }
        inner.forget(link);
        true
    }

    /// No further call goes to this link.
    pub(super) fn shun(&self, link: &Arc<Link>) {
        let mut inner = self.inner.lock();
        link.shun();
        inner.forget(link);
    }

    /// A link has ended, or was never there. Answers who waited for it: one call, or all if it was the last link to its server.
    pub(super) fn closed(&self, server: &Arc<Server>, link: Option<&Arc<Link>>) -> Vec<Arc<Flight>> {
        let mut inner = self.inner.lock();
        if let Some(link) = link {
            inner.forget(link);
        }
        let Some(bench) = inner.benches.get_mut(&key_of(server)) else { return Vec::new() };
        bench.open = bench.open.saturating_sub(1);
        if bench.open > 0 {
            return bench.next_waiting().into_iter().collect();
        }
        let waiting = std::iter::from_fn(|| bench.next_waiting()).collect();
        inner.benches.remove(&key_of(server));
        waiting
    }

    /// Links that are free, for a look at whether they are still wanted.
    pub(super) fn free_links(&self) -> Vec<Arc<Link>> {
        self.inner.lock().benches.values().flat_map(|bench| bench.free.iter().map(Arc::clone)).collect()
    }

    /// (links, idle ones, calls that wait)
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock();
        let open = inner.benches.values().map(|bench| bench.open).sum();
        let waiting = inner.benches.values().map(|bench| bench.queue.len()).sum();
        (open, inner.idle, waiting)
    }
}

impl Bench {
    fn take_free(&mut self, core: &Core, idle: &mut usize) -> Option<Arc<Link>> {
        while let Some(link) = self.free.last() {
            let link = Arc::clone(link);
            if link.is_closed() {
                self.drop_free(&link, idle, true);
                continue;
            }
            let load = link.add_load(1);
            if load == 1 {
                *idle -= 1;
            }
            if load >= core.config.calls_per_connection() {
                self.free.pop();
                link.set_free(false);
            }
            return Some(link);
        }
        None
    }

    fn put_free(&mut self, link: &Arc<Link>, idle: &mut usize) {
        if !link.is_free() {
            link.set_free(true);
            *idle += usize::from(link.load() == 0);
            self.free.push(Arc::clone(link));
        }
    }

    /// `counted`: without a call it is among the idle ones.
    fn drop_free(&mut self, link: &Arc<Link>, idle: &mut usize, counted: bool) {
        if link.is_free() {
            link.set_free(false);
            self.free.retain(|free| !Arc::ptr_eq(free, link));
            *idle -= usize::from(counted && link.load() == 0);
        }
    }

    fn next_waiting(&mut self) -> Option<Arc<Flight>> {
        while let Some(flight) = self.queue.pop_front() {
            if !flight.is_over() {
                return Some(flight);
            }
        }
        None
    }
}

impl Inner {
    fn forget(&mut self, link: &Arc<Link>) {
        let Self { benches, idle, .. } = self;
        if let Some(bench) = benches.get_mut(&key_of(&link.server)) {
            bench.drop_free(link, idle, true);
        }
    }

    fn has_room(&self, server: &Server, links_max: usize) -> bool {
        let bench = self.benches.get(&(std::ptr::from_ref(server) as usize));
        bench.is_none_or(|bench| bench.open < links_max || !bench.free.is_empty())
    }

    /// Who is up and was not asked before comes first; then who was; then, if all are out, anybody.
    fn choose(
        &mut self,
        core: &Core,
        roster: &[Arc<Server>],
        (key, tried): (&[u8], &[Arc<Server>]),
        way: &Way<'_>,
        links_max: usize,
    ) -> Option<(Arc<Server>, bool)> {
        let now_ms = core.now_ms();
        let fresh = |server: &Server| !tried.iter().any(|tried| std::ptr::eq(Arc::as_ptr(tried), server));
        let up = |server: &Server| server.health.standing(now_ms) != Standing::Out;
        let balance = core.config.balance;
        let mut picker = std::mem::replace(&mut self.picker, Picker::new(0));
        let mut pick = |may: &dyn Fn(&Server) -> bool| picker.pick(balance, roster, key, may);
        let roomy = |server: &Server| self.has_room(server, links_max);
        // A key belongs to its server, also when that one is busy.
        let first =
            if balance == Balance::Hash { None } else { pick(&|server| up(server) && fresh(server) && roomy(server)) };
        let chosen = match way {
            Way::Backup => first.or_else(|| pick(&|server| up(server) && fresh(server) && roomy(server))),
            Way::Anybody | Way::Again(_) => {
                let by_standing = first.or_else(|| pick(&|server| up(server) && fresh(server))).or_else(|| pick(&up));
                by_standing.or_else(|| {
                    core.stats.all_out.add();
                    pick(&fresh).or_else(|| pick(&|_| true))
                })
            }
        };
        self.picker = picker;
        let server = Arc::clone(roster.get(chosen?)?);
        let trial = server.health.standing(now_ms) == Standing::OnTrial && server.health.begin_trial();
        Some((server, trial))
    }
}
