//! From the bytes of a head to a request that has one meaning only.

use super::exchange::{Answer, Exchange, Part};
use super::request::{Body, Request};
use super::{Incoming, Limits, host, refused};
use crate::codec::{Decoded, FrameError};
use std::mem::MaybeUninit;

/// Fields of a head at most, whatever the limit says: they are looked at on the stack.
const FIELDS_MAX: usize = 256;
/// Empty lines before a request that are overlooked: old clients send one behind a body (RFC 9112, section 2.2).
const EMPTY_LINES_MAX: usize = 2;
/// Methods and versions are shorter than this; what else is in the first line is its target, in bytes.
const LINE_SPARE_BYTES: usize = 64;

const BARE_LF: FrameError = refused(400, "a line ends in LF without CR");

pub(super) fn decode<'a>(
    limits: &Limits,
    exchange: &mut Exchange,
    input: &'a [u8],
    examined: usize,
) -> Result<Decoded<Incoming<'a>>, FrameError> {
    let skipped = empty_lines(input)?;
    let rest = &input[skipped..];
    let window = &rest[..rest.len().min(limits.head_bytes)];
    let line_bytes_max = limits.target_bytes.saturating_add(LINE_SPARE_BYTES);
    if window.len() > line_bytes_max && memchr::memchr(b'\n', &window[..line_bytes_max]).is_none() {
        return Err(refused(414, "the request line is too long"));
    }
    let Some(end) = section_end(window, examined.saturating_sub(skipped).min(window.len()))? else {
        if rest.len() >= limits.head_bytes {
            return Err(refused(431, "the head is too long"));
        }
        exchange.begun = !matches!(rest, [] | [b'\r']);
        return Ok(Decoded::Partial { examined: input.len(), needed: input.len() + 1 });
    };
    let request = parse(limits, &rest[..end])?;
    let (part, left) = match request.body {
        Body::None | Body::Length(0) => (Part::Head, 0),
        Body::Length(bytes) => (Part::Length, bytes),
        Body::Chunked => (Part::ChunkLine, 0),
    };
    *exchange = Exchange {
        part,
        answer: Answer::Awaited,
        minor: request.minor,
        keep_alive: request.keep_alive,
        is_head: request.method == "HEAD",
        waits: request.expects_continue,
        ..Exchange::default()
    };
    if left > 0 {
        exchange.body().left = left;
    }
    Ok(Decoded::Frame { frame: Incoming::Request(request), consumed: skipped + end })
}

/// Bytes of the empty lines at the front.
fn empty_lines(input: &[u8]) -> Result<usize, FrameError> {
    let mut skipped = 0;
    for _ in 0..EMPTY_LINES_MAX {
        if !input[skipped..].starts_with(b"\r\n") {
            break;
        }
        skipped += 2;
    }
    match &input[skipped..] {
        [b'\n', ..] => Err(BARE_LF),
        [b'\r', ..] if skipped == 2 * EMPTY_LINES_MAX => Err(refused(400, "too many empty lines before a request")),
        [b'\r', byte, ..] if *byte != b'\n' => Err(refused(400, "a CR without LF")),
        _ => Ok(skipped),
    }
}

/// Where the lines of `bytes` up to the first empty one end, which is not at their front. No line begins in the first
/// `examined` bytes that has not been looked at.
pub(super) fn section_end(bytes: &[u8], examined: usize) -> Result<Option<usize>, FrameError> {
    for at in memchr::memchr_iter(b'\n', &bytes[examined..]) {
        let at = examined + at;
        match &bytes[..at] {
            [.., b'\n', b'\r'] => return Ok(Some(at + 1)),
            [.., b'\r'] => {}
            _ => return Err(BARE_LF),
        }
    }
    Ok(None)
}

/// The syntax is httparse's business; what it leaves open is settled here.
fn parse<'a>(limits: &Limits, head: &'a [u8]) -> Result<Request<'a>, FrameError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields[..limits.fields.min(FIELDS_MAX)]) {
        Ok(httparse::Status::Complete(bytes)) if bytes == head.len() => {}
        Ok(_) => return Err(refused(400, "malformed head")),
        Err(error) => return Err(refusal(error, head)),
    }
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let minor = parsed.version.unwrap_or_default();
    let facts = Facts::gather(parsed.headers)?;
    if target.len() > limits.target_bytes {
        return Err(refused(414, "the target is too long"));
    }
    let (authority, local) = split_target(method, target)?;
    let host = match (authority, facts.host) {
        (_, None) if minor > 0 => return Err(refused(400, "no Host")),
        (_, Some(host)) if !host::is_valid(host) => return Err(refused(400, "malformed Host")),
        (Some(authority), _) => authority,
        (None, host) => host.and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default(),
    };
    let body = facts.body(limits, minor)?;
    let fields = &head[memchr::memchr(b'\n', head).map_or(0, |at| at + 1)..head.len() - 2];
    Ok(Request {
        method,
        target,
        local,
        host,
        fields,
        body,
        minor,
        keep_alive: if minor == 0 { facts.keep_alive && !facts.close } else { !facts.close },
        // An HTTP/1.0 client cannot mean it (RFC 9110, section 10.1.1), and there is nothing to wait for without a body.
        expects_continue: facts.expects_continue && minor > 0 && !matches!(body, Body::None | Body::Length(0)),
    })
}

