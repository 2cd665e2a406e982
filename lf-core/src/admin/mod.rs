//! The admin pages: a small server of their own beside the one that they describe, so that they answer when its
//! workers are all busy.

mod metrics;
mod pages;

use crate::codec::http::{Http, Incoming, Limits, Request};
use crate::config::Timeouts;
use crate::error::Error;
use crate::handler::{Context, Handler, Outcome};
use crate::listener::Address;
use crate::peer::Peer;
use crate::server::Server;
use crate::shared::Shared;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt::{self, Write};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Connections of the admin pages at most.
const CONNECTIONS_MAX: usize = 32;
/// What they need: the connections, a listener, two epoll sets with their wake-ups.
pub(crate) const DESCRIPTORS: usize = CONNECTIONS_MAX + 5;
/// A request and its answer have to be through in this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Their paths are short, and so is what is said about them.
const LIMITS: Limits = Limits { head_bytes: 8 * 1024, fields: 64, target_bytes: 1024, ..Limits::DEFAULT };

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
        .listen(address, Http::new(LIMITS), Pages { shown: Arc::downgrade(shared) })
        .build()
}

/// What a part of the server shows on the pages.
pub(crate) trait Exhibit: Send + Sync {
    /// Adds to `/metrics`.
    fn metrics(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result;
    /// Adds to `/status`.
    fn status(&self, page: &mut String);
}

/// Text that is no markup.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '<' => f.write_str("&lt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            char => f.write_char(char),
        })
    }
}

struct Pages {
    shown: Weak<Shared>,
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    const fn new(kind: &'static str, body: String) -> Self {
        Self { status: 200, kind, body }
    }

    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }
}

const HTML: &str = "text/html; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Pages {
    fn answer(&self, request: &Request<'_>) -> Answer {
        let Some(server) = self.shown.upgrade() else {
            return Answer::text(503, "stopped\n");
        };
        if !matches!(request.method(), "GET" | "HEAD") {
            return Answer::text(405, "only GET and HEAD\n");
        }
        match request.path() {
            "/" | "/status" => Answer::new(HTML, pages::status(&server)),
            "/metrics" => match metrics::text(&server) {
                Ok(body) => Answer::new(OPEN_METRICS, body),
                Err(_) => Answer::text(500, "cannot write the metrics\n"),
            },
            "/connections" => Answer::text(200, pages::connections(&server, request.query().unwrap_or_default())),
            "/healthz" if server.draining.load(std::sync::atomic::Ordering::Relaxed) => Answer::text(503, "draining\n"),
            "/healthz" => Answer::text(200, "ok\n"),
            _ => Answer::text(404, "/status /metrics /connections /healthz\n"),
        }
    }
}

impl Handler<Http> for Pages {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Http, ()>, frame: Incoming<'_>) -> Outcome {
        // A body is not waited for: the answer to its head closes the connection.
        let Incoming::Request(request) = frame else { return Ok(()) };
        let Answer { status, kind, body } = self.answer(&request);
        let fields = [("Content-Type", kind), ("Cache-Control", "no-store"), ("Allow", "GET, HEAD")];
        cx.respond(status, if status == 405 { &fields } else { &fields[..2] }, body.as_bytes());
        Ok(())
    }
}

/// The metrics page of `server`; `None` if it cannot be written.
pub(crate) fn metrics(server: &Shared) -> Option<String> {
    metrics::text(server).ok()
}
