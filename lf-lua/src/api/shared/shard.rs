//! A part of a dictionary: entries, found by key, in the order of their last use.

use super::value::Stored;
use hashbrown::HashTable;

/// No entry.
const NONE: u32 = u32::MAX;

/// Entries of one shard.
const ENTRIES_MAX: usize = NONE as usize;

/// Never expires.
pub(super) const NEVER_MS: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Box<[u8]>,
    hash: u64,
    pub(super) value: Stored,
    pub(super) expires_ms: u64,
    pub(super) flags: u32,
    newer: u32,
    older: u32,
}

impl Entry {
    pub(super) fn new(key: &[u8], hash: u64, value: Stored, expires_ms: u64, flags: u32) -> Self {
        Self { key: key.into(), hash, value, expires_ms, flags, newer: NONE, older: NONE }
    }

    pub(super) fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms > now_ms
    }

    pub(super) fn bytes(&self) -> usize {
        entry_bytes(&self.key, &self.value)
    }
}

/// What an entry takes: its place twice, since the room of a shard doubles, a place in the table, and the allocations
/// with what the allocator keeps for itself.
pub(super) fn entry_bytes(key: &[u8], value: &Stored) -> usize {
    const PLACE: usize = 2 * size_of::<Option<Entry>>() + 2 * size_of::<u32>() + 8 + 16;
    PLACE + key.len() + value.bytes()
}

#[derive(Debug)]
pub(super) struct Shard {
    table: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { table: HashTable::new(), entries: Vec::new(), vacant: Vec::new(), newest: NONE, oldest: NONE }
    }
}

impl Shard {
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |index: &u32| self.get(*index).is_some_and(|entry| *entry.key == *key);
        self.table.find(hash, is_it).copied()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Puts another value into an entry.
    pub(super) fn rewrite(&mut self, index: u32, value: Stored, expires_ms: u64, flags: u32) {
        if let Some(entry) = self.get_mut(index) {
            (entry.value, entry.expires_ms, entry.flags) = (value, expires_ms, flags);
        }
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The next younger entry.
    pub(super) fn newer(&self, index: u32) -> Option<u32> {
        self.get(index).map(|entry| entry.newer).filter(|&newer| newer != NONE)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().flatten()
    }

    /// Puts an entry in whose key is not there yet, as the newest. Answers `false` if there is no place.
    pub(super) fn insert(&mut self, entry: Entry) -> bool {
        let hash = entry.hash;
        let index = match self.vacant.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                index
            }
            None if self.entries.len() >= ENTRIES_MAX => return false,
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
            }
        };
        let entries = &self.entries;
        let hash_of = |index: &u32| entries.get(*index as usize).and_then(Option::as_ref).map_or(0, |entry| entry.hash);
        self.table.insert_unique(hash, index, hash_of);
        self.link_newest(index);
        true
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Entry> {
        self.unlink(index);
        let entry = self.entries.get_mut(index as usize)?.take()?;
        if let Ok(place) = self.table.find_entry(entry.hash, |&other| other == index) {
            place.remove();
        }
        self.vacant.push(index);
        Some(entry)
    }

    /// Makes an entry the newest.
    pub(super) fn touch(&mut self, index: u32) {
        if self.newest != index {
            self.unlink(index);
            self.link_newest(index);
        }
    }

    fn link_newest(&mut self, index: u32) {
        let older = self.newest;
        if let Some(entry) = self.get_mut(index) {
            (entry.newer, entry.older) = (NONE, older);
        }
        match self.get_mut(older) {
            Some(entry) => entry.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }

    fn unlink(&mut self, index: u32) {
        let Some(&Entry { newer, older, .. }) = self.get(index) else { return };
        match self.get_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.get_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}
