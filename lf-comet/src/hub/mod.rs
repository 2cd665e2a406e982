//! Where publishers and subscribers meet: login, logout, send.

mod comeback;

use crate::fanout::{Audience, Fanout, FanoutLimits};
use crate::history::{History, HistoryLimits, Key, Missed};
use crate::logins::{Login, Logins};
use crate::names::Names;
use crate::position::Position;
use crate::publication::{Encoding, Publication};
use crate::stats::Stats;
use crate::stream::{Event, Shared, Stream};
use crate::subscriptions::Subscriptions;
pub(crate) use comeback::Rest;
use lf_core::{Remote, Sender, Token};
use parking_lot::MutexGuard;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Subscribers looked up at a time.
const LOOKUP: usize = 4096;
/// How often recipients are looked up while others log in too fast; then these have to wait for it.
const LOOKUPS_MAX: u32 = 4;
/// Publishers that wait for room; more are refused at once.
const WAITING_MAX: usize = 32;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The id.
    pub id: &'a str,
    /// To the id alone, not to those who subscribed to it.
    pub direct: bool,
}

/// A connection under one of its ids.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) login: Login,
}

/// What a login answers.
#[derive(Debug)]
pub(crate) struct Welcome {
    /// The numbers of the ids.
    pub(crate) ids: Vec<u32>,
    pub(crate) missed: Missed,
    /// All that is sent after this position will arrive.
    pub(crate) position: Position,
    /// For what is still to be looked up, if more was missed.
    pub(crate) rest: Option<Rest>,
}

impl Welcome {
    /// What comes first is after this position.
    pub(crate) fn begins_after(&self) -> Position {
        self.missed.begins_after(self.position)
    }
}

/// Where publishers and subscribers meet.
#[derive(Debug)]
pub struct Hub {
    names: Arc<Names<Logins>>,
    subscriptions: Subscriptions<Logins>,
    stream: Shared,
    fanout: Arc<Fanout>,
    stats: Arc<Stats>,
    epoch: u32,
    /// Connections with several ids, which may be found several times among the recipients of one message.
    with_several_ids: AtomicUsize,
    /// Publishers that wait for room.
    waiting: AtomicUsize,
}

/// What a hub is made of.
#[derive(Debug)]
pub struct HubOptions {
    /// What is remembered for those who come back.
    pub history: HistoryLimits,
    /// Bounds and pace of the fan-out.
    pub fanout: FanoutLimits,
    /// Whether a subscriber that cannot take a message is closed, or just misses it.
    pub disconnects: bool,
}

impl Hub {
    /// Puts a hub together. It delivers nothing before [`attach`](Self::attach).
    pub fn new(
        names: Arc<Names<Logins>>,
        subscriptions: Subscriptions<Logins>,
        options: &HubOptions,
        stats: Arc<Stats>,
    ) -> Self {
        let fanout = Fanout::new(options.fanout, Arc::clone(&stats), options.disconnects);
        // By chance, not by the clock, which may be set back.
        #[allow(clippy::cast_possible_truncation, reason = "half of it is enough")]
        let epoch = (RandomState::new().hash_one(std::process::id()) as u32).max(1);
        Self {
            names,
            subscriptions,
            stream: Shared::new(History::new(options.history)),
            fanout: Arc::new(fanout),
            stats,
            epoch,
            with_several_ids: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Names the server whose connections are the subscribers.
    pub fn attach(&self, remote: Remote) {
        self.fanout.attach(remote);
    }

    /// Starts the fan-out threads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(&self) -> std::io::Result<Vec<JoinHandle<()>>> {
        self.fanout.start()
    }

    /// Lets the fan-out threads end.
    pub fn stop(&self) {
        self.fanout.stop();
    }

    /// What is counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Who follows whom.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions<Logins> {
        &self.subscriptions
    }

    pub(crate) fn names(&self) -> &Names<Logins> {
        &self.names
    }

