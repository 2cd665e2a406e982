//! What somebody who comes back has missed.

use super::{Hub, LOOKUPS_MAX};
use crate::history::{Key, Missed, Span};
use crate::position::Position;
use crate::stream::Stream;
use parking_lot::MutexGuard;
use std::sync::Arc;

/// Ids whose history is looked through for one who comes back; with more, something counts as lost.
const RESUMED_KEYS_MAX: usize = 4096;
/// What is looked up of history at a time.
const HISTORY_PIECE_BYTES: usize = 64 << 10;

/// What somebody who came back has not been given yet.
#[derive(Debug)]
pub(crate) struct Rest {
    keys: Box<[Key]>,
    span: Span,
}

/// Whose history counts for somebody who comes back.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Ids that they follow.
    sources: u64,
    /// There would be more.
    cut: bool,
}

impl Hub {
    /// Looks up whose history counts, if somebody `resumes`, before the stream is locked: others wait for the lock.
    pub(super) fn lock_with_keys(&self, ids: &[&str], resumes: bool) -> (MutexGuard<'_, Stream>, Option<Keys>) {
        if !resumes {
            return (self.stream.lock(), None);
        }
        let _pin = self.names.pin();
        let mut attempt = 1;
        loop {
            let keys = self.keys(ids);
            let stream = self.stream.lock();
            // Who begins to follow somebody right now must not miss that one's next message.
            if keys.sources == self.sources(ids) || attempt == LOOKUPS_MAX {
                return (stream, Some(keys));
            }
            attempt += 1;
        }
    }

    fn sources(&self, ids: &[&str]) -> u64 {
        let numbers = ids.iter().filter_map(|id| self.names.number(id));
        numbers.map(|number| self.subscriptions.source_count(number)).sum()
    }

    fn keys(&self, ids: &[&str]) -> Keys {
        let sources = self.sources(ids);
        let mut keys = Vec::new();
        let mut cut = false;
        for id in ids {
            let id: Arc<str> = (*id).into();
            keys.extend([true, false].map(|direct| Key { id: Arc::clone(&id), direct }));
            let Some(number) = self.names.number(&id) else { continue };
            let room = RESUMED_KEYS_MAX.saturating_sub(keys.len());
            let mut found = Vec::new();
            self.subscriptions.sources(number, None, room + 1, &mut found);
            cut |= found.len() > room;
            found.truncate(room);
            let names = found.iter().filter_map(|source| self.names.name(*source));
            keys.extend(names.map(|id| Key { id: id.into(), direct: false }));
        }
        Keys { keys, sources, cut }
    }

    pub(super) fn missed(&self, stream: &Stream, keys: Keys, from: Position) -> (Missed, Option<Rest>) {
        // A position of another run says nothing about this one.
        let known = from.epoch == self.epoch && from.offset <= stream.offset;
        let span = Span { after: if known { from.offset } else { 0 }, through: stream.offset };
        let mut missed = stream.history.since(&keys.keys, span, HISTORY_PIECE_BYTES);
        missed.lost |= !known || keys.cut;
        let rest = missed.more.then(|| {
            let after = missed.messages.last().map_or(span.after, |last| last.position.offset);
            Rest { keys: keys.keys.into(), span: Span { after, ..span } }
        });
        (missed, rest)
    }

    /// More of what was missed, and the position that it is after; `rest` is what is left then, `None` if nothing is.
    pub(crate) fn go_on(&self, rest: &mut Option<Box<Rest>>) -> Option<(Missed, Position)> {
        let next = rest.as_mut()?;
        let missed = self.stream.lock().history.since(&next.keys, next.span, HISTORY_PIECE_BYTES);
        let before = missed.begins_after(Position { epoch: self.epoch, offset: next.span.through });
        match missed.messages.last().filter(|_| missed.more) {
            Some(last) => next.span.after = last.position.offset,
            None => *rest = None,
        }
        Some((missed, before))
    }
}
