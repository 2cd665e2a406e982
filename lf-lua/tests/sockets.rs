//! Sockets that scripts open.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{once, said_by};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

fn result_of(address: SocketAddr, body: &str) -> String {
    said_by(&format!("local host, port = {:?}, {}", address.ip().to_string(), address.port()), body)
}

#[test]
fn lines_counts_and_the_rest_are_read_as_with_luasocket() {
    let (address, server) = once(|mut stream| {
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"hello");
        stream.write_all(b"first line\r\nsecond\n12345").unwrap();
        stream.write_all(b"67890 and all that is left").unwrap();
    });
    let said = result_of(
        address,
        r#"local s = lf.socket.tcp()
        s:settimeout(10)
        say(s:connect(host, port))
        say(s:send("hello"))
        say(s:receive())
        say(s:receive("*l"))
        say(s:receive(10))
        say(s:receive(4))
        say(s:receive("*a"))
        say(s:receive())
        say(s:close())"#,
    );
    let expected = "1\n5\nfirst line\nsecond\n1234567890\n and\n all that is left\nnil closed \n1\n";
    assert_eq!(said, expected);
    server.join().unwrap();
}

#[test]
fn what_cannot_be_reached_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let said = result_of(
        free,
        r#"say(lf.socket.tcp():connect(host, port))
        say(lf.socket.tcp():connect("no such name", 1))
        say(lf.socket.connect(host, port))
        say(lf.socket.tcp():receive())
        say(lf.socket.tcp():send("x"))"#,
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "nil connection refused");
    assert!(lines[1].starts_with("nil ") && lines[1].contains("no such name"), "{said}");
    assert_eq!(&lines[2..], ["nil connection refused", "nil closed ", "nil closed 0"]);
}

#[test]
fn a_name_is_looked_up() {
    let (address, server) = once(|mut stream| stream.write_all(b"by name\n").unwrap());
    let said = result_of(
        address,
        r#"local s = assert(lf.socket.connect("localhost", port))
        say(s:receive())
        say(s:getpeername())"#,
    );
    assert_eq!(said, format!("by name\n127.0.0.1 {} inet\n", address.port()));
    server.join().unwrap();
}

#[test]
fn a_read_times_out_and_can_go_on_after_that() {
    let (send, may_send) = std::sync::mpsc::channel();
    let (address, server) = once(move |mut stream| {
        stream.write_all(b"half").unwrap();
        let mut asked = [0; 3];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b" and half\n").unwrap();
        may_send.recv().unwrap();
    });
    let said = result_of(
        address,
        r#"local s = assert(lf.socket.connect(host, port))
        s:settimeout(0.05)
        local line, err, part = s:receive()
        say(line, err, part)
        s:settimeout(10)
        s:send("go!")
        say(s:receive("*l", part))"#,
    );
    assert_eq!(said, "nil timeout half\nhalf and half\n");
    send.send(()).unwrap();
    server.join().unwrap();
}

#[test]
fn much_is_sent_and_received_without_holding_others_up() {
    let (address, server) = once(|mut stream| {
        let mut all = Vec::new();
        let mut buffer = vec![0; 65536];
        while all.len() < 20_000_000 {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0);
            all.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(&all).unwrap();
    });
    let said = result_of(
        address,
        r#"local s = assert(lf.socket.connect(host, port))
        local piece = ("0123456789"):rep(10000)
        for i = 1, 200 do assert(s:send(piece)) end
        local n = 0
        while n < 20000000 do
            local got = assert(s:receiveany(1000000))
            n = n + #got
        end
        say(n)"#,
    );
    assert_eq!(said, "20000000\n");
    server.join().unwrap();
}
