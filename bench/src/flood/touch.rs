//! One message on each connection, and its echo.

use super::{Flood, poll};
use crate::load::{Ask, Fault, Payload};
use anyhow::Result;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::os::fd::AsRawFd;
use std::time::Instant;

impl Flood<'_> {
    /// One message on each connection, as many at a time as connects were; counts right answers.
    pub(super) fn touch_all(&mut self) -> Result<usize> {
        let mut payload = Payload::new(self.args.frame, self.args.size, Ask::Nothing)?;
        let mut echoed = 0;
        let mut first = 0;
        while first < self.held.len() {
            let end = (first + self.args.in_flight.max(1)).min(self.held.len());
            echoed += self.touch(first, end, &mut payload)?;
            first = end;
        }
        Ok(echoed)
    }

    fn touch(&mut self, first: usize, end: usize, payload: &mut Payload) -> Result<usize> {
        let (registry, held) = (self.poll.registry().try_clone()?, &self.held);
        let mut expected = 0;
        let mut received: Vec<Vec<u8>> = vec![Vec::new(); end - first];
        for (index, socket) in held.iter().enumerate().take(end).skip(first) {
            match send(socket, payload.stamped(index as u64), SendFlags::NOSIGNAL) {
                Ok(taken) if taken == payload.len() => {
                    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(index), Interest::READABLE)?;
                    expected += 1;
                }
                // A buffer that is empty and yet too small for one message.
                Ok(_) | Err(Errno::AGAIN) => self.errors.add(Fault::Io),
                Err(error) => self.errors.add(Fault::of_stream(error)),
            }
        }
        let (mut done, mut echoed) = (0, 0);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; payload.len() + 1];
        let mut moved = Instant::now();
        while done < expected && moved.elapsed() < self.args.timeout {
            poll(&mut self.poll, &mut events)?;
            for event in &events {
                let index = event.token().0;
                let so_far = &mut received[index - first];
                moved = Instant::now();
                match read_answer(&held[index], payload.stamped(index as u64), so_far, &mut buffer) {
                    None => continue,
                    Some(Ok(())) => echoed += 1,
                    Some(Err(fault)) => self.errors.add(fault),
                }
                done += 1;
                let _ = registry.deregister(&mut SourceFd(&held[index].as_raw_fd()));
            }
        }
        for _ in done..expected {
            self.errors.add(Fault::Timeout);
        }
        Ok(echoed)
    }
}

/// Reads what is there; `None` while the answer is not complete.
fn read_answer(socket: &Socket, expected: &[u8], so_far: &mut Vec<u8>, buffer: &mut [u8]) -> Option<Result<(), Fault>> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Some(Err(Fault::Closed)),
            Ok((_, count)) => so_far.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => continue,
            Err(error) => return Some(Err(Fault::of_stream(error))),
        }
        if so_far.len() >= expected.len() {
            return Some(if so_far == expected { Ok(()) } else { Err(Fault::Mismatch) });
        }
    }
}
