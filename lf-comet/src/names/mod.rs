//! Ids and their numbers.
//!
//! Connections and subscriptions are kept under numbers of four bytes; this is where a number gets its name. A name is here
//! while it is in use (somebody is connected) or kept (it has subscriptions), and its number is reused after that.
//!
//! Locks, in the order in which they are taken: the shard of a name's hash, then the chunk of its number; two chunks are
//! never locked at a time. A name appears and disappears under both of its locks, so who holds either sees it whole. The free
//! numbers have a lock of their own, under which nothing else is locked.

mod id;
mod name;
mod numbers;
mod shelves;

use hashbrown::HashTable;
pub use id::{ID_BYTES_MAX, IdError, parse_id};
use name::Name;
pub(crate) use name::NameRef;
use numbers::Numbers;
pub use numbers::Pin;
use parking_lot::{Mutex, MutexGuard};
pub(crate) use shelves::Shelves;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shards of the way from names to numbers.
const SHARDS: usize = 64;
/// Numbers under one lock; also what is allocated at a time.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;

/// The name has a number.
const NAMED: u8 = 1;
/// It has subscriptions.
const KEPT: u8 = 2;
/// Somebody has interned it since it was last found vacant.
const USED: u8 = 4;

/// Names, their numbers, and a value for each of them.
pub struct Names<T> {
    shards: Box<[Mutex<HashTable<u32>>]>,
    chunks: Shelves<Mutex<Chunk<T>>>,
    numbers: Numbers,
    /// Seeded at random: names come from the network.
    hasher: RandomState,
    count: AtomicUsize,
}

/// Arrays beside each other, so that flags take a byte and not eight.
struct Chunk<T> {
    names: Box<[Name]>,
    values: Box<[T]>,
    flags: Box<[u8]>,
}

impl<T: Default> Chunk<T> {
    fn new() -> Self {
        Self {
            names: std::iter::repeat_with(|| Name::Decimal(0)).take(CHUNK).collect(),
            values: std::iter::repeat_with(T::default).take(CHUNK).collect(),
            flags: vec![0; CHUNK].into(),
        }
    }
}

impl<T> Chunk<T> {
    fn name(&self, number: u32) -> Option<NameRef<'_>> {
        let place = place(number);
        (self.flags[place] & NAMED != 0).then(|| self.names[place].as_ref())
    }
}

fn place(number: u32) -> usize {
    number as usize % CHUNK
}

impl<T: Default> Default for Names<T> {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            chunks: Shelves::new(),
            numbers: Numbers::default(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }
}

impl<T> fmt::Debug for Names<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Names({})", self.count.load(Ordering::Relaxed))
    }
}

