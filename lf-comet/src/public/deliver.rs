//! Messages on their last step: out of the socket, or put off, or dropped.

use super::guest::{Next, Session, cost};
use super::{Cx, NEXT, Public, Slow};
use crate::position::Position;
use crate::publication::Encoding;
use crate::stats::Transport;
use lf_core::Message;
use lf_core::codec::websocket::CloseCode;
use std::time::{Duration, SystemTime};

/// Up to here bytes are copied, so that several messages of a turn make one `send`.
const COPY_BYTES_MAX: usize = 4096;
/// Before a token ends there is no heartbeat any more.
const EXPIRES_SOON: Duration = Duration::from_secs(1);
/// Bytes that are given to the socket at a time, to see whether it takes them.
const FLUSH_BYTES: usize = 16 << 10;

impl Public {
    /// Sends a message, or puts it off if the socket has refused earlier ones.
    pub(super) fn deliver(&self, cx: &mut Cx<'_>, message: &Message) {
        let unsent = cx.unsent_bytes();
        let Some(session) = &mut cx.state.0 else { return };
        if !session.is_behind() && unsent == 0 {
            return put(cx, message);
        }
        if self.fits(session, unsent, message) {
            session.put_off(&self.hub, message);
        } else {
            self.too_slow(cx, message);
        }
    }

    /// Whether a message may wait, behind what waits for its subscriber and for all.
    fn fits(&self, session: &Session, unsent: usize, message: &Message) -> bool {
        let total = usize::try_from(self.hub.stats().waiting_bytes.get()).unwrap_or(usize::MAX);
        session.waiting_bytes() + unsent + cost(message) <= self.options.queue_bytes
            && total + cost(message) <= self.options.queue_total_bytes
    }

    /// More waits for the subscriber than may.
    fn too_slow(&self, cx: &mut Cx<'_>, message: &Message) {
        let (token, remote, unsent) = (cx.token(), cx.remote(), cx.unsent_bytes());
        let Some(session) = &mut cx.state.0 else { return };
        let stats = self.hub.stats();
        match self.options.slow {
            Slow::DropNewest => stats.dropped_newest.add(session.encoding.count(message)),
            Slow::DropOldest => {
                while !self.fits(session, unsent, message) {
                    let Some(oldest) = session.take_waiting(&self.hub) else { break };
                    stats.dropped_oldest.add(session.encoding.count(&oldest));
                }
                if self.fits(session, unsent, message) {
                    session.put_off(&self.hub, message);
                } else {
                    stats.dropped_newest.add(session.encoding.count(message));
                }
            }
            Slow::Disconnect => {
                stats.slow_disconnects.add(1);
                stats.dropped_disconnected.add(session.encoding.count(message));
                // Nothing may follow what was dropped.
                self.log_out(cx);
                // At once: it would not read a farewell either.
                remote.close(token);
            }
        }
    }

    /// The socket takes bytes again: what was missed comes first, then what waits.
    pub(super) fn go_on(&self, cx: &mut Cx<'_>) {
        while cx.unsent_bytes() == 0 && self.put_next(cx) {
            // What the socket has not taken can still be dropped, or stay in history.
            if cx.queued_bytes() >= FLUSH_BYTES {
                cx.flush();
            }
        }
    }

    /// Puts the oldest message of those that wait; `false` if there is none.
    fn put_next(&self, cx: &mut Cx<'_>) -> bool {
        let Some(session) = &mut cx.state.0 else { return false };
        let encoding = session.encoding;
        match session.take_missed(&self.hub) {
            Some(Next::Message(record)) => put(cx, &record.encoded(encoding)),
            Some(Next::Lost(before)) => {
                self.hub.stats().lost.add(1);
                self.say_lost(cx, encoding, before);
            }
            None => match session.take_waiting(&self.hub) {
                Some(message) => put(cx, &message),
                None => return false,
            },
        }
        true
    }

    /// No message comes any more; those that wait are the last ones. What was missed and does not fit stays in history.
    pub(super) fn leave(&self, cx: &mut Cx<'_>) {
        while cx.queued_bytes() <= self.options.queue_bytes && self.put_next(cx) {}
        self.log_out(cx);
    }

    /// The subscriber is nobody any more; what waits for it is dropped.
    fn log_out(&self, cx: &mut Cx<'_>) {
        if let Some(session) = cx.state.0.take() {
            let lost = session.end(&self.hub, cx.token());
            self.hub.stats().dropped_disconnected.add(lost);
        }
    }

    /// Answers a poll with what came.
    pub(super) fn answer_poll(&self, cx: &mut Cx<'_>, lines: &Message) {
        let Some(since) = cx.state.0.as_ref().and_then(Session::since) else { return };
        // What comes late, for the poll before, was given to this one out of history, or was not for it.
        let fresh = after(lines, since);
        let late = Encoding::Poll.count(&lines[..lines.len() - fresh.len()]);
        self.hub.stats().gone.add(late);
        if fresh.is_empty() {
            return;
        }
        let next = position_in(last_line(fresh)).unwrap_or_default().to_owned();
        let body = poll_body(fresh, &next);
        self.finish_poll(cx, 200, &[("Content-Type", "application/json"), (NEXT, &next)], &body);
    }

