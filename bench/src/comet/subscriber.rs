//! One subscriber: from the connect to the last message.

use super::cursor::{Cursor, Verdicts};
use crate::load::{Class, Fault, Scribe};
use crate::publish::{self, Ledger};
use crate::wire::{Broke, Decoder, Heard, PONG, Transport, masked};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::os::fd::{AsRawFd, RawFd};

/// Where a subscriber is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The connect is on its way.
    Connecting,
    /// The request is on its way.
    Asking,
    /// In: every message counts.
    Live,
    /// In, and never reads again.
    Stalled,
}

/// What all subscribers write to while they read.
pub(super) struct Books {
    pub(super) verdicts: Verdicts,
    pub(super) scribe: Scribe,
    /// Deliveries that have been made, or can be no more.
    pub(super) settled: u64,
}

pub(super) struct Subscriber {
    socket: Socket,
    decoder: Decoder,
    /// Of its id among all ids.
    index: u32,
    pub(super) state: State,
    stalls: bool,
    /// Of the messages of its id, the first that was not surely over when it asked.
    first: u32,
    cursor: Cursor,
}

impl Subscriber {
    /// For a socket whose connect has begun. `stalls`: it never reads once it is in.
    pub(super) fn new(socket: Socket, transport: Transport, index: u32, stalls: bool) -> Self {
        let (decoder, cursor) = (Decoder::new(transport), Cursor::default());
        Subscriber { socket, decoder, index, state: State::Connecting, stalls, first: 0, cursor }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The connect has come to an end: asks, if it was a good one. Of what is published by now, `unanswered`
    /// messages may not have reached the server yet.
    pub(super) fn ask(&mut self, transport: Transport, ledger: &Ledger, unanswered: u32) -> Result<(), Broke> {
        if let Ok(Some(error)) = self.socket.take_error() {
            return Err(Broke::Stream(Fault::of_connect(&error)));
        }
        self.state = State::Asking;
        self.first = ledger.published(self.index).saturating_sub(unanswered);
        self.send(transport.request(ledger.ids().at(self.index)).as_bytes())
    }

    /// A request or a pong fits an empty send buffer.
    fn send(&self, bytes: &[u8]) -> Result<(), Broke> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(taken) if taken == bytes.len() => Ok(()),
            Ok(_) | Err(Errno::AGAIN) => Err(Broke::Stream(Fault::Io)),
            Err(error) => Err(Broke::Stream(Fault::of_stream(error))),
        }
    }

    /// Reads until the socket is empty. `ended` says that the peer has closed: then reads go on until that
    /// is seen.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        ended: bool,
        ledger: &Ledger,
        books: &mut Books,
    ) -> Result<(), Broke> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Broke::Stream(Fault::Closed)),
                Ok((_, count)) => {
                    self.take(&buffer[..count], ledger, books)?;
                    if self.state == State::Stalled || count < buffer.len() && !ended {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Broke::Stream(Fault::of_stream(error))),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], ledger: &Ledger, books: &mut Books) -> Result<(), Broke> {
        let Subscriber { decoder, cursor, index, first, .. } = self;
        let address = (ledger.run(), ledger.ids().at(*index));
        let now_ns = books.scribe.now_ns();
        let (mut is_in, mut polls, mut bye) = (false, false, false);
        let mut pong = None;
        let stalls = self.stalls;
        let pushed = decoder.push(bytes, |heard| match heard {
            Heard::Ready => {
                (is_in, polls) = (true, true);
                if !stalls {
                    *cursor = Cursor::new(*first, ledger.enter(*index));
                }
            }
            Heard::Message(_) if stalls => {}
            Heard::Message(message) => judge(message, address, now_ns, cursor, books),
            Heard::Lost => books.verdicts.lost += 1,
            Heard::PollAgain => polls = true,
            Heard::Ping(payload) => pong = Some(masked(PONG, payload)),
            Heard::Bye => bye = true,
            Heard::Unreadable => books.verdicts.corrupted += 1,
        });
        // It is in even if the bytes after that are broken: then it leaves.
        if is_in {
            self.state = if stalls { State::Stalled } else { State::Live };
            books.scribe.opened();
        }
        pushed.map_err(Broke::Format)?;
        if let Some(pong) = pong {
            self.send(&pong)?;
        }
        if bye {
            return Err(Broke::Stream(Fault::Closed));
        }
        if polls && let Some(request) = self.decoder.next_poll(address.1) {
            self.send(request.as_bytes())?;
        }
        Ok(())
    }

    /// Logs a live subscriber out; returns what it is still owed.
    pub(super) fn leave(&mut self, ledger: &Ledger) -> u64 {
        if self.state != State::Live {
            return 0;
        }
        self.state = State::Asking;
        ledger.leave(self.index, self.cursor.settled_below())
    }

    /// The run is over: what has not come is missing.
    pub(super) fn close(&self, ledger: &Ledger, verdicts: &mut Verdicts) {
        if self.state == State::Live {
            self.cursor.close(ledger.published(self.index), verdicts);
        }
    }
}

fn judge(message: &[u8], address: (u32, u32), now_ns: u64, cursor: &mut Cursor, books: &mut Books) {
    match publish::read(message) {
        None => books.verdicts.corrupted += 1,
        Some(stamp) if (stamp.run, stamp.id) != address => books.verdicts.astray += 1,
        Some(stamp) => {
            let before = books.verdicts.delivered;
            books.settled += cursor.take(stamp.sequence, &mut books.verdicts);
            // What comes twice is no delivery.
            if books.verdicts.delivered > before {
                books.scribe.answered(Class::Normal, now_ns.saturating_sub(stamp.time_ns));
            }
        }
    }
}
