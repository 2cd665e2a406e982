//! One wheel of deadlines per group, driven by the leader's `epoll_wait` timeout.
//!
//! A slot of the connection table has one entry that counts, whoever lives there (`Alarm` remembers which). Deadlines
//! that move later, as the idle one does after every frame, do not touch the wheel: the entry fires at its old time, and
//! whoever owns the connection then puts a new one in. A short connection mostly finds its predecessor's entry.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// No deadline, and further away than any.
pub(crate) const NEVER_MS: u64 = u64::MAX;

const BITS_PER_LEVEL: u32 = 6;
const SLOTS: usize = 1 << BITS_PER_LEVEL;
/// 64^6 ms are two years.
const LEVELS: usize = 6;
const SPAN_MS: u64 = 1 << (BITS_PER_LEVEL * 6);

/// The furthest deadline: a year ahead, which is within the span.
pub(crate) const AHEAD_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) due_ms: u64,
    pub(crate) slot: u32,
}

/// An entry where there may be millions. A slot of the wheel is at most twelve days wide, so the lower half of the time,
/// which tells 24 days to either side apart, is enough there.
#[derive(Clone, Copy, Debug)]
struct Packed {
    due_low: u32,
    slot: u32,
}

impl Packed {
    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn new(due_ms: u64, slot: u32) -> Self {
        Self { due_low: due_ms as u32, slot }
    }

    /// The entry, which is within 24 days of `near_ms`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a distance, of either sign")]
    const fn unpack(self, near_ms: u64) -> Entry {
        let away = self.due_low.wrapping_sub(near_ms as u32) as i32;
        Entry { due_ms: near_ms.wrapping_add_signed(away as i64), slot: self.slot }
    }
}

/// Entries of a slot, in blocks of [`BLOCK_ENTRIES`].
type Blocks = Vec<Vec<Packed>>;

/// Entries of a block: one long vector would have room to spare for as many again.
const BLOCK_ENTRIES: usize = 64;

#[derive(Debug)]
struct Level {
    /// A bit for each slot that holds entries.
    occupied: u64,
    slots: [Blocks; SLOTS],
}

/// A hierarchical timing wheel (Varghese and Lauck, 1987) of one-millisecond ticks.
#[derive(Debug)]
struct Wheel {
    /// All that was due at or before this has been handed out.
    now_ms: u64,
    levels: [Level; LEVELS],
    /// Empty blocks. Entries that move on to finer slots leave behind what these need; the allocator would often not give
    /// it to them, because the threads that come by have arenas of their own.
    spare: Blocks,
}

#[allow(clippy::cast_possible_truncation, reason = "six bits")]
const fn slot_of(due_ms: u64, level: usize) -> usize {
    ((due_ms >> (level as u32 * BITS_PER_LEVEL)) & (SLOTS as u64 - 1)) as usize
}

impl Wheel {
    fn new() -> Self {
        let level = || Level { occupied: 0, slots: std::array::from_fn(|_| Vec::new()) };
        Self { now_ms: 0, levels: std::array::from_fn(|_| level()), spare: Vec::new() }
    }

