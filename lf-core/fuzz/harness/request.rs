//! What can be asked of a request: every answer is what another, slower reading of its head finds.

use super::http::Kept;
use lf_core::codec::http::{Incoming, Request, State};
use lf_core::codec::websocket::{check_handshake, choose_subprotocol};
use lf_core::codec::{Codec, Decoded, Http};

/// Up to a NUL, a name to look up; behind it, what comes from a peer.
pub(crate) fn check(input: &[u8]) {
    let nul = input.iter().position(|byte| *byte == 0);
    let (name, wire) = nul.map_or((&[][..], input), |at| (&input[..at], &input[at + 1..]));
    let name = String::from_utf8_lossy(name);
    let Some((request, consumed)) = head(wire) else { return };
    assert_is_what_was_sent(&request, &wire[..consumed]);
    assert_target_adds_up(&request);
    assert_framing_has_one_meaning(&request);
    assert_means_the_same_when_sent_again(&request);
    assert_query_value(&request, &name);
    assert_cookie(&request, &name);
    request
        .fields()
        .map(|(name, _)| name.to_ascii_uppercase())
        .for_each(|name| assert_header(&request, &name, "close"));
    for named in ["connection", "upgrade", "accept-encoding"] {
        assert_header(&request, named, &name);
    }
    assert_header(&request, &name, "");
    assert_handshake(&request, &name);
}

fn head(wire: &[u8]) -> Option<(Request<'_>, usize)> {
    match Http::default().decode(&mut State::default(), wire, 0) {
        Ok(Decoded::Frame { frame: Incoming::Request(request), consumed }) => Some((request, consumed)),
        Ok(Decoded::Frame { frame, .. }) => panic!("{frame:?} before any request"),
        Ok(Decoded::Partial { .. }) | Err(_) => None,
    }
}

type Fields<'a> = Vec<(&'a str, &'a [u8])>;

/// A request line and fields, and not a byte that could mean more.
fn assert_is_what_was_sent(request: &Request<'_>, mut head: &[u8]) {
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let lines: Vec<&[u8]> = head.strip_suffix(b"\r\n\r\n").unwrap().split(|byte| *byte == b'\n').collect();
    let (end, others) = lines.split_last().unwrap();
    let lines = others.iter().map(|line| line.strip_suffix(b"\r").unwrap()).chain([*end]);
    let mut lines =
        lines.inspect(|line| assert!(line.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t')));

    let version = format!("HTTP/1.{}", request.version_minor());
    let expected = [request.method(), request.target(), &version].join(" ");
    assert_eq!(lines.next(), Some(expected.as_bytes()));
    let fields: Fields<'_> = lines
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            (std::str::from_utf8(&line[..colon]).unwrap(), trimmed(&line[colon + 1..]))
        })
        .collect();
    assert!(fields.iter().all(|(name, _)| is_token(name)) && is_token(request.method()), "{fields:?}");
    assert_eq!(request.fields().collect::<Fields<'_>>(), fields);
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(crate) fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

fn assert_target_adds_up(request: &Request<'_>) {
    let (target, path) = (request.target(), request.path());
    assert!(path.starts_with('/') || (path, target, request.method()) == ("*", "*", "OPTIONS"), "{request:?}");
    assert!(target.is_ascii() && !path.contains(['?', ' ', '#']), "{request:?}");
    let local = request.query().map_or(path.to_owned(), |query| format!("{path}?{query}"));
    let authority = target.strip_suffix(&local).or_else(|| target.strip_suffix(&local[1..])).unwrap();
    let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&byte);
    assert!(request.host().bytes().all(is_host), "{request:?}");
    assert!(authority.is_empty() || authority.ends_with(&format!("://{}", request.host())), "{request:?}");
}

/// The values of the fields with that name.
fn values<'a>(request: &Request<'a>, name: &str) -> Vec<&'a [u8]> {
    request.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

fn elements<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
    values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(trimmed).collect()
}

fn has(elements: &[&[u8]], element: &str) -> bool {
    elements.iter().any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}

