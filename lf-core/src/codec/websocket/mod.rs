//! The server's side of WebSocket, [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455), without I/O and without a clock.
//!
//! A connection becomes a WebSocket by an HTTP request, so this is not a [`Codec`](super::Codec) of its own: the codec that
//! has answered `101 Switching Protocols` keeps a [`State`] and hands the bytes that follow to [`decode`].
//!
//! 1. [`check_handshake`] looks at the request; its [`AcceptKey`] goes into the answer. Extensions are never echoed, which
//!    declines them: a compressed frame is then a violation like any other reserved bit.
//! 2. [`decode`] tells what came, an [`Event`] at a time. Payload of an unfinished message is taken in as it comes and told
//!    of as [`Event::Progress`], so that whoever reads keeps at most the header of a frame, or a whole control frame.
//!    In the terms of a codec: [`Step::Event`] is a frame, also `Progress`, of which a handler learns nothing, and
//!    [`Step::Partial`] is a partial frame of which nothing was examined. A connection between two pieces of a message
//!    may have no unread bytes: [`State::is_idle`] tells it from one that is at rest, for the sake of deadlines.
//! 3. [`Event::answer`] writes what the protocol demands in return. After [`Event::Close`] and its answer the server
//!    closes the connection.
//! 4. On a [`Violation`] the server writes [`Violation::write_close`] and closes. Whatever still comes is swallowed.
//!
//! Pings cost their sender little and the server a `send` each. Whoever has a clock asks a [`Throttle`] at each
//! [`Event::Ping`] and [`Event::Pong`].

mod close;
mod decode;
mod handshake;
mod header;
mod message;
mod throttle;
mod write;

pub use close::{CloseCode, Violation};
pub use decode::{State, Step, decode};
pub use handshake::{AcceptKey, HandshakeError, accept_key, check_handshake, choose_subprotocol};
pub use throttle::{ControlRate, Throttle};
pub use write::{frame, write_binary, write_close, write_ping, write_pong, write_text};

use super::FRAME_BYTES_MAX_DEFAULT;

/// Payload of a control frame, in bytes; the protocol sets it.
pub const CONTROL_BYTES_MAX: usize = 125;

/// A message of the largest size may come in fragments of this many bytes on average. Streaming clients send larger ones;
/// smaller ones are mostly headers.
const FRAGMENT_BYTES: usize = 16;

/// Fragments that any message may have, however small the limit on its bytes.
const FRAGMENTS_MIN: usize = 64;

/// What a peer may send before it is refused. Lengths are looked at before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of one data frame, in bytes; past it the connection is closed with 1009.
    pub frame_bytes: usize,
    /// Payload of a message, all its fragments together, in bytes; past it the connection is closed with 1009.
    pub message_bytes: usize,
    /// Frames that a message may come in, so that a message of empty frames ends; past it the connection is closed
    /// with 1008.
    pub fragments: usize,
    /// Pings and pongs; see [`Throttle`].
    pub control: ControlRate,
}

impl Limits {
    /// Messages of up to `message_bytes`, whole or in fragments of 16 bytes and more on average.
    #[must_use]
    pub fn new(message_bytes: usize) -> Self {
        Self {
            frame_bytes: message_bytes,
            message_bytes,
            fragments: FRAGMENTS_MIN.max(message_bytes / FRAGMENT_BYTES),
            control: ControlRate::default(),
        }
    }
}

impl Default for Limits {
    /// Messages of 64 KiB, as with the other codecs: what an unfinished message may cost a connection.
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX_DEFAULT)
    }
}

/// What the payload of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// What came from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message {
        /// What the payload is.
        kind: Kind,
        /// The payload, unmasked; of [`Kind::Text`] it is valid UTF-8.
        payload: Vec<u8>,
    },
    /// The peer asks for a pong with this payload, of at most 125 bytes.
    Ping(Vec<u8>),
    /// The answer to a ping, or a sign of life that nobody asked for.
    Pong(Vec<u8>),
    /// The peer closes. It reads nothing but our close from here on, and nothing that it sends after it counts.
    Close {
        /// Why, if it said.
        code: Option<CloseCode>,
        /// Why, for people.
        reason: String,
    },
    /// Bytes were taken in, and there is nothing to tell yet.
    Progress,
}
