//! The last messages of each id, so that who comes back can be given what it missed, or be told that it cannot.

use crate::marks::Marks;
use crate::position::Position;
use crate::publication::{Encoding, Publication};
use lf_core::Message;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Messages of each id; 0 remembers none, only that there were some.
    pub messages: usize,
    /// Age of a message; none: no limit.
    pub age: Option<Duration>,
    /// Bytes of all messages, each with 256 bytes for its place.
    pub bytes: usize,
    /// Ids of which something is remembered.
    pub ids: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { messages: 0, age: None, bytes: 64 << 20, ids: 1 << 16 }
    }
}

impl HistoryLimits {
    fn is_too_old(&self, record: &Record, now: Instant) -> bool {
        self.age.is_some_and(|age| now.duration_since(record.at) > age)
    }
}

/// What a message takes beside its body.
const ENTRY_BYTES: usize = 256;

/// To whom a message was sent: all who follow an id, or the id alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) id: Arc<str>,
    pub(crate) direct: bool,
}

/// A message that is remembered, without its encodings, which may take many times as much.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) position: Position,
    body: Arc<[u8]>,
    expires: Option<Instant>,
    at: Instant,
}

impl Record {
    fn new(publication: &Publication, at: Instant) -> Self {
        let Publication { position, ref body, expires, .. } = *publication;
        Self { position, body: Arc::clone(body), expires, at }
    }

    fn bytes(&self) -> usize {
        self.body.len() + ENTRY_BYTES
    }

    /// The bytes that a connection wants for it.
    pub(crate) fn encoded(&self, encoding: Encoding) -> Message {
        Message::clone(Publication::new(self.position, Arc::clone(&self.body), None).encoded(encoding))
    }
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Record>,
    /// The last message that is gone.
    lost_through: u64,
    last: u64,
}

/// The messages after one position, up to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) after: u64,
    pub(crate) through: u64,
}

/// What somebody who comes back is given.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// The first ones, in the order in which they were sent.
    pub(crate) messages: Vec<Record>,
    /// There are more.
    pub(crate) more: bool,
    /// Some there were which are gone.
    pub(crate) lost: bool,
}

impl Missed {
    /// The position that the first message is right after; `end` if there is none.
    pub(crate) fn begins_after(&self, end: Position) -> Position {
        let first = self.messages.first().map(|first| first.position);
        first.map_or(end, |first| Position { offset: first.offset - 1, ..first })
    }
}