pub(crate) fn assert_framing_has_one_meaning(request: &Request<'_>) {
    let is_1_1 = request.version_minor() == 1;
    let (lengths, codings) = (values(request, "content-length"), values(request, "transfer-encoding"));
    let framing = (request.content_length(), request.has_body());
    match (&lengths[..], &codings[..]) {
        ([], []) => assert_eq!(framing, (None, false)),
        ([digits], []) => {
            assert!(digits.iter().all(u8::is_ascii_digit), "{digits:?}");
            let bytes = std::str::from_utf8(digits).unwrap().parse().unwrap();
            assert_eq!(framing, (Some(bytes), bytes > 0));
        }
        ([], _) => {
            let codings: Vec<_> = elements(&codings).into_iter().skip_while(|coding| coding.is_empty()).collect();
            assert!(is_1_1 && codings.len() == 1 && has(&codings, "chunked"), "{codings:?}");
            assert_eq!(framing, (None, true));
        }
        _ => panic!("two lengths: {lengths:?} {codings:?}"),
    }
    let hosts = values(request, "host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && !is_1_1), "{hosts:?}");
    let options = elements(&values(request, "connection"));
    assert_eq!(request.keep_alive(), !has(&options, "close") && (is_1_1 || has(&options, "keep-alive")));
    let expectations = elements(&values(request, "expect"));
    assert_eq!(request.expects_continue(), has(&expectations, "100-continue") && is_1_1 && request.has_body());
}

fn assert_means_the_same_when_sent_again(request: &Request<'_>) {
    let mut wire =
        format!("{} {} HTTP/1.{}\r\n", request.method(), request.target(), request.version_minor()).into_bytes();
    for (name, value) in request.fields() {
        wire.extend_from_slice(name.as_bytes());
        wire.extend_from_slice(b":");
        wire.extend_from_slice(value);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    let (again, consumed) = head(&wire).unwrap();
    assert_eq!(Kept::of(&again, consumed), Kept::of(request, wire.len()));
}

/// Percent-escapes taken out; what is none stays.
fn unescaped(text: &str) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let byte = text.as_bytes()[at];
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn assert_query_value(request: &Request<'_>, name: &str) {
    let pairs = request.query().into_iter().flat_map(|query| query.split('&'));
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.find(|(key, _)| unescaped(key) == name.as_bytes()).map(|(_, value)| unescaped(value));
    let expected = value.and_then(|value| String::from_utf8(value).ok());
    assert_eq!(request.query_value(name).as_deref(), expected.as_deref());
}

fn assert_cookie(request: &Request<'_>, name: &str) {
    let cookies = values(request, "cookie");
    let mut pairs = cookies.iter().flat_map(|value| value.split(|byte| *byte == b';')).map(trimmed);
    let begins = format!("{name}=");
    let value =
        pairs.find_map(|pair| pair.strip_prefix(begins.as_bytes())).and_then(|value| std::str::from_utf8(value).ok());
    let quoted = |value: &str| value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let expected = value.map(|value| if quoted(value) { &value[1..value.len() - 1] } else { value });
    assert_eq!(request.cookie(name), expected);
}

fn assert_header(request: &Request<'_>, name: &str, element: &str) {
    let values = values(request, name);
    assert_eq!(request.headers(name).collect::<Vec<_>>(), values, "{name}");
    assert_eq!(request.header(name), values.first().and_then(|value| std::str::from_utf8(value).ok()), "{name}");
    assert_eq!(request.header_has(name, element), has(&elements(&values), element), "{name}: {element}");
}

fn assert_handshake(request: &Request<'_>, protocol: &str) {
    let all = |name: &str| request.headers(name).collect::<Vec<_>>();
    match check_handshake(request.method(), request.version_minor(), all) {
        Ok(accept) => {
            assert_eq!((request.method(), request.version_minor()), ("GET", 1));
            assert!(request.header_has("upgrade", "websocket") && request.header_has("connection", "upgrade"));
            assert!(all("sec-websocket-key").len() == 1 && accept.to_string().len() == 28);
        }
        Err(error) => assert!(matches!(error.status(), 400 | 405 | 426), "{error}"),
    }
    let offered = elements(&all("sec-websocket-protocol"));
    let chosen = choose_subprotocol(all("sec-websocket-protocol"), &[protocol]);
    assert_eq!(chosen.is_some(), offered.contains(&protocol.as_bytes()));
}
