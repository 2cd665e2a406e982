//! Lists in a dictionary.

use super::dict::{Dict, NO_MEMORY, Refusal, Room};
use super::shard::{Entry, NEVER_MS};
use super::value::{Scalar, Stored, item_bytes};
use std::collections::VecDeque;

const NOT_A_LIST: Refusal = "value not a list";

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

impl Dict {
    /// Adds to a list, which is made if there is none. Answers with its length. Evicts nothing that has not expired.
    pub(super) fn push(&self, key: &[u8], end: End, item: Scalar) -> Result<usize, Refusal> {
        let (hash, now_ms) = (self.hash(key), self.now_ms());
        let mut shard = self.shard(hash);
        let found = shard.find(hash, key);
        let live = found.filter(|&index| shard.get(index).is_some_and(|entry| entry.is_live(now_ms)));
        let Some(index) = live else {
            drop(shard);
            return self.begin(key, end, item);
        };
        if !matches!(shard.get(index), Some(Entry { value: Stored::List(_), .. })) {
            return Err(NOT_A_LIST);
        }
        shard.touch(index);
        if !self.make_room(&mut shard, Some(index), 0, item_bytes(&item), Room::OnlyWhatIsFree, &mut false) {
            return Err(NO_MEMORY);
        }
        let Some(Entry { value: Stored::List(items), .. }) = shard.get_mut(index) else { return Err(NOT_A_LIST) };
        match end {
            End::Left => items.push_front(item),
            End::Right => items.push_back(item),
        }
        Ok(items.len())
    }

    /// Makes a list of one item, unless somebody else has made one meanwhile.
    fn begin(&self, key: &[u8], end: End, item: Scalar) -> Result<usize, Refusal> {
        const MEANWHILE: Refusal = "made meanwhile";
        let begun = self.change(key, Room::OnlyWhatIsFree, |present| match present {
            Some(_) => Err(MEANWHILE),
            None => Ok(Some((Stored::List(VecDeque::from([item.clone()])), NEVER_MS, 0))),
        });
        match begun {
            Ok(_) => Ok(1),
            Err((MEANWHILE, _)) => self.push(key, end, item),
            Err((refusal, _)) => Err(refusal),
        }
    }

    /// Takes from a list. A list that is empty is gone.
    pub(super) fn pop(&self, key: &[u8], end: End) -> Result<Option<Scalar>, Refusal> {
        let (hash, now_ms) = (self.hash(key), self.now_ms());
        let mut shard = self.shard(hash);
        let Some(index) = shard.find(hash, key) else { return Ok(None) };
        let Some(entry) = shard.get_mut(index).filter(|entry| entry.is_live(now_ms)) else { return Ok(None) };
        let Stored::List(items) = &mut entry.value else { return Err(NOT_A_LIST) };
        let item = match end {
            End::Left => items.pop_front(),
            End::Right => items.pop_back(),
        };
        if items.capacity() > 64 && items.len() < items.capacity() / 4 {
            items.shrink_to(items.len() * 2);
        }
        let is_empty = items.is_empty();
        if let Some(item) = &item {
            self.give_back(item_bytes(item));
        }
        if is_empty {
            self.discard(&mut shard, index);
        } else {
            shard.touch(index);
        }
        Ok(item)
    }

    /// Length of a list; 0 if there is none.
    pub(super) fn llen(&self, key: &[u8]) -> Result<usize, Refusal> {
        let (hash, now_ms) = (self.hash(key), self.now_ms());
        let shard = self.shard(hash);
        let entry = shard.find(hash, key).and_then(|index| shard.get(index)).filter(|entry| entry.is_live(now_ms));
        match entry.map(|entry| &entry.value) {
            None => Ok(0),
            Some(Stored::List(items)) => Ok(items.len()),
            Some(Stored::Scalar(_)) => Err(NOT_A_LIST),
        }
    }
}
