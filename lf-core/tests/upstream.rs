//! Calls to back ends: every protocol, kept connections, queues, limits, and what the pages say.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod backends;
mod common;

use backends::{Backend, Caller, lines_to};
use common::{Client, any_port, until};
use lf_core::codec::NsheadHeader;
use lf_core::upstream::{
    Call, CallError, HttpRequest, Limit, Protocol, RespValue, Servers, UpstreamConfig, UpstreamError,
};
use lf_core::{Address, Server};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn a_call_is_answered_over_a_connection_that_is_kept() {
    let (caller, backend) = (Caller::new(), Backend::echo("a"));
    let be = caller.add(lines_to([backend.at]));
    for round in 0..50 {
        let answer = caller.call(&be, Call::new(format!("hello {round}"))).unwrap();
        assert_eq!(answer.body, format!("a:hello {round}").into_bytes());
        assert_eq!((&*answer.server, answer.tries, answer.by_backup), (&*backend.at.to_string(), 1, false));
        assert!(answer.took > Duration::ZERO);
    }
    assert!(backend.connections() <= 2, "{} connections", backend.connections());
    assert_eq!((caller.count("calls"), caller.count("answers"), be.in_flight()), (50.0, 50.0, 0));
    assert_eq!(caller.host.stats().connections(), 0, "what the server opens is no guest");
}

#[test]
fn calls_are_answered_on_a_worker_of_their_group() {
    let (caller, backend) = (Caller::new(), Backend::echo("a"));
    let be = caller.add(lines_to([backend.at]));
    for group in [0, 1, 0, 1] {
        let (tell, hear) = channel();
        be.call(&caller.host.running.remote(), group, Call::new("x"), move |outcome| {
            outcome.unwrap();
            tell.send(std::thread::current().name().unwrap().to_owned()).unwrap();
        });
        let thread = hear.recv_timeout(common::PATIENCE).unwrap();
        assert!(thread.starts_with(&format!("lf-{group}.")), "{thread} of group {group}");
    }
    let error = caller.begin_in(9, &be, Call::new("x")).outcome().unwrap_err();
    assert!(matches!(error, CallError::Request { .. }), "{error}");
}

#[test]
fn an_outcome_may_make_the_next_call() {
    let (caller, backend) = (Caller::new(), Backend::echo("a"));
    let be = caller.add(lines_to([backend.at]));
    let (tell, hear) = channel();
    fn next(be: &lf_core::upstream::Upstream, remote: &lf_core::Remote, left: u32, tell: std::sync::mpsc::Sender<u32>) {
        let (again, reach) = (be.clone(), remote.clone());
        be.call(remote, 0, Call::new(left.to_string()), move |outcome| {
            assert_eq!(outcome.unwrap().body, format!("a:{left}").into_bytes());
            if left == 0 {
                tell.send(left).unwrap();
            } else {
                next(&again, &reach, left - 1, tell);
            }
        });
    }
    next(&be, &caller.host.running.remote(), 300, tell);
    assert_eq!(hear.recv_timeout(common::PATIENCE), Ok(0));
    assert!(backend.connections() <= 3, "{} connections", backend.connections());
}

#[test]
fn nshead_carries_its_fields_and_makes_up_a_log_id() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        while let Some(head) = visit.read(36) {
            let len = u32::from_le_bytes(head[32..36].try_into().unwrap()) as usize;
            let body = visit.read(len).unwrap();
            visit.say([head, body].concat());
        }
    });
    let config = UpstreamConfig { protocol: Protocol::Nshead, ..lines_to([backend.at]) };
    let be = caller.add(config);
    let header = NsheadHeader { id: 1, version: 2, log_id: 3, provider: *b"0123456789abcdef", reserved: 4 };
    let answer = caller.call(&be, Call { nshead: Some(header), ..Call::new("body") }).unwrap();
    assert_eq!((answer.nshead, answer.body.as_slice()), (Some(header), &b"body"[..]));
    let log_ids: Vec<u32> = (0..3).map(|_| caller.call(&be, Call::new("")).unwrap().nshead.unwrap().log_id).collect();
    assert!(log_ids[0] != log_ids[1] && log_ids[1] != log_ids[2], "{log_ids:?}");
    assert_eq!(caller.call(&be, Call { log_id: Some(99), ..Call::new("") }).unwrap().nshead.unwrap().log_id, 99);
}

