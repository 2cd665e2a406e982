//! One connection of the raw loops, and the table they keep them in.

use super::{BUFFER_BYTES, honour};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// A connection: a descriptor, and output the kernel did not take.
pub(super) struct Peer {
    socket: OwnedFd,
    leftover: Option<Box<[u8]>>,
}

/// What a turn has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait for these events.
    Wait(EventFlags),
    /// Close it.
    Close,
}

impl Peer {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Peer { socket, leftover: None }
    }

    /// One read and one write: what an event of an echo server costs at least.
    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> Verdict {
        if self.leftover.is_some() {
            return self.flush();
        }
        let count = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Verdict::Close,
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Verdict::Wait(EventFlags::IN),
            Err(_) => return Verdict::Close,
        };
        let bytes = &buffer[..count];
        honour(bytes);
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(taken) if taken == count => Verdict::Wait(EventFlags::IN),
            Ok(taken) => self.keep(&bytes[taken..]),
            Err(Errno::AGAIN | Errno::INTR) => self.keep(bytes),
            Err(_) => Verdict::Close,
        }
    }

    /// Reading stops until the leftover is out: that bounds it to one buffer.
    fn keep(&mut self, rest: &[u8]) -> Verdict {
        self.leftover = Some(rest.into());
        Verdict::Wait(EventFlags::OUT)
    }

    fn flush(&mut self) -> Verdict {
        let Some(leftover) = self.leftover.take() else { return Verdict::Wait(EventFlags::IN) };
        match send(&self.socket, &leftover, SendFlags::NOSIGNAL) {
            Ok(taken) if taken == leftover.len() => Verdict::Wait(EventFlags::IN),
            Ok(taken) => self.keep(&leftover[taken..]),
            Err(Errno::AGAIN | Errno::INTR) => self.keep(&leftover),
            Err(_) => Verdict::Close,
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A place per descriptor, for loops of several threads. `EPOLLONESHOT` gives an event to one thread
/// only, so a lock here is never contended: two atomic instructions a turn.
pub(super) struct Table(Box<[Mutex<Option<Peer>>]>);

/// Descriptors of a table where the process has no limit.
const PLACES_MAX: u64 = 1 << 20;

impl Table {
    /// Room for every descriptor that the process may have.
    pub(super) fn new() -> Self {
        let places = crate::limits::raise_descriptors().unwrap_or(PLACES_MAX).min(PLACES_MAX);
        Table((0..places).map(|_| Mutex::new(None)).collect())
    }

    /// Puts a new connection in its place, and calls `publish` while the place is held: the first
    /// event may come before this returns.
    pub(super) fn enter(&self, socket: OwnedFd, publish: impl FnOnce(BorrowedFd<'_>, u64) -> rustix::io::Result<()>) {
        let index = index_of(socket.as_raw_fd());
        let Some(mut place) = self.0.get(index).and_then(|place| place.lock().ok()) else { return };
        let peer = place.insert(Peer::new(socket));
        if publish(peer.as_fd(), index as u64).is_err() {
            *place = None;
        }
    }

    /// Serves the connection of an event, and re-arms it by `rearm` or closes it.
    pub(super) fn turn(
        &self,
        data: u64,
        buffer: &mut [u8],
        rearm: impl FnOnce(BorrowedFd<'_>, EventFlags) -> rustix::io::Result<()>,
    ) {
        let Some(place) = usize::try_from(data).ok().and_then(|index| self.0.get(index)) else { return };
        let Some((fd, flags)) = serve_in(place, buffer) else { return };
        // SAFETY: the connection is in its place and disarmed, so no other thread has an event for it
        // and none can close it before this call arms it again; the descriptor is not used after that.
        let armed = rearm(unsafe { BorrowedFd::borrow_raw(fd) }, flags);
        if armed.is_err()
            && let Ok(mut place) = place.lock()
        {
            *place = None;
        }
    }
}

/// A turn with the place held. The lock is let go before the re-arm: its next event may wake another
/// thread at once, which must not find it taken.
fn serve_in(place: &Mutex<Option<Peer>>, buffer: &mut [u8]) -> Option<(RawFd, EventFlags)> {
    let mut place = place.lock().ok()?;
    let peer = place.as_mut()?;
    match peer.turn(buffer) {
        Verdict::Wait(flags) => Some((peer.socket.as_raw_fd(), flags)),
        Verdict::Close => {
            *place = None;
            None
        }
    }
}

pub(super) fn index_of(fd: RawFd) -> usize {
    usize::try_from(fd).unwrap_or(usize::MAX)
}

pub(super) fn new_buffer() -> Vec<u8> {
    vec![0; BUFFER_BYTES]
}
