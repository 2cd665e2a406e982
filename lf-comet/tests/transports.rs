//! Each transport, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::position;
use common::http::Head;
use common::socket::{BINARY, CLOSE, PING, PONG, Socket, TEXT, close_payload, upgrade_fields};
use common::wire::Wire;
use common::{Program, until};
use lf_comet::Position;
use std::time::{Duration, Instant};

/// A request that was answered; what comes after the head is still to be read.
fn ask(program: &Program, method: &str, target: &str, version: &str, fields: &str) -> (Head, Wire) {
    let mut wire = Wire::connect(program.public());
    wire.ask(method, target, version, fields);
    (wire.head(), wire)
}

fn get(program: &Program, target: &str, version: &str) -> (Head, Wire) {
    let (head, wire) = ask(program, "GET", target, version, "");
    assert_eq!(head.status(), 200, "{}", head.0);
    (head, wire)
}

/// The fields of a head, sorted; what is different each time is checked and left out.
fn fields(head: &Head) -> Vec<String> {
    let date = head.field("date").unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    if let Some(next) = head.field("lf-next") {
        assert!(next.parse::<Position>().is_ok(), "{next}");
    }
    let lines = head.0.trim_end().lines().skip(1);
    let mut fields: Vec<_> =
        lines.map(str::to_owned).filter(|line| !line.starts_with("Date: ") && !line.starts_with("Lf-Next: ")).collect();
    fields.sort();
    fields
}

