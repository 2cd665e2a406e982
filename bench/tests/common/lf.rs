//! Servers of lf-core in the test's process.

use lf_core::codec::http::{Incoming, Request};
use lf_core::codec::{Http, Nshead, NsheadFrame};
use lf_core::{Context, Handler, Outcome, Peer, Running, Server};
use std::time::Duration;

/// A server that ends with its value, and where it listens.
pub(crate) struct Serving {
    _running: Running,
    pub(crate) target: String,
}

fn serve(builder: lf_core::Builder) -> Serving {
    let running = builder.build().unwrap().start().unwrap();
    let target = running.addresses()[0].to_string();
    Serving { _running: running, target }
}

/// What becomes of a frame before it is sent back.
pub(crate) type Change = fn(&mut NsheadFrame<'_>);

struct NsheadEcho(Change);

impl Handler<Nshead> for NsheadEcho {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Nshead, ()>, mut frame: NsheadFrame<'_>) -> Outcome {
        (self.0)(&mut frame);
        Ok(cx.send(frame)?)
    }
}

/// Sends back what it gets, after `change` has been at it.
pub(crate) fn nshead(change: Change) -> Serving {
    let address = "127.0.0.1:0".parse().unwrap();
    serve(Server::builder().listen(address, Nshead::default(), NsheadEcho(change)))
}

struct Site;

type Visitor<'a> = Context<'a, Http, Vec<u8>>;

fn route(cx: &mut Visitor<'_>, request: &Request<'_>) {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/hello" | "/call") => cx.respond(200, &[], b"hello\n"),
        ("GET", "/chunks") => {
            cx.start(200, &[]);
            cx.chunk(b"hel");
            cx.chunk(b"lo\n");
            cx.finish();
        }
        ("GET", "/nothing") => cx.respond(204, &[], b""),
        ("GET", "/slow" | "/block") => {
            std::thread::park_timeout(Duration::from_millis(20));
            cx.respond(200, &[], b"hello\n");
        }
        ("GET", "/host") => cx.respond(200, &[], request.header("X-Echo").unwrap_or("").as_bytes()),
        ("POST", "/length") if request.has_body() => cx.accept_body(),
        _ => cx.respond(404, &[], b"gone\n"),
    }
}

impl Handler<Http> for Site {
    type State = Vec<u8>;

    fn open(&self, _peer: &Peer) -> Vec<u8> {
        Vec::new()
    }

    fn frame(&self, cx: &mut Visitor<'_>, frame: Incoming<'_>) -> Outcome {
        match frame {
            Incoming::Request(request) => route(cx, &request),
            Incoming::Body { bytes, last } => {
                cx.state.extend_from_slice(bytes);
                if last {
                    let length = std::mem::take(cx.state).len().to_string();
                    cx.respond(200, &[], length.as_bytes());
                }
            }
            Incoming::Socket(_) => {}
        }
        Ok(())
    }
}

/// A small site: a page in several forms, one that is slow, one that counts what it gets.
pub(crate) fn http() -> Serving {
    serve(Server::builder().listen("127.0.0.1:0".parse().unwrap(), Http::default(), Site))
}
