//! examples/front.lua, with back ends that answer, die, are slow, hang, lie or break off.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::http::{self, Answer};
use common::process::Process;
use common::{PATIENCE, Program, lf_lua, until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const GOOD: &str = r#"lf.nshead { listen = "127.0.0.1:0", handler = function(req) return req.body end }"#;
const SLOW: &str = r#"lf.nshead { listen = "127.0.0.1:0", handler = function(req) lf.sleep(0.3) return req.body end }"#;
const HANGING: &str = r#"lf.nshead { listen = "127.0.0.1:0", handler = function() lf.sleep(60) end }"#;
const LYING: &str = r#"lf.nshead { listen = "127.0.0.1:0", handler = function(req)
    return '"of another request"', { log_id = req.log_id + 1 }
end }"#;
const GARBAGE: &str = r#"lf.tcp { listen = "127.0.0.1:0", frame = "raw", handler = function(c)
    c:send(("garbage "):rep(100))
end }"#;
/// A header that is right and says more than follows it.
const HALF: &str = r#"lf.tcp { listen = "127.0.0.1:0", frame = "raw", handler = function(c, request)
    c:send(request:sub(1, 32) .. "\100\0\0\0half")
    c:close()
end }"#;

/// The front end, and where it can be asked.
struct Front {
    process: Process,
    at: SocketAddr,
    admin: SocketAddr,
}

impl Front {
    fn before(backends: &[&Program]) -> Self {
        let backends: Vec<_> = backends.iter().map(|program| program.at().to_string()).collect();
        let mut command = lf_lua();
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/front.lua"));
        command.args(["--groups", "1", "--admin", "127.0.0.1:0"]);
        command.env("FRONT_LISTEN", "127.0.0.1:0").env("FRONT_BACKENDS", backends.join(","));
        let mut process = Process::spawn(command);
        until("the front end listens", || {
            assert!(!process.has_ended(), "it ended: {}", process.errors());
            process.lines().iter().any(|line| line.starts_with("admin "))
        });
        let lines = process.lines();
        let said = |word: &str| lines.iter().find_map(|line| line.strip_prefix(word)).unwrap().parse().unwrap();
        Self { at: said("listening "), admin: said("admin "), process }
    }

    fn ask(&self, log_id: u32) -> Answer {
        let fields = [("X-Log-Id", log_id.to_string())];
        let body = format!(r#"{{"n":{log_id}}}"#);
        http::request(self.at, "POST", "/rpc", &[(fields[0].0, &fields[0].1)], body.as_bytes())
    }

    /// Asks, and wants its own question back.
    #[track_caller]
    fn echoes(&self, log_id: u32) -> Answer {
        let answer = self.ask(log_id);
        assert_eq!(answer.status, 200, "{} {}", answer.text(), self.process.errors());
        assert_eq!(answer.json()["answer"]["n"], log_id, "{}", answer.text());
        assert_eq!(answer.field("X-Log-Id"), Some(log_id.to_string().as_str()));
        answer
    }

    /// Asks, and wants this status with an error that says this, in JSON and in the log.
    #[track_caller]
    fn fails(&self, log_id: u32, status: u16, says: &str) {
        let answer = self.ask(log_id);
        assert_eq!(answer.status, status, "{} {}", answer.text(), self.process.errors());
        assert_eq!(answer.field("Content-Type"), Some("application/json"));
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{error}");
        assert_eq!(answer.json()["log_id"], log_id);
        until("the log says it", || self.process.errors().contains(&format!("rpc {log_id}: {error}")));
    }

    /// A metric of the upstream, all servers together.
    fn metric(&self, name: &str) -> f64 {
        let page = http::request(self.admin, "GET", "/metrics", &[], b"").text();
        let values = page
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{name}{{")))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        let values: Vec<_> = values.collect();
        assert!(!values.is_empty(), "no {name} in {page}");
        values.iter().sum()
    }

    /// Every call came to its end.
    #[track_caller]
    fn leaves_nothing(&self) {
        until("no call is in flight", || self.metric("lf_upstream_in_flight") == 0.0);
        until("no request is in flight", || self.metric("lf_upstream_server_in_flight") == 0.0);
        assert_eq!(self.metric("lf_upstream_waiting"), 0.0);
        let (answers, errors) = (self.metric("lf_upstream_answers_total"), self.metric("lf_upstream_errors_total"));
        assert_eq!(self.metric("lf_upstream_calls_total"), answers + errors);
    }
}

#[test]
fn questions_are_answered_and_what_is_no_json_is_refused() {
    let (a, b) = (Program::run(GOOD), Program::run(GOOD));
    let front = Front::before(&[&a, &b]);
    let mut asked = std::collections::HashSet::new();
    for log_id in 1..=50 {
        asked.insert(front.echoes(log_id).field("X-Server").unwrap().to_owned());
    }
    assert_eq!(asked, [a.at().to_string(), b.at().to_string()].into());
    let refused = http::request(front.at, "POST", "/rpc", &[], b"{");
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"].is_string());
    assert_eq!(http::request(front.at, "GET", "/healthz", &[], b"").text(), "ok\n");
    front.leaves_nothing();
}

#[test]
fn a_back_end_that_dies_is_not_felt_and_with_both_gone_every_answer_is_a_502() {
    let (a, b) = (Program::run(GOOD), Program::run(GOOD));
    let front = Front::before(&[&a, &b]);
    (1..=20).for_each(|log_id| drop(front.echoes(log_id)));
    drop(a);
    (21..=40).for_each(|log_id| drop(front.echoes(log_id)));
    drop(b);
    (41..=50).for_each(|log_id| front.fails(log_id, 502, "be"));
    assert!(front.metric("lf_upstream_outs_total") >= 1.0);
    front.leaves_nothing();
}

#[test]
fn a_slow_back_end_is_overtaken_by_the_other_one() {
    let (slow, good) = (Program::run(SLOW), Program::run(GOOD));
    let front = Front::before(&[&slow, &good]);
    let mut log_id = 0;
    until("a backup wins", || {
        log_id += 1;
        front.echoes(log_id);
        front.metric("lf_upstream_backups_won_total") >= 1.0
    });
    front.leaves_nothing();
}

#[test]
fn back_ends_that_hang_are_a_504_within_the_time_of_the_call() {
    let (a, b) = (Program::run(HANGING), Program::run(HANGING));
    let front = Front::before(&[&a, &b]);
    let began = Instant::now();
    front.fails(1, 504, "no answer within");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
    front.leaves_nothing();
}

#[test]
fn garbage_and_half_an_answer_are_a_502() {
    for (script, says) in [(GARBAGE, "malformed"), (HALF, "ended before the answer")] {
        let (a, b) = (Program::run(script), Program::run(script));
        let front = Front::before(&[&a, &b]);
        front.fails(7, 502, says);
        front.leaves_nothing();
    }
}

#[test]
fn an_answer_to_another_request_never_reaches_this_one() {
    let (a, b) = (Program::run(LYING), Program::run(LYING));
    let front = Front::before(&[&a, &b]);
    for log_id in 1..=5 {
        front.fails(log_id, 502, "malformed");
    }
    front.leaves_nothing();
}
