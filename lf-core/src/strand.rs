//! A value that one thread at a time works with, and nobody waits for.
//!
//! Who finds it busy leaves an event, which its owner serves before it is done with it.

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

/// An actor and its inbox.
#[derive(Debug)]
pub struct Strand<A: Actor> {
    actor: Mutex<A>,
    inbox: Mutex<VecDeque<A::Event>>,
}

impl<A: Actor> Strand<A> {
    /// A strand whose inbox is empty.
    #[must_use]
    pub fn new(actor: A) -> Self {
        Self { actor: Mutex::new(actor), inbox: Mutex::new(VecDeque::new()) }
    }

    /// Owns the actor, unless somebody does. Never waits.
    #[must_use]
    pub fn try_own(&self) -> Option<Owner<'_, A>> {
        Some(Owner { guard: Some(self.actor.try_lock()?), strand: self })
    }

    /// Has an event served: here and now if nobody owns the actor, else by who does.
    pub fn post(&self, event: A::Event) {
        self.inbox.lock().push_back(event);
        self.settle();
    }

    /// Serves what was left while somebody owned the actor. Whoever lets go of it looks again after that: an event that
    /// was left before is seen here, and who leaves one later finds the actor free.
    fn settle(&self) {
        while self.has_mail() {
            let Some(mut actor) = self.actor.try_lock() else { return };
            while let Some(event) = self.next() {
                actor.event(event);
            }
        }
    }

    fn has_mail(&self) -> bool {
        !self.inbox.lock().is_empty()
    }

    fn next(&self) -> Option<A::Event> {
        self.inbox.lock().pop_front()
    }
}

/// The right to work with the actor. Dropped, it serves what others left meanwhile.
#[must_use = "dropped, it lets go of the actor"]
pub struct Owner<'a, A: Actor> {
    guard: Option<MutexGuard<'a, A>>,
    strand: &'a Strand<A>,
}

impl<A: Actor> Owner<'_, A> {
    /// Lets go of the actor. If events were left meanwhile, calls `first`, and serves them.
    pub fn done(mut self, first: impl FnOnce()) {
        self.guard = None;
        if self.strand.has_mail() {
            first();
            self.strand.settle();
        }
    }
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
        if self.guard.take().is_some() {
            self.strand.settle();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Vec<u32>);

    impl Actor for Log {
        type Event = u32;

        fn event(&mut self, event: u32) {
            self.0.push(event);
        }
    }

    #[test]
    fn an_event_for_a_free_actor_is_served_at_once_and_one_for_a_busy_actor_by_its_owner() {
        let strand = Strand::new(Log::default());
        strand.post(1);
        let owner = strand.try_own().unwrap();
        assert_eq!(owner.0, [1]);
        assert!(strand.try_own().is_none());
        strand.post(2);
        assert_eq!(owner.0, [1], "the owner is not disturbed");
        let mut told = false;
        owner.done(|| told = true);
        assert!(told);
        let owner = strand.try_own().unwrap();
        assert_eq!(owner.0, [1, 2]);
        strand.post(3);
        drop(owner);
        strand.try_own().unwrap().done(|| panic!("nothing was left"));
        assert_eq!(strand.try_own().unwrap().0, [1, 2, 3]);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

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
            let strand = Arc::new(Strand::new(Log::default()));
            let other = {
                let strand = Arc::clone(&strand);
                thread::spawn(move || strand.post(1))
            };
            if let Some(owner) = strand.try_own() {
                drop(owner);
            }
            strand.post(2);
            other.join().unwrap();
            assert!(!strand.has_mail(), "both posts are over, and somebody has served them");
            let owner = strand.try_own().expect("nobody owns it");
            let mut seen = owner.0.clone();
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}
