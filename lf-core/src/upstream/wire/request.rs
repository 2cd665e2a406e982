//! A call as bytes, checked so that what a caller gives can never be read as two requests.

use super::resp;
use crate::codec::{Codec, Len32, Line, Nshead, NsheadFrame, NsheadHeader};
use crate::upstream::call::{Call, HttpRequest};
use crate::upstream::config::{Protocol, UpstreamConfig};
use std::io::Write;

/// A call that is ready to be sent.
#[derive(Debug)]
pub(in crate::upstream) struct Request {
    pub(in crate::upstream) bytes: Vec<u8>,
    /// What its answer must carry, with nshead.
    pub(in crate::upstream) log_id: u32,
    /// Its answer has no body, whatever the head says.
    pub(in crate::upstream) head_only: bool,
}

/// Writes a call in its upstream's protocol. `serial` numbers those that have no `log_id`.
pub(in crate::upstream) fn write(
    call: &Call,
    upstream: &str,
    config: &UpstreamConfig,
    serial: u32,
) -> Result<Request, &'static str> {
    let mut request = Request { bytes: Vec::new(), log_id: 0, head_only: false };
    let out = &mut request.bytes;
    match config.protocol {
        Protocol::Nshead => {
            let header = call.nshead.unwrap_or(NsheadHeader { log_id: serial, ..NsheadHeader::default() });
            let header = NsheadHeader { log_id: call.log_id.unwrap_or(header.log_id), ..header };
            request.log_id = header.log_id;
            let frame = NsheadFrame { header, body: &call.body };
            Nshead::new(u32::MAX as usize).encode(frame, out).map_err(|_| "the body is too large for nshead")?;
        }
        Protocol::Len32 => {
            Len32::new(u32::MAX as usize)
                .encode(&call.body, out)
                .map_err(|_| "the body is too large for its length")?;
        }
        Protocol::Line => Line::default().encode(&call.body, out).map_err(|_| "a line cannot hold a line feed")?,
        Protocol::Redis => {
            resp::check(&call.body)?;
            out.extend_from_slice(&call.body);
        }
        Protocol::Http => {
            let head = call.http.clone().unwrap_or_default();
            request.head_only = head.method.eq_ignore_ascii_case("HEAD");
            write_http(&head, &call.body, config.host.as_deref().unwrap_or(upstream), out)?;
        }
    }
    Ok(request)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn write_http(head: &HttpRequest, body: &[u8], host: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let method = match (head.method.as_str(), body.is_empty()) {
        ("", true) => "GET",
        ("", false) => "POST",
        (method, _) => method,
    };
    let path = if head.path.is_empty() { "/" } else { &head.path };
    if !is_token(method) {
        return Err("the HTTP method is no token");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80) {
        return Err("the HTTP path holds a space or a control character");
    }
    let mut says_host = false;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        if !is_token(name) {
            return Err("the name of an HTTP field is no token");
        }
        if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
            return Err("the value of an HTTP field holds a control character");
        }
        let ours = ["content-length", "transfer-encoding", "connection", "expect", "upgrade"];
        if ours.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            continue;
        }
        says_host |= name.eq_ignore_ascii_case("host");
        let _ = write!(out, "{name}: {value}\r\n");
    }
    if !says_host {
        let _ = write!(out, "Host: {host}\r\n");
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn http(head: HttpRequest, body: &str) -> Result<String, &'static str> {
        let call = Call { http: Some(head), ..Call::new(body) };
        let config = UpstreamConfig { protocol: Protocol::Http, ..UpstreamConfig::default() };
        write(&call, "be", &config, 0).map(|request| String::from_utf8(request.bytes).expect("text"))
    }

    #[test]
    fn an_http_request_says_what_is_needed_and_no_more() {
        assert_eq!(http(HttpRequest::default(), "").unwrap(), "GET / HTTP/1.1\r\nHost: be\r\n\r\n");
        let headers =
            vec![("host".into(), "x".into()), ("Content-Length".into(), "7".into()), ("A".into(), "b".into())];
        let head = HttpRequest { method: String::new(), path: "/p?q".into(), headers };
        assert_eq!(http(head, "hi").unwrap(), "POST /p?q HTTP/1.1\r\nhost: x\r\nA: b\r\nContent-Length: 2\r\n\r\nhi");
    }

    #[test]
    fn what_would_be_read_as_another_request_is_refused() {
        let with = |name: &str, value: &str| HttpRequest {
            headers: vec![(name.into(), value.into())],
            ..HttpRequest::default()
        };
        for head in [
            HttpRequest { path: "/ HTTP/1.1\r\nX: y".into(), ..HttpRequest::default() },
            HttpRequest { method: "GET /x".into(), ..HttpRequest::default() },
            with("X", "a\r\nY: b"),
            with("X: y\r\nZ", "a"),
            with("", "a"),
        ] {
            assert!(http(head.clone(), "").is_err(), "{head:?}");
        }
        let config = UpstreamConfig { protocol: Protocol::Line, ..UpstreamConfig::default() };
        assert!(write(&Call::new("a\nb"), "be", &config, 0).is_err());
    }

    #[test]
    fn the_log_id_is_the_calls_or_the_headers_or_a_number() {
        let config = UpstreamConfig::default();
        let header = NsheadHeader { id: 3, log_id: 8, ..NsheadHeader::default() };
        let id = |call: &Call| write(call, "be", &config, 5).unwrap().log_id;
        assert_eq!(id(&Call::new("")), 5);
        assert_eq!(id(&Call { nshead: Some(header), ..Call::new("") }), 8);
        assert_eq!(id(&Call { nshead: Some(header), log_id: Some(9), ..Call::new("") }), 9);
    }
}
