//! The admin pages: what they say, to whom, and that they answer when nobody else does.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, Mode, any_port, echo_line, in_every_mode, lines, until};
use lf_core::codec::Line;
use lf_core::{Address, CloseReason, Count, Error, Refusal, Server};
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn serve(mode: Mode, gate: &Arc<Gate>) -> Host {
    let gate = Arc::clone(gate);
    let handler = lines(move |cx, line| {
        if line == "gate" {
            gate.pass();
        }
        echo_line(cx, line)
    });
    let builder = mode.builder().groups(2).workers(2).workers_max(2).admin(any_port());
    Host::start(builder.listen(any_port(), Line::default(), handler))
}

struct Answer {
    head: String,
    body: String,
}

fn ask(host: &Host, request: &str) -> Answer {
    let mut client = Client::connect(host.running.admin_address().unwrap());
    client.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
    let text = String::from_utf8(client.rest()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { head: head.to_owned(), body: body.to_owned() }
}

fn get(host: &Host, path: &str) -> String {
    let answer = ask(host, &format!("GET {path}"));
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
    assert!(answer.head.contains(&format!("Content-Length: {}", answer.body.len())), "{}", answer.head);
    answer.body
}

/// Reads the text format strictly: every sample has a name, perhaps labels, a value, and a type that was said before.
fn metrics(text: &str) -> HashMap<String, f64> {
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut samples = HashMap::new();
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with # EOF");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<_> = comment.splitn(3, ' ').collect();
            assert_eq!(words.len(), 3, "{line}");
            if words[0] == "TYPE" {
                assert!(types.insert(words[1], words[2]).is_none(), "said twice: {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        let base = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let kind = types.get(base.unwrap_or(name)).or(types.get(name));
        assert!(kind.is_some(), "no type was said for {line}");
        assert_eq!(kind == Some(&"counter"), name.ends_with("_total"), "{line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn metrics_are_well_formed_and_move_with_what_happens() {
    in_every_mode(|mode| {
        let host = serve(mode, &Gate::new());
        let before = metrics(&get(&host, "/metrics"));
        assert_eq!(before["lf_accepted_total"], 0.0);
        for count in Count::ALL {
            assert!(before.contains_key(&format!("lf_{}_total", count.label())), "{count:?}");
        }
        for why in CloseReason::ALL {
            assert!(before.contains_key(&format!("lf_closed_total{{reason=\"{}\"}}", why.label())), "{why:?}");
        }
        for why in Refusal::ALL {
            assert!(before.contains_key(&format!("lf_refused_total{{reason=\"{}\"}}", why.label())), "{why:?}");
        }
        let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
        clients.iter_mut().for_each(|client| client.exchange(b"1234\n", b"1234\n"));
        clients.pop();
        host.until_connected(3);
        let after = metrics(&get(&host, "/metrics"));
        let expected = [
            ("lf_accepted_total", 4.0),
            ("lf_connections", 3.0),
            ("lf_frames_received_total", 4.0),
            ("lf_frames_sent_total", 4.0),
            ("lf_bytes_received_total", 20.0),
            ("lf_bytes_sent_total", 20.0),
            ("lf_closed_total{reason=\"peer_closed\"}", 1.0),
        ];
        for (name, value) in expected {
            assert_eq!(after[name], value, "{name}");
        }
        let groups = after["lf_group_connections{group=\"0\"}"] + after["lf_group_connections{group=\"1\"}"];
        assert_eq!(groups, 3.0);
        assert_eq!(after["lf_turn_seconds_bucket{le=\"+Inf\"}"], after["lf_turn_seconds_count"]);
        assert!(after["lf_turn_seconds_count"] >= 4.0 && after["lf_resident_memory_bytes"] > 0.0);
    });
}

const PARSE: &str = "
import sys
try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
except ImportError:
    print('skipped: python3 has no prometheus_client')
    sys.exit(0)
names = {family.name for family in parse(sys.stdin.read())}
assert 'lf_accepted' in names and 'lf_turn_seconds' in names, names
";

#[test]
fn metrics_are_read_by_the_parser_of_prometheus() {
    let host =
        serve(Mode { trigger: lf_core::Trigger::OneShot, promotion: lf_core::Promotion::Adaptive }, &Gate::new());
    let spawned = Command::new("python3").args(["-c", PARSE]).stdin(Stdio::piped()).spawn();
    let Ok(mut python) = spawned else { return println!("skipped: there is no python3") };
    python.stdin.take().unwrap().write_all(get(&host, "/metrics").as_bytes()).unwrap();
    assert!(python.wait().unwrap().success());
}

#[test]
fn the_status_page_and_the_list_of_connections_show_who_is_there() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, &gate);
        let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
        let tokens: Vec<_> = clients.iter_mut().map(Client::token).collect();
        clients[0].send(b"gate\n");
        gate.until_waiting(1);
        let page = get(&host, "/status");
        assert!(page.contains("serving") && page.contains("Connections: 3 of"), "{page}");
        assert_eq!(page, page.trim_end_matches('\0'));
        let list = get(&host, "/connections");
        assert!(list.starts_with("# 3 connections\n"), "{list}");
        let line_of = |token| {
            let start = format!("{token} ");
            list.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
        };
        assert!(line_of(tokens[0]).contains("busy"));
        assert!(line_of(tokens[1]).contains("127.0.0.1:") && line_of(tokens[1]).contains("open"));
        let short = get(&host, "/connections?limit=1");
        assert!(short.lines().count() == 4 && short.contains("?limit=N"), "{short}");
        gate.open();
        clients[0].expect(b"gate\n");
        // Being looked at harms nobody.
        clients.iter_mut().for_each(|client| client.exchange(b"x\n", b"x\n"));
    });
}

