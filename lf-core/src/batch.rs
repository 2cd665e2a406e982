//! The events of one wait, published so that another worker can take over what a stuck one left.
//!
//! The cursor word is `epoch << 32 | next << 16 | len`. Who advances it owns that event. An entry is read before
//! the cursor is advanced: the epoch proves that it was not overwritten meanwhile.

use crate::sync::{AtomicU64, Ordering};
use crate::sys::epoll::{Event, Mask};

#[derive(Debug)]
struct Entry {
    data: AtomicU64,
    mask: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Batch {
    cursor: AtomicU64,
    entries: Box<[Entry]>,
}

const LEN_BITS: u32 = 16;
const NEXT_BITS: u32 = 32;
const LOW: u64 = 0xffff;

impl Batch {
    pub(crate) fn new(capacity: usize) -> Self {
        let entry = || Entry { data: AtomicU64::new(0), mask: AtomicU64::new(0) };
        Self { cursor: AtomicU64::new(0), entries: (0..capacity).map(|_| entry()).collect() }
    }

    /// Puts new events up for claiming. The old ones must all have been claimed, and only the batch's own worker calls it.
    pub(crate) fn publish(&self, events: impl Iterator<Item = Event>) {
        let old = self.cursor.load(Ordering::Relaxed);
        debug_assert_eq!((old >> LEN_BITS) & LOW, old & LOW, "published over unclaimed events");
        let mut len = 0u64;
        for (entry, event) in self.entries.iter().zip(events) {
            entry.data.store(event.data, Ordering::Relaxed);
            entry.mask.store(u64::from(event.mask.0), Ordering::Relaxed);
            len += 1;
        }
        let epoch = (old >> NEXT_BITS).wrapping_add(1);
        self.cursor.store((epoch << NEXT_BITS) | len, Ordering::Release);
    }

    /// Takes the next event; `None` when none is left.
    #[allow(clippy::cast_possible_truncation, reason = "a mask was stored from 32 bits, an index has 16")]
    pub(crate) fn claim(&self) -> Option<Event> {
        let mut cursor = self.cursor.load(Ordering::Acquire);
        loop {
            let next = (cursor >> LEN_BITS) & LOW;
            if next >= cursor & LOW {
                return None;
            }
            let entry = &self.entries[next as usize];
            let data = entry.data.load(Ordering::Relaxed);
            let mask = Mask(entry.mask.load(Ordering::Relaxed) as u32);
            // AcqRel: an overwrite of the entry would come after all claims, ours included.
            match self.cursor.compare_exchange_weak(
                cursor,
                cursor + (1 << LEN_BITS),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(Event { data, mask }),
                Err(seen) => cursor = seen,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn events(from: u64, to: u64) -> impl Iterator<Item = Event> {
        (from..to).map(|data| Event { data, mask: Mask::READ })
    }

    #[test]
    fn every_event_is_claimed_once() {
        let batch = Batch::new(4);
        assert!(batch.claim().is_none());
        for round in 0..3 {
            batch.publish(events(round * 10, round * 10 + 4));
            let claimed: Vec<_> = std::iter::from_fn(|| batch.claim()).map(|event| event.data).collect();
            assert_eq!(claimed, (round * 10..round * 10 + 4).collect::<Vec<_>>());
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn owner_and_thief_claim_each_event_once_across_two_batches() {
        loom::model(|| {
            let batch = Arc::new(Batch::new(2));
            batch.publish([1, 2].into_iter().map(|data| Event { data, mask: Mask::READ }));
            let thief = {
                let batch = Arc::clone(&batch);
                thread::spawn(move || std::iter::from_fn(|| batch.claim()).take(2).map(|e| e.data).collect::<Vec<_>>())
            };
            let mut seen: Vec<_> = std::iter::from_fn(|| batch.claim()).map(|event| event.data).collect();
            batch.publish([3].into_iter().map(|data| Event { data, mask: Mask::READ }));
            seen.extend(std::iter::from_fn(|| batch.claim()).map(|event| event.data));
            seen.extend(thief.join().unwrap());
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3]);
        });
    }
}
