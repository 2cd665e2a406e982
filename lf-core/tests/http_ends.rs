//! How exchanges end that do not go well: deadlines, failures, drains; with a status where the peer can still use one.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Client, Host, Mode, in_every_mode, until};
use http_site::{
    SHORT, Waiting, ask, assert_answered, assert_goes_on, assert_refused, get, read_answer, read_chunks, read_head,
    request, serve, serve_with,
};
use lf_core::codec::Http;
use lf_core::{CloseReason, Timeouts};

fn serve_impatiently(mode: Mode) -> (Host, Waiting) {
    let timeouts = Timeouts { frame: Some(SHORT), idle: Some(SHORT), ..Timeouts::default() };
    serve_with(mode.builder().timeouts(timeouts), Http::default())
}

fn assert_ends_with(client: &mut Client, status: u16) {
    let answer = read_answer(client);
    assert!(answer.status == status && answer.closes(), "{answer:?}");
    client.expect_end();
}

#[test]
fn a_request_that_does_not_come_whole_in_time_is_answered_408() {
    let chunked = request("POST", "/echo", "Transfer-Encoding: chunked\r\n");
    let declared = request("POST", "/echo", "Content-Length: 10\r\n");
    let starts: [Vec<u8>; 8] = [
        b"G".to_vec(),
        b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ".to_vec(),
        b"\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r".to_vec(),
        declared.clone(),
        [&declared[..], b"12345"].concat(),
        chunked.clone(),
        [&chunked[..], b"5\r\nhel"].concat(),
        [&chunked[..], b"5\r\nhello\r\n0\r\nX: y"].concat(),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve_impatiently(mode);
        for start in &starts {
            let mut client = host.connect();
            client.send(start);
            assert_ends_with(&mut client, 408);
            // Behind an answer that went well.
            let mut client = host.connect();
            assert_goes_on(&mut client);
            client.send(start);
            assert_ends_with(&mut client, 408);
        }
    });
}

#[test]
fn a_head_that_drips_is_cut_at_its_deadline() {
    in_every_mode(|mode| {
        let (host, _) = serve_impatiently(mode);
        let mut client = host.connect();
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
        let mut sent = 0;
        until("the dripping peer is cut", || {
            sent += 1;
            host.stats().closed(CloseReason::FrameTimeout) == 1 || !client.try_send(b"x")
        });
        assert!(sent < 12_000, "it could drip {sent} bytes, which is a limit of its own");
        host.until_closed(CloseReason::FrameTimeout, 1);
    });
}

#[test]
fn a_peer_that_has_not_begun_a_request_is_closed_without_a_word() {
    in_every_mode(|mode| {
        let (host, _) = serve_impatiently(mode);
        let mut client = host.connect();
        assert_goes_on(&mut client);
        client.expect_end();
        let mut client = host.connect();
        assert_goes_on(&mut client);
        client.send(b"\r\n");
        client.expect_end();
    });
}

#[test]
fn no_deadline_for_reading_runs_while_an_answer_is_waited_for() {
    in_every_mode(|mode| {
        let (host, waiting) = serve_impatiently(mode);
        let mut client = host.connect();
        client.send(&get("/later", ""));
        until("the request waits", || !waiting.lock().unwrap().is_empty());
        let mut idle = host.connect();
        assert_goes_on(&mut idle);
        host.until_closed(CloseReason::IdleTimeout, 1);
        host.running.remote().send(waiting.lock().unwrap()[0], *b"late").unwrap();
        assert_eq!(read_answer(&mut client).text(), "late for /later");
    });
}

#[test]
fn a_handler_that_fails_or_panics_is_a_500_behind_what_was_answered_before() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        for path in ["/panic", "/fail"] {
            let mut client = host.connect();
            client.send(&[get("/hello", ""), get(path, ""), get("/hello", "")].concat());
            assert_eq!(read_answer(&mut client).text(), "hello");
            assert_ends_with(&mut client, 500);
        }
        assert_answered(&host, &get("/hello", ""), 200);
    });
}

