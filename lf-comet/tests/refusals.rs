//! What cannot be served is refused with the right status and words, and everybody is told when the server stops.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::position;
use common::socket::{CLOSE, Socket, close_payload};
use common::wire::Wire;
use common::{Program, comes_true, until};
use std::net::TcpStream;

#[test]
fn other_methods_are_refused_with_those_that_are_not() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"] {
        for target in ["/events/123", "/ws/123", "/poll/123", "/", "/nowhere"] {
            wire.ask(method, target, "1.1", "Content-Length: 0\r\n");
            let answer = wire.answer();
            assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method} {target}");
        }
    }
    wire.ask("OPTIONS", "*", "1.1", "");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
    program.end();
}

#[test]
fn unknown_paths_are_not_found() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    for target in [
        "/nowhere",
        "/events",
        "/test",
        "/Events/1",
        "/events2/1",
        "//",
        "/healthz/",
        "/metrics",
        "/connections",
        "/send/1",
    ] {
        wire.get(target);
        let answer = wire.answer();
        assert_eq!(answer.status, 404, "{target}");
        assert!(answer.text().contains("/events/ID"), "{target}: {}", answer.text());
    }
    program.end();
}

#[test]
fn what_is_asked_wrongly_is_refused_by_name() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    let (long, many) = ("i".repeat(129), vec!["i"; 65].join(","));
    for (target, words) in [
        ("/events/", "empty"),
        ("/events/a,", "empty"),
        ("/events/a,,b", "empty"),
        ("/events/a/b", "a/b"),
        ("/events/a%20b", "a%20b"),
        ("/events/%61", "%61"),
        ("/events/caf\u{e9}", ""),
        ("/test/a*b", "a*b"),
        (&*format!("/events/{long}"), "128"),
        (&*format!("/events/{many}"), "65 ids are over the limit of 64"),
        ("/stream/1?format=xml", "ndjson"),
        ("/events/1?format=ndjson", "format"),
        ("/poll/1?format=ndjson", "format"),
        ("/poll/1?timeout=121", "timeout: seconds from 0 to 120"),
        ("/poll/1?timeout=-1", "timeout: seconds from 0 to 120"),
        ("/poll/1?timeout=NaN", "timeout: seconds from 0 to 120"),
        ("/poll/1?timeout=1e400", "timeout: seconds from 0 to 120"),
        ("/poll/1?timeout=soon", "timeout: seconds from 0 to 120"),
        ("/poll/1?after=7", "EPOCH-OFFSET"),
        ("/events/1?last_event_id=0000000g-1", "EPOCH-OFFSET"),
        ("/stream/1?format=ndjson&after=00000000-18446744073709551616", "EPOCH-OFFSET"),
        ("/test/1?after=00000000-1", "format=ndjson"),
        ("/stream/1?after=00000000-1", "format=ndjson"),
        ("/ws/1?after=00000000-1", "format=ndjson"),
    ] {
        wire.get(target);
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        assert!(answer.text().contains(words), "{target}: {}", answer.text());
        // A path that is no ASCII is refused before it is looked at, and the connection with it.
        if !target.is_ascii() {
            wire = Wire::connect(program.public());
        }
    }
    // What is right goes on working on the same connection, up to the limits.
    wire.get(&format!("/poll/{}?timeout=0", "i".repeat(128)));
    assert_eq!(wire.answer().status, 204);
    wire.get(&format!("/poll/{}?timeout=0", vec!["i"; 64].join(",")));
    assert_eq!(wire.answer().status, 204);
    // What a browser repeats is never refused: it would not come back. It has lost something, whatever that was.
    wire.ask("GET", "/events/1", "1.1", "Last-Event-ID: yesterday\r\n");
    assert_eq!(wire.head().status(), 200);
    assert!(wire.chunk().unwrap().starts_with(b"retry: "));
    assert!(wire.chunk().unwrap().starts_with(b"event: lost\nid: "));
    drop(wire);
    until("nobody listens", || program.connected(None) == 0);
    assert_eq!(program.connected(None), 0);
    program.end();
}

#[test]
fn a_request_of_a_subscriber_has_no_body() {
    let program = Program::start(&[]);
    for fields in ["Content-Length: 5\r\n", "Content-Length: 5\r\nExpect: 100-continue\r\n"] {
        let mut wire = Wire::connect(program.public());
        wire.ask("GET", "/poll/1?timeout=0", "1.1", fields);
        assert_eq!(wire.answer().status, 413);
        assert_eq!(wire.rest_or_reset(), b"");
    }
    program.end();
}

#[test]
fn who_finishes_its_side_has_left() {
    let program = Program::start(&[]);
    for target in ["/test/123", "/stream/123", "/events/123", "/poll/123?timeout=100"] {
        let mut wire = Wire::connect(program.public());
        wire.get(target);
        program.await_connected("123", 1);
        wire.finish();
        wire.rest_or_reset();
        program.await_connected("123", 0);
        assert_eq!(program.send("123", "nobody"), 0);
    }
    program.end();
}

