//! A thread that sleeps until somebody rings for it; ringing costs a load while it is up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

#[derive(Debug)]
pub(crate) struct Bell {
    asleep: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false), sleeper: OnceLock::new() }
    }

    fn is_asleep(&self) -> bool {
        // SeqCst here and in `sleep`: either the ringer sees the sleeper, or `stay_up` sees what the ringer did before.
        self.asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn ring_if_asleep(&self) {
        if self.is_asleep() && self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    pub(crate) fn ring(&self) {
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Sleeps until rung; not at all if `stay_up` says so once we can be heard to sleep. Always the same thread calls it.
    pub(crate) fn sleep(&self, stay_up: impl Fn() -> bool) {
        self.sleeper.get_or_init(thread::current);
        self.asleep.store(true, Ordering::SeqCst);
        while self.is_asleep() && !stay_up() {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_sleeper_is_woken_by_the_bell() {
        let bell = Arc::new(Bell::new());
        let sleeper = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.sleep(|| false))
        };
        while !sleeper.is_finished() {
            bell.ring_if_asleep();
        }
        sleeper.join().unwrap();
        assert!(!bell.is_asleep());
    }

    #[test]
    fn who_has_to_stay_up_does_not_sleep() {
        Bell::new().sleep(|| true);
    }
}
