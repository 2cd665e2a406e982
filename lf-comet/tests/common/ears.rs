//! Subscribers over every transport, that hear the same.

use super::desk::from_base64;
use super::socket::{BINARY, CLOSE, Socket, TEXT};
use super::wire::Wire;
use lf_comet::Position;
use serde_json::Value;
use std::net::SocketAddr;

/// The transports on which messages can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Test,
    Stream,
    Ndjson,
    /// Without chunks, as clients of HTTP/1.0 get it.
    NdjsonPlain,
    Events,
    /// Without chunks.
    EventsPlain,
    Poll,
    Socket,
    SocketJson,
}

/// Those whose answers have no end: where messages wait for a slow reader.
pub(crate) const STREAMS: [Kind; 8] = [
    Kind::Test,
    Kind::Stream,
    Kind::Ndjson,
    Kind::NdjsonPlain,
    Kind::Events,
    Kind::EventsPlain,
    Kind::Socket,
    Kind::SocketJson,
];

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Test,
        Self::Stream,
        Self::Ndjson,
        Self::NdjsonPlain,
        Self::Events,
        Self::EventsPlain,
        Self::Poll,
        Self::Socket,
        Self::SocketJson,
    ];

    fn version(self) -> &'static str {
        match self {
            Self::NdjsonPlain | Self::EventsPlain => "1.0",
            Self::Test | Self::Stream | Self::Ndjson | Self::Events | Self::Poll | Self::Socket | Self::SocketJson => {
                "1.1"
            }
        }
    }

    fn target(self, ids: &str) -> String {
        match self {
            Self::Test => format!("/test/{ids}"),
            Self::Stream => format!("/stream/{ids}"),
            Self::Ndjson | Self::NdjsonPlain => format!("/stream/{ids}?format=ndjson"),
            Self::Events | Self::EventsPlain => format!("/events/{ids}"),
            Self::Poll => format!("/poll/{ids}?timeout=20"),
            Self::Socket => format!("/ws/{ids}"),
            Self::SocketJson => format!("/ws/{ids}?format=ndjson"),
        }
    }

    /// Whether messages have positions.
    pub(crate) fn has_positions(self) -> bool {
        !matches!(self, Self::Test | Self::Stream | Self::Socket)
    }

    /// What a body becomes on the way: events know no line ending but a line feed, and no chunk is empty.
    pub(crate) fn heard(self, body: &[u8]) -> Option<Vec<u8>> {
        match (self, std::str::from_utf8(body)) {
            (Self::Events | Self::EventsPlain, Ok(text)) => {
                Some(text.replace("\r\n", "\n").replace('\r', "\n").into_bytes())
            }
            (Self::Test | Self::Stream, _) if body.is_empty() => None,
            _ => Some(body.to_vec()),
        }
    }
}

/// What comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message(Option<Position>, Vec<u8>),
    Lost,
    /// A sign of life; of a poll, that nothing came.
    Beat,
}

#[derive(Debug)]
enum Way {
    /// In chunks, or as it comes.
    Http {
        wire: Wire,
        chunked: bool,
    },
    Socket(Socket),
}

/// Somebody who listens.
#[derive(Debug)]
pub(crate) struct Ear {
    pub(crate) kind: Kind,
    ids: String,
    way: Way,
    /// Bytes that are no whole message yet.
    rest: Vec<u8>,
    /// Messages of a poll.
    waiting: std::collections::VecDeque<Heard>,
    /// The last position that was heard, or that a poll was told to go on from.
    pub(crate) position: Option<Position>,
}

impl Ear {
    pub(crate) fn open(to: SocketAddr, kind: Kind, ids: &str, after: Option<Position>) -> Self {
        Self::on(Wire::connect(to), kind, ids, after)
    }

