//! One connection to a server: writes requests, reads answers, and gives its place back.

use super::call::{Answer, CallError, Place};
use super::core::Core;
use super::flight::{Attempt, Flight, Sent};
use super::pool::Next;
use super::probe::ProbeState;
use super::roster::Server;
use super::wire::{Reply, Wire, WireState};
use crate::error::SendError;
use crate::handler::{Closed, Context, Handler, Outcome, Timeout};
use crate::outbox::Message;
use crate::peer::Peer;
use crate::stats::CloseReason;
use crate::token::Token;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// No slot has this number.
const NO_TOKEN: u64 = u64::MAX;

/// What is sent to have a link look at its inbox.
static POKE: LazyLock<Message> = LazyLock::new(|| Message::from([]));

#[derive(Default)]
struct Inbox {
    attempts: VecDeque<Attempt>,
    closed: bool,
}

/// A connection, as its pool and its callers see it.
pub(super) struct Link {
    pub(super) server: Arc<Server>,
    token: AtomicU64,
    /// Calls that it has. Written under the lock of its pool, as is whether it is among the free ones.
    load: AtomicIsize,
    free: AtomicBool,
    /// It takes no further call.
    shunned: AtomicBool,
    closed: AtomicBool,
    /// Whoever serves it has been told to look at it, and has not done so yet.
    poked: AtomicBool,
    /// It is connected: calls have their time kept by its timer.
    opened: AtomicBool,
    /// Some of an answer has come.
    begun: Arc<AtomicBool>,
    inbox: Mutex<Inbox>,
}

impl Link {
    /// A link to be, with one call.
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            token: AtomicU64::new(NO_TOKEN),
            load: AtomicIsize::new(1),
            free: AtomicBool::new(false),
            shunned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            poked: AtomicBool::new(false),
            opened: AtomicBool::new(false),
            begun: Arc::default(),
            inbox: Mutex::default(),
        }
    }

    pub(super) fn name(&self, token: Token) {
        self.token.store(token.to_bits(), Ordering::Release);
    }

    pub(super) fn load(&self) -> usize {
        usize::try_from(self.load.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Answers the new load.
    pub(super) fn add_load(&self, change: isize) -> usize {
        usize::try_from(self.load.fetch_add(change, Ordering::Relaxed) + change).unwrap_or(0)
    }

    pub(super) fn is_free(&self) -> bool {
        self.free.load(Ordering::Relaxed)
    }

    pub(super) fn set_free(&self, free: bool) {
        self.free.store(free, Ordering::Relaxed);
    }

    pub(super) fn is_shunned(&self) -> bool {
        self.shunned.load(Ordering::Relaxed)
    }

    pub(super) fn shun(&self) {
        self.shunned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Leaves a request for who serves the link; gives it back if nobody will any more.
    pub(super) fn push(&self, attempt: Attempt) -> Result<(), Attempt> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(attempt);
        }
        inbox.attempts.push_back(attempt);
        Ok(())
    }

    fn pop(&self) -> Option<Attempt> {
        self.inbox.lock().attempts.pop_front()
    }

    /// Takes nothing more; what is there is answered.
    pub(super) fn close(&self) -> VecDeque<Attempt> {
        self.closed.store(true, Ordering::Release);
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        std::mem::take(&mut inbox.attempts)
    }

    /// Has whoever serves the link look at it. One that is not open yet looks at it then. One that takes several calls does so
    /// once the events that are being served are through: their calls go out with one system call.
    pub(super) fn poke(&self, core: &Core) {
        let token = self.token.load(Ordering::Acquire);
        let Some(bound) = core.base.bound.get() else { return };
        if token == NO_TOKEN {
            return;
        }
        let token = Token::from_bits(token);
        let told = if core.config.pipelines() {
            // Behind what was pushed: whoever clears it sees that.
            if self.poked.swap(true, Ordering::AcqRel) {
                return;
            }
            bound.remote.post(token, Message::clone(&POKE))
        } else {
            bound.remote.send(token, Message::clone(&POKE)).map(drop)
        };
        match told {
            // Who is gone has told about its end, or will.
            Ok(()) | Err(SendError::Gone) => {}
            // It will not hear of what is in its inbox, so it ends.
            Err(SendError::Full | SendError::ServerFull) => {
                bound.remote.close(token);
            }
        }
    }

    /// It is being looked at: who comes from now on has to tell again.
    fn looks(&self) {
        self.poked.swap(false, Ordering::AcqRel);
    }
}

