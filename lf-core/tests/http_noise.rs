//! Whatever bytes come, a connection ends in an answer and a close, and the server goes on.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Host, in_every_mode};
use http_site::{assert_answered, get, request, serve};
use lf_core::codec::Http;
use lf_core::codec::http::Limits;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Pieces of requests, right and wrong, and bytes of no meaning.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(get("/hello", "")),
        Just(get("/stream", "")),
        Just(request("POST", "/echo", "Content-Length: 5\r\n")),
        Just(request("POST", "/early", "Content-Length: 5\r\n")),
        Just(request("POST", "/accept", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n")),
        Just(b"hello".to_vec()),
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\nContent-Length: 1\r\n".to_vec()),
        Just(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..60),
        "[ -~\\r\\n]{0,40}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// What comes back is answers and nothing else; the last one may be cut short only by its own framing.
fn assert_answers(host: &Host, noise: &[u8]) {
    let mut client = host.connect();
    // A refusal may come while it is still being sent.
    client.try_send(noise);
    client.try_finish();
    let answers = client.rest();
    let shown = || format!("{:?}: {:?}", String::from_utf8_lossy(noise), String::from_utf8_lossy(&answers));
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1.1 "), "{}", shown());
    let text = String::from_utf8_lossy(&answers);
    for status in text.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap()) {
        assert!(matches!(status.parse(), Ok(100 | 200 | 400..=505)), "{}", shown());
    }
}

#[test]
fn noise_ends_in_answers_and_a_close() {
    let limits = Limits { head_bytes: 400, target_bytes: 40, body_bytes: 100, ..Limits::default() };
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::new(limits));
        let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&noise(), |noise| {
                assert_answers(&host, &noise);
                Ok(())
            })
            .unwrap();
        host.until_connected(0);
        assert_answered(&host, &get("/hello", ""), 200);
    });
}