    /// Begins to listen on a connection.
    #[track_caller]
    pub(crate) fn on(mut wire: Wire, kind: Kind, ids: &str, after: Option<Position>) -> Self {
        let mut target = kind.target(ids);
        if let Some(after) = after {
            let mark = if target.contains('?') { '&' } else { '?' };
            target += &format!("{mark}after={after}");
        }
        let way = match kind {
            Kind::Socket | Kind::SocketJson => Way::Socket(Socket::on(wire, &target, "")),
            // It asks when it wants to know.
            Kind::Poll => Way::Http { wire, chunked: false },
            Kind::Test | Kind::Stream | Kind::Ndjson | Kind::NdjsonPlain | Kind::Events | Kind::EventsPlain => {
                wire.ask("GET", &target, kind.version(), "");
                let head = wire.head();
                assert_eq!(head.status(), 200, "{}", head.0);
                Way::Http { wire, chunked: head.is_chunked() }
            }
        };
        let (rest, waiting) = (Vec::new(), std::collections::VecDeque::new());
        let mut ear = Self { kind, ids: ids.into(), way, rest, waiting, position: after };
        match kind {
            Kind::Test => assert!(ear.some().is_some_and(|welcome| welcome.starts_with(b"<!doctype html>"))),
            Kind::Events | Kind::EventsPlain => assert!(ear.block().is_some_and(|block| block.starts_with("retry: "))),
            Kind::Stream | Kind::Ndjson | Kind::NdjsonPlain | Kind::Poll | Kind::Socket | Kind::SocketJson => {}
        }
        ear
    }

    /// The next chunk, or what is there; `None` at the end.
    fn some(&mut self) -> Option<Vec<u8>> {
        match &mut self.way {
            Way::Http { wire, chunked: true } => wire.chunk(),
            Way::Http { wire, chunked: false } => Some(wire.some()).filter(|bytes| !bytes.is_empty()),
            Way::Socket(_) => unreachable!("frames are no bytes"),
        }
    }

    /// Up to `mark`, without it.
    fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let mut looked = 0;
        loop {
            let found = self.rest[looked..].windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                let mut found: Vec<_> = self.rest.drain(..looked + at + mark.len()).collect();
                found.truncate(looked + at);
                return Some(found);
            }
            looked = (self.rest.len() + 1).saturating_sub(mark.len());
            let more = self.some()?;
            self.rest.extend_from_slice(&more);
        }
    }

    /// The next lines up to an empty one.
    fn block(&mut self) -> Option<String> {
        self.until(b"\n\n").map(|block| String::from_utf8(block).unwrap())
    }

    /// What comes next; `None` at a proper end.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Heard> {
        let heard = match self.kind {
            Kind::Test | Kind::Stream => Heard::Message(None, self.some()?),
            Kind::Ndjson | Kind::NdjsonPlain => of_json(&self.until(b"\n")?),
            Kind::Events | Kind::EventsPlain => of_event(&self.block()?),
            Kind::Poll => self.polled(),
            Kind::Socket | Kind::SocketJson => self.framed()?,
        };
        if let Heard::Message(at @ Some(_), _) = heard {
            self.position = at;
        }
        Some(heard)
    }

    fn framed(&mut self) -> Option<Heard> {
        let Way::Socket(socket) = &mut self.way else { unreachable!("a socket") };
        let (kind, payload) = socket.message();
        match kind {
            CLOSE => None,
            TEXT if self.kind == Kind::SocketJson => Some(of_json(&payload)),
            TEXT => Some(Heard::Message(None, String::from_utf8(payload).unwrap().into_bytes())),
            BINARY if self.kind == Kind::Socket => Some(Heard::Message(None, payload)),
            other => panic!("a frame of kind {other}: {payload:?}"),
        }
    }

    fn polled(&mut self) -> Heard {
        if let Some(heard) = self.waiting.pop_front() {
            return heard;
        }
        self.ask_poll();
        self.take_poll()
    }

    /// Sends the next poll, to be taken with [`take_poll`](Self::take_poll).
    pub(crate) fn ask_poll(&mut self) {
        let Way::Http { wire, .. } = &mut self.way else { unreachable!("polls go by HTTP") };
        let after = self.position.map(|position| format!("&after={position}")).unwrap_or_default();
        wire.get(&(Kind::Poll.target(&self.ids) + &after));
    }

    #[track_caller]
    pub(crate) fn take_poll(&mut self) -> Heard {
        let Way::Http { wire, .. } = &mut self.way else { unreachable!("polls go by HTTP") };
        let answer = wire.answer();
        let next: Position = answer.field("lf-next").unwrap().parse().unwrap();
        match answer.status {
            200 => {
                let page = answer.json();
                assert_eq!(page["next"], next.to_string());
                self.waiting.extend(page["messages"].as_array().unwrap().iter().map(of_value));
                let last = self.waiting.iter().rev().find_map(|heard| match heard {
                    Heard::Message(at, _) => *at,
                    Heard::Lost | Heard::Beat => None,
                });
                assert!(last.is_some_and(|last| last.offset <= next.offset), "{page}");
                self.position = Some(next);
                self.waiting.pop_front().expect("an answer with messages")
            }
            204 => {
                self.position = Some(next);
                Heard::Beat
            }
            410 => {
                assert_eq!(answer.text(), format!("{{\"lost\":true,\"next\":\"{next}\"}}\n"));
                self.position = Some(next);
                Heard::Lost
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }

    /// All that one poll answers.
    #[track_caller]
    pub(crate) fn poll(&mut self) -> Vec<Heard> {
        assert!(self.waiting.is_empty(), "of the last poll, messages were not taken");
        self.ask_poll();
        let first = self.take_poll();
        std::iter::once(first).chain(self.waiting.drain(..)).collect()
    }

    /// The next message; signs of life are passed over.
    #[track_caller]
    pub(crate) fn message(&mut self) -> (Option<Position>, Vec<u8>) {
        loop {
            match self.next() {
                Some(Heard::Message(at, body)) => return (at, body),
                Some(Heard::Beat) => {}
                other => panic!("{other:?} came on {:?}, not a message", self.kind),
            }
        }
    }

    /// The next message, as text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.message().1).unwrap()
    }

    /// Its connection, whatever has come on it.
    pub(crate) fn into_wire(self) -> Wire {
        match self.way {
            Way::Http { wire, .. } => wire,
            Way::Socket(socket) => socket.wire,
        }
    }

    /// Its WebSocket.
    pub(crate) fn into_socket(self) -> Socket {
        let Way::Socket(socket) = self.way else { panic!("{:?} is no WebSocket", self.kind) };
        socket
    }
}

