//! All subscribers on one epoll loop: let in, listened to, exchanged at a rate, and seen off.

use super::Plan;
use super::cursor::Verdicts;
use super::subscriber::{Books, State, Subscriber};
use crate::load::{Fault, Gauge, Phase, Scribe, Sources, Stage, Tally, Ticker};
use crate::publish::Ledger;
use crate::random::Random;
use crate::wire::Broke;
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Subscribers that are on their way in at a time.
const OPENING_MAX: usize = 512;
const EVENTS_PER_TURN: usize = 256;
/// How often failed connects are tried again and the end of the run is looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
const BUFFER_BYTES: usize = 256 * 1024;
/// What a subscriber that never reads lets the kernel keep for it, so that the server feels it soon.
const STALLED_RECEIVE_BYTES: usize = 4096;
/// Attempts to find a live subscriber for a logout.
const LOGOUT_TRIES: u32 = 16;
const TICK: Token = Token(usize::MAX);

/// What the thread that times the run sees of the crowd.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Subscribers that the server will not have.
    pub(super) refused: AtomicU64,
}

/// What the crowd hands back.
pub(super) struct Received {
    pub(super) tally: Tally,
    pub(super) verdicts: Verdicts,
    /// Connections that ended before the run did.
    pub(super) disconnected: u64,
    /// Exchanged under `--churn`.
    pub(super) exchanged: u64,
    /// Of the stalled ones, those that the server has ended.
    pub(super) stalled_ended: u64,
    pub(super) first_error: Option<String>,
}

pub(super) struct Crowd {
    plan: Arc<Plan>,
    ledger: Arc<Ledger>,
    watch: Arc<Watch>,
    poll: Poll,
    places: Vec<Option<Subscriber>>,
    /// Places whose connect is to be begun.
    waiting: VecDeque<usize>,
    /// Places whose connect has failed, until the next sweep.
    failed: Vec<usize>,
    opening: usize,
    sources: Sources,
    churn: Option<Ticker>,
    random: Random,
    books: Books,
    disconnected: u64,
    exchanged: u64,
    first_error: Option<String>,
}

impl Crowd {
    pub(super) fn new(
        plan: Arc<Plan>,
        ledger: Arc<Ledger>,
        watch: Arc<Watch>,
        (stage, gauge, origin): (Arc<Stage>, Arc<Gauge>, Instant),
    ) -> Result<Self> {
        let poll = Poll::new().context("epoll instance")?;
        let churn = match plan.churn {
            Some(rate) => Some(Ticker::new(rate, 1.0, poll.registry(), TICK)?),
            None => None,
        };
        let count = plan.subscribers as usize;
        Ok(Crowd {
            sources: plan.sources()?,
            poll,
            places: (0..count).map(|_| None).collect(),
            waiting: (0..count).collect(),
            failed: Vec::new(),
            opening: 0,
            churn,
            random: Random::new(plan.publish.seed),
            books: Books { verdicts: Verdicts::default(), scribe: Scribe::new(stage, gauge, origin), settled: 0 },
            disconnected: 0,
            exchanged: 0,
            first_error: None,
            plan,
            ledger,
            watch,
        })
    }

