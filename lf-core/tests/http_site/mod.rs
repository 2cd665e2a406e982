//! What the HTTP tests share: a site to ask, and a client that reads answers strictly.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use crate::common::{Client, Host, Mode};
use lf_core::codec::Http;
use lf_core::codec::http::{Incoming, Request};
use lf_core::{Builder, Context, Handler, Message, Outcome, Peer, Timeout, Token};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Who waits for an answer that comes from another thread.
pub(crate) type Waiting = Arc<Mutex<Vec<Token>>>;

pub(crate) type Visitor<'a> = Context<'a, Http, Visit>;

/// What the site remembers of a connection.
#[derive(Default)]
pub(crate) struct Visit {
    body: Vec<u8>,
    /// The target of the request that is being answered.
    target: String,
}

/// Answers by the path:
///
/// `/hello` at once, `/echo` with the body once it has come whole, `/early` before the body has come, `/accept` asks for the
/// body, `/later` when a message comes, with its bytes, `/stream` in three pieces, `/stream-later` in a piece a message until
/// one is empty, `/endless` never finishes, `/field?v=` sets a field to the value, `/name?v=` names a field so,
/// `/status?v=` that status, `/close` asks to close, `/panic`, `/fail`, `/mute` never answers, `/what` tells what it
/// understood.
#[derive(Clone, Default)]
pub(crate) struct Site {
    pub(crate) waiting: Waiting,
}

impl Site {
    fn request(&self, cx: &mut Visitor<'_>, request: &Request<'_>) -> Outcome {
        let value = request.query_value("v").unwrap_or_default();
        cx.state.target = request.target().to_owned();
        match request.path() {
            "/echo" if request.has_body() => {}
            "/accept" if request.has_body() => cx.accept_body(),
            "/echo" | "/accept" => cx.respond(200, &[], b""),
            "/hello" | "/early" => cx.respond(200, &[("Content-Type", "text/plain")], b"hello"),
            "/later" | "/mute" => self.waiting.lock().unwrap().push(cx.token()),
            "/stream" => {
                cx.start(200, &[("X-Kind", "stream")]);
                for piece in ["one ", "", "two ", "three"] {
                    cx.chunk(piece.as_bytes());
                }
                cx.finish();
            }
            "/stream-later" | "/endless" => {
                cx.start(200, &[]);
                cx.chunk(b"begun ");
                self.waiting.lock().unwrap().push(cx.token());
            }
            "/field" => cx.respond(200, &[("X-Value", &value)], b"field"),
            "/name" => cx.respond(200, &[(&value, "value")], b"name"),
            "/start-field" => {
                cx.start(200, &[("X-Value", &value)]);
                cx.chunk(b"field");
                cx.finish();
            }
            "/status" => cx.respond(value.parse()?, &[], b"body"),
            "/close" => cx.respond(200, &[("Connection", "close")], b"bye"),
            "/panic" => panic!("as asked"),
            "/fail" => return Err("as asked".into()),
            "/what" => cx.respond(200, &[], what(request).as_bytes()),
            _ => cx.respond(404, &[], b""),
        }
        Ok(())
    }
}

/// All that a request tells, a line each.
fn what(request: &Request<'_>) -> String {
    let mut text = format!(
        "method {}\ntarget {}\npath {}\nquery {:?}\nhost {}\nversion 1.{}\nkeep-alive {}\nlength {:?}\n",
        request.method(),
        request.target(),
        request.path(),
        request.query(),
        request.host(),
        request.version_minor(),
        request.keep_alive(),
        request.content_length(),
    );
    for (name, value) in request.fields() {
        text.push_str(&format!("{name}={}\n", String::from_utf8_lossy(value)));
    }
    text
}

impl Handler<Http> for Site {
    type State = Visit;

    fn open(&self, _peer: &Peer) -> Visit {
        Visit::default()
    }

    fn frame(&self, cx: &mut Visitor<'_>, frame: Incoming<'_>) -> Outcome {
        match frame {
            Incoming::Request(request) => return self.request(cx, &request),
            Incoming::Body { bytes, last } => {
                cx.state.body.extend_from_slice(bytes);
                if last {
                    let body = std::mem::take(&mut cx.state.body);
                    cx.respond(200, &[], &body);
                }
            }
            Incoming::Socket(_) => {}
        }
        Ok(())
    }