#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    /// If no messages are remembered: of which ids there were some.
    marks: Marks,
    rings: HashMap<Key, Ring>,
    /// Every message that is remembered, oldest first, and some that are not any more.
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    /// Of ids that are not remembered, everything up to here may be gone.
    floor: u64,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        let marks = Marks::new(limits.ids);
        Self { limits, marks, rings: HashMap::new(), order: VecDeque::new(), bytes: 0, floor: 0 }
    }

    /// Bytes that the messages take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn record(&mut self, key: Key, publication: &Arc<Publication>) {
        let now = Instant::now();
        let offset = publication.position.offset;
        if self.limits.messages == 0 {
            return self.marks.mark(&key, offset);
        }
        let ring = self.rings.entry(key.clone()).or_default();
        ring.last = offset;
        let record = Record::new(publication, now);
        self.bytes += record.bytes();
        ring.entries.push_back(record);
        while ring.entries.len() > self.limits.messages
            || ring.entries.front().is_some_and(|first| self.limits.is_too_old(first, now))
        {
            self.bytes -= ring.forget_first();
        }
        self.order.push_back((offset, key));
        self.keep_limits();
    }

    fn keep_limits(&mut self) {
        while self.bytes > self.limits.bytes || self.rings.len() > self.limits.ids {
            let Some((offset, key)) = self.order.pop_front() else { return };
            let Some(ring) = self.rings.get_mut(&key) else { continue };
            if ring.entries.front().is_some_and(|first| first.position.offset == offset) {
                self.bytes -= ring.forget_first();
            }
            if ring.entries.is_empty() && ring.last == offset {
                self.floor = self.floor.max(ring.last);
                self.rings.remove(&key);
            }
        }
        // An id that is sent to again and again leaves its old places behind.
        let stored: usize = self.rings.len() + self.bytes / ENTRY_BYTES;
        if self.order.len() > 2 * stored + 1024 {
            let rings = &self.rings;
            self.order.retain(|(offset, key)| {
                rings.get(key).is_some_and(|ring| {
                    let first = ring.entries.front().map_or(ring.last, |first| first.position.offset);
                    *offset >= first
                })
            });
        }
    }

    /// What was sent to `keys` within a span of this run: the first messages, of up to `bytes_max` together or one. Messages
    /// that are gone since count as lost.
    pub(crate) fn since(&self, keys: &[Key], span: Span, bytes_max: usize) -> Missed {
        let now = Instant::now();
        let mut missed = Missed::default();
        // Up to here, no id has more than was found.
        let mut whole_through = span.through;
        for key in keys {
            missed.lost |= self.marks.last(key) > span.after;
            let Some(ring) = self.rings.get(key) else {
                missed.lost |= self.floor > span.after;
                continue;
            };
            missed.lost |= ring.lost_through > span.after;
            let first = ring.entries.partition_point(|record| record.position.offset <= span.after);
            let mut bytes = 0;
            for record in ring.entries.range(first..) {
                if record.position.offset > whole_through {
                    break;
                }
                if bytes > 0 && bytes >= bytes_max {
                    whole_through = record.position.offset - 1;
                    missed.more = true;
                    break;
                }
                if record.expires.is_some_and(|expires| expires <= now) {
                    continue;
                }
                if self.limits.is_too_old(record, now) {
                    missed.lost = true;
                    continue;
                }
                bytes += record.bytes();
                missed.messages.push(record.clone());
            }
        }
        let messages = &mut missed.messages;
        messages.sort_unstable_by_key(|record| record.position.offset);
        messages.dedup_by_key(|record| record.position.offset);
        messages.truncate(messages.partition_point(|record| record.position.offset <= whole_through));
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let first = bytes == 0;
            bytes += record.bytes();
            first || bytes <= bytes_max
        };
        let fitting = messages.iter().take_while(fits).count();
        missed.more |= fitting < messages.len();
        messages.truncate(fitting);
        missed
    }
}

impl Ring {
    /// Answers the bytes that are free again.
    fn forget_first(&mut self) -> usize {
        let Some(first) = self.entries.pop_front() else { return 0 };
        self.lost_through = first.position.offset;
        first.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key { id: id.into(), direct: false }
    }

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    fn send(history: &mut History, id: &str, offset: u64) {
        history.record(key(id), &Arc::new(Publication::new(at(offset), Arc::from(b"body".as_slice()), None)));
    }

    /// All that came after an offset.
    fn since(history: &History, ids: &[&str], after: u64) -> Missed {
        let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
        history.since(&keys, Span { after, through: u64::MAX }, usize::MAX)
    }

    fn offsets(missed: &Missed) -> Vec<u64> {
        missed.messages.iter().map(|record| record.position.offset).collect()
    }

    fn history(limits: HistoryLimits) -> History {
        History::new(limits)
    }

    #[test]
    fn what_was_missed_comes_in_the_order_in_which_it_was_sent() {
        let mut history = history(HistoryLimits { messages: 10, ..HistoryLimits::default() });
        for (offset, id) in [(1, "a"), (2, "b"), (3, "c"), (4, "b"), (5, "a")] {
            send(&mut history, id, offset);
        }
        let missed = since(&history, &["a", "b"], 1);
        assert_eq!((offsets(&missed), missed.lost), (vec![2, 4, 5], false));
    }