    /// Lets all in, and listens until the run is over and everything owed is here.
    pub(super) fn run(mut self) -> Result<Received> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut swept = Instant::now();
        let mut last = (Instant::now(), 0);
        loop {
            self.open_more();
            match self.poll.poll(&mut events, Some(SWEEP_EVERY)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("epoll_wait");
                }
                _ => {}
            }
            let phase = self.books.scribe.turn();
            for event in events.iter().filter(|event| event.token() != TICK) {
                let ended = event.is_read_closed() || event.is_error();
                self.on_event(event.token().0, event.is_readable() || ended, event.is_writable(), ended, &mut buffer);
            }
            self.ledger.settle(self.books.settled);
            match phase {
                Phase::Opening => {}
                Phase::Warming | Phase::Measuring => self.exchange_due(),
                Phase::Stopping => {
                    if last.1 != self.books.settled || !self.ledger.is_closed() {
                        last = (Instant::now(), self.books.settled);
                    }
                    let all_here = self.ledger.is_closed() && self.books.settled >= self.ledger.owed();
                    if all_here || last.0.elapsed() > self.plan.publish.timeout {
                        return Ok(self.see_off());
                    }
                }
            }
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                self.waiting.extend(self.failed.drain(..));
            }
        }
    }

    fn open_more(&mut self) {
        while self.opening < OPENING_MAX
            && let Some(place) = self.waiting.pop_front()
        {
            if let Err(fault) = self.open(place) {
                self.books.scribe.fault(fault);
                self.failed.push(place);
            }
        }
    }

    fn open(&mut self, place: usize) -> Result<(), Fault> {
        let socket = self.plan.target.connect(self.sources.advance()).map_err(|error| Fault::of_connect(&error))?;
        let stalls = self.plan.is_stalled(place);
        if stalls {
            // Where the kernel does not take it, the subscriber stalls later.
            let _ = socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES);
        }
        let index = self.plan.index_of(place);
        let subscriber = Subscriber::new(socket, self.plan.transport, index, stalls);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = self.poll.registry().register(&mut SourceFd(&subscriber.raw_fd()), Token(place), interest);
        watched.map_err(|_| Fault::Io)?;
        self.places[place] = Some(subscriber);
        self.opening += 1;
        Ok(())
    }

    fn on_event(&mut self, place: usize, readable: bool, writable: bool, ended: bool, buffer: &mut [u8]) {
        let Some(subscriber) = &mut self.places[place] else { return };
        let before = subscriber.state;
        if before == State::Stalled {
            return;
        }
        let mut result = Ok(());
        if before == State::Connecting && (writable || ended) {
            result = subscriber.ask(self.plan.transport, &self.ledger, self.plan.publish.unanswered_max());
        }
        if result.is_ok() && readable {
            result = subscriber.receive(buffer, ended, &self.ledger, &mut self.books);
        }
        if before != State::Live && matches!(subscriber.state, State::Live | State::Stalled) {
            self.opening -= 1;
            if subscriber.state == State::Stalled {
                // Not even events of it are wanted. Fails only if it is not watched.
                let _ = self.poll.registry().deregister(&mut SourceFd(&subscriber.raw_fd()));
            }
        }
        if let Err(broke) = result {
            self.lose(place, broke);
        }
    }

    fn lose(&mut self, place: usize, broke: Broke) {
        let Some(mut subscriber) = self.places[place].take() else { return };
        match broke {
            Broke::Stream(fault) => self.books.scribe.fault(fault),
            Broke::Format(broken) => {
                self.books.scribe.fault(Fault::Mismatch);
                self.first_error.get_or_insert(broken.to_string());
            }
        }
        match subscriber.state {
            State::Connecting | State::Asking => {
                self.opening -= 1;
                match broke {
                    Broke::Stream(_) => self.failed.push(place),
                    // It would be refused again.
                    Broke::Format(_) => drop(self.watch.refused.fetch_add(1, Relaxed)),
                }
            }
            State::Live | State::Stalled => {
                let missing = subscriber.leave(&self.ledger);
                self.books.verdicts.missing += missing;
                self.books.settled += missing;
                self.disconnected += 1;
            }
        }
    }

    /// Logs out and in whom it hits, as often as the rate wants.
    fn exchange_due(&mut self) {
        let Some(mut churn) = self.churn.take() else { return };
        while churn.due(self.books.scribe.now_ns()).is_some() {
            churn.advance();
            self.exchange_one();
        }
        churn.arm(self.books.scribe.now_ns());
        self.churn = Some(churn);
    }

    fn exchange_one(&mut self) {
        for _ in 0..LOGOUT_TRIES {
            let place = self.random.below(self.plan.subscribers) as usize;
            let Some(subscriber) = self.places[place].take_if(|subscriber| subscriber.state == State::Live) else {
                continue;
            };
            let mut subscriber = subscriber;
            self.books.settled += subscriber.leave(&self.ledger);
            drop(subscriber);
            self.exchanged += 1;
            self.waiting.push_back(place);
            return;
        }
    }

    fn see_off(mut self) -> Received {
        let stalled = || self.places.iter().flatten().filter(|subscriber| subscriber.state == State::Stalled);
        let stalled_ended = stalled().filter(|subscriber| has_ended(subscriber)).count() as u64;
        for subscriber in self.places.iter().flatten() {
            subscriber.close(&self.ledger, &mut self.books.verdicts);
            // By reset: thousands of ports in TIME_WAIT would spoil the next run.
            let _ = subscriber.socket().set_linger(Some(Duration::ZERO));
        }
        Received {
            tally: self.books.scribe.tally,
            verdicts: self.books.verdicts,
            disconnected: self.disconnected,
            exchanged: self.exchanged,
            stalled_ended,
            first_error: self.first_error,
        }
    }
}

/// Whether the peer has ended a connection that is not read.
fn has_ended(subscriber: &Subscriber) -> bool {
    let mut polled = [PollFd::new(subscriber.socket(), PollFlags::RDHUP)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(ended)
}
