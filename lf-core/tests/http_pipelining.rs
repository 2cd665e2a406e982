//! Requests that do not wait for answers get them in their order, whoever gives them and when.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod http_site;

use common::{Host, in_every_mode, until};
use http_site::{Waiting, assert_goes_on, get, read_answer, read_chunks, read_head, request, serve};
use lf_core::SendError;
use lf_core::codec::Http;

const REQUESTS: usize = 100;

/// Answers whoever waits, from this thread, until that many were answered.
fn answer_waiting(host: &Host, waiting: &Waiting, times: usize) {
    let remote = host.running.remote();
    for _ in 0..times {
        until("a request waits", || !waiting.lock().unwrap().is_empty());
        let token = waiting.lock().unwrap().remove(0);
        assert!(waiting.lock().unwrap().is_empty(), "the next request was handed on before this one was answered");
        remote.send(token, *b"answer").unwrap();
    }
}

#[test]
fn a_hundred_pipelined_requests_are_answered_in_order() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let mut client = host.connect();
        let requests: Vec<_> = (0..REQUESTS)
            .flat_map(|i| match i % 3 {
                0 => get(&format!("/field?v={i}"), ""),
                1 => [&request("POST", "/echo", "Content-Length: 2\r\n")[..], format!("{i:02}").as_bytes()].concat(),
                _ => [
                    &request("POST", "/echo", "Transfer-Encoding: chunked\r\n")[..],
                    format!("2\r\n{i:02}\r\n0\r\n\r\n").as_bytes(),
                ]
                .concat(),
            })
            .collect();
        client.send(&requests);
        for i in 0..REQUESTS {
            let answer = read_answer(&mut client);
            assert_eq!(answer.status, 200);
            match i % 3 {
                0 => assert_eq!(answer.field("x-value"), Some(i.to_string().as_str())),
                _ => assert_eq!(answer.text(), format!("{i:02}")),
            }
        }
        assert_goes_on(&mut client);
    });
}

#[test]
fn answers_that_come_from_another_thread_keep_the_order() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        let later = |i| i % 4 == 0;
        let path = |i| if later(i) { format!("/later?{i}") } else { format!("/field?v={i}") };
        let requests: Vec<_> = (0..REQUESTS).flat_map(|i| get(&path(i), "")).collect();
        client.send(&requests);
        std::thread::scope(|scope| {
            scope.spawn(|| answer_waiting(&host, &waiting, (0..REQUESTS).filter(|i| later(*i)).count()));
            for i in 0..REQUESTS {
                let answer = read_answer(&mut client);
                if later(i) {
                    assert_eq!(answer.text(), format!("answer for /later?{i}"));
                } else {
                    assert_eq!(answer.field("x-value"), Some(i.to_string().as_str()));
                }
            }
        });
        assert_goes_on(&mut client);
    });
}

#[test]
fn a_request_behind_a_streamed_answer_waits_for_its_end() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&[get("/stream-later", ""), get("/hello", "")].concat());
        let head = read_head(&mut client);
        assert_eq!((head.status, head.field("transfer-encoding")), (200, Some("chunked")));
        client.expect(b"6\r\nbegun \r\n");
        until("the stream waits", || !waiting.lock().unwrap().is_empty());
        let token = waiting.lock().unwrap()[0];
        let remote = host.running.remote();
        for i in 0..10 {
            remote.send(token, format!("piece {i} ").into_bytes()).unwrap();
            client.expect(format!("8\r\npiece {i} \r\n").as_bytes());
        }
        remote.send(token, *b"").unwrap();
        assert!(read_chunks(&mut client).is_empty());
        assert_eq!(read_answer(&mut client).text(), "hello");
        assert_goes_on(&mut client);
    });
}

#[test]
fn a_peer_that_finishes_after_its_requests_gets_all_its_answers() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&[get("/hello", ""), get("/later", ""), get("/hello", "")].concat());
        client.finish();
        assert_eq!(read_answer(&mut client).text(), "hello");
        std::thread::scope(|scope| {
            scope.spawn(|| answer_waiting(&host, &waiting, 1));
            assert_eq!(read_answer(&mut client).text(), "answer for /later");
        });
        assert_eq!(read_answer(&mut client).text(), "hello");
        client.expect_end();
    });
}

#[test]
fn a_request_behind_the_last_one_is_not_answered() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode, Http::default());
        let last = [get("/hello", "Connection: close\r\n"), get("/close", ""), b"GET /hello HTTP/1.0\r\n\r\n".to_vec()];
        for last in last {
            let mut client = host.connect();
            client.send(&[last, get("/field?v=no", "")].concat());
            let answer = read_answer(&mut client);
            assert!(answer.status == 200 && answer.closes(), "{answer:?}");
            client.expect_end();
        }
    });
}

#[test]
fn an_answer_to_a_peer_that_has_gone_is_refused_or_dropped() {
    in_every_mode(|mode| {
        let (host, waiting) = serve(mode, Http::default());
        let mut client = host.connect();
        client.send(&get("/later", ""));
        until("the request waits", || !waiting.lock().unwrap().is_empty());
        client.reset();
        host.until_connected(0);
        let token = waiting.lock().unwrap()[0];
        assert!(matches!(host.running.remote().send(token, *b"too late"), Err(SendError::Gone)));
    });
}