    #[test]
    fn what_is_gone_is_said() {
        let mut history = history(HistoryLimits { messages: 2, ..HistoryLimits::default() });
        (1..=4).for_each(|offset| send(&mut history, "a", offset));
        let whole = since(&history, &["a"], 2);
        assert_eq!((offsets(&whole), whole.lost), (vec![3, 4], false));
        let part = since(&history, &["a"], 1);
        assert_eq!((offsets(&part), part.lost), (vec![3, 4], true));
    }

    #[test]
    fn without_messages_it_is_known_whether_there_were_some() {
        let mut history = history(HistoryLimits::default());
        send(&mut history, "a", 1);
        send(&mut history, "b", 2);
        assert!(!since(&history, &["a"], 1).lost);
        assert!(since(&history, &["b"], 1).lost);
        assert!(!since(&history, &["c"], 0).lost);
    }

    #[test]
    fn bytes_are_bounded_oldest_first() {
        let limits = HistoryLimits { messages: 1000, bytes: 10 * (ENTRY_BYTES + 4), ..HistoryLimits::default() };
        let mut history = history(limits);
        (1..=100).for_each(|offset| send(&mut history, if offset % 2 == 0 { "a" } else { "b" }, offset));
        assert!(history.bytes() <= limits.bytes);
        let missed = since(&history, &["a", "b"], 90);
        assert_eq!((missed.messages.len(), missed.lost), (10, false));
        assert!(since(&history, &["a"], 80).lost);
    }

    #[test]
    fn ids_are_bounded_and_the_forgotten_ones_count_as_lost() {
        for messages in [0, 1] {
            let mut history = history(HistoryLimits { messages, ids: 10, ..HistoryLimits::default() });
            (1..=10_000u64).for_each(|offset| send(&mut history, &(offset % 100).to_string(), offset));
            assert!(history.rings.len() <= 10 && history.order.len() < 2000);
            assert!(since(&history, &["50"], 9_900).lost);
            assert!(!since(&history, &["50"], 9_999).lost);
        }
    }

    #[test]
    fn one_busy_id_does_not_make_the_order_grow() {
        let mut history = history(HistoryLimits { messages: 3, ..HistoryLimits::default() });
        send(&mut history, "quiet", 1);
        (2..=100_000).for_each(|offset| send(&mut history, "busy", offset));
        assert!(history.order.len() < 4000, "{}", history.order.len());
        assert_eq!(offsets(&since(&history, &["quiet"], 0)), [1]);
    }

    #[test]
    fn an_expired_message_is_not_given_and_not_missed() {
        let mut history = history(HistoryLimits { messages: 10, ..HistoryLimits::default() });
        let short = Publication::new(at(1), Arc::from(b"".as_slice()), Some(Duration::ZERO));
        history.record(key("a"), &Arc::new(short));
        let missed = since(&history, &["a"], 0);
        assert_eq!((missed.messages.len(), missed.lost), (0, false));
    }

    #[test]
    fn what_was_missed_comes_in_pieces_without_a_gap() {
        let mut history = history(HistoryLimits { messages: 1000, ..HistoryLimits::default() });
        // One id has many, the other a few between them.
        (1..=100).for_each(|offset| send(&mut history, if offset % 10 == 0 { "b" } else { "a" }, offset));
        let keys = [key("a"), key("b"), key("c")];
        for bytes_max in [0, 700, 3000, 1 << 20] {
            let (mut got, mut span) = (Vec::new(), Span { after: 5, through: 98 });
            loop {
                let missed = history.since(&keys, span, bytes_max);
                assert!(!missed.lost && missed.messages.len() <= (bytes_max / ENTRY_BYTES).max(1));
                got.extend(offsets(&missed));
                if !missed.more {
                    break;
                }
                span.after = *got.last().unwrap();
            }
            assert_eq!(got, (6..=98).collect::<Vec<_>>(), "{bytes_max}");
        }
    }
}
