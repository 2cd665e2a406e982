//! `require "socket"`: LuaSocket's TCP, on sockets that wait without holding anybody up.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{once, refuses_to_start, said_by};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// What a script says that may talk to `host` and `port`.
fn says(address: SocketAddr, body: &str) -> String {
    let (host, port) = (address.ip().to_string(), address.port());
    said_by(&format!("local socket, host, port = require 'socket', {host:?}, {port}"), body)
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn patterns_prefixes_and_what_is_partial_are_as_with_luasocket() {
    let (address, server) = once(|mut stream| {
        stream.write_all(b"a li\rne\r\n12345").unwrap();
        stream.write_all(b"rest without end").unwrap();
    });
    let said = says(
        address,
        r#"local s = assert(socket.connect(host, port))
        say(s:receive())
        say(s:receive(8, "pre"))
        say(s:receive(0))
        say(s:receive("*l", "got: "))
        say(s:receive("*a"))
        say(s:receive(3, "x"))
        say(pcall(s.receive, s, "*x"))
        say(s:close(), s:close(), s:receive())"#,
    );
    let lines: Vec<_> = said.lines().collect();
    let expected = ["a line", "pre12345", "", "nil closed got: rest without end", "nil closed ", "nil closed x"];
    assert_eq!(lines[..6], expected, "{said}");
    assert!(lines[6].starts_with("false") && lines[6].contains("bad pattern '*x'"), "{said}");
    assert_eq!(lines[7], "1 1 nil closed ");
    server.join().unwrap();
}

#[test]
fn send_answers_the_index_of_the_last_byte() {
    let (address, server) = once(|mut stream| {
        let mut all = [0; 13];
        stream.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"hellolloell42");
        stream.write_all(b"seen\n").unwrap();
    });
    let said = says(
        address,
        r#"local s = socket.tcp()
        say(s:connect(host, port))
        say(s:send("hello"), s:send("hello", 3), s:send("hello", 2, -2), s:send(42))
        say(s:send("hello", 6), s:send("hello", 4, 3), s:send(""))
        say(s:receive())
        say(s:shutdown())
        say(s:send("more", 2))"#,
    );
    assert_eq!(said, "1\n5 5 4 2\n5 3 0\nseen\n1\nnil closed 1\n");
    server.join().unwrap();
}

