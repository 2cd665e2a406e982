//! Connections that stay: `long`, `mixed` and `rate` on one epoll loop per thread.

use super::dialect::Dialect;
use super::link::Link;
use super::pace::Pace;
use super::tally::{Class, Fault, Phase, Scribe, Tally};
use super::target::Sources;
use super::{Plan, Thread};
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::time::{Duration, Instant};

/// Connections begun per turn of the loop, so that the first ones are served while the last are made.
const OPENED_PER_TURN: usize = 64;
/// How often unanswered requests are looked for and lost connections made anew.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
/// How long the answers of the last requests are waited for.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
const BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_PER_TURN: usize = 256;
const PACE: Token = Token(usize::MAX);

struct Steady<'a, D: Dialect> {
    plan: &'a Plan,
    dialect: D,
    poll: Poll,
    links: Vec<Option<Link<D::Talk>>>,
    classes: Vec<Class>,
    /// Requests below this index have been tried to open once.
    opened: usize,
    serial: u64,
    sources: Sources,
    pace: Option<Pace>,
    scribe: Scribe,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    swept: Instant,
    /// The dialect has nothing left to ask.
    exhausted: bool,
    stopping: Option<Instant>,
}

/// Drives this thread's share of the connections until the run stops.
pub(crate) fn run<D: Dialect>(thread: Thread, dialect: D) -> Result<(Tally, D)> {
    let plan = thread.plan.clone();
    let poll = Poll::new().context("epoll instance")?;
    let pace = match plan.rate_per_thread() {
        Some(rate) => Some(Pace::new(rate, thread.index, plan.threads, plan.depth, poll.registry(), PACE)?),
        None => None,
    };
    let classes = plan.classes_of(thread.index);
    let mut steady = Steady {
        plan: &plan,
        dialect,
        poll,
        links: classes.iter().map(|_| None).collect(),
        classes,
        opened: 0,
        serial: u64::from(thread.index) << 32,
        sources: thread.sources,
        pace,
        scribe: thread.scribe,
        buffer: vec![0; BUFFER_BYTES],
        scratch: Vec::new(),
        swept: Instant::now(),
        exhausted: false,
        stopping: None,
    };
    steady.drive()?;
    Ok((steady.scribe.close(), steady.dialect))
}

