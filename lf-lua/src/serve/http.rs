//! `lf.http`: requests and WebSockets for a script.

use super::call::Call;
use super::meter::{Measured, Meter};
use super::pace::Pace;
use super::route::{Found, Route};
use crate::engine::{Command, Completion, Request, Served, Vm};
use crate::script::{Current, Script};
use lf_core::codec::http::{Http, Incoming, Request as Head};
use lf_core::codec::websocket::{CloseCode, Event as SocketEvent, Kind, check_handshake};
use lf_core::{Closed, Context, Handler, Message, Outcome, Peer};
use std::collections::VecDeque;
use std::sync::Arc;

/// What comes while the script looks elsewhere is kept up to this many bytes; the rest waits in the kernel.
const QUEUE_BYTES_MAX: usize = 64 * 1024;
/// A message takes at least this much of it.
const ENTRY_BYTES: usize = 64;

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

/// Serves the connections of an `lf.http`.
#[derive(Clone, Debug)]
pub(crate) struct HttpServer {
    pub(crate) current: Current,
    /// Which of the script's servers it is.
    pub(crate) server: usize,
    /// The largest body, in bytes, where a route says nothing else.
    pub(crate) body_bytes_max: u64,
    /// The longest answer that is not sent in pieces.
    pub(crate) output_bytes_max: usize,
}

/// A connection.
#[derive(Debug, Default)]
pub(crate) enum Exchange {
    /// Between two requests.
    #[default]
    Idle,
    /// The body is on its way.
    Collecting(Box<Collecting>),
    /// A call is in progress.
    Running(Box<Running>),
}

/// A request whose body comes in.
#[derive(Debug)]
pub(crate) struct Collecting {
    /// The numbers of handlers are those of the script that they were found in.
    script: Arc<Script>,
    handler: u32,
    method: String,
    path: String,
    query: Option<String>,
    head: Vec<u8>,
    params: Vec<(String, String)>,
    body: Vec<u8>,
    bytes_max: u64,
    meter: Meter,
    pace: Pace,
}

/// A call, and what came for it that it has not asked for yet.
#[derive(Debug)]
pub(crate) struct Running {
    call: Call,
    waiting: VecDeque<Completion>,
    waiting_bytes: usize,
    socket: bool,
}

impl Running {
    fn new(vm: &Arc<Vm>, measured: Measured) -> Self {
        Self { call: Call::new(vm, measured), waiting: VecDeque::new(), waiting_bytes: 0, socket: false }
    }
}

type Cx<'a> = Context<'a, Http, Exchange>;

impl HttpServer {
    fn request(&self, cx: &mut Cx<'_>, request: &Head<'_>) -> Outcome {
        let script = self.current.load();
        let Some(routes) = script.routes(self.server) else { return Err("the script has no such server".into()) };
        match routes.find(request.method(), request.path()) {
            Found::Nothing => cx.respond(404, &[TEXT], b"404 Not Found\n"),
            Found::Methods(methods) => {
                let allow = methods.join(", ");
                if request.method() == "OPTIONS" {
                    cx.respond(204, &[("Allow", &allow)], b"");
                } else {
                    cx.respond(405, &[TEXT, ("Allow", &allow)], b"405 Method Not Allowed\n");
                }
            }
            Found::Route(route, params) => return self.routed(cx, &script, request, (route, params)),
        }
        Ok(())
    }