#[test]
fn len32_frames_may_be_big_and_empty() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        while let Some(head) = visit.read(4) {
            let body = visit.read(u32::from_be_bytes(head[..].try_into().unwrap()) as usize).unwrap();
            visit.say([head, body].concat());
        }
    });
    let be = caller.add(UpstreamConfig { protocol: Protocol::Len32, ..lines_to([backend.at]) });
    for len in [0, 1, 70_000, 3_000_000, 5] {
        let body = common::pattern(len);
        assert_eq!(caller.call(&be, Call::new(body.clone())).unwrap().body, body);
    }
}

#[test]
fn http_answers_come_with_a_length_in_chunks_and_to_the_end() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        while let Some((head, body)) = visit.http() {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            match path.as_str() {
                "/length" => visit.say("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc"),
                "/chunks" => {
                    visit.say(
                        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab",
                    );
                    visit.say("\r\n1\r\nc\r\n0\r\n\r\n");
                }
                "/close" => return visit.say("HTTP/1.1 200 OK\r\n\r\nto the end"),
                "/bye" => {
                    visit.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                    return visit.until_left();
                }
                _ if head.starts_with("HEAD") => visit.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
                _ => {
                    visit.say(format!("HTTP/1.1 404 No\r\nContent-Length: {}\r\n\r\n", head.len() + body.len()));
                    visit.say([head.into_bytes(), body].concat());
                }
            }
        }
    });
    let be = caller.add(UpstreamConfig { protocol: Protocol::Http, ..lines_to([backend.at]) });
    let get = |method: &str, path: &str, body: &str| {
        let head = HttpRequest { method: method.into(), path: path.into(), headers: vec![("X-Q".into(), "1".into())] };
        caller.call(&be, Call { http: Some(head), ..Call::new(body) }).unwrap()
    };
    for round in 0..3 {
        let answer = get("GET", "/length", "");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"abc"[..]), "{round}");
        assert_eq!(answer.header("x-a"), Some(&b"b"[..]));
        let answer = get("", "/chunks", "");
        assert_eq!((answer.status, answer.body.as_slice()), (201, &b"abc"[..]));
        assert_eq!(get("HEAD", "/head", "").body, b"");
        let answer = get("PUT", "/other", "the body");
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 404);
        assert!(text.starts_with("PUT /other HTTP/1.1\r\nX-Q: 1\r\nHost: be\r\nContent-Length: 8\r\n"), "{text}");
        assert!(text.ends_with("the body"));
        assert_eq!(get("GET", "/close", "").body, b"to the end");
        assert_eq!(get("GET", "/bye", "").status, 200);
    }
    let error = caller
        .call(&be, Call { http: Some(HttpRequest { path: "/ x".into(), ..Default::default() }), ..Call::default() });
    assert!(matches!(error, Err(CallError::Request { .. })));
}

#[test]
fn redis_commands_share_a_connection_and_are_answered_in_order() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        // Every command here is ECHO with one argument, written as five lines.
        while let Some(first) = visit.line() {
            assert_eq!(first, "*2");
            let rest: Vec<_> = (0..4).map(|_| visit.line().unwrap()).collect();
            if rest[3] == "oops" {
                visit.say("-ERR oops\r\n");
            } else {
                visit.say(format!("{}\r\n{}\r\n", rest[2], rest[3]));
            }
        }
    });
    let be = caller.add(UpstreamConfig { protocol: Protocol::Redis, ..lines_to([backend.at]) });
    let pending: Vec<_> = (0..500).map(|n| caller.begin(&be, Call::redis(["ECHO", &format!("value {n}")]))).collect();
    for (n, call) in pending.into_iter().enumerate() {
        assert_eq!(call.outcome().unwrap().value, Some(RespValue::Bulk(format!("value {n}").into_bytes())));
    }
    assert!(backend.connections() <= 8, "{} connections", backend.connections());
    let answer = caller.call(&be, Call::redis(["ECHO", "oops"])).unwrap();
    assert_eq!(answer.value, Some(RespValue::Error("ERR oops".into())));
    for wrong in [Call::new("PING"), Call::redis(["SUBSCRIBE", "x"])] {
        assert!(matches!(caller.call(&be, wrong), Err(CallError::Request { .. })));
    }
}