fn refusal(error: httparse::Error, head: &[u8]) -> FrameError {
    match error {
        httparse::Error::TooManyHeaders => refused(431, "too many header fields"),
        httparse::Error::Version if has_other_version(head) => refused(505, "this server speaks HTTP/1.0 and HTTP/1.1"),
        httparse::Error::Version => refused(400, "malformed version"),
        httparse::Error::HeaderName => refused(400, "malformed name of a header field"),
        httparse::Error::HeaderValue => refused(400, "malformed value of a header field"),
        httparse::Error::NewLine => refused(400, "a line ends in something else than CR LF"),
        httparse::Error::Token | httparse::Error::Status => refused(400, "malformed request line"),
    }
}

/// Whether the first line ends in the name of a version that is not ours.
fn has_other_version(head: &[u8]) -> bool {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    match line.rsplit(|byte| *byte == b' ').next() {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1'))
        }
        Some(_) | None => false,
    }
}

/// The authority of an absolute target, and what follows it: path and query.
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), FrameError> {
    const MALFORMED: FrameError = refused(400, "malformed target");
    if method == "CONNECT" {
        return Err(refused(501, "this server is no proxy"));
    }
    if !target.is_ascii() || target.contains('#') {
        return Err(MALFORMED);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(MALFORMED);
    }
    let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || !host::is_valid(authority.as_bytes()) {
        return Err(MALFORMED);
    }
    Ok((Some(authority), local))
}

/// What the fields say about the connection and the body.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one request")]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    /// `Transfer-Encoding` was there.
    encoded: bool,
    /// Its last coding was `chunked`.
    chunked: bool,
    /// There is a coding that we do not know.
    unknown_coding: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Facts<'a> {
    fn gather(fields: &[httparse::Header<'a>]) -> Result<Self, FrameError> {
        let mut facts = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                4 if is("host") => once(&mut facts.host, field.value, "more than one Host")?,
                14 if is("content-length") => once(&mut facts.length, field.value, "more than one Content-Length")?,
                17 if is("transfer-encoding") => facts.add_codings(field.value)?,
                10 if is("connection") => facts.add_options(field.value),
                6 if is("expect") => {
                    if !field.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(refused(417, "the only expectation that can be met is 100-continue"));
                    }
                    facts.expects_continue = true;
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    fn add_codings(&mut self, value: &[u8]) -> Result<(), FrameError> {
        self.encoded = true;
        for coding in list(value) {
            if self.chunked {
                return Err(refused(400, "chunked is not the last transfer coding"));
            }
            self.chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.unknown_coding |= !self.chunked && !coding.is_empty();
        }
        Ok(())
    }

    fn add_options(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// How the body is framed. Whatever could be read in two ways is refused (RFC 9112, section 6).
    fn body(&self, limits: &Limits, minor: u8) -> Result<Body, FrameError> {
        match (self.encoded, self.length) {
            (false, None) => Ok(Body::None),
            (true, Some(_)) => Err(refused(400, "both Content-Length and Transfer-Encoding")),
            (true, None) if minor == 0 => Err(refused(400, "Transfer-Encoding in HTTP/1.0")),
            (true, None) if self.unknown_coding => Err(refused(501, "a transfer coding other than chunked")),
            (true, None) if !self.chunked => Err(refused(400, "an empty Transfer-Encoding")),
            (true, None) => Ok(Body::Chunked),
            (false, Some(digits)) => {
                let bytes = decimal(digits).ok_or(refused(400, "malformed Content-Length"))?;
                if bytes > limits.body_bytes {
                    return Err(refused(413, "the body is too large"));
                }
                Ok(Body::Length(bytes))
            }
        }
    }
}

fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], twice: &'static str) -> Result<(), FrameError> {
    if slot.replace(value).is_some() { Err(refused(400, twice)) } else { Ok(()) }
}

/// The elements of a comma-separated value.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
