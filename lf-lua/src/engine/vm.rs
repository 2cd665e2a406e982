//! A VM: a Lua state with a script in it, and the calls that go on in it.

use super::command::Command;
use super::deadlines::Deadlines;
use super::host::Host;
use super::runtime;
use super::seal::Seal;
use super::sys::{self, Arg, Entry, Gate, Returned};
use crate::api;
use crate::script::Framing;
use hashbrown::{HashMap, HashSet};
use lf_core::codec::NsheadHeader;
use lf_core::strand::{Actor, Owner, Strand};
use lf_core::upstream::{CallError, RespValue};
use lf_core::{Peer, Token};
use mlua::{Function, Lua, Table};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// What a run answers: bits of a number, as in `tasks.lua`.
const SUSPENDED: u32 = 1;
const READY: u32 = 2;
const CLOSE: u32 = 4;
const FAILED: u32 = 8;

/// A script, as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// How it is named in errors.
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
    /// Goes before `package.path`.
    pub(crate) lua_path: Option<String>,
    /// It gets no access to the machine.
    pub(crate) untrusted: bool,
    /// What is typed comes in here.
    pub(crate) console: Option<String>,
    /// It is one of the original's: no main chunk, but what to do for each frame.
    pub(crate) compat: Option<Compat>,
}

/// How a script of the original is served.
#[derive(Clone, Debug)]
pub(crate) struct Compat {
    pub(crate) listen: String,
    pub(crate) framing: Framing,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LoadError(String);

impl LoadError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<mlua::Error> for LoadError {
    fn from(error: mlua::Error) -> Self {
        Self(error.to_string())
    }
}

/// What the main chunk defined: a table for each server, in order.
pub(crate) type Definitions = Vec<Table>;

/// What a suspended call goes on with.
#[derive(Debug)]
pub(crate) enum Completion {
    /// What it waited for has happened.
    Done,
    /// It has waited long enough.
    Timeout,
    /// Bytes: a frame, or what a socket had.
    Bytes(Vec<u8>),
    /// A piece of a body, and whether it is the last.
    Piece(Vec<u8>, bool),
    /// A WebSocket message, and whether it is text.
    Message(Vec<u8>, bool),
    /// A connection is there; from where, if that has a name.
    Connected(Token, Peer, Option<SocketAddr>),
    /// An upstream has answered, or not.
    Answered(Box<Result<lf_core::upstream::Answer, CallError>>),
    /// It will not happen.
    Failed(String),
}

/// What others leave for a VM.
#[derive(Debug)]
pub(crate) enum Event {
    /// The call with this ticket may go on.
    Complete(f64, Completion),
    /// A connection with a call has ended; whether the script watches it.
    Closed(Token, bool),
    /// Deadlines may have passed.
    Tick,
    /// Threads may go on.
    Ready,
    /// A connection has ended before the script took these.
    Left(Token, Vec<Completion>),
    /// A file of tests is to be run.
    Test(Tests),
    /// The script was replaced.
    Retire,
}

/// A file of tests.
#[derive(Debug)]
pub(crate) struct Tests {
    pub(crate) name: String,
    pub(crate) text: Vec<u8>,
    /// What the script's servers speak, and where they are.
    pub(crate) servers: Vec<(String, String)>,
    /// Gets what came of each test.
    pub(crate) report: Sender<Report>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Passed { name: String },
    Failed { name: String, why: String },
    End,
}

/// What the calls of a script share with Rust while they run.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// The connection in whose turn a call runs.
    pub(crate) current: Option<Token>,
    pub(crate) peer: Option<Peer>,
    /// The header fields of its request.
    pub(crate) head: Vec<u8>,
    /// What the script wants of that connection.
    pub(crate) commands: Vec<u8>,
    pub(crate) deadlines: Deadlines,
    /// Calls that wait for connections, each with its ticket. What asks a connection to tell them may be lost with it.
    pub(crate) waits: HashMap<Token, f64>,
    /// Connections whose calls are suspended here.
    pub(crate) suspended: HashSet<Token>,
}

