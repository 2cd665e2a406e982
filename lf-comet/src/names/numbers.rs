//! Which numbers are free, and since when.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives numbers out and takes them back. A number that was given back rests until nobody can hold it any more who began
/// while it was in use; who holds numbers without using them says so with a [`Pin`].
///
/// Time goes in epochs. Numbers given back in an epoch rest in one of two beds; a pin counts in the epoch in which it
/// began. When no pin of the last epoch is left, the numbers of that epoch are free and the next epoch begins.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    beds: Mutex<Beds>,
    /// Changed under the lock only.
    epoch: AtomicU64,
    pins: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct Beds {
    /// All numbers from here on were never used.
    next: u64,
    free: Vec<u32>,
    resting: [Vec<u32>; 2],
}

/// While it lives, no number that is given back gets a new name.
#[derive(Debug)]
#[must_use = "numbers are reused once the pin is dropped"]
pub struct Pin<'a> {
    count: &'a AtomicU64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

fn bed(epoch: u64) -> usize {
    usize::from(epoch & 1 == 1)
}

impl Numbers {
    pub(super) fn pin(&self) -> Pin<'_> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let count = &self.pins[bed(epoch)];
            count.fetch_add(1, Ordering::SeqCst);
            let pin = Pin { count };
            // Otherwise it may count in an epoch that is over.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return pin;
            }
        }
    }

    /// A number that nobody has; `None` once there are 2^32.
    pub(super) fn take(&self) -> Option<u32> {
        let mut beds = self.beds.lock();
        if beds.free.is_empty() {
            self.wake(&mut beds);
        }
        if let Some(number) = beds.free.pop() {
            return Some(number);
        }
        let number = u32::try_from(beds.next).ok()?;
        beds.next += 1;
        Some(number)
    }

    pub(super) fn give_back(&self, number: u32) {
        let mut beds = self.beds.lock();
        beds.resting[bed(self.epoch.load(Ordering::SeqCst))].push(number);
    }

    /// Frees what rested through the last epoch, if all its pins are gone, and begins the next.
    fn wake(&self, beds: &mut Beds) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let last = bed(epoch + 1);
        if self.pins[last].load(Ordering::SeqCst) == 0 {
            let Beds { free, resting, .. } = beds;
            free.append(&mut resting[last]);
            self.epoch.store(epoch + 1, Ordering::SeqCst);
        }
    }

    /// One more than the highest number that was ever given out.
    pub(super) fn end(&self) -> u64 {
        self.beds.lock().next
    }

    /// Makes all numbers below `end` used, but for those in `free`. Only for who has given nothing out yet.
    pub(super) fn reset(&self, end: u64, free: Vec<u32>) {
        let mut beds = self.beds.lock();
        beds.next = end;
        beds.free = free;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_before_new_ones_are_taken() {
        let numbers = Numbers::default();
        assert_eq!((numbers.take(), numbers.take(), numbers.take()), (Some(0), Some(1), Some(2)));
        numbers.give_back(1);
        // The first look ends the epoch in which it was given back, the second one the next.
        assert_eq!((numbers.take(), numbers.take()), (Some(3), Some(1)));
        assert_eq!(numbers.end(), 4);
    }

    #[test]
    fn a_number_rests_while_a_pin_from_before_lives() {
        let numbers = Numbers::default();
        assert_eq!((0..4).filter_map(|_| numbers.take()).count(), 4);
        let pin = numbers.pin();
        numbers.give_back(2);
        let mut taken: Vec<_> = (0..10).filter_map(|_| numbers.take()).collect();
        assert!(!taken.contains(&2), "{taken:?}");
        drop(pin);
        taken = (0..3).filter_map(|_| numbers.take()).collect();
        assert!(taken.contains(&2), "{taken:?}");
    }

    #[test]
    fn pins_that_come_later_do_not_keep_a_number_for_ever() {
        let numbers = Numbers::default();
        assert_eq!((0..4).filter_map(|_| numbers.take()).count(), 4);
        numbers.give_back(2);
        let mut last = numbers.pin();
        let found = (0..100).any(|_| {
            let number = numbers.take();
            last = numbers.pin();
            number == Some(2)
        });
        assert!(found);
        drop(last);
    }

    #[test]
    fn the_last_number_is_the_last() {
        let numbers = Numbers::default();
        numbers.reset(u64::from(u32::MAX), Vec::new());
        assert_eq!((numbers.take(), numbers.take()), (Some(u32::MAX), None));
    }
}
