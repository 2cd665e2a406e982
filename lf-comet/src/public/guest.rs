//! What is remembered of a subscriber's connection.

use crate::history::{Missed, Record};
use crate::hub::{Hub, Rest};
use crate::position::Position;
use crate::publication::Encoding;
use crate::stats::Transport;
use lf_core::{Message, Token};
use std::collections::VecDeque;
use std::time::SystemTime;

/// A place in the queue of a subscriber.
const ENTRY_BYTES: usize = size_of::<Message>();

/// A subscriber who is logged in. Small, because there are millions; what only few need is apart.
#[derive(Debug)]
pub(super) struct Session {
    /// The number of its first id.
    id: u32,
    pub(super) encoding: Encoding,
    pub(super) transport: Transport,
    /// A ping is out, and nothing has come since.
    pub(super) awaits_pong: bool,
    extra: Option<Box<Extra>>,
}

/// What only few sessions have.
#[derive(Debug, Default)]
struct Extra {
    /// The numbers of all its ids, if it has several.
    ids: Box<[u32]>,
    /// Messages that it has missed; they go before those that wait.
    missed: VecDeque<Record>,
    /// More of them, still in history.
    rest: Option<Box<Rest>>,
    /// Messages that wait until the socket takes bytes again.
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// When the subscriber's token ends.
    expires: Option<SystemTime>,
    /// Where a poll was when it began: nothing came since, or it would have been answered.
    since: Option<Position>,
    /// What a poll's answer says in any case.
    fields: Fields,
}

/// Names and values of header fields.
pub(super) type Fields = Box<[(Box<str>, Box<str>)]>;

impl Session {
    pub(super) fn new(ids: &[u32], encoding: Encoding, transport: Transport) -> Self {
        let id = ids.first().copied().unwrap_or_default();
        let mut session = Self { id, encoding, transport, awaits_pong: false, extra: None };
        if ids.len() > 1 {
            session.extra().ids = ids.into();
        }
        session
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn ends_at(mut self, expires: Option<SystemTime>) -> Self {
        if expires.is_some() {
            self.extra().expires = expires;
        }
        self
    }

    /// It is a poll; `fields` are for its answer.
    pub(super) fn polls_since(mut self, position: Position, fields: &[(&str, &str)]) -> Self {
        let extra = self.extra();
        extra.since = Some(position);
        extra.fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self
    }

    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.extra.as_ref()?.expires
    }

    pub(super) fn since(&self) -> Option<Position> {
        self.extra.as_ref()?.since
    }

    pub(super) fn take_fields(&mut self) -> Fields {
        self.extra.as_mut().map(|extra| std::mem::take(&mut extra.fields)).unwrap_or_default()
    }

    /// Has what it has missed sent first, a piece at a time.
    pub(super) fn catches_up(mut self, missed: Vec<Record>, rest: Option<Rest>) -> Self {
        if !missed.is_empty() {
            let extra = self.extra();
            extra.missed = missed.into();
            extra.rest = rest.map(Box::new);
        }
        self
    }

    /// Whether messages wait, for whatever reason.
    pub(super) fn is_behind(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.is_behind())
    }

    /// What is next of what it has missed.
    pub(super) fn take_missed(&mut self, hub: &Hub) -> Option<Next> {
        let extra = self.extra.as_mut()?;
        if let Some(record) = extra.missed.pop_front() {
            self.tidy();
            return Some(Next::Message(record));
        }
        let (Missed { messages, lost, .. }, before) = hub.go_on(&mut extra.rest)?;
        extra.missed = messages.into();
        let next = if lost { Some(Next::Lost(before)) } else { extra.missed.pop_front().map(Next::Message) };
        self.tidy();
        next
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.waiting_bytes)
    }

    pub(super) fn put_off(&mut self, hub: &Hub, message: &Message) {
        let extra = self.extra();
        extra.waiting_bytes += cost(message);
        extra.waiting.push_back(Message::clone(message));
        hub.stats().waiting_bytes.add(signed(cost(message)));
    }

    /// The oldest message that waits.
    pub(super) fn take_waiting(&mut self, hub: &Hub) -> Option<Message> {
        let extra = self.extra.as_mut()?;
        let message = extra.waiting.pop_front()?;
        extra.waiting_bytes -= cost(&message);
        hub.stats().waiting_bytes.add(-signed(cost(&message)));
        self.tidy();
        Some(message)
    }

    /// After a burst, memory goes back.
    fn tidy(&mut self) {
        let Some(extra) = self.extra.as_mut().filter(|extra| !extra.is_behind()) else { return };
        (extra.waiting, extra.missed) = (VecDeque::new(), VecDeque::new());
        if extra.expires.is_none() && extra.since.is_none() && extra.ids.is_empty() {
            self.extra = None;
        }
    }

    /// Forgets the session everywhere; answers how many messages it had waiting.
    pub(super) fn end(mut self, hub: &Hub, token: Token) -> u64 {
        let ids = self.extra.as_ref().map_or(&[][..], |extra| &extra.ids);
        hub.logout(if ids.is_empty() { std::slice::from_ref(&self.id) } else { ids }, token, self.encoding);
        hub.stats().connected(self.transport).add(-1);
        let encoding = self.encoding;
        std::iter::from_fn(|| self.take_waiting(hub)).map(|message| encoding.count(&message)).sum()
    }
}

/// What comes before the messages that wait.
#[derive(Debug)]
pub(super) enum Next {
    Message(Record),
    /// Some are gone since; what follows is after this position.
    Lost(Position),
}

impl Extra {
    fn is_behind(&self) -> bool {
        !self.waiting.is_empty() || !self.missed.is_empty() || self.rest.is_some()
    }
}

/// What a message that waits takes, beside what it shares with others.
pub(super) fn cost(message: &Message) -> usize {
    message.len() + ENTRY_BYTES
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_session_takes_sixteen_bytes() {
        assert_eq!(size_of::<Option<Session>>(), 16);
    }
}