    fn routed(
        &self,
        cx: &mut Cx<'_>,
        script: &Arc<Script>,
        request: &Head<'_>,
        (route, params): (&Route, Vec<(String, String)>),
    ) -> Outcome {
        let bytes_max = route.max_body.unwrap_or(self.body_bytes_max);
        if request.content_length().is_some_and(|bytes| bytes > bytes_max) {
            let text = format!("413 Content Too Large: {bytes_max} bytes at most\n");
            cx.respond(413, &[TEXT], text.as_bytes());
            return Ok(());
        }
        if let Some(accept) = route.websocket {
            return self.socket(cx, script, request, (route, accept, &params));
        }
        if request.has_body() && !route.stream {
            cx.accept_body();
            *cx.state = Exchange::Collecting(Box::new(Collecting {
                script: Arc::clone(script),
                handler: route.handler,
                method: request.method().into(),
                path: request.path().into(),
                query: request.query().map(Into::into),
                head: request.field_lines().to_vec(),
                params,
                body: Vec::new(),
                bytes_max,
                meter: route.meter.clone(),
                pace: route.pace.clone(),
            }));
            return Ok(());
        }
        let call = Request {
            handler: route.handler,
            token: cx.token(),
            peer: cx.peer(),
            method: request.method(),
            path: request.path(),
            query: request.query(),
            head: request.field_lines(),
            params: &params,
        };
        let (measured, stream) = (route.meter.begin(), route.stream && request.has_body());
        route.pace.run(cx, |cx| self.call(cx, script, measured, &call, None, stream))
    }

    /// Calls the script, and answers what it says; or leaves the call to go on.
    fn call(
        &self,
        cx: &mut Cx<'_>,
        script: &Script,
        mut measured: Measured,
        request: &Request<'_>,
        body: Option<&[u8]>,
        stream: bool,
    ) -> Outcome {
        script.pool(cx.group()).with(|vm, mut engine| {
            let mut failed = false;
            let (served, commands) = engine.http(request, body, stream, |whole| {
                failed = whole.status >= 500;
                let kind = whole.kind().map(String::from_utf8_lossy);
                let fields = whole.fields();
                let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                self.respond(cx, whole.status, kind.as_deref(), &fields, whole.body);
            });
            if served != Served::Suspended {
                let what = format_args!("{} {} from {}", request.method, request.path, request.peer);
                measured.end(failed || served == Served::Failed, what);
            } else {
                *cx.state = Exchange::Running(Box::new(Running::new(vm, measured)));
                if stream {
                    cx.hold();
                }
            }
            for command in Command::read_all(&commands) {
                self.carry_out(cx, &command);
            }
            if served == Served::ByItself {
                settle(cx);
            }
            if served == Served::Failed {
                cx.respond(500, &[TEXT], b"500 Internal Server Error\n");
            }
            if failed || served == Served::Failed {
                // What went wrong may have filled the VM; who asked does not wait until that is cleaned.
                cx.flush();
            }
            Ok(())
        })?
    }

    /// Answers. `kind` is the type: text if there is none, and not said where it is empty, as it is among the fields then.
    fn respond(&self, cx: &mut Cx<'_>, status: u16, kind: Option<&str>, fields: &[(&str, &str)], body: &[u8]) {
        if body.len() > self.output_bytes_max {
            let limit = self.output_bytes_max;
            tracing::error!(bytes = body.len(), limit, "the answer is too large; send it in pieces with res:flush()");
            return cx.respond(500, &[TEXT], b"500 Internal Server Error\n");
        }
        let kind = match kind {
            Some("") => return cx.respond(status, fields, body),
            Some(kind) => ("Content-Type", kind),
            None => TEXT,
        };
        if fields.is_empty() {
            return cx.respond(status, &[kind], body);
        }
        let all: Vec<_> = std::iter::once(kind).chain(fields.iter().copied()).collect();
        cx.respond(status, &all, body);
    }

    /// Opens a WebSocket if the script admits it, and begins its call.
    fn socket(
        &self,
        cx: &mut Cx<'_>,
        script: &Script,
        request: &Head<'_>,
        (route, accept, params): (&Route, Option<u32>, &[(String, String)]),
    ) -> Outcome {
        let mut call = Request {
            handler: route.handler,
            token: cx.token(),
            peer: cx.peer(),
            method: request.method(),
            path: request.path(),
            query: request.query(),
            head: request.field_lines(),
            params,
        };
        let headers = |name: &str| request.headers(name).collect::<Vec<_>>();
        if check_handshake(request.method(), request.version_minor(), headers).is_err() || request.has_body() {
            // It knows what to answer.
            cx.upgrade(request, &[]);
            return Ok(());
        }
        script.pool(cx.group()).with(|vm, mut engine| {
            if let Some(accept) = accept {
                call.handler = accept;
                let (status, text) = engine.accept(&call);
                if status != 101 {
                    let text = text.unwrap_or_else(|| format!("{status}\n"));
                    cx.respond(status, &[TEXT], text.as_bytes());
                    return Ok(());
                }
                call.handler = route.handler;
            }
            if !cx.upgrade(request, &[]) {
                return Ok(());
            }
            let mut running = Running::new(vm, Measured::default());
            running.socket = true;
            *cx.state = Exchange::Running(Box::new(running));
            let commands = engine.websocket(&call);
            for command in Command::read_all(&commands) {
                self.carry_out(cx, &command);
            }
            Ok(())
        })?
    }

