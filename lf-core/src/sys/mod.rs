//! The fence: every system call and every `unsafe` block of the crate stands in here.

pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod epoll;
pub(crate) mod eventfd;
#[cfg_attr(not(feature = "faults"), allow(dead_code, unreachable_pub, reason = "tests inject faults"))]
pub mod fault;
pub(crate) mod inherited;
pub(crate) mod limits;
pub(crate) mod slice;
pub(crate) mod socket;

use std::io;

/// The result of a system call: `-1` becomes the error that `errno` names.
fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// [`cvt`] for the calls that answer a count.
fn cvt_long(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