/// What a connection of ours is for.
pub(super) enum State {
    Link(LinkState),
    Probe(ProbeState),
}

/// A link, as who serves it sees it.
pub(super) struct LinkState {
    core: Arc<Core>,
    link: Arc<Link>,
    group: usize,
    /// Requests without an answer, in order.
    flying: VecDeque<Attempt>,
    /// When the timer fires.
    timer_at: Option<Instant>,
    opened: bool,
    /// An answer has come over it.
    proven: bool,
    idle_since: Instant,
}

impl LinkState {
    pub(super) fn new(core: &Arc<Core>, link: &Arc<Link>, group: usize) -> Self {
        Self {
            core: Arc::clone(core),
            link: Arc::clone(link),
            group,
            flying: VecDeque::new(),
            timer_at: None,
            opened: false,
            proven: false,
            idle_since: Instant::now(),
        }
    }

    fn pipelines(&self) -> bool {
        self.core.config.pipelines()
    }

    fn place(&self) -> Place {
        Place { upstream: Arc::clone(&self.core.name), server: Some(Arc::clone(&self.link.server.name)) }
    }
}

/// A turn of a link.
type Cx<'a, 'b> = &'a mut Context<'b, Wire, State>;

fn link_of<'a>(cx: &'a mut Context<'_, Wire, State>) -> Option<&'a mut LinkState> {
    match &mut *cx.state {
        State::Link(state) => Some(state),
        State::Probe(_) => None,
    }
}

/// Writes what waits in the inbox.
fn pump(cx: Cx<'_, '_>) {
    let Some(state) = link_of(cx) else { return };
    state.link.looks();
    if !state.pipelines() && state.flying.front().is_some_and(|attempt| attempt.flight.is_over()) {
        // Its answer is wanted no more, and must not meet another call.
        return cx.abort();
    }
    while let Some(attempt) = link_of(cx).and_then(|state| state.link.pop()) {
        if attempt.flight.is_over() {
            drop(attempt);
            land(cx);
        } else if !write(cx, attempt) {
            // The others stay where they are, and are made again.
            return;
        }
    }
    close_if_unwanted(cx);
}

fn close_if_unwanted(cx: Cx<'_, '_>) {
    let Some(state) = link_of(cx) else { return };
    let link = &state.link;
    let unwanted = link.is_shunned() || state.core.is_retired() || link.server.retired.load(Ordering::Relaxed);
    let pool = state.core.pool(state.group);
    if unwanted && state.flying.is_empty() && pool.is_some_and(|pool| pool.retire(link)) {
        cx.close();
    }
}

/// `false`: the connection ends instead.
fn write(cx: Cx<'_, '_>, mut attempt: Attempt) -> bool {
    let flight = Arc::clone(&attempt.flight);
    let Some(state) = link_of(cx) else { return false };
    let idle = state.flying.is_empty();
    if idle && state.link.begun.load(Ordering::Relaxed) {
        // Something came that nobody asked for: the answer to this call would not be told from it.
        state.flying.push_back(attempt);
        cx.abort();
        return false;
    }
    // Nothing was answered since it was idle.
    let quiet = idle || state.flying.front().is_some_and(|first| first.sent == Some(true));
    attempt.sent = Some(state.proven && quiet);
    state.flying.push_back(attempt);
    cx.codec_state.expect_head_only(flight.request.head_only);
    cx.send_bytes(&flight.request.bytes);
    if let Some(due) = flight.next_due() {
        set_timer(cx, due);
    }
    true
}

/// A call has left: the next one comes, or the link is idle.
fn land(cx: Cx<'_, '_>) {
    loop {
        let Some(state) = link_of(cx) else { return };
        let Some(pool) = state.core.pool(state.group) else { return };
        match pool.release(&state.core, &state.link) {
            Next::Keep => {
                if state.flying.is_empty() {
                    state.idle_since = Instant::now();
                    let due = state.idle_since + state.core.config.idle_timeout;
                    set_timer(cx, due);
                }
                return;
            }
            Next::Close => return cx.close(),
            Next::Serve(flight) => {
                let link = Arc::clone(&state.link);
                if flight.take_off(&link.server, &link) {
                    let attempt = Attempt::new(&flight, &link.server, false, false);
                    if state.pipelines() {
                        write(cx, attempt);
                        return;
                    }
                    // After this turn: what came behind the last answer must not be taken for the next one.
                    let core = Arc::clone(&state.core);
                    let _ = link.push(attempt);
                    return link.poke(&core);
                }
            }
        }
    }
}

