//! `lf-bench flood`.

mod common;

use common::push::{self, honest};
use common::{Reference, bench, echo, json, number, serve_each, stderr, stdout};

#[test]
fn connections_are_opened_held_and_echo_one_message_each() {
    let server = Reference::start("floor").unwrap();
    let pid = server.pid();
    let args = ["flood", "--target", &server.target, "--connections", "700", "--in-flight", "64", "--hold", "0s"];
    let output = bench(&[&args[..], &["--touch", "--server-pid", &pid, "--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let outcome = json(&output);
    for name in ["connections", "alive", "echoed"] {
        assert_eq!(number(&outcome[name]), 700.0, "{name}: {outcome}");
    }
    assert!(number(&outcome["idle"]["rss_bytes"]) > 0.0);
    common::assert_no_errors(&outcome);
}

#[test]
fn a_person_gets_a_table_with_the_rate_and_the_memory() {
    let server = Reference::start("floor").unwrap();
    let output = bench(&["flood", "--target", &server.target, "--connections", "50", "--hold", "0s"]);
    let text = stdout(&output);
    for part in ["50 connections", "per second", "50 alive", "kernel slab", "give --server-pid"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_wrong_echo_fails_the_flood() {
    let address = serve_each(|stream| {
        echo(stream, |_, bytes| {
            bytes[0] ^= 1;
            true
        });
    });
    let target = address.to_string();
    let output = bench(&["flood", "--target", &target, "--connections", "3", "--hold", "0s", "--touch", "--json"]);
    assert!(!output.status.success());
    assert_eq!(number(&json(&output)["errors"]["mismatch"]), 3.0);
}

#[test]
fn connections_that_the_server_drops_are_not_alive() {
    let address = serve_each(drop);
    let target = address.to_string();
    // The touch waits for what the server does, so the hold may be nothing.
    let output = bench(&["flood", "--target", &target, "--connections", "5", "--hold", "0s", "--touch", "--json"]);
    let outcome = json(&output);
    assert_eq!(number(&outcome["echoed"]), 0.0, "{outcome}");
    let (closed, reset) = (number(&outcome["errors"]["closed"]), number(&outcome["errors"]["reset"]));
    assert_eq!(closed + reset, 5.0, "{outcome}");
}

#[test]
fn more_connections_than_descriptors_name_the_limit_and_the_remedy() {
    let output = bench(&["flood", "--target", "127.0.0.1:1", "--connections", "4000000000", "--sources", "0"]);
    let words = stderr(&output);
    assert!(!output.status.success());
    assert!(words.contains("4000000000") && words.contains("RLIMIT_NOFILE") && words.contains("ulimit"), "{words}");
}

#[test]
fn subscribers_of_every_transport_are_held_and_each_gets_its_own_message() {
    let address = push::serve(honest).to_string();
    for transport in ["chunked", "stream", "ndjson", "sse", "poll", "ws"] {
        let args =
            ["flood", "--target", &address, "--connections", "40", "--in-flight", "16", "--hold", "0s", "--json"];
        let more = ["--transport", transport, "--path-id-from", "100", "--publish", &address, "--settle", "0s"];
        let output = bench(&[&args[..], &more].concat());
        assert!(output.status.success(), "{transport}: {}", stderr(&output));
        let outcome = json(&output);
        assert_eq!(
            (number(&outcome["connections"]), number(&outcome["alive"])),
            (40.0, 40.0),
            "{transport}: {outcome}"
        );
        assert_eq!(number(&outcome["broadcast"]["received"]), 40.0, "{transport}: {outcome}");
        assert_eq!(number(&outcome["broadcast"]["taken"]), 40.0, "{transport}: {outcome}");
        common::assert_no_errors(&outcome);
    }
}

#[test]
fn memory_of_subscribers_is_read_when_idle_and_after_the_message() {
    let server = Reference::start("push-loop").unwrap();
    let pid = server.pid();
    let args = ["flood", "--target", &server.target, "--connections", "500", "--hold", "0s", "--transport", "sse"];
    let more = ["--publish", &server.target, "--via", "send", "--settle", "0s", "--server-pid", &pid];
    let output = bench(&[&args[..], &more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in ["500 received their message", "0 were refused", "idle", "after one message each"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_subscriber_without_its_message_fails_the_flood() {
    let drop_some = |_: usize, message: String| if message[9..17].ends_with('7') { Vec::new() } else { vec![message] };
    let address = push::serve(drop_some).to_string();
    let args = ["flood", "--target", &address, "--connections", "20", "--hold", "0s", "--transport", "stream"];
    let more = ["--publish", &address, "--settle", "0s", "--timeout", "500ms", "--json"];
    let output = bench(&[&args[..], &more].concat());
    let outcome = json(&output);
    assert!(!output.status.success(), "{outcome}");
    // Of the ids 1 to 20, in hexadecimal 7 alone ends so.
    assert_eq!(number(&outcome["broadcast"]["received"]), 19.0, "{outcome}");
    assert_eq!(number(&outcome["errors"]["timeout"]), 1.0, "{outcome}");
}

#[test]
fn publishing_to_echoes_and_touching_subscribers_is_refused_with_the_remedy() {
    let output = bench(&["flood", "--publish", "127.0.0.1:1"]);
    let words = stderr(&output);
    assert!(!output.status.success());
    assert!(words.contains("--publish") && words.contains("--transport sse"), "{words}");
    let words = stderr(&bench(&["flood", "--transport", "sse", "--touch"]));
    assert!(words.contains("--touch") && words.contains("--publish ADDR"), "{words}");
}
