//! A message on its way, and the bytes that it becomes on each transport.

use crate::position::Position;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lf_core::Message;
use lf_core::codec::{http, websocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The bytes that a connection wants for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// The message as it is, a chunk each.
    Chunk,
    /// The message as it is, for clients that know no chunks.
    Plain,
    /// A JSON line in a chunk.
    JsonChunk,
    /// A JSON line, for clients that know no chunks.
    JsonLine,
    /// A server-sent event in a chunk.
    EventChunk,
    /// A server-sent event.
    Event,
    /// A WebSocket frame: text, or binary if it is not UTF-8.
    Frame,
    /// A WebSocket text frame with JSON.
    JsonFrame,
    /// A JSON line, which becomes a part of the answer to a poll.
    Poll,
}

impl Encoding {
    pub(crate) const ALL: [Self; 9] = [
        Self::Chunk,
        Self::Plain,
        Self::JsonChunk,
        Self::JsonLine,
        Self::EventChunk,
        Self::Event,
        Self::Frame,
        Self::JsonFrame,
        Self::Poll,
    ];

    /// Its name in lists.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Chunk => "chunked",
            Self::Plain => "plain",
            Self::JsonChunk | Self::JsonLine => "ndjson",
            Self::EventChunk | Self::Event => "sse",
            Self::Frame | Self::JsonFrame => "websocket",
            Self::Poll => "poll",
        }
    }

    /// Whether `bytes` can only be the lines of a poll, and not of this encoding. Where every byte is possible, that is
    /// never so.
    pub(crate) fn is_foreign(self, bytes: &[u8]) -> bool {
        match self {
            // They begin with a size, a field's name, the kind of a frame.
            Self::Chunk | Self::JsonChunk | Self::EventChunk | Self::Event | Self::Frame | Self::JsonFrame => {
                bytes.first() == Some(&b'{')
            }
            Self::Plain | Self::JsonLine | Self::Poll => false,
        }
    }

    /// How many messages are in `bytes`, which joins pieces of this encoding; 1 where that cannot be told.
    pub(crate) fn count(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Chunk | Self::JsonChunk | Self::EventChunk => count_chunks(bytes),
            Self::JsonLine | Self::Poll => memchr::memchr_iter(b'\n', bytes).count() as u64,
            Self::Event => memchr::memmem::find_iter(bytes, b"\n\n").count() as u64,
            Self::Frame | Self::JsonFrame => count_frames(bytes),
            Self::Plain => 1,
        }
    }
}

/// Walks from size line to size line.
fn count_chunks(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(end) = memchr::memchr(b'\r', bytes) {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size else { break };
        count += 1;
        bytes = bytes.get(end + 2 + size + 2..).unwrap_or_default();
    }
    count
}

/// Walks from frame header to frame header; ours have no mask.
fn count_frames(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let [_, short, rest @ ..] = bytes {
        let (header, len) = match (short, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (10, usize::try_from(len).unwrap_or(usize::MAX))
            }
            (len, _) => (2, usize::from(*len)),
        };
        count += 1;
        bytes = bytes.get(len.saturating_add(header)..).unwrap_or_default();
    }
    count
}

/// A message that was accepted for sending. It is encoded once for each way in which somebody wants it, when the first
/// one does.
#[derive(Debug)]
pub struct Publication {
    /// Where it is in the stream of all messages.
    pub position: Position,
    /// The message.
    pub body: Arc<[u8]>,
    /// From then on nobody gets it any more from history.
    pub expires: Option<Instant>,
    /// Parts of the fan-out that still have to carry it.
    carriers: AtomicUsize,
    encoded: [OnceLock<Message>; Encoding::ALL.len()],
}

/// A body in JSON: as text, or in base64 if it is not UTF-8.
#[derive(serde::Serialize)]
struct Line<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body64: Option<String>,
}

impl Publication {
    pub(crate) fn new(position: Position, body: Arc<[u8]>, ttl: Option<Duration>) -> Self {
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        Self { position, body, expires, carriers: AtomicUsize::new(0), encoded: Default::default() }
    }

