//! Connections that the server opens: they live in its groups and table as its guests do, but are none.

use crate::codec::Codec;
use crate::config::Trigger;
use crate::conn::Conn;
use crate::drive::{self, registration};
use crate::group::Group;
use crate::handler::Handler;
use crate::listener::{Address, keepalive_of};
use crate::peer::Peer;
use crate::remote::Remote;
use crate::service;
use crate::shared::Shared;
use crate::stats::Count;
use crate::sys::claim::{Notes, Owned};
use crate::sys::socket;
use crate::timer::NEVER_MS;
use crate::token::Token;
use crate::work::after_ms;
use socket2::SockAddr;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// How long the other side may take; `None` leaves it to the system, which tries for about two minutes.
    pub connect_timeout: Option<Duration>,
    /// `TCP_NODELAY`: small requests go out at once.
    pub nodelay: bool,
    /// `SO_KEEPALIVE`: after this long without traffic, the kernel asks whether the other side is still there.
    pub keepalive: Option<Duration>,
}

impl Default for DialOptions {
    /// Five seconds to connect, no delay, no keep-alive probes.
    fn default() -> Self {
        Self { connect_timeout: Some(Duration::from_secs(5)), nodelay: true, keepalive: None }
    }
}

/// Why a connection was not even begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// There is no server to open it.
    #[error("the server is gone, or about to stop")]
    Gone,
    /// The dialer was made by the builder of another server.
    #[error("this dialer belongs to another server")]
    Stranger,
    /// There is no such group.
    #[error("there is no group {group}: the server has {groups}")]
    NoGroup {
        /// The group asked for.
        group: usize,
        /// The groups that there are, counted from 0.
        groups: usize,
    },
    /// The server has opened as many as it may.
    #[error("the server has opened all {limit} connections that it may; raise outgoing_max")]
    Full {
        /// The most that it may open.
        limit: usize,
    },
    /// The address is none to connect to.
    #[error("cannot connect to {0}: it names a socket that listens here")]
    NoTarget(Address),
    /// Nobody would hear of the connection.
    #[error("cannot register a connection with epoll: {0}")]
    Register(io::Error),
    /// The system refused at once.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// A connection that was not begun, and the state that was meant for it.
pub struct DialError<S> {
    /// Why.
    pub error: DialFailure,
    /// The state, given back.
    pub state: S,
}

impl<S> fmt::Debug for DialError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S> fmt::Display for DialError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S> std::error::Error for DialError<S> {}

impl DialFailure {
    /// What the system said, as `errno` names it, if it was an error of the system.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Register(source) | Self::Connect { source, .. } => source.raw_os_error(),
            Self::Gone | Self::Stranger | Self::NoGroup { .. } | Self::Full { .. } | Self::NoTarget(_) => None,
        }
    }
}

/// Opens connections that one handler serves. Made by [`Builder::dialer`](crate::Builder::dialer); cheap to clone, usable
/// from any thread once the server is built.
///
/// What it opens is no guest of the server: it counts towards [`Builder::outgoing_max`](crate::Builder::outgoing_max) alone,
/// stays in its group, has no deadline for reading (the handler sets its timer), does not hear of a drain and does not
/// keep one waiting. When the server stops it is closed with
/// [`CloseReason::Requested`](crate::CloseReason::Requested).
pub struct Dialer<C, H> {
    identity: u64,
    service: u16,
    serves: PhantomData<fn() -> (C, H)>,
}

impl<C, H> Clone for Dialer<C, H> {
    fn clone(&self) -> Self {
        Self { identity: self.identity, service: self.service, serves: PhantomData }
    }
}

impl<C, H> fmt::Debug for Dialer<C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("service", &self.service).finish_non_exhaustive()
    }
}

/// What a new connection starts with.
struct Start {
    fd: Option<OwnedFd>,
    peer: Peer,
    connect_timeout: Option<Duration>,
}

impl<C: Codec, H: Handler<C>> Dialer<C, H> {
    pub(crate) fn new(identity: u64, service: u16) -> Self {
        Self { identity, service, serves: PhantomData }
    }

    /// Begins to connect to `to`, in `group` (from 0). Does not wait: [`Handler::opened`] tells that the other side has
    /// answered; [`Handler::closed`] with [`CloseReason::ConnectFailed`](crate::CloseReason::ConnectFailed), and what
    /// the system said, or [`CloseReason::ConnectTimeout`](crate::CloseReason::ConnectTimeout) that it has not.
    /// Messages that are sent before that come right after [`Handler::opened`]. [`Handler::open`] is not called.
    ///
    /// # Errors
    /// If it cannot even be begun; the state is given back.
    pub fn connect(
        &self,
        remote: &Remote,
        group: usize,
        to: &Address,
        options: &DialOptions,
        state: H::State,
    ) -> Result<Token, DialError<H::State>> {
        self.launch(remote, group, state, || {
            let fail = |source| DialFailure::Connect { address: to.clone(), source };
            let (target, peer) = target_of(to).map_err(fail)?.ok_or_else(|| DialFailure::NoTarget(to.clone()))?;
            let fd = socket::connect(&target, |socket| {
                if !target.is_unix() {
                    socket.set_tcp_nodelay(options.nodelay)?;
                    options.keepalive.map_or(Ok(()), |time| socket.set_tcp_keepalive(&keepalive_of(time)))?;
                }
                Ok(())
            });
            Ok(Start { fd: Some(fd.map_err(fail)?), peer, connect_timeout: options.connect_timeout })
        })
    }

