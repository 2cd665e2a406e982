//! A connection that has become a WebSocket.

use super::exchange::Mode;
use super::write::{self, Length, Persistence};
use super::{Http, Incoming, Request};
use crate::codec::websocket::{self, CloseCode, Event, Kind, Step, Throttle};
use crate::codec::{Decoded, FrameError};
use crate::handler::Context;
use crate::stats::{CloseReason, Count};

#[derive(Debug, Default)]
pub(super) struct Socket {
    state: websocket::State,
    throttle: Throttle,
    /// Our close is out: nothing may follow it.
    closed: bool,
}

impl Socket {
    pub(super) fn decode<'a>(
        &mut self,
        limits: &websocket::Limits,
        input: &'a [u8],
    ) -> Result<Decoded<Incoming<'a>>, FrameError> {
        Ok(match websocket::decode(&mut self.state, limits, input)? {
            Step::Event { event, consumed } => Decoded::Frame { frame: Incoming::Socket(event), consumed },
            Step::Partial { needed } => Decoded::Partial { examined: 0, needed },
        })
    }

    pub(super) fn farewell(&mut self, why: CloseReason, error: Option<&FrameError>, out: &mut Vec<u8>) {
        if let Some((code, reason)) = last_words(why, error)
            && !std::mem::replace(&mut self.closed, true)
        {
            websocket::write_close(out, code, reason);
        }
    }
}

fn last_words(why: CloseReason, error: Option<&FrameError>) -> Option<(CloseCode, &'static str)> {
    if let Some(FrameError::Refused { code, reason }) = error {
        return Some((CloseCode::new(*code).unwrap_or(CloseCode::PROTOCOL), *reason));
    }
    match why {
        CloseReason::HandlerError | CloseReason::HandlerPanic => Some((CloseCode::INTERNAL, "the server failed")),
        CloseReason::Drained | CloseReason::Cut => Some((CloseCode::GOING_AWAY, "the server stops")),
        CloseReason::Requested => Some((CloseCode::POLICY, "closed by the operator")),
        CloseReason::IdleTimeout | CloseReason::FrameTimeout => Some((CloseCode::POLICY, "nothing came for too long")),
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

impl<S> Context<'_, Http, S> {
    /// Makes the connection a WebSocket: answers 101 with `fields`, and [`Incoming::Socket`] comes from now on. If the
    /// request asks for none, or wrongly, it is answered by a status that says so, and `false` comes back.
    ///
    /// Who may come, by `Origin` or otherwise, is looked at before.
    pub fn upgrade(&mut self, request: &Request<'_>, fields: &[(&str, &str)]) -> bool {
        let all = |name: &str| request.headers(name).collect::<Vec<_>>();
        let key = match websocket::check_handshake(request.method(), request.version_minor(), all) {
            Ok(key) => key.to_string(),
            Err(error) => {
                let mut fields = vec![("Content-Type", "text/plain; charset=utf-8")];
                fields.extend_from_slice(error.headers());
                self.respond(error.status(), &fields, format!("{error}\n").as_bytes());
                return false;
            }
        };
        if !self.awaits_answer() || request.has_body() {
            self.respond(400, &[], b"a WebSocket is asked for without a body\n");
            return false;
        }
        let mut head =
            vec![("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", key.as_str())];
        head.extend_from_slice(fields);
        if let Err(reason) = write::head(&mut self.work.out, 101, &head, Length::Untold, Persistence::Implied) {
            tracing::error!(token = %self.token, reason, "cannot answer 101");
            self.respond(500, &[], b"the server failed\n");
            return false;
        }
        self.codec_state.0 = Mode::Socket(Socket::default());
        true
    }

    /// Whether the connection is a WebSocket that we have not closed.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        matches!(&self.codec_state.0, Mode::Socket(socket) if !socket.closed)
    }

    /// Sends a text message; nothing after [`close_socket`](Self::close_socket).
    pub fn send_text(&mut self, text: &str) {
        if self.is_socket() {
            websocket::write_text(&mut self.work.out, text);
            self.work.sheet.add(Count::FramesSent, 1);
        }
    }

    /// Sends a binary message; nothing after [`close_socket`](Self::close_socket).
    pub fn send_binary(&mut self, payload: &[u8]) {
        if self.is_socket() {
            websocket::write_binary(&mut self.work.out, payload);
            self.work.sheet.add(Count::FramesSent, 1);
        }
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    /// If the payload is of more than 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        if self.is_socket() { websocket::write_ping(&mut self.work.out, payload) } else { Ok(()) }
    }

    /// Sends a pong that nobody has asked for; [`take_event`](Self::take_event) answers pings.
    ///
    /// # Errors
    /// If the payload is of more than 125 bytes.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        if self.is_socket() { websocket::write_pong(&mut self.work.out, payload) } else { Ok(()) }
    }

    /// Sends a close. Nothing can be sent after it, and messages of the peer are dropped; its own close ends the connection.
    pub fn close_socket(&mut self, code: CloseCode, reason: &str) {
        if let Mode::Socket(socket) = &mut self.codec_state.0
            && !std::mem::replace(&mut socket.closed, true)
        {
            websocket::write_close(&mut self.work.out, code, reason);
        }
    }

    /// Does what the protocol demands for an event, and hands over what it leaves to the handler: a message. A ping is
    /// answered by a pong, a close by a close and the end of the connection.
    pub fn take_event(&mut self, event: Event) -> Option<(Kind, Vec<u8>)> {
        let Mode::Socket(socket) = &mut self.codec_state.0 else { return None };
        match event {
            Event::Message { kind, payload } => return (!socket.closed).then_some((kind, payload)),
            Event::Progress => {}
            Event::Ping(_) | Event::Pong(_) => {
                if let Err(violation) = socket.throttle.admit(&self.codec.websocket, self.work.now_ms) {
                    if !std::mem::replace(&mut socket.closed, true) {
                        violation.write_close(&mut self.work.out);
                    }
                    self.end(CloseReason::Malformed);
                } else if !socket.closed {
                    event.answer(&mut self.work.out);
                }
            }
            Event::Close { .. } => {
                if !std::mem::replace(&mut socket.closed, true) {
                    event.answer(&mut self.work.out);
                }
                self.end(CloseReason::PeerClosed);
            }
        }
        None
    }
}
