//! A web server: `curl localhost:9876/`, `curl --data-binary @FILE localhost:9876/echo`, `curl -N localhost:9876/count`.

use lf_core::codec::Http;
use lf_core::codec::http::{Incoming, Request};
use lf_core::{Context, Handler, Outcome, Peer, Server, Timeout};
use std::time::Duration;

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

/// What is remembered of a connection.
#[derive(Default)]
struct Visit {
    /// The body to echo, as far as it has come.
    body: Vec<u8>,
    /// How far the streamed answer has counted.
    counted: u32,
}

struct Site;

type Visitor<'a> = Context<'a, Http, Visit>;

fn route(cx: &mut Visitor<'_>, request: &Request<'_>) {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => cx.respond(200, &[TEXT], b"hello\n"),
        ("POST" | "PUT", "/echo") if request.has_body() => cx.accept_body(),
        ("POST" | "PUT", "/echo") => cx.respond(200, &[TEXT], b""),
        ("GET" | "HEAD", "/count") => {
            cx.start(200, &[TEXT]);
            cx.set_timer(Duration::ZERO);
        }
        (_, "/" | "/count") => cx.respond(405, &[("Allow", "GET, HEAD")], b""),
        (_, "/echo") => cx.respond(405, &[("Allow", "POST, PUT")], b""),
        _ => cx.respond(404, &[TEXT], b"try /, /echo or /count\n"),
    }
}

impl Handler<Http> for Site {
    type State = Visit;

    fn open(&self, _peer: &Peer) -> Visit {
        Visit::default()
    }

    fn frame(&self, cx: &mut Visitor<'_>, frame: Incoming<'_>) -> Outcome {
        match frame {
            Incoming::Request(request) => route(cx, &request),
            Incoming::Body { bytes, last } => {
                cx.state.body.extend_from_slice(bytes);
                if last {
                    let body = std::mem::take(&mut cx.state.body);
                    cx.respond(200, &[TEXT], &body);
                }
            }
            Incoming::Socket(_) => {}
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Visitor<'_>, which: Timeout) -> Outcome {
        if which == Timeout::User && cx.answer_begun() {
            cx.state.counted += 1;
            cx.chunk(format!("{}\n", cx.state.counted).as_bytes());
            if cx.state.counted < 5 {
                cx.set_timer(Duration::from_millis(200));
            } else {
                cx.state.counted = 0;
                cx.finish();
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().listen("127.0.0.1:9876".parse()?, Http::default(), Site).build()?;
    std::process::exit(server.run()?.exit_code().into());
}
