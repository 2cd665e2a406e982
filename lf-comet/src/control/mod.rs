//! The listener for publishers and operators.

mod connections;
mod lines;
mod pages;
mod send;
mod subscriptions;

use crate::auth::bearer;
use crate::hub::{Destination, Hub};
use crate::names::parse_id;
use crate::origin::is_own;
use crate::refusal::{Refusal, method_not_allowed, refusal};
use crate::sampler::Sampler;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lf_core::codec::http::{Http, Incoming, Request};
use lf_core::{Context, Handler, Outcome, Peer, Remote, Timeout};
use send::Batch;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use subscriptions::Edit;

/// How long a publisher waits while too many deliveries are under way.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// How long the body of a single message may take.
const BODY_TIME: Duration = Duration::from_secs(30);
const JSON: (&str, &str) = ("Content-Type", "application/json");
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

/// How the control side is bounded and guarded.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Bytes of a message.
    pub message_bytes: usize,
    /// What `Authorization: Bearer` has to carry; none: nothing is asked for.
    pub token: Option<String>,
}

/// Serves publishers and operators.
#[derive(Clone, Debug)]
pub struct Control {
    hub: Arc<Hub>,
    /// Reaches the connections of subscribers.
    remote: Remote,
    sampler: Arc<Sampler>,
    options: ControlOptions,
}

/// What a connection of the control listener is in the middle of.
#[derive(Debug, Default)]
pub struct Desk(Job);

#[derive(Debug, Default)]
enum Job {
    #[default]
    None,
    /// The body of a message comes in.
    Message { id: String, direct: bool, body: Vec<u8> },
    /// Lines with messages come in.
    Batch(Box<Batch>),
    /// Lines with subscriptions come in.
    Edit(Box<Edit>),
    /// The rest of a body whose request was refused already.
    Refused,
}

type Cx<'a> = Context<'a, Http, Desk>;

impl Control {
    /// Publishes to `hub`, whose subscribers `remote` reaches.
    #[must_use]
    pub fn new(hub: Arc<Hub>, remote: Remote, sampler: Arc<Sampler>, options: ControlOptions) -> Self {
        Self { hub, remote, sampler, options }
    }

    fn request(&self, cx: &mut Cx<'_>, request: &Request<'_>) {
        cx.state.0 = Job::None;
        match self.try_request(cx, request) {
            Ok(job) if request.has_body() => {
                // A batch has no end; one message has.
                if matches!(job, Job::Message { .. }) {
                    cx.set_timer(BODY_TIME);
                }
                cx.state.0 = job;
                cx.accept_body();
            }
            // A request without a body is one with an empty body.
            Ok(job) => {
                cx.state.0 = job;
                self.body(cx, b"", true);
            }
            Err(refusal) => refuse(cx, &refusal),
        }
    }

    fn try_request(&self, cx: &mut Cx<'_>, request: &Request<'_>) -> Result<Job, Refusal> {
        let path = request.path();
        let (first, rest) = path
            .strip_prefix('/')
            .unwrap_or(path)
            .split_once('/')
            .map_or_else(|| (path.strip_prefix('/').unwrap_or(path), None), |(first, rest)| (first, Some(rest)));
        if !matches!(first, "healthz" | "readyz") {
            self.guard(request, cx.peer())?;
        }
        let method = request.method();
        match (method, first, rest) {
            ("POST", "send" | "direct", Some(id)) => {
                let limit = self.options.message_bytes as u64;
                if request.content_length().is_some_and(|length| length > limit) {
                    return Err(self.too_long());
                }
                Ok(Job::Message { id: checked(id)?.to_owned(), direct: first == "direct", body: Vec::new() })
            }
            ("POST", "batch", None) => Ok(Job::Batch(Box::new(self.begin_batch(cx, request)))),
            ("PUT", "subscriptions", None) => Ok(Job::Edit(Box::new(Edit::new(true)))),
            ("DELETE", "subscriptions", None) => Ok(Job::Edit(Box::new(Edit::new(false)))),
            ("GET" | "HEAD", "subscribers" | "subscriptions", Some(id)) => {
                self.list_subscriptions(cx, request, checked(id)?, first == "subscribers").map(|()| Job::None)
            }
            ("GET" | "HEAD", "connections", None) => self.list_connections(cx, request).map(|()| Job::None),
            ("DELETE", "connections", None) => self.kick(cx, request).map(|()| Job::None),
            (_, "send" | "direct" | "batch", _) => Err(method_not_allowed("POST")),
            (_, "subscriptions", None) => Err(method_not_allowed("PUT, DELETE")),
            ("GET" | "HEAD", _, None) => self.page(cx, request, first).map(|()| Job::None),
            (_, "subscribers" | "subscriptions", Some(_)) => Err(method_not_allowed("GET, HEAD")),
            (_, "connections", None) => Err(method_not_allowed("GET, HEAD, DELETE")),
            (_, "metrics" | "healthz" | "readyz" | "status" | "status.json" | "", None) => {
                Err(method_not_allowed("GET, HEAD"))
            }
            _ => Err(pages::unknown()),
        }
    }

