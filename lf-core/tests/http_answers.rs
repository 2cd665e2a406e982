//! Answers: their framing, what becomes of the connection, and that nothing gets into a head that does not belong there.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Client, in_every_mode, until};
use http_site::{ask, assert_answered, assert_goes_on, get, read_answer, read_chunks, read_head, request, serve};
use lf_core::codec::Http;
use std::time::{Duration, SystemTime};

#[test]
fn a_connection_goes_on_or_ends_as_both_sides_want() {
    let cases: &[(&[u8], Option<&str>)] = &[
        (b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", None),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Some("close")),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\nTE: x\r\n\r\n", Some("close")),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", Some("close")),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", None),
        (b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n", Some("close")),
        (b"GET /hello HTTP/1.0\r\n\r\n", Some("close")),
        (b"GET /hello HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", Some("keep-alive")),
        (b"GET /hello HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Some("close")),
        (b"GET /close HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Some("close")),
        (b"HEAD /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Some("keep-alive")),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for (head, connection) in cases {
            let shown = String::from_utf8_lossy(head);
            let mut client = host.connect();
            client.send(head);
            let answer = if head.starts_with(b"HEAD") { read_head(&mut client) } else { read_answer(&mut client) };
            assert_eq!((answer.status, answer.field("connection")), (200, *connection), "{shown:?}");
            if answer.closes() {
                client.expect_end();
            } else {
                assert_goes_on(&mut client);
            }
        }
    });
}

#[test]
fn a_head_request_gets_the_head_alone() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        for (path, status, length) in [("/hello", 200, Some("5")), ("/stream", 200, None), ("/nothing", 404, Some("0"))]
        {
            client.send(&request("HEAD", path, ""));
            let head = read_head(&mut client);
            assert_eq!((head.status, head.field("content-length")), (status, length), "{path}");
            assert_eq!(head.field("transfer-encoding"), None);
            // What comes next is the next answer.
            assert_goes_on(&mut client);
        }
        // A refusal has no body either, if it is known that a HEAD is refused.
        client.send(&request("HEAD", "/fail", ""));
        let head = read_head(&mut client);
        assert!(head.status == 500 && head.closes(), "{head:?}");
        client.expect_end();
    });
}

#[test]
fn answers_whose_status_allows_no_body_have_none() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for status in [204, 304] {
            let answer = assert_answered(&host, &get(&format!("/status?v={status}"), ""), status);
            assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
        }
        assert_eq!(assert_answered(&host, &get("/status?v=205", ""), 205).field("content-length"), Some("0"));
        assert_eq!(assert_answered(&host, &get("/status?v=299", ""), 299).text(), "body");
        assert_eq!(assert_answered(&host, &get("/status?v=999", ""), 999).text(), "body");
    });
}

#[test]
fn a_status_that_is_none_of_an_answer_becomes_a_500() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for status in [0, 99, 100, 101, 103, 199, 1000, 65535] {
            http_site::assert_refused(&host, &get(&format!("/status?v={status}"), ""), 500);
        }
    });
}

#[test]
fn a_streamed_answer_comes_in_chunks_and_the_connection_goes_on() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        for _ in 0..3 {
            client.send(&get("/stream", ""));
            let head = read_head(&mut client);
            assert_eq!((head.field("transfer-encoding"), head.field("x-kind")), (Some("chunked"), Some("stream")));
            assert_eq!((head.field("content-length"), head.field("connection")), (None, None));
            // The empty piece is not there: it would have been the end.
            assert_eq!(read_chunks(&mut client), [&b"one "[..], b"two ", b"three"]);
        }
        client.send(&get("/stream", "Connection: close\r\n"));
        assert!(read_head(&mut client).closes());
        assert_eq!(read_chunks(&mut client).concat(), b"one two three");
        client.expect_end();
    });
}

#[test]
fn a_streamed_answer_to_http_1_0_ends_with_the_connection() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for lines in ["", "Connection: keep-alive\r\n"] {
            let mut client = host.connect();
            client.send(format!("GET /stream HTTP/1.0\r\n{lines}\r\n").as_bytes());
            let head = read_head(&mut client);
            assert!(head.closes() && head.field("transfer-encoding").is_none(), "{head:?}");
            assert_eq!(client.rest(), b"one two three");
        }
    });
}

#[test]
fn a_stream_while_the_body_still_comes_ends_with_the_connection() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&request("POST", "/stream", "Content-Length: 10\r\n"));
        assert_eq!(read_head(&mut client).status, 200);
        assert_eq!(read_chunks(&mut client).concat(), b"one two three");
        client.expect_end();
    });
}

#[test]
fn the_date_is_that_of_the_clock() {
    let (host, _) = serve(
        common::Mode { trigger: lf_core::Trigger::OneShot, promotion: lf_core::Promotion::Adaptive },
        Http::default(),
    );
    let mut client = host.connect();
    let mut dates = Vec::new();
    until("the date moves on", || {
        // A whole second, of a clock that is up to a tick behind.
        let before = SystemTime::now() - Duration::from_millis(1020);
        let date = ask(&mut client, &get("/hello", "")).field("date").unwrap().to_owned();
        let told = httpdate::parse_http_date(&date).unwrap();
        assert!(before <= told && told <= SystemTime::now(), "{date}");
        dates.push(date);
        dates[0] != dates[dates.len() - 1]
    });
}

/// What the site makes of a value: the head of its answer, strictly read, and that nothing follows the body.
fn reflected(client: &mut Client, path: &str, value: &str) -> http_site::Answer {
    let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    ask(client, &get(&format!("{path}?v={escaped}"), ""))
}

#[test]
fn a_field_with_a_line_break_never_reaches_the_wire() {
    let values = [
        "a\r\nSet-Cookie: evil=1",
        "a\nSet-Cookie: evil=1",
        "a\rSet-Cookie: evil=1",
        "a\r\n\r\n<html>",
        "a\r\n folded",
        "\r\n",
        "\n",
        "a\0b",
        "a\u{1}b",
        "a\u{7f}b",
    ];
    let names = ["X: a\r\nSet-Cookie", "X\r\n", "X\n", "X ", " X", "X:", "", "X\0", "X\u{e9}", "X\"", "(X)"];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let cases = values.iter().flat_map(|value| [("/field", value), ("/start-field", value)]);
        for (path, value) in cases.chain(names.iter().map(|name| ("/name", name))) {
            let mut client = host.connect();
            let answer = reflected(&mut client, path, value);
            assert!(answer.status == 500 && answer.closes(), "{path} {value:?}: {answer:?}");
            assert_eq!((answer.field("set-cookie"), answer.field("x-value")), (None, None));
            client.expect_end();
        }
        let mut client = host.connect();
        for value in ["", "a", "a\tb c", "caf\u{e9}", ": , ; \" \\"] {
            let answer = reflected(&mut client, "/field", value);
            assert_eq!((answer.status, answer.field("x-value")), (200, Some(value)));
        }
    });
}

#[test]
fn how_a_body_is_framed_is_not_for_the_handler_to_say() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for name in ["Content-Length", "content-length", "Transfer-Encoding"] {
            let mut client = host.connect();
            let answer = reflected(&mut client, "/name", name);
            assert!(answer.status == 500 && answer.closes(), "{answer:?}");
            client.expect_end();
        }
    });
}