impl<T: Default> Names<T> {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As long as the pin lives, no number gets another name than it has now, or had last. For who goes from numbers to
    /// values in several steps, or reads numbers from the subscriptions.
    pub fn pin(&self) -> Pin<'_> {
        self.numbers.pin()
    }

    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<u32> {
        let name = NameRef::from(name);
        let hash = self.hasher.hash_one(name);
        self.shard(hash).lock().find(hash, |number| self.is_named(*number, name)).copied()
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> Option<String> {
        let mut name = String::new();
        self.append_name(number, &mut name).then_some(name)
    }

    /// Appends the name of a number; `false` if it has none.
    pub fn append_name(&self, number: u32, out: &mut String) -> bool {
        let Some(chunk) = self.chunk(number) else { return false };
        let chunk = chunk.lock();
        let name = chunk.name(number);
        if let Some(name) = name {
            name.append_to(out);
        }
        name.is_some()
    }

    /// Gives a name a number, unless it has one, and calls `act` with it and its value, which is locked meanwhile: `act` must
    /// not call back. Who leaves something in the value calls [`release_if`](Self::release_if) when it is gone.
    ///
    /// # Panics
    /// With 2^32 names, which would take 180 GB.
    pub fn with_interned<R>(&self, name: &str, act: impl FnOnce(u32, &mut T) -> R) -> R {
        let (number, mut chunk) = self.intern(name.into());
        chunk.flags[place(number)] |= USED;
        act(number, &mut chunk.values[place(number)])
    }

    /// Calls `act` with the value of a number, locked as with [`with_interned`](Self::with_interned); `None` if it has no name.
    pub fn with<R>(&self, number: u32, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut chunk = self.chunk(number)?.lock();
        chunk.name(number)?;
        Some(act(&mut chunk.values[place(number)]))
    }

    /// Calls `act` with the value of each number that has a name, locked as with [`with_interned`](Self::with_interned). Of
    /// `numbers` in ascending order, those of a chunk are visited under one lock.
    pub fn for_each_in(&self, numbers: &[u32], mut act: impl FnMut(u32, &mut T)) {
        for run in numbers.chunk_by(|one, other| one >> CHUNK_BITS == other >> CHUNK_BITS) {
            let Some(chunk) = run.first().and_then(|first| self.chunk(*first)) else { continue };
            let mut chunk = chunk.lock();
            for number in run {
                if chunk.flags[place(*number)] & NAMED != 0 {
                    act(*number, &mut chunk.values[place(*number)]);
                }
            }
        }
    }

    /// Calls `act` with every name and its value, locked as with [`with_interned`](Self::with_interned), until it answers
    /// `false`.
    pub fn for_each(&self, mut act: impl FnMut(&str, &T) -> bool) {
        let mut text = String::new();
        for (_, chunk) in self.chunks.iter() {
            let chunk = chunk.lock();
            for place in (0..CHUNK).filter(|place| chunk.flags[*place] & NAMED != 0) {
                text.clear();
                chunk.names[place].as_ref().append_to(&mut text);
                if !act(&text, &chunk.values[place]) {
                    return;
                }
            }
        }
    }

    /// Forgets the name of a number if its value is vacant and it has no subscriptions; answers whether it did. A name
    /// that is interned at the same time is either not forgotten or gets another number.
    pub fn release_if(&self, number: u32, is_vacant: impl FnOnce(&T) -> bool) -> bool {
        self.unless_used(number, |chunk| {
            if is_vacant(&chunk.values[place(number)]) {
                chunk.flags[place(number)] &= !USED;
            }
        })
    }

    /// Keeps a name whether or not it is used, and gives it a number; answers with it, and whether it was not kept before.
    pub(crate) fn keep(&self, name: &str) -> (u32, bool) {
        let (number, mut chunk) = self.intern(name.into());
        let flags = &mut chunk.flags[place(number)];
        let is_new = *flags & KEPT == 0;
        *flags |= KEPT;
        (number, is_new)
    }

    /// Takes [`keep`](Self::keep) back.
    pub(crate) fn unkeep(&self, number: u32) {
        self.unless_used(number, |chunk| chunk.flags[place(number)] &= !KEPT);
    }

    /// The name of a number, if it is kept.
    pub(crate) fn kept_name(&self, number: u32) -> Option<String> {
        let chunk = self.chunk(number)?.lock();
        let name = chunk.name(number).filter(|_| chunk.flags[place(number)] & KEPT != 0)?;
        Some(name.to_string())
    }

    /// Whether the name of a number is kept.
    pub(crate) fn is_kept(&self, number: u32) -> bool {
        self.chunk(number).is_some_and(|chunk| chunk.lock().flags[place(number)] & KEPT != 0)
    }

    /// Begins to give names the numbers that they had in an earlier run; `None` if there are names already.
    pub(crate) fn refill(&self) -> Option<Refill<'_, T>> {
        // Not `then_some`: dropping one does something.
        (self.is_empty() && self.numbers.end() == 0).then(|| Refill { names: self, end: 0 })
    }

    /// One more than the highest number that ever had a name.
    pub(crate) fn numbers_end(&self) -> u64 {
        self.numbers.end()
    }

    fn shard(&self, hash: u64) -> &Mutex<HashTable<u32>> {
        // The table itself takes its bits from both ends.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn chunk(&self, number: u32) -> Option<&Mutex<Chunk<T>>> {
        self.chunks.get(number >> CHUNK_BITS)
    }

    fn is_named(&self, number: u32, name: NameRef<'_>) -> bool {
        self.chunk(number).is_some_and(|chunk| chunk.lock().name(number) == Some(name))
    }

    /// For a table that grows.
    fn hash_of(&self, number: u32) -> u64 {
        let name = |chunk: &Mutex<Chunk<T>>| Some(self.hasher.hash_one(chunk.lock().name(number)?));
        self.chunk(number).and_then(name).unwrap_or_default()
    }

    /// The number of a name, and the lock of its chunk. The shard's lock is let go once the chunk's is held.
    fn intern(&self, name: NameRef<'_>) -> (u32, MutexGuard<'_, Chunk<T>>) {
        let hash = self.hasher.hash_one(name);
        let mut shard = self.shard(hash).lock();
        if let Some(number) = shard.find(hash, |number| self.is_named(*number, name)).copied() {
            let chunk = self.chunks.get_or_make(number >> CHUNK_BITS, || Mutex::new(Chunk::new()));
            return (number, chunk.lock());
        }
        let number = self.numbers.take().expect("2^32 names do not fit into memory");
        (number, self.write(&mut shard, hash, number, name))
    }

    /// Enters a name that is not there under a number that is free.
    fn write(&self, shard: &mut HashTable<u32>, hash: u64, number: u32, name: NameRef<'_>) -> MutexGuard<'_, Chunk<T>> {
        // First, because it looks into the chunks.
        shard.reserve(1, |number| self.hash_of(*number));
        let mut chunk = self.chunks.get_or_make(number >> CHUNK_BITS, || Mutex::new(Chunk::new())).lock();
        chunk.names[place(number)] = name.to_name();
        chunk.flags[place(number)] = NAMED;
        shard.insert_unique(hash, number, |_| hash);
        self.count.fetch_add(1, Ordering::Relaxed);
        chunk
    }

    /// Calls `change`, and forgets the name if it is neither kept nor used after that. Answers whether it is forgotten.
    fn unless_used(&self, number: u32, change: impl FnOnce(&mut Chunk<T>)) -> bool {
        let Some(chunk) = self.chunk(number) else { return false };
        let Some(hash) = chunk.lock().name(number).map(|name| self.hasher.hash_one(name)) else { return false };
        let mut shard = self.shard(hash).lock();
        let mut chunk = chunk.lock();
        // Without a lock between, it may have been forgotten, and another name may have its number.
        if chunk.name(number).map(|name| self.hasher.hash_one(name)) != Some(hash) {
            return false;
        }
        change(&mut chunk);
        if chunk.flags[place(number)] & (KEPT | USED) != 0 {
            return false;
        }
        chunk.flags[place(number)] = 0;
        chunk.names[place(number)] = Name::Decimal(0);
        chunk.values[place(number)] = T::default();
        if let Ok(entry) = shard.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        drop(chunk);
        drop(shard);
        self.numbers.give_back(number);
        true
    }
}

/// Names on their way back to the numbers that they had.
#[derive(Debug)]
pub(crate) struct Refill<'a, T: Default> {
    names: &'a Names<T>,
    end: u64,
}

impl<T: Default> Refill<'_, T> {
    /// Keeps a name under its number; `false` if either is taken.
    pub(crate) fn insert(&mut self, number: u32, name: NameRef<'_>) -> bool {
        let names = self.names;
        let hash = names.hasher.hash_one(name);
        let mut shard = names.shard(hash).lock();
        let taken = names.chunk(number).is_some_and(|chunk| chunk.lock().name(number).is_some());
        if taken || shard.find(hash, |other| names.is_named(*other, name)).is_some() {
            return false;
        }
        names.write(&mut shard, hash, number, name).flags[place(number)] |= KEPT;
        self.end = self.end.max(u64::from(number) + 1);
        true
    }
}

impl<T: Default> Drop for Refill<'_, T> {
    /// What was left out is free.
    fn drop(&mut self) {
        let numbers = (0..=u32::MAX).take_while(|number| u64::from(*number) < self.end);
        self.names.numbers.reset(self.end, numbers.filter(|number| !self.names.is_kept(*number)).collect());
    }
}

#[cfg(test)]
mod tests;