impl<D: Dialect> Steady<'_, D> {
    fn drive(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let timeout = if self.opened < self.links.len() { Duration::ZERO } else { SWEEP_EVERY };
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("epoll_wait"),
            }
            let phase = self.scribe.turn();
            if (self.exhausted && self.is_quiet()) || (phase == Phase::Stopping && self.finished()) {
                return Ok(());
            }
            for event in &events {
                if event.token() == PACE {
                    continue;
                }
                let ended = event.is_read_closed() || event.is_error();
                self.on_event(event.token().0, event.is_readable() || ended, event.is_writable(), ended);
            }
            self.send_due(phase);
            self.open_more();
            if self.swept.elapsed() >= SWEEP_EVERY {
                self.sweep();
            }
        }
    }

    /// Whether nothing is left to wait for.
    fn finished(&mut self) -> bool {
        let since = *self.stopping.get_or_insert_with(Instant::now);
        if let Some(pace) = self.pace.as_mut().filter(|_| !self.exhausted) {
            pace.abandon(&mut self.scribe, &mut self.dialect);
        }
        since.elapsed() > STOP_PATIENCE || self.is_quiet()
    }

    /// Whether no request is without its answer.
    fn is_quiet(&self) -> bool {
        self.links.iter().flatten().all(|link| link.outstanding() == 0)
    }

    fn open_more(&mut self) {
        let end = (self.opened + OPENED_PER_TURN).min(self.links.len());
        for index in self.opened..end {
            self.open(index);
        }
        self.opened = end;
    }

    fn open(&mut self, index: usize) {
        let socket = match self.plan.target.connect(self.sources.advance()) {
            Ok(socket) => socket,
            Err(error) => return self.scribe.fault(Fault::of_connect(&error)),
        };
        // Fails on a unix socket, which has no Nagle to switch off.
        let _ = socket.set_tcp_nodelay(true);
        self.serial += 1;
        let class = self.classes[index];
        let link = Link::new(socket, class, self.dialect.begin(class, self.serial));
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self.poll.registry().register(&mut SourceFd(&link.raw_fd()), Token(index), interest) {
            Ok(()) => self.links[index] = Some(link),
            Err(_) => self.scribe.fault(Fault::Io),
        }
    }

    fn on_event(&mut self, index: usize, readable: bool, writable: bool, ended: bool) {
        let Some(mut link) = self.links[index].take() else { return };
        match self.serve(index, &mut link, readable, writable, ended) {
            Ok(()) if link.is_over() => self.replace(index, &link),
            Ok(()) => self.links[index] = Some(link),
            // Dropped here; the next sweep makes another.
            Err(fault) if self.stopping.is_none() || fault == Fault::Mismatch => self.scribe.fault(fault),
            Err(_) => {}
        }
    }

    /// The server has closed, or is about to. Where it has done so in good order, another connection takes the place
    /// at once; else the next sweep makes one, lest a server that lets nobody in is asked without end.
    fn replace(&mut self, index: usize, over: &Link<D::Talk>) {
        if self.stopping.is_some() {
            return;
        }
        if !over.is_well_over() {
            self.scribe.fault(Fault::Closed);
        } else if !self.exhausted {
            self.open(index);
        }
    }

    fn serve(
        &mut self,
        index: usize,
        link: &mut Link<D::Talk>,
        readable: bool,
        writable: bool,
        ended: bool,
    ) -> Result<(), Fault> {
        if !link.connected {
            if let Ok(Some(error)) = link.socket().take_error() {
                return Err(Fault::of_connect(&error));
            }
            if !writable {
                return Ok(());
            }
            link.connected = true;
            self.scribe.opened();
            return match &mut self.pace {
                Some(pace) => {
                    pace.offer(index, self.plan.depth);
                    Ok(())
                }
                None => self.send(link, self.plan.depth, self.scribe.now_ns()),
            };
        }
        if writable {
            link.flush()?;
        }
        if !readable {
            return Ok(());
        }
        let (class, now, scribe) = (link.class, self.scribe.now_ns(), &mut self.scribe);
        let answers = link.receive(&mut self.dialect, &mut self.buffer, ended, |sent, answer| {
            scribe.heard(class, now.saturating_sub(sent), answer);
        })?;
        if link.is_over() {
            return Ok(());
        }
        match &mut self.pace {
            Some(pace) => pace.offer(index, answers),
            None if answers > 0 && self.stopping.is_none() => self.send(link, answers, now)?,
            None => {}
        }
        Ok(())
    }

    fn send(&mut self, link: &mut Link<D::Talk>, count: usize, time_ns: u64) -> Result<(), Fault> {
        self.exhausted |= !link.request(&mut self.dialect, count, time_ns, &mut self.scratch)?;
        Ok(())
    }

    /// `rate`: sends every request whose time has come and that finds a connection.
    fn send_due(&mut self, phase: Phase) {
        let Some(mut pace) = self.pace.take() else { return };
        if (phase == Phase::Warming || phase == Phase::Measuring) && !self.exhausted {
            while let Some((index, due_ns)) = pace.next(self.scribe.now_ns(), &self.links) {
                let Some(mut link) = self.links[index].take() else { continue };
                match self.send(&mut link, 1, due_ns) {
                    Ok(()) => self.links[index] = Some(link),
                    Err(fault) => self.scribe.fault(fault),
                }
            }
            pace.arm(self.scribe.now_ns());
        }
        self.pace = Some(pace);
    }

    fn sweep(&mut self) {
        self.swept = Instant::now();
        if self.stopping.is_some() {
            return;
        }
        let limit_ns = u64::try_from(self.plan.timeout.as_nanos()).unwrap_or(u64::MAX);
        let now = self.scribe.now_ns();
        for index in 0..self.opened {
            let overdue = match &self.links[index] {
                Some(link) => link.oldest_ns().is_some_and(|sent| now.saturating_sub(sent) > limit_ns),
                None => false,
            };
            if overdue {
                self.scribe.fault(Fault::Timeout);
                self.links[index] = None;
            }
            if self.links[index].is_none() && !self.exhausted {
                self.open(index);
            }
        }
    }
}