#[test]
fn when_the_server_stops_every_answer_is_brought_to_its_end() {
    let mut program = Program::start(&[]);
    let open = |target: &str, version: &str| {
        let mut wire = Wire::connect(program.public());
        wire.ask("GET", target, version, "");
        assert_eq!(wire.head().status(), 200);
        wire
    };
    let chunked = ["/test/123", "/stream/123", "/stream/123?format=ndjson", "/events/123"].map(|to| open(to, "1.1"));
    let plain = open("/stream/123", "1.0");
    let mut polls = [(); 2].map(|()| Wire::connect(program.public()));
    polls[0].get("/poll/123?timeout=100");
    // Another request waits behind this one.
    polls[1].say("GET /poll/123?timeout=100 HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut sockets = ["/ws/123", "/ws/123?format=ndjson"].map(|target| Socket::open(program.public(), target));
    let mut idle = Wire::connect(program.public());
    idle.get("/healthz");
    assert_eq!(idle.answer().status, 200);
    program.await_connected("123", 9);
    program.send("123", "last");
    let last = position(&program);
    polls[0].answer();
    polls[1].answer();
    polls[0].get(&format!("/poll/123?after={last}&timeout=100"));
    assert_eq!(polls[1].answer().text(), "ok\n");
    polls[1].say("GET /poll/123?timeout=100 HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    program.await_connected("123", 9);
    program.signal("TERM");
    for mut stream in chunked {
        let chunks: Vec<_> = std::iter::from_fn(|| stream.chunk()).collect();
        assert!(String::from_utf8_lossy(chunks.last().unwrap()).contains("last"));
        assert_eq!(stream.rest(), b"");
    }
    let mut plain = plain;
    assert_eq!(plain.rest(), b"last");
    for (index, poll) in polls.iter_mut().enumerate() {
        let answer = poll.answer();
        let next = last.to_string();
        assert_eq!((answer.status, answer.field("lf-next")), (204, Some(&*next)), "poll {index}");
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(poll.rest(), b"");
    }
    for socket in &mut sockets {
        assert!(String::from_utf8_lossy(&socket.frame().1).contains("last"));
        assert_eq!(socket.frame(), (CLOSE, close_payload(1001, "the server stops")));
        assert_eq!(socket.wire.rest(), b"");
    }
    assert_eq!(idle.rest(), b"");
    assert_eq!(program.wait().status.code(), Some(0));
}

#[test]
fn while_it_drains_nobody_comes_in_and_readiness_says_so() {
    let mut program =
        Program::start(&["--drain", "60s", "--slow", "drop-newest", "--write-stall", "0s", "--user-timeout", "0s"]);
    // Who does not read what was sent keeps the drain from ending.
    let mut slow = Wire::with_little_room(program.public());
    slow.get("/stream/123");
    slow.head();
    let health = |path: &str| {
        let answer = common::http::request(program.control(), "GET", path, &[], b"");
        (answer.status, answer.text())
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(health(path), (200, "ok\n".into()));
    }
    let mut sent = 0;
    until("its room is full", || {
        program.send("123", [b'x'; 60_000]);
        sent += 1;
        program.counter("dropped_newest") > 2
    });
    let kept = sent - program.counter("dropped_newest");
    program.signal("TERM");
    until("it drains", || health("/readyz") == (503, "draining\n".into()));
    assert_eq!(health("/healthz"), (503, "draining\n".into()));
    assert!(comes_true(common::PATIENCE, || TcpStream::connect(program.public()).is_err()), "it still lets people in");
    let late = common::http::request(program.control(), "POST", "/send/123", &[], b"too late");
    assert_eq!((late.status, late.text()), (503, "the server stops: nothing is published any more\n".into()));
    // It gets what was kept for it, and a proper end.
    let chunks: Vec<_> = std::iter::from_fn(|| slow.chunk()).collect();
    assert_eq!(chunks.len() as u64, kept);
    assert!(chunks.iter().all(|chunk| chunk.len() == 60_000));
    assert_eq!(program.wait().status.code(), Some(0));
}

#[test]
fn who_does_not_read_is_cut_at_the_end_of_the_drain() {
    let mut program =
        Program::start(&["--drain", "1s", "--slow", "drop-newest", "--write-stall", "0s", "--user-timeout", "0s"]);
    let mut slow = Wire::with_little_room(program.public());
    slow.get("/stream/123");
    slow.head();
    until("its room is full", || {
        program.send("123", [b'x'; 60_000]);
        program.counter("dropped_newest") > 0
    });
    program.signal("TERM");
    let left = program.wait();
    assert_eq!(left.status.code(), Some(3), "{}", left.log);
    assert!(left.log.contains("cut at the end of the drain"), "{}", left.log);
}