/// An HTTP request, as a call needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) handler: u32,
    pub(crate) token: Token,
    pub(crate) peer: Peer,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// The lines of the header fields.
    pub(crate) head: &'a [u8],
    pub(crate) params: &'a [(String, String)],
}

/// What came of a call for an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It goes on.
    Suspended,
    /// The answer was handed over.
    Whole,
    /// It has answered in pieces.
    ByItself,
    /// Nothing came back.
    Failed,
}

/// A whole answer, where the script has left it.
pub(crate) struct Whole<'a> {
    returned: &'a Returned,
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Whole<'_> {
    /// The content type; empty if it is among the fields.
    pub(crate) fn kind(&self) -> Option<&[u8]> {
        self.returned.bytes(3)
    }

    /// Names and values of fields; those that are not UTF-8 are left out.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let (mut fields, mut name) = (Vec::new(), None);
        self.returned.each(4, |bytes| {
            let text = String::from_utf8(bytes.to_vec()).ok();
            match name.take() {
                None => name = Some(text),
                Some(name) => fields.extend(name.zip(text)),
            }
        });
        fields
    }
}

fn kind_of(text: bool) -> &'static str {
    if text { "text" } else { "binary" }
}

/// The functions of the prelude.
struct Calls {
    gate: Gate,
    http: Entry,
    http_stream: Entry,
    websocket: Entry,
    accept: Entry,
    tcp: Entry,
    nshead: Entry,
    complete: Function,
    complete_with: Entry,
    closed: Entry,
    drain: Entry,
    left: Entry,
    retire: Entry,
    counts: Entry,
}

/// The Lua state and what goes with it. Whoever works with it owns the strand.
pub(crate) struct Engine {
    lua: Lua,
    calls: Calls,
    internals: Table,
    pub(crate) stage: Arc<Mutex<Stage>>,
    host: Arc<Host>,
    watch: Arc<sys::Watch>,
    timer: Arc<Timer>,
    seal: Seal,
    /// Whose engine it is.
    link: Arc<OnceLock<Weak<Vm>>>,
}

/// The task of lf-core that wakes a VM when a deadline passes.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    token: OnceLock<Token>,
    /// When it is set to; `u64::MAX` when it is not.
    armed_ms: AtomicU64,
}

/// A VM of a group.
pub(crate) struct Vm {
    strand: Strand<Engine>,
    /// Calls that it has served.
    calls: AtomicU32,
    /// No other VM of this server has it.
    pub(crate) number: u64,
    pub(crate) group: usize,
    watch: Arc<sys::Watch>,
    timer: Arc<Timer>,
    stage: Arc<Mutex<Stage>>,
    host: Arc<Host>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Vm").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Closes the connections whose calls are suspended.
fn abandon(stage: &Mutex<Stage>, host: &Host) {
    let suspended = {
        let mut stage = stage.lock();
        stage.waits.clear();
        std::mem::take(&mut stage.suspended)
    };
    for token in suspended {
        let _ = host.send(token, &Command::Close);
    }
}

impl Vm {
    /// A VM with the script run in it, and what that defined.
    pub(crate) fn new(host: &Arc<Host>, source: &Source, group: usize) -> Result<(Arc<Self>, Definitions), LoadError> {
        let lua = sys::new_lua(source.untrusted)?;
        let stage = Arc::new(Mutex::new(Stage::default()));
        let link = Arc::new(OnceLock::<Weak<Self>>::new());
        let number = host.next_vm();
        let watch = Arc::new(sys::Watch::new(&lua, number, group));
        let seal = Seal::new(source.untrusted);
        let internals = runtime::install(&lua, host, &stage, &link, source, &watch, &seal)?;
        host.watch(&watch);
        let for_script = Arc::clone(&watch);
        internals.set(
            "disarm",
            lua.create_function(move |_, ()| {
                for_script.disarm();
                Ok(())
            })?,
        )?;
        watch.loading(|| runtime::run_main(&lua, &internals, source))?;
        let definitions: Table = internals.get("definitions")?;
        let definitions = definitions.sequence_values::<Table>().collect::<mlua::Result<Definitions>>()?;
        let entry = |name: &str| Entry::new(&lua, &internals.get(name)?);
        let calls = Calls {
            gate: Gate::new(&lua)?,
            http: entry("http")?,
            http_stream: entry("http_stream")?,
            websocket: entry("websocket")?,
            accept: entry("accept")?,
            tcp: entry("tcp")?,
            nshead: entry("nshead")?,
            complete: internals.get("complete")?,
            complete_with: entry("complete")?,
            closed: entry("closed")?,
            drain: entry("drain")?,
            left: entry("left")?,
            retire: entry("retire")?,
            counts: entry("counts")?,
        };
        let timer = Arc::new(Timer { token: OnceLock::new(), armed_ms: AtomicU64::new(u64::MAX) });
        let engine = Engine {
            lua,
            calls,
            internals,
            stage: Arc::clone(&stage),
            host: Arc::clone(host),
            watch: Arc::clone(&watch),
            timer: Arc::clone(&timer),
            seal,
            link: Arc::clone(&link),
        };
        let for_relief = Arc::clone(&link);
        let strand = Strand::new(engine, move || {
            if let Some(vm) = for_relief.get().and_then(Weak::upgrade) {
                vm.relieve();
            }
        });
        let vm = Arc::new(Self {
            strand,
            calls: AtomicU32::new(0),
            number,
            group,
            watch,
            timer,
            stage,
            host: Arc::clone(host),
        });
        let _ = link.set(Arc::downgrade(&vm));
        Ok((vm, definitions))
    }

