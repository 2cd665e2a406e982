//! `lf-bench flood`.

mod common;

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
