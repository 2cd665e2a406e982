//! The porch: one thread that takes connections from the listeners and deals them to the groups.

use crate::admission::Rate;
use crate::conn::Conn;
use crate::dealer::Dealer;
use crate::drive::registration;
use crate::error::Error;
use crate::listener::Listener;
use crate::peer::Peer;
use crate::remote::hand_to_group;
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
        let acceptor = Self { server, listeners, epoll, sheet, dealer, rate, logged: None };
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
            if rest.is_some_and(|time| self.rest(time, &mut events)) {
                return;
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
            if let Some(Err(wait)) = self.rate.as_mut().map(|rate| rate.take(Instant::now())) {
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
        let due_ms = after_ms(now_ms, server.config.timeouts.first_byte);
        owned.deadlines.read_ms = due_ms;
        group.schedule(slot, token, due_ms);
        let greets = server.services[usize::from(service)].greets();
        let interest = if greets { owned.interest().and(Mask::WRITE) } else { owned.interest() };
        owned.armed = registration(server.config.trigger, interest);
        group.connections.fetch_add(1, Ordering::Relaxed);
        server.stats.connections.fetch_add(1, Ordering::Relaxed);
        // Registered while we still own it: whose event comes at once finds it owned and leaves a note.
        let added = owned.fd().map_or(Ok(()), |fd| group.epoll.add(fd, owned.armed, token.to_bits()));
        if let Err(error) = added {
            tracing::warn!(%peer, %error, "cannot register a connection; it is refused");
            self.sheet.refused(Refusal::System);
            group.connections.fetch_sub(1, Ordering::Relaxed);
            *owned = Conn::VACANT;
            server.admission.leave(peer);
            server.table.vacate(token, owned);
            return server.left();
        }
        if let Err((owned, notes)) = owned.release() {
            hand_to_group(&server, owned, token, notes | Notes::RESUME);
        }
    }
}
