//! Subscriptions and connections: changed, listed, counted.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::Desk;
use common::ears::{Ear, Kind};
use common::http::Answer;
use common::socket::{CLOSE, Socket, TEXT, close_payload};
use common::wire::Wire;
use common::{Program, until};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

fn edit(program: &Program, method: &str, body: &str) -> Answer {
    Desk::new(program).ask(method, "/subscriptions", body.as_bytes())
}

fn subscribers(program: &Program, id: &str) -> BTreeSet<String> {
    let page = program.ask("GET", &format!("/subscribers/{id}"), b"").json();
    page["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn subscriptions_come_as_lines_or_as_json_and_what_was_known_is_told() {
    let program = Program::start(&[]);
    let put = |body: &str| edit(&program, "PUT", body).text();
    let delete = |body: &str| edit(&program, "DELETE", body).text();
    assert_eq!(put("a s\nb s\n"), "{\"added\":2,\"known\":0}\n");
    assert_eq!(put("  b\t s \r\n\n{\"subscriber\":\"c\",\"subscribee\":\"s\"}\nd   s"), "{\"added\":2,\"known\":1}\n");
    assert_eq!(put("a s\na s\ne s\ne s\n"), "{\"added\":1,\"known\":3}\n");
    assert_eq!(put(""), "{\"added\":0,\"known\":0}\n");
    assert_eq!(subscribers(&program, "s"), set(&["a", "b", "c", "d", "e"]));
    assert_eq!(delete("{\"subscribee\":\"s\",\"subscriber\":\"a\"}\nz s\na s\n"), "{\"removed\":1,\"unknown\":2}\n");
    assert_eq!(delete("b s\r\nc s"), "{\"removed\":2,\"unknown\":0}\n");
    assert_eq!(subscribers(&program, "s"), set(&["d", "e"]));
    assert_eq!(program.metric("lf_comet_subscriptions"), 2);
    program.end();
}

#[test]
fn a_bad_line_is_named_and_what_came_before_it_is_done() {
    let program = Program::start(&[]);
    let long = format!("x {}", "y".repeat(1030));
    for (number, (bad, words)) in [
        ("alone", "give two ids"),
        ("one two three", "give two ids"),
        ("a*b c", "a*b"),
        (&*long, "1024 bytes"),
        ("{\"subscriber\":\"a\"}", "subscribee"),
        ("{\"subscriber\":\"a\",\"subscribee\":\"b\",\"more\":1}", "more"),
        ("{\"subscriber\":\"a\",\"subscribee\":\"\"}", "empty"),
        ("{nonsense", "line 4"),
        ("caf\u{e9} s", "caf"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("one.{number} s\n\none.{number} s\n{bad}\nnever s\n");
        let answer = edit(&program, "PUT", &body);
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains("line 4") && text.contains(words), "{bad}: {text}");
        assert!(text.ends_with("the lines before it were added: 1, known: 1\n"), "{bad}: {text}");
    }
    let expected: BTreeSet<_> = (0..9).map(|number| format!("one.{number}")).collect();
    assert_eq!(subscribers(&program, "s"), expected);
    let answer = edit(&program, "DELETE", "one.0 s\nnobody s\nbad\none.1 s\n");
    assert!(answer.text().ends_with("the lines before it were removed: 1, unknown: 1\n"), "{}", answer.text());
    assert_eq!(subscribers(&program, "s").len(), 8);
    program.end();
}

#[test]
fn long_lists_come_in_pages_and_each_id_once() {
    const FANS: usize = 70_000;
    let program = Program::start(&[]);
    let lines: String = (0..FANS).map(|number| format!("fan.{number} star\n")).collect();
    assert_eq!(edit(&program, "PUT", &lines).json(), json!({ "added": FANS, "known": 0 }));
    let reverse: String = (0..2500).map(|number| format!("star idol.{number}\n")).collect();
    assert_eq!(edit(&program, "PUT", &reverse).json()["added"], 2500);
    let mut desk = Desk::new(&program);
    for (list, count, limit) in [("subscribers", FANS, "&limit=9999"), ("subscriptions", 2500, "")] {
        let mut found = HashSet::new();
        let mut after = String::new();
        loop {
            let page = desk.ask("GET", &format!("/{list}/star?{limit}{after}"), b"").json();
            assert_eq!((&page["id"], &page["count"]), (&json!("star"), &json!(count)));
            let ids = page["ids"].as_array().unwrap();
            assert!(ids.len() <= if limit.is_empty() { 1000 } else { 9999 });
            for id in ids {
                assert!(found.insert(id.as_str().unwrap().to_owned()), "{id} is there twice");
            }
            // A cursor is passed on as it is.
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let name = if list == "subscribers" { "fan" } else { "idol" };
        let expected: HashSet<_> = (0..count).map(|number| format!("{name}.{number}")).collect();
        assert!(found == expected, "{list}");
        assert_eq!(
            desk.ask("GET", &format!("/{list}/star?count=1"), b"").json(),
            json!({ "id": "star", "count": count })
        );
        let nobody = desk.ask("GET", &format!("/{list}/nobody"), b"").json();
        assert_eq!(nobody, json!({ "id": "nobody", "count": 0, "ids": [], "next": null }));
    }
    assert_eq!(edit(&program, "DELETE", &lines).json(), json!({ "removed": FANS, "unknown": 0 }));
    assert_eq!(desk.ask("GET", "/subscribers/star", b"").json()["ids"], json!([]));
    program.end();
}

#[test]
fn connections_are_listed_with_who_they_are_and_kicked_one_or_all() {
    let program = Program::start(&[]);
    let connections = |query: &str| program.ask("GET", &format!("/connections{query}"), b"").json();
    assert_eq!(connections(""), json!({ "connections": [], "total": 0 }));
    let mut peers: HashMap<String, Value> = HashMap::new();
    let mut wires: Vec<_> = ["/test/a", "/stream/a", "/stream/b?format=ndjson", "/events/b,c", "/poll/c?timeout=100"]
        .into_iter()
        .zip(["chunked", "chunked", "ndjson", "sse", "poll"])
        .map(|(target, transport)| {
            let mut wire = Wire::connect(program.public());
            wire.get(target);
            peers.insert(wire.local().to_string(), json!(transport));
            wire
        })
        .collect();
    let mut socket = Socket::open(program.public(), "/ws/c");
    peers.insert(socket.wire.local().to_string(), json!("websocket"));
    until("all are connected", || program.connected(None) == 7);
    // A connection that is in a turn at the moment is listed without what only its owner knows.
    until("all rest", || connections("")["connections"].as_array().unwrap().iter().all(|one| one["peer"].is_string()));
    let all = connections("");
    assert_eq!(all["total"], 6);
    for connection in all["connections"].as_array().unwrap() {
        assert_eq!(connection["transport"], peers[connection["peer"].as_str().unwrap()], "{connection}");
        assert_eq!(connection["queued_bytes"], 0);
        assert!(connection["age_s"].as_f64().unwrap() < 60.0);
    }
    let ids = |page: &Value| -> Vec<String> {
        let ids = page["connections"].as_array().unwrap().iter();
        ids.map(|connection| connection["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&connections("?id=a")), ["a", "a"]);
    assert_eq!(ids(&connections("?id=c")).len(), 3);
    assert_eq!(ids(&connections("?limit=3")).len(), 3);
    assert_eq!(ids(&connections("?id=c&limit=2")), ["c", "c"]);
    assert_eq!(ids(&connections("?id=nobody")), [""; 0]);
    assert_eq!(program.metric("lf_comet_connected{transport=\"websocket\"}"), 1);
    assert_eq!(program.metric("lf_comet_connected{transport=\"sse\"}"), 1);

    let kick = |query: &str| program.ask("DELETE", &format!("/connections{query}"), b"").json()["closed"].clone();
    assert_eq!(kick("?id=nobody"), 0);
    assert_eq!(kick("?connection=00000063ffffff00"), 0);
    // One by its name, which is good for once.
    let of_b = connections("?id=b");
    let one = of_b["connections"].as_array().unwrap().iter().find(|one| one["transport"] == "ndjson").unwrap();
    let one = one["connection"].as_str().unwrap();
    assert_eq!([kick(&format!("?connection={one}")), kick(&format!("?connection={one}"))], [json!(1), json!(0)]);
    program.await_connected("b", 1);
    // All of an id, whatever else they are.
    assert_eq!(kick("?id=c"), 3);
    until("they are out", || program.connected(Some("c")) == 0);
    assert_eq!(socket.frame(), (CLOSE, close_payload(1008, "closed by the operator")));
    assert_eq!(wires[4].head().status(), 503);
    assert_eq!(program.connected(None), 2);
    assert_eq!(program.send("a", "still here"), 2);
    wires.truncate(2);
    for wire in &mut wires {
        assert_eq!(wire.head().status(), 200);
        while !String::from_utf8_lossy(&wire.chunk().unwrap()).contains("still here") {}
    }
    program.end();
}

#[test]
fn a_kicked_stream_sees_that_it_was_cut() {
    let program = Program::start(&[]);
    let mut wire = Wire::connect(program.public());
    wire.get("/stream/123");
    wire.head();
    program.await_connected("123", 1);
    program.send("123", "hello");
    assert_eq!(wire.chunk().as_deref(), Some(&b"hello"[..]));
    assert_eq!(program.kick("123"), 1);
    // No last chunk: it is not whole.
    assert_eq!(wire.rest_or_reset(), b"");
    program.await_connected("123", 0);
    program.end();
}

#[test]
fn a_slow_connection_shows_what_waits_for_it() {
    let program = Program::start(&["--slow", "drop-newest"]);
    let slow = Ear::on(Wire::with_little_room(program.public()), Kind::Stream, "123", None);
    program.await_connected("123", 1);
    let mut seen = 0;
    until("something waits", || {
        program.send("123", [b'x'; 60_000]);
        let page = program.ask("GET", "/connections", b"").json();
        seen = page["connections"][0]["queued_bytes"].as_u64().unwrap();
        seen > 0 && program.metric("lf_comet_waiting_bytes") > 0
    });
    assert!(seen <= 256 << 10);
    // In the queue of its socket, and behind that.
    assert_eq!(program.metric("lf_queued_bytes") + program.metric("lf_comet_waiting_bytes"), seen);
    drop(slow);
    program.await_connected("123", 0);
    assert_eq!(program.metric("lf_comet_waiting_bytes"), 0);
    program.end();
}

/// A sample: its name, its labels, its value.
fn sample(line: &str) -> (&str, &str, f64) {
    let (name, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) =
        name.split_once('{').map_or((name, ""), |(name, labels)| (name, labels.strip_suffix('}').unwrap()));
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
    }
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
    (name, labels, value.parse().unwrap())
}

#[test]
fn the_metrics_are_openmetrics_and_count_what_happens() {
    let program = Program::start(&[]);
    let mut socket = Socket::open(program.public(), "/ws/123");
    program.await_connected("123", 1);
    program.send("123", "hello");
    assert_eq!(socket.frame(), (TEXT, b"hello".to_vec()));
    let answer = program.ask("GET", "/metrics", b"");
    assert_eq!(answer.field("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    let body = text.strip_suffix("# EOF\n").unwrap();
    let (mut families, mut samples) = (HashSet::new(), HashMap::new());
    let (mut family, mut kind, mut buckets) = (String::new(), "", (0.0, 0.0));
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            assert!(words.starts_with(|first: char| first.is_uppercase()) && !words.ends_with('.'), "{line}");
            assert!(name.starts_with("lf_"), "{line}");
            name.clone_into(&mut family);
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, of) = of.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            kind = of;
            buckets = (0.0, f64::NEG_INFINITY);
        } else {
            let (name, labels, value) = sample(line);
            let suffix = name.strip_prefix(&*family).unwrap_or_else(|| panic!("{line} in {family}"));
            let expected: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_sum", "_count", "_bucket"],
            };
            assert!(expected.contains(&suffix), "{line}");
            if suffix == "_bucket" {
                let limit = labels.strip_prefix("le=\"").unwrap().trim_end_matches('"').replace("+Inf", "inf");
                let limit = limit.parse().unwrap();
                assert!(value >= buckets.0 && limit > buckets.1, "{line}");
                buckets = (value, limit);
            }
            assert!(samples.insert(format!("{name}{{{labels}}}"), value).is_none(), "{line} is there twice");
        }
    }
    for (name, value) in [
        ("lf_connections{}", 1.0),
        ("lf_comet_published_total{}", 1.0),
        ("lf_comet_handed_over_total{}", 1.0),
        ("lf_comet_logins_total{}", 1.0),
        ("lf_comet_logouts_total{}", 0.0),
        ("lf_comet_names{}", 1.0),
        ("lf_comet_connected{transport=\"websocket\"}", 1.0),
        ("lf_comet_connected{transport=\"sse\"}", 0.0),
        ("lf_refused_total{reason=\"max_connections\"}", 0.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert_eq!(samples["lf_turn_seconds_count{}"], samples["lf_turn_seconds_bucket{le=\"+Inf\"}"]);
    assert!(families.len() > 40);
    program.end();
}

#[test]
fn the_status_page_comes_with_its_figures() {
    let program = Program::start(&[]);
    for path in ["/", "/status"] {
        let page = program.ask("GET", path, b"");
        assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().starts_with("<!doctype html>") && page.text().contains("status.json"));
    }
    let socket = Socket::open(program.public(), "/ws/123");
    until("a sample shows it", || {
        let status = program.status();
        let transports = status["transports"].as_array().unwrap();
        let place = transports.iter().position(|transport| transport == "websocket").unwrap();
        let last = status["samples"].as_array().unwrap().last().map(|sample| sample["connected"][place].clone());
        last == Some(json!(1))
    });
    let status = program.status();
    assert_eq!(
        (&status["draining"], &status["names"], &status["counters"]["logins"]),
        (&json!(false), &json!(1), &json!(1))
    );
    drop(socket);
    program.end();
}
