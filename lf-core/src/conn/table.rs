//! The server's connections: one table in chunks that never move, so that a token stays good when its connection
//! changes group.

use super::Conn;
use crate::outbox::Outbox;
use crate::sys::claim::{Claim, Claimed, Notes, Owned};
use crate::timer::{Alarm, Entry};
use crate::token::Token;
use parking_lot::Mutex;
use std::sync::OnceLock;

/// Slots that are allocated at a time: few, for a server that has few connections.
const CHUNK_SLOTS: usize = 256;

/// A place for a connection, and the hatch to it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) claim: Claim<Conn>,
    pub(crate) outbox: Outbox,
    pub(crate) alarm: Alarm,
}

#[derive(Debug)]
struct Free {
    /// The last given back is the first taken: its cache lines are warm.
    slots: Vec<u32>,
    /// Slots from here on were never used.
    fresh: usize,
}

#[derive(Debug)]
pub(crate) struct Table {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    free: Mutex<Free>,
    capacity: usize,
}

impl Table {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            chunks: (0..capacity.div_ceil(CHUNK_SLOTS)).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free { slots: Vec::new(), fresh: 0 }),
            capacity,
        }
    }

    pub(crate) fn slot(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_SLOTS)?.get()?.get(index % CHUNK_SLOTS)
    }

    /// Takes a vacant slot; `None` when the table is full.
    pub(crate) fn occupy(&self) -> Option<(Token, &Slot, Owned<'_, Conn>)> {
        let index = self.take_index()?;
        let (chunk, place) = (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS);
        let slots = self.chunks[chunk].get_or_init(|| {
            let slot = || Slot { claim: Claim::vacant(Conn::VACANT), outbox: Outbox::new(), alarm: Alarm::new() };
            (0..CHUNK_SLOTS).map(|_| slot()).collect()
        });
        let owned = slots[place].claim.occupy()?;
        Some((Token::new(index, owned.generation()), &slots[place], owned))
    }

    fn take_index(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if let Some(index) = free.slots.pop() {
            return Some(index);
        }
        if free.fresh == self.capacity {
            return None;
        }
        let index = u32::try_from(free.fresh).ok()?;
        free.fresh += 1;
        Some(index)
    }

    /// Ends a connection's life. The value must have been emptied (its descriptor closed) before.
    pub(crate) fn vacate(&self, token: Token, owned: Owned<'_, Conn>) {
        owned.vacate();
        self.free.lock().slots.push(token.slot());
    }

    /// Owns that life of a connection, or leaves a note for who does.
    pub(crate) fn claim(&self, token: Token, note: Notes) -> (Option<&Slot>, Claimed<'_, Conn>) {
        match self.slot(token.slot()) {
            Some(slot) => (Some(slot), slot.claim.claim(token.generation(), note)),
            None => (None, Claimed::Stale),
        }
    }

    /// A wheel's entry fires: who has to look at their deadlines.
    pub(crate) fn due(&self, entry: Entry) -> Option<Token> {
        let slot = self.slot(entry.slot)?;
        if !slot.alarm.fired(entry.due_ms) {
            return None;
        }
        slot.claim.generation().map(|generation| Token::new(entry.slot, generation))
    }

    /// Tokens of the connections that are there now; they may be gone when looked at.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let fresh = self.free.lock().fresh;
        (0..u32::try_from(fresh).unwrap_or(u32::MAX))
            .filter_map(|index| Some(Token::new(index, self.slot(index)?.claim.generation()?)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_takes_nobody_and_a_vacated_slot_is_a_new_life() {
        let table = Table::new(1);
        let (first, _, owned) = table.occupy().unwrap();
        assert!(table.occupy().is_none());
        table.vacate(first, owned);
        let (second, _, _owned) = table.occupy().unwrap();
        assert_eq!(first.slot(), second.slot());
        assert!(matches!(table.claim(first, Notes::IO).1, Claimed::Stale));
        assert!(matches!(table.claim(second, Notes::IO).1, Claimed::Noted));
        assert_eq!(table.tokens().collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn an_idle_connection_fits_its_memory_budget() {
        assert!(size_of::<Slot>() <= 144, "{}", size_of::<Slot>());
        // 256 bytes are promised; two wheel entries (a vector may have grown to twice its use) go on top.
        assert!(size_of::<Slot>() + 2 * 8 <= 256, "{}", size_of::<Slot>());
    }
}
