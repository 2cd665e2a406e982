//! `--compat`: scripts that run as a whole for each frame, with `lua_ctx`.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::wire::Wire;
use common::{Program, lf_lua, refuses_to_start};

const LISTEN: [&str; 3] = ["--compat", "--listen", "127.0.0.1:0"];

fn compat(script: &str) -> Program {
    Program::with(script, &LISTEN)
}

fn say(wire: &mut Wire, line: &str) -> String {
    wire.say(format!("{line}\n"));
    let answer = wire.line();
    answer.trim_end().to_owned()
}

#[test]
fn the_script_runs_for_each_frame_and_its_last_response_is_the_answer() {
    let program = compat(
        r#"local request = lua_ctx:getRequest()
        if request == "nothing" then return end
        lua_ctx:setResponse("first")
        if request == "number" then return lua_ctx:setResponse(42) end
        if request == "none" then return lua_ctx:setResponse(nil) end
        lua_ctx:setResponse("<" .. request .. ">")"#,
    );
    let mut wire = program.connect();
    assert_eq!(say(&mut wire, "hello"), "<hello>");
    assert_eq!(say(&mut wire, "number"), "42");
    wire.say("nothing\nnone\nsomething\n");
    wire.expect("<something>\n");
}

#[test]
fn the_chunk_is_compiled_once_and_modules_are_loaded_once() {
    let script = r#"-- the module counts how often it is loaded
        runs = (runs or 0) + 1
        local counted = require "counted"
        lua_ctx:setResponse(runs .. " " .. counted.loaded .. " " .. tostring(package.loaded.counted == counted))"#;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("counted.lua"), "loads = (loads or 0) + 1\nreturn { loaded = loads }")
        .unwrap();
    let path = format!("{}/?.lua", directory.path().display());
    let mut arguments = LISTEN.to_vec();
    arguments.extend(["--lua-path", path.as_str(), "--workers", "1"]);
    let program = Program::with(script, &arguments);
    let mut wire = program.connect();
    assert_eq!(say(&mut wire, "a"), "1 1 true");
    std::fs::remove_file(directory.path().join("counted.lua")).unwrap();
    program.rewrite("this is no Lua any more");
    assert_eq!(say(&mut wire, "b"), "2 1 true");
    assert_eq!(say(&mut wire, "c"), "3 1 true");
}

#[test]
fn calls_that_wait_beside_each_other_keep_their_own_context() {
    let program = compat(
        r#"local request = lua_ctx:getRequest()
        local name, seconds = request:match("(%S+) (%S+)")
        lf.sleep(tonumber(seconds))
        -- A global function and a coroutine see the context of the call that they run in.
        function who() return lua_ctx:getRequest() end
        local inside = coroutine.wrap(function() lf.sleep(0.001) return lua_ctx:getRequest() end)()
        lua_ctx:setResponse(name .. "=" .. who() .. "=" .. inside)"#,
    );
    let mut wires: Vec<_> = (0..4).map(|_| program.connect()).collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        wire.say(format!("n{n} 0.0{}\n", 5 - n));
    }
    for (n, wire) in wires.iter_mut().enumerate() {
        wire.expect(format!("n{n}=n{n} 0.0{k}=n{n} 0.0{k}\n", k = 5 - n));
    }
}

#[test]
fn the_context_is_gone_outside_of_a_call() {
    let program = compat(
        r#"local seen = "nobody"
        local ctx = lua_ctx
        local thread = lf.thread.spawn(function() return tostring(lua_ctx), ctx:getRequest() end)
        local _, inside, kept = lf.thread.wait(thread)
        lua_ctx:setResponse(inside .. " " .. kept)"#,
    );
    assert_eq!(say(&mut program.connect(), "x"), "nil x");
}

/// Keeps names of connections in a shared dictionary, so that it does not matter which VM serves them.
const CHAT: &str = r#"local word, rest = lua_ctx:getRequest():match("^(%S+) ?(.*)$")
    if word == "join" then
        lf.shared.names:set(rest, lua_ctx:getSfd())
        return lua_ctx:setResponse("joined")
    end
    if word == "sfd" then return lua_ctx:setResponse(lua_ctx:getSfd()) end
    if word == "to" then
        local sfd, text = rest:match("^(%S+) (.*)$")
        local ok, err = lua_ctx:publish(text, sfd)
        return lua_ctx:setResponse(tostring(ok) .. " " .. tostring(err))
    end
    lua_ctx:publish(rest, lf.shared.names:get(word))"#;

