//! The publisher's loop: one thread, some connections, requests pipelined on each.

use super::ids::Draw;
use super::link::{Answer, Link};
use super::message::{Press, Stamp};
use super::{Ledger, Plan, Rate};
use crate::load::{Class, Fault, Gauge, Phase, Scribe, Stage, Tally, Ticker};
use crate::wire::Broke;
use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVENTS_PER_TURN: usize = 64;
/// Messages per turn of the loop, so that answers are read in between.
const MESSAGES_PER_TURN: usize = 256;
/// How often late answers are looked for and lost connections made anew.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
const BUFFER_BYTES: usize = 64 * 1024;
const TICK: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// What a publisher hands back. The tally's latencies are those of the answers.
pub(crate) struct Published {
    pub(crate) tally: Tally,
    pub(crate) sent: u64,
    /// Answered that they were taken.
    pub(crate) taken: u64,
    /// Recipients, by the server's own word.
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    /// Their answer never came.
    pub(crate) unanswered: u64,
    pub(crate) first_error: Option<String>,
    /// The window stayed full for longer than the plan allows.
    pub(crate) is_stuck: bool,
}

/// Publishes on a thread of its own.
pub(crate) struct Publisher {
    plan: Plan,
    ledger: Arc<Ledger>,
    authorization: Arc<str>,
    poll: Poll,
    links: Vec<Option<Link>>,
    draw: Draw,
    /// The index of the id that publishes next, once it is drawn.
    drawn: Option<u32>,
    press: Press,
    ticker: Option<Ticker>,
    /// What was owed after each message of the window.
    window: VecDeque<u64>,
    /// What was settled when the sweep last saw a change, and when that was; nanoseconds of the run.
    settled: (u64, u64),
    /// When the last message was published.
    published_ns: u64,
    scribe: Scribe,
    done: Published,
}

impl Publisher {
    /// # Errors
    /// If the machine gives no epoll instance or timer, or the size has no room for a stamp.
    pub(crate) fn new(
        plan: Plan,
        ledger: Arc<Ledger>,
        stage: Arc<Stage>,
        gauge: Arc<Gauge>,
        origin: Instant,
    ) -> Result<Self> {
        let poll = Poll::new().context("epoll instance")?;
        ledger.set_waker(Waker::new(poll.registry(), WAKE).context("eventfd")?);
        let ticker = match plan.rate {
            Rate::PerSecond(rate) => Some(Ticker::new(rate, 0.0, poll.registry(), TICK)?),
            Rate::Max => None,
        };
        let done = Published {
            tally: Tally::new(),
            sent: 0,
            taken: 0,
            delivered: 0,
            refused: 0,
            unanswered: 0,
            first_error: None,
            is_stuck: false,
        };
        let authorization = plan.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        Ok(Publisher {
            authorization: authorization.unwrap_or_default().into(),
            poll,
            links: (0..plan.connections).map(|_| None).collect(),
            drawn: None,
            draw: Draw::new(plan.distribution, ledger.ids().count(), plan.seed),
            press: Press::new(plan.size)?,
            ticker,
            window: VecDeque::new(),
            settled: (0, 0),
            published_ns: 0,
            scribe: Scribe::new(stage, gauge, origin),
            done,
            plan,
            ledger,
        })
    }

