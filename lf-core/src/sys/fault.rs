//! A seam for tests: errors and short counts at every system call site. Without the feature `faults` it is nothing.

use std::io;

/// The system call sites that a test can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// `accept4(2)` of the acceptor.
    Accept,
    /// `epoll_ctl(2)` that registers a connection.
    EpollAdd,
    /// `epoll_ctl(2)` that re-arms a connection.
    EpollMod,
    /// `epoll_ctl(2)` that takes a connection out.
    EpollDel,
    /// `epoll_wait(2)` of a group.
    EpollWait,
    /// `write(2)` on a wake-up descriptor.
    EventFd,
    /// `recv(2)` of a connection.
    Recv,
    /// `sendmsg(2)` of a connection.
    Send,
    /// `shutdown(2)` of a connection.
    Shutdown,
    /// `connect(2)` of a connection that the server opens.
    Connect,
    /// The outcome of such a `connect(2)` (`SO_ERROR`).
    Connected,
}

/// What a site does instead of its system call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Fails with this `errno`.
    Errno(i32),
    /// Reads or writes at most this many bytes.
    Short(usize),
}

#[cfg(feature = "faults")]
mod plan {
    use super::{Fault, Site};
    use std::collections::{HashMap, VecDeque};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};

    static ARMED: AtomicBool = AtomicBool::new(false);
    static PLAN: LazyLock<Mutex<HashMap<Site, VecDeque<Fault>>>> = LazyLock::new(Mutex::default);

    /// The next calls at `site` meet these faults, in order; later ones are real again.
    pub fn inject(site: Site, faults: impl IntoIterator<Item = Fault>) {
        let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        plan.entry(site).or_default().extend(faults);
        ARMED.store(true, Ordering::Release);
    }

    /// Faults at `site` that no call has met yet.
    #[must_use]
    pub fn pending(site: Site) -> usize {
        PLAN.lock().unwrap_or_else(PoisonError::into_inner).get(&site).map_or(0, VecDeque::len)
    }

    pub(crate) fn next(site: Site) -> Option<Fault> {
        if !ARMED.load(Ordering::Acquire) {
            return None;
        }
        PLAN.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&site).and_then(VecDeque::pop_front)
    }
}

#[cfg(feature = "faults")]
pub use plan::{inject, pending};

#[cfg(feature = "faults")]
fn next(site: Site) -> Option<Fault> {
    plan::next(site)
}

#[cfg(not(feature = "faults"))]
#[inline]
fn next(_site: Site) -> Option<Fault> {
    None
}

/// The injected error of a site that moves no bytes.
#[inline]
pub(crate) fn errno(site: Site) -> io::Result<()> {
    match next(site) {
        Some(Fault::Errno(code)) => Err(io::Error::from_raw_os_error(code)),
        Some(Fault::Short(_)) | None => Ok(()),
    }
}

/// The injected error of a site that moves `len` bytes, or how many of them it may move.
#[inline]
pub(crate) fn len(site: Site, len: usize) -> io::Result<usize> {
    match next(site) {
        Some(Fault::Errno(code)) => Err(io::Error::from_raw_os_error(code)),
        Some(Fault::Short(most)) => Ok(len.min(most)),
        None => Ok(len),
    }
}
