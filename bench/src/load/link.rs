//! One connection of the generator: what is unanswered on it, and what the kernel has not taken yet.

use super::dialect::{Answer, Dialect};
use super::tally::{Class, Fault};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};

/// A connection and what its dialect remembers of it.
pub(crate) struct Link<T> {
    socket: Socket,
    pub(crate) class: Class,
    pub(crate) connected: bool,
    talk: T,
    /// The server has closed, or has said that it will.
    is_over: bool,
    has_answered: bool,
    /// When each unanswered request was sent, or was meant to be; nanoseconds of the run.
    times: VecDeque<u64>,
    /// Bytes the kernel did not take; empty but for large messages.
    leftover: Vec<u8>,
}

impl<T> Link<T> {
    pub(crate) fn new(socket: Socket, class: Class, talk: T) -> Self {
        Link {
            socket,
            class,
            connected: false,
            talk,
            is_over: false,
            has_answered: false,
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

    /// Whether nothing may be sent any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the server has ended it after some answers, and owes none.
    pub(crate) fn is_well_over(&self) -> bool {
        self.is_over && self.has_answered && self.times.is_empty()
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

    /// Sends up to `count` requests in one write; `scratch` is overwritten. Returns whether there were so many to ask.
    pub(crate) fn request<D: Dialect<Talk = T>>(
        &mut self,
        dialect: &mut D,
        count: usize,
        time_ns: u64,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        scratch.clear();
        let asked = (0..count).take_while(|_| dialect.ask(&mut self.talk, scratch)).count();
        self.times.extend(std::iter::repeat_n(time_ns, asked));
        if !self.leftover.is_empty() {
            self.leftover.extend_from_slice(scratch);
            return Ok(asked == count);
        }
        if asked == 0 {
            return Ok(false);
        }
        let taken = match send(&self.socket, scratch, SendFlags::NOSIGNAL) {
            Ok(taken) => taken,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => 0,
            Err(error) => return Err(Fault::of_stream(error)),
        };
        self.leftover.extend_from_slice(&scratch[taken..]);
        Ok(asked == count)
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

    /// Reads until the socket is empty; `answered` gets each answer that is complete, and the time of its request.
    /// Returns how many those were.
    ///
    /// A read that does not fill the buffer has emptied the socket, so in steady state this is one
    /// `recv`. `ended` says that the peer has closed: then reads go on until the end is seen.
    pub(crate) fn receive<D: Dialect<Talk = T>>(
        &mut self,
        dialect: &mut D,
        buffer: &mut [u8],
        ended: bool,
        mut answered: impl FnMut(u64, &Answer),
    ) -> Result<usize, Fault> {
        let Link { socket, talk, is_over, has_answered, times, .. } = self;
        let mut answers = 0;
        let mut each = |answer: Answer| {
            answers += 1;
            *is_over |= answer.is_last;
            *has_answered = true;
            if let Some(time) = times.pop_front() {
                answered(time, &answer);
            }
        };
        loop {
            match recv(&*socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => {
                    dialect.hear_end(talk, &mut each)?;
                    *is_over = true;
                    return Ok(answers);
                }
                Ok((_, count)) => {
                    dialect.hear(talk, &buffer[..count], &mut each)?;
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
}

#[cfg(test)]
mod tests {
    use super::super::echo::{Echo, Position};
    use super::super::payload::{Ask, Frame};
    use super::*;
    use socket2::{Domain, Type};
    use std::io::{Read, Write};

    fn pair_of(frame: Frame, size: usize) -> (Link<Position>, Socket, Echo) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut echo = Echo::new(frame, size, Ask::Nothing).unwrap();
        let talk = echo.begin(Class::Normal, 3);
        (Link::new(ours, Class::Normal, talk), theirs, echo)
    }

    fn pair() -> (Link<Position>, Socket, Echo) {
        pair_of(Frame::Line, 64)
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
        let (mut link, mut peer, mut dialect) = pair();
        link.request(&mut dialect, 3, 7, &mut Vec::new()).unwrap();
        echo(&mut peer, 3 * 64, None);
        let (mut times, mut buffer) = (Vec::new(), [0; 50]);
        let mut answers = 0;
        while answers < 3 {
            answers += link.receive(&mut dialect, &mut buffer, false, |time, _| times.push(time)).unwrap();
        }
        assert_eq!((times, link.outstanding()), (vec![7; 3], 0));
    }

    #[test]
    fn one_wrong_bit_is_a_mismatch() {
        let (mut link, mut peer, mut dialect) = pair();
        link.request(&mut dialect, 1, 0, &mut Vec::new()).unwrap();
        echo(&mut peer, 64, Some(40));
        assert_eq!(link.receive(&mut dialect, &mut [0; 128], false, |_, _| {}), Err(Fault::Mismatch));
    }

    #[test]
    fn bytes_nobody_asked_for_are_a_mismatch_and_an_early_end_is_closed() {
        let (mut link, mut peer, mut dialect) = pair();
        peer.write_all(b"hello").unwrap();
        assert_eq!(link.receive(&mut dialect, &mut [0; 128], false, |_, _| {}), Err(Fault::Mismatch));
        let (mut link, peer, mut dialect) = pair();
        drop(peer);
        assert_eq!(link.receive(&mut dialect, &mut [0; 128], false, |_, _| {}), Err(Fault::Closed));
    }

    #[test]
    fn what_the_kernel_does_not_take_is_kept_and_sent_later() {
        let size = 4 << 20;
        let (mut link, mut peer, mut dialect) = pair_of(Frame::Raw, size);
        link.request(&mut dialect, 1, 0, &mut Vec::new()).unwrap();
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
        let (mut again, mut talk) = (Vec::new(), dialect.begin(Class::Normal, 3));
        dialect.ask(&mut talk, &mut again);
        assert_eq!(reader.join().unwrap(), again);
    }
}
