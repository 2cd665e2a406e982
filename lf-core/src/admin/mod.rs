//! The admin pages: a small server of their own beside the one that they describe, so that they answer when its
//! workers are all busy.

mod metrics;
mod pages;
mod request;

use crate::codec::Codec;
use crate::config::Timeouts;
use crate::error::Error;
use crate::handler::{Context, Handler, Outcome};
use crate::listener::Address;
use crate::peer::Peer;
use crate::server::Server;
use crate::shared::Shared;
use request::{Get, Request};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Connections of the admin pages at most.
const CONNECTIONS_MAX: usize = 32;
/// What they need: the connections, a listener, two epoll sets with their wake-ups.
pub(crate) const DESCRIPTORS: usize = CONNECTIONS_MAX + 5;
/// A request and its answer have to be through in this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the server that shows `shared`.
pub(crate) fn server(address: Address, shared: &Arc<Shared>) -> Result<Server, Error> {
    if let Address::Tcp(at) = &address
        && !at.ip().is_loopback()
    {
        return Err(Error::Setting {
            name: "admin",
            value: at.to_string(),
            limit: "a loopback address or a unix socket".into(),
            remedy: "the admin pages have no password; put a proxy that asks for one in front of them",
        });
    }
    let timeouts = Timeouts {
        first_byte: Some(PATIENCE),
        frame: Some(PATIENCE),
        idle: Some(PATIENCE),
        write_stall: Some(PATIENCE),
    };
    Server::builder()
        .name(format!("{}-admin", shared.config.name))
        .groups(1)
        .workers(1)
        .workers_max(2)
        .max_connections(CONNECTIONS_MAX)
        .timeouts(timeouts)
        .listen(address, Get, Pages { shown: Arc::downgrade(shared) })
        .build()
}

struct Pages {
    shown: Weak<Shared>,
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    const fn new(status: &'static str, kind: &'static str, body: String) -> Self {
        Self { status, kind, body }
    }

    fn text(status: &'static str, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.to_owned())
    }
}

const OK: &str = "200 OK";
const HTML: &str = "text/html; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Pages {
    fn answer(&self, request: &Request<'_>) -> Answer {
        let Some(server) = self.shown.upgrade() else {
            return Answer::text("503 Service Unavailable", "stopped\n");
        };
        if !matches!(request.method, "GET" | "HEAD") {
            return Answer::text("405 Method Not Allowed", "only GET and HEAD\n");
        }
        let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
        match path {
            "/" | "/status" => Answer::new(OK, HTML, pages::status(&server)),
            "/metrics" => match metrics::text(&server) {
                Ok(body) => Answer::new(OK, OPEN_METRICS, body),
                Err(_) => Answer::text("500 Internal Server Error", "cannot write the metrics\n"),
            },
            "/connections" => Answer::text(OK, &pages::connections(&server, query)),
            "/healthz" if server.draining.load(std::sync::atomic::Ordering::Relaxed) => {
                Answer::text("503 Service Unavailable", "draining\n")
            }
            "/healthz" => Answer::text(OK, "ok\n"),
            _ => Answer::text("404 Not Found", "/status /metrics /connections /healthz\n"),
        }
    }
}

impl Handler<Get> for Pages {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Get, ()>, request: <Get as Codec>::Frame<'_>) -> Outcome {
        let Answer { status, kind, body } = self.answer(&request);
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        cx.send_bytes(head.as_bytes());
        if request.method != "HEAD" {
            cx.send_bytes(body.as_bytes());
        }
        cx.close();
        Ok(())
    }
}