    fn message(&self, cx: &mut Visitor<'_>, message: &Message) -> Outcome {
        if cx.answer_begun() {
            if message.is_empty() { cx.finish() } else { cx.chunk(message) }
        } else {
            let text = format!("{} for {}", String::from_utf8_lossy(message), cx.state.target);
            cx.respond(200, &[], text.as_bytes());
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Visitor<'_>, which: Timeout) -> Outcome {
        // The answer to a request that did not come in time is the codec's business.
        assert!(which != Timeout::User && !cx.answer_begun());
        Ok(())
    }
}

/// The site on a port of its own.
pub(crate) fn serve(mode: Mode, codec: Http) -> (Host, Waiting) {
    serve_with(mode.builder(), codec)
}

pub(crate) fn serve_with(builder: Builder, codec: Http) -> (Host, Waiting) {
    let site = Site::default();
    let waiting = Arc::clone(&site.waiting);
    (Host::start(builder.listen(crate::common::any_port(), codec, site)), waiting)
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        Some(&value.1)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn strict_line(client: &mut Client) -> String {
    let line = client.line();
    let line = line.strip_suffix('\r').unwrap_or_else(|| panic!("no CR: {line:?}"));
    assert!(!line.contains(['\r', '\0']), "{line:?}");
    line.to_owned()
}

/// Reads the next head; the body is left.
pub(crate) fn read_head(client: &mut Client) -> Answer {
    let line = strict_line(client);
    let status =
        line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{line:?}")).get(..3).unwrap().parse().unwrap();
    let mut fields = Vec::new();
    loop {
        let line = strict_line(client);
        if line.is_empty() {
            return Answer { status, fields, body: Vec::new() };
        }
        let (name, value) = line.split_once(": ").unwrap();
        fields.push((name.to_owned(), value.to_owned()));
    }
}

/// Reads the next answer, whose body must be framed.
pub(crate) fn read_answer(client: &mut Client) -> Answer {
    let mut answer = read_head(client);
    if answer.status >= 200 {
        let date = answer.field("date").unwrap_or_else(|| panic!("no Date: {answer:?}"));
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
    match (answer.field("content-length"), answer.field("transfer-encoding")) {
        (Some(length), None) => answer.body = client.read(length.parse().unwrap()),
        (None, Some("chunked")) => answer.body = read_chunks(client).concat(),
        (None, None) if matches!(answer.status, 100..=199 | 204 | 304) => {}
        (length, encoding) => panic!("{length:?} {encoding:?} in {answer:?}"),
    }
    answer
}

/// Reads a chunked body; none of its pieces is empty.
pub(crate) fn read_chunks(client: &mut Client) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    loop {
        let size = usize::from_str_radix(&strict_line(client), 16).unwrap();
        let chunk = client.read(size);
        client.expect(b"\r\n");
        if size == 0 {
            return chunks;
        }
        chunks.push(chunk);
    }
}

/// Sends `request` and reads the answer.
pub(crate) fn ask(client: &mut Client, request: &[u8]) -> Answer {
    client.send(request);
    read_answer(client)
}

/// `GET path` as HTTP/1.1 asks for it, with further lines.
pub(crate) fn get(path: &str, lines: &str) -> Vec<u8> {
    request("GET", path, lines)
}

pub(crate) fn request(method: &str, path: &str, lines: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

/// The request is answered with this status, that says that the connection closes, and it does.
pub(crate) fn assert_refused(host: &Host, request: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let mut client = host.connect();
    // A refusal may come before all of it is out.
    client.try_send(request);
    let answer = read_answer(&mut client);
    assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
    assert!(answer.closes(), "{shown:?}: {answer:?}");
    client.expect_end();
}

/// The request is answered with this status, and the connection goes on.
pub(crate) fn assert_answered(host: &Host, request: &[u8], status: u16) -> Answer {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let mut client = host.connect();
    let answer = ask(&mut client, request);
    assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
    assert_goes_on(&mut client);
    answer
}

/// Another request on the same connection is answered.
pub(crate) fn assert_goes_on(client: &mut Client) {
    let answer = ask(client, &get("/hello", ""));
    assert_eq!((answer.status, answer.text(), answer.field("connection")), (200, "hello", None));
}

/// Deadlines short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(50);
