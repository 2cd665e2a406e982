//! What scripts may use, and what becomes of those that use more.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Program, refuses_to_start};
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"
local function spin() local x = 0 while true do x = x + 1 end end
lf.http { listen = "127.0.0.1:0" }
    :get("/spin", spin)
    :get("/caught", function(req, res) while true do pcall(spin) end end)
    :get("/coroutine", function() coroutine.wrap(function() coroutine.wrap(spin)() end)() end)
    :get("/empty", function() while true do end end)
    :get("/string", function() local s = "" while true do s = ("x"):rep(1000):upper() end end)
    :get("/later", function() lf.sleep(0.001) spin() end)
    :get("/thread", function() lf.thread.wait(lf.thread.spawn(spin)) end)
    :get("/waits", function(req, res) lf.sleep(0.5) res:print("waited") end)
    :get("/", function(req, res) res:print("ok") end)
"#;

#[test]
fn a_call_that_runs_for_too_long_is_ended_and_the_next_one_is_served() {
    let program = Program::with(SCRIPT, &["--budget", "200ms"]);
    for path in ["/spin", "/caught", "/coroutine", "/empty", "/string", "/later"] {
        let began = Instant::now();
        let answer = program.get(path);
        assert_eq!(answer.status, 500, "{path}");
        assert!(began.elapsed() >= Duration::from_millis(150), "{path}: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: {:?}", began.elapsed());
        assert_eq!(program.text("/"), "ok", "after {path}");
    }
    program.awaits_log("has used up its time");
    assert_eq!(program.get("/thread").status, 200);
    assert_eq!(program.text("/"), "ok");
}

#[test]
fn waiting_is_not_running() {
    let program = Program::with(SCRIPT, &["--budget", "100ms"]);
    assert_eq!(program.text("/waits"), "waited");
}

#[test]
fn others_are_served_while_a_call_spins() {
    let program = Program::with(SCRIPT, &["--budget", "600ms"]);
    let mut spinning = program.connect();
    spinning.ask("GET", "/spin", "1.1", "");
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(program.text("/"), "ok");
        worst = worst.max(began.elapsed());
    }
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    assert_eq!(spinning.answer().status, 500);
}

#[test]
fn a_main_chunk_that_does_not_end_is_ended() {
    let said = refuses_to_start("while true do end", &["--budget", "100ms"]);
    assert!(said.contains("has used up its time"), "{said}");
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let program = Program::with(
        r#"lf.http { listen = "127.0.0.1:0" }:get("/:n", function(req, res) res:print(("x"):rep(tonumber(req.params.n))) end)"#,
        &["--output-bytes", "1000"],
    );
    assert_eq!(program.text("/1000").len(), 1000);
    assert_eq!(program.get("/1001").status, 500);
    program.awaits_log("the answer is too large");
}

#[test]
fn a_vm_that_grows_too_large_is_replaced() {
    let program = Program::with(
        r#"local kept = {}
        lf.http { listen = "127.0.0.1:0" }
            :get("/keep", function(req, res) kept[#kept + 1] = ("x"):rep(100000) .. #kept res:print(#kept) end)"#,
        &["--vm-bytes", "10000000", "--workers", "1"],
    );
    let mut wire = program.connect();
    let mut most = 0;
    for _ in 0..1000 {
        wire.ask("GET", "/keep", "1.1", "");
        most = most.max(wire.answer().text().parse::<usize>().unwrap());
    }
    assert!(most < 600, "{most} pieces of 100 kB were kept");
    program.awaits_log("it is replaced");
}