    /// Begins a task: a connection without a descriptor. It lives in `group` (from 0) and gets [`Handler::opened`] soon,
    /// [`Handler::message`] for what [`Remote::send`] brings, [`Handler::timeout`] when the timer of
    /// [`Context::set_timer`](crate::Context::set_timer) fires, always on a worker of its group, and [`Handler::closed`].
    /// [`Context::close`](crate::Context::close) ends it; what is sent to its peer goes nowhere.
    ///
    /// # Errors
    /// If it cannot be begun; the state is given back.
    pub fn task(&self, remote: &Remote, group: usize, state: H::State) -> Result<Token, DialError<H::State>> {
        self.launch(remote, group, state, || Ok(Start { fd: None, peer: Peer::NONE, connect_timeout: None }))
    }

    fn launch(
        &self,
        remote: &Remote,
        group: usize,
        state: H::State,
        begin: impl FnOnce() -> Result<Start, DialFailure>,
    ) -> Result<Token, DialError<H::State>> {
        let Some(server) = remote.server.upgrade().filter(|server| !server.is_stopping()) else {
            return Err(DialError { error: DialFailure::Gone, state });
        };
        match self.enter(&server, group, begin) {
            Err(error) => Err(DialError { error, state }),
            Ok((token, mut owned)) => {
                owned.state = Some(service::keep::<C, H>(state));
                // A task's first turn is brought by nothing else.
                let notes = if owned.fd().is_some() { Notes::NONE } else { Notes::RESUME };
                drive::put_back(&server, owned, token, notes);
                // SeqCst, as is taking a slot: either the sweep of who stops the server finds it, or it is seen here.
                if server.is_stopping() {
                    server.close(token);
                }
                Ok(token)
            }
        }
    }

    /// Gives a connection a slot, and what will wake it.
    fn enter<'a>(
        &self,
        server: &'a Shared,
        group: usize,
        begin: impl FnOnce() -> Result<Start, DialFailure>,
    ) -> Result<(Token, Owned<'a, Conn>), DialFailure> {
        if server.identity != self.identity {
            return Err(DialFailure::Stranger);
        }
        let groups = server.groups.len();
        let (Some(home), Ok(index)) = (server.groups.get(group), u16::try_from(group)) else {
            return Err(DialFailure::NoGroup { group, groups });
        };
        let seat = Seat::take(server)?;
        let start = begin().inspect_err(|_| server.stats.outside.add(Count::OutgoingFailed, 1))?;
        let full = DialFailure::Full { limit: server.outgoing_max };
        let Some((token, slot, mut owned)) = server.table.occupy() else { return Err(full) };
        let now_ms = server.now_ms();
        *owned = Conn::outgoing(start.fd, start.peer, self.service, index, now_ms);
        // One more millisecond makes it never early.
        owned.deadlines.read_ms = start.connect_timeout.map_or(NEVER_MS, |time| after_ms(now_ms, Some(time)) + 1);
        if let Err(source) = register(home, server.config.trigger, &mut owned, token) {
            *owned = Conn::VACANT;
            slot.outbox.turn_over(token.generation().wrapping_add(1));
            server.table.vacate(token, owned);
            return Err(DialFailure::Register(source));
        }
        home.schedule(slot, token, owned.first_deadline_ms());
        std::mem::forget(seat);
        Ok((token, owned))
    }
}

/// The right to one more connection, given back if nothing comes of it.
struct Seat<'a>(&'a Shared);

impl<'a> Seat<'a> {
    fn take(server: &'a Shared) -> Result<Self, DialFailure> {
        if server.outgoing_enters() { Ok(Self(server)) } else { Err(DialFailure::Full { limit: server.outgoing_max }) }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.outgoing_left();
    }
}

/// Asks epoll to tell when the other side has answered.
fn register(group: &Group, trigger: Trigger, conn: &mut Conn, token: Token) -> io::Result<()> {
    let mask = registration(trigger, conn.interest());
    let Some(fd) = conn.fd() else { return Ok(()) };
    group.epoll.add(fd, mask, token.to_bits())?;
    conn.armed = mask;
    conn.registered = true;
    Ok(())
}

/// Where to connect, and who that is; `None` if nobody can.
fn target_of(to: &Address) -> io::Result<Option<(SockAddr, Peer)>> {
    Ok(match to {
        Address::Tcp(at) => Some((SockAddr::from(*at), Peer::new(Some(*at)))),
        Address::Unix(path) => Some((SockAddr::unix(path)?, Peer::NONE)),
        Address::Abstract(name) => Some((SockAddr::unix(format!("\0{name}"))?, Peer::NONE)),
        Address::Inherited(_) => None,
    })
}