    fn insert(&mut self, due_ms: u64, guest: u32) {
        // What is overdue is looked at in the next tick; what is too far away comes round once more. The entry keeps its
        // own time, by which the slot's alarm knows it.
        let look_ms = due_ms.clamp(self.now_ms + 1, self.now_ms + SPAN_MS - 1);
        let differing = (self.now_ms ^ look_ms) | (SLOTS as u64 - 1);
        let level = (((u64::BITS - 1 - differing.leading_zeros()) / BITS_PER_LEVEL) as usize).min(LEVELS - 1);
        let slot = slot_of(look_ms, level);
        self.levels[level].occupied |= 1 << slot;
        let blocks = &mut self.levels[level].slots[slot];
        if blocks.last().is_none_or(|last| last.len() == BLOCK_ENTRIES) {
            blocks.push(self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_ENTRIES)));
        }
        if let Some(last) = blocks.last_mut() {
            last.push(Packed::new(due_ms, guest));
        }
    }

    /// The first slot that holds something: when it begins, its level and its place there.
    fn first(&self) -> Option<(u64, usize, usize)> {
        self.levels.iter().enumerate().find_map(|(level, of)| {
            if of.occupied == 0 {
                return None;
            }
            let shift = u32::try_from(level).unwrap_or(0) * BITS_PER_LEVEL;
            let here = slot_of(self.now_ms, level);
            let ahead = of.occupied.rotate_right(u32::try_from(here).unwrap_or(0)).trailing_zeros() as usize;
            let slot = (here + ahead) % SLOTS;
            let span = 1u64 << (shift + BITS_PER_LEVEL);
            let mut begins_ms = (self.now_ms & !(span - 1)) + ((slot as u64) << shift);
            if slot < here {
                begins_ms += span;
            }
            Some((begins_ms, level, slot))
        })
    }

    /// Moves to `now_ms`, handing out what is due.
    fn advance(&mut self, now_ms: u64, mut due: impl FnMut(Entry)) {
        while let Some((begins_ms, level, slot)) = self.first() {
            if begins_ms > now_ms {
                break;
            }
            self.now_ms = self.now_ms.max(begins_ms);
            self.levels[level].occupied &= !(1 << slot);
            for mut block in std::mem::take(&mut self.levels[level].slots[slot]) {
                for packed in block.drain(..) {
                    let entry = packed.unpack(self.now_ms);
                    if entry.due_ms <= self.now_ms { due(entry) } else { self.insert(entry.due_ms, entry.slot) }
                }
                self.spare.push(block);
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
    }
}

/// The entry that counts for a slot: when it fires.
#[derive(Debug)]
pub(crate) struct Alarm(AtomicU64);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(NEVER_MS))
    }

    /// Whether an entry has to be put into a wheel for a deadline at `due_ms`. Only the slot's owner asks.
    #[must_use]
    pub(crate) fn set(&self, due_ms: u64) -> bool {
        // SeqCst here and in `fired`: either we see that the entry has fired, or who fires it sees that we live here.
        let needed = due_ms < self.0.load(Ordering::SeqCst);
        if needed {
            self.0.store(due_ms, Ordering::SeqCst);
        }
        needed
    }

    /// An entry fires; `false` if it is not the one that counts.
    #[must_use]
    pub(crate) fn fired(&self, due_ms: u64) -> bool {
        self.0.compare_exchange(due_ms, NEVER_MS, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

/// The deadlines of a group; any thread may add one.
#[derive(Debug)]
pub(crate) struct Timers {
    wheel: Mutex<Wheel>,
    /// When the wheel next wants to be looked at.
    next_ms: AtomicU64,
    /// Until when the leader sleeps; 0 while it is awake.
    asleep_until_ms: AtomicU64,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { wheel: Mutex::new(Wheel::new()), next_ms: AtomicU64::new(NEVER_MS), asleep_until_ms: AtomicU64::new(0) }
    }

    /// Adds a deadline. Answers whether the leader sleeps past it and has to be woken.
    #[must_use]
    pub(crate) fn insert(&self, due_ms: u64, slot: u32) -> bool {
        let mut wheel = self.wheel.lock();
        wheel.insert(due_ms, slot);
        let first_ms = wheel.first().map_or(NEVER_MS, |(begins_ms, ..)| begins_ms);
        self.next_ms.store(first_ms, Ordering::SeqCst);
        drop(wheel);
        first_ms < self.asleep_until_ms.load(Ordering::SeqCst)
    }

    /// The leader is about to sleep: how long at most, in milliseconds, -1 for ever.
    pub(crate) fn sleep_ms(&self, now_ms: u64) -> i32 {
        // First said, then looked: who inserts in between sees that we sleep, or we see the insert.
        self.asleep_until_ms.store(self.next_ms.load(Ordering::Relaxed), Ordering::SeqCst);
        let next_ms = self.next_ms.load(Ordering::SeqCst);
        self.asleep_until_ms.store(next_ms, Ordering::Relaxed);
        match next_ms {
            NEVER_MS => -1,
            due_ms => i32::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(i32::MAX),
        }
    }

    /// Whether somebody may be asleep. Who asks has made known before what the sleeper should hear of.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep_until_ms.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn awake(&self) {
        self.asleep_until_ms.store(0, Ordering::Relaxed);
    }

    /// What is due, mostly nothing.
    pub(crate) fn expire(&self, now_ms: u64) -> Vec<Entry> {
        let mut due = Vec::new();
        if self.next_ms.load(Ordering::Relaxed) <= now_ms {
            let mut wheel = self.wheel.lock();
            wheel.advance(now_ms, |entry| due.push(entry));
            self.next_ms.store(wheel.first().map_or(NEVER_MS, |(begins_ms, ..)| begins_ms), Ordering::SeqCst);
        }
        due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(wheel: &mut Wheel, to_ms: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(to_ms, |entry| fired.push(entry.slot));
        fired
    }

    #[test]
    fn fires_at_its_millisecond_and_not_before() {
        let mut wheel = Wheel::new();
        for due_ms in [1, 63, 64, 65, 4095, 4096, 300_000, 90_000_000] {
            wheel.insert(due_ms, u32::try_from(due_ms).unwrap());
        }
        for due_ms in [1, 63, 64, 65, 4095, 4096, 300_000, 90_000_000] {
            assert_eq!(run(&mut wheel, due_ms - 1), [0; 0]);
            assert_eq!(run(&mut wheel, due_ms), [u32::try_from(due_ms).unwrap()]);
        }
        assert!(wheel.first().is_none());
    }

    #[test]
    fn deadlines_of_weeks_and_months_keep_their_times() {
        const DAY_MS: u64 = 86_400_000;
        for begin_ms in [0, 40 * DAY_MS, u64::from(u32::MAX) - 5] {
            let mut wheel = Wheel::new();
            run(&mut wheel, begin_ms);
            for days in [1, 12, 13, 24, 25, 30, 49, 50, 51, 100, 300, 366] {
                wheel.insert(begin_ms + days * DAY_MS + days, u32::try_from(days).unwrap());
            }
            let mut fired = Vec::new();
            // The leader comes by at its own times, which may be far apart.
            for now_ms in (0..400).step_by(7).map(|days| begin_ms + days * DAY_MS) {
                wheel.advance(now_ms, |entry| {
                    assert!(entry.due_ms <= now_ms && entry.due_ms + 8 * DAY_MS > now_ms, "{entry:?} at {now_ms}");
                    fired.push((entry.slot, (entry.due_ms - begin_ms) / DAY_MS));
                });
            }
            assert_eq!(fired, [1, 12, 13, 24, 25, 30, 49, 50, 51, 100, 300, 366].map(|days| (days, u64::from(days))));
        }
    }

    #[test]
    fn an_overdue_deadline_fires_at_the_next_tick() {
        let mut wheel = Wheel::new();
        run(&mut wheel, 1000);
        wheel.insert(5, 1);
        assert_eq!(run(&mut wheel, 1001), [1]);
    }

    #[test]
    fn an_insert_before_the_leader_wakes_asks_for_a_wake_up() {
        let timers = Timers::new();
        assert!(!timers.insert(500, 1), "the leader is awake");
        assert!((1..=500).contains(&timers.sleep_ms(0)), "it may look earlier, to sort, but never later");
        assert!(!timers.insert(900, 2), "it wakes before that anyway");
        assert!(timers.insert(100, 3));
    }

    #[test]
    fn an_entry_keeps_its_time_when_it_is_overdue() {
        let mut wheel = Wheel::new();
        run(&mut wheel, 1000);
        wheel.insert(5, 1);
        let mut fired = Vec::new();
        wheel.advance(1001, |entry| fired.push(entry.due_ms));
        assert_eq!(fired, [5], "the alarm knows the entry by its time");
    }

    #[test]
    fn only_the_earliest_entry_of_a_slot_counts() {
        let alarm = Alarm::new();
        assert!(alarm.set(100));
        assert!(!alarm.set(200), "the entry at 100 looks first");
        assert!(alarm.set(50));
        assert!(alarm.fired(50));
        assert!(!alarm.fired(100));
        assert!(alarm.set(200));
    }

    proptest! {
        #[test]
        fn every_deadline_fires_once_and_never_early(
            steps in prop::collection::vec((0u64..200_000, 1u64..5_000), 1..80)
        ) {
            let mut wheel = Wheel::new();
            let mut now_ms = 0;
            let mut open = std::collections::HashMap::new();
            for (id, (ahead_ms, step_ms)) in steps.into_iter().enumerate() {
                let id = u32::try_from(id).unwrap();
                wheel.insert(now_ms + ahead_ms, id);
                open.insert(id, (now_ms + ahead_ms).max(now_ms + 1));
                now_ms += step_ms;
                for fired in run(&mut wheel, now_ms) {
                    prop_assert!(open.remove(&fired).is_some_and(|due_ms| due_ms <= now_ms));
                }
                prop_assert!(open.values().all(|due_ms| *due_ms > now_ms));
            }
        }
    }
}
