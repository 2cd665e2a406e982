//! Reaching a connection from any thread.

use crate::admin;
use crate::conn::{Conn, Phase, Slot};
use crate::drive;
use crate::error::SendError;
use crate::outbox::{Message, Rejected};
use crate::peer::Peer;
use crate::shared::Shared;
use crate::stats::{Count, Snapshot};
use crate::sys::claim::{Claimed, Notes, Owned};
use crate::token::Token;
use crate::work::{Work, signed};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Sends inside sends that one thread nests; deeper ones are left to the receiver's group.
const NESTING_MAX: u32 = 4;

thread_local! {
    static NESTING: Cell<u32> = const { Cell::new(0) };
}

/// How a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The sending thread has handed it to the connection itself.
    Direct,
    /// It waits for the thread that owns the connection at the moment.
    Queued,
}

/// A connection, looked at from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The other end.
    pub peer: Peer,
    /// Bytes that it has not taken yet.
    pub queued_bytes: usize,
    /// Since it was accepted, in whole seconds.
    pub age: Duration,
}

/// Sends to and closes connections of one server by their tokens. Cheap to clone; does not keep the server alive.
#[derive(Clone)]
pub struct Remote {
    pub(crate) server: Weak<Shared>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn new(server: &Arc<Shared>) -> Self {
        Self { server: Arc::downgrade(server) }
    }

    /// Sends a message to a connection: [`Handler::message`](crate::Handler::message) gets it, on this thread if the
    /// connection is idle, else on the thread that owns it. Messages of one thread to one connection stay in order.
    /// Never waits for the peer.
    ///
    /// # Errors
    /// If the connection is gone, or too much is queued for it or for all together.
    pub fn send(&self, token: Token, message: impl Into<Message>) -> Result<Delivery, SendError> {
        self.sender().ok_or(SendError::Gone)?.send(token, message.into())
    }

    /// Leaves a message for a connection, never served on this thread: its group does that. For who cannot tell how long that
    /// takes, and has something else to do.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn post(&self, token: Token, message: impl Into<Message>) -> Result<(), SendError> {
        let server = self.server.upgrade().ok_or(SendError::Gone)?;
        let slot = server.table.slot(token.slot()).ok_or(SendError::Gone)?;
        put(&server, slot, token, message.into())?;
        leave_to_group(&server, slot, token);
        Ok(())
    }

    /// For sending a lot at a time from one thread; `None` if the server is gone.
    #[must_use]
    pub fn sender(&self) -> Option<Sender> {
        let server = self.server.upgrade()?;
        Some(Sender { work: Work::outside(&server), server })
    }

    /// Sends one message to many connections; answers how many took it.
    pub fn broadcast(&self, tokens: impl IntoIterator<Item = Token>, message: &Message) -> usize {
        let Some(mut sender) = self.sender() else { return 0 };
        tokens.into_iter().filter(|token| sender.send(*token, Message::clone(message)).is_ok()).count()
    }

    /// A look at a connection; `None` if it is gone, or in a turn at this moment.
    #[must_use]
    pub fn look_at(&self, token: Token) -> Option<Sight> {
        let server = self.server.upgrade()?;
        let slot = server.table.slot(token.slot())?;
        match slot.claim.claim(token.generation(), Notes::NONE) {
            Claimed::Stale | Claimed::Noted => None,
            Claimed::Owned(owned) => {
                let kept = server.services[usize::from(owned.service)].kept_bytes(&owned);
                let (peer, queued_bytes) = (owned.peer, owned.queued_bytes() + kept);
                let age = Duration::from_secs(owned.age_s(server.now_ms()));
                drive::put_back(&server, owned, token, Notes::NONE);
                Some(Sight { peer, queued_bytes, age })
            }
        }
    }

    /// The server's counters; `None` if it is gone.
    #[must_use]
    pub fn stats(&self) -> Option<Snapshot> {
        Some(self.server.upgrade()?.snapshot())
    }

    /// What `/metrics` shows of the server, in the OpenMetrics text format; `None` if it is gone.
    #[must_use]
    pub fn metrics(&self) -> Option<String> {
        admin::metrics(&*self.server.upgrade()?)
    }

    /// The server's groups; 0 if it is gone.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.server.upgrade().map_or(0, |server| server.groups.len())
    }

    /// Whether the server is draining, or gone.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.server.upgrade().is_none_or(|server| server.draining.load(Ordering::Relaxed))
    }

    /// Closes a connection at once, with [`CloseReason::Requested`](crate::CloseReason::Requested); after the turn that
    /// it is in. `false` if it is gone.
    pub fn close(&self, token: Token) -> bool {
        self.server.upgrade().is_some_and(|server| server.close(token))
    }
}

