//! A value that one thread at a time works with, and nobody waits for.
//!
//! Who finds it busy leaves an event. Its owner does not serve it, because that may take its time and an owner has a client of its
//! own: it has somebody else do that.

use crate::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// What a strand works for.
pub trait Actor {
    /// What others leave for it.
    type Event;

    /// Serves an event.
    fn event(&mut self, event: Self::Event);
}

/// Events that one call serves; what is left is for the next one.
#[cfg(not(loom))]
const EVENTS_MAX: usize = 64;
#[cfg(loom)]
const EVENTS_MAX: usize = 1;

/// An actor and its inbox.
pub struct Strand<A: Actor> {
    actor: Mutex<A>,
    inbox: Mutex<VecDeque<A::Event>>,
    relief: Box<dyn Fn() + Send + Sync>,
}

impl<A: Actor + std::fmt::Debug> std::fmt::Debug for Strand<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Strand").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<A: Actor> Strand<A> {
    /// A strand whose inbox is empty. `relief` has to see to it that [`serve`](Self::serve) is called soon, on any thread; it
    /// is called by who leaves events in the inbox that nobody else will see, and owns nothing any more.
    #[must_use]
    pub fn new(actor: A, relief: impl Fn() + Send + Sync + 'static) -> Self {
        Self { actor: Mutex::new(actor), inbox: Mutex::new(VecDeque::new()), relief: Box::new(relief) }
    }

    /// Owns the actor, unless somebody does. Never waits.
    #[must_use]
    pub fn try_own(&self) -> Option<Owner<'_, A>> {
        Some(Owner { guard: Some(self.actor.try_lock()?), strand: self })
    }

    /// Has an event served: here and now if nobody owns the actor, else once its owner lets go of it.
    pub fn post(&self, event: A::Event) {
        self.inbox.lock().push_back(event);
        self.serve();
    }

    /// Serves what is in the inbox, unless somebody owns the actor. Whoever lets go of it looks again after that: an event
    /// that was left before is seen here, and who leaves one later finds the actor free.
    pub fn serve(&self) {
        let mut served = 0;
        while self.has_mail() {
            let Some(mut actor) = self.actor.try_lock() else { return };
            while let Some(event) = self.next() {
                actor.event(event);
                served += 1;
                if served == EVENTS_MAX {
                    drop(actor);
                    return self.look_again();
                }
            }
        }
    }

    /// Who has let go of the actor leaves no event behind.
    fn look_again(&self) {
        if self.has_mail() {
            (self.relief)();
        }
    }

    fn has_mail(&self) -> bool {
        !self.inbox.lock().is_empty()
    }

    fn next(&self) -> Option<A::Event> {
        self.inbox.lock().pop_front()
    }
}

/// The right to work with the actor.
#[must_use = "dropped, it lets go of the actor"]
pub struct Owner<'a, A: Actor> {
    guard: Option<MutexGuard<'a, A>>,
    strand: &'a Strand<A>,
}

impl<A: Actor> Deref for Owner<'_, A> {
    type Target = A;

    fn deref(&self) -> &A {
        self.guard.as_ref().expect("held until it is dropped")
    }
}

impl<A: Actor> DerefMut for Owner<'_, A> {
    fn deref_mut(&mut self) -> &mut A {
        self.guard.as_mut().expect("held until it is dropped")
    }
}

impl<A: Actor> Drop for Owner<'_, A> {
    fn drop(&mut self) {
        self.guard = None;
        self.strand.look_again();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Log(Vec<u32>);

    impl Actor for Log {
        type Event = u32;

        fn event(&mut self, event: u32) {
            self.0.push(event);
        }
    }

    /// A strand, and how often somebody was asked to serve it.
    fn strand() -> (Strand<Log>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&asked);
        (Strand::new(Log::default(), move || _ = counts.fetch_add(1, Ordering::Relaxed)), asked)
    }

    #[test]
    fn an_event_for_a_free_actor_is_served_at_once_and_one_for_a_busy_actor_after_its_owner() {
        let (strand, asked) = strand();
        strand.post(1);
        let owner = strand.try_own().unwrap();
        assert_eq!(owner.0, [1]);
        assert!(strand.try_own().is_none());
        strand.post(2);
        assert_eq!(owner.0, [1], "the owner is not disturbed");
        drop(owner);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        strand.serve();
        assert_eq!(strand.try_own().unwrap().0, [1, 2]);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "nothing was left");
    }

    #[test]
    fn one_call_serves_so_many_and_has_the_rest_served_later() {
        let (strand, asked) = strand();
        let owner = strand.try_own().unwrap();
        (0..EVENTS_MAX + 1).for_each(|event| strand.post(u32::try_from(event).unwrap()));
        drop(owner);
        strand.serve();
        assert_eq!(strand.try_own().unwrap().0.len(), EVENTS_MAX);
        assert!(asked.load(Ordering::Relaxed) >= 2);
        strand.serve();
        assert_eq!(strand.try_own().unwrap().0.len(), EVENTS_MAX + 1);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;
    use std::sync::atomic::Ordering;

    #[derive(Default)]
    struct Log(Vec<u32>);

    impl Actor for Log {
        type Event = u32;

        fn event(&mut self, event: u32) {
            self.0.push(event);
        }
    }

    #[test]
    fn no_event_is_left_behind_when_the_owner_lets_go() {
        loom::model(|| {
            let asked = Arc::new(AtomicBool::new(false));
            let asks = Arc::clone(&asked);
            let strand = Arc::new(Strand::new(Log::default(), move || asks.store(true, Ordering::SeqCst)));
            let other = {
                let strand = Arc::clone(&strand);
                thread::spawn(move || strand.post(1))
            };
            if let Some(owner) = strand.try_own() {
                drop(owner);
            }
            strand.post(2);
            other.join().unwrap();
            // Both posts are over: somebody has served them, or was asked to.
            while strand.has_mail() {
                assert!(asked.swap(false, Ordering::SeqCst), "an event that nobody knows of");
                strand.serve();
            }
            let owner = strand.try_own().expect("nobody owns it");
            let mut seen = owner.0.clone();
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}
