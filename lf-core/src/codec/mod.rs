//! Where a frame begins and ends.
//!
//! A codec looks at bytes and touches no socket. To add one, implement [`Codec`]; `docs/src/architecture.md` says
//! where it is called.

pub mod http;
mod len32;
mod line;
mod nshead;
mod raw;
pub mod websocket;

pub use http::Http;
pub use len32::Len32;
pub use line::Line;
pub use nshead::{Nshead, NsheadFrame, NsheadHeader};
pub use raw::Raw;

use crate::stats::CloseReason;

/// The largest frame that a codec takes unless told otherwise, in bytes.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 64 * 1024;

/// What a look at the unread bytes of a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<F> {
    /// A whole frame, which takes the first `consumed` (at least 1) bytes of the input.
    Frame {
        /// The frame.
        frame: F,
        /// Bytes of input that it took, its header and terminator included.
        consumed: usize,
    },
    /// More bytes are needed.
    Partial {
        /// Bytes at the front that need no second look; given back to the next call.
        examined: usize,
        /// Total bytes of input without which another call makes no sense; a guess of `input.len() + 1` is always right.
        needed: usize,
    },
}

/// Bytes that are not a frame, or a frame that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is larger than the limit. Found from the declared length, before anything is allocated.
    #[error("a frame of {bytes} bytes is over the limit of {limit} bytes; raise the codec's limit or send less")]
    TooLarge {
        /// The frame's length as declared, or as far as it has come.
        bytes: u64,
        /// The codec's limit.
        limit: usize,
    },
    /// The bytes are no frame of this protocol.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The peer finished in the middle of a frame.
    #[error("the peer finished in the middle of a frame, after {bytes} bytes of it")]
    Truncated {
        /// Bytes that had come.
        bytes: usize,
    },
    /// The peer broke the protocol in a way that the protocol has a number for: an HTTP status, a WebSocket close code.
    #[error("{code}: {reason}")]
    Refused {
        /// The protocol's number.
        code: u16,
        /// What was wrong.
        reason: &'static str,
    },
    /// The frame to write cannot be told from other bytes by its reader.
    #[error("cannot write this frame: {0}")]
    Unwritable(&'static str),
}

/// Turns a stream of bytes into frames, and frames into bytes. It must not block and does no I/O.
pub trait Codec: Send + Sync + 'static {
    /// A frame, borrowed from the bytes that were read.
    type Frame<'a>;
    /// What has to be remembered between two frames of a connection; `()` costs nothing.
    type State: Default + Send + 'static;

    /// Looks for a frame at the front of `input`, of whose bytes the first `examined` were seen by an earlier call.
    ///
    /// # Errors
    /// If the input is no frame, or one over the limit; the connection is closed.
    fn decode<'a>(
        &self,
        state: &mut Self::State,
        input: &'a [u8],
        examined: usize,
    ) -> Result<Decoded<Self::Frame<'a>>, FrameError>;

    /// The peer has finished and `rest`, which is not empty and no whole frame, is left: the last frame, if the protocol
    /// lets the end of the stream end one.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] unless the protocol allows it.
    fn finish<'a>(&self, state: &mut Self::State, rest: &'a [u8]) -> Result<Option<Self::Frame<'a>>, FrameError> {
        let _ = state;
        Err(FrameError::Truncated { bytes: rest.len() })
    }

    /// Whether no frame can be taken now, because the protocol wants the last one answered first. The peer's bytes stay
    /// where they are meanwhile, and no deadline for reading runs.
    fn holds(&self, state: &Self::State) -> bool {
        let _ = state;
        false
    }

    /// Whether no frame will be taken any more, because an answer is the last one: what the peer has sent behind its
    /// request is dropped.
    fn ends(&self, state: &Self::State) -> bool {
        let _ = state;
        false
    }

    /// Appends what the protocol says before the connection is closed for `why`, which is neither the handler's wish nor
    /// the peer's doing; `error` is what [`decode`](Self::decode) or [`finish`](Self::finish) answered, if that is the reason.
    fn farewell(&self, state: &mut Self::State, why: CloseReason, error: Option<&FrameError>, out: &mut Vec<u8>) {
        let _ = (state, why, error, out);
    }

    /// Appends `frame` to `out` as it goes over the wire.
    ///
    /// # Errors
    /// [`FrameError::Unwritable`] or [`FrameError::TooLarge`] if the frame cannot be written; `out` is unchanged then.
    fn encode(&self, frame: Self::Frame<'_>, out: &mut Vec<u8>) -> Result<(), FrameError>;
}

/// A frame that is nothing but its payload, so that a handler may build one from bytes.
pub trait BytesCodec: Codec + for<'a> Codec<Frame<'a> = &'a [u8]> {}

impl<C> BytesCodec for C where C: Codec + for<'a> Codec<Frame<'a> = &'a [u8]> {}

fn too_large(bytes: usize, limit: usize) -> FrameError {
    FrameError::TooLarge { bytes: bytes as u64, limit }
}