#[test]
fn calls_share_a_connection_where_they_are_told_to_and_never_over_http() {
    let caller = Caller::new();
    let backend = Backend::echo("b");
    let config = lines_to([backend.at]);
    let be = caller.add(UpstreamConfig { pipeline: Some(100), ..config.clone() });
    let pending: Vec<_> = (0..500).map(|n| caller.begin(&be, Call::new(n.to_string()))).collect();
    for (n, call) in pending.into_iter().enumerate() {
        assert_eq!(call.outcome().unwrap().body, format!("b:{n}").into_bytes());
    }
    assert!(backend.connections() <= 10, "{} connections", backend.connections());
    let wrong = UpstreamConfig { protocol: Protocol::Http, pipeline: Some(2), ..config };
    let error = caller.upstreams.add("web", wrong).unwrap_err().to_string();
    assert!(error.contains("upstream web: pipeline = 2 is out of range: 1, because"), "{error}");
    let nameless = UpstreamConfig { protocol: Protocol::Http, ..lines_to([backend.at]) };
    let error = caller.upstreams.add("the web", nameless).unwrap_err().to_string();
    assert!(error.contains("host = \"the web\" is out of range: a host, perhaps with a port"), "{error}");
}

#[test]
fn unix_sockets_are_servers_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backend");
    let builder = Server::builder().groups(1).listen(
        Address::Unix(path.clone()),
        lf_core::codec::Line::default(),
        common::lines(common::echo_line),
    );
    let caller = Caller::with(builder, Duration::from_secs(1));
    let be = caller.add(lines_to([format!("unix:{}", path.display())]));
    assert_eq!(caller.ask(&be, "over unix").unwrap(), "over unix");
}

#[test]
fn calls_wait_for_a_connection_in_a_queue_that_has_an_end() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let backend = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            while visit.answer_with(|line| {
                gate.pass();
                Some(line.to_owned())
            }) {}
        })
    };
    // Two groups: one connection each.
    let be = caller.add(UpstreamConfig { max_connections: 2, queue: 3, ..lines_to([backend.at]) });
    let running = caller.begin(&be, Call::new("0"));
    gate.until_waiting(1);
    let waiting: Vec<_> = (1..4).map(|n| caller.begin(&be, Call::new(n.to_string()))).collect();
    let error = caller.ask(&be, "too many").unwrap_err();
    assert!(matches!(error, CallError::QueueFull { limit: 3, .. }), "{error}");
    assert!(error.to_string().contains("be") && error.to_string().contains(&backend.at.to_string()), "{error}");
    assert_eq!(caller.metric("lf_upstream_waiting{upstream=\"be\"}"), 3.0);
    gate.open();
    for (n, call) in std::iter::once(running).chain(waiting).enumerate() {
        assert_eq!(call.outcome().unwrap().body, n.to_string().into_bytes());
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_call_that_waits_in_the_queue_is_over_at_its_deadline() {
    let (caller, backend) = (Caller::new(), Backend::silent());
    let be = caller.add(UpstreamConfig { max_connections: 2, ..lines_to([backend.at]) });
    let first = caller.begin(&be, Call::new("takes the connection"));
    until("it is there", || backend.requests() == 1);
    let time = Duration::from_millis(50);
    let (outcome, took) = backends::timed(|| caller.call(&be, Call { timeout: Some(time), ..Call::new("waits") }));
    assert!(matches!(outcome, Err(CallError::Timeout { .. })), "{outcome:?}");
    assert!(took >= time, "{took:?}");
    assert!(first.has_none_yet());
    assert_eq!(backend.requests(), 1);
}

#[test]
fn idle_connections_are_kept_up_to_a_number_and_for_a_time() {
    let (caller, backend) = (Caller::new(), Backend::echo("a"));
    let idle_timeout = Duration::from_millis(150);
    let be = caller.add(UpstreamConfig { keepalive: 2, idle_timeout, ..lines_to([backend.at]) });
    let pending: Vec<_> = (0..10).map(|n| caller.begin(&be, Call::new(n.to_string()))).collect();
    pending.into_iter().for_each(|call| drop(call.outcome().unwrap()));
    // One task in each group, and the kept ones.
    until("two are kept", || caller.host.stats().outgoing() == 4);
    until("they have grown old", || caller.host.stats().outgoing() == 2);
    assert_eq!(caller.ask(&be, "again").unwrap(), "a:again");
}

#[test]
fn a_constant_limit_refuses_at_once() {
    let (caller, backend) = (Caller::new(), Backend::silent());
    let be = caller.add(UpstreamConfig { limit: Limit::Constant(2), ..lines_to([backend.at]) });
    let _two: Vec<_> = (0..2).map(|_| caller.begin(&be, Call::new("x"))).collect();
    let error = caller.ask(&be, "one more").unwrap_err();
    assert!(matches!(error, CallError::Overloaded { limit: 2, .. }), "{error}");
    assert_eq!(be.in_flight(), 2);
}

#[test]
fn the_end_of_the_server_is_the_end_of_its_calls() {
    let (caller, backend) = (Caller::new(), Backend::silent());
    let be = caller.add(UpstreamConfig { max_connections: 2, ..lines_to([backend.at]) });
    let pending: Vec<_> = (0..5).map(|n| caller.begin(&be, Call::new(n.to_string()))).collect();
    until("one is there", || backend.requests() == 1);
    let remote = caller.host.running.remote();
    assert_eq!(caller.host.running.stop().threads_left, 0);
    for call in pending {
        assert!(matches!(call.outcome(), Err(CallError::Stopping { .. })));
    }
    let (tell, hear) = channel();
    be.call(&remote, 0, Call::new("late"), move |outcome| tell.send(outcome.is_err()).unwrap());
    assert_eq!(hear.try_recv(), Ok(true), "that is known at once");
}

#[test]
fn an_upstream_can_be_replaced_and_removed_while_calls_are_under_way() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let (old, new) = (
        {
            let gate = Arc::clone(&gate);
            Backend::start(move |visit| {
                while visit.answer_with(|line| {
                    gate.pass();
                    Some(format!("old:{line}"))
                }) {}
            })
        },
        Backend::echo("new"),
    );
    let first = caller.add(lines_to([old.at]));
    let pending = caller.begin(&first, Call::new("x"));
    gate.until_waiting(1);
    let same = caller.add(lines_to([old.at]));
    assert_eq!(same.in_flight(), 1, "the same settings are the same upstream");
    let second = caller.add(lines_to([new.at]));
    assert_eq!(caller.ask(&second, "y").unwrap(), "new:y");
    assert!(matches!(caller.ask(&first, "z"), Err(CallError::Stopping { .. })));
    gate.open();
    assert_eq!(pending.outcome().unwrap().body, b"old:x");
    assert!(caller.upstreams.remove("be") && !caller.upstreams.remove("be"));
    assert!(caller.upstreams.get("be").is_none());
    until("only the tasks are left", || caller.host.stats().outgoing() == 2);
}

