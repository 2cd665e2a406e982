//! What a peer has not taken yet, in order, in pieces that several connections may share.

use crate::outbox::Message;
use crate::sys::socket::{self, SEGMENTS_PER_SEND_MAX};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

/// Pieces below this size are copied behind one another, so that many small leftovers make few pieces.
const COPY_BYTES_MAX: usize = 4096;

#[derive(Debug)]
enum Segment {
    Own(Vec<u8>),
    Shared(Message),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(message) => message,
        }
    }
}

/// A queue of bytes that is never empty while a connection holds it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that are out already.
    sent: usize,
    len: usize,
    /// When the peer has to have taken some of it.
    pub(crate) stalled_ms: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.segments.back_mut() {
            Some(Segment::Own(last)) if last.len() + bytes.len() <= COPY_BYTES_MAX => last.extend_from_slice(bytes),
            _ => self.segments.push_back(Segment::Own(bytes.to_vec())),
        }
    }

    /// Queues `message` from `offset` on, without a copy unless it is small.
    pub(crate) fn push_shared(&mut self, message: &Message, offset: usize) {
        let rest = message.get(offset..).unwrap_or_default();
        // Only the first piece can be sent in part, so only there an offset can be kept.
        let keeps_offset = offset == 0 || self.segments.is_empty();
        if rest.len() <= COPY_BYTES_MAX || !keeps_offset {
            self.push_bytes(rest);
            return;
        }
        if self.segments.is_empty() {
            self.sent = offset;
        }
        self.len += rest.len();
        self.segments.push_back(Segment::Shared(Message::clone(message)));
    }

    /// Sends as much as the socket takes; answers how much that was. `WouldBlock` is not an error here.
    pub(crate) fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let mut total = 0;
        while self.len > 0 {
            let mut pieces = [IoSlice::new(&[]); SEGMENTS_PER_SEND_MAX];
            let mut asked = 0;
            let mut count = 0;
            for (piece, segment) in pieces.iter_mut().zip(&self.segments) {
                let skip = if count == 0 { self.sent } else { 0 };
                let bytes = segment.bytes().get(skip..).unwrap_or_default();
                *piece = IoSlice::new(bytes);
                asked += bytes.len();
                count += 1;
            }
            match socket::send_vectored(fd, &mut pieces[..count]) {
                Ok(sent) => {
                    self.consume(sent);
                    total += sent;
                    if sent < asked {
                        return Ok(total);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn consume(&mut self, sent: usize) {
        self.len -= sent;
        self.sent += sent;
        while let Some(first) = self.segments.front() {
            let len = first.bytes().len();
            if self.sent < len {
                break;
            }
            self.sent -= len;
            self.segments.pop_front();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    #[test]
    fn bytes_come_out_in_order_whatever_pieces_they_went_in_as() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let big: Vec<u8> = (0..COPY_BYTES_MAX * 3).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let shared: Message = Arc::from(big.as_slice());
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        queue.push_shared(&shared, 100);
        expected.extend_from_slice(&big[100..]);
        queue.push_bytes(b"small");
        expected.extend_from_slice(b"small");
        for _ in 0..200 {
            queue.push_shared(&shared, 0);
            expected.extend_from_slice(&big);
        }
        queue.push_shared(&shared, 7);
        expected.extend_from_slice(&big[7..]);
        assert_eq!(queue.len(), expected.len());
        let mut got = Vec::new();
        let mut buffer = vec![0; 100_000];
        while queue.len() > 0 {
            queue.flush(ours.as_fd()).unwrap();
            let n = theirs.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..n]);
        }
        drop(ours);
        theirs.read_to_end(&mut got).unwrap();
        assert!(got == expected);
    }

    #[test]
    fn a_peer_that_is_gone_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut queue = Queue::default();
        queue.push_bytes(b"x");
        assert_eq!(queue.flush(ours.as_fd()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
