//! A listener's codec and handler behind one face, whatever their types; what goes into a turn and what comes out.

use crate::codec::Codec;
use crate::conn::Conn;
use crate::handler::{Closed, Handler};
use crate::outbox::Outbox;
use crate::peer::Peer;
use crate::stats::CloseReason;
use crate::sys::claim::Notes;
use crate::sys::epoll::Mask;
use crate::token::Token;
use crate::turn::Turn;
use crate::work::Work;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a turn is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What epoll told, or may have told.
    pub(crate) mask: Mask,
    /// It is epoll's own word, not a note's.
    pub(crate) exact: bool,
    /// What others left.
    pub(crate) notes: Notes,
}

impl Ready {
    /// The same for somebody else to see to.
    pub(crate) fn as_notes(self) -> Notes {
        if self.mask == Mask::NONE { self.notes } else { self.notes | Notes::IO }
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Arm what `Conn::interest` says.
    Keep,
    /// There is more to do that no event will tell of: queue it behind the others.
    Again,
    /// It is over.
    Close(CloseReason),
}

/// A listener's codec and handler, with their types forgotten.
pub(crate) trait Service: Send + Sync {
    /// Serves one turn. Without a `buffer` (on a thread that only sends) nothing is read.
    fn serve(&self, stage: Stage<'_>, ready: Ready, buffer: Option<&mut [u8]>) -> Verdict;
    /// Tells the handler that its connection has ended.
    fn closed(&self, conn: &mut Conn, closed: &Closed);
    /// Bytes that the handler keeps for the peer.
    fn kept_bytes(&self, conn: &Conn) -> usize;
    /// Whether a new connection needs a turn at once.
    fn greets(&self) -> bool;
}

/// Where a turn takes place.
pub(crate) struct Stage<'a> {
    pub(crate) token: Token,
    pub(crate) conn: &'a mut Conn,
    pub(crate) outbox: &'a Outbox,
    pub(crate) work: &'a mut Work,
}

/// A codec and a handler together.
pub(crate) struct Endpoint<C, H> {
    pub(crate) codec: C,
    pub(crate) handler: H,
}

/// What is kept for a connection: the codec's state and the handler's.
type States<C, H> = (<C as Codec>::State, <H as Handler<C>>::State);

/// A handler's state, and a codec's fresh one, as a connection keeps them.
pub(crate) fn keep<C: Codec, H: Handler<C>>(state: H::State) -> Box<dyn Any + Send> {
    Box::new((C::State::default(), state))
}

impl<C: Codec, H: Handler<C>> Endpoint<C, H> {
    fn open(&self, peer: &Peer) -> Box<dyn Any + Send> {
        keep::<C, H>(self.handler.open(peer))
    }
}

impl<C: Codec, H: Handler<C>> Service for Endpoint<C, H> {
    fn serve(&self, stage: Stage<'_>, ready: Ready, buffer: Option<&mut [u8]>) -> Verdict {
        let Stage { token, conn, outbox, work } = stage;
        work.failed = None;
        work.wrote = false;
        let mut state = conn.state.take();
        let peer = conn.peer;
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            let state = state.get_or_insert_with(|| self.open(&peer));
            let Some((codec_state, state)) = state.downcast_mut::<States<C, H>>() else {
                return Verdict::Close(CloseReason::System);
            };
            Turn::new(self, codec_state, state, Stage { token, conn, outbox, work }).run(ready, buffer)
        }));
        let verdict = verdict.unwrap_or_else(|_| {
            work.out.truncate(work.settled);
            tracing::error!(%token, %peer, "the handler panicked; its connection is closed");
            if let Some((codec_state, _)) = state.as_mut().and_then(|state| state.downcast_mut::<States<C, H>>()) {
                self.codec.farewell(codec_state, CloseReason::HandlerPanic, None, &mut work.out);
                work.flush(conn);
            }
            Verdict::Close(CloseReason::HandlerPanic)
        });
        conn.state = state;
        verdict
    }

    fn closed(&self, conn: &mut Conn, closed: &Closed) {
        let Some(mut state) = conn.state.take() else { return };
        let told = catch_unwind(AssertUnwindSafe(|| {
            if let Some((_, state)) = state.downcast_mut::<States<C, H>>() {
                self.handler.closed(state, closed);
            }
            drop(state);
        }));
        if told.is_err() {
            tracing::error!(token = %closed.token, peer = %closed.peer, "the handler panicked while closing");
        }
    }

    fn kept_bytes(&self, conn: &Conn) -> usize {
        let state = conn.state.as_ref().and_then(|state| state.downcast_ref::<States<C, H>>());
        state.map_or(0, |(_, state)| self.handler.kept_bytes(state))
    }

    fn greets(&self) -> bool {
        self.handler.greets()
    }
}
