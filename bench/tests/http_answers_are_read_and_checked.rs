//! `lf-bench http` against lf-core's HTTP, and against servers that do wrong.

mod common;

use common::lf;
use common::{assert_no_errors, json, number, run, serve_each, stderr, stdout};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;

fn http(target: &str, options: &[&str]) -> Output {
    run("http", target, &[&["--connections", "8"], options].concat())
}

/// A run in which nothing may go wrong.
fn clean(target: &str, options: &[&str]) -> Value {
    let output = http(target, options);
    let found = json(&output);
    assert!(output.status.success(), "{options:?}: {found}");
    assert_no_errors(&found);
    assert!(number(&found["requests"]) > 0.0, "{options:?}: {found}");
    assert!(number(&found["latency"]["p99_us"]) > 0.0, "{options:?}: {found}");
    found
}

/// A run that must fail because of answers that are wrong in this way.
fn wrong(target: &str, kind: &str, options: &[&str]) -> Value {
    let output = http(target, options);
    let found = json(&output);
    assert!(number(&found["errors"][kind]) >= 1.0, "{options:?}: {found}");
    assert!(!output.status.success(), "{options:?}: a wrong answer must not pass");
    found
}

/// A server that answers each request of a connection with what `answer` says of its number; `None`: it closes.
fn site(answer: impl Fn(usize) -> Option<&'static str> + Clone + Send + 'static) -> SocketAddr {
    serve_each(move |stream: TcpStream| {
        let mut reader = BufReader::new(stream);
        for number in 0.. {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if !matches!(reader.read_line(&mut line), Ok(1..)) {
                    return;
                }
            }
            let Some(answer) = answer(number) else { return };
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn every_framing_of_an_answer_is_read() {
    let server = lf::http();
    let hello = ["--expect-body", "hello\n", "--expect-status", "200"];
    for path in ["/hello", "/chunks"] {
        clean(&server.target, &[&["--path", path], &hello[..]].concat());
    }
    clean(&server.target, &["--path", "/nothing", "--expect-status", "204", "--expect-body", ""]);
    clean(&server.target, &["--path", "/hello", "--method", "HEAD", "--expect-body", ""]);
    clean(&server.target, &["--path", "/absent", "--expect-status", "404", "--expect-contains", "gon"]);
}

#[test]
fn connections_may_be_pipelined_or_made_anew_and_requests_come_at_a_rate() {
    let server = lf::http();
    let hello = ["--path", "/hello", "--expect-body", "hello\n"];
    for more in [&["--pipeline", "16", "--threads", "2"][..], &["--short"], &["--short", "--close", "rst"]] {
        clean(&server.target, &[&hello[..], more].concat());
    }
    for more in [&[][..], &["--short"]] {
        let found = clean(&server.target, &[&hello[..], &["--rate", "500"], more].concat());
        assert!((300.0..700.0).contains(&number(&found["requests_per_second"])), "{more:?}: {found}");
    }
}

#[test]
fn bodies_and_headers_are_sent() {
    let server = lf::http();
    clean(&server.target, &["--path", "/length", "--body", "100000", "--expect-body", "100000"]);
    clean(&server.target, &["--path", "/host", "-H", "X-Echo: abc", "--expect-body", "abc"]);
    let path = std::env::temp_dir().join(format!("lf-body-{}", std::process::id()));
    std::fs::write(&path, "twelve bytes").unwrap();
    let file = path.display().to_string();
    clean(&server.target, &["--path", "/length", "--body-file", &file, "--expect-body", "12"]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn paths_have_their_shares_and_latencies_of_their_own() {
    let server = lf::http();
    let options = ["--path", "9:/hello", "--path", "1:/slow", "--rate", "200", "--duration", "500ms"];
    let found = clean(&server.target, &options);
    let (fast, slow) = (&found["paths"][0], &found["paths"][1]);
    assert_eq!((fast["path"].as_str(), slow["path"].as_str()), (Some("/hello"), Some("/slow")));
    assert!(number(&fast["requests"]) > 3.0 * number(&slow["requests"]), "{found}");
    assert!(number(&slow["latency"]["p50_us"]) >= 20_000.0, "the handler takes 20 ms: {found}");
    assert!(number(&fast["latency"]["p50_us"]) < 20_000.0, "{found}");
}

#[test]
fn what_was_due_and_not_sent_counts_for_the_paths_too() {
    // One connection and pages of 20 ms: most of what is due finds no place.
    let server = lf::http();
    let options = ["--path", "/slow", "--path", "/slow", "--rate", "1000", "--connections", "1"];
    for more in [&[][..], &["--short"]] {
        let found = json(&http(&server.target, &[&options[..], more].concat()));
        assert!(number(&found["unsent"]) >= 50.0, "{more:?}: {found}");
        for path in found["paths"].as_array().unwrap() {
            assert!(number(&path["requests"]) < 20.0, "what was not sent is no request: {more:?}: {found}");
            assert!(number(&path["latency"]["p50_us"]) > 20_000.0, "{more:?}: {found}");
        }
    }
}

#[test]
fn a_wrong_status_or_body_fails_the_run_and_is_told() {
    let server = lf::http();
    let found = wrong(&server.target, "status", &["--path", "/absent"]);
    assert!(found["first_wrong"].as_str().unwrap().contains("GET /absent: status 404"), "{found}");
    assert_eq!(number(&found["requests"]), 0.0, "a wrong answer is no request: {found}");
    wrong(&server.target, "mismatch", &["--path", "/hello", "--expect-body", "hello"]);
    wrong(&server.target, "mismatch", &["--path", "/hello", "--expect-contains", "bye"]);
}

#[test]
fn one_wrong_answer_among_many_is_found() {
    const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright";
    const WRONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    let address = site(|number| Some(if number == 20 { WRONG } else { RIGHT }));
    let found = wrong(&address.to_string(), "mismatch", &["--connections", "1", "--expect-body", "right"]);
    assert_eq!(number(&found["errors"]["mismatch"]), 1.0, "the connection goes on: {found}");
    assert!(number(&found["requests"]) > 0.0);
}

#[test]
fn what_is_no_http_fails_the_run() {
    let address = site(|_| Some("HELLO 200\r\n\r\n"));
    let found = wrong(&address.to_string(), "malformed", &[]);
    assert!(found["first_wrong"].as_str().unwrap().contains("malformed HTTP head"), "{found}");
    let address = site(|_| Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"));
    wrong(&address.to_string(), "malformed", &[]);
}

/// Many more requests than a look every 50 ms for lost connections would allow.
fn assert_met_again_at_once(address: SocketAddr) {
    let found = clean(&address.to_string(), &["--connections", "2", "--expect-body", "hello\n"]);
    assert!(number(&found["requests"]) > 10.0, "{found}");
}

#[test]
fn a_server_that_says_that_it_closes_is_met_again_at_once() {
    let said = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n";
    assert_met_again_at_once(site(move |_| Some(said)));
    let by_version = "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    assert_met_again_at_once(site(move |_| Some(by_version)));
}

#[test]
fn a_body_may_end_with_its_connection() {
    assert_met_again_at_once(serve_each(|mut stream| {
        let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        if head.any(|line| line.is_empty()) {
            // Who has gone meanwhile needs no answer.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello\n");
        }
    }));
}

#[test]
fn a_server_that_closes_in_the_middle_of_an_answer_has_closed_early() {
    let address = serve_each(|mut stream| {
        let mut line = String::new();
        if BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nhello\n");
        }
    });
    let output = http(&address.to_string(), &["--connections", "2"]);
    let found = json(&output);
    let (closed, reset) = (number(&found["errors"]["closed"]), number(&found["errors"]["reset"]));
    assert!(closed + reset >= 2.0, "{found}");
    assert_eq!(number(&found["requests"]), 0.0);
}

#[test]
fn a_person_gets_a_table_with_a_row_for_each_path() {
    let server = lf::http();
    let args = ["http", "--target", &server.target, "--path", "/hello", "--path", "/chunks", "--duration", "100ms"];
    let output = common::bench(&[&args[..], &["--warmup", "10ms", "--connections", "2"]].concat());
    let text = stdout(&output);
    for part in ["requests/s", "p99.9", "/hello", "/chunks", "errors: 0"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn options_that_make_no_request_name_the_remedy() {
    for (options, words) in [
        (&["--path", "hello"][..], "WEIGHT:PATH"),
        (&["--header", "x"], "NAME: VALUE"),
        (&["--expect-body-file", "/nonexistent/x"], "/nonexistent/x"),
        (&["--rate", "0"], "above 0"),
    ] {
        let output = http("127.0.0.1:9", options);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(words), "{options:?}: {}", stderr(&output));
    }
}
