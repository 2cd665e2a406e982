//! How long a thread runs before the kernel's scheduler looks whether another one should. Linux 6.12 and later let each thread say so;
//! earlier ones take it and do nothing.

use super::cvt_long;
use std::io;
use std::time::Duration;

/// The calling thread, for the system.
pub(crate) fn own_thread() -> libc::pid_t {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Sets the slice of a thread of this process; `None` is what threads have by themselves. Threads with another policy than the
/// common ones are left alone: `false`.
pub(crate) fn set(thread: libc::pid_t, slice: Option<Duration>) -> io::Result<bool> {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: all of its fields are numbers.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes to `attr`.
    cvt_long(unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut attr, size, 0) })?;
    let is_common =
        [libc::SCHED_OTHER, libc::SCHED_BATCH].iter().any(|policy| attr.sched_policy == policy.cast_unsigned());
    if !is_common {
        return Ok(false);
    }
    attr.sched_runtime = slice.map_or(0, |slice| u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX));
    // SAFETY: the kernel reads `size` bytes, as `attr.size` says too.
    cvt_long(unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attr, 0) })?;
    Ok(true)
}
