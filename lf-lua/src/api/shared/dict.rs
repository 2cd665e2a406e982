//! One dictionary: shards with a lock each, under one cap on memory.

use super::shard::{Entry, NEVER_MS, Shard, entry_bytes};
use super::value::{Scalar, Stored};
use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Time since some moment. What is expired is expired for all.
pub type Clock = Arc<dyn Fn() -> std::time::Duration + Send + Sync>;

/// A dictionary of this size has its first further shard: smaller ones keep one order of use for all their entries.
const BYTES_PER_SHARD: usize = 1 << 20;
const SHARDS_MAX: usize = 16;

/// Least recently used entries that are asked whether they have expired before one that has not is evicted.
const EXPIRED_LOOKS: usize = 30;

/// Rounds of making room in other shards; others may take it meanwhile.
const ROUNDS_MAX: usize = 64;

/// Whether what has not expired may be evicted for something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    ByEviction,
    OnlyWhatIsFree,
}

/// When a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Absent,
    Present,
}

/// Why nothing was done.
pub(super) type Refusal = &'static str;
pub(super) const NO_MEMORY: Refusal = "no memory";
pub(super) const NOT_FOUND: Refusal = "not found";
const EXISTS: Refusal = "exists";
const NOT_A_NUMBER: Refusal = "not a number";
const IS_A_LIST: Refusal = "value is a list";

/// A value with its flags, and whether it has expired.
#[derive(Debug, PartialEq)]
pub(super) struct Got {
    pub(super) value: Scalar,
    pub(super) flags: u32,
    pub(super) stale: bool,
}

/// A dictionary of the whole process.
pub struct Dict {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    capacity: usize,
    /// Bytes of all entries; never above the capacity.
    used: AtomicUsize,
    clock: Clock,
}

