//! Answers of HTTP/1.1 (RFC 9112), whole: status, fields, body.

use super::Reply;
use crate::codec::{Decoded, FrameError};

/// Bytes of a head at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head at most.
const FIELDS_MAX: usize = 128;
/// Bytes of a line before a chunk, and of all fields behind the last one, at most.
const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// A whole answer.
#[derive(Debug)]
pub(in crate::upstream) struct HttpAnswer {
    pub(in crate::upstream) status: u16,
    pub(in crate::upstream) headers: Vec<(String, Vec<u8>)>,
    pub(in crate::upstream) body: Vec<u8>,
    /// The connection is good for another request.
    pub(in crate::upstream) keep: bool,
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

#[derive(Debug)]
struct Head {
    answer: HttpAnswer,
    framing: Framing,
    bytes: usize,
}

/// Reads one answer after the other.
#[derive(Debug, Default)]
pub(super) struct HttpReader {
    bytes_max: usize,
    /// The request was a `HEAD`.
    pub(super) head_only: bool,
    head: Option<Head>,
    /// Where the next chunk begins.
    chunk_at: usize,
}

type Read<'a> = Result<Decoded<Reply<'a>>, FrameError>;

fn malformed<T>(reason: &'static str) -> Result<T, FrameError> {
    Err(FrameError::Malformed(reason))
}

fn more<'a>(input: &[u8]) -> Decoded<Reply<'a>> {
    Decoded::Partial { examined: input.len(), needed: input.len() + 1 }
}

impl HttpReader {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(super) fn read<'a>(&mut self, input: &'a [u8]) -> Read<'a> {
        if self.head.is_none() {
            match self.read_head(input)? {
                Decoded::Frame { frame: Some(head), .. } => {
                    self.chunk_at = head.bytes;
                    self.head = Some(head);
                }
                Decoded::Frame { frame: None, consumed } => {
                    return Ok(Decoded::Frame { frame: Reply::Interim, consumed });
                }
                Decoded::Partial { examined, needed } => return Ok(Decoded::Partial { examined, needed }),
            }
        }
        let Some(head) = &mut self.head else { return Ok(more(input)) };
        let end = match head.framing {
            Framing::Length(len) => {
                let end = head.bytes + len;
                if input.len() < end {
                    return Ok(Decoded::Partial { examined: input.len(), needed: end });
                }
                head.answer.body = input[head.bytes..end].to_vec();
                end
            }
            Framing::Chunked => match self.read_chunks(input)? {
                Ok(end) => end,
                Err(needed) => return Ok(Decoded::Partial { examined: input.len(), needed }),
            },
            Framing::UntilClose if input.len() - head.bytes > self.bytes_max => {
                let bytes = input.len() - head.bytes;
                return Err(self.too_large(bytes));
            }
            Framing::UntilClose => return Ok(more(input)),
        };
        match self.head.take() {
            Some(head) => Ok(Decoded::Frame { frame: Reply::Http(head.answer), consumed: end }),
            None => Ok(more(input)),
        }
    }

    /// The server has finished: that ends an answer without a length.
    pub(super) fn finish(&mut self, rest: &[u8]) -> Result<HttpAnswer, FrameError> {
        match self.head.take() {
            Some(Head { mut answer, framing: Framing::UntilClose, bytes }) => {
                answer.body = rest.get(bytes..).unwrap_or_default().to_vec();
                Ok(answer)
            }
            Some(_) | None => Err(FrameError::Truncated { bytes: rest.len() }),
        }
    }

    fn too_large(&self, bytes: usize) -> FrameError {
        FrameError::TooLarge { bytes: bytes as u64, limit: self.bytes_max }
    }

    /// A head; without a frame, it was an interim one.
    fn read_head(&self, input: &[u8]) -> Result<Decoded<Option<Head>>, FrameError> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let bytes = match response.parse(input) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) if input.len() > HEAD_BYTES_MAX => {
                return Err(FrameError::TooLarge { bytes: input.len() as u64, limit: HEAD_BYTES_MAX });
            }
            Ok(httparse::Status::Partial) => {
                return Ok(Decoded::Partial { examined: input.len(), needed: input.len() + 1 });
            }
            Err(_) => return malformed("the head of the HTTP answer"),
        };
        let status = response.code.unwrap_or(0);
        match status {
            101 => return malformed("HTTP 101 without having asked for it"),
            100..200 => return Ok(Decoded::Frame { frame: None, consumed: bytes }),
            200..600 => {}
            _ => return malformed("the HTTP status"),
        }
        let headers: Vec<(String, Vec<u8>)> =
            response.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
        let bodiless = self.head_only || matches!(status, 204 | 304);
        let framing = if bodiless { Framing::Length(0) } else { self.framing_of(&headers)? };
        let one_more = response.version == Some(1);
        let keep = framing != Framing::UntilClose && keeps(&headers, one_more);
        let answer = HttpAnswer { status, headers, body: Vec::new(), keep };
        Ok(Decoded::Frame { frame: Some(Head { answer, framing, bytes }), consumed: bytes })
    }

    fn framing_of(&self, headers: &[(String, Vec<u8>)]) -> Result<Framing, FrameError> {
        let values = |name: &'static str| {
            headers
                .iter()
                .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim_ascii())
        };
        let mut lengths = values("content-length");
        let mut codings = values("transfer-encoding");
        match (codings.next(), lengths.next()) {
            (Some(_), Some(_)) => malformed("both Content-Length and Transfer-Encoding"),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => {
                Ok(Framing::Chunked)
            }
            (Some(_), None) => malformed("a Transfer-Encoding other than chunked"),
            (None, None) => Ok(Framing::UntilClose),
            (None, Some(length)) => {
                let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
                if !digits || lengths.any(|other| other != length) {
                    return malformed("Content-Length");
                }
                let text = std::str::from_utf8(length).unwrap_or_default();
                let bytes = text.parse::<usize>().unwrap_or(usize::MAX);
                if bytes > self.bytes_max { Err(self.too_large(bytes)) } else { Ok(Framing::Length(bytes)) }
            }
        }
    }

    /// Takes the chunks that are there. Answers where the answer ends, or how many bytes are needed to go on.
    fn read_chunks(&mut self, input: &[u8]) -> Result<Result<usize, usize>, FrameError> {
        loop {
            let rest = input.get(self.chunk_at..).unwrap_or_default();
            let (line, size) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((line, size))) => (line, usize::try_from(size).unwrap_or(usize::MAX)),
                Ok(httparse::Status::Partial) if rest.len() > CHUNK_LINE_BYTES_MAX => {
                    return malformed("a chunk's size");
                }
                Ok(httparse::Status::Partial) => return Ok(Err(input.len() + 1)),
                Err(_) => return malformed("a chunk's size"),
            };
            if size == 0 {
                return Self::read_trailers(input, self.chunk_at + line);
            }
            let there = self.head.as_ref().map_or(0, |head| head.answer.body.len());
            if size > self.bytes_max - there.min(self.bytes_max) {
                return Err(self.too_large(there.saturating_add(size)));
            }
            let begin = self.chunk_at + line;
            let end = begin + size;
            match input.get(end..end + 2) {
                None => return Ok(Err(end + 2)),
                Some(b"\r\n") => {}
                Some(_) => return malformed("no line end behind a chunk"),
            }
            if let Some(head) = &mut self.head {
                head.answer.body.extend_from_slice(&input[begin..end]);
            }
            self.chunk_at = end + 2;
        }
    }

    /// Fields behind the last chunk mean nothing to us.
    fn read_trailers(input: &[u8], mut at: usize) -> Result<Result<usize, usize>, FrameError> {
        let begin = at;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            match memchr::memchr(b'\n', rest) {
                Some(end) if end > 0 && rest[end - 1] == b'\r' => {
                    at += end + 1;
                    if end == 1 {
                        return Ok(Ok(at));
                    }
                }
                Some(_) => return malformed("a line end without CR"),
                None => return Ok(Err(input.len() + 1)),
            }
            if at - begin > CHUNK_LINE_BYTES_MAX {
                return malformed("too much behind the last chunk");
            }
        }
    }
}