    /// Owns the VM, unless somebody does.
    pub(crate) fn try_own(&self) -> Option<Owner<'_, Engine>> {
        self.strand.try_own()
    }

    /// Has an event served, here or by who owns the VM.
    pub(crate) fn post(&self, event: Event) {
        self.strand.post(event);
    }

    /// Has what was left for it served by its timer, in a turn of that: nobody's client waits for it.
    fn relieve(&self) {
        if !self.timer.token.get().is_some_and(|timer| self.host.relieve(*timer)) {
            // The server does not run yet, or no more.
            self.serve();
        }
    }

    /// Serves what was left for it.
    pub(crate) fn serve(&self) {
        self.strand.serve();
    }

    /// Lets a suspended call go on.
    pub(crate) fn complete(&self, ticket: f64, with: Completion) {
        self.post(Event::Complete(ticket, with));
    }

    /// The server runs: timers of the script begin.
    pub(crate) fn begin(self: &Arc<Self>) {
        if self.host.remote().is_none() {
            return;
        }
        if let Some(token) = self.host.start_timer(self) {
            let _ = self.timer.token.set(token);
        }
        self.post(Event::Ready);
    }

    /// How long its timer has to wait for the first deadline; it counts as set from here on.
    pub(crate) fn arm(&self) -> Option<Duration> {
        let next_ms = self.stage.lock().deadlines.next_ms();
        self.timer.armed_ms.store(next_ms.unwrap_or(u64::MAX), Ordering::SeqCst);
        Some(Duration::from_millis(next_ms?.saturating_sub(self.host.now_ms())))
    }

    /// Ends the calls that wait in it, with their connections.
    pub(crate) fn abandon(&self) {
        self.watch.condemn();
        abandon(&self.stage, &self.host);
    }

    /// Counts a call; whether it is one that is looked after, as one in so many is.
    pub(crate) fn is_due(&self, calls: u32) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % calls == calls - 1
    }

    /// Whether another one has to take its place.
    pub(crate) fn is_broken(&self) -> bool {
        self.watch.is_broken()
    }

    /// Its timer has fired.
    pub(crate) fn tick(&self) {
        self.timer.armed_ms.store(u64::MAX, Ordering::SeqCst);
        self.post(Event::Tick);
    }
}

