//! The generator and the reference servers against each other: every answer is checked, none is wrong.

mod common;

use common::{Reference, assert_no_errors, echo, json, number, run};
use std::os::unix::net::UnixListener;

fn drive(shape: &str) {
    let Some(server) = Reference::start(shape) else {
        eprintln!("{shape} is not offered by this kernel");
        return;
    };
    let pid = ["--server-pid", &server.pid()].map(str::to_owned);
    let runs: [(&str, &[&str]); 6] = [
        ("long", &[]),
        ("long", &["--depth", "16", "--connections", "10", "--threads", "2"]),
        ("short", &["--connections", "16"]),
        ("short", &["--connections", "16", "--close", "rst"]),
        ("mixed", &["--slow-connections", "2", "--slow-block", "2ms", "--connections", "20"]),
        ("rate", &["--rate", "500", "--connections", "10"]),
    ];
    for (mode, options) in runs {
        let options: Vec<&str> = options.iter().copied().chain(pid.iter().map(String::as_str)).collect();
        let output = run(mode, &server.target, &options);
        let outcome = json(&output);
        assert!(output.status.success(), "{shape} {mode} {options:?}: {outcome}");
        assert_no_errors(&outcome);
        assert!(number(&outcome["requests"]) > 0.0, "{shape} {mode}: {outcome}");
        assert!(number(&outcome["latency"]["p50_us"]) > 0.0);
        assert!(number(&outcome["server"]["cpu_us_per_request"]) > 0.0, "{shape} {mode}: {outcome}");
        assert!(number(&outcome["server"]["rss_bytes"]) > 0.0);
        if mode == "mixed" {
            assert!(number(&outcome["slow_requests"]) > 0.0, "{shape}: {outcome}");
            assert!(number(&outcome["slow_latency"]["p50_us"]) >= 2_000.0, "the handler blocks 2 ms: {outcome}");
        }
    }
}

#[test]
fn floor() {
    drive("floor");
}

#[test]
fn oneshot() {
    drive("oneshot");
}

#[test]
fn kernel() {
    drive("kernel");
}

#[test]
fn tokio() {
    drive("tokio");
}

#[test]
fn io_uring_where_the_kernel_offers_it() {
    drive("io-uring");
}

#[test]
fn messages_larger_than_every_buffer_come_back_whole() {
    for shape in ["floor", "oneshot", "kernel", "tokio", "io-uring"] {
        let Some(server) = Reference::start(shape) else { continue };
        let options = ["--size", "1500000", "--connections", "3", "--depth", "2", "--frame", "raw"];
        let output = run("long", &server.target, &options);
        let outcome = json(&output);
        assert_no_errors(&outcome);
        assert!(number(&outcome["requests"]) > 0.0, "{shape}: {outcome}");
    }
}

#[test]
fn every_frame_and_the_smallest_message_are_echoed() {
    let server = Reference::start("floor").unwrap();
    for (frame, size) in [("line", "2"), ("raw", "1"), ("len32", "1"), ("nshead", "100")] {
        let outcome = json(&run("long", &server.target, &["--frame", frame, "--size", size]));
        assert_no_errors(&outcome);
        assert!(number(&outcome["requests"]) > 0.0, "{frame}: {outcome}");
    }
}

#[test]
fn a_unix_socket_is_a_target_too() {
    let path = std::env::temp_dir().join(format!("lf-bench-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream, |_, _| true));
        }
    });
    let output = run("long", &format!("unix:{}", path.display()), &["--connections", "4"]);
    std::fs::remove_file(&path).unwrap();
    let outcome = json(&output);
    assert_no_errors(&outcome);
    assert!(number(&outcome["requests"]) > 0.0, "{outcome}");
}
