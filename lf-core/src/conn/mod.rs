//! A connection, as its owner sees it.

mod output;
mod table;

pub(crate) use output::Queue;
pub(crate) use table::{Slot, Table};

use crate::peer::Peer;
use crate::stats::CloseReason;
use crate::sys::epoll::Mask;
use crate::timer::NEVER_MS;
use crate::work::reason_of;
use std::any::Any;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How far a connection's life has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked for by us; the other side has not answered.
    Connecting,
    /// The handler has not heard of it.
    #[default]
    Fresh,
    /// Frames go in and out.
    Open,
    /// No frame is taken any more; what is queued still goes out.
    Closing(CloseReason),
    /// Our side is finished; what the peer still sends is thrown away, so that it can read our last words.
    Lingering(CloseReason),
}

/// What the deadline for reading stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Awaiting {
    #[default]
    FirstByte,
    FrameEnd,
    NextFrame,
    Linger,
}

/// Deadlines of a connection, in milliseconds of the server's clock. The one for writing is in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) read_ms: u64,
    pub(crate) user_ms: u64,
}

/// What was read of an unfinished frame; never empty while a connection holds it.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) bytes: Vec<u8>,
    /// Bytes at the front that the codec has looked at.
    pub(crate) examined: usize,
    /// Bytes without which the codec cannot go on.
    pub(crate) needed: usize,
}

/// All that belongs to one connection. Idle, it owns no buffer.
#[derive(Debug)]
pub(crate) struct Conn {
    fd: Option<OwnedFd>,
    pub(crate) peer: Peer,
    pub(crate) service: u16,
    pub(crate) group: u16,
    pub(crate) phase: Phase,
    pub(crate) awaiting: Awaiting,
    /// It is in its group's epoll set. A new connection has its first turn before it gets there.
    pub(crate) registered: bool,
    /// What epoll was last asked for and has not told yet; `NONE` once a one-shot event was taken.
    pub(crate) armed: Mask,
    /// The peer has finished: a read answered 0.
    pub(crate) eof: bool,
    /// epoll said that the peer has finished; asking again would only be told again.
    pub(crate) peer_finished: bool,
    /// Not read because too much is queued.
    pub(crate) paused: bool,
    /// Not read because the codec waits for an answer to go out, or the handler asked for it.
    pub(crate) held: bool,
    /// The handler asked for it.
    pub(crate) on_hold: bool,
    /// The handler was told that the peer of a held connection has finished.
    pub(crate) end_told: bool,
    /// The handler was told that all has been handed over that the peer will ever send.
    pub(crate) input_end_told: bool,
    /// `input` may hold whole frames.
    pub(crate) frames_left: bool,
    /// There may be bytes in the socket that no event will tell of (edge trigger).
    pub(crate) unread: bool,
    /// Messages were left in the outbox because too much is queued.
    pub(crate) mail: bool,
    /// The last turn was so long that the group had to do without its worker.
    pub(crate) slow: bool,
    /// Close once everything is out.
    pub(crate) draining: bool,
    /// The handler knows.
    pub(crate) drain_told: bool,
    /// The server opened it: it is no guest, so nobody counts, deals, drains or migrates it.
    pub(crate) outgoing: bool,
    /// What the system said when it failed.
    error: Option<NonZeroU16>,
    /// When it was accepted, in seconds of the server's clock.
    pub(crate) accepted_s: u32,
    /// What was read of an unfinished frame. Most connections have none, so they pay one pointer.
    pub(crate) input: Option<Box<Input>>,
    /// What the peer has not taken yet.
    pub(crate) queue: Option<Box<Queue>>,
    /// The codec's and the handler's state.
    pub(crate) state: Option<Box<dyn Any + Send>>,
    pub(crate) deadlines: Deadlines,
}

impl Conn {
    pub(crate) const VACANT: Self = Self {
        fd: None,
        peer: Peer::NONE,
        service: 0,
        group: 0,
        phase: Phase::Fresh,
        awaiting: Awaiting::FirstByte,
        registered: false,
        armed: Mask::NONE,
        eof: false,
        peer_finished: false,
        paused: false,
        held: false,
        on_hold: false,
        end_told: false,
        input_end_told: false,
        frames_left: false,
        unread: false,
        mail: false,
        slow: false,
        draining: false,
        drain_told: false,
        outgoing: false,
        error: None,
        accepted_s: 0,
        input: None,
        queue: None,
        state: None,
        deadlines: Deadlines { read_ms: NEVER_MS, user_ms: NEVER_MS },
    };

    pub(crate) fn new(fd: OwnedFd, peer: Peer, service: u16, group: u16, now_ms: u64) -> Self {
        let accepted_s = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX);
        Self { fd: Some(fd), peer, service, group, accepted_s, ..Self::VACANT }
    }

    /// One that the server opens, to `peer`; a task has no descriptor. What is sent before it is there waits in the outbox.
    pub(crate) fn outgoing(fd: Option<OwnedFd>, peer: Peer, service: u16, group: u16, now_ms: u64) -> Self {
        let accepted_s = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX);
        let connects = fd.is_some();
        let phase = if connects { Phase::Connecting } else { Phase::Fresh };
        Self { fd, peer, service, group, phase, mail: connects, outgoing: true, accepted_s, ..Self::VACANT }
    }

    /// Keeps for the handler what the system said; answers what that means.
    pub(crate) fn fail(&mut self, error: &io::Error) -> CloseReason {
        let code = error.raw_os_error().and_then(|code| u16::try_from(code).ok());
        self.error = code.and_then(NonZeroU16::new);
        reason_of(error)
    }

    /// The last error of the system, as `errno` names it.
    pub(crate) fn error(&self) -> Option<i32> {
        self.error.map(|code| i32::from(code.get()))
    }

    /// The descriptor; a task has none.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// When the peer has to have taken some of what is queued.
    pub(crate) fn write_deadline_ms(&self) -> u64 {
        self.queue.as_ref().map_or(NEVER_MS, |queue| queue.stalled_ms)
    }

    pub(crate) fn first_deadline_ms(&self) -> u64 {
        self.deadlines.read_ms.min(self.deadlines.user_ms).min(self.write_deadline_ms())
    }

    /// How long it has been there.
    pub(crate) fn age_s(&self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(u64::from(self.accepted_s))
    }

    /// Whether nothing keeps frames from being taken.
    pub(crate) fn takes_frames(&self) -> bool {
        !self.paused && !self.held
    }

    /// Whether bytes from the peer are wanted now.
    pub(crate) fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Fresh | Phase::Open => !self.eof && self.takes_frames(),
            Phase::Lingering(_) => !self.eof,
            Phase::Connecting | Phase::Closing(_) => false,
        }
    }

    /// What epoll has to be asked for, apart from the trigger.
    pub(crate) fn interest(&self) -> Mask {
        if self.phase == Phase::Connecting {
            return Mask::WRITE;
        }
        let mut mask = Mask::NONE;
        if self.wants_read() {
            mask = mask.and(Mask::READ);
        }
        if self.queue.is_some() {
            mask = mask.and(Mask::WRITE);
        }
        // Asked for each time: a one-shot MOD brings back errors and hang-ups by itself, but not this.
        if !self.peer_finished && !self.eof { mask.and(Mask::PEER_CLOSED) } else { mask }
    }

    /// Nothing came in part, nothing waits to go out.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.input.is_none() && self.queue.is_none()
    }
}