/// RFC 9112, section 9.3.
fn keeps(headers: &[(String, Vec<u8>)], one_more: bool) -> bool {
    let mut keep = one_more;
    for (_, value) in headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Feeds the bytes in two pieces, split at every place; the outcome must be the same.
    fn read(bytes: &[u8]) -> Result<Option<(HttpAnswer, usize)>, FrameError> {
        let once = |split: usize| {
            let mut reader = HttpReader::new(100);
            for upto in [split, bytes.len()] {
                match reader.read(&bytes[..upto])? {
                    Decoded::Frame { frame: Reply::Http(answer), consumed } => return Ok(Some((answer, consumed))),
                    Decoded::Frame { .. } => panic!("an interim answer"),
                    Decoded::Partial { needed, .. } => assert!(needed > upto),
                }
            }
            Ok(None)
        };
        let whole = once(bytes.len());
        for split in 0..bytes.len() {
            let text = |outcome: &Result<Option<(HttpAnswer, usize)>, FrameError>| format!("{outcome:?}");
            assert_eq!(text(&once(split)), text(&whole), "split at {split}");
        }
        whole
    }

    fn body(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
        let (answer, consumed) = read(bytes).expect("no error").expect("a whole answer");
        (answer.body, consumed, answer.keep)
    }

    #[test]
    fn answers_end_where_they_say() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP";
        assert_eq!(body(text), (b"abc".to_vec(), text.len() - 4, true));
        let text = b"HTTP/1.1 404 No\r\nTransfer-Encoding: Chunked\r\nConnection: Close\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\nHTTP";
        assert_eq!(body(text), (b"abc".to_vec(), text.len() - 4, false));
        let text = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nHTTP";
        assert_eq!(body(text), (Vec::new(), text.len() - 4, true));
        let text = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx";
        assert_eq!(body(text), (b"x".to_vec(), text.len(), true));
        assert!(!body(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx").2);
    }

    #[test]
    fn the_end_of_the_stream_ends_an_answer_without_a_length_and_no_other() {
        let mut reader = HttpReader::new(100);
        let text = b"HTTP/1.1 200 OK\r\n\r\nto the end";
        assert!(matches!(reader.read(text), Ok(Decoded::Partial { .. })));
        let answer = reader.finish(text).unwrap();
        assert_eq!((answer.body.as_slice(), answer.keep), (&b"to the end"[..], false));
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab";
        assert!(matches!(reader.read(text), Ok(Decoded::Partial { .. })));
        assert!(matches!(reader.finish(text), Err(FrameError::Truncated { .. })));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 999 What\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX",
        ] {
            let mut reader = HttpReader::new(100);
            assert!(matches!(reader.read(text.as_bytes()), Err(FrameError::Malformed(_))), "{text}");
        }
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101)),
            format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000)),
        ] {
            let mut reader = HttpReader::new(100);
            assert!(matches!(reader.read(text.as_bytes()), Err(FrameError::TooLarge { .. })), "{text}");
        }
    }
}