/// Sends to one connection after the other without looking the server up each time. It keeps the server's memory alive:
/// drop it when there is nothing to send.
pub struct Sender {
    server: Arc<Shared>,
    work: Work,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// As [`Remote::send`].
    ///
    /// # Errors
    /// As [`Remote::send`].
    pub fn send(&mut self, token: Token, message: Message) -> Result<Delivery, SendError> {
        send(&self.server, &mut self.work, token, message)
    }
}

fn send(server: &Shared, work: &mut Work, token: Token, message: Message) -> Result<Delivery, SendError> {
    let outcome = match server.table.slot(token.slot()) {
        None => Err(SendError::Gone),
        Some(slot) if NESTING.get() >= NESTING_MAX => leave(server, slot, token, message, work),
        Some(slot) => match slot.claim.claim(token.generation(), Notes::NONE) {
            Claimed::Stale => Err(SendError::Gone),
            Claimed::Noted => leave(server, slot, token, message, work),
            Claimed::Owned(owned) => deliver(server, slot, owned, token, message, work),
        },
    };
    work.sheet.add(
        match outcome {
            Ok(Delivery::Direct) => Count::DirectSends,
            Ok(Delivery::Queued) => Count::QueuedSends,
            Err(_) => Count::RefusedSends,
        },
        1,
    );
    outcome
}

/// We own the connection: no queue, no wake-up; no re-arm unless something is left over.
fn deliver(
    server: &Shared,
    slot: &Slot,
    owned: Owned<'_, Conn>,
    token: Token,
    message: Message,
    work: &mut Work,
) -> Result<Delivery, SendError> {
    if !matches!(owned.phase, Phase::Connecting | Phase::Fresh | Phase::Open) {
        drive::put_back(server, owned, token, Notes::NONE);
        return Err(SendError::Gone);
    }
    // Behind what waits already, nothing may overtake.
    let waits = owned.paused || owned.mail;
    let (queued, notes) = if waits {
        (put(server, slot, token, message), Notes::OUTBOX)
    } else {
        work.direct = Some(message);
        (Ok(()), Notes::NONE)
    };
    drive_nested(server, slot, owned, token, notes, work);
    work.direct = None;
    queued.map(|()| if waits { Delivery::Queued } else { Delivery::Direct })
}

/// Somebody else owns the connection: the message waits in its outbox.
fn leave(server: &Shared, slot: &Slot, token: Token, message: Message, work: &mut Work) -> Result<Delivery, SendError> {
    put(server, slot, token, message)?;
    if NESTING.get() >= NESTING_MAX {
        leave_to_group(server, slot, token);
        return Ok(Delivery::Queued);
    }
    // If the owner has let go meanwhile, the message is ours to deliver after all.
    if let Claimed::Owned(owned) = slot.claim.claim(token.generation(), Notes::OUTBOX) {
        drive_nested(server, slot, owned, token, Notes::OUTBOX, work);
    }
    Ok(Delivery::Queued)
}

/// There is something in the outbox of a connection: its owner, or a worker of its group, sees to it.
fn leave_to_group(server: &Shared, slot: &Slot, token: Token) {
    if let Claimed::Owned(owned) = slot.claim.claim(token.generation(), Notes::OUTBOX) {
        drive::put_back(server, owned, token, Notes::OUTBOX);
    }
}

/// Serves a connection on this thread, one send deeper.
fn drive_nested(server: &Shared, slot: &Slot, owned: Owned<'_, Conn>, token: Token, notes: Notes, work: &mut Work) {
    NESTING.set(NESTING.get() + 1);
    drive::drive(server, slot, owned, token, drive::ready_of(notes), work, None);
    NESTING.set(NESTING.get() - 1);
}

fn put(server: &Shared, slot: &Slot, token: Token, message: Message) -> Result<(), SendError> {
    let limits = &server.config.output;
    let len = signed(message.len());
    let total = server.stats.queued_bytes.fetch_add(len, Ordering::Relaxed) + len;
    let bytes_max = u32::try_from(limits.max).unwrap_or(u32::MAX);
    // What takes no room is never too much.
    let put = if len > 0 && total > signed(limits.total_max) {
        Err(SendError::ServerFull)
    } else {
        slot.outbox.push(token.generation(), message, bytes_max).map_err(|rejected| match rejected {
            Rejected::Stale => SendError::Gone,
            Rejected::Full => SendError::Full,
        })
    };
    if put.is_err() {
        server.stats.queued_bytes.fetch_sub(len, Ordering::Relaxed);
    }
    put
}
