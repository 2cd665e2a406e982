//! A request and its answer: how far each has come.

use super::socket::Socket;
use super::write;
use crate::codec::FrameError;
use crate::stats::CloseReason;

/// What is remembered between two frames of a connection.
#[derive(Debug, Default)]
pub struct State(pub(super) Mode);

#[derive(Debug)]
pub(super) enum Mode {
    Http(Exchange),
    Socket(Socket),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Http(Exchange::default())
    }
}

/// What comes next from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// The head of a request; the one before has come whole.
    #[default]
    Head,
    /// `left` more bytes of a body.
    Length,
    /// The line before a chunk.
    ChunkLine,
    /// `left` more bytes of a chunk.
    ChunkData,
    /// The line ending behind a chunk.
    ChunkEnd,
}

/// How far the answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody waits for one.
    #[default]
    Idle,
    /// It is waited for, and nothing of it was sent.
    Awaited,
    /// It goes on, in chunks.
    Chunked,
    /// It goes on, and the end of the connection is its end.
    UntilClose,
    /// It was the last one.
    Over,
}

/// How far a body has come.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Bytes of the body or chunk still to come.
    pub(super) left: u64,
    /// Bytes of a chunked body that have been announced.
    pub(super) announced: u64,
    /// Bytes of chunk extensions.
    pub(super) extension_bytes: usize,
}

/// One request and its answer; between two of them, nothing but zeros.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one request, a byte each")]
pub(super) struct Exchange {
    /// Most requests have none, so they pay one pointer.
    pub(super) body: Option<Box<Body>>,
    pub(super) part: Part,
    pub(super) answer: Answer,
    /// The minor version of the request.
    pub(super) minor: u8,
    /// The peer wants to send further requests.
    pub(super) keep_alive: bool,
    /// The request is a HEAD, whose answer has no body.
    pub(super) is_head: bool,
    /// The peer sends the body once it is told to go on.
    pub(super) waits: bool,
    /// Part of a head has come, more than empty lines.
    pub(super) begun: bool,
}

impl Exchange {
    pub(super) fn body(&mut self) -> &mut Body {
        self.body.get_or_insert_default()
    }

    /// The request has come whole.
    pub(super) fn end_body(&mut self) {
        self.part = Part::Head;
        self.body = None;
    }

    pub(super) fn holds(&self) -> bool {
        self.part == Part::Head && self.answer != Answer::Idle
    }

    /// Whether the request has not come whole.
    pub(super) fn lacks_body(&self) -> bool {
        self.part != Part::Head
    }

    /// Last words before the connection is closed. Where an answer has begun there are none: the peer must see that it was
    /// cut short.
    pub(super) fn farewell(&mut self, why: CloseReason, error: Option<&FrameError>, out: &mut Vec<u8>) {
        let silent = match self.answer {
            Answer::Idle | Answer::Awaited => false,
            Answer::Chunked | Answer::UntilClose | Answer::Over => true,
        };
        if !silent && let Some((status, reason)) = self.last_words(why, error) {
            write::refusal(out, status, reason, self.is_head);
        }
        self.answer = Answer::Over;
    }

    fn last_words(&self, why: CloseReason, error: Option<&FrameError>) -> Option<(u16, &'static str)> {
        match error {
            Some(FrameError::Refused { code, reason }) => return Some((*code, *reason)),
            Some(FrameError::Truncated { .. }) => return Some((400, "the request ends in its middle")),
            Some(FrameError::TooLarge { .. } | FrameError::Malformed(_) | FrameError::Unwritable(_)) => {
                return Some((400, "malformed request"));
            }
            None => {}
        }
        let awaited = self.answer == Answer::Awaited;
        let words = |holds: bool, status, reason| holds.then_some((status, reason));
        match why {
            CloseReason::FrameTimeout => words(self.begun || self.lacks_body(), 408, "the request took too long"),
            CloseReason::IdleTimeout => words(self.lacks_body(), 408, "the rest of the request did not come"),
            CloseReason::HandlerError | CloseReason::HandlerPanic => words(awaited, 500, "the server failed"),
            CloseReason::Requested | CloseReason::Drained | CloseReason::Cut => {
                words(awaited, 503, "the server stops before the answer was ready")
            }
            CloseReason::PeerClosed
            | CloseReason::PeerReset
            | CloseReason::Handler
            | CloseReason::FirstByteTimeout
            | CloseReason::WriteStall
            | CloseReason::FrameTooLarge
            | CloseReason::Malformed
            | CloseReason::Truncated
            | CloseReason::OutputOverflow
            | CloseReason::ConnectFailed
            | CloseReason::ConnectTimeout
            | CloseReason::System => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_connection_is_small() {
        assert!(size_of::<State>() <= 24, "{} bytes", size_of::<State>());
    }
}
