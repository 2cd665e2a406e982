//! Code that others wrote for LuaSocket and for Lua 5.1, as Debian ships it, run as it is.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Program, saying, until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where Debian puts Lua code for 5.1.
const TREE: &str = "/usr/share/lua/5.1";

/// Whether a module is installed; says so if not.
fn has(module: &str) -> bool {
    let there = Path::new(TREE).join(module).exists();
    if !there {
        println!("skipped: {TREE}/{module} is not installed; make setup-test");
    }
    there
}

/// Runs `body` in a handler with these libraries on the path; what it says.
fn says(body: &str, before: &str) -> String {
    let path = format!("{TREE}/?.lua;{TREE}/?/init.lua");
    let program = Program::with(&saying(before, body), &["--lua-path", &path]);
    let said = program.text("/");
    assert_eq!(program.text("/"), said, "the second time as well");
    said
}

/// A redis of the test's own, ended with it.
struct Redis {
    child: Child,
    at: SocketAddr,
}

impl Redis {
    /// `None` if it is not installed.
    fn start() -> Option<Self> {
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &at.port().to_string()]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = spawned else {
            println!("skipped: redis-server is not installed; make setup-test");
            return None;
        };
        let redis = Self { child, at };
        until("redis listens", || TcpStream::connect(at).is_ok());
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn redis_lua_talks_to_a_redis_over_our_sockets() {
    if !has("redis.lua") {
        return;
    }
    if cfg!(feature = "lua54") {
        println!("skipped: redis-lua's pipelines are written for Lua 5.1, which inserts at place 0");
        return;
    }
    let Some(redis) = Redis::start() else { return };
    let globals = format!("local redis = require 'redis'\nlocal port = {}", redis.at.port());
    let said = says(
        r##"local client = redis.connect { host = "127.0.0.1", port = port, timeout = 20 }
        client:flushall()
        say(client:ping(), client:set("key", "two\r\nlines"), client:get("key") == "two\r\nlines", client:get("none"))
        for i = 1, 100 do client:rpush("list", i) end
        local list = client:lrange("list", 0, -1)
        say(#list, list[1], list[100], client:incrby("count", 41), client:incr("count"))
        client:hmset("user", { name = "Ann", age = "7" })
        local user = client:hgetall("user")
        say(user.name, user.age)
        local replies = client:pipeline(function(p)
            for i = 1, 50 do p:set("p" .. i, ("x"):rep(i * 100)) end
            p:get("p50")
        end)
        say(#replies, #replies[51])
        local moved = client:transaction({ cas = true, watch = "count" }, function(t)
            local count = t:get("count")
            t:multi()
            t:set("count", count + 1)
        end)
        say(moved[1], client:get("count"))
        say(pcall(client.lpush, client, "key", "x"))
        say(client:eval("return KEYS[1] .. ARGV[1]", 1, "k", "a"))
        say(client:blpop("nothing", 1))
        client:quit()"##,
        &globals,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..5], ["true true true nil", "100 1 100 41 42", "Ann 7", "51 5000", "true 43"], "{said}");
    assert!(lines[5].starts_with("false") && lines[5].contains("WRONGTYPE"), "{said}");
    assert_eq!(lines[6..], ["ka", "nil"], "{said}");
}

#[test]
fn redis_lua_in_a_script_of_the_original() {
    if !has("redis.lua") {
        return;
    }
    let Some(redis) = Redis::start() else { return };
    // As these scripts do it: everything anew for each request.
    let script = format!(
        r##"local redis = require "redis"
        local client = redis.connect("127.0.0.1", {})
        local key, value = lua_ctx:getRequest():match("^(%S+) ?(.*)$")
        if value ~= "" then client:set(key, value) end
        lua_ctx:setResponse(client:get(key) or "nothing")
        client:quit()"##,
        redis.at.port()
    );
    let path = format!("{TREE}/?.lua");
    let program = Program::with(&script, &["--compat", "--listen", "127.0.0.1:0", "--lua-path", &path]);
    let mut wires: Vec<_> = (0..8).map(|_| program.connect()).collect();
    for round in 0..10 {
        for (n, wire) in wires.iter_mut().enumerate() {
            wire.say(format!("key{n} value {round}\nkey{n}\nnone\n"));
        }
        for wire in &mut wires {
            wire.expect(format!("value {round}\nvalue {round}\nnothing\n"));
        }
    }
}

#[test]
fn penlight_runs_as_it_is() {
    if !has("pl/List.lua") {
        return;
    }
    let said = says(
        r##"local List, tablex, stringx = require "pl.List", require "pl.tablex", require "pl.stringx"
        local pretty, template, class = require "pl.pretty", require "pl.template", require "pl.class"
        say(List { 3, 1, 2 }:sort():map(function(n) return n * 10 end):concat ",")
        say(tablex.deepcompare({ a = { 1, { b = 2 } } }, tablex.deepcopy { a = { 1, { b = 2 } } }))
        say(#stringx.split("a,b,,c", ","), stringx.strip("  x  ") .. "|", stringx.startswith("hello", "he"))
        say(pretty.write({ 1, "two", { three = true } }, ""))
        local back = pretty.read "{ 1, x = { 'y' } }"
        say(back[1], back.x[1])
        say((template.substitute("# for i = 1, 3 do\n$(i)-\n# end\n", { _escape = "#" }):gsub("\n", "")))
        local Animal = class()
        function Animal:_init(name) self.name = name end
        local Dog = class(Animal)
        function Dog:speak() return self.name .. " barks" end
        say(Dog("Rex"):speak(), Dog("Rex"):is_a(Animal))"##,
        "",
    );
    let expected = "10,20,30\ntrue\n4 x| true\n{1,\"two\",{three=true}}\n1 y\n1-2-3-\nRex barks true\n";
    assert_eq!(said, expected);
}

#[test]
fn inspect_and_luassert_run_as_they_are() {
    if !has("inspect.lua") || !has("luassert/init.lua") || !has("say/init.lua") {
        return;
    }
    let said = says(
        r##"say(((inspect { 1, 2, a = { b = "c" } }):gsub("%s+", " ")))
        local same = {}
        same.same = same
        say((inspect(same)))
        assert.are.same({ 1, { 2 } }, { 1, { 2 } })
        assert.has_error(function() error("no") end, "no")
        local ok, err = pcall(assert.are.equal, 1, 2)
        say(ok, tostring(err):match("Expected objects to be equal"))
        local spied = require("luassert.spy").new(function(x) lf.sleep(0.001) return x end)
        spied(7)
        assert.spy(spied).was.called_with(7)
        say(require("say")("assertion.error.positive", { "a", "b" }):match("^%a+ %a+"))"##,
        r##"local inspect, assert = require "inspect", require "luassert""##,
    );
    let expected =
        "{ 1, 2, a = { b = \"c\" } }\n<1>{\n  same = <table 1>\n}\nfalse Expected objects to be equal\nExpected a\n";
    assert_eq!(said, expected);
}

#[test]
fn messagepack_and_dkjson_run_as_they_are() {
    if !has("MessagePack.lua") || !has("dkjson.lua") {
        return;
    }
    let said = says(
        r##"local packed = mp.pack { 1, -2, 3.5, "text", true, { key = "value" } }
        local back = mp.unpack(packed)
        say(#packed, back[1], back[2], back[3], back[4], back[5], back[6].key)
        local value = dkjson.decode('{"list":[1,2.5,"\\u00e9"],"none":null}')
        say(#value.list, value.list[2], value.list[3], value.none)
        say(dkjson.encode({ 1, 2, { a = "b" } }), lf.json.encode(value))"##,
        r##"local mp, dkjson = require "MessagePack", require "dkjson""##,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0].split_once(' ').unwrap().1, "1 -2 3.5 text true value", "{said}");
    assert_eq!(lines[1..], ["3 2.5 é nil", r##"[1,2,{"a":"b"}] {"list":[1,2.5,"é"]}"##], "{said}");
}

#[test]
fn the_http_client_of_luasocket_fetches_from_our_own_server() {
    if !has("socket/http.lua") || !has("ltn12.lua") {
        return;
    }
    // It needs `mime.core`, which is C and only wanted for passwords; and `socket`, which is ours.
    let said = says(
        r##"local http, ltn12 = require "socket.http", require "ltn12"
        local body, status, fields = http.request("http://" .. req.headers.host .. "/hello")
        say(body, status, fields["content-type"])
        local pieces = {}
        local _, code = http.request {
            url = "http://" .. req.headers.host .. "/echo", method = "POST", source = ltn12.source.string("abc"),
            headers = { ["content-length"] = 3 }, sink = ltn12.sink.table(pieces),
        }
        say(code, table.concat(pieces))
        local nothing, err = http.request("http://127.0.0.1:1/")
        say(nothing, err)"##,
        r##"package.preload["mime"] = function() return { b64 = lf.base64.encode } end
        server:get("/hello", function(_, res) res:print("hello") end)
        server:post("/echo", function(req, res) res:print(req:body()) end)"##,
    );
    assert_eq!(said, "hello 200 text/plain; charset=utf-8\n200 abc\nnil connection refused\n");
}
