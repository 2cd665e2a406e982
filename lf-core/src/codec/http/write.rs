//! Heads of answers. No line break gets into one that we did not put there.

use super::head::list;
use crate::sys::clock;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of `Date` with its line break.
const DATE_BYTES: usize = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len();
/// What a head needs beside its fields, as a rule.
const HEAD_BYTES: usize = 128;

pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

thread_local! {
    /// The second that was written last, and how.
    static DATE: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [0; DATE_BYTES])) };
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Bytes(usize),
    Chunked,
    /// There is no body, or the end of the connection is its end.
    Untold,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It goes on, as is the rule in HTTP/1.1.
    Implied,
    /// It goes on, as an HTTP/1.0 client has asked for.
    Said,
    /// It ends.
    Close,
}

/// Appends a head.
///
/// # Errors
/// If a field cannot be written; `out` is unchanged then.
pub(super) fn head(
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(&str, &str)],
    length: Length,
    persistence: Persistence,
) -> Result<(), &'static str> {
    let before = out.len();
    out.reserve(HEAD_BYTES + fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>());
    let written = lines(out, status, fields, length, persistence);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

fn lines(
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(&str, &str)],
    length: Length,
    persistence: Persistence,
) -> Result<(), &'static str> {
    status_line(out, status);
    let (mut dated, mut options) = (false, false);
    for (name, value) in fields {
        check(name, value)?;
        match name.len() {
            // It is written below, with what we have to say.
            10 if name.eq_ignore_ascii_case("connection") => {
                options = true;
                continue;
            }
            4 => dated |= name.eq_ignore_ascii_case("date"),
            _ => {}
        }
        field(out, name.as_bytes(), value.as_bytes());
    }
    if !dated {
        write_date(out);
    }
    match length {
        Length::Bytes(bytes) => number(out, b"Content-Length: ", bytes),
        Length::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Length::Untold => {}
    }
    if options {
        write_options(out, fields, persistence);
    } else {
        out.extend_from_slice(match persistence {
            Persistence::Implied => b"",
            Persistence::Said => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
        });
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// `Connection`, with what the handler wants in it besides what is ours to say.
fn write_options(out: &mut Vec<u8>, fields: &[(&str, &str)], persistence: Persistence) {
    let ours: Option<&[u8]> = match persistence {
        Persistence::Implied => None,
        Persistence::Said => Some(b"keep-alive"),
        Persistence::Close => Some(b"close"),
    };
    let settled = |option: &[u8]| [&b""[..], b"close", b"keep-alive"].iter().any(|s| option.eq_ignore_ascii_case(s));
    let theirs = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let theirs = theirs.flat_map(|(_, value)| list(value.as_bytes())).filter(|option| !settled(option));
    let mut before: &[u8] = b"Connection: ";
    for option in theirs.chain(ours) {
        out.extend_from_slice(before);
        out.extend_from_slice(option);
        before = b", ";
    }
    if before == b", " {
        out.extend_from_slice(b"\r\n");
    }
}

fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let _ = write!(out, "HTTP/1.1 {status} {}\r\n", reason_of(status));
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A field whose value is a number, in decimal.
fn number(out: &mut Vec<u8>, name: &[u8], value: usize) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The characters of a token (RFC 9110, section 5.6.2).
static IS_TOKEN: [bool; 256] = {
    let mut is_token = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let this = byte as u8;
        is_token[byte] = this.is_ascii_alphanumeric()
            || matches!(this, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    is_token
};

fn check(name: &str, value: &str) -> Result<(), &'static str> {
    if name.is_empty() || !name.bytes().all(|byte| IS_TOKEN[usize::from(byte)]) {
        return Err("the name of a header field is no token");
    }
    // All of them, without a way out: that takes many at a time.
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.bytes().fold(false, |found, byte| found | is_control(byte)) {
        return Err("the value of a header field has a control character");
    }
    if name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding") {
        return Err("how a body is framed is not the handler's to say");
    }
    Ok(())
}

fn write_date(out: &mut Vec<u8>) {
    let second = clock::unix_s();
    let (mut cached, mut line) = DATE.get();
    if cached != second {
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        let fresh = format!("Date: {text}\r\n");
        let Some(fresh) = fresh.as_bytes().first_chunk() else { return };
        (cached, line) = (second, *fresh);
        DATE.set((cached, line));
    }
    out.extend_from_slice(&line);
}

/// A whole answer that says what was wrong, and that the connection ends.
pub(super) fn refusal(out: &mut Vec<u8>, status: u16, reason: &str, is_head: bool) {
    let fields = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")];
    // These fields can be written.
    let _ = head(out, status, &fields, Length::Bytes(reason.len() + 1), Persistence::Close);
    if !is_head {
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }
}

/// Appends one chunk of a chunked body, with its size; nothing if `bytes` is empty, because that would end the body. For bytes
/// that go to answers which [`start`](crate::Context::start) has begun with [`Framing::Chunked`](super::Framing::Chunked),
/// from another thread or to many connections.
pub fn write_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    out.reserve(bytes.len() + 20);
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The words behind a status, which nobody but people read.
const fn reason_of(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}
