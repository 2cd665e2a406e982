//! The porch: one thread that takes connections from the listeners and deals them to the groups.

use crate::admission::Rate;
use crate::config::Trigger;
use crate::conn::Conn;
use crate::dealer::Dealer;
use crate::drive::let_go;
use crate::drive::registration;
use crate::error::Error;
use crate::group::Group;
use crate::listener::Listener;
use crate::peer::Peer;
use crate::shared::Shared;
use crate::stats::{Count, Refusal, Sheet};
use crate::sys::claim::Notes;
use crate::sys::epoll::{Epoll, Events, Mask};
use crate::sys::eventfd::EventFd;
use crate::sys::socket;
use crate::token::Token;
use crate::work::after_ms;
use crossbeam_utils::CachePadded;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections taken from one listener before the others get their turn.
const ACCEPTS_PER_BURST_MAX: usize = 256;
/// How long the listeners rest when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// The system's trouble is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// Connections that come further apart than this are taken one by one, without delay.
const GATHER_GAP_MAX: Duration = Duration::from_micros(100);
/// How long the acceptor lets connections come together.
const GATHER: Duration = Duration::from_micros(300);
/// Waiting has to bring more connections than this to have been worth it.
const GATHERED_MIN: u32 = 8;
/// A burst of this many needs no waiting.
const GATHERED_ENOUGH: u32 = 64;
/// Bursts at most until waiting is tried again.
const GATHER_BACKOFF_MAX: u32 = 4096;
/// Events of one wait; listeners are few.
const EVENTS: usize = 64;

/// Tells the acceptor to stop.
#[derive(Debug, Clone)]
pub(crate) struct StopAccepting(Arc<EventFd>);

impl StopAccepting {
    pub(crate) fn stop(&self) {
        self.0.notify();
    }
}

/// What to do after a burst.
enum Burst {
    /// The queue is empty, or others wait.
    Done,
    /// Nothing can be accepted for this long.
    Rest(Duration),
}

pub(crate) struct Acceptor {
    server: Arc<Shared>,
    listeners: Vec<(u16, Listener)>,
    epoll: Epoll,
    sheet: Arc<CachePadded<Sheet>>,
    dealer: Dealer,
    rate: Option<Rate>,
    logged: Option<Instant>,
    /// Connections accepted since `woken`.
    accepted: usize,
    /// When the last burst was over.
    woken: Instant,
    /// The acceptor waited before this burst.
    gathered: bool,
    /// Bursts until waiting is tried again, and how many it will be if that brings too few.
    skip: u32,
    backoff: u32,
    /// Groups that got connections in this burst.
    dealt: Vec<bool>,
}

impl Acceptor {
    /// Prepares the acceptor; `listeners` come with the index of their service.
    pub(crate) fn new(server: Arc<Shared>, listeners: Vec<(u16, Listener)>) -> Result<(Self, StopAccepting), Error> {
        let epoll = Epoll::new().map_err(Error::system("create the acceptor's epoll set"))?;
        let stop = Arc::new(EventFd::new().map_err(Error::system("create the acceptor's wake-up descriptor"))?);
        epoll.add(stop.as_fd(), Mask::READ, Token::WAKE).map_err(Error::system("register a wake-up descriptor"))?;
        let sheet = server.stats.sheet();
        let dealer = Dealer::new(server.config.deal);
        let rate = server.config.accepts_per_second.map(|per_second| Rate::new(per_second, Instant::now()));
        let dealt = vec![false; server.groups.len()];
        let acceptor = Self {
            server,
            listeners,
            epoll,
            sheet,
            dealer,
            rate,
            logged: None,
            accepted: 0,
            woken: Instant::now(),
            gathered: false,
            skip: 0,
            backoff: 1,
            dealt,
        };
        acceptor.listen().map_err(Error::system("register a listener"))?;
        Ok((acceptor, StopAccepting(stop)))
    }

