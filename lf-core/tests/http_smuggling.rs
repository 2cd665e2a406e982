//! Requests that two servers in a row could read in two ways are refused, and what follows them is never answered.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Host, in_every_mode};
use http_site::{assert_answered, get, read_answer, serve};
use lf_core::codec::Http;

/// Refused with that status, and the request that hides behind it is not answered: the connection closes.
fn assert_refused_for_good(host: &Host, head: &str, status: u16) {
    let mut client = host.connect();
    client.try_send(format!("{head}\r\n0\r\n\r\n").as_bytes());
    client.try_send(&get("/hello", ""));
    let answer = read_answer(&mut client);
    assert!(answer.status == status && answer.closes(), "{head:?}: {answer:?}");
    client.expect_end();
}

#[test]
fn two_ways_to_tell_the_length_are_refused() {
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    let cases = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\r\n",
        "Content-Length: 5\r\ntransfer-ENCODING: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: \r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 5\x0b\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        cases.iter().for_each(|lines| assert_refused_for_good(&host, &format!("{post}{lines}"), 400));
        assert_answered(&host, &get("/hello", ""), 200);
    });
}

#[test]
fn transfer_codings_other_than_one_last_chunked_are_refused() {
    let cases = [
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: chunked,\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: ,\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding: chunked\x00\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: gzip\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: chunked;q=1\r\n", 501),
        ("Transfer-Encoding: \"chunked\"\r\n", 501),
        ("Transfer-Encoding: chun ked\r\n", 501),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for (lines, status) in cases {
            assert_refused_for_good(&host, &format!("POST /echo HTTP/1.1\r\nHost: a\r\n{lines}"), status);
        }
        let http_1_0 = "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n";
        assert_refused_for_good(&host, http_1_0, 400);
        assert_refused_for_good(&host, &format!("{http_1_0}Connection: keep-alive\r\n"), 400);
    });
}

#[test]
fn chunked_is_known_in_any_case_and_among_empty_elements() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for value in ["Chunked", "CHUNKED", " \tchunked\t ", ", chunked"] {
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:{value}\r\n\r\n");
            let answer = assert_answered(&host, &[head.as_bytes(), b"2\r\nhi\r\n0\r\n\r\n"].concat(), 200);
            assert_eq!(answer.text(), "hi", "{value}");
        }
    });
}

#[test]
fn a_body_that_nobody_wants_is_not_read_as_a_request() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let inner = String::from_utf8(get("/hello", "")).unwrap();
        let mut client = host.connect();
        client.send(&get("/echo", &format!("Content-Length: {}\r\n", inner.len())));
        client.send(inner.as_bytes());
        assert_eq!(read_answer(&mut client).text(), inner);
        client.send(&get("/echo", "Transfer-Encoding: chunked\r\n"));
        client.send(format!("{:x}\r\n{inner}\r\n0\r\nX: y\r\n\r\n", inner.len()).as_bytes());
        assert_eq!(read_answer(&mut client).text(), inner);
        client.expect_end_after_finishing();
    });
}
