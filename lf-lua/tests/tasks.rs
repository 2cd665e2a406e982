//! Calls that wait: sleeping, threads, semaphores, timers, coroutines of the script's own.

mod common;

use common::{Program, said_by};
use std::time::{Duration, Instant};

/// Runs `body` for a request; what it printed.
fn result_of(body: &str) -> String {
    said_by("", body)
}

#[test]
fn sleeping_is_never_early() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }:get("/", function(req, res) lf.sleep(0.05) res:print("slept") end)"#,
    );
    let began = Instant::now();
    assert_eq!(program.text("/"), "slept");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_call_that_waits_holds_nobody_up() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }
            :get("/wait", function(req, res) lf.sleep(60) end)
            :get("/", function(req, res) res:print("ok") end)"#,
    );
    let mut waiting: Vec<_> = std::iter::repeat_with(|| program.connect()).take(50).collect();
    for wire in &mut waiting {
        wire.ask("GET", "/wait", "1.1", "");
    }
    assert_eq!(program.text("/"), "ok");
}

#[test]
fn ten_thousand_calls_wait_at_once() {
    let said = result_of(
        r#"local n, most, now = 0, 0, 0
        local threads = {}
        for i = 1, 10000 do
            threads[i] = lf.thread.spawn(function()
                now = now + 1
                most = math.max(most, now)
                lf.sleep(0.2)
                now = now - 1
                n = n + 1
            end)
        end
        for i = 1, #threads do assert(lf.thread.wait(threads[i])) end
        say(n, most)"#,
    );
    assert_eq!(said, "10000 10000\n");
}

#[test]
fn threads_run_beside_each_other_and_hand_their_results_over() {
    let said = result_of(
        r#"local order = {}
        local function work(name, seconds)
            return function() lf.sleep(seconds) order[#order + 1] = name return name, 7 end
        end
        local a, b = lf.thread.spawn(work("slow", 0.05)), lf.thread.spawn(work("fast", 0.01))
        say(lf.thread.wait(a, b))
        say(lf.thread.wait(a))
        say(table.concat(order, ","))
        local c = lf.thread.spawn(function(x, y) return x + y end, 1, 2)
        say(lf.thread.wait(c))
        local d = lf.thread.spawn(function() error("broken", 0) end)
        say(lf.thread.wait(d))
        local e = lf.thread.spawn(function() lf.sleep(60) end)
        say(lf.thread.kill(e))
        say(lf.thread.wait(e))
        say(lf.thread.kill(e))"#,
    );
    let expected = "true fast 7\ntrue slow 7\nfast,slow\ntrue 3\nfalse broken\ntrue\nfalse killed\nnil already over\n";
    assert_eq!(said, expected);
}

#[test]
fn all_waits_for_all_and_keeps_their_order() {
    let said = result_of(
        r#"say(lf.all(
            function() lf.sleep(0.03) return "a" end,
            function() return "b" end,
            function() lf.sleep(0.01) return nil, "no c" end))
        local a, b, errors = lf.all(function() error("x", 0) end, function() return 2 end)
        say(a, b, errors[1])"#,
    );
    assert!(said.starts_with("a b nil table: "), "{said}");
    assert!(said.ends_with("\nnil 2 x\n"), "{said}");
}

#[test]
fn a_semaphore_lets_so_many_in_at_a_time() {
    let said = result_of(
        r#"local gate, inside, most = lf.semaphore(3), 0, 0
        local threads = {}
        for i = 1, 20 do
            threads[i] = lf.thread.spawn(function()
                assert(gate:wait(10))
                inside = inside + 1
                most = math.max(most, inside)
                lf.sleep(0.002)
                inside = inside - 1
                gate:post()
            end)
        end
        for i = 1, 20 do assert(lf.thread.wait(threads[i])) end
        say(most, gate:count())
        local empty = lf.semaphore(0)
        say(empty:wait(0.01))
        say(empty:wait(0))
        empty:post(1)
        say(empty:wait(0))"#,
    );
    assert_eq!(said, "3 3\nnil timeout\nnil timeout\ntrue\n");
}