    /// Accepts until told to stop; then the listeners are closed.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let count = self.epoll.wait(&mut events, -1).unwrap_or_else(|error| {
                tracing::error!(%error, "the acceptor's epoll_wait failed");
                std::thread::sleep(PAUSE);
                0
            });
            let mut rest = None;
            for event in events.take(count) {
                if event.data == Token::WAKE {
                    return;
                }
                if let Burst::Rest(time) = self.burst(usize::try_from(event.data).unwrap_or(usize::MAX)) {
                    rest = Some(time);
                }
            }
            self.wake_groups();
            if rest.is_some_and(|time| self.rest(time, &mut events)) {
                return;
            }
            self.gather();
        }
    }

    /// Where connections come quickly, waits for some to come together: a burst costs one wake-up of this thread and one
    /// of the group, not one for each connection. Where that brings too few, as when few clients wait for each other's
    /// turn, it is not tried again for a while.
    fn gather(&mut self) {
        let since = self.woken.elapsed();
        let came = u32::try_from(std::mem::take(&mut self.accepted)).unwrap_or(u32::MAX);
        if std::mem::take(&mut self.gathered) {
            let paid = came > GATHERED_MIN;
            self.backoff = if paid { 1 } else { (self.backoff * 2).min(GATHER_BACKOFF_MAX) };
            self.skip = if paid { 0 } else { self.backoff };
        }
        let hurried = (1..GATHERED_ENOUGH).contains(&came) && since / came < GATHER_GAP_MAX;
        if self.skip > 0 {
            self.skip -= 1;
        } else if hurried {
            std::thread::sleep(GATHER);
            self.gathered = true;
        }
        self.woken = Instant::now();
    }

    fn wake_groups(&mut self) {
        for (group, dealt) in self.server.groups.iter().zip(&mut self.dealt) {
            if std::mem::take(dealt) {
                group.wake_if_asleep();
            }
        }
    }

    fn listen(&self) -> io::Result<()> {
        (0u64..)
            .zip(&self.listeners)
            .try_for_each(|(index, (_, listener))| self.epoll.add(listener.as_fd(), Mask::READ, index))
    }

    /// Waits without listening, so that what cannot be accepted does not spin. `true`: told to stop.
    fn rest(&mut self, time: Duration, events: &mut Events) -> bool {
        for (_, listener) in &self.listeners {
            let _ = self.epoll.delete(listener.as_fd());
        }
        let ms = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let told = self.epoll.wait(events, ms).unwrap_or(0) > 0;
        while !told && self.listen().is_err() {
            // Without memory for the registration: undo it and try again later.
            for (_, listener) in &self.listeners {
                let _ = self.epoll.delete(listener.as_fd());
            }
            if self.epoll.wait(events, ms.max(1)).unwrap_or(0) > 0 {
                return true;
            }
        }
        told
    }

    fn burst(&mut self, index: usize) -> Burst {
        for _ in 0..ACCEPTS_PER_BURST_MAX {
            let wait = self.rate.as_mut().map_or(Duration::ZERO, |rate| rate.wait(Instant::now()));
            if !wait.is_zero() {
                self.sheet.add(Count::AcceptThrottles, 1);
                return Burst::Rest(wait);
            }
            let Some((service, listener)) = self.listeners.get(index) else { return Burst::Done };
            let service = *service;
            match socket::accept(listener.as_fd()) {
                Ok((fd, address)) => self.admit(fd, Peer::new(address), service),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Burst::Done,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => return self.pause(&error),
                    // The peer went away while it waited, or the network had an error for it: on to the next.
                    Some(
                        libc::EINTR
                        | libc::ECONNABORTED
                        | libc::EPROTO
                        | libc::ENETDOWN
                        | libc::ENOPROTOOPT
                        | libc::EHOSTDOWN
                        | libc::ENONET
                        | libc::EHOSTUNREACH
                        | libc::EOPNOTSUPP
                        | libc::ENETUNREACH
                        | libc::EPERM,
                    ) => {}
                    _ => return self.pause(&error),
                },
            }
        }
        Burst::Done
    }

    fn pause(&mut self, error: &io::Error) -> Burst {
        self.sheet.add(Count::AcceptPauses, 1);
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            let open = self.server.stats.connections.load(Ordering::Relaxed);
            tracing::warn!(
                %error,
                connections = open,
                "cannot accept; trying again every {} ms. Lower max_connections, or raise the limit that is named",
                PAUSE.as_millis()
            );
        }
        Burst::Rest(PAUSE)
    }

    fn admit(&mut self, fd: OwnedFd, peer: Peer, service: u16) {
        self.sheet.add(Count::Accepted, 1);
        self.accepted += 1;
        if let Some(rate) = &mut self.rate {
            rate.spend();
        }
        let server = Arc::clone(&self.server);
        if server.stats.connections.load(Ordering::Relaxed) >= server.max_connections {
            return self.sheet.refused(Refusal::MaxConnections);
        }
        if !server.admission.enter(peer) {
            return self.sheet.refused(Refusal::MaxPerAddress);
        }
        let Some((token, slot, mut owned)) = server.table.occupy() else {
            server.admission.leave(peer);
            return self.sheet.refused(Refusal::MaxConnections);
        };
        let index = self.dealer.deal(&server.groups);
        let group = &server.groups[index];
        let now_ms = server.now_ms();
        *owned = Conn::new(fd, peer, service, u16::try_from(index).unwrap_or(0), now_ms);
        owned.deadlines.read_ms = after_ms(now_ms, server.config.timeouts.first_byte);
        group.schedule(slot, token, owned.deadlines.read_ms);
        group.connections.fetch_add(1, Ordering::Relaxed);
        server.stats.connections.fetch_add(1, Ordering::Relaxed);
        // Who sleeps is woken by epoll; who is awake looks at the queue, and registers only who stays. Where all workers
        // wait, nobody takes over the queue of one that blocks.
        let greets = server.services[usize::from(service)].greets();
        let by_event = group.all_wait || group.is_asleep();
        let by_event = by_event && register(group, server.config.trigger, greets, &mut owned, token).is_ok();
        let notes = let_go(owned, if by_event { Notes::NONE } else { Notes::IO });
        if !notes.is_empty() {
            group.queue_turn(token, notes);
            self.dealt[index] = true;
        }
    }
}

/// Registers a connection before its first turn. If the handler speaks first, that turn comes at once.
fn register(group: &Group, trigger: Trigger, greets: bool, conn: &mut Conn, token: Token) -> io::Result<()> {
    let interest = if greets { conn.interest().and(Mask::WRITE) } else { conn.interest() };
    let mask = registration(trigger, interest);
    let Some(fd) = conn.fd() else { return Ok(()) };
    group.epoll.add(fd, mask, token.to_bits())?;
    conn.armed = mask;
    conn.registered = true;
    Ok(())
}