    /// Does what the script wants of the connection.
    fn carry_out(&self, cx: &mut Cx<'_>, command: &Command<'_>) {
        match *command {
            Command::Respond { status, kind, fields, body } => {
                let fields: Vec<_> = fields.iter().collect();
                self.respond(cx, status, Some(&String::from_utf8_lossy(kind)), &fields, body);
                done(cx, status >= 500);
            }
            Command::Start { status, fields } => {
                let fields: Vec<_> = fields.iter().collect();
                cx.start(status, &fields);
            }
            Command::Chunk(bytes) => cx.chunk(bytes),
            Command::Finish => {
                cx.finish();
                settle(cx);
                done(cx, false);
            }
            Command::Close => {
                cx.close();
                done(cx, true);
            }
            Command::Want(ticket) => want(cx, ticket),
            Command::Unwant(ticket) => {
                if let Exchange::Running(running) = &mut *cx.state {
                    running.call.unwants(ticket);
                }
            }
            Command::Drained(ticket) => {
                cx.flush();
                let unsent_bytes = cx.unsent_bytes();
                if let Exchange::Running(running) = &mut *cx.state {
                    running.call.tells_drained(ticket, unsent_bytes);
                }
            }
            Command::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => cx.send_text(text),
                // A text message that is none would end the connection at the other side.
                Err(_) => cx.send_binary(bytes),
            },
            Command::Binary(bytes) => cx.send_binary(bytes),
            Command::Ping(bytes) => {
                if let Err(error) = cx.ping(bytes) {
                    tracing::warn!(%error, "a ping of the script was not sent");
                }
            }
            Command::CloseSocket { code, reason } => {
                let code = CloseCode::new(code).unwrap_or(CloseCode::NORMAL);
                cx.close_socket(code, &String::from_utf8_lossy(reason));
                cx.release_hold();
            }
            Command::Send(_) | Command::Release | Command::Watch => {
                tracing::error!("a command of lf.tcp for a connection of lf.http");
            }
        }
    }

    fn body(&self, cx: &mut Cx<'_>, bytes: &[u8], last: bool) -> Outcome {
        match &mut *cx.state {
            Exchange::Idle => Ok(()),
            Exchange::Running(_) => {
                arrive(cx, Completion::Piece(bytes.to_vec(), last), bytes.len());
                Ok(())
            }
            Exchange::Collecting(collecting) => {
                if (collecting.body.len() + bytes.len()) as u64 > collecting.bytes_max {
                    let text = format!("413 Content Too Large: {} bytes at most\n", collecting.bytes_max);
                    *cx.state = Exchange::Idle;
                    cx.respond(413, &[TEXT], text.as_bytes());
                    return Ok(());
                }
                collecting.body.extend_from_slice(bytes);
                if !last {
                    return Ok(());
                }
                let Exchange::Collecting(whole) = std::mem::take(cx.state) else { return Ok(()) };
                let call = Request {
                    handler: whole.handler,
                    token: cx.token(),
                    peer: cx.peer(),
                    method: &whole.method,
                    path: &whole.path,
                    query: whole.query.as_deref(),
                    head: &whole.head,
                    params: &whole.params,
                };
                let measured = whole.meter.begin();
                whole.pace.run(cx, |cx| self.call(cx, &whole.script, measured, &call, Some(&whole.body), false))
            }
        }
    }
}