#[test]
fn a_wait_inside_a_coroutine_of_the_script_is_a_wait_of_its_call() {
    let said = result_of(
        r#"local each = coroutine.wrap(function()
            for i = 1, 3 do
                lf.sleep(0.005)
                coroutine.yield(i)
            end
        end)
        say(each(), each(), each())
        local inner = coroutine.create(function(a)
            local b = coroutine.yield(a + 1)
            lf.sleep(0.001)
            local c = coroutine.wrap(function() lf.sleep(0.001) coroutine.yield(b * 2) end)()
            return c
        end)
        say(coroutine.resume(inner, 1))
        say(coroutine.resume(inner, 21))
        say(coroutine.status(inner))
        say(coroutine.resume(coroutine.create(function() lf.sleep(0.001) error("deep", 0) end)))"#,
    );
    assert_eq!(said, "1 2 3\ntrue 2\ntrue 42\ndead\nfalse deep\n");
}

#[test]
fn an_error_after_a_wait_is_caught_by_the_pcall_around_it() {
    let said = result_of(
        r#"say(pcall(function() lf.sleep(0.002) error("caught", 0) end))
        say(pcall(function() lf.sleep(0.002) return "fine" end))
        say(xpcall(function() lf.sleep(0.002) error("seen", 0) end, function(e) return e .. "!" end))
        say(pcall(lf.sleep, "x"))"#,
    );
    assert!(said.starts_with("false caught\ntrue fine\nfalse seen!\nfalse "), "{said}");
    assert!(said.contains("a number of seconds expected, got x"), "{said}");
}

#[test]
fn a_yield_that_nobody_resumes_is_an_error_and_not_a_hang() {
    let program = Program::run(r#"lf.http { listen = "127.0.0.1:0" }:get("/", function() coroutine.yield(1) end)"#);
    assert_eq!(program.get("/").status, 500);
    program.awaits_log("coroutine.yield outside of a coroutine");
}

#[test]
fn timers_fire_in_their_time_and_can_be_cancelled() {
    let program = Program::with(
        r#"if lf.vm().id == 0 then
            lf.timer.at(0.01, function(premature, word) lf.log(lf.INFO, "once ", word, " ", tostring(premature)) end, "hello")
            local n = 0
            local every
            every = lf.timer.every(0.005, function()
                n = n + 1
                lf.log(lf.INFO, "tick ", n)
                if n == 3 then every:cancel() end
            end)
            lf.timer.at(0.001, function() error("a timer broke") end)
            local never = lf.timer.at(0.02, function() lf.log(lf.INFO, "never") end)
            never:cancel()
        end
        lf.http { listen = "127.0.0.1:0" }:get("/", function(req, res) lf.sleep(0.1) res:print("ok") end)"#,
        &["--workers", "1"],
    );
    program.awaits_log("once hello false");
    program.awaits_log("tick 3");
    program.awaits_log("a timer broke");
    assert_eq!(program.text("/"), "ok");
    let log = program.process.errors();
    assert!(!log.contains("tick 4") && !log.contains("never"), "{log}");
}

#[test]
fn a_script_that_blocks_blocks_its_worker_and_not_the_group() {
    let program = Program::run(
        r#"local ok, ffi = pcall(require, "ffi")
        local function block()
            if not ok then return os.execute("sleep 0.5") end
            ffi.cdef "int usleep(unsigned int);"
            for _ = 1, 50 do ffi.C.usleep(10000) end
        end
        lf.http { listen = "127.0.0.1:0" }
            :get("/block", function(req, res) block() res:print("blocked") end)
            :get("/said", function(req, res) lf.blocking(block) res:print("blocked") end)
            :get("/", function(req, res) res:print("ok") end)"#,
    );
    for path in ["/block", "/said"] {
        let mut blocked: Vec<_> = std::iter::repeat_with(|| program.connect()).take(3).collect();
        for wire in &mut blocked {
            wire.ask("GET", path, "1.1", "");
        }
        let began = Instant::now();
        assert_eq!(program.text("/"), "ok");
        assert!(began.elapsed() < Duration::from_millis(400), "it waited for those that block: {:?}", began.elapsed());
        for wire in &mut blocked {
            assert_eq!(wire.answer().text(), "blocked");
        }
    }
}

#[test]
fn many_clients_of_calls_that_wait_get_their_own_answers() {
    let program = Program::with(
        r#"lf.http { listen = "127.0.0.1:0" }:get("/:n", function(req, res)
            lf.sleep(tonumber(req.params.n) % 7 / 1000)
            res:print(req.params.n)
        end)"#,
        &["--groups", "2"],
    );
    std::thread::scope(|scope| {
        for client in 0..8 {
            let mut wire = program.connect();
            scope.spawn(move || {
                for n in 0..200 {
                    let n = client * 1000 + n;
                    wire.ask("GET", &format!("/{n}"), "1.1", "");
                    assert_eq!(wire.answer().text(), n.to_string());
                }
            });
        }
    });
}
