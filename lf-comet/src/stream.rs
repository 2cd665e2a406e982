//! The order of all messages, and of who comes and goes meanwhile.

use crate::history::History;
use crate::logins::Login;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Events that are remembered for those who look recipients up.
const EVENTS_MAX: usize = 1 << 16;

/// What changes the recipients of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection has logged in under the id of this number.
    Login(u32, Login),
    /// A connection has logged out under all its ids, and may log in again under others.
    Logout(Login),
}

/// The order of all messages. One short critical section gives a message its place, records it and queues it, so that every
/// recipient sees increasing positions, and who logs in knows exactly from which position on messages will arrive.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) offset: u64,
    /// No message gets a place any more.
    pub(crate) closed: bool,
    pub(crate) history: History,
    /// The last events; nothing while nobody looks recipients up.
    recent: VecDeque<Event>,
}

/// A stream under its lock, and what can be known without it.
#[derive(Debug)]
pub(crate) struct Shared {
    stream: Mutex<Stream>,
    /// Events so far; changed under the lock.
    events: AtomicU64,
    /// Who looks recipients up.
    lookups: AtomicUsize,
}

/// Recipients are being looked up; events are remembered while it lives.
#[derive(Debug)]
pub(crate) struct Lookup<'a>(&'a Shared);

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        self.0.lookups.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(crate) fn new(history: History) -> Self {
        let stream = Stream { offset: 0, closed: false, history, recent: VecDeque::new() };
        Self { stream: Mutex::new(stream), events: AtomicU64::new(0), lookups: AtomicUsize::new(0) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock()
    }

    /// Begins to look recipients up. What [`events`](Self::events) answers from now on can be asked of
    /// [`since`](Self::since).
    pub(crate) fn look_up(&self) -> Lookup<'_> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        Lookup(self)
    }

    /// Events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::SeqCst)
    }

    /// Has an event take its place. What it is about has changed already.
    pub(crate) fn note(&self, stream: &mut Stream, event: Event) {
        // Either the lookup is seen here, or it sees the event's number and finds that the event is missing.
        if self.lookups.load(Ordering::SeqCst) == 0 {
            stream.recent = VecDeque::new();
        } else {
            if stream.recent.len() == EVENTS_MAX {
                stream.recent.pop_front();
            }
            stream.recent.push_back(event);
        }
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    /// The events after `count` of them, in their order; `None` if not all are remembered.
    pub(crate) fn since<'a>(&self, stream: &'a Stream, count: u64) -> Option<impl Iterator<Item = &'a Event>> {
        let came = usize::try_from(self.events() - count).ok()?;
        let known = stream.recent.len().checked_sub(came)?;
        Some(stream.recent.range(known..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::HistoryLimits;
    use crate::publication::Encoding;
    use lf_core::Token;

    fn event(id: u32) -> Event {
        Event::Login(id, Login { token: Token::from_bits(u64::from(id)), encoding: Encoding::Poll })
    }

    fn since(shared: &Shared, count: u64) -> Option<Vec<Event>> {
        shared.since(&shared.lock(), count).map(|events| events.copied().collect())
    }

    #[test]
    fn events_are_remembered_while_somebody_looks() {
        let shared = Shared::new(History::new(HistoryLimits::default()));
        let note = |id| shared.note(&mut shared.lock(), event(id));
        note(1);
        assert_eq!(since(&shared, 0), None);
        assert_eq!(since(&shared, 1), Some(vec![]));
        let lookup = shared.look_up();
        (2..=4).for_each(note);
        assert_eq!(since(&shared, 1), Some([2, 3, 4].map(event).to_vec()));
        assert_eq!(since(&shared, 3), Some(vec![event(4)]));
        assert_eq!(since(&shared, 0), None);
        (0..u32::try_from(EVENTS_MAX).unwrap()).for_each(note);
        assert_eq!(since(&shared, 3), None);
        drop(lookup);
        note(5);
        assert_eq!(shared.lock().recent.capacity(), 0);
    }
}