/// Sees to it that the timer fires at `due` or earlier.
fn set_timer(cx: Cx<'_, '_>, due: Instant) {
    let Some(state) = link_of(cx) else { return };
    if state.timer_at.is_none_or(|at| due < at) {
        state.timer_at = Some(due);
        cx.set_timer(due.saturating_duration_since(Instant::now()));
    }
}

/// Looks at all that the timer may have been for.
fn look_at_times(cx: Cx<'_, '_>) {
    let Some(state) = link_of(cx) else { return };
    state.timer_at = None;
    let now = Instant::now();
    let flights: Vec<Arc<Flight>> = state.flying.iter().map(|attempt| Arc::clone(&attempt.flight)).collect();
    if flights.iter().any(|flight| flight.deadline <= now)
        && let Some(pool) = state.core.pool(state.group)
    {
        // It may be stuck: nobody else is to wait behind these, not even who is called by their outcome.
        pool.shun(&state.link);
    }
    flights.iter().for_each(|flight| flight.tick(now));
    let over = flights.iter().filter(|flight| flight.is_over()).count();
    let Some(state) = link_of(cx) else { return };
    if over > 0 && over == flights.len() {
        return cx.abort();
    }
    let next = flights.iter().filter_map(|flight| flight.next_due()).min();
    let idle_until = state.idle_since + state.core.config.idle_timeout;
    if flights.is_empty()
        && now >= idle_until
        && state.core.pool(state.group).is_some_and(|pool| pool.retire(&state.link))
    {
        return cx.close();
    }
    set_timer(cx, next.unwrap_or_else(|| idle_until.max(now + Duration::from_millis(1))));
}