#[test]
fn settings_out_of_range_and_servers_that_are_none_are_named() {
    let caller = Caller::new();
    let error = |config| caller.upstreams.add("be", config).unwrap_err();
    let out = error(UpstreamConfig { timeout: Duration::ZERO, ..lines_to(["127.0.0.1:1"]) });
    assert!(matches!(out, UpstreamError::Setting { setting: "timeout", .. }), "{out}");
    let out = error(lines_to(["127.0.0.1:1 wait=3"]));
    assert!(out.to_string().contains("\"127.0.0.1:1 wait=3\"") && out.to_string().contains("weight=N"), "{out}");
    let out = error(UpstreamConfig { servers: Servers::File("/no/such/file".into()), ..UpstreamConfig::default() });
    assert!(out.to_string().contains("/no/such/file"), "{out}");
    let none = caller.add(lines_to::<String>([]));
    assert!(matches!(caller.ask(&none, "x"), Err(CallError::NoServer { .. })));
}

#[test]
fn the_pages_show_upstreams_and_their_servers() {
    let caller = Caller::with(Server::builder().groups(1).admin(any_port()), Duration::from_secs(1));
    let (backend, gone) = (Backend::echo("a"), backends::refusing());
    let config = UpstreamConfig { retries: 1, max_fails: 1, ..lines_to([backend.at, gone]) };
    let be = caller.upstreams.add("be", config).unwrap();
    (0..10).for_each(|n| drop(caller.ask(&be, &n.to_string()).unwrap()));
    let server = |name: &str, at| caller.metric(&format!("lf_upstream_{name}{{upstream=\"be\",server=\"{at}\"}}"));
    assert_eq!(server("requests_total", backend.at), 10.0);
    assert_eq!((server("server_up", backend.at), server("server_up", gone)), (1.0, 0.0));
    assert_eq!((server("outs_total", gone), caller.count("retries")), (1.0, 1.0));
    assert_eq!(server("answer_seconds_count", backend.at), 10.0);
    let errors = format!("lf_upstream_request_errors_total{{upstream=\"be\",server=\"{gone}\",error=\"connect\"}}");
    assert_eq!(caller.metric(&errors), 1.0);
    let mut client = Client::connect(caller.host.running.admin_address().unwrap());
    client.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let page = String::from_utf8(client.rest()).unwrap();
    assert!(page.contains("<h2>Upstream be</h2><p>10 calls, 10 answers, 0 errors"), "{page}");
    assert!(
        page.contains(&format!("<td>{gone}<td>out")) && page.contains(&format!("<td>{}<td>up", backend.at)),
        "{page}"
    );
}
