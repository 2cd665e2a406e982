//! `lf-bench comet`: what is delivered right is counted, and what is not fails the run.

mod common;

use common::push::{self, Crook, honest};
use common::{Reference, bench, json, number, serve_each, stderr, stdout};
use serde_json::Value;
use std::io::{Read, Write};

const BRIEFLY: [&str; 6] = ["--duration", "200ms", "--warmup", "50ms", "--timeout", "2s"];

fn comet(address: &str, more: &[&str]) -> std::process::Output {
    bench(&[&["comet", "--target", address, "--control", address, "--json"], &BRIEFLY[..], more].concat())
}

/// A run against an honest server that speaks every transport.
fn honest_run(more: &[&str]) -> Value {
    let output = comet(&push::serve(honest).to_string(), more);
    assert!(output.status.success(), "{} {}", stderr(&output), stdout(&output));
    json(&output)
}

fn assert_clean(outcome: &Value) {
    for name in ["missing", "duplicated", "out_of_order", "corrupted", "astray", "lost"] {
        assert_eq!(number(&outcome["verdicts"][name]), 0.0, "{name}: {outcome}");
    }
    assert!(number(&outcome["deliveries"]) > 0.0, "{outcome}");
    assert!(number(&outcome["latency"]["p50_us"]) > 0.0, "{outcome}");
}

#[test]
fn every_transport_delivers_all_messages_in_order() {
    for transport in ["chunked", "stream", "ndjson", "sse", "poll", "ws"] {
        let outcome = honest_run(&["--transport", transport, "--subscribers", "6", "--ids", "3", "--rate", "200"]);
        assert_clean(&outcome);
        let sent = number(&outcome["sent"]["messages"]);
        assert_eq!(number(&outcome["verdicts"]["delivered"]), sent * 2.0, "{transport}: two subscribers an id");
    }
}

#[test]
fn a_batch_and_a_direct_message_are_answered_like_a_send() {
    for via in ["send", "direct", "batch"] {
        let outcome = honest_run(&["--via", via, "--subscribers", "4", "--ids", "2", "--rate", "300"]);
        assert_clean(&outcome);
        let sent = &outcome["sent"];
        assert_eq!(number(&sent["taken"]), number(&sent["messages"]), "{via}: {sent}");
        assert_eq!(number(&sent["delivered"]), number(&sent["messages"]) * 2.0, "{via}: {sent}");
    }
}

