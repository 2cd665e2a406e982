//! Loading a script again while it serves.

mod common;

use common::{PATIENCE, Program, comes_true};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn version(n: usize) -> String {
    format!(
        r#"lf.http {{ listen = "127.0.0.1:0" }}
            :get("/", function(req, res) res:print("version {n}") end)
            :get("/slow", function(req, res) lf.sleep(0.2) res:print("slow {n}") end)
        lf.timer.at(600, function(premature) lf.log(lf.INFO, "timer of {n}: ", tostring(premature)) end)"#
    )
}

fn loads(program: &Program, script: &str) {
    let before = program.process.errors().matches("loaded again").count();
    program.rewrite(script);
    program.process.signal("HUP");
    assert!(comes_true(PATIENCE, || program.process.errors().matches("loaded again").count() > before));
}

#[test]
fn a_script_that_is_loaded_again_serves_from_then_on_and_calls_in_progress_go_on() {
    let program = Program::run(&version(1));
    assert_eq!(program.text("/"), "version 1");
    let mut slow = program.connect();
    slow.ask("GET", "/slow", "1.1", "");
    loads(&program, &version(2));
    assert_eq!(program.text("/"), "version 2");
    assert_eq!(slow.answer().text(), "slow 1");
    slow.ask("GET", "/", "1.1", "");
    assert_eq!(slow.answer().text(), "version 2");
    program.awaits_log("timer of 1: true");
}

#[test]
fn a_request_whose_body_is_on_its_way_is_served_by_the_script_that_it_came_to() {
    // The handlers change their places, so that a number of the old script means something else in the new one.
    let script = |first: &str, second: &str| {
        let route = |name: &str| format!(":post('/{name}', function(req, res) res:print('{name}: ', req:body()) end)");
        format!("lf.http {{ listen = '127.0.0.1:0' }}{}{}", route(first), route(second))
    };
    let program = Program::run(&script("one", "two"));
    let mut wire = program.connect();
    wire.say("POST /one HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    // It is asked for its body: the request was routed.
    wire.expect("HTTP/1.1 100 Continue\r\n\r\n");
    loads(&program, &script("two", "one"));
    wire.say("body");
    assert_eq!(wire.answer().text(), "one: body");
    wire.say("POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nnew");
    assert_eq!(wire.answer().text(), "one: new");
}

#[test]
fn a_script_that_cannot_be_loaded_leaves_the_old_one_at_work() {
    let program = Program::run(&version(1));
    for (number, (script, said)) in (1..).zip([
        ("lf.http {", "script.lua:1:"),
        ("error('not now')", "not now"),
        ("lf.http { listen = '127.0.0.1:1' }:get('/', function() end)", "takes a restart"),
        ("lf.tcp { listen = '127.0.0.1:0', handler = print }", "takes a restart"),
    ]) {
        program.rewrite(script);
        program.process.signal("HUP");
        let stays = || program.process.errors().matches("the old script stays").count();
        assert!(comes_true(PATIENCE, || stays() == number));
        assert!(program.process.errors().contains(said), "{said}: {}", program.process.errors());
        assert_eq!(program.text("/"), "version 1");
    }
}

#[test]
fn a_file_that_changes_is_loaded_by_itself_if_it_is_watched() {
    let program = Program::with(&version(1), &["--watch"]);
    assert_eq!(program.text("/"), "version 1");
    program.rewrite(&version(2));
    assert!(comes_true(PATIENCE, || program.text("/") == "version 2"));
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let program = Program::with(&version(0), &["--groups", "2", "--workers", "2"]);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut wire = program.connect();
                while !done.load(Ordering::Relaxed) {
                    wire.ask("GET", "/", "1.1", "");
                    let answer = wire.answer();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(answer.text().starts_with("version "));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=100 {
            loads(&program, &version(n));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 100);
    assert_eq!(program.text("/"), "version 100");
}
