//! The listener for subscribers.

mod deliver;
mod guest;
mod route;

use crate::auth::Auth;
use crate::history::Record;
use crate::hub::{Hub, Welcome};
use crate::origin::Origins;
use crate::position::Position;
use crate::publication::Encoding;
use crate::refusal::{Refusal, method_not_allowed, refusal};
use crate::stats::Transport;
use guest::Session;
use lf_core::codec::http::{Http, Incoming, Request};
use lf_core::codec::websocket::{CloseCode, check_handshake};
use lf_core::{Closed, Context, Handler, Message, Outcome, Peer, Timeout};
use route::{Ask, Route, route};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where to go on from.
const NEXT: &str = "Lf-Next";
const METHODS: &str = "GET, HEAD, OPTIONS";
const DEMO: &str = include_str!("../../assets/demo.html");

/// What happens to messages of a subscriber for whom too much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Slow {
    /// The message that has just come is dropped.
    DropNewest,
    /// The oldest messages that wait are dropped.
    DropOldest,
    /// The subscriber is disconnected.
    Disconnect,
}

/// How subscribers are treated.
#[derive(Clone, Copy, Debug)]
pub struct PublicOptions {
    /// Bytes that may wait for one subscriber.
    pub queue_bytes: usize,
    /// Bytes that may wait for all of them.
    pub queue_total_bytes: usize,
    /// What happens beyond.
    pub slow: Slow,
    /// Silence after which a heartbeat is sent; zero: never.
    pub heartbeat: Duration,
    /// What a browser is told to wait before it comes back; each one is told a little more or less.
    pub retry: Duration,
}

impl Default for PublicOptions {
    fn default() -> Self {
        Self {
            queue_bytes: 256 << 10,
            queue_total_bytes: 512 << 20,
            slow: Slow::Disconnect,
            heartbeat: Duration::from_secs(25),
            retry: Duration::from_secs(3),
        }
    }
}

/// Serves subscribers.
#[derive(Clone, Debug)]
pub struct Public {
    hub: Arc<Hub>,
    options: PublicOptions,
    auth: Auth,
    origins: Origins,
}

/// A connection of the public listener: nobody yet, or a subscriber.
#[derive(Debug)]
pub struct Guest(Option<Session>);

type Cx<'a> = Context<'a, Http, Guest>;
type Fields<'a> = Vec<(&'a str, &'a str)>;

