//! What a server does with frames: the trait that programs implement, and what they are given to work with.

use crate::codec::{Codec, FrameError};
use crate::conn::{Conn, Phase};
use crate::outbox::Message;
use crate::peer::Peer;
use crate::remote::Remote;
use crate::stats::{CloseReason, Count};
use crate::token::Token;
use crate::work::Work;
use std::net::SocketAddr;
use std::time::Duration;

/// What a handler's method answers. An error closes the connection with [`CloseReason::HandlerError`] and is logged;
/// what was sent before it still goes out.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Which deadline of a connection passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// [`Timeouts::first_byte`](crate::Timeouts::first_byte); the connection is closed after the call.
    FirstByte,
    /// [`Timeouts::frame`](crate::Timeouts::frame); the connection is closed after the call.
    Frame,
    /// [`Timeouts::idle`](crate::Timeouts::idle); the connection is closed after the call.
    Idle,
    /// [`Timeouts::write_stall`](crate::Timeouts::write_stall); the connection is closed after the call.
    WriteStall,
    /// The one that [`Context::set_timer`] set; the connection goes on.
    User,
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Its name, which nothing answers to any more.
    pub token: Token,
    /// Who it was.
    pub peer: Peer,
    /// Why it ended.
    pub why: CloseReason,
    /// What the system said, as `errno` names it, if it was an error of the system.
    pub error: Option<i32>,
}

