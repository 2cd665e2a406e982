//! Clients that others wrote: curl, npm's eventsource and ws, Python's websockets.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::process::{Process, is_installed, quiet};
use common::{PATIENCE, Program, comes_true, packages, until};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::Command;

/// A curl that shows what comes as it comes.
fn curl(arguments: &[&str]) -> Process {
    let mut command = quiet(Command::new("curl"));
    command.args(["--silent", "--show-error", "--no-buffer"]).args(arguments);
    Process::spawn(command)
}

/// What a curl prints that ends by itself.
fn curl_says(arguments: &[&str]) -> String {
    let mut curl = curl(arguments);
    let status = curl.wait();
    assert!(status.success(), "{arguments:?}: {status} {}", curl.errors());
    String::from_utf8(curl.output()).unwrap()
}

/// A message that is no text: every byte there is.
fn every_byte() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

/// The same in base64.
fn every_byte_64() -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, every_byte())
}

/// A batch of `count` messages to an id, and the messages.
fn batch(id: &str, count: usize) -> (String, Vec<String>) {
    let bodies: Vec<_> = (0..count).map(|number| format!("message {number}\nof {count} \u{2603}")).collect();
    let lines = bodies.iter().fold(String::new(), |mut lines, body| {
        writeln!(lines, "{}", json!({ "send": id, "body": body })).unwrap();
        lines
    });
    (lines, bodies)
}

/// A client that says what happens, a JSON line each.
struct Listener(Process);

impl Listener {
    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments);
        Self(Process::spawn(command))
    }

    fn said(&self) -> Vec<Value> {
        self.0.lines().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// What was said under a name, in order.
    fn all(&self, name: &str) -> Vec<Value> {
        self.said().iter().filter_map(|said| said.get(name).cloned()).collect()
    }

    /// Waits until something was said under a name so many times.
    fn await_all(&self, name: &str, count: usize) -> Vec<Value> {
        if !comes_true(PATIENCE, || self.all(name).len() >= count) {
            panic!("in vain until {count} of {name}: it said {:?} and {}", self.said(), self.0.errors());
        }
        self.all(name)
    }
}

// curl.

#[test]
fn curl_reads_the_page_that_never_ends() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&[]);
    let page = curl(&[&program.url("/test/123")]);
    page.await_output("there is a welcome", |output| output.starts_with(b"<!doctype html>") && output.ends_with(b"\n"));
    program.await_connected("123", 1);
    let welcome = page.output().len();
    let sent = curl_says(&["-d", "hello", &program.control_url("/send/123")]);
    assert_eq!(sent, "{\"delivered\":1}\n");
    page.await_output("the message is there", |output| &output[welcome..] == b"hello");
    drop(page);
    program.await_connected("123", 0);
    assert_eq!(curl_says(&["-d", "hello", &program.control_url("/send/123")]), "{\"delivered\":0}\n");
    program.end();
}

#[test]
fn curl_gets_every_byte_of_a_stream_in_order() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&[]);
    let url = program.url("/stream/123");
    let streams = [curl(&[&url]), curl(&["--http1.0", &url])];
    program.await_connected("123", 2);
    let mut expected = Vec::new();
    for round in 0..100_usize {
        let message = every_byte().repeat(1 + round * round / 40);
        assert_eq!(program.send("123", &message), 2);
        expected.extend_from_slice(&message);
    }
    for stream in streams {
        stream.await_output("all is there", |output| output.len() >= expected.len());
        assert!(stream.output() == expected);
    }
    program.end();
}

#[test]
fn curl_reads_events_and_goes_on_where_it_was() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&["--history", "10"]);
    let url = program.url("/events/123");
    let events = curl(&[&url]);
    events.await_output("it begins", |output| output.starts_with(b"retry: ") && output.ends_with(b"\n\n"));
    program.await_connected("123", 1);
    program.send("123", "one");
    program.send("123", "two\nlines");
    events.await_output("two events are there", |output| output.ends_with(b"data: two\ndata: lines\n\n"));
    let seen = String::from_utf8(events.output()).unwrap();
    let last = seen.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(events);
    program.await_connected("123", 0);
    program.send("123", every_byte());
    let again = curl(&["--header", &format!("Last-Event-ID: {last}"), &url]);
    let missed = format!("event: base64\ndata: {}\n\n", every_byte_64());
    again.await_output("what was missed is there", |output| output.ends_with(missed.as_bytes()));
    assert!(!String::from_utf8(again.output()).unwrap().contains("one"));
    program.end();
}

