//! The HTTP codec without sockets: however the input is cut, it says the same, and nothing that comes makes it panic.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

#[path = "../fuzz/harness/mod.rs"]
mod harness;

use harness::http::{Feed, SMALL, Told, decode};
use lf_core::codec::FrameError;
use lf_core::codec::http::{Limits, write_chunk};
use proptest::prelude::*;

/// The outcome is the same in one piece, in bytes, and cut in two anywhere.
fn assert_every_split_alike(limits: Limits, input: &[u8]) -> Told {
    let whole = decode(limits, [input]);
    assert_eq!(decode(limits, input.chunks(1)), whole, "byte by byte: {:?}", String::from_utf8_lossy(input));
    for at in 0..=input.len() {
        assert_eq!(decode(limits, [&input[..at], &input[at..]]), whole, "cut at {at}");
    }
    whole
}

#[test]
fn requests_with_all_kinds_of_bodies_are_the_same_at_every_split() {
    let input = b"\r\nGET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789\r\n\
        PUT http://o/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n001\r\n!\r\n0\r\nA: b\r\n\r\n\
        HEAD / HTTP/1.0\r\n\r\n\
        POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let told = assert_every_split_alike(Limits::default(), input);
    assert_eq!(told.error, None);
    let got: Vec<_> = told
        .requests
        .iter()
        .map(|request| {
            assert!(request.whole);
            (request.method.as_str(), request.target.as_str(), request.host.as_str(), request.body.as_deref())
        })
        .collect();
    let expected: [(&str, &str, &str, Option<&[u8]>); 5] = [
        ("GET", "/a?b=c", "h", None),
        ("POST", "/b", "h", Some(b"0123456789")),
        ("PUT", "http://o/c", "o", Some(b"hello!")),
        ("HEAD", "/", "", None),
        ("POST", "/d", "h", Some(b"")),
    ];
    assert_eq!(got, expected);
}

#[test]
fn refusals_are_the_same_at_every_split() {
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let x = |len| "x".repeat(len);
    let inputs = [
        "GET / HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
        "\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
        "\r\n\r\n\rGET / HTTP/1.1\r\n\r\n".to_owned(),
        "\rGET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n".to_owned(),
        "GET / HTTP/3.0\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", x(30)),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", x(90)),
        format!("GET /{}\nHTTP/1.1\r\nHost: h\r\n\r\n", x(90)),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", x(200)),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\n\r\n", x(200)),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(4)),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n".to_owned(),
        format!("{chunked}1f\r\n"),
        format!("{chunked}5\r\nhello5\r\n"),
        format!("{chunked}5\r\nhello\r5\r\n"),
        format!("{chunked}14\r\n{}\r\nb\r\n", x(20)),
        format!("{chunked}1;{}\r\n", x(20)),
        format!("{chunked}1;234567890\r\n!\r\n1;234567890\r\n!\r\n"),
        format!("{chunked}0\r\nA: {}\r\n\r\n", x(30)),
        format!("{chunked}0\r\nA: b\n\r\n"),
        format!("{chunked}0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n"),
    ];
    for input in inputs {
        let told = assert_every_split_alike(SMALL, input.as_bytes());
        assert!(matches!(told.error, Some(FrameError::Refused { code: 400..=505, .. })), "{input:?}: {told:?}");
    }
}

#[test]
fn a_head_that_drips_is_not_looked_at_again_and_again() {
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
    while head.len() < 12_000 {
        head.extend_from_slice(b"X-Filler: 0123456789\r\n");
    }
    head.truncate(12_000);
    let mut feed = Feed::new(Limits { fields: 256, ..Limits::default() });
    head.chunks(1).for_each(|byte| feed.push(byte));
    assert_eq!((feed.told.error, feed.looked_at), (None, head.len()));
}

#[test]
fn without_room_for_a_trailer_a_chunked_body_may_still_end() {
    let limits = Limits { trailer_bytes: 0, trailer_fields: 0, ..Limits::default() };
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n";
    let told = assert_every_split_alike(limits, format!("{chunked}\r\n").as_bytes());
    assert_eq!((told.error, told.requests[0].body.as_deref()), (None, Some(&b"!"[..])));
    let told = assert_every_split_alike(limits, format!("{chunked}A:\r\n\r\n").as_bytes());
    assert!(matches!(told.error, Some(FrameError::Refused { code: 431, .. })), "{told:?}");
}

#[test]
fn a_body_is_handed_out_as_it_comes_without_waiting_for_its_chunk_to_end() {
    let mut feed = Feed::new(Limits::default());
    feed.push(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nab");
    assert_eq!(feed.told.requests[0].body.as_deref(), Some(&b"ab"[..]));
    feed.push(b"c");
    assert_eq!(feed.told.requests[0].body.as_deref(), Some(&b"abc"[..]));
    // Nothing of it is kept: the peer has not begun anything that it could be late with.
    assert_eq!((feed.kept.len(), feed.told.requests[0].whole), (0, false));
}

#[test]
fn nothing_is_left_over_between_two_chunks() {
    for cut in [4, 5, 6] {
        let mut feed = Feed::new(Limits::default());
        feed.push(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (first, rest) = b"3\r\nabc\r\n".split_at(cut);
        feed.push(first);
        feed.push(rest);
        assert_eq!((feed.kept.len(), feed.told.error), (0, None), "cut at {cut}");
    }
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("POST /x HTTP/1.1\r\n".to_owned()),
        Just("Host: h\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        (0_u32..40).prop_map(|bytes| format!("Content-Length: {bytes}\r\n")),
        (0_u32..20).prop_map(|bytes| format!("{bytes:x}\r\n")),
        (0_usize..20).prop_map(|len| "d".repeat(len)),
        Just("\r\n".to_owned()),
        Just("0\r\n\r\n".to_owned()),
        "[ -~\\t\\r\\n]{0,12}",
    ];
    let lines = proptest::collection::vec(line, 0..16).prop_map(|lines| lines.concat().into_bytes());
    prop_oneof![3 => lines, 1 => proptest::collection::vec(any::<u8>(), 0..300)]
}

fn cut(input: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|at| *at %= input.len() + 1);
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for at in cuts.into_iter().chain([input.len()]) {
        pieces.push(&input[from..at]);
        from = at;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_the_same_however_it_is_cut(
        input in input(),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        small in any::<bool>(),
    ) {
        let limits = if small { SMALL } else { Limits::default() };
        let whole = decode(limits, [&input[..]]);
        prop_assert_eq!(&decode(limits, cut(&input, cuts)), &whole);
        prop_assert_eq!(&decode(limits, input.chunks(1)), &whole);
    }

    #[test]
    fn a_chunked_body_is_what_was_put_in(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let mut input = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        pieces.iter().for_each(|piece| write_chunk(&mut input, piece));
        input.extend_from_slice(b"0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        let told = decode(Limits::default(), cut(&input, cuts));
        prop_assert_eq!(&told.error, &None);
        prop_assert_eq!(told.requests.len(), 2);
        prop_assert_eq!(told.requests[0].body.clone(), Some(pieces.concat()));
        prop_assert_eq!(&told.requests[1].target, "/next");
    }
}
