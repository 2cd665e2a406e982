//! The clock: `CLOCK_MONOTONIC`, read once a turn and therefore without a detour.

/// Nanoseconds of a clock that never goes back; where it starts means nothing.
#[allow(clippy::cast_sign_loss, reason = "the monotonic clock starts at 0")]
pub(crate) fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable. The call cannot fail: every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Seconds since 1970, by the clock on the wall as the kernel has it between two of its ticks.
pub(crate) fn unix_s() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0)
}
