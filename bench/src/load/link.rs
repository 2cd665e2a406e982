//! One connection of the generator: what it has sent, what must come back, and how far that is.

use super::payload::Payload;
use super::tally::{Class, Fault};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};

/// Spreads the stamps of connections, so that an answer that went to the wrong one does not match.
const STAMP_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// A connection and the two positions in its byte streams.
pub(crate) struct Link {
    socket: Socket,
    pub(crate) class: Class,
    pub(crate) connected: bool,
    seed: u64,
    sent: u64,
    received: u64,
    /// Bytes of the current answer that are here.
    received_bytes: usize,
    /// When each unanswered request was sent, or was meant to be; nanoseconds of the run.
    times: VecDeque<u64>,
    /// Bytes the kernel did not take; empty but for large messages.
    leftover: Vec<u8>,
}

impl Link {
    /// `serial` numbers the connections of a run.
    pub(crate) fn new(socket: Socket, class: Class, serial: u64) -> Self {
        Link {
            socket,
            class,
            connected: false,
            seed: serial.wrapping_mul(STAMP_STRIDE),
            sent: 0,
            received: 0,
            received_bytes: 0,
            times: VecDeque::new(),
            leftover: Vec::new(),
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether part of a request waits for the kernel to take it.
    pub(crate) fn has_leftover(&self) -> bool {
        !self.leftover.is_empty()
    }

    /// Requests without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.times.len()
    }

    /// When the oldest unanswered request was sent.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        self.times.front().copied()
    }

    /// Sends `count` requests in one write; `scratch` is overwritten.
    pub(crate) fn request(
        &mut self,
        payload: &mut Payload,
        count: usize,
        time_ns: u64,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        scratch.clear();
        for _ in 0..count {
            scratch.extend_from_slice(payload.stamped(self.seed.wrapping_add(self.sent)));
            self.sent += 1;
            self.times.push_back(time_ns);
        }
        if !self.leftover.is_empty() {
            self.leftover.extend_from_slice(scratch);
            return Ok(());
        }
        let taken = match send(&self.socket, scratch, SendFlags::NOSIGNAL) {
            Ok(taken) => taken,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => 0,
            Err(error) => return Err(Fault::of_stream(error)),
        };
        self.leftover.extend_from_slice(&scratch[taken..]);
        Ok(())
    }

    /// Sends what was left over, as far as the kernel takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        while !self.leftover.is_empty() {
            match send(&self.socket, &self.leftover, SendFlags::NOSIGNAL) {
                Ok(taken) => drop(self.leftover.drain(..taken)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Fault::of_stream(error)),
            }
        }
        self.leftover = Vec::new();
        Ok(())
    }

    /// Reads until the socket is empty and checks every byte; `answered` gets the time of each request
    /// whose answer is complete. Returns how many those were.
    ///
    /// A read that does not fill the buffer has emptied the socket, so in steady state this is one
    /// `recv`. `ended` says that the peer has closed: then reads go on until the end is seen.
    pub(crate) fn receive(
        &mut self,
        payload: &mut Payload,
        buffer: &mut [u8],
        ended: bool,
        mut answered: impl FnMut(u64),
    ) -> Result<usize, Fault> {
        let mut answers = 0;
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Fault::Closed),
                Ok((_, count)) => {
                    answers += self.check(payload, &buffer[..count], &mut answered)?;
                    if count < buffer.len() && !ended {
                        return Ok(answers);
                    }
                }
                Err(Errno::AGAIN) => return Ok(answers),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Fault::of_stream(error)),
            }
        }
    }

    fn check(
        &mut self,
        payload: &mut Payload,
        mut bytes: &[u8],
        answered: &mut impl FnMut(u64),
    ) -> Result<usize, Fault> {
        let mut answers = 0;
        while !bytes.is_empty() {
            if self.times.is_empty() {
                return Err(Fault::Mismatch);
            }
            let expected = &payload.stamped(self.seed.wrapping_add(self.received))[self.received_bytes..];
            let count = expected.len().min(bytes.len());
            if expected[..count] != bytes[..count] {
                return Err(Fault::Mismatch);
            }
            bytes = &bytes[count..];
            if count < expected.len() {
                self.received_bytes += count;
                continue;
            }
            self.received_bytes = 0;
            self.received += 1;
            answers += 1;
            if let Some(time) = self.times.pop_front() {
                answered(time);
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::{Ask, Frame};
    use super::*;
    use socket2::{Domain, Type};
    use std::io::{Read, Write};

    fn pair() -> (Link, Socket, Payload) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::new(ours, Class::Normal, 3), theirs, Payload::new(Frame::Line, 64, Ask::Nothing).unwrap())
    }

    fn echo(peer: &mut Socket, bytes: usize, spoil: Option<usize>) {
        let mut buffer = vec![0; bytes];
        peer.read_exact(&mut buffer).unwrap();
        if let Some(at) = spoil {
            buffer[at] ^= 1;
        }
        peer.write_all(&buffer).unwrap();
    }

    #[test]
    fn answers_are_matched_in_order_however_they_are_cut() {
        let (mut link, mut peer, mut payload) = pair();
        link.request(&mut payload, 3, 7, &mut Vec::new()).unwrap();
        echo(&mut peer, 3 * 64, None);
        let (mut times, mut buffer) = (Vec::new(), [0; 50]);
        let mut answers = 0;
        while answers < 3 {
            answers += link.receive(&mut payload, &mut buffer, false, |time| times.push(time)).unwrap();
        }
        assert_eq!((times, link.outstanding()), (vec![7; 3], 0));
    }

    #[test]
    fn one_wrong_bit_is_a_mismatch() {
        let (mut link, mut peer, mut payload) = pair();
        link.request(&mut payload, 1, 0, &mut Vec::new()).unwrap();
        echo(&mut peer, 64, Some(40));
        assert_eq!(link.receive(&mut payload, &mut [0; 128], false, |_| {}), Err(Fault::Mismatch));
    }

    #[test]
    fn bytes_nobody_asked_for_are_a_mismatch_and_an_early_end_is_closed() {
        let (mut link, mut peer, mut payload) = pair();
        peer.write_all(b"hello").unwrap();
        assert_eq!(link.receive(&mut payload, &mut [0; 128], false, |_| {}), Err(Fault::Mismatch));
        let (mut link, peer, mut payload) = pair();
        drop(peer);
        assert_eq!(link.receive(&mut payload, &mut [0; 128], false, |_| {}), Err(Fault::Closed));
    }

    #[test]
    fn what_the_kernel_does_not_take_is_kept_and_sent_later() {
        let (mut link, mut peer, _) = pair();
        let size = 4 << 20;
        let mut payload = Payload::new(Frame::Raw, size, Ask::Nothing).unwrap();
        link.request(&mut payload, 1, 0, &mut Vec::new()).unwrap();
        assert!(!link.leftover.is_empty());
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; size];
            peer.read_exact(&mut all).unwrap();
            all
        });
        while !link.leftover.is_empty() {
            link.flush().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), payload.stamped(link.seed));
    }
}