    /// Who may use the control side.
    fn guard(&self, request: &Request<'_>, peer: Peer) -> Result<(), Refusal> {
        // A page of another site must not publish with the help of somebody's browser.
        if request.header("origin").is_some_and(|origin| !is_own(request, origin)) {
            return Err(refusal(403, "pages of other origins may not use the control listener\n"));
        }
        match &self.options.token {
            Some(token) if !carries(request, token) => {
                Err(refusal(401, "Authorization: Bearer with the control token is needed\n"))
            }
            Some(_) => Ok(()),
            // A name of somebody else's that leads here (DNS rebinding) makes a page of theirs look like one of ours.
            None if peer.ip().is_some() && !is_local(request.host()) => {
                Err(refusal(403, "without --control-token, use an IP address or localhost in the URL\n"))
            }
            None => Ok(()),
        }
    }

    fn body(&self, cx: &mut Cx<'_>, bytes: &[u8], last: bool) {
        match std::mem::take(&mut cx.state.0) {
            Job::None | Job::Refused => {}
            Job::Message { id, direct, mut body } => {
                if body.len() + bytes.len() > self.options.message_bytes {
                    return refuse(cx, &self.too_long());
                }
                body.extend_from_slice(bytes);
                if last {
                    self.send_one(cx, Destination { id: &id, direct }, body);
                } else {
                    cx.state.0 = Job::Message { id, direct, body };
                }
            }
            Job::Batch(mut batch) => {
                self.feed_batch(cx, &mut batch, bytes, last);
                if !last {
                    cx.state.0 = Job::Batch(batch);
                }
            }
            Job::Edit(mut edit) => match self.feed_edit(cx, &mut edit, bytes, last) {
                Err(refusal) => refuse(cx, &refusal),
                Ok(()) if last => {}
                Ok(()) => cx.state.0 = Job::Edit(edit),
            },
        }
    }

    fn too_long(&self) -> Refusal {
        let limit = self.options.message_bytes;
        refusal(413, format!("a message has at most {limit} bytes: send less, or raise --message-bytes\n"))
    }
}

fn refuse(cx: &mut Cx<'_>, refusal: &Refusal) {
    cx.state.0 = Job::Refused;
    refusal.answer(cx, &[], "Bearer, Basic realm=\"lf-comet\"");
}

/// Whether a request carries the token: as a bearer token, or as the password that a browser asks for.
fn carries(request: &Request<'_>, token: &str) -> bool {
    let password = || {
        let (scheme, given) = request.header("authorization")?.split_once(' ')?;
        let pair = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(given.trim()).ok())??;
        let at = pair.iter().position(|byte| *byte == b':')?;
        Some(pair[at + 1..].to_vec())
    };
    let given = bearer(request).map(|given| given.as_bytes().to_vec()).or_else(password);
    given.is_some_and(|given| same(&given, token.as_bytes()))
}

/// Whether a `Host` is an address or this machine, so that no name server had a say.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok()),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok() || name.is_empty()
}

/// Compares in a time that does not tell where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn checked(id: &str) -> Result<&str, Refusal> {
    parse_id(id.as_bytes()).map_err(|error| refusal(400, format!("{error}\n")))
}

impl Handler<Http> for Control {
    type State = Desk;

    fn open(&self, _peer: &Peer) -> Desk {
        Desk::default()
    }

    fn frame(&self, cx: &mut Cx<'_>, incoming: Incoming<'_>) -> Outcome {
        match incoming {
            Incoming::Request(request) => self.request(cx, &request),
            Incoming::Body { bytes, last } => self.body(cx, bytes, last),
            // Nothing here upgrades.
            Incoming::Socket(_) => {}
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Cx<'_>, which: Timeout) -> Outcome {
        if which == Timeout::User && cx.awaits_answer() {
            let seconds = BODY_TIME.as_secs();
            refuse(cx, &refusal(408, format!("the message took longer than {seconds} s to come in\n")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local_and_names_are_not() {
        for host in
            ["127.0.0.1", "127.0.0.1:8001", "localhost:1", "LOCALHOST", "[::1]:8001", "[::1]", "10.0.0.1:80", ""]
        {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]:1"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