#[test]
fn the_bare_loop_delivers_one_at_a_time_and_as_fast_as_it_can() {
    let server = Reference::start("push-loop").unwrap();
    let pid = server.pid();
    let more = ["--subscribers", "300", "--ids", "3", "--rate", "max", "--server-pid", &pid];
    for window in ["1", "32"] {
        let output = comet(&server.target, &[&more[..], &["--window", window]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let outcome = json(&output);
        assert_clean(&outcome);
        assert!(number(&outcome["server"]["deliveries_per_cpu_second"]) > 0.0);
        assert!(number(&outcome["memory"]["rss_bytes"]) > 0.0);
    }
}

#[test]
fn several_publishers_keep_the_order_of_each_id() {
    let server = Reference::start("push-loop").unwrap();
    let more = ["--subscribers", "60", "--ids", "12", "--rate", "max", "--publishers", "4", "--window", "0"];
    let output = comet(&server.target, &[&more[..], &["--depth", "16"]].concat());
    assert!(output.status.success(), "{}", stdout(&output));
    assert_clean(&json(&output));
}

#[test]
fn stalled_subscribers_do_not_count_and_do_not_harm_the_others() {
    let server = Reference::start("push-loop").unwrap();
    let output = comet(&server.target, &["--subscribers", "40", "--ids", "1", "--rate", "500", "--stalled", "25%"]);
    let outcome = json(&output);
    assert!(output.status.success(), "{outcome}");
    assert_clean(&outcome);
    assert_eq!(number(&outcome["stalled"]), 10.0);
    assert_eq!(number(&outcome["verdicts"]["delivered"]), number(&outcome["sent"]["messages"]) * 30.0);
}

#[test]
fn logins_and_logouts_lose_nothing_that_was_owed() {
    let server = Reference::start("push-loop").unwrap();
    let more = ["--subscribers", "50", "--ids", "5", "--rate", "1000", "--churn", "200", "--duration", "500ms"];
    let output = comet(&server.target, &more);
    let outcome = json(&output);
    assert!(output.status.success(), "{outcome}");
    assert_clean(&outcome);
    assert!(number(&outcome["exchanged"]) > 5.0, "{outcome}");
}

/// A run in which the server does something to each tenth message fails, and counts it as `kind`.
fn crooked(crook: Crook, kind: &str) {
    let output = comet(&push::serve(crook).to_string(), &["--subscribers", "2", "--ids", "1", "--rate", "400"]);
    let outcome = json(&output);
    assert!(!output.status.success(), "{kind}: {outcome}");
    assert!(number(&outcome["verdicts"][kind]) >= 2.0, "{kind}: {outcome}");
}

#[test]
fn a_message_that_is_dropped_is_missing() {
    crooked(|number, message| if number % 10 == 3 { Vec::new() } else { vec![message] }, "missing");
}

#[test]
fn a_message_that_comes_twice_is_duplicated() {
    crooked(|number, message| vec![message; if number % 10 == 3 { 2 } else { 1 }], "duplicated");
}

#[test]
fn a_message_that_was_changed_is_corrupted() {
    let change = |number: usize, mut message: String| {
        if number % 10 == 3 {
            message.replace_range(60..61, "!");
        }
        vec![message]
    };
    crooked(change, "corrupted");
}

#[test]
fn messages_that_change_places_are_out_of_order() {
    use std::sync::Mutex;
    static KEPT: Mutex<Option<String>> = Mutex::new(None);
    let swap = |number: usize, message: String| match number % 10 {
        3 => {
            *KEPT.lock().unwrap() = Some(message);
            Vec::new()
        }
        4 => vec![message].into_iter().chain(KEPT.lock().unwrap().take()).collect(),
        _ => vec![message],
    };
    crooked(swap, "out_of_order");
}

#[test]
fn what_a_server_has_kept_of_an_earlier_run_is_astray() {
    use std::sync::Mutex;
    static KEPT: Mutex<Option<String>> = Mutex::new(None);
    let keep = |_: usize, message: String| {
        let kept = KEPT.lock().unwrap().get_or_insert_with(|| message.clone()).clone();
        vec![message, kept]
    };
    let address = push::serve(keep).to_string();
    let more = ["--subscribers", "1", "--rate", "100"];
    comet(&address, &more);
    let outcome = json(&comet(&address, &more));
    assert!(
        number(&outcome["verdicts"]["astray"]) > 0.0 && number(&outcome["verdicts"]["duplicated"]) == 0.0,
        "{outcome}"
    );
}

#[test]
fn a_server_that_refuses_is_named_with_its_status() {
    let address = serve_each(|mut stream| {
        let mut request = [0; 4096];
        while matches!(stream.read(&mut request), Ok(1..)) {
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let output = comet(&address.to_string(), &["--subscribers", "3", "--rate", "50"]);
    let outcome = json(&output);
    assert!(!output.status.success(), "{outcome}");
    assert_eq!((number(&outcome["subscribers"]), &outcome["first_error"]), (0.0, &Value::from("status 403")));
    assert!(number(&outcome["sent"]["refused"]) > 0.0 && outcome["sent"]["first_error"] == "403", "{outcome}");
}

#[test]
fn a_person_gets_a_table_with_what_was_delivered_and_what_it_cost() {
    let server = Reference::start("push-loop").unwrap();
    let pid = server.pid();
    let args = ["comet", "--target", &server.target, "--control", &server.target, "--subscribers", "20"];
    let output = bench(&[&args[..], &BRIEFLY, &["--server-pid", &pid]].concat());
    let text = stdout(&output);
    for part in
        ["20 subscribers over sse", "all in order", "p99.9", "deliveries per CPU second", "memory per idle subscriber"]
    {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_generator_of_messages_reports_what_was_taken_and_delivered() {
    let address = push::serve(honest).to_string();
    let args = ["msggen", "--control", &address, "--sources", "20", "--rate", "500", "--distribution", "zipf:1.1"];
    for via in ["send", "batch"] {
        let output = bench(&[&args[..], &["--duration", "300ms", "--via", via, "--json"]].concat());
        let found = json(&output);
        assert!(output.status.success(), "{found}");
        let sent = &found["sent"];
        assert!(number(&sent["messages"]) > 5.0 && number(&sent["taken"]) == number(&sent["messages"]), "{found}");
        assert!(number(&sent["answer"]["p99_us"]) > 0.0 && found["distribution"] == "zipf:1.1", "{found}");
    }
}