#[test]
fn two_connections_publish_to_each_other() {
    for workers in ["1", "3"] {
        let mut arguments = LISTEN.to_vec();
        arguments.extend(["--workers", workers]);
        let program = Program::with(CHAT, &arguments);
        let (mut ann, mut bob) = (program.connect(), program.connect());
        assert_eq!(say(&mut ann, "join ann"), "joined");
        assert_eq!(say(&mut bob, "join bob"), "joined");
        for round in 0..50 {
            ann.say(format!("bob from ann {round}\n"));
            bob.say(format!("ann from bob {round}\n"));
            ann.expect(format!("from bob {round}\n"));
            bob.expect(format!("from ann {round}\n"));
        }
        ann.say("ann to myself\n");
        ann.expect("to myself\n");
    }
}

#[test]
fn what_is_published_to_oneself_comes_before_the_response() {
    let program = compat(
        r#"lua_ctx:setResponse("response")
        assert(lua_ctx:publish("published", lua_ctx:getSfd()))
        if lua_ctx:getRequest() == "wait" then lf.sleep(0.001) end
        assert(lua_ctx:publish("again", lua_ctx:getSfd()))"#,
    );
    let mut wire = program.connect();
    for request in ["now", "wait"] {
        wire.say(format!("{request}\n"));
        wire.expect("published\nagain\nresponse\n");
    }
}

#[test]
fn a_name_of_a_connection_that_has_ended_or_never_was_is_refused() {
    let program = compat(CHAT);
    let mut stays = program.connect();
    let mut goes = program.connect();
    let sfd = say(&mut goes, "sfd");
    assert_eq!(say(&mut stays, &format!("to {sfd} hello")), "true nil");
    goes.expect("hello\n");
    drop(goes);
    common::until("the connection is gone", || say(&mut stays, &format!("to {sfd} x")) == "nil closed");
    // Its place is taken again, by somebody who must not get what was meant for the one before.
    let mut next = program.connect();
    let other = say(&mut next, "sfd");
    assert_ne!(other, sfd);
    assert_eq!(say(&mut stays, &format!("to {sfd} x")), "nil closed");
    for forged in ["1", "0-0", "100000000-0000000000000000"] {
        assert_eq!(say(&mut stays, &format!("to {forged} x")), "nil closed");
    }
    assert_eq!(say(&mut next, "sfd"), other, "nothing else has arrived");
}

#[test]
fn frames_of_each_kind_are_requests() {
    let script = r#"lua_ctx:setResponse("<" .. lua_ctx:getRequest() .. ">")"#;
    let with = |kind: &'static str| {
        let mut arguments = LISTEN.to_vec();
        arguments.extend(["--frame", kind]);
        Program::with(script, &arguments)
    };
    let raw = with("raw");
    let mut wire = raw.connect();
    wire.say("a\nb");
    wire.expect("<a\nb>");
    let len32 = with("len32");
    let mut wire = len32.connect();
    wire.say(b"\0\0\0\x02hi");
    wire.expect(b"\0\0\0\x04<hi>");
}

#[test]
fn an_error_of_the_script_ends_its_connection_and_is_logged() {
    let program = compat(
        r#"local request = lua_ctx:getRequest()
        if request == "lines" then lua_ctx:setResponse("two\nlines") end
        if request == "table" then lua_ctx:publish({}, lua_ctx:getSfd()) end
        if request == "number" then lua_ctx:publish("x", 7) end
        if request == "serve" then lf.tcp { listen = ":0", handler = print } end
        lua_ctx:setResponse("fine")"#,
    );
    let mut other = program.connect();
    for (request, says) in [
        ("lines", "script.lua:2: bad argument #1 to 'setResponse' (a line cannot hold a line feed; see --frame)"),
        ("table", "script.lua:3: bad argument #1 to 'publish' (string expected, got table)"),
        ("number", "script.lua:4: bad argument #2 to 'publish' (what getSfd answered expected, got number)"),
        ("serve", "servers are defined in the main chunk"),
    ] {
        let mut wire = program.connect();
        wire.say(format!("{request}\n"));
        assert_eq!(wire.rest(), b"", "{request}");
        program.awaits_log(says);
    }
    assert_eq!(say(&mut other, "x"), "fine");
}

#[test]
fn what_is_wrong_with_a_script_is_said_at_the_start() {
    let says = refuses_to_start("lua_ctx:setResponse(", &LISTEN);
    assert!(says.contains("script.lua:1"), "{says}");
    let says = refuses_to_start("lua_ctx:setResponse('x')", &[]);
    assert!(says.contains("lua_ctx"), "{says}");
    let mut command = lf_lua();
    let output = command.args(["script.lua", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--compat"));
}

#[test]
fn a_script_that_is_not_trusted_has_its_context_too() {
    let mut arguments = LISTEN.to_vec();
    arguments.push("--untrusted");
    let program = Program::with(r#"lua_ctx:setResponse(lua_ctx:getRequest() .. tostring(io))"#, &arguments);
    assert_eq!(say(&mut program.connect(), "x"), "xnil");
}
