//! The transports of a push server: how to ask, and what of the answer is a message.

use super::frame::KEY;
use super::reader::{Content, Piece, Reader};
use super::{Broken, sse};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Seconds that a poll waits at the server for something new.
const POLL_SECONDS: u32 = 25;

/// How a subscriber listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// `/test/ID`: a welcome, then a chunk a message.
    Chunked,
    /// `/stream/ID`: a chunk a message.
    Stream,
    /// `/stream/ID?format=ndjson`: a line of JSON a message.
    Ndjson,
    /// `/events/ID`: Server-Sent Events.
    Sse,
    /// `/poll/ID`: an answer when there is something new, then the next request.
    Poll,
    /// `/ws/ID`: a WebSocket frame a message.
    Ws,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Chunked => "chunked",
            Transport::Stream => "stream",
            Transport::Ndjson => "ndjson",
            Transport::Sse => "sse",
            Transport::Poll => "poll",
            Transport::Ws => "ws",
        })
    }
}

impl Transport {
    fn content(self) -> Content {
        match self {
            Transport::Chunked | Transport::Stream => Content::Chunks,
            Transport::Ndjson => Content::Lines,
            Transport::Sse => Content::Events,
            Transport::Poll => Content::Bodies,
            Transport::Ws => Content::Frames,
        }
    }

    /// The request by which a subscriber of `id` begins. The first poll asks for the position only.
    pub(crate) fn request(self, id: u32) -> String {
        let (path, headers) = match self {
            Transport::Chunked => (format!("/test/{id}"), String::new()),
            // Other servers want to be told that chunks are welcome.
            Transport::Stream => (format!("/stream/{id}"), "TE: chunked\r\n".to_owned()),
            Transport::Ndjson => (format!("/stream/{id}?format=ndjson"), String::new()),
            Transport::Sse => (format!("/events/{id}"), "Accept: text/event-stream\r\n".to_owned()),
            Transport::Poll => (format!("/poll/{id}?timeout=0"), String::new()),
            Transport::Ws => (
                format!("/ws/{id}"),
                format!(
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
                ),
            ),
        };
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    }
}

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// The server has let it in: from here on it must get everything.
    Ready,
    Message(&'a [u8]),
    /// The server says that something is lost.
    Lost,
    /// A poll was answered: [`Decoder::next_poll`] is to be sent.
    PollAgain,
    /// To be answered with a pong.
    Ping(&'a [u8]),
    /// The server has ended the stream in good order.
    Bye,
    /// Something between the messages that is none.
    Unreadable,
}

/// Turns what a subscriber reads into what it hears.
#[derive(Debug)]
pub(crate) struct Decoder {
    transport: Transport,
    reader: Reader,
    is_ready: bool,
    /// Of a poll.
    position: Box<str>,
}

/// A line of NDJSON, or a message in the answer of a poll.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    body: Option<Text<'a>>,
    #[serde(default)]
    lost: bool,
}

/// A string that is borrowed where it has no escapes; serde borrows only in a type of its own.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The body of a poll's answer.
#[derive(Deserialize)]
struct Polled<'a> {
    #[serde(borrow)]
    next: Text<'a>,
    #[serde(borrow, default)]
    messages: Vec<Object<'a>>,
}

impl Decoder {
    pub(crate) fn new(transport: Transport) -> Self {
        Decoder { transport, reader: Reader::new(transport.content()), is_ready: false, position: Box::default() }
    }

    /// For a stream whose beginning has been read by another decoder up to a boundary.
    pub(crate) fn resumed(transport: Transport, opening: &Decoder) -> Self {
        Decoder { reader: opening.reader.successor(), is_ready: true, ..Decoder::new(transport) }
    }