    /// Publishes from the first phase after the opening until the last, or until the plan's messages are out.
    ///
    /// # Errors
    /// If epoll fails.
    pub(crate) fn run(mut self) -> Result<Published> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut swept = None::<Instant>;
        let mut more = false;
        loop {
            if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
                swept = Some(Instant::now());
                self.sweep();
            }
            match self.poll.poll(&mut events, Some(if more { Duration::ZERO } else { SWEEP_EVERY })) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("epoll_wait");
                }
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != TICK && event.token() != WAKE) {
                let ended = event.is_read_closed() || event.is_error();
                self.on_event(event.token().0, event.is_readable() || ended, event.is_writable(), &mut buffer);
            }
            let phase = self.scribe.turn();
            let over = phase == Phase::Stopping || self.done.is_stuck || self.is_complete();
            more = !over && phase != Phase::Opening && self.produce();
            if over && self.finished() {
                return Ok(self.finish());
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.plan.messages.is_some_and(|messages| self.done.sent >= messages)
    }

    /// Whether all is answered; a connection on which no answer comes any more is given up by the sweep.
    fn finished(&mut self) -> bool {
        if let Some(ticker) = &mut self.ticker {
            let (now_ns, scribe) = (self.scribe.now_ns(), &mut self.scribe);
            ticker.abandon(now_ns, |waited_ns| scribe.unsent(0, waited_ns));
        }
        self.links.iter().flatten().all(|link| link.outstanding() == 0)
    }

    fn finish(mut self) -> Published {
        for link in self.links.iter_mut().flatten() {
            link.end();
            self.done.unanswered += link.outstanding() as u64;
        }
        Published { tally: self.scribe.tally, ..self.done }
    }

    /// Publishes what is due, as far as there is room; whether there is more.
    fn produce(&mut self) -> bool {
        let mut left = MESSAGES_PER_TURN;
        let mut has_room = true;
        while left > 0 && !self.is_complete() {
            has_room = self.has_window();
            if !has_room {
                break;
            }
            let now_ns = self.scribe.now_ns();
            let time_ns = match &mut self.ticker {
                Some(ticker) => match ticker.due(now_ns) {
                    Some(due) => due,
                    None => break,
                },
                None => now_ns,
            };
            let Some((place, index)) = self.draw_with_room() else {
                has_room = false;
                break;
            };
            if let Some(ticker) = &mut self.ticker {
                ticker.advance();
            }
            self.publish(place, index, time_ns);
            left -= 1;
        }
        for place in 0..self.links.len() {
            self.flush(place);
        }
        // Where there is no room, it is an answer or a delivery that wakes the loop.
        if let Some(ticker) = self.ticker.as_ref().filter(|_| has_room) {
            ticker.arm(self.scribe.now_ns());
        }
        left == 0
    }

    fn publish(&mut self, place: usize, index: u32, time_ns: u64) {
        let id = self.ledger.ids().at(index);
        let (sequence, owed) = self.ledger.publish(index);
        let message = self.press.print(Stamp { run: self.ledger.run(), id, sequence, time_ns });
        if let Some(link) = &mut self.links[place] {
            link.add(id, message, time_ns);
        }
        self.done.sent += 1;
        self.published_ns = time_ns;
        if self.plan.window > 0 {
            self.window.push_back(owed);
        }
    }

    /// Whether a message more may be on its way. If not, the receiver's settling wakes the loop.
    fn has_window(&mut self) -> bool {
        while self.window.front().is_some_and(|owed| *owed <= self.ledger.settled()) {
            self.window.pop_front();
        }
        match self.window.front() {
            Some(owed) if self.window.len() >= self.plan.window => self.ledger.is_settled_or_wakes(*owed),
            Some(_) | None => true,
        }
    }

    /// The next id, if its connection has room. All messages of an id take the same connection: on two, they
    /// could overtake each other.
    fn draw_with_room(&mut self) -> Option<(usize, u32)> {
        let index = *self.drawn.get_or_insert_with(|| self.draw.next());
        let place = index as usize % self.links.len();
        let link = self.links[place].as_ref()?;
        if !link.connected || link.outstanding() >= self.plan.depth {
            return None;
        }
        self.drawn = None;
        Some((place, index))
    }

    fn flush(&mut self, place: usize) {
        if let Some(link) = &mut self.links[place]
            && let Err(fault) = link.flush()
        {
            self.lose(place, Broke::Stream(fault));
        }
    }

    fn on_event(&mut self, place: usize, readable: bool, writable: bool, buffer: &mut [u8]) {
        let Some(link) = &mut self.links[place] else { return };
        if !link.connected {
            if let Ok(Some(error)) = link.socket().take_error() {
                return self.lose(place, Broke::Stream(Fault::of_connect(&error)));
            }
            link.connected = writable;
            if writable {
                self.scribe.opened();
            }
        }
        let (now_ns, scribe, done) = (self.scribe.now_ns(), &mut self.scribe, &mut self.done);
        let result = if readable {
            link.receive(buffer, now_ns, |answer, time_ns| match answer {
                Answer::Taken(count) => {
                    done.taken += 1;
                    done.delivered += count.unwrap_or(0);
                    scribe.answered(Class::Normal, now_ns.saturating_sub(time_ns));
                }
                Answer::Refused(words) => {
                    done.refused += 1;
                    done.first_error.get_or_insert(words);
                }
            })
        } else {
            Ok(())
        };
        match result {
            Ok(()) if writable => self.flush(place),
            Ok(()) => {}
            Err(broke) => self.lose(place, broke),
        }
    }

    /// Counts what has happened to a connection; the next sweep makes another.
    fn lose(&mut self, place: usize, broke: Broke) {
        let Some(link) = self.links[place].take() else { return };
        self.done.unanswered += link.outstanding() as u64;
        match broke {
            // A keep-alive connection may end between requests.
            Broke::Stream(Fault::Closed) if link.outstanding() == 0 => {}
            Broke::Stream(fault) => self.scribe.fault(fault),
            Broke::Format(broken) => {
                self.scribe.fault(Fault::Mismatch);
                self.done.first_error.get_or_insert(broken.to_string());
            }
        }
    }

    /// Gives up on what stands still, and makes lost connections anew.
    fn sweep(&mut self) {
        let limit_ns = u64::try_from(self.plan.timeout.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = self.scribe.now_ns();
        let settled = self.ledger.settled();
        if settled != self.settled.0 {
            self.settled = (settled, now_ns);
        }
        // While messages arrive, a server is at work and its answers may take their time.
        let settled_ns = self.settled.1;
        let stands_still = |since_ns: u64| now_ns.saturating_sub(since_ns.max(settled_ns)) > limit_ns;
        let is_full = self.plan.window > 0 && self.window.len() >= self.plan.window;
        self.done.is_stuck |= is_full && stands_still(self.published_ns);
        for place in 0..self.links.len() {
            let waits_since = self.links[place].as_ref().and_then(Link::waits_since_ns);
            if waits_since.is_some_and(&stands_still) {
                self.lose(place, Broke::Stream(Fault::Timeout));
            }
            if self.links[place].is_none()
                && let Err(fault) = self.open(place)
            {
                self.scribe.fault(fault);
            }
        }
    }

    fn open(&mut self, place: usize) -> Result<(), Fault> {
        let socket = self.plan.control.connect(None).map_err(|error| Fault::of_connect(&error))?;
        // Fails on a unix socket, which has no Nagle to switch off.
        let _ = socket.set_tcp_nodelay(true);
        let link = Link::new(socket, self.plan.via, self.authorization.clone());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = self.poll.registry().register(&mut SourceFd(&link.raw_fd()), Token(place), interest);
        watched.map_err(|_| Fault::Io)?;
        self.links[place] = Some(link);
        Ok(())
    }
}