impl std::fmt::Debug for Dict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Dict")
            .field("capacity", &self.capacity)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Dict {
    pub(super) fn new(capacity: usize, clock: Clock) -> Self {
        let shards = (capacity / BYTES_PER_SHARD).clamp(1, SHARDS_MAX).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            capacity,
            used: AtomicUsize::new(0),
            clock,
        }
    }

    /// Bytes that entries may take.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that are left.
    #[must_use]
    pub fn free_space(&self) -> usize {
        self.capacity.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Milliseconds, above 0.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from((self.clock)().as_millis()).unwrap_or(NEVER_MS - 2) + 1
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table looks at the upper and the lower bits.
        self.shards[(hash >> 32) as usize & (self.shards.len() - 1)].lock()
    }

    pub(super) fn deadline_ms(&self, ttl_ms: u64) -> u64 {
        if ttl_ms == 0 { NEVER_MS } else { self.now_ms().saturating_add(ttl_ms) }
    }

    /// The value of a key; a stale one only if `stale`.
    pub(super) fn get(&self, key: &[u8], stale: bool) -> Result<Option<Got>, Refusal> {
        let (hash, now_ms) = (self.hash(key), self.now_ms());
        let mut shard = self.shard(hash);
        let Some(index) = shard.find(hash, key) else { return Ok(None) };
        let Some(entry) = shard.get(index) else { return Ok(None) };
        let live = entry.is_live(now_ms);
        if !live && !stale {
            return Ok(None);
        }
        let Stored::Scalar(value) = &entry.value else { return Err(IS_A_LIST) };
        let got = Got { value: value.clone(), flags: entry.flags, stale: !live };
        if live {
            shard.touch(index);
        }
        Ok(Some(got))
    }

    /// Stores a value, or removes it if it is none. Answers whether others were evicted for it.
    pub(super) fn set(
        &self,
        key: &[u8],
        value: Option<&Scalar>,
        (ttl_ms, flags): (u64, u32),
        when: When,
        room: Room,
    ) -> Result<bool, (Refusal, bool)> {
        let expires_ms = self.deadline_ms(ttl_ms);
        self.change(key, room, |present| match (when, present) {
            (When::Absent, Some(_)) => Err(EXISTS),
            (When::Present, None) => Err(NOT_FOUND),
            (When::Always | When::Absent, None) | (When::Always | When::Present, Some(_)) => {
                Ok(value.cloned().map(|value| (Stored::Scalar(value), expires_ms, flags)))
            }
        })
    }

    /// Adds to a number, or to `init` if there is none. Answers with the sum and whether others were evicted for it.
    pub(super) fn incr(
        &self,
        key: &[u8],
        by: &Scalar,
        init: Option<(&Scalar, u64)>,
    ) -> Result<(Scalar, bool), Refusal> {
        let mut sum = None;
        let changed = self.change(key, Room::ByEviction, |present| {
            let (value, expires_ms, flags) = match (present, init) {
                (Some(Entry { value: Stored::Scalar(value), expires_ms, flags, .. }), _) => {
                    (value, *expires_ms, *flags)
                }
                (Some(_), _) => return Err(NOT_A_NUMBER),
                (None, None) => return Err(NOT_FOUND),
                (None, Some((init, ttl_ms))) => (init, self.deadline_ms(ttl_ms), 0),
            };
            sum = Some(value.plus(by).ok_or(NOT_A_NUMBER)?);
            Ok(sum.clone().map(|sum| (Stored::Scalar(sum), expires_ms, flags)))
        });
        match (changed, sum) {
            (Ok(forcible), Some(sum)) => Ok((sum, forcible)),
            (Err((refusal, _)), _) => Err(refusal),
            (Ok(_), None) => Err(NOT_A_NUMBER),
        }
    }

    /// Puts what `plan` makes of the live entry of a key into its place, or removes it if that is none. Answers, also
    /// beside a refusal, whether others were evicted for it.
    pub(super) fn change(
        &self,
        key: &[u8],
        room: Room,
        mut plan: impl FnMut(Option<&Entry>) -> Result<Option<(Stored, u64, u32)>, Refusal>,
    ) -> Result<bool, (Refusal, bool)> {
        let hash = self.hash(key);
        let mut forcible = false;
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.now_ms();
            let mut shard = self.shard(hash);
            let found = shard.find(hash, key);
            let entry = found.and_then(|index| shard.get(index));
            let had = entry.map_or(0, Entry::bytes);
            let planned = plan(entry.filter(|entry| entry.is_live(now_ms))).map_err(|refusal| (refusal, forcible))?;
            let Some((value, expires_ms, flags)) = planned else {
                if let Some(index) = found {
                    self.discard(&mut shard, index);
                }
                return Ok(forcible);
            };
            let wants = entry_bytes(key, &value);
            if wants > self.capacity {
                return Err((NO_MEMORY, forcible));
            }
            if let Some(index) = found {
                shard.touch(index);
            }
            if self.make_room(&mut shard, found, had, wants, room, &mut forcible) {
                if let Some(index) = found {
                    shard.rewrite(index, value, expires_ms, flags);
                } else if !shard.insert(Entry::new(key, hash, value, expires_ms, flags)) {
                    self.give_back(wants);
                    return Err((NO_MEMORY, forcible));
                }
                return Ok(forcible);
            }
            drop(shard);
            if room == Room::OnlyWhatIsFree || !self.evict_elsewhere(hash, wants, &mut forcible) {
                return Err((NO_MEMORY, forcible));
            }
        }
        Err((NO_MEMORY, forcible))
    }

    /// Makes room in a shard for an entry that had `had` bytes and wants `wants`, without touching `keep`, and takes it.
    pub(super) fn make_room(
        &self,
        shard: &mut Shard,
        keep: Option<u32>,
        had: usize,
        wants: usize,
        room: Room,
        forcible: &mut bool,
    ) -> bool {
        if self.take(had, wants) {
            return true;
        }
        self.discard_expired(shard, keep);
        while !self.take(had, wants) {
            match shard.oldest().filter(|&oldest| room == Room::ByEviction && Some(oldest) != keep) {
                Some(oldest) => {
                    *forcible = true;
                    self.discard(shard, oldest);
                }
                None => return false,
            }
        }
        true
    }

    /// Accounts for an entry that had `had` bytes and wants `wants`, if they fit.
    fn take(&self, had: usize, wants: usize) -> bool {
        let fit = |used: usize| Some(used.saturating_sub(had) + wants).filter(|&used| used <= self.capacity);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fit).is_ok()
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn discard(&self, shard: &mut Shard, index: u32) {
        if let Some(entry) = shard.remove(index) {
            self.give_back(entry.bytes());
        }
    }

    /// Removes what has expired among the least recently used entries.
    fn discard_expired(&self, shard: &mut Shard, keep: Option<u32>) {
        let now_ms = self.now_ms();
        let mut next = shard.oldest();
        for _ in 0..EXPIRED_LOOKS {
            let Some(index) = next else { break };
            next = shard.newer(index);
            if Some(index) != keep && shard.get(index).is_some_and(|entry| !entry.is_live(now_ms)) {
                self.discard(shard, index);
            }
        }
    }

    /// Evicts the least recently used entries of shards other than that of `hash` until `wants` bytes are free; answers
    /// whether there were any.
    fn evict_elsewhere(&self, hash: u64, wants: usize, forcible: &mut bool) -> bool {
        let mut evicted = false;
        for distance in 1..self.shards.len() as u64 {
            let mut shard = self.shard(hash.wrapping_add(distance << 32));
            while self.free_space() < wants
                && let Some(oldest) = shard.oldest()
            {
                evicted = true;
                self.discard(&mut shard, oldest);
            }
        }
        *forcible |= evicted;
        evicted
    }

    /// Time to live in milliseconds, 0 if it has no end.
    pub(super) fn ttl_ms(&self, key: &[u8]) -> Option<u64> {
        let (hash, now_ms) = (self.hash(key), self.now_ms());
        let shard = self.shard(hash);
        let entry = shard.get(shard.find(hash, key)?).filter(|entry| entry.is_live(now_ms))?;
        Some(if entry.expires_ms == NEVER_MS { 0 } else { entry.expires_ms - now_ms })
    }

    /// Sets the time to live of a live entry; answers whether there is one.
    pub(super) fn expire(&self, key: &[u8], ttl_ms: u64) -> bool {
        let (hash, now_ms, expires_ms) = (self.hash(key), self.now_ms(), self.deadline_ms(ttl_ms));
        let mut shard = self.shard(hash);
        let found = shard.find(hash, key);
        let entry = found.and_then(|index| shard.get_mut(index)).filter(|entry| entry.is_live(now_ms));
        entry.map(|entry| entry.expires_ms = expires_ms).is_some()
    }

    /// Keys of live entries, at most `max` unless it is 0.
    pub(super) fn keys(&self, max: usize) -> Vec<Box<[u8]>> {
        let now_ms = self.now_ms();
        let max = if max == 0 { usize::MAX } else { max };
        let mut keys = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let live = shard.entries().filter(|entry| entry.is_live(now_ms)).map(|entry| entry.key.clone());
            keys.extend(live.take(max - keys.len()));
        }
        keys
    }

    /// Lets everything expire. The memory is taken when it is needed, or by `flush_expired`.
    pub(super) fn flush_all(&self) {
        for shard in &self.shards {
            shard.lock().entries_mut().for_each(|entry| entry.expires_ms = 0);
        }
    }

    /// Removes what has expired, at most `max` entries unless it is 0; answers how many.
    pub(super) fn flush_expired(&self, max: usize) -> usize {
        let now_ms = self.now_ms();
        let max = if max == 0 { usize::MAX } else { max };
        let mut count = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut next = shard.oldest();
            while let Some(index) = next.filter(|_| count < max) {
                next = shard.newer(index);
                if shard.get(index).is_some_and(|entry| !entry.is_live(now_ms)) {
                    self.discard(&mut shard, index);
                    count += 1;
                }
            }
        }
        count
    }
}
