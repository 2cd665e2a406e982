//! A stream of bytes, cut anywhere, as the pieces that a server has sent.

use super::frame::{self, Frame};
use super::head::{Framing, chunk, head};
use super::sse::{self, Event};
use super::{Broken, line};

/// A piece that is longer than this is nobody's message.
const UNFINISHED_BYTES_MAX: usize = 16 << 20;

/// How messages lie in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A message is a chunk.
    Chunks,
    /// A message is a line.
    Lines,
    /// A message is a Server-Sent Event.
    Events,
    /// A message is a WebSocket frame, or some fragments.
    Frames,
    /// One answer after the other on one connection, each with all of its body.
    Bodies,
}

/// What is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The head of a stream.
    Opened,
    Chunk(&'a [u8]),
    Line(&'a [u8]),
    Event(Event<'a>),
    /// A text or binary message.
    Message(&'a [u8]),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// The peer's close frame.
    Close,
    /// A whole answer, where `Lf-Next` says it goes on, its body, and whether the server closes after it.
    Answer {
        status: u16,
        position: Option<&'a str>,
        body: &'a [u8],
        closes: bool,
    },
    /// A stream has ended in good order.
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    Body(Framing),
}

/// Cuts a stream into pieces. What is unfinished at the end of a read is kept until the next; between
/// messages no memory is held.
#[derive(Debug)]
pub(crate) struct Reader {
    content: Content,
    /// Answers to `HEAD`: no body follows, whatever their heads say.
    heads_only: bool,
    stage: Stage,
    /// Of [`Content::Bodies`]: the answer whose body is being read.
    status: u16,
    closes: bool,
    position: Option<Box<str>>,
    /// Bytes of the connection that do not make a piece yet.
    outer: Vec<u8>,
    /// Bytes of the body, without the frames of its chunks, that do not make a piece yet.
    inner: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(content: Content) -> Self {
        Reader {
            content,
            heads_only: false,
            stage: Stage::Head,
            status: 0,
            closes: false,
            position: None,
            outer: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// Of the answers to `HEAD`.
    pub(crate) fn of_heads() -> Self {
        Reader { heads_only: true, ..Reader::new(Content::Bodies) }
    }

    /// A reader of what comes after what this one has read up to a boundary.
    pub(super) fn successor(&self) -> Self {
        Reader { stage: self.stage, ..Reader::new(self.content) }
    }

    /// Whether nothing is unfinished.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.outer.is_empty() && self.inner.is_empty()
    }

    /// Takes what a read has returned, and gives each piece that it completes.
    ///
    /// # Errors
    /// If the bytes do not follow the format; the connection is of no use after that.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>)) -> Result<(), Broken> {
        let mut outer = std::mem::take(&mut self.outer);
        if outer.is_empty() {
            let used = self.take_all(bytes, &mut each)?;
            outer.extend_from_slice(&bytes[used..]);
        } else {
            outer.extend_from_slice(bytes);
            let used = self.take_all(&outer, &mut each)?;
            cut(&mut outer, used);
        }
        if outer.len().max(self.inner.len()) > UNFINISHED_BYTES_MAX {
            return Err(Broken::Endless(UNFINISHED_BYTES_MAX));
        }
        self.outer = outer;
        Ok(())
    }

    /// The connection has ended, and with it a body that had no other end.
    pub(crate) fn end(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if self.content == Content::Bodies && matches!(self.stage, Stage::Body(Framing::UntilClose)) {
            let body = std::mem::take(&mut self.inner);
            self.answer(&body, &mut each);
        }
    }

    fn take_all(&mut self, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let used = match self.stage {
                Stage::Head => self.take_head(rest, each)?,
                Stage::Body(Framing::Chunked) => self.take_chunk(rest, each)?,
                Stage::Body(Framing::Length(length)) if rest.len() >= length => {
                    self.answer(&rest[..length], each);
                    length
                }
                Stage::Body(Framing::Length(_)) => 0,
                Stage::Body(Framing::UntilClose) => {
                    self.take_content(rest, each);
                    rest.len()
                }
                Stage::Body(Framing::Frames) => self.take_frame(rest, each)?,
            };
            if used == 0 {
                break;
            }
            at += used;
        }
        Ok(at)
    }

    fn take_head(&mut self, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) -> Result<usize, Broken> {
        let Some((mut head, used)) = head(bytes)? else { return Ok(0) };
        if self.heads_only {
            head.framing = Framing::Length(0);
        }
        let expected = match self.content {
            Content::Frames => 101,
            Content::Bodies => head.status,
            Content::Chunks | Content::Lines | Content::Events => 200,
        };
        if head.status != expected {
            return Err(Broken::Status(head.status));
        }
        (self.status, self.position, self.closes) = (head.status, head.position, head.closes);
        match (self.content, head.framing) {
            // Nothing follows that could raise another turn.
            (Content::Bodies, Framing::Length(0)) => self.answer(b"", each),
            (Content::Bodies, framing) => self.stage = Stage::Body(framing),
            (_, framing) => {
                self.stage = Stage::Body(framing);
                each(Piece::Opened);
            }
        }
        Ok(used)
    }

    fn take_chunk(&mut self, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) -> Result<usize, Broken> {
        let Some((payload, used)) = chunk(bytes)? else { return Ok(0) };
        match (self.content, payload.is_empty()) {
            (Content::Bodies, true) => {
                let body = std::mem::take(&mut self.inner);
                self.answer(&body, each);
            }
            (_, true) => {
                self.stage = Stage::Head;
                each(Piece::Ended);
            }
            (_, false) => self.take_content(payload, each),
        }
        Ok(used)
    }

    /// An answer is whole, the next one begins.
    fn answer(&mut self, body: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
        self.stage = Stage::Head;
        let Reader { status, closes, .. } = *self;
        each(Piece::Answer { status, position: self.position.as_deref(), body, closes });
    }

    /// Bytes of the body.
    fn take_content(&mut self, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
        if self.content == Content::Chunks {
            return each(Piece::Chunk(bytes));
        }
        if self.inner.is_empty() {
            let used = pieces(self.content, bytes, each);
            self.inner.extend_from_slice(&bytes[used..]);
        } else {
            self.inner.extend_from_slice(bytes);
            let used = pieces(self.content, &self.inner, each);
            cut(&mut self.inner, used);
        }
    }

    fn take_frame(&mut self, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) -> Result<usize, Broken> {
        let Some((Frame { opcode, is_final, payload }, used)) = frame::frame(bytes)? else { return Ok(0) };
        match opcode {
            frame::TEXT | frame::BINARY if is_final && self.inner.is_empty() => each(Piece::Message(payload)),
            frame::TEXT | frame::BINARY | frame::CONTINUATION => {
                self.inner.extend_from_slice(payload);
                if is_final {
                    each(Piece::Message(&std::mem::take(&mut self.inner)));
                }
            }
            frame::PING => each(Piece::Ping(payload)),
            frame::PONG => {}
            frame::CLOSE => each(Piece::Close),
            _ => return Err(Broken::Format("WebSocket frame: opcode")),
        }
        Ok(used)
    }
}

/// Whole lines or events; how many bytes they take.
fn pieces(content: Content, bytes: &[u8], each: &mut dyn FnMut(Piece<'_>)) -> usize {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let used = match content {
            Content::Lines => line(rest).map(|(line, used)| {
                each(Piece::Line(line));
                used
            }),
            Content::Events => sse::event(rest).map(|(event, used)| {
                each(Piece::Event(event));
                used
            }),
            // Kept until the last chunk.
            Content::Bodies | Content::Chunks | Content::Frames => None,
        };
        match used {
            Some(used) => at += used,
            None => return at,
        }
    }
}

/// Takes the first bytes off; an empty buffer gives its memory back.
fn cut(buffer: &mut Vec<u8>, used: usize) {
    if used == buffer.len() {
        *buffer = Vec::new();
    } else {
        buffer.drain(..used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// What is read when the stream comes in pieces of `size` bytes.
    fn read(content: Content, stream: &[u8], size: usize) -> (Vec<String>, Reader) {
        let (mut reader, mut pieces) = (Reader::new(content), Vec::new());
        for part in stream.chunks(size) {
            reader.push(part, |piece| pieces.push(format!("{piece:?}"))).unwrap();
        }
        (pieces, reader)
    }

    /// The same pieces come out wherever the stream is cut, once or always.
    fn same_however_cut(content: Content, stream: &[u8]) -> Vec<String> {
        let (whole, reader) = read(content, stream, stream.len());
        assert!(reader.is_at_boundary(), "{reader:?}");
        for size in 1..stream.len() {
            let (pieces, reader) = read(content, stream, size);
            assert_eq!(pieces, whole, "in pieces of {size}");
            assert!(reader.is_at_boundary() && reader.outer.capacity() == 0 && reader.inner.capacity() == 0);
        }
        for cut in 1..stream.len() {
            let (mut reader, mut pieces) = (Reader::new(content), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                reader.push(part, |piece| pieces.push(format!("{piece:?}"))).unwrap();
            }
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        whole
    }

    fn chunked(parts: &[&str]) -> Vec<u8> {
        let chunks: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
        format!("{STREAM}{chunks}").into_bytes()
    }

    #[test]
    fn chunks_are_messages_wherever_the_stream_is_cut() {
        let pieces = same_however_cut(Content::Chunks, &chunked(&["Welcome\n", "a\r\nb", "0\r\n\r\n"]));
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces[2], format!("{:?}", Piece::Chunk(b"a\r\nb")));
    }

    #[test]
    fn lines_are_messages_whatever_chunks_they_come_in() {
        let pieces = same_however_cut(Content::Lines, &chunked(&["{\"a\":1}\n\n{\"b\"", ":2}", "\n{}\n"]));
        let lines: Vec<String> =
            ["{\"a\":1}", "", "{\"b\":2}", "{}"].map(|line| format!("{:?}", Piece::Line(line.as_bytes()))).into();
        assert_eq!(pieces[1..], lines);
    }

    #[test]
    fn events_are_messages_in_chunks_and_in_a_body_without_an_end() {
        let parts = ["retry: 3000\n\n", "id: a-1\nda", "ta: x\n\nid: a-2\ndata: y\n", "\n:\n\n"];
        let in_chunks = same_however_cut(Content::Events, &chunked(&parts));
        let plain = format!("HTTP/1.1 200 OK\r\n\r\n{}", parts.concat());
        assert_eq!(same_however_cut(Content::Events, plain.as_bytes()), in_chunks);
        assert_eq!(in_chunks.iter().filter(|piece| piece.contains("data: Some")).count(), 2);
    }

    #[test]
    fn frames_are_messages_and_control_frames_come_between_fragments() {
        let mut stream =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".to_vec();
        stream.extend_from_slice(b"\x81\x02hi\x01\x02he\x89\x01?\x00\x02ll\x80\x01o\x82\x00\x88\x02\x03\xe8");
        let pieces = same_however_cut(Content::Frames, &stream);
        let expected = [
            Piece::Opened,
            Piece::Message(b"hi"),
            Piece::Ping(b"?"),
            Piece::Message(b"hello"),
            Piece::Message(b""),
            Piece::Close,
        ];
        assert_eq!(pieces, expected.map(|piece| format!("{piece:?}")));
    }

    #[test]
    fn answers_follow_each_other_with_and_without_a_body() {
        let mut stream = b"HTTP/1.1 204 No Content\r\nLf-Next: e-1\r\n\r\n".to_vec();
        stream.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
        );
        stream.extend_from_slice(&chunked(&["ab", "c"]));
        stream.extend_from_slice(b"0\r\n\r\n");
        let pieces = same_however_cut(Content::Bodies, &stream);
        let expected = [(204, Some("e-1"), ""), (200, None, "abc"), (410, None, ""), (200, None, "abc")]
            .map(|(status, position, body)| Piece::Answer { status, position, body: body.as_bytes(), closes: false });
        assert_eq!(pieces, expected.map(|piece| format!("{piece:?}")));
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        let stream = b"HTTP/1.1 200 OK\r\n\r\nab\r\n\r\nc";
        for size in 1..=stream.len() {
            let (pieces, mut reader) = read(Content::Bodies, stream, size);
            assert_eq!(pieces, Vec::<String>::new());
            let mut answers = Vec::new();
            reader.end(|piece| answers.push(format!("{piece:?}")));
            let body = b"ab\r\n\r\nc";
            let expected = Piece::Answer { status: 200, position: None, body, closes: true };
            assert_eq!(answers, [format!("{expected:?}")], "in pieces of {size}");
        }
        let (_, mut reader) = read(Content::Bodies, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 7);
        reader.end(|piece| panic!("the body was cut off: {piece:?}"));
    }

    #[test]
    fn answers_to_head_have_no_body_whatever_they_declare() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
            HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in 1..=stream.len() {
            let (mut reader, mut statuses) = (Reader::of_heads(), Vec::new());
            for part in stream.chunks(size) {
                let push = reader.push(part, |piece| {
                    let Piece::Answer { status, body: b"", .. } = piece else { panic!("{piece:?}") };
                    statuses.push(status);
                });
                push.unwrap();
            }
            assert_eq!(statuses, [200, 404], "in pieces of {size}");
        }
    }

    #[test]
    fn another_status_than_a_stream_s_is_broken() {
        let push = |content, text: &str| Reader::new(content).push(text.as_bytes(), |_| {});
        assert_eq!(
            push(Content::Events, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            Err(Broken::Status(404))
        );
        assert_eq!(push(Content::Frames, "HTTP/1.1 200 OK\r\n\r\n"), Err(Broken::Status(200)));
        assert_eq!(push(Content::Chunks, "nonsense\r\n"), Err(Broken::Format("HTTP head")));
    }
}
