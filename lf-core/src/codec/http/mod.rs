//! HTTP/1.1 for servers, by [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110) and
//! [RFC 9112](https://www.rfc-editor.org/rfc/rfc9112), with WebSocket behind it.
//!
//! A handler gets an [`Incoming::Request`] for each head, then its body in pieces as they come, and answers by the methods
//! that [`Context`](crate::Context) has for this codec: [`respond`](crate::Context::respond) for a whole answer,
//! [`start`](crate::Context::start), [`chunk`](crate::Context::chunk) and [`finish`](crate::Context::finish) for one that
//! goes on. It may answer later, from any of its methods: pipelined requests wait meanwhile, so that answers keep their order.
//!
//! What the peer may not send is refused with the status that the RFCs name, and the connection is closed: after a head that
//! two servers could understand differently, nothing on it can be trusted.
//!
//! The deadline [`Timeouts::frame`](crate::Timeouts::frame) is for a head, from its first byte to its last. A body has
//! [`Timeouts::idle`](crate::Timeouts::idle) between its pieces; a handler that wants it sooner sets a timer.

mod answer;
mod body;
mod exchange;
mod head;
pub(crate) mod host;
mod request;
mod socket;
mod write;

pub use answer::Framing;
pub use exchange::State;
pub use request::Request;
pub use write::write_chunk;

use super::{Codec, Decoded, FrameError, websocket};
use crate::stats::CloseReason;
use exchange::{Mode, Part};

/// What a peer may send before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A head, from the request line to the empty line, in bytes; past it the answer is 431.
    pub head_bytes: usize,
    /// Header fields of a head, 256 at most; past it the answer is 431.
    pub fields: usize,
    /// The target of a request, in bytes; past it the answer is 414.
    pub target_bytes: usize,
    /// A body, in bytes; past it the answer is 413, at once if the length is declared.
    pub body_bytes: u64,
    /// The line before a chunk, with the size and extensions, in bytes.
    pub chunk_line_bytes: usize,
    /// Extensions of all chunks of a body together, in bytes. They mean nothing here, and cost the peer little.
    pub extension_bytes: usize,
    /// The fields after the last chunk, in bytes; past it the answer is 431.
    pub trailer_bytes: usize,
    /// How many these are, 64 at most; past it the answer is 431.
    pub trailer_fields: usize,
}

impl Limits {
    /// The limits of a server that is told nothing else.
    pub const DEFAULT: Self = Self {
        head_bytes: 16 * 1024,
        fields: 100,
        target_bytes: 8 * 1024,
        body_bytes: 1024 * 1024,
        chunk_line_bytes: 256,
        extension_bytes: 16 * 1024,
        trailer_bytes: 8 * 1024,
        trailer_fields: 32,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http {
    limits: Limits,
    websocket: websocket::Limits,
}

impl Http {
    /// HTTP within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, websocket: websocket::Limits::default() }
    }

    /// Limits for the connections that [`upgrade`](crate::Context::upgrade) makes WebSockets.
    #[must_use]
    pub fn websocket(mut self, limits: websocket::Limits) -> Self {
        self.websocket = limits;
        self
    }
}

/// What came from the peer.
#[derive(Clone, Debug)]
pub enum Incoming<'a> {
    /// A request's head.
    Request(Request<'a>),
    /// A piece of the body of the request before, if that [has one](Request::has_body).
    Body {
        /// The piece, without any framing. A chunked body may have empty pieces, also as its last.
        bytes: &'a [u8],
        /// It is the last one.
        last: bool,
    },
    /// A WebSocket's event, after [`upgrade`](crate::Context::upgrade); for [`take_event`](crate::Context::take_event).
    Socket(websocket::Event),
}

impl Codec for Http {
    type Frame<'a> = Incoming<'a>;
    type State = State;

    fn decode<'a>(
        &self,
        state: &mut State,
        input: &'a [u8],
        examined: usize,
    ) -> Result<Decoded<Incoming<'a>>, FrameError> {
        let exchange = match &mut state.0 {
            Mode::Http(exchange) => exchange,
            Mode::Socket(socket) => return socket.decode(&self.websocket, input),
        };
        match exchange.part {
            Part::Head => head::decode(&self.limits, exchange, input, examined),
            Part::Length => Ok(body::piece(exchange, input)),
            Part::ChunkLine => body::chunk(&self.limits, exchange, input, examined),
            Part::ChunkData => Ok(body::chunk_data(exchange, input, 0)),
            Part::ChunkEnd => body::chunk_end(exchange, input),
        }
    }

    fn finish<'a>(&self, state: &mut State, rest: &'a [u8]) -> Result<Option<Incoming<'a>>, FrameError> {
        match &state.0 {
            // Some clients end a body with an empty line that nobody asked for.
            Mode::Http(exchange) if exchange.part == Part::Head && !exchange.begun => Ok(None),
            Mode::Http(_) | Mode::Socket(_) => Err(FrameError::Truncated { bytes: rest.len() }),
        }
    }

    fn holds(&self, state: &State) -> bool {
        match &state.0 {
            Mode::Http(exchange) => exchange.holds(),
            Mode::Socket(_) => false,
        }
    }

    fn ends(&self, state: &State) -> bool {
        matches!(&state.0, Mode::Http(exchange) if exchange.holds() && !exchange.keep_alive)
    }

    fn farewell(&self, state: &mut State, why: CloseReason, error: Option<&FrameError>, out: &mut Vec<u8>) {
        match &mut state.0 {
            Mode::Http(exchange) => exchange.farewell(why, error, out),
            Mode::Socket(socket) => socket.farewell(why, error, out),
        }
    }

    /// Answers are written by the methods of the context, which know the request.
    fn encode(&self, _frame: Incoming<'_>, _out: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(FrameError::Unwritable("HTTP is answered with Context::respond or Context::start"))
    }
}

/// An error that the peer is told of by a status.
const fn refused(code: u16, reason: &'static str) -> FrameError {
    FrameError::Refused { code, reason }
}
