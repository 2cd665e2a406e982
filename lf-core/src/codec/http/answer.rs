//! Answers: what a handler's context can do for HTTP.

use super::Http;
use super::exchange::{Answer, Exchange, Mode};
use super::head::list;
use super::write::{self, CONTINUE, LAST_CHUNK, Length, Persistence, write_chunk};
use crate::conn::Phase;
use crate::handler::Context;
use crate::stats::{CloseReason, Count};

/// How the pieces of an answer are told apart from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no answer with pieces: none was started, it has no body, or it is finished.
    None,
    /// Each piece with its size (HTTP/1.1).
    Chunked,
    /// The pieces as they are; the end of the connection ends them (HTTP/1.0).
    UntilClose,
}

/// Answers that never have a body.
const fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Whether it can be a final answer.
const fn is_final(status: u16) -> bool {
    matches!(status, 200..=999)
}

impl<S> Context<'_, Http, S> {
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        match &mut self.codec_state.0 {
            Mode::Http(exchange) => Some(exchange),
            Mode::Socket(_) => None,
        }
    }

    fn answer(&self) -> Answer {
        match &self.codec_state.0 {
            Mode::Http(exchange) => exchange.answer,
            Mode::Socket(_) => Answer::Over,
        }
    }

    /// Whether a request has come that nothing was answered to yet.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.answer() == Answer::Awaited
    }

    /// Whether an answer has begun and is not finished.
    #[must_use]
    pub fn answer_begun(&self) -> bool {
        self.framing() != Framing::None
    }

    /// How the answer that goes on is framed.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match self.answer() {
            Answer::Chunked => Framing::Chunked,
            Answer::UntilClose => Framing::UntilClose,
            Answer::Idle | Answer::Awaited | Answer::Over => Framing::None,
        }
    }

    /// Tells a peer that waits for it to send the body of its request.
    pub fn accept_body(&mut self) {
        let awaited = self.awaits_answer();
        if let Some(exchange) = self.exchange()
            && std::mem::take(&mut exchange.waits)
            && awaited
        {
            self.work.out.extend_from_slice(CONTINUE);
        }
    }

    /// Answers the request, all at once. `Date`, `Content-Length`, `Connection` are added as needed, and no body is sent
    /// where there must be none. If the request's body has not come whole, the connection is closed after the answer; so it is
    /// if a field says `Connection: close`.
    ///
    /// A field that cannot be written, such as one with a line break, makes the answer a 500.
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let Some((mut persistence, is_head, _)) = self.begin(fields) else { return };
        if self.lacks_body() {
            persistence = Persistence::Close;
        }
        let length = match status {
            status if is_bodiless(status) => Length::Untold,
            205 => Length::Bytes(0),
            _ => Length::Bytes(body.len()),
        };
        if !self.write_head(status, fields, length, persistence, is_head) {
            return;
        }
        if !is_head && length == Length::Bytes(body.len()) {
            self.work.out.extend_from_slice(body);
        }
        self.end_answer(persistence);
    }

    /// Begins an answer whose body comes in pieces, by [`chunk`](Self::chunk) and [`finish`](Self::finish). With
    /// [`Framing::None`] it has no body, and is finished. The request's body may still come; if it has not come whole at the
    /// [`finish`](Self::finish), the connection is closed after it.
    ///
    /// The fields are as with [`respond`](Self::respond).
    pub fn start(&mut self, status: u16, fields: &[(&str, &str)]) -> Framing {
        let Some((mut persistence, is_head, minor)) = self.begin(fields) else { return Framing::None };
        let framing = match minor {
            _ if is_head || is_bodiless(status) => Framing::None,
            0 => Framing::UntilClose,
            _ => Framing::Chunked,
        };
        let (answer, length) = match framing {
            Framing::None => (Answer::Idle, Length::Untold),
            Framing::Chunked => (Answer::Chunked, Length::Chunked),
            Framing::UntilClose => (Answer::UntilClose, Length::Untold),
        };
        if framing == Framing::UntilClose || framing == Framing::None && self.lacks_body() {
            persistence = Persistence::Close;
        }
        if !self.write_head(status, fields, length, persistence, is_head) {
            return Framing::None;
        }
        if framing == Framing::None {
            self.end_answer(persistence);
        } else if let Some(exchange) = self.exchange() {
            exchange.answer = answer;
            exchange.keep_alive = persistence != Persistence::Close;
        }
        framing
    }

    /// Sends a piece of the answer that was started; nothing if there is none, or if `bytes` is empty.
    pub fn chunk(&mut self, bytes: &[u8]) {
        match self.framing() {
            Framing::None => {}
            Framing::Chunked => write_chunk(&mut self.work.out, bytes),
            Framing::UntilClose => self.work.out.extend_from_slice(bytes),
        }
    }

    /// Ends the answer that was started; nothing if there is none.
    pub fn finish(&mut self) {
        match self.framing() {
            Framing::None => return,
            Framing::Chunked => self.work.out.extend_from_slice(LAST_CHUNK),
            Framing::UntilClose => {}
        }
        let draining = self.conn.draining;
        let goes_on =
            self.exchange().is_some_and(|exchange| exchange.keep_alive && !exchange.lacks_body()) && !draining;
        self.end_answer(if goes_on { Persistence::Implied } else { Persistence::Close });
    }

    fn lacks_body(&mut self) -> bool {
        self.exchange().is_some_and(|exchange| exchange.lacks_body())
    }

    /// What the answer has to go by: whether the connection goes on, whether the request is a HEAD, its version.
    fn begin(&mut self, fields: &[(&str, &str)]) -> Option<(Persistence, bool, u8)> {
        let (token, draining) = (self.token, self.conn.draining);
        let Some(exchange) = self.exchange().filter(|exchange| exchange.answer == Answer::Awaited) else {
            tracing::error!(%token, "an answer that nobody waits for is dropped");
            return None;
        };
        let closes = fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection")
                && list(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(b"close"))
        });
        let persistence = match exchange.minor {
            _ if closes || draining || !exchange.keep_alive => Persistence::Close,
            0 => Persistence::Said,
            _ => Persistence::Implied,
        };
        Some((persistence, exchange.is_head, exchange.minor))
    }

    /// `false` if it could not be written, and the whole answer is a 500 instead.
    fn write_head(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        length: Length,
        persistence: Persistence,
        is_head: bool,
    ) -> bool {
        let written = if is_final(status) {
            write::head(&mut self.work.out, status, fields, length, persistence)
        } else {
            Err("the status is none of a final answer")
        };
        self.work.sheet.add(Count::FramesSent, 1);
        let Err(reason) = written else { return true };
        tracing::error!(token = %self.token, peer = %self.conn.peer, status, reason, "answered 500 instead");
        write::refusal(&mut self.work.out, 500, "the server failed", is_head);
        self.end_answer(Persistence::Close);
        false
    }

    fn end_answer(&mut self, persistence: Persistence) {
        let closes = persistence == Persistence::Close;
        if let Some(exchange) = self.exchange() {
            if closes {
                exchange.answer = Answer::Over;
            } else {
                *exchange = Exchange::default();
            }
        }
        if closes {
            self.end(CloseReason::Handler);
        }
    }

    /// Closes once everything is out.
    pub(super) fn end(&mut self, why: CloseReason) {
        if matches!(self.conn.phase, Phase::Fresh | Phase::Open) {
            self.conn.phase = Phase::Closing(if self.conn.draining { CloseReason::Drained } else { why });
        }
    }
}