    /// Whether the server has let the subscriber in.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether nothing is unfinished.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.reader.is_at_boundary()
    }

    /// The request of a poll that follows [`Heard::Ready`] and [`Heard::PollAgain`].
    pub(crate) fn next_poll(&self, id: u32) -> Option<String> {
        let query = format!("after={}&timeout={POLL_SECONDS}", self.position);
        (self.transport == Transport::Poll)
            .then(|| format!("GET /poll/{id}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Takes what a read has returned, and gives each thing that is heard.
    ///
    /// # Errors
    /// If the server refuses the subscriber, or its bytes do not follow the format.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Heard<'_>)) -> Result<(), Broken> {
        let Decoder { transport, reader, is_ready, position } = self;
        let mut refused = None;
        reader.push(bytes, |piece| match piece {
            // The first chunk of /test is the welcome.
            Piece::Opened if *transport == Transport::Chunked => {}
            Piece::Opened => {
                *is_ready = true;
                each(Heard::Ready);
            }
            Piece::Chunk(_) if !*is_ready => {
                *is_ready = true;
                each(Heard::Ready);
            }
            Piece::Chunk(bytes) | Piece::Message(bytes) => each(Heard::Message(bytes)),
            Piece::Line(b"") => {}
            Piece::Line(line) => object(line, &mut each),
            Piece::Event(event) => self::event(&event, &mut each),
            Piece::Ping(bytes) => each(Heard::Ping(bytes)),
            Piece::Close | Piece::Ended => each(Heard::Bye),
            Piece::Answer { status, position: next, body, .. } => {
                match polled(status, next, body, &mut each) {
                    Ok(next) => *position = next,
                    Err(broken) => refused = refused.or(Some(broken)),
                }
                each(if std::mem::replace(is_ready, true) { Heard::PollAgain } else { Heard::Ready });
            }
        })?;
        refused.map_or(Ok(()), Err)
    }
}

fn event(event: &sse::Event<'_>, each: &mut impl FnMut(Heard<'_>)) {
    match (&event.data, event.kind) {
        (None, _) => {}
        (Some(_), b"lost") => each(Heard::Lost),
        (Some(data), b"" | b"message") => each(Heard::Message(data)),
        // `base64`: nothing that was published here needs it.
        (Some(_), _) => each(Heard::Unreadable),
    }
}

fn object(line: &[u8], each: &mut impl FnMut(Heard<'_>)) {
    match serde_json::from_slice::<Object<'_>>(line) {
        Ok(Object { lost: true, .. }) => each(Heard::Lost),
        Ok(Object { body: Some(Text(body)), .. }) => each(Heard::Message(body.as_bytes())),
        Ok(_) | Err(_) => each(Heard::Unreadable),
    }
}

