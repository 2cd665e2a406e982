//! One epoll set: `epoll_create1(2)`, `epoll_ctl(2)`, `epoll_wait(2)`.

use super::{cvt, cvt_long, fault};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What to be told of, as `epoll_ctl(2)` wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask(pub(crate) u32);

#[allow(clippy::cast_sign_loss, reason = "flag bits")]
impl Mask {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const READ: Self = Self(libc::EPOLLIN as u32);
    pub(crate) const WRITE: Self = Self(libc::EPOLLOUT as u32);
    pub(crate) const PEER_CLOSED: Self = Self(libc::EPOLLRDHUP as u32);
    pub(crate) const HANGUP: Self = Self((libc::EPOLLHUP | libc::EPOLLERR) as u32);
    pub(crate) const ONESHOT: Self = Self(libc::EPOLLONESHOT as u32);
    pub(crate) const EDGE: Self = Self(libc::EPOLLET as u32);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happened, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) data: u64,
    pub(crate) mask: Mask,
}

/// Room for the events of one wait.
pub(crate) struct Events {
    list: Vec<libc::epoll_event>,
}

impl Events {
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self { list: vec![libc::epoll_event { events: 0, u64: 0 }; len] }
    }

    pub(crate) fn take(&self, count: usize) -> impl Iterator<Item = Event> {
        self.list.iter().take(count).map(|event| Event { data: event.u64, mask: Mask(event.events) })
    }
}

#[derive(Debug)]
pub(crate) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the descriptor it answers is new and ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(cvt(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, mask: Mask, data: u64) -> io::Result<()> {
        fault::errno(fault::Site::EpollAdd)?;
        self.control(libc::EPOLL_CTL_ADD, fd, mask, data)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, mask: Mask, data: u64) -> io::Result<()> {
        fault::errno(fault::Site::EpollMod)?;
        self.control(libc::EPOLL_CTL_MOD, fd, mask, data)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        fault::errno(fault::Site::EpollDel)?;
        self.control(libc::EPOLL_CTL_DEL, fd, Mask::NONE, 0)
    }

    fn control(&self, op: libc::c_int, fd: BorrowedFd<'_>, mask: Mask, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: mask.0, u64: data };
        // SAFETY: `event` lives through the call, and the kernel keeps no pointer to it.
        cvt(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// Waits for events; `timeout_ms` of -1 waits for ever. An interrupted wait is an empty one.
    pub(crate) fn wait(&self, events: &mut Events, timeout_ms: i32) -> io::Result<usize> {
        if let Err(error) = fault::errno(fault::Site::EpollWait) {
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        }
        let (list, no_mask) = (&mut events.list, std::ptr::null::<libc::c_void>());
        // SAFETY: the kernel writes at most `list.len()` events there. `epoll_pwait` without a mask is `epoll_wait`;
        // called directly because libc's wrapper switches thread cancellation on and off around it.
        let result = cvt_long(unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                self.fd.as_raw_fd(),
                list.as_mut_ptr(),
                list.len(),
                timeout_ms,
                no_mask,
                0usize,
            )
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }
}
