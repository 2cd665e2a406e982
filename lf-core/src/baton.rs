//! Who leads a group: one worker waits in `epoll_wait`, the others are parked.
//!
//! The lead is a word, `term << 2 | state`. `VACANT`: up for grabs. `WAITING`: the leader is in `epoll_wait`.
//! `SERVING`: the leader runs turns, and may be deposed. A deposition or a hand-over starts a new term and leaves the
//! lead vacant; the first worker to come by takes it, which is usually the follower that was woken for it.

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

const VACANT: u64 = 0;
const WAITING: u64 = 1;
const SERVING: u64 = 2;
const STOPPED: u64 = 3;
const STATE: u64 = 3;

/// What a promotion found.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promoted {
    /// A follower is on its way.
    Woken,
    /// Nobody was parked; the lead stays vacant until a worker comes by.
    NobodyParked,
    /// The leader had gone on or stepped down meanwhile: nothing was done.
    TooLate,
}

/// Followers sleep one to a seat.
#[derive(Debug)]
struct Seat {
    called: Mutex<bool>,
    bell: Condvar,
}

#[derive(Debug)]
pub(crate) struct Baton {
    word: AtomicU64,
    /// Seats of those who sleep; the last in is the first out, so that a warm one wakes.
    parked: Mutex<Vec<usize>>,
    seats: Box<[Seat]>,
}

/// The lead of one term. Only who holds it waits for events.
#[derive(Debug)]
pub(crate) struct Lead {
    term: u64,
}

/// The word as the monitor saw it, to tell whether anything moved since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight(u64);

impl Sight {
    pub(crate) const fn is_serving(self) -> bool {
        self.0 & STATE == SERVING
    }

    /// What is seen while that leader serves.
    pub(crate) const fn serving(lead: &Lead) -> Self {
        Self(lead.term | SERVING)
    }
}

impl Baton {
    pub(crate) fn new(seats: usize) -> Self {
        let seat = || Seat { called: Mutex::new(false), bell: Condvar::new() };
        Self {
            word: AtomicU64::new(VACANT),
            parked: Mutex::new(Vec::with_capacity(seats)),
            seats: (0..seats).map(|_| seat()).collect(),
        }
    }

