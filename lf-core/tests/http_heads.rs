//! Heads of requests: what is understood, and what is refused with which status.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::in_every_mode;
use http_site::{ask, assert_answered, assert_goes_on, assert_refused, get, request, serve};
use lf_core::codec::Http;
use lf_core::codec::http::Limits;

/// Heads that break a rule, and the status for it.
const BROKEN: &[(&[u8], u16)] = &[
    // No request line, or not one of ours.
    (b"\r\n\r\n\r\n", 400),
    (b"\n", 400),
    (b"\rGET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /hello\r\n\r\n", 400),
    (b"GET /hello \r\n\r\n", 400),
    (b"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    (b"GET\t/hello\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b" GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"G@T /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello http/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/11\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    // Versions.
    (b"GET /hello HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    (b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    (b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    // Line endings.
    (b"GET /hello HTTP/1.1\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\n\n", 400),
    (b"GET /hello HTTP/1.1\n\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\rHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    // Fields.
    (b"GET /hello HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost\t: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX@Y: b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
    // Host.
    (b"GET /hello HTTP/1.1\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a:x\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET /hello HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400),
    // Targets.
    (b"GET hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http:///hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://u:p@a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://a/hello HTTP/1.1\r\n\r\n", 400),
    (b"GET /hello#part HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /h\xc3\xa9llo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /h\xe9llo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    // Expectations.
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n", 417),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, more\r\nContent-Length: 1\r\n\r\n", 417),
];

#[test]
fn a_head_that_breaks_a_rule_is_refused_with_its_status_and_the_connection_closes() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for (head, status) in BROKEN {
            assert_refused(&host, head, *status);
        }
        assert_answered(&host, &get("/hello", ""), 200);
    });
}

#[test]
fn a_head_over_a_limit_is_refused_with_the_status_of_that_limit() {
    let limits = Limits { head_bytes: 512, fields: 8, target_bytes: 100, ..Limits::default() };
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::new(limits));
        let long = |len| "x".repeat(len);
        assert_answered(&host, &get(&format!("/{}", long(99)), ""), 404);
        assert_refused(&host, &get(&format!("/{}", long(100)), ""), 414);
        assert_refused(&host, &get(&format!("/{}", long(300)), ""), 414);
        // Before the line has ended.
        assert_refused(&host, format!("GET /{}", long(200)).as_bytes(), 414);
        assert_answered(&host, &get("/hello", &"X: y\r\n".repeat(7)), 200);
        assert_refused(&host, &get("/hello", &"X: y\r\n".repeat(8)), 431);
        let spare = 512 - get("/hello", "X: \r\n").len();
        assert_answered(&host, &get("/hello", &format!("X: {}\r\n", long(spare))), 200);
        assert_refused(&host, &get("/hello", &format!("X: {}\r\n", long(spare + 1))), 431);
        // Before the head has ended.
        assert_refused(&host, format!("GET / HTTP/1.1\r\nX: {}", long(600)).as_bytes(), 431);
    });
}

#[test]
fn more_fields_than_are_ever_looked_at_are_refused_whatever_the_limit_says() {
    let limits = Limits { fields: usize::MAX, ..Limits::default() };
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::new(limits));
        assert_answered(&host, &get("/hello", &"X: y\r\n".repeat(255)), 200);
        assert_refused(&host, &get("/hello", &"X: y\r\n".repeat(256)), 431);
    });
}

#[test]
fn unusual_heads_that_keep_the_rules_are_answered() {
    let cases: &[&[u8]] = &[
        b"\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nhOsT:a\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: \t a:80 \t \r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\n\r\n",
        b"GET /hello?a=b?c&d={|}^` HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b/hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW /hello HTTP/1.1\r\nHost: a\r\nX: caf\xe9\tau lait\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: upgrade, , keep-alive\r\nUpgrade: h2c\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for head in cases {
            assert_answered(&host, head, 200);
        }
    });
}

#[test]
fn a_handler_sees_what_was_asked() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        let answer = ask(&mut client, &request("PUT", "/what?v=%41+b&x", "Accept:  a/b \r\nX-Empty:\r\n"));
        let expected = "method PUT\ntarget /what?v=%41+b&x\npath /what\nquery Some(\"v=%41+b&x\")\nhost localhost\nversion 1.1\n\
                        keep-alive true\nlength None\nHost=localhost\nAccept=a/b\nX-Empty=\n";
        assert_eq!(answer.text(), expected);
        let answer =
            ask(&mut client, b"GET HTTP://example.com:8/what HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n");
        let expected = "method GET\ntarget HTTP://example.com:8/what\npath /what\nquery None\nhost example.com:8\nversion 1.1\n\
                        keep-alive true\nlength Some(0)\nHost=other\nContent-Length=0\n";
        assert_eq!(answer.text(), expected);
        let answer = ask(&mut client, b"GET /what HTTP/1.0\r\n\r\n");
        assert!(answer.text().contains("\nhost \nversion 1.0\nkeep-alive false\n"), "{}", answer.text());
        client.expect_end();
    });
}

#[test]
fn options_may_ask_for_the_server_as_a_whole() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        // No page of the site is at `*`.
        assert_eq!(ask(&mut client, &request("OPTIONS", "*", "")).status, 404);
        assert_goes_on(&mut client);
        assert_eq!(ask(&mut client, &request("OPTIONS", "http://a?x", "")).status, 404);
        assert_goes_on(&mut client);
    });
}
