//! One thread, level-triggered: no re-arm, no hand-over, no other thread. Nothing serves a request for less.

use super::announce;
use super::peer::{Peer, Verdict, index_of, new_buffer};
use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::Socket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const BATCH: usize = 64;
const LISTENER: u64 = u64::MAX;
/// Accepts per wake of the listener.
const BURST: usize = 64;

struct Floor {
    epoll: OwnedFd,
    /// By descriptor: the connection, and whether it waits for room to write.
    peers: Vec<Option<(Peer, EventFlags)>>,
    buffer: Vec<u8>,
}

pub(super) fn serve(listener: &Socket) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN).context("epoll_ctl")?;
    announce(listener)?;
    let mut floor = Floor { epoll, peers: Vec::new(), buffer: new_buffer() };
    let mut events: Vec<Event> = Vec::with_capacity(BATCH);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept(listener),
                data => floor.turn(usize::try_from(data).unwrap_or(usize::MAX)),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &Socket) {
        for _ in 0..BURST {
            match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => self.enter(socket),
                Err(error) => return super::pause_after(error),
            }
        }
    }

    fn enter(&mut self, socket: OwnedFd) {
        let index = index_of(socket.as_raw_fd());
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, || None);
        }
        if epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN).is_ok() {
            self.peers[index] = Some((Peer::new(socket), EventFlags::IN));
        }
    }

    fn turn(&mut self, index: usize) {
        let Some(Some((peer, waits_for))) = self.peers.get_mut(index) else { return };
        let keep = match peer.turn(&mut self.buffer) {
            Verdict::Wait(flags) if flags == *waits_for => true,
            Verdict::Wait(flags) => {
                *waits_for = flags;
                epoll::modify(&self.epoll, peer.as_fd(), EventData::new_u64(index as u64), flags).is_ok()
            }
            Verdict::Close => false,
        };
        if !keep {
            self.peers[index] = None;
        }
    }
}