#[test]
fn connections_that_are_looked_at_all_the_time_lose_nothing() {
    in_every_mode(|mode| {
        let host = serve(mode, &Gate::new());
        let sent = common::numbered_lines(50_000);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|_| {
                    let (mut client, sent) = (host.connect(), &sent);
                    scope.spawn(move || client.exchange(sent, sent))
                })
                .collect();
            while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                get(&host, "/connections");
            }
        });
    });
}

#[test]
fn the_pages_know_their_methods_and_paths() {
    in_every_mode(|mode| {
        let host = serve(mode, &Gate::new());
        assert_eq!(get(&host, "/healthz"), "ok\n");
        let head = ask(&host, "HEAD /metrics");
        assert!(head.head.starts_with("HTTP/1.1 200 OK") && head.body.is_empty());
        assert!(!head.head.contains("Content-Length: 0"));
        let post = ask(&host, "POST /status");
        assert!(post.head.starts_with("HTTP/1.1 405 ") && post.head.contains("Allow: GET, HEAD"), "{}", post.head);
        let missing = ask(&host, "GET /nothing");
        assert!(missing.head.starts_with("HTTP/1.1 404 ") && missing.body.contains("/metrics"), "{}", missing.body);
        let mut rude = Client::connect(host.running.admin_address().unwrap());
        rude.send(b"\x16\x03\x01 what is this\r\n\r\n");
        let refusal = String::from_utf8(rude.rest()).unwrap();
        assert!(refusal.starts_with("HTTP/1.1 400 ") && refusal.contains("Connection: close"), "{refusal}");
        assert_eq!(get(&host, "/healthz"), "ok\n");
    });
}

#[test]
fn one_connection_gets_several_pages() {
    in_every_mode(|mode| {
        let host = serve(mode, &Gate::new());
        let mut client = Client::connect(host.running.admin_address().unwrap());
        for _ in 0..3 {
            client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let lines: Vec<_> = std::iter::repeat_with(|| client.line()).take_while(|line| line != "\r").collect();
            assert_eq!(lines[0], "HTTP/1.1 200 OK\r");
            assert!(lines.iter().any(|line| line == "Content-Length: 3\r"), "{lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with("Connection:")), "{lines:?}");
            client.expect(b"ok\n");
        }
    });
}

#[test]
fn the_pages_answer_while_every_worker_is_blocked() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, &gate);
        let mut blocked: Vec<_> = (0..4).map(|_| host.connect()).collect();
        blocked.iter_mut().for_each(|client| client.send(b"gate\n"));
        gate.until_waiting(4);
        assert_eq!(get(&host, "/healthz"), "ok\n");
        assert_eq!(get(&host, "/connections").matches("busy").count(), 4);
        assert_eq!(metrics(&get(&host, "/metrics"))["lf_connections"], 4.0);
        gate.open();
        blocked.iter_mut().for_each(|client| client.expect(b"gate\n"));
    });
}

#[test]
fn a_server_that_drains_is_not_healthy() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, &gate);
        let admin = host.running.admin_address().unwrap().clone();
        let mut busy = host.connect();
        busy.send(b"gate\n");
        gate.until_waiting(1);
        std::thread::scope(|scope| {
            let drained = scope.spawn(move || host.running.drain());
            until("it says that it drains", || {
                let mut client = Client::connect(&admin);
                client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                client.rest().starts_with(b"HTTP/1.1 503 ")
            });
            gate.open();
            assert_eq!(drained.join().unwrap().cut, 0);
        });
        assert_eq!(busy.rest(), b"gate\n");
    });
}

#[test]
fn an_admin_address_that_others_can_reach_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9900", ":0"] {
        let builder = Server::builder().listen(any_port(), Line::default(), common::Echo);
        match builder.admin(address.parse().unwrap()).build() {
            Err(Error::Setting { name: "admin", .. }) => {}
            Err(error) => panic!("{address}: {error}"),
            Ok(_) => panic!("{address} was taken"),
        }
    }
}

#[test]
fn the_pages_may_be_on_a_unix_socket() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let builder = mode.builder().admin(Address::Unix(dir.path().join("admin")));
        let host = Host::start(builder.listen(any_port(), Line::default(), common::Echo));
        assert_eq!(get(&host, "/healthz"), "ok\n");
    });
}

#[test]
fn a_peer_that_drips_its_request_is_cut() {
    let host =
        serve(Mode { trigger: lf_core::Trigger::OneShot, promotion: lf_core::Promotion::Adaptive }, &Gate::new());
    let mut silent = Client::connect(host.running.admin_address().unwrap());
    let mut drips = Client::connect(host.running.admin_address().unwrap());
    drips.send(b"GET /status HTTP/1.1\r\nX-Slow: ");
    let mut sent = 0;
    until("the dripping peer is cut", || {
        // It stays below the size at which it would be cut for that.
        sent += 1;
        sent > 7000 || !drips.try_send(b"x")
    });
    assert!(sent <= 7000, "it could drip 7000 bytes");
    silent.expect_end();
    assert_eq!(get(&host, "/healthz"), "ok\n");
}
