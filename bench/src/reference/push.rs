//! The bare `send` loop of a push server: one thread, level-triggered. A message becomes bytes once, and then
//! is one plain `send` per subscriber. Without batching, nothing delivers a message for less.
//!
//! It speaks as much HTTP as the load generator does: `GET /events/ID` subscribes, `POST /send/ID` publishes.

use super::announce;
use super::peer::index_of;
use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, recv, send};
use socket2::Socket;
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const BATCH: usize = 256;
const LISTENER: u64 = u64::MAX;
/// Accepts per wake of the listener.
const BURST: usize = 64;
const BUFFER_BYTES: usize = 64 * 1024;
const HEADERS_MAX: usize = 32;
/// What a request may hold, and what may wait for a subscriber that does not read.
const WAITING_BYTES_MAX: usize = 1 << 20;
const WELCOME: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\nretry: 3000\n\n";

/// A connection: at first it asks, and may then become a subscriber.
struct Peer {
    socket: OwnedFd,
    /// Of the id, once it has subscribed.
    id: Option<Box<str>>,
    /// A request that is not complete.
    request: Vec<u8>,
    /// Bytes that the kernel has not taken.
    leftover: Vec<u8>,
    waits_for: EventFlags,
}

struct Loop {
    epoll: OwnedFd,
    /// By descriptor.
    peers: Vec<Option<Peer>>,
    subscribers: HashMap<Box<str>, Vec<usize>>,
    buffer: Vec<u8>,
    event: Vec<u8>,
    published: u64,
}

/// What a request asks for, and how many bytes it took.
enum Asked {
    More,
    Subscribe(Box<str>),
    Publish { id: Box<str>, body: std::ops::Range<usize> },
    Nonsense,
}

pub(super) fn serve(listener: &Socket) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN).context("epoll_ctl")?;
    announce(listener)?;
    let mut push = Loop {
        epoll,
        peers: Vec::new(),
        subscribers: HashMap::new(),
        buffer: vec![0; BUFFER_BYTES],
        event: Vec::new(),
        published: 0,
    };
    let mut events: Vec<Event> = Vec::with_capacity(BATCH);
    loop {
        events.clear();
        match epoll::wait(&push.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => push.accept(listener),
                data => push.turn(usize::try_from(data).unwrap_or(usize::MAX), event.flags),
            }
        }
    }
}

