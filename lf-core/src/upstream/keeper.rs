//! A task in each group that keeps the times of what has no connection: calls that wait, and when to probe.

use super::call::CallError;
use super::core::{Base, Core};
use super::flight::Flight;
use super::probe;
use crate::codec::Raw;
use crate::handler::{Closed, Context, Handler, Outcome, Timeout};
use crate::outbox::Message;
use crate::peer::Peer;
use crate::remote::Remote;
use crate::token::Token;
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// What is looked at when its time comes.
#[derive(Clone)]
pub(super) enum Item {
    Flight(Weak<Flight>),
    Probe(Weak<Core>),
}

struct Entry {
    due: Instant,
    item: Item,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

#[derive(Default)]
struct Times {
    heap: BinaryHeap<Entry>,
    /// When the task looks next.
    next: Option<Instant>,
    ended: bool,
}

/// The times of one group.
#[derive(Default)]
pub(super) struct Keeper {
    token: OnceLock<Token>,
    times: Mutex<Times>,
}

impl Keeper {
    /// The task is there; it may have missed what was to be watched before.
    pub(super) fn begin(&self, remote: &Remote, token: Token) {
        let _ = self.token.set(token);
        let _ = remote.send(token, []);
    }

    /// Has `item` looked at when `due` has come.
    pub(super) fn watch(&self, remote: &Remote, due: Instant, item: Item) {
        let mut times = self.times.lock();
        if times.ended {
            drop(times);
            return give_up(&item);
        }
        times.heap.push(Entry { due, item });
        let sooner = times.next.is_none_or(|next| due < next);
        if sooner {
            times.next = Some(due);
        }
        drop(times);
        if sooner && let Some(token) = self.token.get() {
            // An error says that the task is gone, which sees to the items.
            let _ = remote.send(*token, []);
        }
    }

    /// What is due now.
    fn take_due(&self, now: Instant) -> Vec<Item> {
        let mut times = self.times.lock();
        let mut due = Vec::new();
        while times.heap.peek().is_some_and(|entry| entry.due <= now) {
            due.extend(times.heap.pop().map(|entry| entry.item));
        }
        due
    }

    /// When to look next.
    fn settle(&self) -> Option<Instant> {
        let mut times = self.times.lock();
        times.next = times.heap.peek().map(|entry| entry.due);
        times.next
    }

    fn end(&self) -> Vec<Entry> {
        let mut times = self.times.lock();
        times.ended = true;
        std::mem::take(&mut times.heap).into_vec()
    }
}

fn give_up(item: &Item) {
    if let Item::Flight(flight) = item
        && let Some(flight) = flight.upgrade()
    {
        flight.fail(|at| CallError::Stopping { at }, None);
    }
}

/// Serves the keepers.
pub(super) struct Chores;

/// What the keepers belong to, and a group.
type State = Option<(Arc<Base>, usize)>;

fn keeper_of(state: &State) -> Option<&Keeper> {
    let (base, group) = state.as_ref()?;
    base.bound.get()?.keepers.get(*group)
}

/// Looks at an item; answers when it wants to be looked at again.
fn look(base: &Base, item: &Item, now: Instant) -> Option<Instant> {
    match item {
        Item::Flight(flight) => {
            let flight = flight.upgrade()?;
            flight.tick(now);
            flight.next_due()
        }
        Item::Probe(core) => {
            let core = core.upgrade().filter(|core| !core.is_retired())?;
            let (bound, asks) = (base.bound.get()?, core.config.probe.as_ref()?);
            probe::ask(&core, bound, asks);
            Some(now + asks.interval)
        }
    }
}

fn set_timer(cx: &mut Context<'_, Raw, State>) {
    if let Some(due) = keeper_of(cx.state).and_then(Keeper::settle) {
        cx.set_timer(due.saturating_duration_since(Instant::now()));
    }
}

impl Handler<Raw> for Chores {
    type State = State;

    /// Nothing comes in here: a dialer has no listener.
    fn open(&self, _peer: &Peer) -> State {
        None
    }

    fn opened(&self, cx: &mut Context<'_, Raw, State>) -> Outcome {
        set_timer(cx);
        Ok(())
    }

    fn frame(&self, _cx: &mut Context<'_, Raw, State>, _frame: &[u8]) -> Outcome {
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Raw, State>, _poke: &Message) -> Outcome {
        set_timer(cx);
        Ok(())
    }

    fn timeout(&self, cx: &mut Context<'_, Raw, State>, _which: Timeout) -> Outcome {
        let now = Instant::now();
        let Some((base, _)) = cx.state.clone() else { return Ok(()) };
        let remote = cx.remote();
        if let Some(keeper) = keeper_of(cx.state) {
            for item in keeper.take_due(now) {
                if let Some(due) = look(&base, &item, now) {
                    keeper.watch(&remote, due, item);
                }
            }
        }
        set_timer(cx);
        Ok(())
    }

    fn closed(&self, state: &mut State, _closed: &Closed) {
        let left = keeper_of(state).map(Keeper::end).unwrap_or_default();
        left.iter().for_each(|entry| give_up(&entry.item));
    }
}
