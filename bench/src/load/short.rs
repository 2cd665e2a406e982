//! Connections of one request: connect, send, receive, close, and the next one in its place.

use super::dialect::Dialect;
use super::link::Link;
use super::tally::{Class, Fault, Phase, Scribe, Tally};
use super::target::Sources;
use super::ticker::Ticker;
use super::{Close, Plan, Thread};
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::time::{Duration, Instant};

/// How often places whose connection failed are tried again, and late ones are given up.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
const STOP_PATIENCE: Duration = Duration::from_millis(500);
const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_TURN: usize = 256;
const TICK: Token = Token(usize::MAX);

struct Short<'a, D: Dialect> {
    plan: &'a Plan,
    dialect: D,
    close: Close,
    poll: Poll,
    links: Vec<Option<Link<D::Talk>>>,
    /// In an open loop: when connections are due, and the places that have none; these may be out of date.
    schedule: Option<Ticker>,
    free: Vec<usize>,
    serial: u64,
    sources: Sources,
    scribe: Scribe,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Keeps this thread's share of the connections in flight until the run stops.
pub(crate) fn run<D: Dialect>(thread: Thread, close: Close, dialect: D) -> Result<(Tally, D)> {
    let plan = thread.plan.clone();
    let poll = Poll::new().context("epoll instance")?;
    let phase = f64::from(thread.index) / f64::from(plan.threads);
    let ticker = |rate| Ticker::new(rate, phase, poll.registry(), TICK);
    let mut short = Short {
        dialect,
        close,
        schedule: plan.rate_per_thread().map(ticker).transpose()?,
        free: Vec::new(),
        poll,
        links: plan.classes_of(thread.index).iter().map(|_| None).collect(),
        plan: &plan,
        serial: u64::from(thread.index) << 40,
        sources: thread.sources,
        scribe: thread.scribe,
        buffer: vec![0; BUFFER_BYTES],
        scratch: Vec::new(),
    };
    short.drive()?;
    Ok((short.scribe.close(), short.dialect))
}

impl<D: Dialect> Short<'_, D> {
    fn drive(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        for index in 0..self.links.len() {
            self.vacated(index);
            self.scribe.opened();
        }
        let mut swept = Instant::now();
        let mut stopping = None;
        loop {
            match self.poll.poll(&mut events, Some(SWEEP_EVERY)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("epoll_wait"),
            }
            let phase = self.scribe.turn();
            if phase == Phase::Stopping {
                let since = *stopping.get_or_insert_with(Instant::now);
                self.abandon();
                if since.elapsed() > STOP_PATIENCE || self.links.iter().all(Option::is_none) {
                    return Ok(());
                }
            }
            for event in events.iter().filter(|event| event.token() != TICK) {
                let ended = event.is_read_closed() || event.is_error();
                let index = event.token().0;
                if self.on_event(index, event.is_readable() || ended, event.is_writable(), ended) && stopping.is_none()
                {
                    self.vacated(index);
                }
            }
            if phase == Phase::Warming || phase == Phase::Measuring {
                self.open_due();
            }
            if swept.elapsed() >= SWEEP_EVERY && stopping.is_none() {
                swept = Instant::now();
                self.sweep();
            }
        }
    }

    /// A place has no connection: it gets one now, or when one is due.
    fn vacated(&mut self, index: usize) {
        if self.schedule.is_some() {
            self.free.push(index);
        } else {
            self.open(index, self.scribe.now_ns());
        }
    }

    /// Makes every connection whose time has come and that finds a place.
    fn open_due(&mut self) {
        let Some(mut schedule) = self.schedule.take() else { return };
        let mut due = schedule.due(self.scribe.now_ns());
        while let Some(due_ns) = due
            && let Some(index) = self.free.pop()
        {
            if self.links[index].is_none() {
                schedule.advance();
                self.open(index, due_ns);
            }
            due = schedule.due(self.scribe.now_ns());
        }
        // Where all places are taken, an answer wakes the loop.
        if due.is_none() {
            schedule.arm(self.scribe.now_ns());
        }
        self.schedule = Some(schedule);
    }

    /// The run is over: what was due and has found no place has waited at least until now.
    fn abandon(&mut self) {
        let (now_ns, scribe, dialect) = (self.scribe.now_ns(), &mut self.scribe, &mut self.dialect);
        if let Some(schedule) = &mut self.schedule {
            schedule.abandon(now_ns, |waited_ns| scribe.unsent(dialect.unasked(), waited_ns));
        }
    }

    fn open(&mut self, index: usize, begun_ns: u64) {
        if let Err(fault) = self.try_open(index, begun_ns) {
            self.scribe.fault(fault);
        }
    }

    /// On loopback a connect is complete when it returns, so the request is sent at once and the
    /// socket is watched for the answer only.
    fn try_open(&mut self, index: usize, begun_ns: u64) -> Result<(), Fault> {
        let source = self.sources.advance();
        let socket = self.plan.target.connect(source).map_err(|error| Fault::of_connect(&error))?;
        self.serial += 1;
        let mut link = Link::new(socket, Class::Normal, self.dialect.begin(Class::Normal, self.serial));
        link.request(&mut self.dialect, 1, begun_ns, &mut self.scratch)?;
        let interest = if link.has_leftover() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let watched = self.poll.registry().register(&mut SourceFd(&link.raw_fd()), Token(index), interest);
        watched.map_err(|_| Fault::Io)?;
        self.links[index] = Some(link);
        Ok(())
    }

    /// Whether the connection in this place has done its work and is closed.
    fn on_event(&mut self, index: usize, readable: bool, writable: bool, ended: bool) -> bool {
        let Some(mut link) = self.links[index].take() else { return false };
        match self.serve(&mut link, readable, writable, ended) {
            Ok(true) => {
                if self.close == Close::Rst {
                    // Cannot fail on a TCP socket; on a unix socket there is no RST to send.
                    let _ = link.socket().set_linger(Some(Duration::ZERO));
                }
                true
            }
            Ok(false) => {
                self.links[index] = Some(link);
                false
            }
            Err(fault) => {
                self.scribe.fault(fault);
                false
            }
        }
    }

    fn serve(&mut self, link: &mut Link<D::Talk>, readable: bool, writable: bool, ended: bool) -> Result<bool, Fault> {
        if writable {
            link.flush()?;
        }
        if !readable {
            return Ok(false);
        }
        let scribe = &mut self.scribe;
        let answers = link.receive(&mut self.dialect, &mut self.buffer, ended, |begun, answer| {
            scribe.heard(Class::Normal, scribe.now_ns().saturating_sub(begun), answer);
        });
        match answers {
            // The whole answer and then the server's end: that is a server of one request.
            Err(Fault::Closed) if link.outstanding() == 0 => Ok(true),
            other => other.map(|_| link.outstanding() == 0),
        }
    }

    fn sweep(&mut self) {
        let limit_ns = u64::try_from(self.plan.timeout.as_nanos()).unwrap_or(u64::MAX);
        let now = self.scribe.now_ns();
        // Every place that has none is about to be found.
        self.free.clear();
        for index in 0..self.links.len() {
            let begun = self.links[index].as_ref().map(|link| link.oldest_ns().unwrap_or(now));
            if begun.is_some_and(|begun| now.saturating_sub(begun) > limit_ns) {
                self.scribe.fault(Fault::Timeout);
                self.links[index] = None;
            }
            if self.links[index].is_none() {
                self.vacated(index);
            }
        }
    }
}
