//! What operators see of a script's handlers.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Program, http, until};
use std::net::SocketAddr;

const SCRIPT: &str = r#"lf.http { listen = "127.0.0.1:0" }
    :get("/u/:id", function(req, res) res:print(req.params.id) end)
    :get("/broken", function() error("no") end)
    :get("/wait", function(req, res) lf.sleep(tonumber(req.args.s)) res:print("ok") end)
    lf.tcp { listen = "127.0.0.1:0", handler = function(c, line) c:send(line) end }"#;

fn admin_of(program: &Program) -> SocketAddr {
    until("the admin pages are there", || program.process.lines().iter().any(|line| line.starts_with("admin ")));
    program.process.lines().iter().find_map(|line| line.strip_prefix("admin ")?.parse().ok()).unwrap()
}

fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    let page = http::request(admin, "GET", "/metrics", &[], b"").text();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn calls_errors_and_times_are_counted_by_route() {
    let program = Program::with(SCRIPT, &["--admin", "127.0.0.1:0"]);
    let admin = admin_of(&program);
    for id in 0..5 {
        assert_eq!(program.text(&format!("/u/{id}")), id.to_string());
    }
    assert_eq!(program.get("/broken").status, 500);
    assert_eq!(program.text("/wait?s=0.02"), "ok");
    let mut line = common::wire::Wire::connect(program.addresses[1]);
    line.say("x\n");
    line.expect("x\n");
    let count = |handler: &str| metric(admin, &format!("lf_handler_seconds_count{{handler=\"{handler}\"}}"));
    until("all are counted", || count("GET /wait") == Some(1.0));
    assert_eq!(count("GET /u/:id"), Some(5.0));
    assert_eq!(count("GET /broken"), Some(1.0));
    assert_eq!(count("tcp line 127.0.0.1:0"), Some(1.0));
    assert_eq!(metric(admin, "lf_handler_errors_total{handler=\"GET /broken\"}"), Some(1.0));
    assert_eq!(metric(admin, "lf_handler_errors_total{handler=\"GET /u/:id\"}"), Some(0.0));
    let sum = metric(admin, "lf_handler_seconds_sum{handler=\"GET /wait\"}").unwrap();
    assert!((0.02..20.0).contains(&sum), "{sum}");
    let status = http::request(admin, "GET", "/status", &[], b"").text();
    assert!(status.contains("<td>GET /u/:id<td class=n>5<td class=n>0<td class=n>0"), "{status}");
}

#[test]
fn calls_in_progress_are_shown_and_forgotten_with_their_connection() {
    let program = Program::with(SCRIPT, &["--admin", "127.0.0.1:0"]);
    let admin = admin_of(&program);
    let in_flight = || metric(admin, "lf_handler_in_flight{handler=\"GET /wait\"}");
    let mut wire = program.connect();
    wire.ask("GET", "/wait?s=60", "1.1", "");
    until("it is in flight", || in_flight() == Some(1.0));
    wire.reset();
    until("it is forgotten", || in_flight() == Some(0.0));
}

#[test]
fn slow_calls_are_logged_with_what_they_were() {
    let program = Program::with(SCRIPT, &["--slow", "30ms"]);
    assert_eq!(program.text("/u/1"), "1");
    assert_eq!(program.text("/wait?s=0.05"), "ok");
    program.awaits_log("slow: ");
    let log = program.process.errors();
    assert_eq!(log.matches("slow: ").count(), 1, "{log}");
}
