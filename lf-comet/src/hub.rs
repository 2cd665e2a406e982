//! Where publishers and subscribers meet: login, logout, send.

use crate::fanout::{Audience, Fanout, FanoutLimits};
use crate::history::{History, HistoryLimits, Key, Missed};
use crate::logins::{Login, Logins};
use crate::names::Names;
use crate::position::Position;
use crate::publication::{Encoding, Publication};
use crate::stats::Stats;
use crate::subscriptions::Subscriptions;
use lf_core::{Remote, Sender, Token};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Subscribers looked up at a time.
const LOOKUP: usize = 4096;
/// Logins that are remembered for publications that looked their recipients up before.
const RECENT_MAX: usize = 1024;
/// Subscriptions whose history is looked through for one who comes back; with more, something counts as lost.
const RESUMED_SOURCES_MAX: usize = 1 << 16;

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
}

/// The order of all messages. One short critical section gives a message its place, records it and queues it, so that every
/// recipient sees increasing positions, and who logs in knows exactly from which position on messages will arrive.
#[derive(Debug)]
struct Stream {
    offset: u64,
    history: History,
    /// The last logins, for publications that had looked up their recipients before.
    recent: VecDeque<(u32, Login)>,
}

/// Where publishers and subscribers meet.
#[derive(Debug)]
pub struct Hub {
    names: Arc<Names<Logins>>,
    subscriptions: Subscriptions<Logins>,
    stream: Mutex<Stream>,
    /// Logins so far; changed under the lock of the stream.
    logins: AtomicU64,
    fanout: Arc<Fanout>,
    stats: Arc<Stats>,
    epoch: u32,
    /// Connections with several ids, which may be found several times among the recipients of one message.
    with_several_ids: AtomicUsize,
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
        let stream = Stream { offset: 0, history: History::new(options.history), recent: VecDeque::new() };
        // Seconds since 1970, in the bits that differ between any two starts within a century.
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        #[allow(clippy::cast_possible_truncation, reason = "the lower half is what differs")]
        let epoch = (seconds as u32) ^ std::process::id().rotate_left(20);
        Self {
            names,
            subscriptions,
            stream: Mutex::new(stream),
            logins: AtomicU64::new(0),
            fanout: Arc::new(fanout),
            stats,
            epoch,
            with_several_ids: AtomicUsize::new(0),
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
        let room = self.fanout.wait_for_room(Instant::now() + patience);
        if !room {
            self.stats.overloaded.add(1);
        }
        room
    }

    /// Publishes a message; answers how many connections it goes to. Never waits for one of them. `sender` is kept by who
    /// publishes several messages in a row.
    pub fn publish(
        &self,
        to: Destination<'_>,
        body: Arc<[u8]>,
        ttl: Option<Duration>,
        sender: &mut Option<Sender>,
    ) -> usize {
        let logins_before = self.logins.load(Ordering::Acquire);
        let number = self.names.number(to.id);
        let mut audience = self.audience(number, to.direct);
        let key = Key { id: to.id.into(), direct: to.direct };
        let mut stream = self.stream.lock();
        let came_meanwhile = self.logins.load(Ordering::Relaxed) - logins_before;
        if came_meanwhile > 0 {
            self.add_newcomers(&stream, came_meanwhile, to, &mut audience);
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
        count
    }

    fn audience(&self, number: Option<u32>, direct: bool) -> Audience {
        let Some(number) = number else { return Audience::default() };
        let mut recipients = Vec::new();
        self.names.with(number, |logins| recipients.extend(logins.iter().copied()));
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

    /// Adds those who logged in after the recipients were looked up.
    fn add_newcomers(&self, stream: &Stream, count: u64, to: Destination<'_>, audience: &mut Audience) {
        let Some(number) = self.names.number(to.id) else { return };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > stream.recent.len() {
            *audience = self.audience(Some(number), to.direct);
            return;
        }
        for (id, login) in stream.recent.iter().rev().take(count) {
            let follows = *id == number || (!to.direct && self.subscriptions.is_subscribed(*id, number));
            if follows && !audience.contains(*login) {
                audience.add(*login);
            }
        }
    }

    /// Logs a connection in as `ids` (at least one), and collects what it missed since `resume`.
    pub(crate) fn login(&self, ids: &[&str], token: Token, encoding: Encoding, resume: Option<Position>) -> Welcome {
        let login = Login { token, encoding };
        let mut numbers = Vec::with_capacity(ids.len());
        // Before anybody can find it several times.
        if ids.len() > 1 {
            self.with_several_ids.fetch_add(1, Ordering::Relaxed);
        }
        let mut stream = self.stream.lock();
        for id in ids {
            let number = self.names.with_interned(id, |number, logins| {
                logins.insert(login);
                number
            });
            if !numbers.contains(&number) {
                numbers.push(number);
                stream.recent.push_back((number, login));
            }
        }
        let excess = stream.recent.len().saturating_sub(RECENT_MAX);
        stream.recent.drain(..excess);
        self.logins.fetch_add(numbers.len() as u64, Ordering::Release);
        let position = Position { epoch: self.epoch, offset: stream.offset };
        let missed = resume.map_or_else(Missed::default, |from| self.missed(&stream, &numbers, from));
        drop(stream);
        self.stats.logins.add(numbers.len() as u64);
        if resume.is_some() {
            if missed.lost { &self.stats.lost } else { &self.stats.resumed }.add(1);
        }
        // It had named one id several times.
        if ids.len() > 1 && numbers.len() == 1 {
            self.with_several_ids.fetch_sub(1, Ordering::Relaxed);
        }
        Welcome { ids: numbers, missed, position }
    }

    fn missed(&self, stream: &Stream, numbers: &[u32], from: Position) -> Missed {
        // A position of another run says nothing about this one.
        let known = from.epoch == self.epoch && from.offset <= stream.offset;
        let from = if known { from } else { Position { epoch: self.epoch, offset: 0 } };
        let mut keys = Vec::new();
        let mut too_many = false;
        for number in numbers {
            let mut sources = Vec::new();
            self.subscriptions.sources(*number, None, RESUMED_SOURCES_MAX, &mut sources);
            too_many |= sources.len() == RESUMED_SOURCES_MAX;
            if let Some(id) = self.names.name(*number) {
                keys.push(Key { id: id.as_str().into(), direct: true });
            }
            sources.push(*number);
            let ids = sources.iter().filter_map(|source| self.names.name(*source));
            keys.extend(ids.map(|id| Key { id: id.as_str().into(), direct: false }));
        }
        let mut missed = stream.history.since(keys.into_iter(), from);
        missed.lost |= !known || too_many;
        missed
    }

    /// Forgets a connection under all its ids.
    pub(crate) fn logout(&self, ids: &[u32], token: Token, encoding: Encoding) {
        let login = Login { token, encoding };
        for number in ids {
            let removed = self.names.with(*number, |logins| logins.remove(login));
            if removed == Some(true) {
                self.stats.logouts.add(1);
                self.names.release_if(*number, Logins::is_empty);
            }
        }
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
