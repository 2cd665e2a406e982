//! What a subscriber asks for.

use crate::names::parse_id;
use crate::position::Position;
use crate::publication::Encoding;
use crate::refusal::{Refusal, refusal};
use crate::stats::Transport;
use lf_core::codec::http::Request;
use std::time::Duration;

/// Ids that one connection may ask for.
const IDS_MAX: usize = 64;
/// How long a poll waits unless it says otherwise.
const POLL: Duration = Duration::from_secs(25);
/// The longest that a poll may ask for.
const POLL_MAX: Duration = Duration::from_secs(120);

/// A request that can be served.
#[derive(Debug)]
pub(super) enum Route<'a> {
    Demo,
    Health,
    Subscribe(Ask<'a>),
}

/// A wish to be sent messages.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) transport: Transport,
    pub(super) ids: Vec<&'a str>,
    /// JSON around each message, where the transport leaves a choice.
    pub(super) json: bool,
    pub(super) resume: Option<Position>,
    /// For polls.
    pub(super) timeout: Duration,
}

impl Ask<'_> {
    pub(super) fn encoding(&self, chunked: bool) -> Encoding {
        match (self.transport, chunked) {
            (Transport::Test | Transport::Stream, true) => Encoding::Chunk,
            (Transport::Test | Transport::Stream, false) => Encoding::Plain,
            (Transport::Ndjson, true) => Encoding::JsonChunk,
            (Transport::Ndjson, false) => Encoding::JsonLine,
            (Transport::Poll, _) => Encoding::Poll,
            (Transport::Events, true) => Encoding::EventChunk,
            (Transport::Events, false) => Encoding::Event,
            (Transport::Socket, _) if self.json => Encoding::JsonFrame,
            (Transport::Socket, _) => Encoding::Frame,
        }
    }

    pub(super) const fn content_type(&self) -> &'static str {
        match self.transport {
            Transport::Test => "text/html; charset=utf-8",
            Transport::Stream | Transport::Socket => "application/octet-stream",
            Transport::Ndjson => "application/x-ndjson",
            Transport::Events => "text/event-stream",
            Transport::Poll => "application/json",
        }
    }
}

/// Reads a request's target. Its method is looked at by the caller.
pub(super) fn route<'a>(request: &Request<'a>) -> Result<Route<'a>, Refusal> {
    let path = request.path();
    let mut parts = path.splitn(3, '/').skip(1);
    let (first, ids) = (parts.next().unwrap_or_default(), parts.next());
    let transport = match (first, ids) {
        ("", None) => return Ok(Route::Demo),
        ("healthz", None) => return Ok(Route::Health),
        ("test", Some(_)) => Transport::Test,
        ("stream", Some(_)) => Transport::Stream,
        ("events", Some(_)) => Transport::Events,
        ("poll", Some(_)) => Transport::Poll,
        ("ws", Some(_)) => Transport::Socket,
        _ => return Err(refusal(404, "there is / and /test/ID /stream/ID /events/ID /poll/ID /ws/ID\n")),
    };
    let ids = read_ids(ids.unwrap_or_default())?;
    let json = match request.query_value("format").as_deref() {
        None | Some("raw") => false,
        Some("ndjson" | "json") if matches!(transport, Transport::Stream | Transport::Socket) => true,
        Some(_) => return Err(refusal(400, "format: /stream and /ws know raw and ndjson\n")),
    };
    let transport = if json && transport == Transport::Stream { Transport::Ndjson } else { transport };
    let resume = read_resume(request, transport)?;
    let bare = matches!(transport, Transport::Test | Transport::Stream | Transport::Socket) && !json;
    if resume.is_some() && bare {
        return Err(refusal(
            400,
            "messages as they are carry no position to go on from: use format=ndjson or /events\n",
        ));
    }
    Ok(Route::Subscribe(Ask { transport, ids, json, resume, timeout: read_timeout(request)? }))
}

fn read_ids(list: &str) -> Result<Vec<&str>, Refusal> {
    let ids: Vec<_> = list
        .split(',')
        .map(|id| parse_id(id.as_bytes()).map_err(|error| refusal(400, format!("{error}\n"))))
        .collect::<Result<_, _>>()?;
    if ids.len() > IDS_MAX {
        return Err(refusal(
            400,
            format!("{} ids are over the limit of {IDS_MAX}: open several connections\n", ids.len()),
        ));
    }
    Ok(ids)
}

fn read_resume(request: &Request<'_>, transport: Transport) -> Result<Option<Position>, Refusal> {
    let from_header =
        request.header("last-event-id").filter(|_| matches!(transport, Transport::Events | Transport::Ndjson));
    // A browser that reconnects repeats the URL, so the header, which is newer, wins.
    if let Some(text) = from_header.filter(|text| !text.is_empty()) {
        // After any answer but 200 a browser would never come back: that it has lost something is all there is to say.
        return Ok(Some(text.parse().unwrap_or(Position::UNKNOWN)));
    }
    let text = request.query_value("last_event_id").or_else(|| request.query_value("after"));
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|error| refusal(400, format!("{error}\n"))))
        .transpose()
}

fn read_timeout(request: &Request<'_>) -> Result<Duration, Refusal> {
    let Some(text) = request.query_value("timeout") else { return Ok(POLL) };
    let wrong = || refusal(400, format!("timeout: seconds from 0 to {}\n", POLL_MAX.as_secs()));
    let timeout = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(wrong)?;
    if timeout > POLL_MAX { Err(wrong()) } else { Ok(timeout) }
}