    /// Sleeps until the lead is free, and takes it. `None` says that the group has stopped.
    pub(crate) fn take(&self, seat: usize) -> Option<Lead> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            match word & STATE {
                STOPPED => return None,
                VACANT => {
                    if self.step(word, word | SERVING) {
                        return Some(Lead { term: word & !STATE });
                    }
                }
                _ => self.park(seat),
            }
        }
    }

    fn park(&self, seat: usize) {
        let mut parked = self.parked.lock();
        // Looked at again under the lock: who vacates the lead afterwards finds us in the list.
        let state = self.word.load(Ordering::Acquire) & STATE;
        if state == VACANT || state == STOPPED {
            return;
        }
        parked.push(seat);
        drop(parked);
        let mut called = self.seats[seat].called.lock();
        while !*called {
            called = self.seats[seat].bell.wait(called);
        }
        *called = false;
    }

    /// The leader goes to wait. `false`: it was deposed and must not.
    #[must_use]
    pub(crate) fn wait_begins(&self, lead: &Lead) -> bool {
        self.step(lead.term | SERVING, lead.term | WAITING)
    }

    /// The leader comes back from waiting; nobody deposes who waits. `false`: the group has stopped.
    #[must_use]
    pub(crate) fn wait_ends(&self, lead: &Lead) -> bool {
        self.step(lead.term | WAITING, lead.term | SERVING)
    }

    /// Whether the lead is still this one.
    pub(crate) fn holds(&self, lead: &Lead) -> bool {
        self.word.load(Ordering::Relaxed) & !STATE == lead.term
    }

    /// Ends the term of the leader that was seen serving, if it is the same one still, and calls a follower.
    pub(crate) fn depose(&self, seen: Sight) -> Promoted {
        if seen.is_serving() { self.promote(seen.0) } else { Promoted::TooLate }
    }

    fn promote(&self, serving: u64) -> Promoted {
        let next = (serving & !STATE).wrapping_add(STATE + 1) | VACANT;
        if !self.step(serving, next) {
            return Promoted::TooLate;
        }
        if self.call_one() { Promoted::Woken } else { Promoted::NobodyParked }
    }

    fn call_one(&self) -> bool {
        let Some(seat) = self.parked.lock().pop() else { return false };
        *self.seats[seat].called.lock() = true;
        self.seats[seat].bell.notify_one();
        true
    }

    pub(crate) fn sight(&self) -> Sight {
        Sight(self.word.load(Ordering::SeqCst))
    }

    /// Ends leading for good: everybody who sleeps or comes by is sent home.
    pub(crate) fn stop(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while !self.step(word, word | STOPPED) {
            word = self.word.load(Ordering::Relaxed);
        }
        while self.call_one() {}
    }

    // SeqCst: a leader that begins to serve must see that the monitor went to sleep, or be seen by it.
    fn step(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_deposed_may_not_wait() {
        let baton = Baton::new(2);
        let lead = baton.take(0).unwrap();
        assert_eq!(baton.depose(baton.sight()), Promoted::NobodyParked);
        assert!(!baton.holds(&lead));
        assert!(!baton.wait_begins(&lead));
        let next = baton.take(1).unwrap();
        assert!(baton.wait_begins(&next));
    }

    #[test]
    fn who_waits_is_not_deposed() {
        let baton = Baton::new(1);
        let lead = baton.take(0).unwrap();
        assert!(baton.wait_begins(&lead));
        assert_eq!(baton.depose(baton.sight()), Promoted::TooLate);
        assert!(baton.wait_ends(&lead));
    }

    #[test]
    fn a_stale_sight_deposes_nobody() {
        let baton = Baton::new(2);
        let lead = baton.take(0).unwrap();
        let seen = baton.sight();
        assert_eq!(baton.depose(Sight::serving(&lead)), Promoted::NobodyParked);
        let _next = baton.take(1).unwrap();
        assert_eq!(baton.depose(seen), Promoted::TooLate);
    }

    #[test]
    fn a_stopped_group_leads_nobody() {
        let baton = Baton::new(1);
        let lead = baton.take(0).unwrap();
        baton.stop();
        assert!(!baton.wait_begins(&lead));
        assert!(baton.take(0).is_none());
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    #[test]
    fn a_parked_follower_takes_over_from_a_leader_that_steps_down() {
        loom::model(|| {
            let baton = Arc::new(Baton::new(2));
            let leading = Arc::new(AtomicUsize::new(0));
            let lead = baton.take(0).unwrap();
            leading.fetch_add(1, Ordering::SeqCst);
            let follower = {
                let (baton, leading) = (Arc::clone(&baton), Arc::clone(&leading));
                thread::spawn(move || {
                    let lead = baton.take(1).unwrap();
                    assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "one leader at a time");
                    assert!(baton.wait_begins(&lead));
                })
            };
            leading.fetch_sub(1, Ordering::SeqCst);
            assert_ne!(baton.depose(Sight::serving(&lead)), Promoted::TooLate);
            follower.join().unwrap();
        });
    }

    #[test]
    fn a_deposition_and_a_hand_over_end_one_term_only_once() {
        loom::model(|| {
            let baton = Arc::new(Baton::new(2));
            let lead = baton.take(0).unwrap();
            let seen = baton.sight();
            let monitor = {
                let baton = Arc::clone(&baton);
                thread::spawn(move || baton.depose(seen))
            };
            let mine = baton.depose(Sight::serving(&lead));
            let theirs = monitor.join().unwrap();
            assert_eq!([mine, theirs].iter().filter(|p| **p == Promoted::TooLate).count(), 1);
            assert!(baton.take(1).is_some());
        });
    }

    #[test]
    fn stopping_sends_everybody_home() {
        loom::model(|| {
            let baton = Arc::new(Baton::new(2));
            let lead = baton.take(0).unwrap();
            let follower = {
                let baton = Arc::clone(&baton);
                thread::spawn(move || assert!(baton.take(1).is_none()))
            };
            baton.stop();
            assert!(!baton.wait_begins(&lead));
            assert!(baton.take(0).is_none());
            follower.join().unwrap();
        });
    }
}