/// Gives the messages of a poll's answer, and returns the position after them.
fn polled(
    status: u16,
    position: Option<&str>,
    body: &[u8],
    each: &mut impl FnMut(Heard<'_>),
) -> Result<Box<str>, Broken> {
    let read = |body| serde_json::from_slice::<Polled<'_>>(body).map_err(|_| Broken::Format("answer to a poll"));
    match status {
        200 => {
            let answer = read(body)?;
            for message in &answer.messages {
                match &message.body {
                    Some(Text(body)) => each(Heard::Message(body.as_bytes())),
                    None => each(Heard::Unreadable),
                }
            }
            Ok(answer.next.0.into())
        }
        204 => position.map(Box::from).ok_or(Broken::Format("204 without Lf-Next")),
        410 => {
            each(Heard::Lost);
            Ok(read(body)?.next.0.into())
        }
        _ => Err(Broken::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn heard(transport: Transport, stream: &str) -> Vec<String> {
        let mut all = Vec::new();
        for size in 1..=stream.len() {
            let (mut decoder, mut heard) = (Decoder::new(transport), Vec::new());
            for part in stream.as_bytes().chunks(size) {
                decoder.push(part, |what| heard.push(format!("{what:?}"))).unwrap();
            }
            assert!(decoder.is_ready() && decoder.is_at_boundary());
            all.push(heard);
        }
        assert!(all.iter().all(|heard| *heard == all[0]), "{all:?}");
        all.swap_remove(0)
    }

    fn words(heard: &[Heard<'_>]) -> Vec<String> {
        heard.iter().map(|what| format!("{what:?}")).collect()
    }

    #[test]
    fn the_welcome_is_no_message() {
        let stream = format!("{CHUNKED}8\r\nWelcome\n\r\n2\r\nhi\r\n0\r\n\r\n");
        assert_eq!(heard(Transport::Chunked, &stream), words(&[Heard::Ready, Heard::Message(b"hi"), Heard::Bye]));
        let stream = format!("{CHUNKED}2\r\nhi\r\n");
        assert_eq!(heard(Transport::Stream, &stream), words(&[Heard::Ready, Heard::Message(b"hi")]));
    }

    #[test]
    fn events_are_messages_unless_they_say_otherwise() {
        let parts =
            ["retry: 3000\n\n:\n\nid: a-1\ndata: hi\n\nevent: lost\nda", "ta: {}\n\nevent: x\ndata: 1\n\n:\n\n"];
        let chunks: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
        let stream = format!("{CHUNKED}{chunks}");
        let expected = words(&[Heard::Ready, Heard::Message(b"hi"), Heard::Lost, Heard::Unreadable]);
        assert_eq!(heard(Transport::Sse, &stream), expected);
    }

    #[test]
    fn lines_of_json_are_messages_with_and_without_escapes() {
        let lines =
            "{\"id\":\"a-1\",\"body\":\"hi\"}\n\n{\"id\":\"a-2\",\"body\":\"\\u0068\\\"\"}\n{\"lost\":true}\nwhat\n";
        let stream = format!("{CHUNKED}{:x}\r\n{lines}\r\n", lines.len());
        let expected =
            words(&[Heard::Ready, Heard::Message(b"hi"), Heard::Message(b"h\""), Heard::Lost, Heard::Unreadable]);
        assert_eq!(heard(Transport::Ndjson, &stream), expected);
    }

    #[test]
    fn polls_go_on_where_the_last_answer_ended() {
        let body = "{\"next\":\"e-3\",\"messages\":[{\"id\":\"e-2\",\"body\":\"a\"},{\"id\":\"e-3\",\"body\":\"b\"}]}";
        let gone = "{\"lost\":true,\"next\":\"e-9\"}";
        let first = "HTTP/1.1 204 No Content\r\nLf-Next: e-1\r\n\r\n";
        let stream = format!(
            "{first}HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}HTTP/1.1 410 Gone\r\nContent-Length: {}\r\n\r\n{gone}",
            body.len(),
            gone.len()
        );
        let expected = words(&[
            Heard::Ready,
            Heard::Message(b"a"),
            Heard::Message(b"b"),
            Heard::PollAgain,
            Heard::Lost,
            Heard::PollAgain,
        ]);
        assert_eq!(heard(Transport::Poll, &stream), expected);
        let mut decoder = Decoder::new(Transport::Poll);
        decoder.push(stream.as_bytes(), |_| {}).unwrap();
        assert!(decoder.next_poll(7).unwrap().starts_with("GET /poll/7?after=e-9&timeout="));
    }

    #[test]
    fn a_poll_that_is_refused_is_an_error() {
        let mut decoder = Decoder::new(Transport::Poll);
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(decoder.push(answer, |_| {}), Err(Broken::Status(400)));
    }

    #[test]
    fn a_decoder_that_resumes_hears_what_comes_after_the_opening() {
        let mut opening = Decoder::new(Transport::Chunked);
        opening.push(format!("{CHUNKED}8\r\nWelcome\n\r\n").as_bytes(), |_| {}).unwrap();
        let (mut resumed, mut heard) = (Decoder::resumed(Transport::Chunked, &opening), Vec::new());
        resumed.push(b"2\r\nhi\r\n", |what| heard.push(format!("{what:?}"))).unwrap();
        assert_eq!(heard, words(&[Heard::Message(b"hi")]));
    }
}