    /// Memory that it takes, without its encodings.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len()
    }

    /// Has as many parts of the fan-out carry it.
    pub(crate) fn is_carried_by(&self, carriers: usize) {
        self.carriers.store(carriers, Ordering::Relaxed);
    }

    /// One of them has; answers whether it was the last one.
    pub(crate) fn was_carried(&self) -> bool {
        self.carriers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The message's bytes on a transport; made once, then shared.
    pub(crate) fn encoded(&self, encoding: Encoding) -> &Message {
        self.encoded[encoding as usize].get_or_init(|| match encoding {
            Encoding::Plain => Arc::clone(&self.body),
            Encoding::Chunk => chunk(&self.body),
            Encoding::JsonLine => self.json_line().into(),
            Encoding::Poll => Arc::clone(self.encoded(Encoding::JsonLine)),
            Encoding::JsonChunk => chunk(self.encoded(Encoding::JsonLine)),
            Encoding::Event => self.event().into(),
            Encoding::EventChunk => chunk(self.encoded(Encoding::Event)),
            Encoding::Frame => {
                let kind = match std::str::from_utf8(&self.body) {
                    Ok(_) => websocket::Kind::Text,
                    Err(_) => websocket::Kind::Binary,
                };
                websocket::frame(kind, &self.body).into()
            }
            Encoding::JsonFrame => {
                let line = self.json_line();
                websocket::frame(websocket::Kind::Text, line.strip_suffix(b"\n").unwrap_or(&line)).into()
            }
        })
    }

    fn json_line(&self) -> Vec<u8> {
        let (body, body64) = match std::str::from_utf8(&self.body) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(BASE64.encode(&self.body))),
        };
        let mut line = serde_json::to_vec(&Line { id: self.position.to_string(), body, body64 }).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>
    fn event(&self) -> Vec<u8> {
        let mut event = format!("id: {}\n", self.position).into_bytes();
        match std::str::from_utf8(&self.body) {
            Ok(text) => push_data(&mut event, text),
            Err(_) => {
                event.extend_from_slice(b"event: base64\n");
                push_data(&mut event, &BASE64.encode(&self.body));
            }
        }
        event.push(b'\n');
        event
    }
}

/// A `data` field for each line. The client joins them by line feeds, whatever line ending there was: CR, LF or both.
fn push_data(event: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(&rest.as_bytes()[..end]);
        event.push(b'\n');
        let Some(after) = rest.get(end..).filter(|after| !after.is_empty()) else { break };
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
}

fn chunk(bytes: &[u8]) -> Message {
    let mut out = Vec::with_capacity(bytes.len() + 12);
    http::write_chunk(&mut out, bytes);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(body: &[u8]) -> Publication {
        Publication::new(Position { epoch: 1, offset: 7 }, body.into(), None)
    }

    fn text(body: &[u8], encoding: Encoding) -> String {
        String::from_utf8(publication(body).encoded(encoding).to_vec()).unwrap()
    }

    #[test]
    fn an_event_has_a_data_field_for_each_line() {
        assert_eq!(text(b"a\nb", Encoding::Event), "id: 00000001-7\ndata: a\ndata: b\n\n");
        assert_eq!(text(b"a\r\nb\rc\n", Encoding::Event), "id: 00000001-7\ndata: a\ndata: b\ndata: c\ndata: \n\n");
        assert_eq!(text(b"", Encoding::Event), "id: 00000001-7\ndata: \n\n");
        assert_eq!(text(b"\xff", Encoding::Event), "id: 00000001-7\nevent: base64\ndata: /w==\n\n");
    }

    #[test]
    fn a_json_line_carries_text_or_base64() {
        assert_eq!(text(b"a\n\"", Encoding::JsonLine), "{\"id\":\"00000001-7\",\"body\":\"a\\n\\\"\"}\n");
        assert_eq!(text(b"\xff", Encoding::JsonLine), "{\"id\":\"00000001-7\",\"body64\":\"/w==\"}\n");
    }

    #[test]
    fn messages_are_counted_in_joined_pieces() {
        let big = vec![b'x'; 70_000];
        for encoding in [
            Encoding::Chunk,
            Encoding::JsonChunk,
            Encoding::JsonLine,
            Encoding::EventChunk,
            Encoding::Event,
            Encoding::Frame,
            Encoding::JsonFrame,
        ] {
            let mut joined = Vec::new();
            for body in [b"a".as_slice(), b"b\n\nc", &big, &big[..200], b"\xff\n"] {
                joined.extend_from_slice(publication(body).encoded(encoding));
            }
            assert_eq!(encoding.count(&joined), 5, "{encoding:?}");
        }
    }

    #[test]
    fn an_encoding_is_made_once() {
        let publication = publication(b"a");
        let first = Message::clone(publication.encoded(Encoding::Event));
        assert!(Arc::ptr_eq(&first, publication.encoded(Encoding::Event)));
    }
}
