//! A worker that has lost the lead to a slow handler gives way: it asks the scheduler for long slices.
//!
//! Where a handler computes and cores are few, the leader shares one with it, and waits for the end of its slice, some
//! milliseconds, with each event that wakes it. A thread with long slices is not cheaper, and gets no less of the processor; but
//! whoever wakes up with a shorter one goes first. Blocking handlers lose nothing by it: they sleep.

use crate::sync::Mutex;
use crate::sys::slice;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Long enough that everybody else's is shorter, and short enough that several of these take turns.
const LONG: Duration = Duration::from_millis(20);

/// A seat of a group, as the scheduler knows who sits there.
#[derive(Debug)]
pub(crate) struct Manners {
    /// 0 while nobody sits there.
    thread: AtomicI32,
    gives_way: Mutex<bool>,
}

impl Manners {
    pub(crate) fn new() -> Self {
        Self { thread: AtomicI32::new(0), gives_way: Mutex::new(false) }
    }

    /// The calling thread sits here from now on. It may have been started by one that gives way, and taken after it.
    pub(crate) fn sit_down(&self) {
        let _ = slice::set(0, None);
        self.thread.store(slice::own_thread(), Ordering::Release);
    }

    /// Has who sits here give way, if `depose` says that it has lost the lead. It is told before: who is woken to lead finds it so. It
    /// cannot be back before that is settled, because the lock is held meanwhile.
    pub(crate) fn give_way_if(&self, depose: impl FnOnce() -> bool) -> bool {
        let mut gives_way = self.gives_way.lock();
        let thread = self.thread.load(Ordering::Acquire);
        // Where it is not allowed, all is as it was.
        let is_news = thread != 0 && !*gives_way && slice::set(thread, Some(LONG)).unwrap_or(false);
        let deposed = depose();
        if deposed {
            *gives_way |= is_news;
        } else if is_news {
            let _ = slice::set(thread, None);
        }
        deposed
    }

    /// Who sits here has done with what was slow.
    pub(crate) fn settle(&self) {
        let mut gives_way = self.gives_way.lock();
        if std::mem::take(&mut *gives_way) {
            let _ = slice::set(0, None);
        }
    }
}
