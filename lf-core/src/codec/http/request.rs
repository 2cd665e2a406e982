//! The head of a request, borrowed from the bytes that came.

use super::head::list;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
}

/// The head of a request. Its fields are where they came in; looking one up goes through the head.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// The target without scheme and authority.
    pub(super) local: &'a str,
    pub(super) host: &'a str,
    /// The lines of the fields, which have been checked, each with its CR LF.
    pub(super) fields: &'a [u8],
    pub(super) body: Body,
    pub(super) minor: u8,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl<'a> Request<'a> {
    /// The method, as it was sent; methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The target as it was sent: a path with a query, or a whole URL, or `*`.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path, which is not decoded: `/` and what follows it, or `*` with OPTIONS. It is ASCII.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let path = self.local.split_once('?').map_or(self.local, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// What follows the first `?` of the target, not decoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        Some(self.local.split_once('?')?.1)
    }

    /// The value of the first `name=value` in the query; empty where there is no `=`. Percent-escapes are decoded in
    /// both; a `+` is a plus sign, not a space. `None` also for a value that is not UTF-8.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            percent_decode_str(key).eq(name.bytes()).then_some(value)
        })?;
        percent_decode_str(value).decode_utf8().ok()
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub fn version_minor(&self) -> u8 {
        self.minor
    }

    /// All fields in their order, names as they were sent, values without the blanks around them.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        lines(self.fields).filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
        })
    }

    /// The lines of all fields as they came, each with its CR LF. They have been checked.
    #[must_use]
    pub fn field_lines(&self) -> &'a [u8] {
        self.fields
    }

    /// The values of all fields with that name, whose case does not matter.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        lines(self.fields).filter_map(move |line| {
            let value = line.get(name.len()..)?.strip_prefix(b":")?;
            line[..name.len()].eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The value of the first field with that name; `None` also if it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.headers(name).next()?).ok()
    }

    /// Whether a field that is a comma-separated list, such as `Accept-Encoding`, has that element, whose case does not
    /// matter.
    #[must_use]
    pub fn header_has(&self, name: &str, element: &str) -> bool {
        self.headers(name).flat_map(list).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
    }

    /// Whom it is for: the authority of the target, or else `Host`, perhaps with a port. Empty if an HTTP/1.0 client did
    /// not say.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Whether [`Incoming::Body`](super::Incoming::Body) follows.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !matches!(self.body, Body::None | Body::Length(0))
    }

    /// Bytes of the body, if that was declared.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match self.body {
            Body::Length(bytes) => Some(bytes),
            Body::None | Body::Chunked => None,
        }
    }

    /// Whether the peer may wait for [`accept_body`](crate::Context::accept_body) before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The value of the first cookie with that name, without quotes around it.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let value = self.headers("cookie").flat_map(|value| value.split(|byte| *byte == b';')).find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })?;
        let value = std::str::from_utf8(value).ok()?;
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    }

    /// Whether the peer keeps the connection for further requests.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }
}

/// Lines without their ends.
fn lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', bytes)?;
        let line = bytes[..end].strip_suffix(b"\r")?;
        bytes = &bytes[end + 1..];
        Some(line)
    })
}