#[test]
fn curl_polls() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&["--history", "2"]);
    let poll = |query: &str| {
        curl_says(&["--write-out", "%{http_code} %header{lf-next}", &program.url(&format!("/poll/123?{query}"))])
    };
    let nothing = poll("timeout=0.1");
    let next = nothing.strip_prefix("204 ").unwrap();
    let waiting = curl(&[&program.url(&format!("/poll/123?after={next}&timeout=60"))]);
    program.await_connected("123", 1);
    program.send("123", "one");
    waiting.await_output("the poll is answered", |output| output.ends_with(b"}\n"));
    let answer: Value = serde_json::from_slice(&waiting.output()).unwrap();
    assert_eq!(answer["messages"][0]["body"], "one");
    program.send("123", "two");
    let all = poll(&format!("after={next}"));
    let (body, status) = all.split_once('\n').unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    let bodies: Vec<_> = answer["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(status, format!("200 {}", answer["next"].as_str().unwrap()));
    program.send("123", "three");
    assert!(poll(&format!("after={next}")).starts_with("{\"lost\":true,"));
    program.end();
}

#[test]
fn curl_streams_a_batch_and_reads_answers_meanwhile() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&[]);
    let listener = curl(&[&program.url("/stream/123?format=ndjson")]);
    program.await_connected("123", 1);
    // "." is standard input that does not block: "-" would read no answer while it waits for a line.
    let mut publisher = curl(&["--request", "POST", "--upload-file", ".", &program.control_url("/batch")]);
    for round in 0..20 {
        publisher.say(format!("{}\n", json!({ "send": "123", "body": format!("round {round}") })));
        publisher.await_output("the line is answered", |output| output == b"{\"delivered\":1}\n".repeat(round + 1));
    }
    publisher.hang_up();
    assert!(publisher.wait().success());
    listener.await_output("all is there", |output| output.ends_with(b"\"body\":\"round 19\"}\n"));
    assert_eq!(listener.lines().iter().filter(|line| !line.is_empty()).count(), 20);
    program.end();
}

#[test]
fn curl_subscribes_one_id_to_another_until_it_has_enough() {
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&[]);
    let listener = curl(&[&program.url("/stream/7")]);
    program.await_connected("7", 1);
    let subscriptions = |arguments: &[&str]| {
        let mut put = curl(&[arguments, &[&program.control_url("/subscriptions")]].concat());
        put.say("7 123\n");
        put.hang_up();
        assert!(put.wait().success());
        String::from_utf8(put.output()).unwrap()
    };
    assert_eq!(subscriptions(&["--upload-file", "-"]), "{\"added\":1,\"known\":0}\n");
    assert_eq!(program.send("123", "first"), 1);
    listener.await_output("what 123 was sent reaches 7", |output| output == b"first");
    assert_eq!(subscriptions(&["--request", "DELETE", "--data-binary", "@-"]), "{\"removed\":1,\"unknown\":0}\n");
    assert_eq!(program.send("123", "second"), 0);
    assert_eq!(program.send("7", "third"), 1);
    listener.await_output("the second is not there", |output| output == b"firstthird");
    program.end();
}