impl Engine {
    /// Runs a function of the prelude. What fails there is a defect of ours, or the work of a script that leads it astray; it is
    /// logged, and `None`.
    fn call(&self, entry: Entry, args: &[Arg<'_>]) -> Option<Returned> {
        self.watch.begin();
        let result = sys::call(&self.lua, self.calls.gate, entry, args);
        self.watch.end();
        result.map_err(|error| self.fails(&error)).ok()
    }

    /// The driver has failed: nobody knows what it has left undone. Calls that wait here would wait for ever.
    fn fails(&self, error: &str) {
        tracing::error!(%error, "a call into the script's VM failed");
        self.watch.condemn();
        abandon(&self.stage, &self.host);
    }

    /// The turn of a connection is over, and its call goes on.
    fn suspends(&self, token: Token) {
        self.stage.lock().suspended.insert(token);
    }

    /// Runs a function that answers flags.
    fn flags(&self, entry: Entry, args: &[Arg<'_>]) -> u32 {
        self.call(entry, args).map_or(0, |returned| returned.u32(0))
    }

    /// Sees to it that the timer fires in time for the first deadline.
    fn arm_timer(&self) {
        // Let go of the lock first: the timer may be told on this very thread, and asks for it.
        let next_ms = self.stage.lock().deadlines.next_ms();
        self.arm_timer_at(next_ms);
    }

    fn arm_timer_at(&self, next_ms: Option<u64>) {
        let Some(next_ms) = next_ms else { return };
        if next_ms < self.timer.armed_ms.load(Ordering::SeqCst)
            && let Some(token) = self.timer.token.get()
        {
            self.timer.armed_ms.store(next_ms, Ordering::SeqCst);
            self.host.remind(*token);
        }
    }

    fn enter(&self, token: Token, peer: Peer, head: &[u8]) {
        let mut stage = self.stage.lock();
        stage.current = Some(token);
        stage.peer = Some(peer);
        stage.head.clear();
        stage.head.extend_from_slice(head);
    }

    /// The turn of the current connection goes on without the script. Answers what it wants of it.
    fn leave(&self) -> Vec<u8> {
        let mut stage = self.stage.lock();
        stage.current = None;
        let (commands, next_ms) = (std::mem::take(&mut stage.commands), stage.deadlines.next_ms());
        drop(stage);
        self.arm_timer_at(next_ms);
        commands
    }

    /// Has threads that may go on run after the turn of the connection: its answer does not wait for them.
    fn ready(&self, flags: u32) {
        if flags & READY != 0
            && let Some(vm) = self.link.get().and_then(Weak::upgrade)
        {
            vm.post(Event::Ready);
        }
    }

    /// Runs threads that may go on, all within one budget.
    fn drain(&self, flags: u32) {
        if flags & READY == 0 || self.flags(self.calls.drain, &[ROUNDS.into()]) & READY == 0 {
            return;
        }
        // What they set going goes on soon, but others come first.
        self.stage.lock().deadlines.set(NOBODY, self.host.now_ms() + 1);
        self.arm_timer();
    }

    /// Calls a function with what is known of a request. `f` reads what it returns.
    fn request<R>(
        &self,
        entry: Entry,
        request: &Request<'_>,
        body: Option<&[u8]>,
        f: impl FnOnce(Option<&Returned>) -> R,
    ) -> R {
        self.enter(request.token, request.peer, request.head);
        let (slot, generation) = self.seal.split(request.token);
        let fixed = [
            request.handler.into(),
            slot.into(),
            generation.into(),
            request.method.into(),
            request.path.into(),
            request.query.map(str::as_bytes).into(),
            body.into(),
        ];
        if request.params.is_empty() {
            return f(self.call(entry, &fixed).as_ref());
        }
        let params = request.params.iter().flat_map(|(name, value)| [name.as_str().into(), value.as_str().into()]);
        let args: Vec<Arg<'_>> = fixed.into_iter().chain(params).collect();
        f(self.call(entry, &args).as_ref())
    }

    /// Serves a request whose body has come whole, or, with `stream`, is still to come. `respond` gets status, type, fields
    /// (name, value, name ...) and body, unless the call is suspended or has answered by itself. Answers whether it is suspended,
    /// and what the script wants of the connection.
    pub(crate) fn http(
        &mut self,
        request: &Request<'_>,
        body: Option<&[u8]>,
        stream: bool,
        respond: impl FnOnce(&Whole<'_>),
    ) -> (Served, Vec<u8>) {
        let entry = if stream { self.calls.http_stream } else { self.calls.http };
        let (flags, served) = self.request(entry, request, body, |returned| {
            let Some(returned) = returned else { return (0, Served::Failed) };
            let flags = returned.u32(0);
            if flags & SUSPENDED != 0 {
                return (flags, Served::Suspended);
            }
            let Some(body) = returned.bytes(2) else { return (flags, Served::ByItself) };
            respond(&Whole { returned, status: u16::try_from(returned.u32(1)).unwrap_or(500), body });
            (flags, Served::Whole)
        });
        let commands = self.leave();
        if served == Served::Suspended {
            self.suspends(request.token);
        }
        self.ready(flags);
        (served, commands)
    }

    /// Whether a WebSocket may be opened: 101, or the status and text to refuse it with.
    pub(crate) fn accept(&mut self, request: &Request<'_>) -> (u16, Option<String>) {
        let answer = self.request(self.calls.accept, request, None, |returned| {
            let Some(returned) = returned else { return (500, None) };
            let text = returned.bytes(1).map(|text| String::from_utf8_lossy(text).into_owned());
            (u16::try_from(returned.u32(0)).unwrap_or(500), text)
        });
        self.leave();
        answer
    }

    /// Begins to serve a WebSocket; what the script wants of it.
    pub(crate) fn websocket(&mut self, request: &Request<'_>) -> Vec<u8> {
        let flags = self.request(self.calls.websocket, request, None, |returned| returned.map_or(0, |it| it.u32(0)));
        let commands = self.leave();
        if flags & SUSPENDED != 0 {
            self.suspends(request.token);
        }
        self.ready(flags);
        commands
    }

    /// Serves a frame of `lf.tcp`. `send` gets what goes out. Answers whether the call is suspended, and what the script wants
    /// of the connection.
    pub(crate) fn tcp(
        &mut self,
        handler: u32,
        (token, peer): (Token, Peer),
        frame: &[u8],
        raw: bool,
        mut send: impl FnMut(&[u8]),
    ) -> (bool, Vec<u8>) {
        self.enter(token, peer, b"");
        let (slot, generation) = self.seal.split(token);
        let args = [handler.into(), slot.into(), generation.into(), Arg::Bytes(frame), Arg::Bool(raw)];
        let flags = self.call(self.calls.tcp, &args).map_or(FAILED, |returned| {
            match returned.bytes(1) {
                Some(frame) => send(frame),
                None => _ = returned.each(1, send),
            }
            returned.u32(0)
        });
        let mut commands = self.leave();
        if flags & (CLOSE | FAILED) != 0 {
            Command::Close.write(&mut commands);
        }
        if flags & SUSPENDED != 0 {
            self.suspends(token);
        }
        self.ready(flags);
        (flags & SUSPENDED != 0, commands)
    }

    /// Serves an nshead request. `respond` gets the answer, and whether the script failed, unless the call is suspended.
    pub(crate) fn nshead(
        &mut self,
        handler: u32,
        (token, peer): (Token, Peer),
        header: &NsheadHeader,
        body: &[u8],
        respond: impl FnOnce(bool, NsheadHeader, &[u8]),
    ) -> (bool, Vec<u8>) {
        self.enter(token, peer, b"");
        let (slot, generation) = self.seal.split(token);
        let NsheadHeader { id, version, log_id, reserved, .. } = *header;
        let args = [
            handler.into(),
            slot.into(),
            generation.into(),
            u32::from(id).into(),
            u32::from(version).into(),
            log_id.into(),
            Arg::Bytes(header.provider_name()),
            reserved.into(),
            Arg::Bytes(body),
        ];
        let (flags, suspended) = self.call(self.calls.nshead, &args).map_or((0, false), |returned| {
            let flags = returned.u32(0);
            let Some(body) = returned.bytes(1) else { return (flags, true) };
            let numbers = (returned.number(2), returned.number(3), returned.number(4), returned.number(6));
            respond(flags & FAILED != 0, header_of(numbers, returned.bytes(5)), body);
            (flags, false)
        });
        let commands = self.leave();
        if suspended {
            self.suspends(token);
        }
        self.ready(flags);
        (suspended, commands)
    }

    /// Bytes that the Lua state uses; if it seems to be more than `limit`, without its garbage.
    pub(crate) fn bytes_after_collecting(&self, limit: usize) -> usize {
        if self.lua.used_memory() > limit {
            let collected = self.watch.loading(|| self.lua.gc_collect());
            if let Err(error) = collected {
                tracing::error!(%error, "a finalizer of the script failed");
            }
        }
        self.lua.used_memory()
    }

    fn complete(&self, ticket: f64, with: &Completion) {
        let number = ticket;
        let ticket = Arg::Number(number);
        let error = |text: &'static str| [ticket, Arg::Nil, text.into()];
        let flags = match with {
            Completion::Done => self.flags(self.calls.complete_with, &[ticket, Arg::Bool(true)]),
            Completion::Timeout => self.flags(self.calls.complete_with, &error("timeout")),
            Completion::Failed(text) => self.flags(self.calls.complete_with, &[ticket, Arg::Nil, text.as_str().into()]),
            Completion::Bytes(bytes) => self.flags(self.calls.complete_with, &[ticket, Arg::Bytes(bytes)]),
            Completion::Piece(bytes, last) => {
                self.flags(self.calls.complete_with, &[ticket, Arg::Bytes(bytes), Arg::Nil, Arg::Bool(*last)])
            }
            Completion::Message(bytes, text) => {
                let args = [ticket, Arg::Bytes(bytes), Arg::Nil, kind_of(*text).into()];
                self.flags(self.calls.complete_with, &args)
            }
            Completion::Connected(token, peer, from) => {
                let (slot, generation) = self.seal.split(*token);
                let (peer, from) = (peer.to_string(), from.map(|from| from.to_string()));
                let from = from.as_ref().map(String::as_bytes).into();
                let args = [ticket, slot.into(), generation.into(), peer.as_str().into(), from];
                self.flags(self.calls.complete_with, &args)
            }
            Completion::Answered(outcome) => self.answered(number, outcome),
        };
        self.drain(flags);
    }

    /// An upstream has answered: that is more than plain values.
    fn answered(&self, ticket: f64, outcome: &Result<lf_core::upstream::Answer, CallError>) -> u32 {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                let text = error.to_string();
                return self.flags(
                    self.calls.complete_with,
                    &[ticket.into(), Arg::Nil, text.as_str().into(), error.label().into()],
                );
            }
        };
        if let Some(value) = &answer.value {
            return self.valued(ticket, value, answer);
        }
        let mut args = Vec::with_capacity(12 + 2 * answer.headers.len());
        args.extend([ticket.into(), Arg::Bytes(&answer.body)]);
        api::upstream::about(answer, |arg| args.push(arg));
        self.flags(self.calls.complete_with, &args)
    }

    /// Redis has answered a value, which may be a tree.
    fn valued(&self, ticket: f64, value: &RespValue, answer: &lf_core::upstream::Answer) -> u32 {
        let value = match api::upstream::value_of(&self.lua, value) {
            Ok(value) => value,
            Err(error) => {
                let text = error.to_string();
                return self.flags(
                    self.calls.complete_with,
                    &[ticket.into(), Arg::Nil, text.as_str().into(), "memory".into()],
                );
            }
        };
        let args = (ticket, value, &*answer.server, answer.tries, answer.took.as_secs_f64(), answer.by_backup);
        self.watch.begin();
        let result = self.calls.complete.call::<u32>(args);
        self.watch.end();
        result.map_err(|error| self.fails(&error.to_string())).unwrap_or(0)
    }

    /// Keeps what a connection has left for who will ask for it.
    fn left(&self, token: Token, left: Vec<Completion>) {
        let (slot, generation) = self.seal.split(token);
        for what in left {
            if let Completion::Message(bytes, text) = what {
                let args = [slot.into(), generation.into(), Arg::Bytes(&bytes), kind_of(text).into()];
                self.flags(self.calls.left, &args);
            }
        }
    }

    /// Calls in progress, those of them that wait, and coroutines that rest.
    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        let counts = |returned: Returned| (returned.u32(0), returned.u32(1), returned.u32(2));
        self.call(self.calls.counts, &[]).map_or((0, 0, 0), counts)
    }