/// The business logic of a listener. One value serves all its connections, from all workers at once; the calls for one
/// connection come one at a time, in order.
///
/// A method may block. If it knows beforehand, [`Context::blocking`] says so and the group loses no time; if not, the
/// monitor notices within a tick or two and promotes another worker.
pub trait Handler<C: Codec>: Send + Sync + 'static {
    /// What is remembered of a connection; `()` costs no memory.
    type State: Send + 'static;

    /// The state of a connection that came in. One that a [`Dialer`](crate::Dialer) opens has been given its own.
    fn open(&self, peer: &Peer) -> Self::State;

    /// Whether [`opened`](Self::opened) has to be called at once, because the server speaks first. It can cost an event
    /// for each connection.
    fn greets(&self) -> bool {
        false
    }

    /// The connection is there: called once, before all others; at the latest when its first bytes come.
    ///
    /// # Errors
    /// Closes the connection.
    fn opened(&self, cx: &mut Context<'_, C, Self::State>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// A frame came. What is sent for all frames of a turn goes out with one system call.
    ///
    /// # Errors
    /// Closes the connection.
    fn frame(&self, cx: &mut Context<'_, C, Self::State>, frame: C::Frame<'_>) -> Outcome;

    /// A message came from [`Remote::send`], on whichever thread owns the connection then, which may be the
    /// sender's. Unless overridden, its bytes are sent as they are.
    ///
    /// # Errors
    /// Closes the connection.
    fn message(&self, cx: &mut Context<'_, C, Self::State>, message: &Message) -> Outcome {
        cx.send_shared(message);
        Ok(())
    }

    /// The peer has taken all that was queued for it. Not called while everything is taken at once.
    ///
    /// # Errors
    /// Closes the connection.
    fn drained(&self, cx: &mut Context<'_, C, Self::State>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// The peer has finished sending while the codec holds its frames back until an answer is out (see
    /// [`Codec::holds`]), or while the handler does ([`Context::hold`]). It may still read: unless overridden, the answer is
    /// waited for.
    ///
    /// # Errors
    /// Closes the connection.
    fn peer_finished(&self, cx: &mut Context<'_, C, Self::State>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// The peer has finished sending, and all that it sent has been handed over. It may still read: a handler that has more
    /// to say [holds](Context::hold) the connection; else it is closed after the call. Called once.
    ///
    /// # Errors
    /// Closes the connection.
    fn input_ended(&self, cx: &mut Context<'_, C, Self::State>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// The server drains. What is in progress goes on, and the connection is closed once it is done; an answer that has no
    /// end must be ended here. Called again now and then while an answer is owed.
    ///
    /// # Errors
    /// Closes the connection.
    fn draining(&self, cx: &mut Context<'_, C, Self::State>) -> Outcome {
        let _ = cx;
        Ok(())
    }

    /// A deadline passed.
    ///
    /// # Errors
    /// Closes the connection.
    fn timeout(&self, cx: &mut Context<'_, C, Self::State>, which: Timeout) -> Outcome {
        let _ = (cx, which);
        Ok(())
    }

    /// Bytes that the handler itself keeps for the peer; lists of connections show them with the queued ones.
    fn kept_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }

    /// The connection has ended: called once, after all others, if it has a state. One that a [`Dialer`](crate::Dialer) opens
    /// has it from the start, so this may be the only call.
    fn closed(&self, state: &mut Self::State, closed: &Closed) {
        let _ = (state, closed);
    }
}

/// What a handler works with during one call.
pub struct Context<'a, C: Codec, S> {
    pub(crate) codec: &'a C,
    pub(crate) codec_state: &'a mut C::State,
    /// What is remembered of this connection.
    pub state: &'a mut S,
    pub(crate) token: Token,
    pub(crate) conn: &'a mut Conn,
    pub(crate) work: &'a mut Work,
}

impl<C: Codec, S> Context<'_, C, S> {
    /// The connection's name, for [`Remote`].
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.conn.peer
    }

    /// This end: its address as the system names it. A system call; `None` if the connection is none, over a unix socket, or
    /// has ended.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        crate::sys::socket::local_address(self.conn.fd()?)
    }

    /// Sends a frame, at the end of the turn or when enough has come together. Does not block.
    ///
    /// # Errors
    /// If the codec cannot write the frame; nothing of it is sent.
    pub fn send(&mut self, frame: C::Frame<'_>) -> Result<(), FrameError> {
        self.codec.encode(frame, &mut self.work.out)?;
        self.work.sheet.add(Count::FramesSent, 1);
        Ok(())
    }

    /// Sends bytes as they are, past the codec. Does not block.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.work.out.extend_from_slice(bytes);
    }

    /// Sends bytes as they are; what the peer does not take at once is shared, not copied. Does not block.
    pub fn send_shared(&mut self, message: &Message) {
        self.work.send_shared(self.conn, message);
    }

    /// Encodes a frame without sending it, for [`Remote::send`].
    ///
    /// # Errors
    /// If the codec cannot write the frame.
    pub fn encode(&self, frame: C::Frame<'_>) -> Result<Message, FrameError> {
        let mut bytes = Vec::new();
        self.codec.encode(frame, &mut bytes)?;
        Ok(bytes.into())
    }

    /// Closes the connection once what was sent is out. No further frame is taken.
    pub fn close(&mut self) {
        if matches!(self.conn.phase, Phase::Fresh | Phase::Open) {
            self.conn.phase = Phase::Closing(CloseReason::Handler);
        }
    }

    /// Closes the connection when this call returns, whatever is still to go out.
    pub fn abort(&mut self) {
        self.close();
        self.work.failed.get_or_insert(CloseReason::Handler);
    }

    /// Takes no further frame until [`release_hold`](Self::release_hold): what the peer sends stays where it is, no deadline
    /// for reading runs, and [`Handler::peer_finished`] tells if it finishes. For an answer that comes from elsewhere.
    pub fn hold(&mut self) {
        self.conn.on_hold = true;
    }

    /// Takes frames again, unless the codec has reasons of its own not to.
    pub fn release_hold(&mut self) {
        self.conn.on_hold = false;
    }

    /// The group whose workers serve this connection.
    #[must_use]
    pub fn group(&self) -> usize {
        usize::from(self.conn.group)
    }

    /// Whether this thread leads its group: the next events of the group wait for it. `false` once it has stepped down, or was
    /// deposed because it took too long.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.work.leads()
    }

    /// Runs something that may block this thread, after another worker has taken over the group's events.
    pub fn blocking<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // What was answered before must not wait for what blocks.
        self.work.flush(self.conn);
        self.work.hand_over(Count::HandOvers);
        f()
    }

    /// Calls [`Handler::timeout`] with [`Timeout::User`] after `after` (to the millisecond, never early; a year at most). A
    /// connection has one such timer: setting it again moves it.
    pub fn set_timer(&mut self, after: Duration) {
        // The clock was read at the start of the batch: one more millisecond makes it never early.
        self.conn.deadlines.user_ms = crate::work::after_ms(self.work.server.now_ms(), Some(after)) + 1;
    }

    /// Forgets the timer.
    pub fn cancel_timer(&mut self) {
        self.conn.deadlines.user_ms = crate::timer::NEVER_MS;
    }

    /// Bytes that the peer has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.conn.queued_bytes() + self.work.out.len()
    }

    /// Bytes that the socket has refused. Once it has taken them all, [`Handler::drained`] is called.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.conn.queued_bytes()
    }

    /// Sends what was written so far, and not only at the end of the turn. [`unsent_bytes`](Self::unsent_bytes) tells what
    /// the socket did not take of it.
    pub fn flush(&mut self) {
        self.work.flush(self.conn);
    }

    /// A handle that reaches connections of this server from any thread.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(&self.work.server)
    }
}