#[test]
fn a_stream_that_is_cut_short_has_no_last_chunk() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&get("/endless", ""));
        assert_eq!(read_head(&mut client).status, 200);
        client.expect(b"6\r\nbegun \r\n");
        until("the stream waits", || !waiting.lock().unwrap().is_empty());
        assert!(host.running.remote().close(waiting.lock().unwrap()[0]));
        client.expect_end();
    });
}

#[test]
fn a_request_that_is_cut_in_its_middle_by_its_peer_is_answered_400() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n");
        client.finish();
        assert_ends_with(&mut client, 400);
        let mut client = host.connect();
        client
            .send(&[&request("POST", "/echo", "Transfer-Encoding: chunked\r\n")[..], b"5\r\nhello\r\n0\r\n"].concat());
        client.finish();
        assert_ends_with(&mut client, 400);
        // What is left of an empty line is no request.
        let mut client = host.connect();
        client.send(&[&get("/hello", "")[..], b"\r\n"].concat());
        client.finish();
        assert_eq!(read_answer(&mut client).text(), "hello");
        client.expect_end();
    });
}

#[test]
fn a_request_that_nobody_has_answered_is_a_503_when_its_connection_must_end() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&get("/mute", ""));
        until("the request waits", || !waiting.lock().unwrap().is_empty());
        assert!(host.running.remote().close(waiting.lock().unwrap()[0]));
        assert_ends_with(&mut client, 503);
        // The same at the end of a drain that could not wait.
        let mut client = host.connect();
        client.send(&get("/mute", ""));
        until("the request waits", || waiting.lock().unwrap().len() == 2);
        assert_eq!(host.running.stop().cut, 1);
        assert_ends_with(&mut client, 503);
    });
}

#[test]
fn a_server_that_drains_answers_what_is_in_progress_and_says_that_it_closes() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let (mut busy, mut streamed, mut idle) = (host.connect(), host.connect(), host.connect());
        assert_goes_on(&mut idle);
        busy.send(&[get("/later", ""), get("/hello", "")].concat());
        until("the request waits", || waiting.lock().unwrap().len() == 1);
        streamed.send(&get("/stream-later", ""));
        assert_eq!(read_head(&mut streamed).status, 200);
        streamed.expect(b"6\r\nbegun \r\n");
        until("the stream waits", || waiting.lock().unwrap().len() == 2);
        let remote = host.running.remote();
        std::thread::scope(|scope| {
            let ended = scope.spawn(move || host.running.drain());
            idle.expect_end();
            let waiting = waiting.lock().unwrap();
            remote.send(waiting[0], *b"at last").unwrap();
            let answer = read_answer(&mut busy);
            // The peer has asked for more, but was told in time that this is the last answer.
            assert!(answer.text() == "at last for /later" && answer.closes(), "{answer:?}");
            busy.expect_end();
            remote.send(waiting[1], *b"").unwrap();
            assert!(read_chunks(&mut streamed).is_empty());
            streamed.expect_end();
            assert_eq!(ended.join().unwrap().cut, 0);
        });
    });
}

#[test]
fn a_refusal_behind_a_pipelined_request_comes_after_its_answer() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&[&get("/later", "")[..], b"GARBAGE\r\n\r\n"].concat());
        until("the request waits", || !waiting.lock().unwrap().is_empty());
        host.running.remote().send(waiting.lock().unwrap()[0], *b"first").unwrap();
        assert_eq!(read_answer(&mut client).text(), "first for /later");
        assert_ends_with(&mut client, 400);
    });
}

#[test]
fn a_body_that_breaks_a_rule_behind_the_beginning_of_an_answer_just_ends_the_connection() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&request("POST", "/endless", "Transfer-Encoding: chunked\r\n"));
        assert_eq!(read_head(&mut client).status, 200);
        client.expect(b"6\r\nbegun \r\n");
        client.send(b"no chunk\r\n");
        client.expect_end();
        assert_refused(&host, b"GARBAGE\r\n\r\n", 400);
        let mut client = host.connect();
        assert_eq!(ask(&mut client, &get("/hello", "")).status, 200);
    });
}
