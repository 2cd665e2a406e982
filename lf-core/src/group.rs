//! A group: one epoll set, and what its workers share.

use crate::batch::Batch;
use crate::baton::Baton;
use crate::config::{Config, Promotion};
use crate::conn::{Slot, Table};
use crate::error::Error;
use crate::manners::Manners;
use crate::sys::claim::Notes;
use crate::sys::epoll::{Epoll, Mask};
use crate::sys::eventfd::EventFd;
use crate::timer::Timers;
use crate::token::Token;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Connections that want a turn which no event would bring: what was left undone, and deadlines.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    /// SeqCst: who adds and then sees nobody asleep is seen by who is about to sleep.
    len: AtomicUsize,
    waiting: Mutex<VecDeque<(Token, Notes)>>,
}

impl ReadyQueue {
    fn extend(&self, entries: impl IntoIterator<Item = (Token, Notes)>) {
        let mut waiting = self.waiting.lock();
        waiting.extend(entries);
        self.len.store(waiting.len(), Ordering::SeqCst);
    }

    fn pop(&self) -> Option<(Token, Notes)> {
        if self.len() == 0 {
            return None;
        }
        let mut waiting = self.waiting.lock();
        let entry = waiting.pop_front();
        self.len.store(waiting.len(), Ordering::SeqCst);
        entry
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) index: usize,
    pub(crate) epoll: Epoll,
    wake: EventFd,
    /// Every worker waits for events, and some may sleep while another is awake.
    pub(crate) all_wait: bool,
    pub(crate) baton: CachePadded<Baton>,
    /// The seat of who leads, or led last.
    leading: AtomicUsize,
    manners: Box<[Manners]>,
    /// A batch slot for each worker that may ever be.
    pub(crate) batches: Box<[Batch]>,
    /// Events that leaders have done; the monitor looks whether it moves.
    progress: CachePadded<AtomicU64>,
    pub(crate) timers: Timers,
    ready: ReadyQueue,
    /// Connections that are here.
    pub(crate) connections: CachePadded<AtomicUsize>,
    /// Connections to give away, and to whom: `count << 16 | group`.
    shed: AtomicU64,
    /// Workers that were started.
    pub(crate) workers: AtomicUsize,
}

const SHED_BITS: u32 = 16;

impl Group {
    pub(crate) fn new(index: usize, config: &Config) -> Result<Self, Error> {
        let epoll = Epoll::new().map_err(Error::system("create an epoll set"))?;
        let wake = EventFd::new().map_err(Error::system("create a wake-up descriptor"))?;
        // Not one-shot: at shutdown it has to be heard, too. Only one waits, and an edge saves it the read; where all
        // wait, all have to hear.
        let mask = match config.promotion {
            Promotion::Adaptive => Mask::READ.and(Mask::EDGE),
            Promotion::Kernel => Mask::READ,
        };
        epoll.add(wake.as_fd(), mask, Token::WAKE).map_err(Error::system("register a wake-up descriptor"))?;
        let batch_events = batch_events(config);
        Ok(Self {
            index,
            epoll,
            wake,
            all_wait: config.promotion == Promotion::Kernel,
            baton: CachePadded::new(Baton::new(config.workers_max)),
            leading: AtomicUsize::new(0),
            manners: (0..config.workers_max).map(|_| Manners::new()).collect(),
            batches: (0..config.workers_max).map(|_| Batch::new(batch_events)).collect(),
            progress: CachePadded::new(AtomicU64::new(0)),
            timers: Timers::new(),
            ready: ReadyQueue::default(),
            connections: CachePadded::new(AtomicUsize::new(0)),
            shed: AtomicU64::new(0),
            workers: AtomicUsize::new(0),
        })
    }

    /// How who leads behaves towards the others. Of who led before, for a moment after the lead was taken.
    pub(crate) fn manners_of_leader(&self) -> &Manners {
        &self.manners[self.leading.load(Ordering::Acquire)]
    }

    pub(crate) fn manners_of(&self, seat: usize) -> &Manners {
        &self.manners[seat]
    }

