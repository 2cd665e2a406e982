//! The head of an answer, and a chunk of its body (RFC 9112).

use super::frame::ACCEPT;
use super::{Broken, line};

const HEADERS_MAX: usize = 64;
/// Hexadecimal digits of a chunk's size; more could only be an attempt at an overflow.
const SIZE_DIGITS_MAX: usize = 8;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
    /// The connection has become a WebSocket.
    Frames,
}

/// What matters of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// `Lf-Next`: where a poll goes on.
    pub(super) position: Option<Box<str>>,
    /// The server closes the connection after this answer.
    pub(super) closes: bool,
}

/// A head and its length, if it is there whole.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Format("HTTP head")),
    };
    let status = response.code.unwrap_or_default();
    let (mut framing, mut position, mut accepted) = (Framing::UntilClose, None, false);
    // HTTP/1.0 closes unless it says otherwise.
    let mut closes = response.version == Some(0);
    for header in response.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunked {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            framing = Framing::Length(length.ok_or(Broken::Format("Content-Length"))?);
        } else if header.name.eq_ignore_ascii_case("lf-next") {
            position = std::str::from_utf8(value).ok().map(Box::from);
        } else if header.name.eq_ignore_ascii_case("sec-websocket-accept") {
            accepted = value == ACCEPT;
        } else if header.name.eq_ignore_ascii_case("connection") {
            let says = |word: &[u8]| {
                value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
            };
            closes = says(b"close") || (closes && !says(b"keep-alive"));
        }
    }
    match status {
        101 if !accepted => return Err(Broken::Format("WebSocket handshake: Sec-WebSocket-Accept")),
        101 => framing = Framing::Frames,
        100..200 | 204 | 304 => framing = Framing::Length(0),
        _ => {}
    }
    Ok(Some((Head { status, framing, position, closes: closes || framing == Framing::UntilClose }, used)))
}

/// A chunk's bytes and how many it takes with its frame; the last one is empty.
pub(super) fn chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Broken> {
    const WRONG: Broken = Broken::Format("chunk");
    let Some((size, start)) = line(bytes) else {
        return if bytes.len() > 1024 { Err(WRONG) } else { Ok(None) };
    };
    let digits = size.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if digits.len() > SIZE_DIGITS_MAX {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    let size = usize::from_str_radix(text, 16).map_err(|_| WRONG)?;
    if size == 0 {
        return Ok(trailers(&bytes[start..]).map(|used| (&bytes[..0], start + used)));
    }
    let end = start + size;
    match bytes.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((&bytes[start..end], end + 2))),
        Some(_) => Err(WRONG),
    }
}

/// What follows the last chunk, up to and with the empty line.
fn trailers(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (line, used) = line(&bytes[at..])?;
        at += used;
        if line.is_empty() {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_follows_the_headers_and_the_status() {
        let framing = |text: &str| head(text.as_bytes()).unwrap().unwrap().0.framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), Framing::Chunked);
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nContent-Length: 7\r\n\r\n"),
            Framing::Chunked
        );
        assert_eq!(framing("HTTP/1.1 201 Created\r\ncontent-length: 17\r\n\r\n"), Framing::Length(17));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClose);
        assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n"), Framing::Length(0));
        let switched = "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\nSec-WebSocket-Accept: ";
        assert_eq!(framing(&format!("{switched}s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")), Framing::Frames);
        assert!(head(format!("{switched}AAAA\r\n\r\n").as_bytes()).is_err());
    }

    #[test]
    fn the_connection_closes_where_version_headers_or_framing_say_so() {
        let closes = |text: &str| head(text.as_bytes()).unwrap().unwrap().0.closes;
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Upgrade, Close\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n\r\n", true),
        ] {
            assert_eq!(closes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_position_is_picked_from_the_head() {
        let text = b"HTTP/1.1 204 No Content\r\nLf-Next: 0badcafe-17\r\n\r\n";
        assert_eq!(head(text).unwrap().unwrap().0.position.as_deref(), Some("0badcafe-17"));
    }

    #[test]
    fn no_cut_of_a_head_or_a_chunk_makes_another_one() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(head(&text[..end]), Ok(None), "{end}");
        }
        for text in [&b"a;x=1\r\n0123456789\r\n"[..], b"0\r\nX: y\r\n\r\n"] {
            for end in 0..text.len() {
                assert_eq!(chunk(&text[..end]), Ok(None), "{end}");
            }
        }
        assert_eq!(chunk(b"a;x=1\r\n0123456789\r\n3\r\n"), Ok(Some((&b"0123456789"[..], 19))));
        assert_eq!(chunk(b"0\r\nX: y\r\n\r\nHTTP"), Ok(Some((&b""[..], 11))));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [&b"x\r\n"[..], b"\r\n", b"-1\r\n", b"fffffffff\r\n", b"1\r\nab\r\n"] {
            assert_eq!(chunk(text), Err(Broken::Format("chunk")), "{text:?}");
        }
        assert!(chunk(&[b'1'; 2000]).is_err());
    }
}
