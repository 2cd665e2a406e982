//! What all threads of a server share.

use crate::admin::Exhibit;
use crate::admission::Admission;
use crate::baton::{Promoted, Sight};
use crate::bell::Bell;
use crate::config::{Config, Trigger};
use crate::conn::Table;
use crate::drive;
use crate::group::Group;
use crate::service::Service;
use crate::stats::{Count, Snapshot, Stats};
use crate::sys::claim::Notes;
use crate::sys::clock::monotonic_nanos;
use crate::token::Token;
use crate::work::{Work, signed};
use crate::worker;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) groups: Box<[Group]>,
    pub(crate) services: Box<[Box<dyn Service>]>,
    pub(crate) stats: Stats,
    pub(crate) admission: Admission,
    /// Wakes the monitor.
    pub(crate) bell: Bell,
    pub(crate) tick_nanos: u64,
    pub(crate) max_connections: usize,
    /// Connections that the server opens at most, and tasks.
    pub(crate) outgoing_max: usize,
    /// What parts of the server show on the admin pages.
    pub(crate) exhibits: Box<[Arc<dyn Exhibit>]>,
    /// Whose dialers may open them.
    pub(crate) identity: u64,
    started_nanos: u64,
    pub(crate) draining: AtomicBool,
    pub(crate) stopping: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Told when the last connection has left.
    empty: Condvar,
    empty_lock: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        groups: Box<[Group]>,
        services: Box<[Box<dyn Service>]>,
        exhibits: Box<[Arc<dyn Exhibit>]>,
        identity: u64,
        (max_connections, outgoing_max): (usize, usize),
    ) -> Self {
        Self {
            table: Table::new(max_connections + outgoing_max),
            groups,
            services,
            stats: Stats::new(),
            admission: Admission::new(config.max_per_address),
            bell: Bell::new(),
            tick_nanos: u64::try_from(config.tick.as_nanos()).unwrap_or(u64::MAX),
            max_connections,
            outgoing_max,
            exhibits,
            identity,
            started_nanos: monotonic_nanos(),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
            empty: Condvar::new(),
            empty_lock: Mutex::new(()),
            config,
        }
    }

    /// Nanoseconds since the server was made.
    pub(crate) fn now_nanos(&self) -> u64 {
        monotonic_nanos().saturating_sub(self.started_nanos)
    }

    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_nanos(self.now_nanos())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_nanos() / 1_000_000
    }

    pub(crate) fn is_edge(&self) -> bool {
        self.config.trigger == Trigger::Edge
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Bytes that were queued are out, or lost with their connection.
    pub(crate) fn forget_queued(&self, bytes: usize) {
        if bytes > 0 {
            self.stats.queued_bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.stats.snapshot(self.groups.iter().map(|group| group.connections.load(Ordering::Relaxed)).collect())
    }

    /// Ends the term of the leader that was seen serving, so that another worker takes the group's events, and goes before it
    /// from then on. `false` if it had gone on or stepped down meanwhile.
    pub(crate) fn depose(server: &Arc<Self>, group: usize, seen: Sight) -> bool {
        let group = &server.groups[group];
        if group.baton.sight() != seen {
            // Who leads now is another one.
            return false;
        }
        group.manners_of_leader().give_way_if(|| match group.baton.depose(seen) {
            Promoted::Woken => true,
            Promoted::NobodyParked => {
                Self::reinforce(server, group.index);
                true
            }
            Promoted::TooLate => false,
        })
    }

    /// Starts one more thread of the server.
    pub(crate) fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let handle = std::thread::Builder::new().name(name).spawn(body)?;
        self.threads.lock().push(handle);
        Ok(())
    }

    /// Adds a worker to a group in which nobody is left to lead, if it may have one more.
    pub(crate) fn reinforce(server: &Arc<Self>, group: usize) {
        match worker::start(server, group) {
            Ok(true) => server.stats.outside.add(Count::WorkersSpawned, 1),
            Ok(false) => server.stats.outside.add(Count::Starvations, 1),
            Err(error) => {
                server.stats.outside.add(Count::Starvations, 1);
                tracing::error!(group, %error, "cannot start another worker");
            }
        }
    }

    /// A connection has left.
    pub(crate) fn left(&self) {
        if self.stats.connections.fetch_sub(1, Ordering::AcqRel) == 1 && self.draining.load(Ordering::Relaxed) {
            let _told = self.empty_lock.lock();
            self.empty.notify_all();
        }
    }

    /// A place for one more connection that the server opens; `false` if there are as many as there may be.
    #[must_use]
    pub(crate) fn outgoing_enters(&self) -> bool {
        let count = &self.stats.outgoing;
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.outgoing_max).then_some(n + 1)).is_ok()
    }

    /// Such a connection has left.
    pub(crate) fn outgoing_left(&self) {
        self.stats.outgoing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits until nobody is connected; answers how many still are at the deadline.
    pub(crate) fn wait_until_empty(&self, deadline: Instant, mut give_up: impl FnMut() -> bool) -> usize {
        const LOOK: Duration = Duration::from_millis(20);
        let mut lock = self.empty_lock.lock();
        loop {
            let left = self.stats.connections.load(Ordering::Acquire);
            let now = Instant::now();
            if left == 0 || now >= deadline || give_up() {
                return left;
            }
            self.empty.wait_until(&mut lock, deadline.min(now + LOOK));
        }
    }

    /// Leaves `notes` with every connection, until `give_up`; who is idle is served right here.
    pub(crate) fn tell_all(self: &Arc<Self>, notes: Notes, mut give_up: impl FnMut() -> bool) {
        /// Connections between two looks at the clock and the signals.
        const LOOK_EVERY: usize = 1024;
        let mut work = Work::outside(self);
        for (told, token) in self.table.tokens().enumerate() {
            if told % LOOK_EVERY == 0 {
                if give_up() {
                    return;
                }
                work.read_clock();
            }
            drive::claim_and_drive(self, token, drive::ready_of(notes), &mut work, None);
        }
    }

    /// Closes a connection from any thread; `false` if it is gone.
    pub(crate) fn close(self: &Arc<Self>, token: Token) -> bool {
        let mut work = Work::outside(self);
        let slot = self.table.slot(token.slot());
        let there = slot.and_then(|slot| slot.claim.generation());
        // Its owner may be long, and what is sent meanwhile could arrive behind a gap.
        if let Some(slot) = slot {
            slot.outbox.seal(token.generation());
        }
        drive::claim_and_drive(self, token, drive::ready_of(Notes::CLOSE), &mut work, None);
        there == Some(token.generation())
    }

    /// Ends all threads, waiting until `deadline` for those that are busy. Answers how many were left behind.
    pub(crate) fn stop(&self, deadline: Instant) -> usize {
        // SeqCst: see `Dialer::launch`.
        self.stopping.store(true, Ordering::SeqCst);
        for group in &self.groups {
            group.baton.stop();
            group.wake();
        }
        self.bell.ring();
        let mut waiting = std::mem::take(&mut *self.threads.lock());
        while !waiting.is_empty() && Instant::now() < deadline {
            let (done, busy): (Vec<_>, Vec<_>) = waiting.into_iter().partition(JoinHandle::is_finished);
            for thread in done {
                let _ = thread.join();
            }
            waiting = busy;
            if !waiting.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        waiting.len()
    }
}