/// The next position after one.
fn after(position: Position) -> Position {
    Position { offset: position.offset + 1, ..position }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn streams_have_the_headers_of_their_kind() {
    let program = Program::start(&[]);
    for (target, kind) in [
        ("/test/123", "text/html; charset=utf-8"),
        ("/stream/123", "application/octet-stream"),
        ("/stream/123?format=raw", "application/octet-stream"),
        ("/stream/123?format=ndjson", "application/x-ndjson"),
        ("/stream/1,2,3?format=json", "application/x-ndjson"),
        ("/events/123", "text/event-stream"),
    ] {
        let kind = format!("Content-Type: {kind}");
        let always = ["Cache-Control: no-store", kind.as_str()];
        let (chunked, plain) = (get(&program, target, "1.1").0, get(&program, target, "1.0").0);
        assert!(chunked.0.starts_with("HTTP/1.1 200 OK\r\n") && plain.0.starts_with("HTTP/1.1 200 OK\r\n"));
        let accel = "X-Accel-Buffering: no";
        let [cache, kind] = always;
        let close = "Connection: close";
        assert_eq!(fields(&chunked), [cache, close, kind, "Transfer-Encoding: chunked", accel], "{target}");
        assert_eq!(fields(&plain), [cache, close, kind, accel], "{target}");
        let (head, mut wire) = ask(&program, "HEAD", target, "1.1", "");
        assert_eq!(fields(&head), [cache, kind, accel], "{target}");
        // Nothing follows, and the connection goes on.
        wire.get("/healthz");
        assert_eq!(wire.answer().text(), "ok\n");
    }
    let (head, mut wire) = ask(&program, "HEAD", "/poll/123", "1.1", "");
    assert_eq!(head.status(), 200);
    assert_eq!(head.field("content-type"), Some("application/json"));
    wire.get("/healthz");
    assert_eq!(wire.answer().text(), "ok\n");
    until("nobody is logged in", || program.connected(None) == 0);
    program.end();
}

#[test]
fn a_page_begins_with_a_welcome_and_has_a_message_a_chunk() {
    let program = Program::start(&[]);
    let (_, mut page) = get(&program, "/test/123,a.b~c_d-E", "1.1");
    let welcome = String::from_utf8(page.chunk().unwrap()).unwrap();
    assert!(welcome.contains("Welcome, 123,a.b~c_d-E."), "{welcome}");
    assert!(welcome.len() > 1024, "browsers show what comes once there is a kilobyte");
    let (_, mut plain) = get(&program, "/test/123", "1.0");
    assert!(plain.line().starts_with("<!doctype html>"));
    program.await_connected("123", 2);
    for message in ["hello", "two\r\nlines", "<b>as it is</b>\n"] {
        program.send("123", message);
        page.expect(chunk(message));
        plain.expect(message);
    }
    program.end();
}

#[test]
fn a_stream_has_a_message_a_chunk_and_nothing_else() {
    let program = Program::start(&["--heartbeat", "200ms"]);
    let (_, mut stream) = get(&program, "/stream/123", "1.1");
    let (_, mut plain) = get(&program, "/stream/123", "1.0");
    let (_, mut events) = get(&program, "/events/123", "1.1");
    program.await_connected("123", 3);
    // Others are shown that there is life, here only messages come.
    assert!(events.chunk().unwrap().starts_with(b"retry: "));
    (0..3).for_each(|_| events.expect(chunk(":\n\n")));
    for message in [&b"hello"[..], b"\x00\xff\r\n0\r\n\r\n", &[b'x'; 65_536]] {
        assert_eq!(program.send("123", message), 3);
        stream.expect(format!("{:x}\r\n", message.len()));
        stream.expect(message);
        stream.expect("\r\n");
        plain.expect(message);
    }
    program.end();
}

#[test]
fn lines_are_json_objects_with_positions() {
    let program = Program::start(&["--heartbeat", "300ms"]);
    let (_, mut lines) = get(&program, "/stream/123?format=ndjson", "1.1");
    let (_, mut plain) = get(&program, "/stream/123?format=ndjson", "1.0");
    program.await_connected("123", 2);
    let mut at = position(&program);
    for (message, field) in [
        (&b"hello"[..], r#""body":"hello""#),
        (b"\"quoted\\\"\r\n\t\x00", r#""body":"\"quoted\\\"\r\n\t\u0000""#),
        ("\u{2603}".as_bytes(), "\"body\":\"\u{2603}\""),
        (b"", r#""body":"""#),
        (b"\xff\xfe", r#""body64":"//4=""#),
    ] {
        program.send("123", message);
        at = after(at);
        let line = format!("{{\"id\":\"{at}\",{field}}}\n");
        expect_after_beats(&mut lines, &chunk("\n"), &chunk(&line));
        expect_after_beats(&mut plain, "\n", &line);
    }
    // An empty line is a sign of life.
    (0..3).for_each(|_| lines.expect(chunk("\n")));
    (0..3).for_each(|_| plain.expect("\n"));
    program.end();
}

/// Reads `bytes`; on a busy machine, signs of life may come first.
fn expect_after_beats(wire: &mut Wire, beat: &str, bytes: &str) {
    let mut found = wire.bytes(beat.len().min(bytes.len()));
    while found == beat.as_bytes() {
        found = wire.bytes(beat.len().min(bytes.len()));
    }
    found.extend(wire.bytes(bytes.len() - found.len()));
    assert_eq!(String::from_utf8_lossy(&found), bytes);
}

#[test]
fn events_have_ids_and_a_data_field_for_each_line() {
    let program = Program::start(&["--heartbeat", "300ms"]);
    let (_, mut events) = get(&program, "/events/123", "1.1");
    let (_, mut plain) = get(&program, "/events/123", "1.0");
    let first = String::from_utf8(events.chunk().unwrap()).unwrap();
    assert!(first.starts_with("retry: ") && first.ends_with("\n\n"), "{first:?}");
    while plain.line() != "\n" {}
    program.await_connected("123", 2);
    let mut at = position(&program);
    for (message, fields) in [
        (&b"hello"[..], "data: hello\n"),
        (b"", "data: \n"),
        (b"a\nb\r\nc\rd\n", "data: a\ndata: b\ndata: c\ndata: d\ndata: \n"),
        (b"\n\nid: 7\n\ndata: x", "data: \ndata: \ndata: id: 7\ndata: \ndata: data: x\n"),
        (" \u{2603}:".as_bytes(), "data:  \u{2603}:\n"),
        (b"\xff\n", "event: base64\ndata: /wo=\n"),
    ] {
        program.send("123", message);
        at = after(at);
        let event = format!("id: {at}\n{fields}\n");
        expect_after_beats(&mut events, &chunk(":\n\n"), &chunk(&event));
        expect_after_beats(&mut plain, ":\n\n", &event);
    }
    (0..3).for_each(|_| events.expect(chunk(":\n\n")));
    (0..3).for_each(|_| plain.expect(":\n\n"));
    program.end();
}

#[test]
fn browsers_are_told_to_come_back_at_different_times() {
    let program = Program::start(&["--retry", "4s"]);
    let retry = |_| {
        let (_, mut events) = get(&program, "/events/123", "1.1");
        let first = String::from_utf8(events.chunk().unwrap()).unwrap();
        first.lines().next().unwrap().strip_prefix("retry: ").unwrap().parse().unwrap()
    };
    let mut times: Vec<u64> = (0..60).map(retry).collect();
    assert!(times.iter().all(|ms| (3000..=5000).contains(ms)), "{times:?}");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 30 && times[times.len() - 1] - times[0] > 1000, "{times:?}");
    program.end();
}

#[test]
fn a_poll_is_answered_with_what_came_or_at_its_timeout() {
    let program = Program::start(&["--history", "10"]);
    let begin = position(&program);
    let mut wire = Wire::connect(program.public());
    let asked = Instant::now();
    wire.get("/poll/123?timeout=0.4");
    let nothing = wire.answer();
    assert!(asked.elapsed() >= Duration::from_millis(400));
    assert_eq!((nothing.status, nothing.field("lf-next")), (204, Some(&*begin.to_string())));
    assert_eq!(nothing.field("content-length"), None);

    wire.get(&format!("/poll/123?after={begin}&timeout=100"));
    program.await_connected("123", 1);
    program.send("123", "one");
    let one = wire.answer();
    let first = after(begin);
    assert_eq!(
        one.text(),
        format!("{{\"next\":\"{first}\",\"messages\":[{{\"id\":\"{first}\",\"body\":\"one\"}}]}}\n")
    );
    assert_eq!(fields(&one.head)[..2], ["Cache-Control: no-store", &format!("Content-Length: {}", one.body.len())]);
    assert_eq!(one.field("content-type"), Some("application/json"));
    assert_eq!(one.field("lf-next"), Some(&*first.to_string()));

    // Between two polls, history listens.
    program.send("123", [0xff]);
    program.send("somebody.else", "");
    let now = position(&program);
    wire.get(&format!("/poll/123?after={first}"));
    let two = wire.answer();
    let second = after(first);
    assert_eq!(
        two.text(),
        format!("{{\"next\":\"{now}\",\"messages\":[{{\"id\":\"{second}\",\"body64\":\"/w==\"}}]}}\n")
    );

    wire.get("/poll/123?after=00000000-0");
    let lost = wire.answer();
    // From there on, what is still remembered follows.
    assert_eq!((lost.status, lost.text()), (410, format!("{{\"lost\":true,\"next\":\"{begin}\"}}\n")));
    assert_eq!(lost.field("lf-next"), Some(&*begin.to_string()));
    until("nobody listens", || program.connected(None) == 0);
    program.end();
}

#[test]
fn what_is_asked_before_and_after_a_poll_is_answered_in_order() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    let asked = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /poll/123?timeout=100 HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nHEAD /poll/9 HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /poll/456?timeout=100 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    wire.say(asked);
    assert_eq!(wire.answer().text(), "ok\n");
    program.await_connected("123", 1);
    assert_eq!(program.connected(Some("456")), 0, "the second poll has to wait");
    program.send("123", "first");
    assert!(wire.answer().text().contains("first"));
    assert_eq!(wire.answer().status, 404);
    assert_eq!(wire.head().status(), 200);
    program.await_connected("456", 1);
    program.send("456", "second");
    let last = wire.answer();
    assert!(last.text().contains("second") && last.field("connection") == Some("close"), "{}", last.head.0);
    assert_eq!(wire.rest(), b"");
    program.end();
}

#[test]
fn a_poll_of_http_1_0_has_its_connection_for_itself() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    wire.ask("GET", "/poll/123?timeout=100", "1.0", "Connection: keep-alive\r\n");
    program.await_connected("123", 1);
    program.send("123", "hello");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(wire.rest(), b"");
    program.end();
}

#[test]
fn sockets_have_a_frame_a_message() {
    let program = Program::start(&[]);
    let mut raw = Socket::open(program.public(), "/ws/123");
    let mut json = Socket::open(program.public(), "/ws/123?format=ndjson");
    program.await_connected("123", 2);
    let mut at = position(&program);
    let long = "l".repeat(65_536);
    for (message, header, field) in [
        (&b"hello"[..], &b"\x81\x05"[..], "\"body\":\"hello\"".to_owned()),
        (b"", b"\x81\x00", "\"body\":\"\"".into()),
        (b"\xff", b"\x82\x01", "\"body64\":\"/w==\"".into()),
        (&long.as_bytes()[..126], b"\x81\x7e\x00\x7e", format!("\"body\":\"{}\"", &long[..126])),
        (long.as_bytes(), b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", format!("\"body\":\"{long}\"")),
    ] {
        program.send("123", message);
        at = after(at);
        raw.wire.expect(header);
        raw.wire.expect(message);
        let expected = format!("{{\"id\":\"{at}\",{field}}}").into_bytes();
        assert!(json.frame() == (TEXT, expected), "{field}");
    }
    program.send("123", b"\xfe");
    assert_eq!(raw.frame(), (BINARY, b"\xfe".to_vec()));
    // Pings are answered as they come, and whatever else is said is not listened to.
    for payload in [&b"are you there"[..], b"", &[0xff; 125]] {
        raw.say(TEXT, b"nobody listens to this");
        raw.say(PONG, b"");
        raw.say(PING, payload);
        assert_eq!(raw.frame(), (PONG, payload.to_vec()));
    }
    raw.say(CLOSE, &close_payload(4000, "enough"));
    assert_eq!(raw.frame(), (CLOSE, close_payload(4000, "")));
    assert_eq!(raw.wire.rest(), b"");
    program.await_connected("123", 1);
    program.end();
}

#[test]
fn sockets_that_break_the_protocol_are_told_so() {
    let program = Program::start(&[]);
    for (frame, code) in [
        // Not masked, reserved bits, text that is no UTF-8, longer than anybody listens to.
        (b"\x81\x02hi".to_vec(), 1002),
        (b"\xc1\x80\x00\x00\x00\x00".to_vec(), 1002),
        (b"\x81\x81\x00\x00\x00\x00\xff".to_vec(), 1007),
        (b"\x82\xfe\x10\x01\x00\x00\x00\x00".to_vec(), 1009),
    ] {
        let mut socket = Socket::open(program.public(), "/ws/123");
        program.await_connected("123", 1);
        socket.wire.say(&frame);
        let (kind, payload) = socket.frame();
        assert_eq!((kind, u16::from_be_bytes([payload[0], payload[1]])), (CLOSE, code), "{frame:?}");
        assert_eq!(socket.wire.rest_or_reset(), b"");
        program.await_connected("123", 0);
    }
    program.end();
}

#[test]
fn what_asks_for_no_socket_gets_none() {
    let program = Program::start(&[]);
    let upgrade = upgrade_fields();
    for (method, fields, status) in [
        ("GET", String::new(), 426),
        ("GET", upgrade.replace("Version: 13", "Version: 8"), 426),
        ("GET", upgrade.replace("Key: dGhl", "Key: "), 400),
        ("GET", upgrade.replace("Connection: Upgrade", "Connection: close"), 426),
        ("POST", upgrade.clone(), 405),
    ] {
        let (head, _) = ask(&program, method, "/ws/123", "1.1", &fields);
        assert_eq!(head.status(), status, "{method} {fields}: {}", head.0);
        if status == 426 {
            assert_eq!(head.field("upgrade"), Some("websocket"), "{}", head.0);
        }
    }
    let (head, _) = ask(&program, "GET", "/ws/123", "1.1", &upgrade.replace("Version: 13", "Version: 8"));
    assert_eq!(head.field("sec-websocket-version"), Some("13"));
    until("nobody listens", || program.connected(None) == 0);
    program.end();
}

#[test]
fn sockets_are_pinged_and_those_that_do_not_answer_are_gone() {
    let program = Program::start(&["--heartbeat", "300ms"]);
    let mut alive = Socket::open(program.public(), "/ws/123");
    let mut mute = Socket::open(program.public(), "/ws/456");
    for _ in 0..4 {
        assert_eq!(alive.frame(), (PING, Vec::new()));
        alive.say(PONG, b"");
    }
    assert_eq!(mute.frame(), (PING, Vec::new()));
    program.await_connected("456", 0);
    assert_eq!(program.counter("silent_disconnects"), 1);
    assert_eq!(program.connected(Some("123")), 1);
    program.end();
}