impl Loop {
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
            let (request, leftover, waits_for) = (Vec::new(), Vec::new(), EventFlags::IN);
            self.peers[index] = Some(Peer { socket, id: None, request, leftover, waits_for });
        }
    }

    fn turn(&mut self, index: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.write(index, &[]);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(index);
        }
    }

    fn read(&mut self, index: usize) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        let count = match recv(&peer.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((_, 0)) | Err(_) => return self.leave(index),
            Ok((_, count)) => count,
        };
        if peer.id.is_some() {
            return;
        }
        peer.request.extend_from_slice(&self.buffer[..count]);
        let mut bytes = std::mem::take(&mut peer.request);
        let (mut at, mut answers) = (0, Vec::new());
        loop {
            match asked(&bytes[at..]) {
                Asked::More if bytes.len() - at <= WAITING_BYTES_MAX => break,
                Asked::More | Asked::Nonsense => return self.leave(index),
                Asked::Subscribe(id) => return self.subscribe(index, id),
                Asked::Publish { id, body } => {
                    let delivered = self.publish(&id, &bytes[at + body.start..at + body.end]);
                    let body_length = 15 + digits(delivered);
                    // Writing to a vector cannot fail.
                    let _ = write!(
                        answers,
                        "HTTP/1.1 200 OK\r\nContent-Length: {body_length}\r\n\r\n{{\"delivered\":{delivered}}}\n"
                    );
                    at += body.end;
                }
            }
        }
        bytes.drain(..at);
        if let Some(Some(peer)) = self.peers.get_mut(index) {
            peer.request = bytes;
        }
        if !answers.is_empty() {
            self.write(index, &answers);
        }
    }

    fn subscribe(&mut self, index: usize, id: Box<str>) {
        self.subscribers.entry(id.clone()).or_default().push(index);
        if let Some(Some(peer)) = self.peers.get_mut(index) {
            peer.id = Some(id);
        }
        self.write(index, WELCOME);
    }

    /// One `send` per subscriber; how many there were.
    fn publish(&mut self, id: &str, body: &[u8]) -> usize {
        let mut event = std::mem::take(&mut self.event);
        event.clear();
        self.published += 1;
        let _ = write!(event, "id: {:08x}-{}\ndata: ", 0, self.published);
        event.extend_from_slice(body);
        event.extend_from_slice(b"\n\n");
        // Who leaves meanwhile takes itself off the list, and the last one comes in its place.
        let (mut at, mut reached) = (0, 0);
        while let Some(index) = self.subscribers.get(id).and_then(|list| list.get(at)).copied() {
            if self.write(index, &event) {
                at += 1;
                reached += 1;
            }
        }
        self.event = event;
        reached
    }

    /// Sends behind what is left over; whether the peer is still there.
    fn write(&mut self, index: usize, bytes: &[u8]) -> bool {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return false };
        if !peer.leftover.is_empty() {
            peer.leftover.extend_from_slice(bytes);
        }
        let waiting = if peer.leftover.is_empty() { bytes } else { &peer.leftover };
        let taken = match send(&peer.socket, waiting, SendFlags::NOSIGNAL) {
            Ok(taken) => taken,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.leave(index);
                return false;
            }
        };
        if peer.leftover.is_empty() {
            peer.leftover.extend_from_slice(&bytes[taken..]);
        } else {
            peer.leftover.drain(..taken);
        }
        let wanted = if peer.leftover.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        let armed = wanted == peer.waits_for
            || epoll::modify(&self.epoll, peer.socket.as_fd(), EventData::new_u64(index as u64), wanted).is_ok();
        peer.waits_for = wanted;
        if !armed || peer.leftover.len() > WAITING_BYTES_MAX {
            self.leave(index);
            return false;
        }
        true
    }

    fn leave(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::take) else { return };
        if let Some(id) = peer.id
            && let Some(list) = self.subscribers.get_mut(&id)
        {
            if let Some(place) = list.iter().position(|other| *other == index) {
                list.swap_remove(place);
            }
            if list.is_empty() {
                self.subscribers.remove(&id);
            }
        }
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The request that the bytes begin with.
fn asked(bytes: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let start = match request.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Asked::More,
        Err(_) => return Asked::Nonsense,
    };
    let path = request.path.unwrap_or_default();
    if request.method == Some("GET") {
        return path.strip_prefix("/events/").map_or(Asked::Nonsense, |id| Asked::Subscribe(id.into()));
    }
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    match (path.strip_prefix("/send/"), length) {
        (Some(_), Some(length)) if length > WAITING_BYTES_MAX => Asked::Nonsense,
        (Some(_), Some(length)) if bytes.len() < start + length => Asked::More,
        (Some(id), Some(length)) => Asked::Publish { id: id.into(), body: start..start + length },
        _ => Asked::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let post = b"POST /send/7 HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\nhello";
        for end in 0..post.len() {
            assert!(matches!(asked(&post[..end]), Asked::More), "{end}");
        }
        let Asked::Publish { id, body } = asked(&[post, &b"POST"[..]].concat()) else { panic!("it is whole") };
        assert_eq!((&*id, &post[body]), ("7", &b"hello"[..]));
        let get = b"GET /events/a.b HTTP/1.1\r\n\r\n";
        assert!(matches!(asked(get), Asked::Subscribe(id) if &*id == "a.b"));
    }

    #[test]
    fn what_is_neither_is_nonsense() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST /send/1 HTTP/1.1\r\n\r\n",
            "POST /send/1 HTTP/1.1\r\ncontent-length: 9999999999\r\n\r\n",
            "\0",
        ] {
            assert!(matches!(asked(text.as_bytes()), Asked::Nonsense), "{text}");
        }
    }
}
