//! The limits that the system sets: descriptors, the listen queue.

use super::cvt;
use std::io;

/// Raises the soft limit of open descriptors to the hard one, and answers it.
pub(crate) fn raise_descriptors() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through the call.
    cvt(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above.
        cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// `net.core.somaxconn`: what the kernel clamps every listen queue to. `None` where /proc does not tell.
pub(crate) fn somaxconn() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// Resident memory of this process in bytes; 0 where /proc does not tell.
#[allow(clippy::cast_sign_loss, reason = "the page size is positive")]
pub fn resident_bytes() -> u64 {
    // SAFETY: takes no pointer.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * page_bytes
}

/// Buffers from here on are mappings of their own, in bytes: glibc's value before it adapts.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 128 << 10;

/// Has buffers of 128 KiB and more go back to the system as soon as they are freed. Left alone, glibc takes the first that
/// is freed for one of many, puts the next ones of its size into its arenas, and keeps these: what one burst took stays.
/// A mapping costs some microseconds, which is nothing beside what so much memory is needed for. mallopt(3),
/// `M_MMAP_THRESHOLD`; nothing happens with other allocators. For `main`, before threads are started.
pub fn return_big_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; glibc takes its own lock. It refuses values that are too big for its arenas, which this is not.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
}
