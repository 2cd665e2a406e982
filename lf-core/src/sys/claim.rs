//! The claim word: who may touch a connection.
//!
//! One 64-bit word holds the slot's generation and its flags. A thread that has an event, or something to
//! send, claims `IDLE -> RUNNING`; who loses leaves a note and goes. The owner cannot release while a note
//! is there, so nothing is lost and nothing is touched after the release.

use crate::sync::{AtomicU64, Cell, Ordering};
use std::ops::{BitOr, Deref, DerefMut};

const RUNNING: u64 = 1 << 0;
const VACANT: u64 = 1 << 1;
const NOTES: u64 = 0xff << 8;
const GENERATION_SHIFT: u32 = 32;

/// What others want from the owner of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(u64);

impl Notes {
    pub(crate) const NONE: Self = Self(0);
    /// An event of the descriptor was taken from epoll.
    pub(crate) const IO: Self = Self(1 << 8);
    /// A message waits in the outbox.
    pub(crate) const OUTBOX: Self = Self(1 << 9);
    /// A deadline may have passed.
    pub(crate) const TIMER: Self = Self(1 << 10);
    /// Somebody asks to close.
    pub(crate) const CLOSE: Self = Self(1 << 11);
    /// The server drains: close once what is queued is out.
    pub(crate) const DRAIN: Self = Self(1 << 12);
    /// Go on with what is unread in user space.
    pub(crate) const RESUME: Self = Self(1 << 13);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Notes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A value that one thread at a time may own, never waited for.
#[derive(Debug)]
pub(crate) struct Claim<T> {
    word: AtomicU64,
    value: Cell<T>,
}

// SAFETY: the value is only reached through `Owned`, of which the claim word admits one at a time.
unsafe impl<T: Send> Sync for Claim<T> {}

/// What came of trying to own.
#[must_use]
#[derive(Debug)]
pub(crate) enum Claimed<'a, T> {
    /// The caller owns it, until it releases or vacates.
    Owned(Owned<'a, T>),
    /// Somebody else does, and will find the note.
    Noted,
    /// That life of the slot is over.
    Stale,
}

/// The right to touch the value. It must end in `release` or `vacate`; dropped, the slot stays owned for ever.
#[must_use]
#[derive(Debug)]
pub(crate) struct Owned<'a, T> {
    claim: &'a Claim<T>,
    generation: u32,
}

const fn word_of(generation: u32, flags: u64) -> u64 {
    ((generation as u64) << GENERATION_SHIFT) | flags
}

#[allow(clippy::cast_possible_truncation, reason = "the upper half of the word")]
const fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

impl<T> Claim<T> {
    pub(crate) fn vacant(value: T) -> Self {
        Self { word: AtomicU64::new(word_of(0, VACANT)), value: Cell::new(value) }
    }

    /// Takes a vacant slot; `None` if somebody lives there.
    pub(crate) fn occupy(&self) -> Option<Owned<'_, T>> {
        let word = self.word.load(Ordering::Acquire);
        if word & VACANT == 0 {
            return None;
        }
        let generation = generation_of(word);
        self.word
            // SeqCst here and in `generation`: see `timer::Alarm::set`.
            .compare_exchange(word, word_of(generation, RUNNING), Ordering::SeqCst, Ordering::Relaxed)
            .ok()
            .map(|_| Owned { claim: self, generation })
    }

    /// Owns the value if that life of it is idle, else leaves `note` for its owner.
    pub(crate) fn claim(&self, generation: u32, note: Notes) -> Claimed<'_, T> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if generation_of(word) != generation || word & VACANT != 0 {
                return Claimed::Stale;
            }
            let running = word & RUNNING != 0;
            let next = if running { word | note.0 } else { word | RUNNING };
            // AcqRel: whoever leaves a note publishes what it did before (a message in the outbox).
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if running => return Claimed::Noted,
                Ok(_) => return Claimed::Owned(Owned { claim: self, generation }),
                Err(seen) => word = seen,
            }
        }
    }

    /// The life that the slot lives now; `None` if it is vacant.
    pub(crate) fn generation(&self) -> Option<u32> {
        let word = self.word.load(Ordering::SeqCst);
        (word & VACANT == 0).then(|| generation_of(word))
    }
}

impl<'a, T> Owned<'a, T> {
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Takes the notes that were left so far.
    pub(crate) fn take_notes(&mut self) -> Notes {
        let bare = word_of(self.generation, RUNNING);
        Notes(self.claim.word.swap(bare, Ordering::AcqRel) & NOTES)
    }

    /// Lets go. If somebody left a note meanwhile, the caller still owns the value and has to see to it.
    pub(crate) fn release(mut self) -> Result<(), (Self, Notes)> {
        let running = word_of(self.generation, RUNNING);
        let idle = word_of(self.generation, 0);
        match self.claim.word.compare_exchange(running, idle, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => {
                let notes = self.take_notes();
                Err((self, notes))
            }
        }
    }

    /// Ends this life of the slot: every token and event of it is stale from here on.
    pub(crate) fn vacate(self) {
        let next = word_of(self.generation.wrapping_add(1), VACANT);
        // A swap, not a store: it follows every note in the word's history, as loom insists.
        self.claim.word.swap(next, Ordering::AcqRel);
    }
}

impl<T> Deref for Owned<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: RUNNING was set by us and is cleared only by consuming `self`.
        self.claim.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Owned<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes this the only reference.
        self.claim.value.with_mut(|value| unsafe { &mut *value })
    }
}