fn of_json(line: &[u8]) -> Heard {
    if line.is_empty() {
        return Heard::Beat;
    }
    of_value(&serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", line.escape_ascii())))
}

fn of_value(value: &Value) -> Heard {
    if value.get("lost").is_some() {
        assert_eq!(*value, serde_json::json!({ "lost": true }));
        return Heard::Lost;
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let body = match (text("body"), text("body64")) {
        (Some(body), None) => body.as_bytes().to_vec(),
        (None, Some(body)) => from_base64(body),
        _ => panic!("{value}"),
    };
    Heard::Message(Some(text("id").unwrap().parse().unwrap()), body)
}

fn of_event(block: &str) -> Heard {
    let mut lines = block.split('\n');
    match lines.next() {
        Some(":") => Heard::Beat,
        Some("event: lost") => {
            let at = lines.next().and_then(|line| line.strip_prefix("id: "));
            assert!(at.is_some_and(|at| at.parse::<Position>().is_ok()), "{block:?}");
            assert_eq!(lines.collect::<Vec<_>>(), ["data: {}"]);
            Heard::Lost
        }
        Some(line) => {
            let at = line.strip_prefix("id: ").unwrap_or_else(|| panic!("{block:?}")).parse().unwrap();
            let rest: Vec<_> = lines.collect();
            let (is_base64, data) = match rest.as_slice() {
                ["event: base64", data @ ..] => (true, data),
                data => (false, data),
            };
            let data: Vec<_> = data.iter().map(|line| line.strip_prefix("data: ").unwrap()).collect();
            let text = data.join("\n");
            Heard::Message(Some(at), if is_base64 { from_base64(&text) } else { text.into_bytes() })
        }
        None => unreachable!("a block has a line"),
    }
}