    /// Begins to run a file of tests.
    fn test(&self, tests: Tests) -> mlua::Result<()> {
        runtime::prepare_tests(&self.lua, &self.internals, &tests.servers, tests.report)?;
        let flags: u32 =
            self.internals.get::<Function>("test")?.call((tests.name, self.lua.create_string(&tests.text)?))?;
        self.drain(flags);
        Ok(())
    }

    fn tick(&self) {
        loop {
            let now_ms = self.host.now_ms();
            let Some(ticket) = self.stage.lock().deadlines.expired(now_ms) else { break };
            if ticket == NOBODY {
                self.drain(READY);
            } else {
                self.complete(ticket, &Completion::Timeout);
            }
        }
        self.arm_timer();
    }
}

/// A ticket that no task has: threads may go on.
const NOBODY: f64 = 0.0;

/// Rounds of threads that set others going, before other events have their turn.
const ROUNDS: u32 = 64;

impl Actor for Engine {
    type Event = Event;

    fn event(&mut self, event: Event) {
        if self.watch.is_broken() {
            return abandon(&self.stage, &self.host);
        }
        match event {
            Event::Complete(ticket, with) => self.complete(ticket, &with),
            Event::Closed(token, watched) => {
                let waits = {
                    let mut stage = self.stage.lock();
                    stage.suspended.remove(&token);
                    stage.waits.remove(&token)
                };
                if let Some(ticket) = waits {
                    self.complete(ticket, &Completion::Failed("closed".into()));
                }
                if watched {
                    let (slot, generation) = self.seal.split(token);
                    let flags = self.flags(self.calls.closed, &[slot.into(), generation.into()]);
                    self.drain(flags);
                }
            }
            Event::Tick => self.tick(),
            Event::Ready => self.drain(READY),
            Event::Test(tests) => {
                let name = tests.name.clone();
                let report = tests.report.clone();
                if let Err(error) = self.test(tests) {
                    // Whoever waits for the report has gone, or hears of it.
                    let _ = report.send(Report::Failed { name, why: error.to_string() });
                    let _ = report.send(Report::End);
                }
            }
            Event::Left(token, left) => self.left(token, left),
            Event::Retire => {
                let flags = self.flags(self.calls.retire, &[]);
                self.drain(flags);
            }
        }
        self.arm_timer();
    }
}

/// A header from a script's numbers, which are taken modulo their width.
pub(crate) fn header_of(
    (id, version, log_id, reserved): (Option<f64>, Option<f64>, Option<f64>, Option<f64>),
    provider: Option<&[u8]>,
) -> NsheadHeader {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo the width of the field")]
    let number = |value: Option<f64>| value.unwrap_or(0.0) as i64 as u32;
    let mut header = NsheadHeader {
        #[allow(clippy::cast_possible_truncation, reason = "sixteen bits on the wire")]
        id: number(id) as u16,
        #[allow(clippy::cast_possible_truncation, reason = "sixteen bits on the wire")]
        version: number(version) as u16,
        log_id: number(log_id),
        reserved: number(reserved),
        provider: [0; 16],
    };
    if let Some(provider) = provider {
        let len = provider.len().min(header.provider.len());
        header.provider[..len].copy_from_slice(&provider[..len]);
    }
    header
}
