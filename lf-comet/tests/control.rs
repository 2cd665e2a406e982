//! Publishing: one message, or many in a body that flows while it is answered.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, Flow, delivered, line};
use common::ears::{Ear, Kind};
use common::wire::Wire;
use common::{Program, until};
use serde_json::{Value, json};

/// The answers to a batch, in place of each other's lines.
fn answers(program: &Program, body: &[u8]) -> Vec<Value> {
    let answer = Desk::new(program).ask("POST", "/batch", body);
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/x-ndjson")));
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_message_reaches_all_who_follow_and_a_direct_one_the_id_alone() {
    let program = Program::start(&[]);
    program.ask("PUT", "/subscriptions", b"fan star\nfriend star\nstar critic\n");
    let open = |id: &str| Ear::open(program.public(), Kind::Ndjson, id, None);
    let (mut star, mut again, mut fan) = (open("star"), open("star"), open("fan"));
    let (mut both, mut critic) = (open("fan,friend"), open("critic"));
    until("all are connected", || program.connected(None) == 6);
    let mut desk = Desk::new(&program);
    assert_eq!(desk.publish("send", "star", b"to all"), 4);
    assert_eq!(desk.publish("direct", "star", b"to the star"), 2);
    assert_eq!(desk.publish("direct", "fan", b"to the fan"), 2);
    assert_eq!(desk.publish("send", "critic", b"of the star"), 3);
    assert_eq!(desk.publish("send", "nobody", b""), 0);
    // A change counts from its answer on.
    program.ask("DELETE", "/subscriptions", b"fan star\n");
    assert_eq!(desk.publish("send", "star", b"one less"), 3);
    program.ask("DELETE", "/subscriptions", b"friend star\n");
    assert_eq!(desk.publish("send", "star", b"two less"), 2);
    program.ask("PUT", "/subscriptions", b"critic star\n");
    assert_eq!(desk.publish("send", "star", b"for the critic"), 3);
    assert_eq!(desk.publish("direct", "fan", b"end"), 2);
    for star in [&mut star, &mut again] {
        let heard = [(); 6].map(|()| star.text());
        assert_eq!(heard, ["to all", "to the star", "of the star", "one less", "two less", "for the critic"]);
    }
    assert_eq!([(); 3].map(|()| fan.text()), ["to all", "to the fan", "end"]);
    assert_eq!([(); 4].map(|()| both.text()), ["to all", "to the fan", "one less", "end"]);
    assert_eq!([(); 2].map(|()| critic.text()), ["of the star", "for the critic"]);
    program.end();
}

#[test]
fn a_body_comes_in_any_way_that_http_knows() {
    let program = Program::start(&[]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let mut wire = Wire::connect(program.control());
    wire.ask("POST", "/send/123", "1.1", "Transfer-Encoding: chunked\r\n");
    wire.say("3\r\nin \r\n");
    wire.say("6;ext=1\r\npieces\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(wire.answer().text(), "{\"delivered\":1}\n");
    wire.ask("POST", "/send/123", "1.1", "Expect: 100-continue\r\nContent-Length: 8\r\n");
    wire.expect("HTTP/1.1 100 Continue\r\n\r\n");
    wire.say("expected");
    assert_eq!(wire.answer().text(), "{\"delivered\":1}\n");
    // Without a body, the message is empty.
    wire.ask("POST", "/send/123", "1.1", "");
    assert_eq!(wire.answer().text(), "{\"delivered\":1}\n");
    wire.ask("POST", "/send/123", "1.0", "Content-Length: 3\r\n");
    wire.say("old");
    let answer = wire.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("{\"delivered\":1}\n".into(), Some("close")));
    assert_eq!(wire.rest(), b"");
    assert_eq!([(); 4].map(|()| ear.text()), ["in pieces", "expected", "", "old"]);
    program.end();
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_read() {
    let program = Program::start(&["--message-bytes", "1000"]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let mut desk = Desk::new(&program);
    assert_eq!(desk.publish("send", "123", &[b'x'; 1000]), 1);
    for (fields, body) in [
        ("Content-Length: 1001\r\n", ""),
        ("Content-Length: 1001\r\nExpect: 100-continue\r\n", ""),
        ("Content-Length: 18446744073709551615\r\n", "some"),
        ("Transfer-Encoding: chunked\r\n", "3e9\r\n"),
    ] {
        let mut wire = Wire::connect(program.control());
        wire.ask("POST", "/send/123", "1.1", fields);
        wire.say(body);
        if body.ends_with('\n') {
            wire.say([b'x'; 1001]);
        }
        let answer = wire.answer();
        assert_eq!((answer.status, answer.field("connection")), (413, Some("close")), "{fields}");
        assert!(answer.text().contains("at most 1000 bytes") && answer.text().contains("--message-bytes"));
        wire.rest_or_reset();
    }
    desk.publish("send", "123", b"end");
    assert_eq!([ear.text().len(), ear.text().len()], [1000, 3]);
    program.end();
}

#[test]
fn what_is_no_request_is_refused_with_what_would_be() {
    let program = Program::start(&[]);
    let mut desk = Desk::new(&program);
    for (method, target, status, allow) in [
        ("GET", "/send/123", 405, Some("POST")),
        ("PUT", "/direct/123", 405, Some("POST")),
        ("GET", "/batch", 405, Some("POST")),
        ("POST", "/subscriptions", 405, Some("PUT, DELETE")),
        ("DELETE", "/subscribers/1", 405, Some("GET, HEAD")),
        ("POST", "/subscriptions/1", 405, Some("GET, HEAD")),
        ("POST", "/connections", 405, Some("GET, HEAD, DELETE")),
        ("POST", "/metrics", 405, Some("GET, HEAD")),
        ("DELETE", "/healthz", 405, Some("GET, HEAD")),
        ("PUT", "/", 405, Some("GET, HEAD")),
        ("GET", "/nowhere", 404, None),
        ("POST", "/nowhere/1", 404, None),
        ("GET", "/status/1", 404, None),
        ("POST", "/send/", 400, None),
        ("POST", "/send/a%20b", 400, None),
        ("POST", "/send/a,b", 400, None),
        ("POST", "/direct/a/b", 400, None),
        ("GET", "/subscribers/a*", 400, None),
        ("GET", "/connections?id=a*", 400, None),
        ("GET", "/connections?limit=many", 400, None),
        ("GET", "/subscribers/1?limit=-1", 400, None),
        ("GET", "/subscribers/1?after=x", 400, None),
        ("DELETE", "/connections", 400, None),
        ("DELETE", "/connections?connection=xyz", 400, None),
    ] {
        let answer = desk.ask(method, target, b"");
        assert_eq!((answer.status, answer.field("allow")), (status, allow), "{method} {target}: {}", answer.text());
        assert!(answer.text().ends_with('\n') && !answer.text().trim().is_empty(), "{method} {target}");
        if status == 404 {
            assert!(answer.text().contains("POST /send/ID"), "{method} {target}: {}", answer.text());
        }
        if answer.field("connection") == Some("close") {
            desk = Desk::new(&program);
        }
    }
    assert_eq!(program.counter("published"), 0);
    program.end();
}

#[test]
fn a_flowing_batch_is_answered_while_it_flows() {
    let program = Program::start(&[]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let mut flow = Flow::begin(&program);
    for round in 0..50 {
        let text = line("send", "123", format!("round {round}").as_bytes());
        // In one piece, in two, and with the end of the one before.
        let (one, other) = text.split_at(round % text.len());
        flow.say(&format!("\r\n{one}"));
        flow.say(other);
        assert_eq!(delivered(&flow.answer()), 1);
        assert_eq!(ear.text(), format!("round {round}"), "it is there before the next one is sent");
    }
    // The last line needs no end.
    flow.say(line("direct", "nobody", b"").trim_end());
    flow.end_with(&[json!({ "delivered": 0 })]);
    program.end();
}

#[test]
fn each_line_is_answered_in_its_place_and_a_bad_one_does_not_stop_the_others() {
    let program = Program::start(&["--message-bytes", "1000"]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let long = "x".repeat(1001);
    let bad = [
        ("nonsense", "no message"),
        ("{}", "send and direct"),
        ("[]", "no message"),
        ("null", "no message"),
        (r#"{"send":"123"}"#, "body and body64"),
        (r#"{"body":"x"}"#, "send and direct"),
        (r#"{"send":"123","direct":"123","body":"x"}"#, "send and direct"),
        (r#"{"send":"123","body":"x","body64":"eA=="}"#, "body and body64"),
        (r#"{"send":"123","body64":"!"}"#, "body64"),
        (r#"{"send":"123","body64":"eA"}"#, "body64"),
        (r#"{"send":"1 3","body":"x"}"#, "1 3"),
        (r#"{"send":"","body":"x"}"#, "empty"),
        (r#"{"send":123,"body":"x"}"#, "no message"),
        (r#"{"send":"123","body":7}"#, "no message"),
        (r#"{"send":"123","body":"x","to":"456"}"#, "to"),
        (r#"{"send":"123","body":"x","ttl":-1}"#, "ttl"),
        (r#"{"send":"123","body":"x","ttl":1e300}"#, "ttl"),
        (r#"{"send":"123","body":"x","ttl":"1"}"#, "no message"),
        (r#"{"send":"123","body":"\ud800"}"#, "no message"),
        (r#"{"send":"123","body":"x"} {"send":"123","body":"y"}"#, "no message"),
        (
            &*format!("{{\"send\":\"123\",\"body\":\"{long}\"}}"),
            "1001 bytes are over the limit of 1000, see --message-bytes",
        ),
        ("\u{feff}{}", "no message"),
    ];
    let mut body = Vec::new();
    for (index, (bad, _)) in bad.iter().enumerate() {
        body.extend(format!("{}\n\n{bad}\r\n", json!({ "direct": "123", "body": index.to_string() })).into_bytes());
    }
    body.extend(b"{\"send\":\"123\",\"body\":\"\xff\"}\n");
    let found = answers(&program, &body);
    assert_eq!(found.len(), 2 * bad.len() + 1);
    for ((good, answer), (bad, words)) in found.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).zip(bad) {
        assert_eq!(*good, json!({ "delivered": 1 }));
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(words), "{bad}: {error}");
    }
    assert!(found[2 * bad.len()]["error"].is_string());
    for index in 0..bad.len() {
        assert_eq!(ear.text(), index.to_string());
    }
    let summary = Desk::new(&program).batch(&String::from_utf8_lossy(&body));
    let (good, wrong) = (bad.len() + 1, bad.len());
    // With the replacement character for what was no UTF-8, that line is good.
    assert_eq!(summary, json!({ "messages": 2 * bad.len() + 1, "delivered": good, "errors": wrong }));
    program.end();
}

#[test]
fn escapes_and_base64_stand_for_any_byte() {
    let program = Program::start(&["--message-bytes", "1000"]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    // At its limit, a message may be six times as long in a line.
    let escaped = format!("{{\"send\":\"123\",\"body\":\"{}\"}}\n", "\\u0001".repeat(1000));
    let surrogates = "{\"send\":\"\\u0031\\u00323\",\"body\":\"\\ud83d\\ude00\\u0000\\/\"}\n";
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let found = answers(&program, (escaped + surrogates + &line("send", "123", &every)).as_bytes());
    assert_eq!(found, vec![json!({ "delivered": 1 }); 3]);
    assert_eq!(ear.message().1, vec![1; 1000]);
    assert_eq!(ear.text(), "\u{1f600}\0/");
    assert_eq!(ear.message().1, every);
    assert_eq!(answers(&program, b""), Vec::<Value>::new());
    assert_eq!(Desk::new(&program).batch("\n\r\n"), json!({ "messages": 0, "delivered": 0, "errors": 0 }));
    program.end();
}

#[test]
fn a_line_without_end_ends_the_batch() {
    let program = Program::start(&["--message-bytes", "1000"]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let good = line("send", "123", b"good");
    let long = format!("{good}\n{{\"send\":\"123\",\"body\":\"{}", "x".repeat(10_000));
    let mut flow = Flow::begin(&program);
    flow.say(&long);
    assert_eq!(flow.answer(), json!({ "delivered": 1 }));
    let error = flow.answer()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("line 3") && error.contains("1000 bytes") && error.contains("--message-bytes"), "{error}");
    flow.comes_to_its_end();

    let mut wire = Wire::connect(program.control());
    wire.ask("POST", "/batch?summary=1", "1.1", "Transfer-Encoding: chunked\r\n");
    wire.say(format!("{:x}\r\n{long}\r\n", long.len()));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.field("connection")), (413, Some("close")));
    assert!(answer.text().contains("line 3 is too long"), "{}", answer.text());
    wire.rest_or_reset();
    assert_eq!([ear.text(), ear.text()], ["good", "good"]);
    assert_eq!(program.counter("published"), 2);
    program.end();
}

#[test]
fn a_batch_that_breaks_off_was_published_up_to_there() {
    let program = Program::start(&[]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let two = line("send", "123", b"one") + &line("send", "123", b"two");
    let mut wire = Wire::connect(program.control());
    wire.ask("POST", "/batch?summary=1", "1.1", "Transfer-Encoding: chunked\r\n");
    wire.say(format!("1000\r\n{two}{{\"send\":\"123\",\"body\":\"not whole"));
    assert_eq!([ear.text(), ear.text()], ["one", "two"]);
    wire.finish();
    wire.rest_or_reset();
    program.send("123", "end");
    assert_eq!(ear.text(), "end");
    program.end();
}

#[test]
fn requests_of_all_kinds_are_pipelined() {
    let program = Program::start(&[]);
    let mut ear = Ear::open(program.public(), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let mut desk = Desk::new(&program);
    for round in 0..20 {
        desk.begin("POST", "/send/123", format!("{round} a").as_bytes());
        desk.begin("GET", "/subscribers/123?count=1", b"");
        desk.begin("POST", "/batch", (line("send", "123", format!("{round} b").as_bytes()) + "bad\n").as_bytes());
        desk.begin("PUT", "/subscriptions", format!("{round} 123\n").as_bytes());
        desk.begin("POST", "/batch?summary=1", line("direct", "123", format!("{round} c").as_bytes()).as_bytes());
        desk.begin("GET", "/nowhere", b"");
    }
    for round in 0..20 {
        let mut answer = || desk.wire.answer();
        assert_eq!(answer().text(), "{\"delivered\":1}\n");
        assert_eq!(answer().json(), json!({ "id": "123", "count": round }));
        let batch = answer().text();
        let (first, second) = batch.split_once('\n').unwrap();
        assert!(first == "{\"delivered\":1}" && second.starts_with("{\"error\":\"no message"), "{batch}");
        assert_eq!(answer().text(), "{\"added\":1,\"known\":0}\n");
        assert_eq!(answer().json(), json!({ "messages": 1, "delivered": 1, "errors": 0 }));
        assert_eq!(answer().status, 404);
        assert_eq!([(); 3].map(|()| ear.text()), ["a", "b", "c"].map(|which| format!("{round} {which}")));
    }
    program.end();
}
