//! Servers that do wrong, and what the generator says of them.

mod common;

use common::{echo, json, number, run, serve_each, stderr};
use std::time::Duration;

/// Spoils the n-th piece.
fn corrupt_at(n: usize) -> std::net::SocketAddr {
    serve_each(move |stream| {
        echo(stream, |turn, bytes| {
            if turn == n {
                let last = bytes.len() - 2;
                bytes[last] ^= 0x20;
            }
            true
        });
    })
}

#[test]
fn one_wrong_byte_is_a_mismatch_and_the_run_fails() {
    for mode in ["long", "short"] {
        let address = corrupt_at(if mode == "long" { 5 } else { 0 });
        let output = run(mode, &address.to_string(), &["--connections", "2"]);
        let outcome = json(&output);
        assert!(number(&outcome["errors"]["mismatch"]) >= 1.0, "{mode}: {outcome}");
        assert!(!output.status.success(), "{mode}: a mismatch must not pass");
        assert!(stderr(&output).contains("not what had been sent"), "{}", stderr(&output));
    }
}

#[test]
fn an_answer_meant_for_another_request_is_a_mismatch() {
    let address = serve_each(|stream| {
        let mut first = Vec::new();
        echo(stream, move |turn, bytes| {
            if turn == 0 {
                first = bytes.clone();
            }
            bytes.clone_from(&first);
            true
        });
    });
    let outcome = json(&run("long", &address.to_string(), &["--connections", "1"]));
    assert!(number(&outcome["errors"]["mismatch"]) >= 1.0, "{outcome}");
}

#[test]
fn a_server_that_closes_before_its_answer_is_counted_and_the_run_goes_on() {
    let address = serve_each(|stream| echo(stream, |turn, _| turn < 3));
    let output = run("long", &address.to_string(), &["--connections", "2", "--duration", "400ms"]);
    let outcome = json(&output);
    assert!(number(&outcome["errors"]["closed"]) >= 2.0, "{outcome}");
    assert_eq!(number(&outcome["errors"]["mismatch"]), 0.0);
    assert!(output.status.success());
}

#[test]
fn a_server_that_answers_half_is_closed_early_too() {
    let address = serve_each(|stream| {
        let mut done = false;
        echo(stream, move |_, bytes| {
            bytes.truncate(bytes.len() / 2);
            !std::mem::replace(&mut done, true)
        });
    });
    let options = ["--connections", "1", "--timeout", "100ms", "--duration", "400ms"];
    let outcome = json(&run("short", &address.to_string(), &options));
    let (closed, timeout) = (number(&outcome["errors"]["closed"]), number(&outcome["errors"]["timeout"]));
    assert!(closed + timeout >= 1.0, "{outcome}");
    assert_eq!(number(&outcome["requests"]), 0.0);
}

#[test]
fn a_server_that_never_answers_is_a_timeout() {
    let address = serve_each(|stream| {
        echo(stream, |_, bytes| {
            bytes.clear();
            true
        });
    });
    let options = ["--connections", "2", "--timeout", "50ms", "--duration", "400ms"];
    let outcome = json(&run("long", &address.to_string(), &options));
    assert!(number(&outcome["errors"]["timeout"]) >= 2.0, "{outcome}");
}

#[test]
fn nobody_listening_is_an_error_that_names_the_target_and_the_remedy() {
    // A port that was free a moment ago and is listened on by nobody.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = run("long", &gone, &[]);
    let words = stderr(&output);
    assert!(!output.status.success());
    assert!(words.contains(&gone) && words.contains("start the server") && words.contains("--target"), "{words}");
}

#[test]
fn at_a_fixed_rate_latency_counts_from_the_intended_time() {
    // The server stalls once for 300 ms. A closed loop would see one slow answer of many; at 1000
    // requests per second about 300 are due meanwhile, and they all waited.
    const STALL: Duration = Duration::from_millis(300);
    let address = serve_each(|stream| {
        echo(stream, |turn, _| {
            if turn == 150 {
                std::thread::park_timeout(STALL);
            }
            true
        });
    });
    let options = ["--rate", "1000", "--connections", "1", "--duration", "600ms"];
    let outcome = json(&run("rate", &address.to_string(), &options));
    let latency = &outcome["latency"];
    assert!(number(&latency["max_us"]) >= 290_000.0, "{outcome}");
    assert!(number(&latency["p90_us"]) >= 100_000.0, "the queue behind the stall is part of it: {outcome}");
}

#[test]
fn requests_that_were_never_sent_are_told() {
    // Answers nothing within the run: with one place per connection, all but one request stay unsent.
    let address = serve_each(|stream| {
        echo(stream, |_, bytes| {
            bytes.clear();
            true
        });
    });
    let outcome = json(&run("rate", &address.to_string(), &["--rate", "1000", "--connections", "1"]));
    assert!(number(&outcome["unsent"]) >= 50.0, "{outcome}");
    assert!(number(&outcome["latency"]["max_us"]) > 0.0, "their waiting is counted: {outcome}");
}