impl Public {
    /// Serves the subscribers of `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, options: PublicOptions, auth: Auth, origins: Origins) -> Self {
        Self { hub, options, auth, origins }
    }

    fn request(&self, cx: &mut Cx<'_>, request: &Request<'_>) {
        let cors = self.origins.fields(request);
        let fields: Fields<'_> = cors.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Err(refusal) = self.try_request(cx, request, &fields) {
            if matches!(refusal.status, 401 | 403) {
                self.hub.stats().unauthorized.add(1);
            }
            // Basic would have browsers ask for a password.
            refusal.answer(cx, &fields, "Bearer");
        }
    }

    fn try_request(&self, cx: &mut Cx<'_>, request: &Request<'_>, cors: &Fields<'_>) -> Result<(), Refusal> {
        match request.method() {
            "GET" | "HEAD" => {}
            "OPTIONS" => {
                let preflight = [
                    ("Allow", METHODS),
                    ("Access-Control-Allow-Methods", "GET, HEAD"),
                    ("Access-Control-Allow-Headers", "Authorization, Last-Event-ID"),
                    ("Access-Control-Max-Age", "86400"),
                ];
                let shown = if cors.is_empty() { 1 } else { preflight.len() };
                cx.respond(204, &[cors.as_slice(), &preflight[..shown]].concat(), b"");
                return Ok(());
            }
            _ => return Err(method_not_allowed(METHODS)),
        }
        match route(request)? {
            Route::Demo => {
                let html = ("Content-Type", "text/html; charset=utf-8");
                let page = [html, ("Cache-Control", "no-cache"), ("X-Frame-Options", "DENY")];
                cx.respond(200, &page, DEMO.as_bytes());
                Ok(())
            }
            Route::Health => {
                cx.respond(200, &[("Content-Type", "text/plain; charset=utf-8")], b"ok\n");
                Ok(())
            }
            Route::Subscribe(ask) => self.subscribe(cx, request, &ask, cors),
        }
    }

    fn subscribe(
        &self,
        cx: &mut Cx<'_>,
        request: &Request<'_>,
        ask: &Ask<'_>,
        cors: &Fields<'_>,
    ) -> Result<(), Refusal> {
        // A browser sends cookies along whichever page asks for a WebSocket.
        let cookies = ask.transport != Transport::Socket || self.origins.trusts(request);
        let expires = self.auth.check(request, &ask.ids, cookies)?;
        let mut fields = cors.clone();
        fields.push(("Cache-Control", "no-store"));
        match ask.transport {
            Transport::Socket => {
                if !self.origins.admits_socket(request) {
                    return Err(refusal(403, "this origin may not open a WebSocket here: see --allow-origin\n"));
                }
                let headers = |name: &str| request.headers(name).collect::<Vec<_>>();
                let checked = check_handshake(request.method(), request.version_minor(), headers);
                if checked.is_err() || request.has_body() {
                    // It knows what to answer; nobody is logged in meanwhile.
                    cx.upgrade(request, &[]);
                    return Ok(());
                }
                let encoding = ask.encoding(true);
                let welcome = self.hub.login(&ask.ids, cx.token(), encoding, ask.resume);
                let position = welcome.begins_after().to_string();
                let fields = [cors.as_slice(), &[(NEXT, &position)]].concat();
                if cx.upgrade(request, &fields) {
                    self.begin_stream(cx, ask, encoding, welcome, expires);
                } else {
                    self.hub.logout(&welcome.ids, cx.token(), encoding);
                }
            }
            Transport::Poll if request.method() == "HEAD" => {
                fields.push(("Content-Type", ask.content_type()));
                cx.respond(200, &fields, b"");
            }
            Transport::Poll => {
                // What is on its way to a poll must not come into an answer that knows no pieces.
                if request.version_minor() == 0 {
                    fields.push(("Connection", "close"));
                }
                self.poll(cx, ask, &fields, expires);
            }
            Transport::Test | Transport::Stream | Transport::Ndjson | Transport::Events => {
                fields.push(("Content-Type", ask.content_type()));
                // Buffering proxies would hold messages back.
                fields.push(("X-Accel-Buffering", "no"));
                if request.method() == "HEAD" {
                    cx.start(200, &fields);
                    return Ok(());
                }
                // It has no end, so nothing is kept of what a peer sends behind its request.
                fields.push(("Connection", "close"));
                let encoding = ask.encoding(request.version_minor() > 0);
                let welcome = self.hub.login(&ask.ids, cx.token(), encoding, ask.resume);
                let position = welcome.begins_after().to_string();
                // So that who is cut off before the first message can come back too.
                fields.push((NEXT, &position));
                cx.start(200, &fields);
                self.greet(cx, ask, welcome.position);
                self.begin_stream(cx, ask, encoding, welcome, expires);
            }
        }
        Ok(())
    }

    fn greet(&self, cx: &mut Cx<'_>, ask: &Ask<'_>, position: Position) {
        match ask.transport {
            // The ids are unreserved characters: nothing to escape. Browsers show what comes once there is a kilobyte of it.
            Transport::Test => {
                let welcome = format!(
                    "<!doctype html><title>{ids}</title><pre>Welcome, {ids}.{padding}\n",
                    ids = ask.ids.join(","),
                    padding = " ".repeat(1024),
                );
                cx.chunk(welcome.as_bytes());
            }
            Transport::Events => {
                let retry_ms = self.options.retry.as_millis();
                let jitter_ms = u128::from(fastrand::u32(..)) % (retry_ms / 2 + 1);
                let retry = format!("retry: {}\n", retry_ms * 3 / 4 + jitter_ms);
                // Who resumes has a position, and it has to stay until what was missed has come.
                let id = if ask.resume.is_none() { format!("id: {position}\n") } else { String::new() };
                cx.chunk(format!("{retry}{id}\n").as_bytes());
            }
            Transport::Stream | Transport::Ndjson | Transport::Poll | Transport::Socket => {}
        }
    }

    /// From here on messages arrive; what was missed goes out first.
    fn begin_stream(
        &self,
        cx: &mut Cx<'_>,
        ask: &Ask<'_>,
        encoding: Encoding,
        welcome: Welcome,
        expires: Option<SystemTime>,
    ) {
        let before = welcome.begins_after();
        let Welcome { ids, missed, rest, .. } = welcome;
        let session = Session::new(&ids, encoding, ask.transport).ends_at(expires);
        self.begin(cx, session.catches_up(missed.messages, rest));
        if missed.lost {
            self.say_lost(cx, encoding, before);
        }
        self.go_on(cx);
        let heartbeat_ms = u64::try_from(self.options.heartbeat.as_millis()).unwrap_or(u64::MAX);
        // The first one comes a little early, so that those who came together do not beat together for ever.
        self.await_beat(cx, Duration::from_millis(fastrand::u64(heartbeat_ms / 5 * 4..=heartbeat_ms)));
    }

    fn begin(&self, cx: &mut Cx<'_>, session: Session) {
        self.hub.stats().connected(session.transport).add(1);
        cx.state.0 = Some(session);
    }

    /// Messages are gone that the subscriber should have had. What comes next is after `before`.
    fn say_lost(&self, cx: &mut Cx<'_>, encoding: Encoding, before: Position) {
        match encoding {
            Encoding::EventChunk | Encoding::Event => {
                cx.chunk(format!("event: lost\nid: {before}\ndata: {{}}\n\n").as_bytes());
            }
            Encoding::JsonChunk | Encoding::JsonLine => cx.chunk(b"{\"lost\":true}\n"),
            Encoding::JsonFrame => cx.send_text("{\"lost\":true}"),
            // These cannot be resumed.
            Encoding::Chunk | Encoding::Plain | Encoding::Frame | Encoding::Poll => {}
        }
    }

    fn poll(&self, cx: &mut Cx<'_>, ask: &Ask<'_>, fields: &Fields<'_>, expires: Option<SystemTime>) {
        let encoding = Encoding::Poll;
        let welcome = self.hub.login(&ask.ids, cx.token(), encoding, ask.resume);
        let before = welcome.begins_after();
        let Welcome { ids, missed, position, .. } = welcome;
        if !missed.lost && missed.messages.is_empty() && !ask.timeout.is_zero() {
            let session = Session::new(&ids, encoding, Transport::Poll).ends_at(expires);
            self.begin(cx, session.polls_since(position, fields));
            cx.set_timer(expires.map_or(ask.timeout, |expires| ask.timeout.min(deliver::time_until(expires))));
            return;
        }
        self.hub.logout(&ids, cx.token(), encoding);
        // What is left of what was missed is for the next poll.
        let next = match missed.messages.last() {
            _ if missed.lost => before,
            Some(last) if missed.more => last.position,
            _ => position,
        };
        let next = next.to_string();
        let fields = [fields.as_slice(), &[("Content-Type", "application/json"), (NEXT, &next)]].concat();
        if missed.lost {
            cx.respond(410, &fields, format!("{{\"lost\":true,\"next\":\"{next}\"}}\n").as_bytes());
        } else if missed.messages.is_empty() {
            cx.respond(204, &fields, b"");
        } else {
            cx.respond(200, &fields, &deliver::poll_body(&joined(&missed.messages), &next));
        }
    }
}