#[test]
fn ends_have_names_and_options_are_understood() {
    let (address, server) = once(|mut stream| {
        let peer = stream.peer_addr().unwrap();
        stream.write_all(format!("{} {}\n", peer.ip(), peer.port()).as_bytes()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let said = says(
        address,
        r#"local s = socket.tcp()
        say(s)
        say(s:getpeername())
        say(s:setoption("tcp-nodelay", true), s:setoption("keepalive", true), s:settimeout(20), s:settimeout(20, "t"))
        say(pcall(s.setoption, s, "no-such"))
        s:connect(host, port)
        local ip, at, family = s:getsockname()
        say(s:receive() == ip .. " " .. ("%d"):format(at), family)
        say(s:getpeername())
        say(tostring(s):match("^tcp{client}"), socket._VERSION:match("^LuaSocket 3"), socket == require "socket.core")"#,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["tcp{master}", "nil closed", "1 1 1 1"], "{said}");
    assert!(lines[3].contains("unsupported option 'no-such'"), "{said}");
    let peer = format!("127.0.0.1 {} inet", address.port());
    assert_eq!(lines[4..], ["true inet", &peer, "tcp{client} LuaSocket 3 true"], "{said}");
    server.join().unwrap();
}

#[test]
fn timeouts_are_for_each_wait_or_for_all_of_them() {
    let (address, server) = once(|mut stream| {
        // A byte each 20 ms: never late by itself, but never done.
        let deadline = Instant::now() + common::PATIENCE;
        while stream.write_all(b".").is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let said = says(
        address,
        r#"local s = assert(socket.connect(host, port))
        s:settimeout(10)
        say(s:receive(5))
        s:settimeout(0.1, "t")
        local begun = socket.gettime()
        local got, err, part = s:receive(1000000)
        local took = socket.gettime() - begun
        say(got, err, #part > 0 and part:match("^%.+$") == part, took >= 0.09 and took < 10)
        say(pcall(s.settimeout, s, 1, "x"))
        s:close()"#,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], [".....", "nil timeout true true"], "{said}");
    assert!(lines[2].contains("'b' or 't' expected"), "{said}");
    server.join().unwrap();
}

#[test]
fn nothing_is_lost_when_a_wait_ends_as_the_bytes_come() {
    const LINES: u32 = 300;
    let (address, server) = once(|mut stream| {
        stream.set_nodelay(true).unwrap();
        for n in 0..LINES {
            stream.write_all(format!("{n},").as_bytes()).unwrap();
            // About as long as the other side waits: both come at the same time now and then.
            std::thread::sleep(Duration::from_micros(u64::from(n % 7) * 500));
        }
    });
    let said = says(
        address,
        r#"local s = assert(socket.connect(host, port))
        s:settimeout(0)
        local all, timeouts = {}, 0
        while true do
            local got, err, part = s:receive("*a")
            all[#all + 1] = got or part
            if err == "timeout" then timeouts = timeouts + 1 elseif err then break end
        end
        local n, next = 0, 0
        for number in table.concat(all):gmatch("(%d+),") do
            assert(tonumber(number) == next, "lost before " .. number)
            next = next + 1
        end
        say(next, timeouts > 0)"#,
    );
    assert_eq!(said, format!("{LINES} true\n"));
    server.join().unwrap();
}

#[test]
fn names_are_looked_up_beside_the_other_calls() {
    let said = says(
        nobody(),
        r#"local ip, resolved = socket.dns.toip("127.0.0.1")
        say(ip, resolved.ip[1], #socket.dns.getaddrinfo("127.0.0.1"), socket.dns.getaddrinfo("::1")[1].family)
        say((socket.dns.toip("localhost")) ~= nil)
        local none, err = socket.dns.toip("no such name")
        say(none, err:match("^no such name: ") ~= nil)
        say(pcall(socket.dns.tohostname, "127.0.0.1"))"#,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["127.0.0.1 127.0.0.1 1 inet6", "true", "nil true"], "{said}");
    assert!(lines[3].contains("socket.dns.tohostname: names are only looked up"), "{said}");
}

#[test]
fn what_is_not_there_says_what_to_do_instead() {
    let said = says(
        nobody(),
        r#"local s = socket.tcp()
        say(socket.connect(host, port))
        for _, f in ipairs { "select", "bind", "udp" } do say(pcall(socket[f])) end
        for _, f in ipairs { "bind", "listen", "accept", "getfd" } do say(pcall(s[f], s)) end
        say(pcall(s.shutdown, s, "send"))
        local begun = socket.gettime()
        socket.sleep(0.02)
        socket.sleep(-1)
        say(socket.gettime() - begun >= 0.019)"#,
    );
    let lines: Vec<_> = said.lines().collect();
    let parts =
        ["nil connection refused", "lf.thread.spawn", "lf.tcp", "only TCP", "lf.tcp", "lf.tcp", "lf.tcp", "getfd"];
    for (line, part) in lines.iter().zip(parts) {
        assert!(line.contains(part), "{line} should say {part}");
    }
    assert!(lines[8].contains("only closed as a whole"), "{said}");
    assert_eq!(lines[9], "true");
}

#[test]
fn the_main_chunk_may_require_it_but_cannot_wait() {
    let serve = r#"lf.http { listen = "127.0.0.1:0" }:get("/", function(req, res) res:print("x") end)"#;
    for (call, what) in [
        (r#"require "socket".connect("127.0.0.1", 1)"#, "socket.connect"),
        (r#"require "socket".tcp():connect("127.0.0.1", 1)"#, "socket:connect"),
        (r#"require "socket".sleep(1)"#, "socket.sleep"),
        (r#"require "socket".dns.toip("localhost")"#, "socket.dns"),
        (r#"lf.socket.connect("127.0.0.1", 1)"#, "lf.socket.connect"),
    ] {
        let says = refuses_to_start(&format!("{serve}\n{call}"), &[]);
        assert!(says.contains(&format!("{what} waits, and can only be called in a handler")), "{call}: {says}");
        assert!(says.contains("script.lua:2:"), "{call}: {says}");
    }
}

#[test]
fn exceptions_sources_and_sinks_are_there_for_modules_that_build_on_them() {
    let (address, server) = once(|mut stream| {
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"0123456789tail").unwrap();
    });
    let said = says(
        address,
        r#"local finalized = false
        local try = socket.newtry(function() finalized = true end)
        local f = socket.protect(function(x) lf.sleep(0.001) return try(x, "no x") end)
        say(f(7))
        say(f(nil))
        say(finalized, pcall(socket.protect(error), "else", 0))
        say(socket.skip(1, "a", "b"))
        local s = assert(socket.connect(host, port))
        local sink = socket.sink("keep-open", s)
        sink("ping")
        sink(nil)
        local ten = socket.source("by-length", s, 10)
        say(ten(), ten())
        local rest = socket.source("until-closed", s)
        local all = ""
        for piece in rest do all = all .. piece end
        say(all, s:receive())"#,
    );
    let expected = "7\nnil no x\ntrue false else\nb\n0123456789 nil\ntail nil closed \n";
    assert_eq!(said.replace("7 no x", "7"), expected);
    server.join().unwrap();
}
