//! A call under way: the requests made for it, and which of their outcomes is the call's.

use super::call::{Answer, Call, CallError, Done, Place};
use super::core::{Core, Way};
use super::link::Link;
use super::roster::Server;
use super::wire::request::Request;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A call, from being made to its outcome.
pub(super) struct Flight {
    pub(super) core: Arc<Core>,
    pub(super) group: usize,
    pub(super) request: Request,
    pub(super) key: Vec<u8>,
    idempotent: bool,
    began: Instant,
    time: Duration,
    pub(super) deadline: Instant,
    over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Taken by the outcome.
    done: Option<Done>,
    /// Requests that may still be answered.
    live: Vec<(Arc<Server>, Weak<Link>)>,
    /// Who was asked.
    tried: Vec<Arc<Server>>,
    tries: u32,
    retries_left: u32,
    /// A kept connection may prove to be closed, once.
    stale_left: bool,
    /// When another server is to be asked, too.
    backup_at: Option<Instant>,
}

/// What a failed request says about its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The server could not be connected to.
    No,
    /// The connection ended before it was written.
    NotYet,
    /// The server may have begun with it.
    Yes,
    /// The connection had been idle, and was closed without a byte of an answer.
    OnStaleLink,
}

impl Flight {
    pub(super) fn new(core: &Arc<Core>, group: usize, call: Call, request: Request, done: Done) -> Arc<Self> {
        let began = Instant::now();
        let time = call.timeout.unwrap_or(core.config.timeout);
        let state = State {
            done: Some(done),
            live: Vec::new(),
            tried: Vec::new(),
            tries: 0,
            retries_left: core.config.retries,
            stale_left: true,
            backup_at: core.config.backup_after.map(|after| began + after),
        };
        Arc::new(Self {
            core: Arc::clone(core),
            group,
            request,
            key: call.key.unwrap_or_default(),
            idempotent: call.idempotent,
            began,
            time,
            deadline: began + time,
            over: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn tried(&self) -> Vec<Arc<Server>> {
        self.state.lock().tried.clone()
    }

    /// When [`tick`](Self::tick) is next worth calling; `None` once it is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.done.as_ref()?;
        Some(state.backup_at.map_or(self.deadline, |backup_at| backup_at.min(self.deadline)))
    }

    fn place(&self, server: Option<&Arc<Server>>) -> Place {
        Place { upstream: Arc::clone(&self.core.name), server: server.map(|server| Arc::clone(&server.name)) }
    }

    /// A request is about to be made on `link`; `false` if the call is over.
    pub(super) fn take_off(&self, server: &Arc<Server>, link: &Arc<Link>) -> bool {
        let mut state = self.state.lock();
        if state.done.is_none() {
            return false;
        }
        state.live.push((Arc::clone(server), Arc::downgrade(link)));
        state.tried.push(Arc::clone(server));
        state.tries += 1;
        true
    }

    /// Nothing came of the request that was about to be made on `link`.
    pub(super) fn stay_on_ground(&self, link: &Arc<Link>) {
        let mut state = self.state.lock();
        state.live.retain(|(_, live)| !std::ptr::eq(live.as_ptr(), Arc::as_ptr(link)));
        state.tried.pop();
        state.tries -= 1;
    }

    /// The outcome, unless there is one. Others that may still answer are called off.
    pub(super) fn finish(&self, outcome: Result<Answer, CallError>) {
        let (done, live, tries) = {
            let mut state = self.state.lock();
            (state.done.take(), std::mem::take(&mut state.live), state.tries)
        };
        let Some(done) = done else { return };
        self.over.store(true, Ordering::Release);
        let took = self.began.elapsed();
        let (stats, limiter) = (&self.core.stats, &self.core.limiter);
        match &outcome {
            Ok(answer) => {
                stats.answers.add();
                if answer.by_backup {
                    stats.backups_won.add();
                }
            }
            Err(error) => stats.errors.add(error),
        }
        let tells = matches!(outcome, Ok(_) | Err(CallError::Timeout { .. }));
        limiter.leave(tells.then_some(took));
        for link in live.iter().filter_map(|(_, link)| link.upgrade()) {
            link.poke(&self.core);
        }
        done(outcome.map(|answer| Answer { tries, took, ..answer }));
    }

    /// A request was not answered: another one is made, or this was the last.
    pub(super) fn request_failed(
        self: &Arc<Self>,
        server: &Arc<Server>,
        link: &Arc<Link>,
        error: CallError,
        sent: Sent,
    ) {
        let mut state = self.state.lock();
        if state.done.is_none() {
            return;
        }
        state.live.retain(|(_, live)| !std::ptr::eq(live.as_ptr(), Arc::as_ptr(link)));
        if !state.live.is_empty() {
            // The other one may still be answered.
            return;
        }
        let now = Instant::now();
        if now >= self.deadline {
            drop(state);
            self.time_out(Some(server));
            return;
        }
        let stopping = matches!(error, CallError::Stopping { .. });
        if !stopping && (sent == Sent::NotYet || (sent == Sent::OnStaleLink && std::mem::take(&mut state.stale_left))) {
            drop(state);
            self.core.stats.stale.add();
            return self.core.dispatch(self, Way::Again(server));
        }
        let may = sent == Sent::No || self.idempotent || self.core.config.retry_sent;
        if stopping || !may || state.retries_left == 0 {
            drop(state);
            self.finish(Err(error));
            return;
        }
        state.retries_left -= 1;
        drop(state);
        if self.core.may_ask_twice() {
            self.core.stats.retries.add();
            self.core.dispatch(self, Way::Anybody);
        } else {
            self.finish(Err(error));
        }
    }

    fn time_out(&self, server: Option<&Arc<Server>>) {
        self.finish(Err(CallError::Timeout { at: self.place(server), after: self.time }));
    }

    /// Its time may be over, or it is time to ask another server, too.
    pub(super) fn tick(self: &Arc<Self>, now: Instant) {
        let mut state = self.state.lock();
        if state.done.is_none() {
            return;
        }
        if now >= self.deadline {
            let live: Vec<_> = state.live.iter().map(|(server, _)| Arc::clone(server)).collect();
            drop(state);
            for server in &live {
                let at = self.place(Some(server));
                self.core.request_failed(server, &CallError::Timeout { at, after: self.time });
            }
            return self.time_out(live.first());
        }
        if state.backup_at.is_some_and(|at| now >= at) {
            state.backup_at = None;
            let asked = !state.live.is_empty();
            drop(state);
            // Who waits in a queue has nobody to be quicker than.
            if asked {
                self.core.dispatch(self, Way::Backup);
            }
        }
    }

    pub(super) fn fail(&self, error: impl FnOnce(Place) -> CallError, server: Option<&Arc<Server>>) {
        self.finish(Err(error(self.place(server))));
    }
}

impl Drop for Flight {
    /// Whatever becomes of a call, its caller hears of it.
    fn drop(&mut self) {
        if !self.is_over() {
            self.fail(|at| CallError::Stopping { at }, None);
        }
    }
}

/// One request of a call, for as long as its server may work on it.
pub(super) struct Attempt {
    pub(super) flight: Arc<Flight>,
    pub(super) server: Arc<Server>,
    pub(super) backup: bool,
    trial: bool,
    pub(super) began: Instant,
    /// Written to the connection, which had been idle if so said.
    pub(super) sent: Option<bool>,
}

impl Attempt {
    /// `trial`: it is the one that tries whether its server is back.
    pub(super) fn new(flight: &Arc<Flight>, server: &Arc<Server>, backup: bool, trial: bool) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        server.stats.requests.add();
        let (flight, server) = (Arc::clone(flight), Arc::clone(server));
        Self { flight, server, backup, trial, began: Instant::now(), sent: None }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.trial {
            self.server.health.end_trial();
        }
    }
}