fn joined(missed: &[Record]) -> Vec<u8> {
    missed.iter().flat_map(|record| record.encoded(Encoding::Poll).to_vec()).collect()
}

impl Handler<Http> for Public {
    type State = Guest;

    fn open(&self, _peer: &Peer) -> Guest {
        Guest(None)
    }

    fn frame(&self, cx: &mut Cx<'_>, incoming: Incoming<'_>) -> Outcome {
        match incoming {
            Incoming::Request(request) => self.request(cx, &request),
            Incoming::Body { .. } => {}
            Incoming::Socket(event) => {
                if let Some(session) = &mut cx.state.0 {
                    session.awaits_pong = false;
                }
                // Subscribers listen; what else they say is dropped.
                let _ = cx.take_event(event);
            }
        }
        Ok(())
    }

    fn message(&self, cx: &mut Cx<'_>, message: &Message) -> Outcome {
        match &cx.state.0 {
            None => self.hub.stats().gone.add(1),
            Some(session) if session.transport == Transport::Poll => self.answer_poll(cx, message),
            // It was on its way to a poll that the connection made before.
            Some(session) if session.encoding.is_foreign(message) => self.hub.stats().gone.add(1),
            Some(_) => self.deliver(cx, message),
        }
        Ok(())
    }

    fn drained(&self, cx: &mut Cx<'_>) -> Outcome {
        self.go_on(cx);
        Ok(())
    }

    fn peer_finished(&self, cx: &mut Cx<'_>) -> Outcome {
        // A subscriber who will not say anything any more has left: answers that never end cannot be waited for.
        cx.close();
        Ok(())
    }

    fn draining(&self, cx: &mut Cx<'_>) -> Outcome {
        match cx.state.0.as_ref().map(|session| session.transport) {
            None => {}
            Some(Transport::Poll) => self.end_poll(cx),
            Some(transport) => {
                self.leave(cx);
                if transport == Transport::Socket {
                    cx.close_socket(CloseCode::GOING_AWAY, "the server stops");
                } else {
                    cx.finish();
                    cx.close();
                }
            }
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Cx<'_>, which: Timeout) -> Outcome {
        if which == Timeout::User {
            match cx.state.0.as_ref().map(|session| session.transport) {
                None => {}
                Some(Transport::Poll) => self.end_poll(cx),
                Some(_) => self.beat(cx),
            }
        }
        Ok(())
    }

    fn kept_bytes(&self, guest: &Guest) -> usize {
        guest.0.as_ref().map_or(0, Session::waiting_bytes)
    }

    fn closed(&self, guest: &mut Guest, closed: &Closed) {
        if let Some(session) = guest.0.take() {
            let lost = session.end(&self.hub, closed.token);
            self.hub.stats().dropped_disconnected.add(lost);
        }
    }
}