fn answer_of(reply: Reply<'_>, attempt: &Attempt) -> Result<(Answer, bool), &'static str> {
    let answer = Answer { server: Arc::clone(&attempt.server.name), by_backup: attempt.backup, ..Answer::default() };
    Ok(match reply {
        Reply::Nshead(frame) if frame.header.log_id != attempt.flight.request.log_id => {
            return Err("it carries the log_id of another request");
        }
        Reply::Nshead(frame) => (Answer { nshead: Some(frame.header), body: frame.body.to_vec(), ..answer }, true),
        Reply::Bytes(body) => (Answer { body: body.to_vec(), ..answer }, true),
        Reply::Http(http) => {
            let (status, headers, body) = (http.status, http.headers, http.body);
            (Answer { status, headers, body, ..answer }, http.keep)
        }
        Reply::Redis(value) => (Answer { value: Some(value), ..answer }, true),
        Reply::Interim => return Err("it is none yet"),
    })
}

fn take_answer(cx: Cx<'_, '_>, reply: Reply<'_>) {
    let Some(state) = link_of(cx) else { return };
    let Some(attempt) = state.flying.pop_front() else {
        tracing::warn!(upstream = %state.core.name, server = %state.link.server.name, "an answer that nobody asked for");
        return cx.abort();
    };
    state.link.begun.store(false, Ordering::Relaxed);
    state.proven = true;
    // The server has seen those behind it: they are no longer calls on a connection that was idle.
    state.flying.iter_mut().take_while(|next| next.sent == Some(true)).for_each(|next| next.sent = Some(false));
    let (core, link, flight) = (Arc::clone(&state.core), Arc::clone(&state.link), Arc::clone(&attempt.flight));
    let head_only = state.flying.front().is_some_and(|next| next.flight.request.head_only);
    let (answer, keep) = match answer_of(reply, &attempt) {
        Ok(answer) => answer,
        Err(reason) => {
            let error = CallError::Malformed { at: state.place(), reason };
            drop(attempt);
            cx.abort();
            core.request_failed(&link.server, &error);
            return flight.request_failed(&link.server, &link, error, Sent::Yes);
        }
    };
    core.server_succeeded(&link.server);
    link.server.stats.times.add(attempt.began.elapsed());
    drop(attempt);
    cx.codec_state.expect_head_only(head_only);
    if !keep {
        cx.close();
    }
    flight.finish(Ok(answer));
    if keep {
        land(cx);
        close_if_unwanted(cx);
    }
}

/// What the end of a connection says to a request that was on it.
fn outcome(closed: &Closed, at: Place, limit: usize) -> CallError {
    let error = closed.error;
    match closed.why {
        CloseReason::ConnectFailed => CallError::Connect { at, error },
        CloseReason::ConnectTimeout => CallError::Connect { at, error: Some(libc::ETIMEDOUT) },
        CloseReason::FrameTooLarge | CloseReason::OutputOverflow => CallError::TooLarge { at, limit },
        CloseReason::Malformed => CallError::Malformed { at, reason: "it is no answer of this protocol" },
        CloseReason::Requested | CloseReason::Drained | CloseReason::Cut => CallError::Stopping { at },
        CloseReason::PeerClosed
        | CloseReason::PeerReset
        | CloseReason::Handler
        | CloseReason::FirstByteTimeout
        | CloseReason::FrameTimeout
        | CloseReason::IdleTimeout
        | CloseReason::WriteStall
        | CloseReason::Truncated
        | CloseReason::HandlerError
        | CloseReason::HandlerPanic
        | CloseReason::System => CallError::Closed { at, error },
    }
}

fn end(state: &mut LinkState, closed: &Closed) {
    let (core, link) = (Arc::clone(&state.core), Arc::clone(&state.link));
    let begun = link.begun.load(Ordering::Relaxed);
    let attempts: Vec<Attempt> = state.flying.drain(..).chain(link.close()).collect();
    let waiting = core.pool(state.group).map(|pool| pool.closed(&link.server, Some(&link))).unwrap_or_default();
    for attempt in attempts {
        let flight = Arc::clone(&attempt.flight);
        let peer_left = matches!(closed.why, CloseReason::PeerClosed | CloseReason::PeerReset);
        let sent = match attempt.sent {
            // Its connection ended just as it was given to it.
            None if state.opened => Sent::NotYet,
            None => Sent::No,
            Some(true) if peer_left && !begun => Sent::OnStaleLink,
            Some(_) => Sent::Yes,
        };
        drop(attempt);
        if flight.is_over() {
            continue;
        }
        let error = outcome(closed, state.place(), core.config.answer_max);
        if matches!(sent, Sent::No | Sent::Yes) {
            core.request_failed(&link.server, &error);
        }
        flight.request_failed(&link.server, &link, error, sent);
    }
    core.dispatch_waiting(waiting);
}

/// Serves links and probes.
pub(super) struct Client;

impl Handler<Wire> for Client {
    type State = State;

    /// Nothing comes in here: a dialer has no listener.
    fn open(&self, _peer: &Peer) -> State {
        State::Probe(ProbeState::nobody())
    }

    fn opened(&self, cx: &mut Context<'_, Wire, State>) -> Outcome {
        let token = cx.token();
        match &mut *cx.state {
            State::Probe(_) => super::probe::opened(cx),
            State::Link(state) => {
                state.opened = true;
                state.link.opened.store(true, Ordering::Release);
                state.link.name(token);
                *cx.codec_state = WireState::new(&state.core.config, Arc::clone(&state.link.begun));
                pump(cx);
            }
        }
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Wire, State>, _poke: &Message) -> Outcome {
        pump(cx);
        Ok(())
    }

    fn frame(&self, cx: &mut Context<'_, Wire, State>, reply: Reply<'_>) -> Outcome {
        match (&*cx.state, reply) {
            (_, Reply::Interim) => {}
            (State::Probe(_), reply) => super::probe::answered(cx, &reply),
            (State::Link(_), reply) => take_answer(cx, reply),
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Context<'_, Wire, State>, which: Timeout) -> Outcome {
        match (&*cx.state, which) {
            (_, Timeout::FirstByte | Timeout::Frame | Timeout::Idle | Timeout::WriteStall) => {}
            (State::Probe(_), Timeout::User) => cx.abort(),
            (State::Link(_), Timeout::User) => look_at_times(cx),
        }
        Ok(())
    }

    fn closed(&self, state: &mut State, closed: &Closed) {
        match state {
            State::Probe(state) => state.ended(),
            State::Link(state) => end(state, closed),
        }
    }
}
