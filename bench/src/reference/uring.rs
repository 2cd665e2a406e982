//! io_uring on one thread: multishot accept, multishot receive into provided buffers, send from the
//! same buffer. What the kernel offers beyond epoll, as an upper reference.

use super::buffers::{Buffers, GROUP};
use super::{ACCEPT_PAUSE, announce, honour};
use anyhow::{Context, Result};
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use socket2::Socket;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

const ENTRIES: u32 = 4096;

/// What a completion is of. Kept in its user data, with a descriptor and a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Accept = 0,
    Receive = 1,
    Send = 2,
    Close = 3,
}

/// A received piece that is to be sent back.
#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    from: u32,
    to: u32,
}

struct Peer {
    socket: OwnedFd,
    receiving: bool,
    ended: bool,
    sending: Option<Piece>,
    /// Received while another piece is being sent: answers keep their order.
    waiting: VecDeque<Piece>,
}

struct Server {
    // Before the buffers, which must outlive it: fields are dropped in order.
    uring: IoUring,
    buffers: Buffers,
    listener: Socket,
    peers: Vec<Option<Peer>>,
    /// Their receive ended because no buffer was free.
    starved: Vec<RawFd>,
}

pub(super) fn serve(listener: Socket) -> Result<()> {
    let uring = new_ring().context(
        "the kernel refuses io_uring (kernel.io_uring_disabled, a seccomp filter, or a kernel before 6.0); leave this server out",
    )?;
    let buffers = Buffers::register(&uring)?;
    let mut server = Server { uring, buffers, listener, peers: Vec::new(), starved: Vec::new() };
    announce(&server.listener)?;
    server.accept();
    let mut done: Vec<cqueue::Entry> = Vec::with_capacity(ENTRIES as usize);
    loop {
        match server.uring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("io_uring_enter"),
        }
        done.extend(server.uring.completion());
        for entry in done.drain(..) {
            server.on_completion(&entry);
        }
    }
}

/// Completions are worked on when we wait, not in interrupts of a running thread, where the kernel offers that.
fn new_ring() -> std::io::Result<IoUring> {
    let modern = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES);
    modern.or_else(|_| IoUring::new(ENTRIES))
}

impl Server {
    fn push(&mut self, entry: squeue::Entry, op: Op, fd: RawFd) {
        let entry = entry.user_data((op as u64) << 32 | u64::from(fd.cast_unsigned()));
        loop {
            // SAFETY: what entries point to (buffers, descriptors) lives until their completion:
            // buffers are recycled and sockets closed only after it.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it over and try again. An interrupted call has handed over nothing.
            let _ = self.uring.submit();
        }
    }

    fn accept(&mut self) {
        let fd = self.listener.as_raw_fd();
        let flags = SocketFlags::CLOEXEC.bits().cast_signed();
        self.push(opcode::AcceptMulti::new(Fd(fd)).flags(flags).build(), Op::Accept, fd);
    }

    fn receive(&mut self, fd: RawFd) {
        self.push(opcode::RecvMulti::new(Fd(fd), GROUP).build(), Op::Receive, fd);
    }

    fn send(&mut self, fd: RawFd, piece: Piece) {
        let bytes = self.buffers.bytes(piece.buffer, piece.from, piece.to);
        let flags = SendFlags::NOSIGNAL.bits().cast_signed();
        let entry = opcode::Send::new(Fd(fd), bytes.as_ptr(), piece.to - piece.from).flags(flags).build();
        self.push(entry, Op::Send, fd);
    }

    fn on_completion(&mut self, entry: &cqueue::Entry) {
        let data = entry.user_data();
        let Ok(fd) = RawFd::try_from(data & u64::from(u32::MAX)) else { return };
        match data >> 32 {
            op if op == Op::Accept as u64 => self.on_accept(entry.result(), entry.flags()),
            op if op == Op::Receive as u64 => self.on_receive(fd, entry.result(), entry.flags()),
            op if op == Op::Send as u64 => self.on_send(fd, entry.result()),
            // A close has nothing to say.
            _ => {}
        }
    }

    fn on_accept(&mut self, result: i32, flags: u32) {
        if result >= 0 {
            // SAFETY: a successful accept has made this descriptor, and nobody else has it.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            let Ok(index) = usize::try_from(result) else { return };
            if index >= self.peers.len() {
                self.peers.resize_with(index + 1, || None);
            }
            self.peers[index] =
                Some(Peer { socket, receiving: true, ended: false, sending: None, waiting: VecDeque::new() });
            self.receive(result);
        } else if !cqueue::more(flags) {
            // Out of descriptors or memory: at once again would spin.
            std::thread::sleep(ACCEPT_PAUSE);
        }
        if !cqueue::more(flags) {
            self.accept();
        }
    }

    fn peer(&mut self, fd: RawFd) -> Option<&mut Peer> {
        self.peers.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn on_receive(&mut self, fd: RawFd, result: i32, flags: u32) {
        let taken = cqueue::buffer_select(flags);
        if let (Some(buffer), Ok(to @ 1..)) = (taken, u32::try_from(result)) {
            honour(self.buffers.bytes(buffer, 0, to));
            self.answer(fd, Piece { buffer, from: 0, to });
        }
        if cqueue::more(flags) {
            return;
        }
        let is_starved = result == -Errno::NOBUFS.raw_os_error();
        if is_starved {
            self.starved.push(fd);
        } else if result > 0 {
            self.receive(fd);
        } else {
            if let Some(peer) = self.peer(fd) {
                peer.receiving = false;
                peer.ended = true;
            }
            self.close_if_done(fd);
        }
    }

    fn answer(&mut self, fd: RawFd, piece: Piece) {
        let Some(peer) = self.peer(fd) else { return self.recycle(piece.buffer) };
        if peer.sending.is_some() {
            peer.waiting.push_back(piece);
        } else {
            peer.sending = Some(piece);
            self.send(fd, piece);
        }
    }

    fn on_send(&mut self, fd: RawFd, result: i32) {
        let Some(peer) = self.peer(fd) else { return };
        let Some(mut piece) = peer.sending.take() else { return };
        let Ok(count) = u32::try_from(result) else {
            let lost: Vec<Piece> = std::iter::once(piece).chain(peer.waiting.drain(..)).collect();
            lost.iter().for_each(|piece| self.recycle(piece.buffer));
            return self.close_if_done(fd);
        };
        piece.from += count;
        let next = if piece.from < piece.to { Some(piece) } else { peer.waiting.pop_front() };
        peer.sending = next;
        if piece.from == piece.to {
            self.recycle(piece.buffer);
        }
        match next {
            Some(next) => self.send(fd, next),
            None => self.close_if_done(fd),
        }
    }

    /// Gives a buffer back; a connection that lacked one receives again.
    fn recycle(&mut self, buffer: u16) {
        self.buffers.recycle(buffer);
        if let Some(fd) = self.starved.pop() {
            self.receive(fd);
        }
    }

    fn close_if_done(&mut self, fd: RawFd) {
        let done = self.peer(fd).is_some_and(|peer| peer.ended && !peer.receiving && peer.sending.is_none());
        let Ok(index) = usize::try_from(fd) else { return };
        if done && let Some(peer) = self.peers[index].take() {
            let fd = peer.socket.into_raw_fd();
            self.push(opcode::Close::new(Fd(fd)).build(), Op::Close, fd);
        }
    }
}