    /// Nothing came for a poll.
    pub(super) fn end_poll(&self, cx: &mut Cx<'_>) {
        let since = cx.state.0.as_ref().and_then(Session::since);
        let next = since.map(|position| position.to_string()).unwrap_or_default();
        self.finish_poll(cx, 204, &[(NEXT, &next)], b"");
    }

    fn finish_poll(&self, cx: &mut Cx<'_>, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let Some(mut session) = cx.state.0.take() else { return };
        let begun = session.take_fields();
        session.end(&self.hub, cx.token());
        cx.cancel_timer();
        let begun = begun.iter().map(|(name, value)| (&**name, &**value));
        cx.respond(status, &begun.chain(fields.iter().copied()).collect::<Vec<_>>(), body);
    }

    /// A sign of life, to keep the way open and to find out whether there is still somebody.
    pub(super) fn beat(&self, cx: &mut Cx<'_>) {
        let (token, remote, unsent) = (cx.token(), cx.remote(), cx.unsent_bytes());
        let Some(session) = &mut cx.state.0 else { return };
        match session.expires().map(time_until) {
            Some(Duration::ZERO) => return self.expire(cx),
            // The timer's clock may be a little ahead of the token's.
            Some(left) if left < EXPIRES_SOON => return cx.set_timer(left),
            _ if self.options.heartbeat.is_zero() => return self.await_beat(cx, Duration::ZERO),
            _ => {}
        }
        // Who has not taken the last bytes yet is watched by the write deadline.
        if unsent == 0 {
            if std::mem::replace(&mut session.awaits_pong, session.transport == Transport::Socket) {
                self.hub.stats().silent_disconnects.add(1);
                remote.close(token);
                return;
            }
            self.hub.stats().heartbeats.add(1);
            match session.transport {
                Transport::Events => cx.chunk(b":\n\n"),
                Transport::Ndjson => cx.chunk(b"\n"),
                // No payload is never too long.
                Transport::Socket => cx.ping(b"").unwrap_or_default(),
                Transport::Test | Transport::Stream | Transport::Poll => {}
            }
        }
        self.await_beat(cx, self.options.heartbeat);
    }

    /// Sets the timer for the next sign of life, or for the end of the token if that comes first.
    pub(super) fn await_beat(&self, cx: &mut Cx<'_>, after: Duration) {
        let Some(session) = &cx.state.0 else { return };
        let silent =
            matches!(session.transport, Transport::Test | Transport::Stream) || self.options.heartbeat.is_zero();
        let beat = (!silent).then_some(after);
        if let Some(after) = beat.into_iter().chain(session.expires().map(time_until)).min() {
            cx.set_timer(after);
        }
    }

    /// The subscriber's token has ended.
    fn expire(&self, cx: &mut Cx<'_>) {
        let Some(transport) = cx.state.0.as_ref().map(|session| session.transport) else { return };
        // Nothing may follow the farewell.
        self.log_out(cx);
        if transport == Transport::Socket {
            cx.close_socket(CloseCode::POLICY, "the token has expired");
        } else {
            cx.finish();
        }
        cx.close();
    }
}

/// None if it is past.
pub(super) fn time_until(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::now()).unwrap_or_default()
}

fn put(cx: &mut Cx<'_>, message: &Message) {
    if message.len() <= COPY_BYTES_MAX { cx.send_bytes(message) } else { cx.send_shared(message) }
}

fn last_line(lines: &[u8]) -> &[u8] {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    memchr::memrchr(b'\n', lines).map_or(lines, |at| &lines[at + 1..])
}

/// The position in a JSON line of ours, which begins with it.
fn position_in(line: &[u8]) -> Option<&str> {
    let position = line.strip_prefix(b"{\"id\":\"")?.split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(position).ok()
}

/// The lines that are after a position; of several, positions increase.
fn after(mut lines: &[u8], since: Position) -> &[u8] {
    let is_late = |line: &[u8]| {
        let position = position_in(line).and_then(|text| text.parse::<Position>().ok());
        position.is_some_and(|position| position.offset <= since.offset)
    };
    while !lines.is_empty() && is_late(lines) {
        let end = memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
        lines = &lines[end..];
    }
    lines
}

/// The answer to a poll: JSON lines become the items of an array.
pub(super) fn poll_body(lines: &[u8], next: &str) -> Vec<u8> {
    let mut body = format!("{{\"next\":\"{next}\",\"messages\":[").into_bytes();
    for (index, line) in lines.strip_suffix(b"\n").unwrap_or(lines).split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(line);
    }
    body.extend_from_slice(b"]}\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array_and_the_last_position_is_found() {
        let lines = b"{\"id\":\"00000001-1\",\"body\":\"a\"}\n{\"id\":\"00000001-22\",\"body\":\"b\"}\n";
        assert_eq!(position_in(last_line(lines)), Some("00000001-22"));
        let body = poll_body(lines, "00000001-22");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["messages"][1]["body"], "b");
        assert_eq!(value["next"], "00000001-22");
    }

    #[test]
    fn lines_up_to_a_position_are_late() {
        let lines = b"{\"id\":\"00000001-1\",\"body\":\"a\"}\n{\"id\":\"00000001-22\",\"body\":\"b\"}\n";
        let left = |offset| after(lines, Position { epoch: 1, offset }).len();
        let second = lines.len() - 31;
        assert_eq!([0, 1, 21, 22].map(left), [lines.len(), second, second, 0]);
    }
}
