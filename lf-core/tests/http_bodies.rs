//! Bodies of requests: declared or chunked, in whatever pieces they come, within their limits.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Client, in_every_mode, pattern};
use http_site::{Answer, ask, assert_answered, assert_goes_on, assert_refused, read_answer, read_head, request, serve};
use lf_core::codec::Http;
use lf_core::codec::http::{Limits, write_chunk};

fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    [&request("POST", path, lines)[..], body].concat()
}

fn chunked(body: &str) -> Vec<u8> {
    post("/echo", "Transfer-Encoding: chunked\r\n", body.as_bytes())
}

fn assert_echoed(client: &mut Client, body: &[u8]) {
    let answer = read_answer(client);
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes instead of {}", answer.body.len(), body.len());
}

#[test]
fn a_declared_body_comes_whole_whatever_its_size() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::new(Limits { body_bytes: 4_000_000, ..Limits::default() }));
        let mut client = host.connect();
        for len in [0, 1, 100, 65_536, 100_000, 3_000_000] {
            let body = pattern(len);
            let mut sender = client.duplicate();
            std::thread::scope(|scope| {
                let request = post("/echo", &format!("Content-Length: {len}\r\n"), &body);
                scope.spawn(move || sender.send(&request));
                assert_echoed(&mut client, &body);
            });
        }
        assert_goes_on(&mut client);
    });
}

#[test]
fn a_chunked_body_comes_whole_whatever_its_chunks() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        let body = pattern(500_000);
        for size in [1, 7, 4096, 70_000, 500_000] {
            let body = &body[..body.len().min(size * 1000)];
            let mut bytes = request("POST", "/echo", "Transfer-Encoding: chunked\r\n");
            body.chunks(size).for_each(|chunk| write_chunk(&mut bytes, chunk));
            bytes.extend_from_slice(b"0\r\n\r\n");
            let mut sender = client.duplicate();
            std::thread::scope(|scope| {
                scope.spawn(move || sender.send(&bytes));
                assert_echoed(&mut client, body);
            });
        }
        assert_goes_on(&mut client);
    });
}

#[test]
fn chunks_may_have_extensions_and_trailers_which_mean_nothing() {
    let bodies = [
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("0\r\n\r\n", ""),
        ("000000000000005\r\nhello\r\n00\r\n\r\n", "hello"),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("5;name=value\r\nhello\r\n0;last\r\n\r\n", "hello"),
        ("5 ; name = \"quo;ted\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More:\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5\r\nhello\r\n0\r\nContent-Length: 7\r\nHost: b\r\n\r\n", "hello"),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for (body, expected) in bodies {
            assert_eq!(assert_answered(&host, &chunked(body), 200).text(), expected, "{body:?}");
        }
    });
}

#[test]
fn a_chunked_body_that_breaks_a_rule_is_refused() {
    let bodies = [
        "\r\nhello\r\n0\r\n\r\n",
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello\rx0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for body in bodies {
            assert_refused(&host, &chunked(body), 400);
        }
    });
}

#[test]
fn a_body_over_a_limit_is_refused_as_soon_as_that_shows() {
    let limits = Limits {
        body_bytes: 1000,
        chunk_line_bytes: 32,
        extension_bytes: 100,
        trailer_bytes: 64,
        trailer_fields: 3,
        ..Limits::default()
    };
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::new(limits));
        let x = |len| "x".repeat(len);
        assert_answered(&host, &post("/echo", "Content-Length: 1000\r\n", &pattern(1000)), 200);
        // Nothing of the body has come.
        assert_refused(&host, &post("/echo", "Content-Length: 1001\r\n", b""), 413);
        assert_refused(&host, &post("/echo", "Content-Length: 18446744073709551615\r\n", b""), 413);
        assert_answered(&host, &chunked(&format!("3e8\r\n{}\r\n0\r\n\r\n", x(1000))), 200);
        assert_refused(&host, &chunked("3e9\r\n"), 413);
        assert_refused(&host, &chunked("ffffffffffffffff\r\n"), 413);
        assert_refused(&host, &chunked(&format!("3e8\r\n{}\r\n1\r\n", x(1000))), 413);
        assert_answered(&host, &chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", x(30))), 200);
        assert_refused(&host, &chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", x(31))), 400);
        assert_refused(&host, &chunked(&format!("5;{}", x(40))), 400);
        assert_answered(&host, &chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", x(19)).repeat(5))), 200);
        assert_refused(&host, &chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", x(19)).repeat(6))), 400);
        assert_answered(&host, &chunked(&format!("0\r\nX: {}\r\n\r\n", x(59))), 200);
        assert_refused(&host, &chunked(&format!("0\r\nX: {}\r\n\r\n", x(60))), 431);
        assert_refused(&host, &chunked(&format!("0\r\nX: {}", x(80))), 431);
        assert_answered(&host, &chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(3))), 200);
        assert_refused(&host, &chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(4))), 431);
    });
}

#[test]
fn a_peer_that_expects_to_be_told_is_told_to_go_on_once() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        for framing in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            client.send(&request("POST", "/accept", &format!("{framing}Expect: 100-continue\r\n")));
            assert_eq!(read_head(&mut client).status, 100);
            client.send(if framing.starts_with('C') { b"hello" } else { b"5\r\nhello\r\n0\r\n\r\n" });
            assert_echoed(&mut client, b"hello");
        }
        // Nobody waits here.
        client.send(&post("/accept", "Content-Length: 5\r\n", b"hello"));
        assert_echoed(&mut client, b"hello");
        assert_answered(&host, &post("/accept", "Expect: 100-continue\r\nContent-Length: 0\r\n", b""), 200);
        // HTTP/1.0 cannot mean it.
        client.send(b"POST /accept HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
        assert_echoed(&mut client, b"hello");
        client.expect_end();
    });
}

#[test]
fn an_answer_before_the_body_has_come_closes_the_connection_and_is_read_all_the_same() {
    let expect = "Content-Length: 1000000\r\nExpect: 100-continue\r\n";
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let early = |answer: Answer| assert!(answer.status == 200 && answer.text() == "hello" && answer.closes());
        // The peer waits for a word that does not come.
        let mut client = host.connect();
        early(ask(&mut client, &request("POST", "/early", expect)));
        client.expect_end();
        // The peer sends on, and must not be reset before it has read the answer.
        for _ in 0..5 {
            let mut client = host.connect();
            let body = pattern(1_000_000);
            let mut sender = client.duplicate();
            std::thread::scope(|scope| {
                let request = post("/early", "Content-Length: 1000000\r\n", &body);
                scope.spawn(move || sender.try_send(&request));
                early(read_answer(&mut client));
                client.expect_end();
            });
        }
    });
}

#[test]
fn what_follows_an_early_answer_is_no_request() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        let inner = request("GET", "/hello", "");
        client.send(&post("/early", &format!("Content-Length: {}\r\n", inner.len()), &inner));
        assert!(read_answer(&mut client).closes());
        client.expect_end();
    });
}

#[test]
fn an_empty_line_behind_a_body_is_overlooked() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&post("/echo", "Content-Length: 5\r\n", b"hello\r\n"));
        assert_echoed(&mut client, b"hello");
        client.send(&post("/echo", "Content-Length: 5\r\n", b"hello\r\n"));
        assert_echoed(&mut client, b"hello");
        client.expect_end_after_finishing();
    });
}