#[test]
fn curl_publishes_and_listens_over_unix_sockets() {
    if !is_installed("curl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (public, control) = (path("public"), path("control"));
    let program = Program::start(&["--listen", &format!("unix:{public}"), "--control", &format!("unix:{control}")]);
    let listener = curl(&["--unix-socket", &public, "http://lf/stream/123"]);
    until("the message reaches it", || {
        curl_says(&["--unix-socket", &control, "-d", "hello", "http://lf/send/123"]) == "{\"delivered\":1}\n"
    });
    listener.await_output("it arrives", |output| output == b"hello");
    program.end();
}

// Server-sent events.

#[test]
fn eventsource_hears_what_curl_sends_and_comes_back_by_itself() {
    let Some(command) = packages::node("eventsource.cjs") else { return };
    if !is_installed("curl") {
        return;
    }
    let program = Program::start(&["--history", "100", "--retry", "100ms", "--heartbeat", "200ms"]);
    let source = Listener::spawn(command, &[&program.url("/events/123")]);
    source.await_all("open", 1);
    program.await_connected("123", 1);
    curl_says(&["-d", "hello", &program.control_url("/send/123")]);
    assert_eq!(source.await_all("text", 1), ["hello"]);

    assert_eq!(program.kick("123"), 1);
    program.send("123", "meanwhile");
    source.await_all("open", 2);
    program.await_connected("123", 1);
    program.send("123", every_byte());
    assert_eq!(source.await_all("binary", 1), [every_byte_64()]);
    assert_eq!(source.all("text"), ["hello", "meanwhile"]);
    assert_eq!(source.all("error"), ["reconnecting"]);
    assert_eq!((program.counter("resumed"), program.counter("lost")), (1, 0));

    let (lines, bodies) = batch("123", 500);
    program.ask("POST", "/batch", lines.as_bytes());
    assert_eq!(source.await_all("text", 502)[2..], bodies);
    program.end();
}

#[test]
fn eventsource_is_told_what_is_lost() {
    let Some(command) = packages::node("eventsource.cjs") else { return };
    let program = Program::start(&["--retry", "1s"]);
    let source = Listener::spawn(command, &[&program.url("/events/123")]);
    program.await_connected("123", 1);
    program.send("123", "before");
    source.await_all("text", 1);
    // Who comes back without having missed anything has lost nothing.
    program.kick("123");
    source.await_all("open", 2);
    program.await_connected("123", 1);
    assert_eq!(program.counter("lost"), 0);
    assert_eq!(program.kick("123"), 1);
    program.await_connected("123", 0);
    assert_eq!(program.send("123", "nobody is there"), 0);
    source.await_all("lost", 1);
    program.await_connected("123", 1);
    program.send("123", "after");
    assert_eq!(source.await_all("text", 2), ["before", "after"]);
    program.end();
}

#[test]
fn eventsource_gives_up_where_it_is_refused() {
    let Some(command) = packages::node("eventsource.cjs") else { return };
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let program = Program::start(&["--auth-key", key.to_str().unwrap()]);
    let source = Listener::spawn(command, &[&program.url("/events/123")]);
    assert_eq!(source.await_all("error", 1), ["closed"]);
    assert_eq!(source.said()[0]["code"], 401);
    program.end();
}

// WebSockets.

/// Both WebSocket clients that are there, on a URL.
fn sockets(program: &Program, path: &str) -> Vec<Listener> {
    let url = program.socket_url(path);
    // Python's client pings too, and leaves if it is not answered.
    let node = packages::node("ws.cjs").map(|command| Listener::spawn(command, &[&url]));
    let python = packages::python("listen.py").map(|command| Listener::spawn(command, &[&url, "0.2"]));
    let sockets: Vec<_> = node.into_iter().chain(python).collect();
    for socket in &sockets {
        socket.await_all("open", 1);
    }
    sockets
}

#[test]
fn sockets_hear_text_and_bytes_in_order() {
    let program = Program::start(&[]);
    let sockets = sockets(&program, "/ws/123");
    program.await_connected("123", sockets.len());
    assert_eq!(program.send("123", "hello"), sockets.len() as u64);
    program.send("123", every_byte());
    program.send("123", every_byte().repeat(250));
    program.send("123", "x".repeat(64 << 10));
    program.send("123", "");
    let (lines, bodies) = batch("123", 500);
    program.ask("POST", "/batch", lines.as_bytes());
    for socket in &sockets {
        let text = socket.await_all("text", 503);
        assert_eq!(text[0], "hello");
        assert_eq!((text[1].as_str().unwrap().len(), &text[2]), (64 << 10, &json!("")));
        assert_eq!(text[3..], bodies);
        let binary = socket.all("binary");
        assert_eq!((binary.len(), &binary[0]), (2, &json!(every_byte_64())));
    }
    program.end();
}

#[test]
fn sockets_get_json_and_go_on_where_they_were() {
    let program = Program::start(&["--history", "10"]);
    let path = "/ws/123?format=ndjson";
    let first = sockets(&program, path);
    program.await_connected("123", first.len());
    program.send("123", "one");
    let positions: Vec<_> = first.iter().map(|socket| object(&socket.await_all("text", 1)[0])["id"].clone()).collect();
    drop(first);
    program.await_connected("123", 0);
    program.send("123", every_byte());
    for position in positions {
        let position = position.as_str().unwrap();
        for again in sockets(&program, &format!("{path}&after={position}")) {
            let missed = object(&again.await_all("text", 1)[0]);
            assert_eq!(missed["body64"], every_byte_64());
        }
    }
    program.end();
}

fn object(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

#[test]
fn sockets_stay_while_pings_are_answered_both_ways() {
    let program = Program::start(&["--heartbeat", "1s"]);
    let mut sockets = sockets(&program, "/ws/123");
    let begun = program.counter("heartbeats");
    until("every socket was pinged some times", || program.counter("heartbeats") >= begun + 3 * sockets.len() as u64);
    assert_eq!(program.connected(Some("123")), sockets.len());
    program.send("123", "still there");
    for socket in &mut sockets {
        assert_eq!(socket.await_all("text", 1), ["still there"]);
    }
    assert_eq!(program.counter("silent_disconnects"), 0);
    program.end();
}

#[test]
fn a_socket_that_answers_no_ping_is_disconnected() {
    let Some(command) = packages::node("ws.cjs") else { return };
    let program = Program::start(&["--heartbeat", "1s"]);
    let mute = Listener::spawn(command, &[&program.socket_url("/ws/123"), "mute"]);
    mute.await_all("ping", 1);
    mute.await_all("closed", 1);
    assert_eq!(program.counter("silent_disconnects"), 1);
    program.await_connected("123", 0);
    program.end();
}

#[test]
fn a_socket_pings_speaks_and_leaves_as_it_likes() {
    let Some(command) = packages::node("ws.cjs") else { return };
    let program = Program::start(&[]);
    let mut socket = Listener::spawn(command, &[&program.socket_url("/ws/123")]);
    socket.await_all("open", 1);
    socket.0.say("nobody listens to this\nping\n");
    assert_eq!(socket.await_all("pong", 1), ["are you there"]);
    program.send("123", "hello");
    assert_eq!(socket.await_all("text", 1), ["hello"]);
    socket.0.say("close\n");
    assert_eq!(socket.await_all("closed", 1), [1000]);
    program.await_connected("123", 0);
    program.end();
}

#[test]
fn sockets_are_told_when_the_server_stops() {
    let program = Program::start(&[]);
    let sockets = sockets(&program, "/ws/123");
    program.await_connected("123", sockets.len());
    program.end();
    for socket in sockets {
        socket.await_all("closed", 1);
        let said = socket.said();
        let last = said.last().unwrap();
        assert_eq!((&last["closed"], &last["reason"]), (&json!(1001), &json!("the server stops")));
    }
}

// All together.

#[test]
fn a_message_reaches_clients_of_every_kind() {
    let program = Program::start(&[]);
    let pages = ["/test/123", "/stream/123", "/stream/123?format=ndjson", "/events/123"].map(|path| program.url(path));
    let curls: Vec<_> = pages.iter().filter(|_| is_installed("curl")).map(|url| curl(&[url])).collect();
    let source = packages::node("eventsource.cjs");
    let source = source.map(|command| Listener::spawn(command, &[&program.url("/events/other,123")]));
    let sockets = sockets(&program, "/ws/123");
    let count = curls.len() + usize::from(source.is_some()) + sockets.len();
    program.await_connected("123", count);
    assert_eq!(program.send("123", "to all of you"), count as u64);
    for curl in &curls {
        curl.await_output("the message is there", |output| String::from_utf8_lossy(output).contains("to all of you"));
    }
    for listener in source.iter().chain(&sockets) {
        assert_eq!(listener.await_all("text", 1), ["to all of you"]);
    }
    program.end();
}