    /// Deliveries (recipients times messages) that are under way.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.fanout.backlog()
    }

    /// Bytes of messages that are remembered.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.stream.lock().history.bytes()
    }

    /// Whether [`publish`](Self::publish) should be preceded by [`wait_for_room`](Self::wait_for_room).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fanout.is_full()
    }

    /// Waits until less is under way; `false` if it did not get less in `patience`. Blocks.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        self.stats.publisher_waits.add(1);
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        // Threads that wait here are missing where publishers and operators are answered.
        let room = others < WAITING_MAX && self.fanout.wait_for_room(Instant::now() + patience);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if !room {
            self.stats.overloaded.add(1);
        }
        room
    }

    /// Takes no more messages, and waits until those that were taken have been handed over, `patience` at most. Blocks.
    pub fn close(&self, patience: Duration) {
        self.stream.lock().closed = true;
        self.fanout.wait_until_idle(Instant::now() + patience);
    }

    /// Publishes a message; answers how many connections it goes to; `None` if the hub is closed. Never waits for one of
    /// them. `sender` is kept by who publishes several messages in a row.
    pub fn publish(
        &self,
        to: Destination<'_>,
        body: Arc<[u8]>,
        ttl: Option<Duration>,
        sender: &mut Option<Sender>,
    ) -> Option<usize> {
        // The numbers of ids that come and go are not given to others meanwhile.
        let _pin = self.names.pin();
        let _lookup = self.stream.look_up();
        let key = Key { id: to.id.into(), direct: to.direct };
        let (mut stream, audience) = self.recipients(to);
        if stream.closed {
            return None;
        }
        stream.offset += 1;
        let position = Position { epoch: self.epoch, offset: stream.offset };
        let publication = Arc::new(Publication::new(position, body, ttl));
        stream.history.record(key, &publication);
        let count = audience.len();
        let pushed = self.fanout.push(&publication, audience);
        drop(stream);
        self.fanout.run(pushed, sender);
        self.stats.published.add(1);
        Some(count)
    }

    /// Who gets a message that has its place in the stream now.
    fn recipients(&self, to: Destination<'_>) -> (MutexGuard<'_, Stream>, Audience) {
        for _ in 0..LOOKUPS_MAX {
            let before = self.stream.events();
            let mut audience = self.audience(self.names.number(to.id), to.direct);
            let stream = self.stream.lock();
            let events = self.stream.since(&stream, before).map(|events| events.copied().collect::<Vec<_>>());
            if let Some(events) = events {
                events.into_iter().for_each(|event| self.follow(event, to, &mut audience));
                return (stream, audience);
            }
        }
        let stream = self.stream.lock();
        let audience = self.audience(self.names.number(to.id), to.direct);
        (stream, audience)
    }

    /// Somebody came or went after the recipients were looked up.
    fn follow(&self, event: Event, to: Destination<'_>, audience: &mut Audience) {
        match event {
            Event::Logout(login) => audience.remove(login),
            Event::Login(id, login) => {
                let Some(number) = self.names.number(to.id) else { return };
                let follows = id == number || (!to.direct && self.subscriptions.is_subscribed(id, number));
                if follows && !audience.contains(login) {
                    audience.add(login);
                }
            }
        }
    }

    fn audience(&self, number: Option<u32>, direct: bool) -> Audience {
        let Some(number) = number else { return Audience::default() };
        let mut recipients = Vec::new();
        self.names.with(number, |logins| {
            recipients.reserve_exact(logins.len());
            recipients.extend(logins.iter().copied());
        });
        if !direct {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                found.clear();
                self.subscriptions.subscribers(number, after, LOOKUP, &mut found);
                let Some(last) = found.last() else { break };
                after = Some(*last);
                found.retain(|subscriber| *subscriber != number);
                self.names.for_each_in(&found, |_, logins| recipients.extend(logins.iter().copied()));
            }
        }
        Audience::deal(recipients, self.with_several_ids.load(Ordering::Relaxed) > 0)
    }

    /// Logs a connection in as `ids` (at least one), and collects what it missed since `resume`.
    pub(crate) fn login(&self, ids: &[&str], token: Token, encoding: Encoding, resume: Option<Position>) -> Welcome {
        let login = Login { token, encoding };
        let mut numbers = Vec::with_capacity(ids.len());
        // Before anybody can find it several times.
        if ids.len() > 1 {
            self.with_several_ids.fetch_add(1, Ordering::Relaxed);
        }
        let (mut stream, keys) = self.lock_with_keys(ids, resume.is_some());
        for id in ids {
            let number = self.names.with_interned(id, |number, logins| {
                logins.insert(login);
                number
            });
            if !numbers.contains(&number) {
                numbers.push(number);
                self.stream.note(&mut stream, Event::Login(number, login));
            }
        }
        let position = Position { epoch: self.epoch, offset: stream.offset };
        let (missed, rest) = match resume.zip(keys) {
            Some((from, keys)) => self.missed(&stream, keys, from),
            None => (Missed::default(), None),
        };
        drop(stream);
        self.stats.logins.add(numbers.len() as u64);
        if resume.is_some() {
            if missed.lost { &self.stats.lost } else { &self.stats.resumed }.add(1);
        }
        // It had named one id several times.
        if ids.len() > 1 && numbers.len() == 1 {
            self.with_several_ids.fetch_sub(1, Ordering::Relaxed);
        }
        Welcome { ids: numbers, missed, position, rest }
    }

    /// Forgets a connection under all its ids.
    pub(crate) fn logout(&self, ids: &[u32], token: Token, encoding: Encoding) {
        let login = Login { token, encoding };
        // After a poll the connection may ask for other ids: whoever looks recipients up now must not take it for these.
        let mut stream = (encoding == Encoding::Poll).then(|| self.stream.lock());
        for number in ids {
            let removed = self.names.with(*number, |logins| logins.remove(login));
            if removed == Some(true) {
                self.stats.logouts.add(1);
                self.names.release_if(*number, Logins::is_empty);
            }
        }
        if let Some(stream) = &mut stream {
            self.stream.note(stream, Event::Logout(login));
        }
        drop(stream);
        if ids.len() > 1 {
            self.with_several_ids.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a message goes to more than `count` ids, of which any may have connections.
    pub(crate) fn audience_may_exceed(&self, to: Destination<'_>, count: usize) -> bool {
        if to.direct {
            return false;
        }
        self.names.number(to.id).is_some_and(|number| self.subscriptions.subscriber_count(number) > count as u64)
    }

    /// Who is connected, under `id` or at all; at most `max` of them.
    pub(crate) fn connections(&self, id: Option<&str>, max: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut note = |id: &str, logins: &Logins| {
            let left = max - seen.len();
            seen.extend(logins.iter().take(left).map(|login| Seen { id: id.to_owned(), login: *login }));
            seen.len() < max
        };
        match id {
            Some(id) => {
                if let Some(number) = self.names.number(id) {
                    self.names.with(number, |logins| note(id, logins));
                }
            }
            None => self.names.for_each(|id, logins| note(id, logins)),
        }
        seen
    }

    /// How many subscribers are connected.
    pub(crate) fn connection_count(&self) -> u64 {
        self.stats.connected.iter().map(crate::stats::Gauge::get).sum()
    }
}

#[cfg(test)]
mod tests;
