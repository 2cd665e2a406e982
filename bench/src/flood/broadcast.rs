//! One message to each subscriber of a flood, and whether it arrives.

use super::{Flood, Manner, poll};
use crate::footprint::{Before, Memory};
use crate::load::{Fault, Gauge, Phase, Stage, Target};
use crate::publish::{self, Distribution, Ids, Ledger, Published, Publisher, Rate};
use crate::wire::{Decoder, Heard};
use anyhow::{Context, Result, anyhow};
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::Serialize;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a message.
const SIZE: usize = 64;
/// Messages ahead of their answers.
const DEPTH: usize = 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Broadcast {
    /// Taken by the server.
    pub(crate) taken: u64,
    pub(crate) refused: u64,
    pub(crate) first_error: Option<String>,
    /// Subscribers that have got their message, and only theirs.
    pub(crate) received: usize,
    pub(crate) seconds: f64,
    /// After `--settle`.
    pub(crate) memory: Memory,
}

impl Flood<'_> {
    /// Publishes to all and reads from all; `before` is the memory before the flood.
    pub(super) fn broadcast(&mut self, control: &Target, before: &Before) -> Result<Broadcast> {
        let begun = Instant::now();
        let ids = Ids::new(self.args.subscribe.path_id_from, u32::try_from(self.held.len())?)?;
        let ledger = Arc::new(Ledger::new(ids));
        let run = ledger.run();
        let publisher = self.publisher(control, ledger)?;
        let publisher = std::thread::Builder::new().name("publisher".to_owned()).spawn(|| publisher.run());
        let publisher = publisher.context("generator thread")?;
        let (mut received, mut first) = (0, 0);
        while first < self.held.len() {
            let end = (first + self.args.in_flight.max(1)).min(self.held.len());
            received += self.listen(first, end, run)?;
            first = end;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let published: Published = publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
        self.errors.merge(&published.tally.faults);
        std::thread::sleep(self.args.subscribe.settle);
        Ok(Broadcast {
            taken: published.taken,
            refused: published.refused + published.unanswered,
            first_error: published.first_error,
            received,
            seconds,
            memory: before.grown(self.args.server_pid, self.held.len())?,
        })
    }

    fn publisher(&self, control: &Target, ledger: Arc<Ledger>) -> Result<Publisher> {
        let plan = publish::Plan {
            control: control.clone(),
            token: None,
            via: self.args.subscribe.via,
            rate: Rate::Max,
            distribution: Distribution::RoundRobin,
            seed: 0,
            size: SIZE,
            connections: 1,
            depth: DEPTH,
            window: 0,
            messages: Some(self.held.len() as u64),
            timeout: self.args.timeout,
        };
        plan.check()?;
        let stage = Arc::new(Stage::new());
        stage.set(Phase::Measuring);
        Publisher::new(plan, ledger, stage, Arc::new(Gauge::default()), Instant::now())
    }

    /// Reads from some subscribers until each has its message; how many have.
    fn listen(&mut self, first: usize, end: usize, run: u32) -> Result<usize> {
        let Manner::Subscribe(transport) = self.args.subscribe.transport else { return Ok(0) };
        let Some(opening) = &self.opening else { return Ok(0) };
        let mut decoders: Vec<Decoder> = (first..end).map(|_| Decoder::resumed(transport, opening)).collect();
        let registry = self.poll.registry().try_clone()?;
        for (index, socket) in self.held.iter().enumerate().take(end).skip(first) {
            registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(index), Interest::READABLE)?;
        }
        let (mut done, mut received) = (0, 0);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut moved = Instant::now();
        while done < end - first && moved.elapsed() < self.args.timeout {
            poll(&mut self.poll, &mut events)?;
            for event in &events {
                let index = event.token().0;
                match self.hear(index, run, &mut decoders[index - first], &mut buffer) {
                    None => continue,
                    Some(Ok(())) => received += 1,
                    Some(Err(fault)) => self.errors.add(fault),
                }
                moved = Instant::now();
                done += 1;
                let _ = registry.deregister(&mut SourceFd(&self.held[index].as_raw_fd()));
            }
        }
        for index in first..end {
            // Those that have theirs are not registered any more.
            let _ = registry.deregister(&mut SourceFd(&self.held[index].as_raw_fd()));
        }
        (done..end - first).for_each(|_| self.errors.add(Fault::Timeout));
        Ok(received)
    }

    /// Reads what is there; `None` while the message is not.
    fn hear(&self, index: usize, run: u32, decoder: &mut Decoder, buffer: &mut [u8]) -> Option<Result<(), Fault>> {
        let (socket, id) = (&self.held[index], self.id_at(index));
        loop {
            let count = match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Some(Err(Fault::Closed)),
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => continue,
                Err(error) => return Some(Err(Fault::of_stream(error))),
            };
            let (mut right, mut wrong, mut polls) = (0, 0, false);
            let pushed = decoder.push(&buffer[..count], |heard| match heard {
                Heard::Message(message) if is_stamped(message, run, id) => right += 1,
                Heard::Message(_) | Heard::Lost | Heard::Unreadable => wrong += 1,
                Heard::PollAgain => polls = true,
                Heard::Ready | Heard::Ping(_) | Heard::Bye => {}
            });
            match (pushed, right, wrong) {
                (Ok(()), 1, 0) => return Some(Ok(())),
                (Ok(()), 0, 0) => {}
                _ => return Some(Err(Fault::Mismatch)),
            }
            if polls && let Some(request) = decoder.next_poll(id) {
                // A failure shows at the next read.
                let _ = send(socket, request.as_bytes(), SendFlags::NOSIGNAL);
            }
        }
    }
}

fn is_stamped(message: &[u8], run: u32, id: u32) -> bool {
    publish::read(message).is_some_and(|stamp| (stamp.run, stamp.id) == (run, id))
}
