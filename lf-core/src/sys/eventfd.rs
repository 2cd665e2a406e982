//! `eventfd(2)`: a wake-up that an epoll set can hear.

use super::{cvt, cvt_long, fault};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

#[derive(Debug)]
pub(crate) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the descriptor it answers is new and ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(cvt(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) };
        Ok(Self { fd })
    }

    /// Wakes who waits. A counter at its maximum is a wake-up that is already pending.
    pub(crate) fn notify(&self) {
        let one = 1u64.to_ne_bytes();
        loop {
            let sent = fault::errno(fault::Site::EventFd).and_then(|()| {
                // SAFETY: eight readable bytes, as eventfd wants.
                cvt_long(unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) as libc::c_long })
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Takes the wake-ups that are pending.
    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes; EAGAIN (nothing pending) and EINTR (asked again by epoll) are both fine.
        let _ = unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
