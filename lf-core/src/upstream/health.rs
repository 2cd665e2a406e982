//! Whether a server is worth asking: failures within a window take it out, one trial brings it back.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How a server stands. Relaxed throughout: it is a hint, and a late look costs one request.
#[derive(Debug, Default)]
pub(super) struct Health {
    fails: AtomicU32,
    /// When the first of them was, in milliseconds.
    since_ms: AtomicU64,
    /// Until when it is out; 0 while it is up.
    out_until_ms: AtomicU64,
    /// One request tries whether it is back.
    trial: AtomicBool,
}

/// What a look at a server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    /// Its time is over, and one request may try it.
    OnTrial,
    Out,
}

impl Health {
    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        match self.out_until_ms.load(Ordering::Relaxed) {
            0 => Standing::Up,
            until_ms if now_ms >= until_ms && !self.trial.load(Ordering::Relaxed) => Standing::OnTrial,
            _ => Standing::Out,
        }
    }

    /// Takes the right to the one trial; `false` if somebody has it.
    pub(super) fn begin_trial(&self) -> bool {
        !self.trial.swap(true, Ordering::Relaxed)
    }

    /// The trial ended without saying anything about the server.
    pub(super) fn end_trial(&self) {
        self.trial.store(false, Ordering::Relaxed);
    }

    /// Answers whether it was out.
    pub(super) fn succeeded(&self) -> bool {
        if self.fails.load(Ordering::Relaxed) != 0 {
            self.fails.store(0, Ordering::Relaxed);
        }
        self.out_until_ms.load(Ordering::Relaxed) != 0 && self.out_until_ms.swap(0, Ordering::Relaxed) != 0
    }

    /// Answers whether that takes it out now.
    pub(super) fn failed(&self, now_ms: u64, fails_max: u32, window_ms: u64) -> bool {
        if fails_max == 0 {
            return false;
        }
        if now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed)) > window_ms {
            self.fails.store(0, Ordering::Relaxed);
        }
        let before = self.fails.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.since_ms.store(now_ms, Ordering::Relaxed);
        }
        let was_out = self.out_until_ms.load(Ordering::Relaxed) != 0;
        if before + 1 < fails_max && !was_out {
            return false;
        }
        self.out_until_ms.store(now_ms + window_ms, Ordering::Relaxed);
        !was_out
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn so_many_failures_in_a_window_take_it_out_and_one_trial_brings_it_back() {
        let health = Health::default();
        assert!(!health.failed(1000, 2, 100));
        assert!(!health.failed(1200, 2, 100), "the first one is too long ago");
        assert!(health.failed(1250, 2, 100));
        assert_eq!(health.standing(1349), Standing::Out);
        assert_eq!(health.standing(1350), Standing::OnTrial);
        assert!(health.begin_trial());
        assert!(!health.begin_trial());
        assert_eq!(health.standing(1351), Standing::Out);
        health.failed(1360, 2, 100);
        health.end_trial();
        assert_eq!(health.standing(1459), Standing::Out);
        assert_eq!(health.standing(1460), Standing::OnTrial);
        assert!(health.succeeded());
        assert_eq!(health.standing(1461), Standing::Up);
    }

    #[test]
    fn without_a_maximum_nobody_is_taken_out() {
        let health = Health::default();
        for now_ms in 1..100 {
            assert!(!health.failed(now_ms, 0, 100));
        }
        assert_eq!(health.standing(100), Standing::Up);
    }
}