    /// Who has taken the lead sits there.
    pub(crate) fn is_led_from(&self, seat: usize) {
        self.leading.store(seat, Ordering::Release);
    }

    /// Wakes who waits for events.
    pub(crate) fn wake(&self) {
        self.wake.notify();
    }

    /// Wakes who waits for events, unless the group is awake and looks at its queue before it waits.
    pub(crate) fn wake_if_asleep(&self) {
        if self.all_wait || self.is_asleep() {
            self.wake.notify();
        }
    }

    /// Whether the leader may be asleep; if it is not, it looks at the queue before it sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.timers.is_asleep()
    }

    pub(crate) fn clear_wake(&self) {
        self.wake.clear();
    }

    /// Queues a turn. Whoever is not about to look at the queue itself has to [`wake`](Self::wake) the leader after it.
    pub(crate) fn queue_turn(&self, token: Token, notes: Notes) {
        self.ready.extend([(token, notes)]);
    }

    /// Queues turns for the deadlines that have passed. In the queue another worker can take them over.
    pub(crate) fn queue_due(&self, now_ms: u64, table: &Table) {
        let due = self.timers.expire(now_ms);
        if !due.is_empty() {
            self.ready.extend(due.into_iter().filter_map(|entry| Some((table.due(entry)?, Notes::TIMER))));
        }
    }

    pub(crate) fn queued_turn(&self) -> Option<(Token, Notes)> {
        self.ready.pop()
    }

    pub(crate) fn queued_turns(&self) -> usize {
        self.ready.len()
    }

    /// Sees to it that a slot's deadlines are looked at when the first is due, waking the leader if it would sleep past it.
    pub(crate) fn schedule(&self, slot: &Slot, token: Token, due_ms: u64) {
        if slot.alarm.set(due_ms) && self.timers.insert(due_ms, token.slot()) {
            self.wake();
        }
    }

    /// One event is done. Only the leader says so: one writer needs no locked instruction.
    pub(crate) fn progressed(&self) {
        self.progress.store(self.progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Asks the owners of `count` connections to move them to group `to`.
    pub(crate) fn ask_to_shed(&self, count: usize, to: usize) {
        self.shed.store(((count as u64) << SHED_BITS) | to as u64, Ordering::Relaxed);
    }

    /// Where to move a connection whose turn ends now; mostly nowhere.
    #[allow(clippy::cast_possible_truncation, reason = "sixteen bits")]
    pub(crate) fn take_shed(&self) -> Option<usize> {
        let shed = self.shed.load(Ordering::Relaxed);
        if shed >> SHED_BITS == 0 {
            return None;
        }
        let less = shed - (1 << SHED_BITS);
        self.shed.compare_exchange(shed, less, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some((shed & ((1 << SHED_BITS) - 1)) as usize)
    }

    /// A worker could not be started after all.
    pub(crate) fn give_back_seat(&self, seat: usize) {
        // If another one has been taken since, this one stays empty.
        let _ = self.workers.compare_exchange(seat + 1, seat, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A seat for one more worker; `None` when the group has all that it may have.
    pub(crate) fn take_seat(&self) -> Option<usize> {
        self.workers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < self.batches.len()).then_some(taken + 1)
            })
            .ok()
    }
}

/// Events of one wait: where nobody takes over what a blocked worker holds, it may hold one.
pub(crate) fn batch_events(config: &Config) -> usize {
    match config.promotion {
        Promotion::Adaptive => config.batch_events,
        Promotion::Kernel => 1,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn shedding_stops_after_as_many_as_were_asked_for() {
        let group = Group::new(0, &Config::default()).unwrap();
        assert_eq!(group.take_shed(), None);
        group.ask_to_shed(2, 7);
        assert_eq!([group.take_shed(), group.take_shed(), group.take_shed()], [Some(7), Some(7), None]);
    }

    #[test]
    fn seats_run_out_at_the_maximum() {
        let group = Group::new(0, &Config { workers: 1, workers_max: 2, ..Config::default() }).unwrap();
        assert_eq!([group.take_seat(), group.take_seat(), group.take_seat()], [Some(0), Some(1), None]);
    }
}
