//! The hatch through which other threads hand messages to a connection that somebody else owns at the moment.

use crate::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that several connections may share.
pub type Message = Arc<[u8]>;

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: u32,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of the life of the slot that may receive; messages for another one are not taken.
    generation: u32,
    /// That life is over as soon as its owner notices: nothing may come behind what was refused.
    sealed: bool,
    /// Nothing is allocated while nothing waits: an idle slot pays one pointer.
    waiting: Option<Box<Waiting>>,
}

/// Messages for one slot of the connection table.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    Stale,
    Full,
}

fn len_of(message: &Message) -> u32 {
    u32::try_from(message.len()).unwrap_or(u32::MAX)
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(Inner::default()) }
    }

    /// Leaves a message for that life of the slot, if at most `bytes_max` wait then.
    pub(crate) fn push(&self, generation: u32, message: Message, bytes_max: u32) -> Result<(), Rejected> {
        let mut inner = self.inner.lock();
        if inner.generation != generation || inner.sealed {
            return Err(Rejected::Stale);
        }
        let before = inner.waiting.as_ref().map_or(0, |waiting| waiting.bytes);
        let bytes = before.saturating_add(len_of(&message));
        if bytes > bytes_max {
            return Err(Rejected::Full);
        }
        let waiting = inner.waiting.get_or_insert_default();
        waiting.bytes = bytes;
        waiting.messages.push_back(message);
        Ok(())
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&self) -> Option<Message> {
        let mut inner = self.inner.lock();
        let waiting = inner.waiting.as_mut()?;
        let message = waiting.messages.pop_front();
        waiting.bytes = waiting.bytes.saturating_sub(message.as_ref().map_or(0, len_of));
        if waiting.messages.is_empty() {
            inner.waiting = None;
        }
        message
    }

    /// Takes nothing more for that life of the slot.
    pub(crate) fn seal(&self, generation: u32) {
        let mut inner = self.inner.lock();
        inner.sealed |= inner.generation == generation;
    }

    /// Drops what waits and takes messages of the next life only. Answers the bytes dropped.
    pub(crate) fn turn_over(&self, next_generation: u32) -> u32 {
        let mut inner = self.inner.lock();
        inner.generation = next_generation;
        inner.sealed = false;
        inner.waiting.take().map_or(0, |waiting| waiting.bytes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_memory_goes_back() {
        let outbox = Outbox::new();
        for text in ["a", "bc"] {
            outbox.push(0, Arc::from(text.as_bytes()), 3).unwrap();
        }
        assert_eq!(outbox.push(0, Arc::from(&b"d"[..]), 3), Err(Rejected::Full));
        assert_eq!(outbox.pop().as_deref(), Some(&b"a"[..]));
        assert_eq!(outbox.pop().as_deref(), Some(&b"bc"[..]));
        assert!(outbox.pop().is_none());
        assert!(outbox.inner.lock().waiting.is_none());
    }

    #[test]
    fn nothing_comes_behind_what_was_refused_before_a_close() {
        let outbox = Outbox::new();
        outbox.push(0, Arc::from(&b"first"[..]), 5).unwrap();
        assert_eq!(outbox.push(0, Arc::from(&b"second"[..]), 5), Err(Rejected::Full));
        outbox.seal(1);
        outbox.seal(0);
        assert_eq!(outbox.pop().as_deref(), Some(&b"first"[..]));
        assert_eq!(outbox.push(0, Arc::from(&b"third"[..]), 5), Err(Rejected::Stale));
        outbox.turn_over(1);
        outbox.push(1, Arc::from(&b"next"[..]), 5).unwrap();
    }

    #[test]
    fn a_message_for_an_earlier_life_is_not_taken() {
        let outbox = Outbox::new();
        outbox.push(0, Arc::from(&b"old"[..]), 10).unwrap();
        assert_eq!(outbox.turn_over(1), 3);
        assert_eq!(outbox.push(0, Arc::from(&b"old"[..]), 10), Err(Rejected::Stale));
        assert!(outbox.pop().is_none());
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sys::claim::{Claim, Claimed, Notes, Owned};
    use loom::sync::Arc as LoomArc;
    use loom::thread;

    struct Slot {
        claim: Claim<Vec<u8>>,
        outbox: Outbox,
    }

    fn settle(slot: &Slot, mut owned: Owned<'_, Vec<u8>>) {
        loop {
            while let Some(message) = slot.outbox.pop() {
                owned.extend_from_slice(&message);
            }
            match owned.release() {
                Ok(()) => return,
                Err((again, notes)) => {
                    assert!(notes.has(Notes::OUTBOX) || notes.has(Notes::IO));
                    owned = again;
                }
            }
        }
    }

    fn send(slot: &Slot, byte: u8) {
        match slot.claim.claim(0, Notes::NONE) {
            Claimed::Owned(mut owned) => {
                owned.push(byte);
                settle(slot, owned);
            }
            Claimed::Noted => {
                slot.outbox.push(0, Arc::from([byte]), 9).unwrap();
                if let Claimed::Owned(owned) = slot.claim.claim(0, Notes::OUTBOX) {
                    settle(slot, owned);
                }
            }
            Claimed::Stale => panic!("nobody closes it"),
        }
    }

    #[test]
    fn no_message_is_lost_between_a_sender_and_an_owner_that_lets_go() {
        loom::model(|| {
            let slot = LoomArc::new(Slot { claim: Claim::vacant(Vec::new()), outbox: Outbox::new() });
            slot.claim.occupy().unwrap().release().unwrap();
            let sender = {
                let slot = LoomArc::clone(&slot);
                thread::spawn(move || send(&slot, 1))
            };
            send(&slot, 2);
            sender.join().unwrap();
            let Claimed::Owned(owned) = slot.claim.claim(0, Notes::NONE) else { panic!("it is idle") };
            let mut seen = owned.clone();
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }

    #[test]
    fn an_event_that_finds_the_owner_busy_is_served_by_it() {
        loom::model(|| {
            let slot = LoomArc::new(Slot { claim: Claim::vacant(Vec::new()), outbox: Outbox::new() });
            let owned = slot.claim.occupy().unwrap();
            let other = {
                let slot = LoomArc::clone(&slot);
                thread::spawn(move || match slot.claim.claim(0, Notes::IO) {
                    Claimed::Owned(owned) => {
                        owned.release().unwrap();
                        true
                    }
                    Claimed::Noted => false,
                    Claimed::Stale => panic!("nobody closes it"),
                })
            };
            let mut noted = false;
            let mut owned = Some(owned);
            while let Some(held) = owned.take() {
                if let Err((held, notes)) = held.release() {
                    noted |= notes.has(Notes::IO);
                    owned = Some(held);
                }
            }
            let served = other.join().unwrap();
            assert!(served != noted, "exactly one of the two serves the event");
        });
    }

    #[test]
    fn a_closed_life_takes_nothing_and_the_next_one_starts_clean() {
        loom::model(|| {
            let slot = LoomArc::new(Slot { claim: Claim::vacant(Vec::new()), outbox: Outbox::new() });
            let owned = slot.claim.occupy().unwrap();
            let sender = {
                let slot = LoomArc::clone(&slot);
                thread::spawn(move || match slot.claim.claim(0, Notes::NONE) {
                    Claimed::Stale => {}
                    Claimed::Owned(_) => panic!("it is never idle"),
                    Claimed::Noted => {
                        let _ = slot.outbox.push(0, Arc::from([1]), 9);
                        assert!(!matches!(slot.claim.claim(0, Notes::OUTBOX), Claimed::Owned(_)));
                    }
                })
            };
            slot.outbox.turn_over(1);
            owned.vacate();
            sender.join().unwrap();
            assert!(slot.outbox.pop().is_none());
            assert_eq!(slot.claim.occupy().unwrap().generation(), 1);
        });
    }
}
