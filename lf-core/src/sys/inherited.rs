//! Sockets that a service manager opened and passes on: `sd_listen_fds(3)`.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The first passed descriptor, as the protocol fixes it.
const FIRST_FD: RawFd = 3;

/// The passed descriptors that nobody has taken yet; each is handed out once.
static PASSED: LazyLock<Mutex<Vec<Option<OwnedFd>>>> = LazyLock::new(|| Mutex::new(read_environment()));

fn read_environment() -> Vec<Option<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = RawFd::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    (FIRST_FD..FIRST_FD + count).map(adopt).collect()
}

fn adopt(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes no pointer; on a closed descriptor it fails with EBADF and changes nothing.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: the service manager passed this open descriptor to this process (LISTEN_PID), and `PASSED` is
    // filled once, so nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the `index`-th passed socket; `None` if there is none or it was taken.
pub(crate) fn take(index: usize) -> Option<OwnedFd> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)?.take()
}

/// How many sockets the service manager passed.
pub(crate) fn count() -> usize {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).len()
}