/// The call is over. A script that has been at its request's inner parts may say that it has answered, and has not.
fn settle(cx: &mut Cx<'_>) {
    if cx.awaits_answer() {
        tracing::error!("the script says that it has answered, and has not");
        cx.respond(500, &[TEXT], b"500 Internal Server Error\n");
    } else if cx.answer_begun() {
        tracing::error!("the script has left its answer half done; the connection is closed");
        cx.close();
    }
}

/// The call has answered.
fn done(cx: &mut Cx<'_>, failed: bool) {
    let peer = cx.peer();
    if let Exchange::Running(mut running) = std::mem::take(cx.state) {
        running.call.measured.end(failed, format_args!("HTTP from {peer}"));
    }
    cx.release_hold();
}

/// Something came for the call that is in progress.
fn arrive(cx: &mut Cx<'_>, what: Completion, bytes: usize) {
    let Exchange::Running(running) = &mut *cx.state else { return };
    if running.call.is_wanted() {
        running.call.hand(what);
        return;
    }
    running.waiting.push_back(what);
    running.waiting_bytes += bytes + ENTRY_BYTES;
    if running.waiting_bytes > QUEUE_BYTES_MAX {
        cx.hold();
    }
}

/// The script wants the next piece or message.
fn want(cx: &mut Cx<'_>, ticket: f64) {
    let Exchange::Running(running) = &mut *cx.state else { return };
    running.call.wants(ticket);
    match running.waiting.pop_front() {
        Some(what) => {
            running.waiting_bytes -= bytes_of(&what) + ENTRY_BYTES;
            running.call.hand(what);
        }
        None => {
            let socket = running.socket;
            if !socket {
                cx.accept_body();
            }
            cx.release_hold();
        }
    }
}

fn bytes_of(what: &Completion) -> usize {
    match what {
        Completion::Piece(bytes, _) | Completion::Message(bytes, _) | Completion::Bytes(bytes) => bytes.len(),
        Completion::Done
        | Completion::Timeout
        | Completion::Connected(..)
        | Completion::Answered(_)
        | Completion::Failed(_) => 0,
    }
}

impl Handler<Http> for HttpServer {
    type State = Exchange;

    fn open(&self, _peer: &Peer) -> Exchange {
        Exchange::Idle
    }

    fn frame(&self, cx: &mut Cx<'_>, incoming: Incoming<'_>) -> Outcome {
        match incoming {
            Incoming::Request(request) => self.request(cx, &request),
            Incoming::Body { bytes, last } => self.body(cx, bytes, last),
            Incoming::Socket(event) => {
                socket_event(cx, event);
                Ok(())
            }
        }
    }

    fn message(&self, cx: &mut Cx<'_>, message: &Message) -> Outcome {
        for command in Command::read_all(message) {
            self.carry_out(cx, &command);
        }
        Ok(())
    }

    fn drained(&self, cx: &mut Cx<'_>) -> Outcome {
        if let Exchange::Running(running) = &mut *cx.state {
            running.call.is_drained();
        }
        Ok(())
    }

    fn draining(&self, cx: &mut Cx<'_>) -> Outcome {
        // A call goes on until it has answered; a WebSocket has no end of its own.
        if cx.is_socket() {
            cx.close_socket(CloseCode::GOING_AWAY, "the server stops");
            cx.release_hold();
        }
        Ok(())
    }

    fn kept_bytes(&self, state: &Exchange) -> usize {
        match state {
            Exchange::Idle | Exchange::Collecting(_) => 0,
            Exchange::Running(running) => running.waiting_bytes,
        }
    }

    fn closed(&self, state: &mut Exchange, closed: &Closed) {
        if let Exchange::Running(mut running) = std::mem::take(state) {
            if !running.waiting.is_empty() {
                let left = std::mem::take(&mut running.waiting).into();
                running.call.vm.post(crate::engine::Event::Left(closed.token, left));
            }
            running.call.end(closed.token, "closed");
        }
    }
}

fn socket_event(cx: &mut Cx<'_>, event: SocketEvent) {
    if let Some((kind, message)) = cx.take_event(event) {
        let bytes = message.len();
        arrive(cx, Completion::Message(message, kind == Kind::Text), bytes);
    }
}
