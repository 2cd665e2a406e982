//! Which ids were sent something, where no messages are kept: the last position of each, to say whether something is lost.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// The last offsets of the keys that were marked last. A key is known by its hash, so it takes 17 bytes and not what a name
/// and a queue take; of two keys with one hash, the earlier one counts as marked with the later.
#[derive(Debug)]
pub(crate) struct Marks {
    hasher: RandomState,
    young: HashMap<u64, u64>,
    /// The generation before; forgotten as a whole when `young` is full.
    old: HashMap<u64, u64>,
    /// Everything up to here may be forgotten.
    floor: u64,
    generation_keys: usize,
}

impl Marks {
    /// Knows at least half of `keys`, and at most all of them.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            young: HashMap::new(),
            old: HashMap::new(),
            floor: 0,
            generation_keys: (keys / 2).max(1),
        }
    }

    /// Offsets increase from call to call.
    pub(crate) fn mark(&mut self, key: &impl Hash, offset: u64) {
        let key = self.hasher.hash_one(key);
        if self.young.len() == self.generation_keys && !self.young.contains_key(&key) {
            let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.floor = forgotten.into_values().fold(self.floor, u64::max);
        }
        self.young.insert(key, offset);
    }

    /// The last offset of a key, or one that it is not after.
    pub(crate) fn last(&self, key: &impl Hash) -> u64 {
        let key = self.hasher.hash_one(key);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied().unwrap_or(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_marked_last_are_known_and_of_others_a_bound() {
        let mut marks = Marks::new(10);
        assert_eq!(marks.last(&"never"), 0);
        for offset in 1..=1000u64 {
            marks.mark(&(offset % 100), offset);
            marks.mark(&"often", offset);
            assert_eq!((marks.last(&(offset % 100)), marks.last(&"often")), (offset, offset));
            assert!(marks.young.len() + marks.old.len() <= 10);
            // A key that was not marked for long: no later than it may have been, no earlier than it was.
            let other = marks.last(&((offset + 1) % 100));
            assert!(other <= offset && other + 99 >= offset);
        }
    }
}
