//! What is owed to the subscribers: written by who publishes, read by who receives.

use super::ids::Ids;
use crate::random::Random;
use mio::Waker;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// Nobody waits.
const NEVER: u64 = u64::MAX;

/// Messages published, subscribers that must get them, and how far they have.
///
/// The publisher's window hangs on it: with one message in the window, each is published when all have the
/// one before.
#[derive(Debug)]
pub(crate) struct Ledger {
    ids: Ids,
    run: u32,
    accounts: Mutex<Accounts>,
    /// Deliveries that have been made or can be no more.
    settled: AtomicU64,
    /// The publisher waits until this much is settled.
    wanted: AtomicU64,
    waker: OnceLock<Waker>,
    /// No more is published.
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Accounts {
    per_id: Vec<Account>,
    /// Deliveries that all messages so far make.
    owed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    published: u32,
    subscribers: u32,
}

impl Ledger {
    pub(crate) fn new(ids: Ids) -> Self {
        let per_id = vec![Account::default(); ids.count() as usize];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let run = Random::new(now.as_secs() ^ u64::from(now.subsec_nanos()) << 32).next();
        Ledger {
            ids,
            run: u32::try_from(run >> 32).unwrap_or(0),
            accounts: Mutex::new(Accounts { per_id, owed: 0 }),
            settled: AtomicU64::new(0),
            wanted: AtomicU64::new(NEVER),
            waker: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn ids(&self) -> Ids {
        self.ids
    }

    /// A number that earlier runs hardly had.
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // Numbers: whatever a thread that has panicked left is consistent.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the next message of the id at `index`: its sequence number, and all deliveries owed with it.
    pub(crate) fn publish(&self, index: u32) -> (u32, u64) {
        let mut accounts = self.accounts();
        let account = &mut accounts.per_id[index as usize];
        let sequence = account.published;
        account.published = sequence.wrapping_add(1);
        let subscribers = account.subscribers;
        accounts.owed += u64::from(subscribers);
        (sequence, accounts.owed)
    }

    /// How many messages the id at `index` has had.
    pub(crate) fn published(&self, index: u32) -> u32 {
        self.accounts().per_id[index as usize].published
    }

    /// A subscriber is in; it must get what is published from the returned sequence number on.
    pub(crate) fn enter(&self, index: u32) -> u32 {
        let account = &mut self.accounts().per_id[index as usize];
        account.subscribers += 1;
        account.published
    }

    /// A subscriber is gone that has settled everything below `next`. Returns what it is still owed.
    pub(crate) fn leave(&self, index: u32, next: u32) -> u64 {
        let account = &mut self.accounts().per_id[index as usize];
        account.subscribers -= 1;
        u64::from(account.published.saturating_sub(next))
    }

    /// Deliveries owed so far.
    pub(crate) fn owed(&self) -> u64 {
        self.accounts().owed
    }

    /// Says how much is settled; wakes a publisher that has waited for that.
    pub(crate) fn settle(&self, total: u64) {
        self.settled.store(total, SeqCst);
        let wanted = self.wanted.load(SeqCst);
        if total >= wanted && self.wanted.compare_exchange(wanted, NEVER, SeqCst, SeqCst).is_ok() {
            self.wake();
        }
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Relaxed)
    }

    /// No more is published: the receiver may end once all that is owed is settled.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// The publisher's waker, set before it waits.
    pub(crate) fn set_waker(&self, waker: Waker) {
        // A second publisher would be a defect of the caller's; the first one keeps its waker.
        let _ = self.waker.set(waker);
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            // Fails only if the descriptor is gone, and its waiter with it.
            let _ = waker.wake();
        }
    }

    /// Whether `total` is settled; if not, the publisher is woken once it is.
    pub(crate) fn is_settled_or_wakes(&self, total: u64) -> bool {
        if self.settled.load(SeqCst) >= total {
            return true;
        }
        self.wanted.store(total, SeqCst);
        // The last delivery may have come before the wish was known.
        self.settled.load(SeqCst) >= total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("1-3".parse().unwrap())
    }

    #[test]
    fn a_message_is_owed_to_those_who_are_in_when_it_is_published() {
        let ledger = ledger();
        assert_eq!(ledger.enter(1), 0);
        assert_eq!((ledger.publish(1), ledger.publish(1), ledger.publish(2)), ((0, 1), (1, 2), (0, 2)));
        assert_eq!(ledger.enter(1), 2);
        ledger.publish(1);
        assert_eq!((ledger.owed(), ledger.published(1)), (4, 3));
        assert_eq!(ledger.leave(1, 1), 2);
        ledger.publish(1);
        assert_eq!(ledger.owed(), 5);
    }

    #[test]
    fn who_waits_is_woken_once_what_it_waits_for_is_settled() {
        let ledger = ledger();
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(1);
        ledger.set_waker(Waker::new(poll.registry(), mio::Token(9)).unwrap());
        assert!(ledger.is_settled_or_wakes(0) && !ledger.is_settled_or_wakes(5));
        ledger.settle(4);
        poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        ledger.settle(5);
        poll.poll(&mut events, Some(std::time::Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().count(), 1);
        assert!(ledger.is_settled_or_wakes(5));
    }
}
