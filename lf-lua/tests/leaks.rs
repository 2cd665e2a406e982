//! Back ends that fail in every way, again and again: nothing of a call stays behind.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::http;
use common::nshead::Frame;
use common::{Program, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What a call may take.
const TIME: Duration = Duration::from_millis(60);
const CLIENTS: usize = 6;
const CALLS: usize = 5;
/// Before what is left is looked at for the first time: pools and heaps have their size then.
const WARM_UP: usize = 2;
const ROUNDS: usize = 6;
/// What a heap may differ by for reasons of its own, in KiB.
const HEAP_KIB: f64 = 64.0;

/// A back end that does this with each connection.
fn back_end(serve: fn(&mut TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || serve(&mut stream));
        }
    });
    at
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for some of a request, or for the end of the connection.
fn hears(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0)
}

fn hangs(stream: &mut TcpStream) {
    while hears(stream) {}
}

fn closes(stream: &mut TcpStream) {
    hears(stream);
}

fn breaks_off(stream: &mut TcpStream) {
    if hears(stream) {
        let _ = stream.write_all(&Frame::new(1, &[b'x'; 100]).bytes()[..60]);
    }
}

fn talks_nonsense(stream: &mut TcpStream) {
    if hears(stream) {
        let _ = stream.write_all(&[b'?'; 200]);
        hangs(stream);
    }
}

fn lies(stream: &mut TcpStream) {
    while hears(stream) {
        let _ = stream.write_all(&Frame::new(u32::MAX, b"of another request").bytes());
    }
}

/// Right, and too late.
fn dawdles(stream: &mut TcpStream) {
    while hears(stream) {
        thread::park_timeout(2 * TIME);
        let _ = stream.write_all(&Frame::new(7, b"late").bytes());
    }
}

fn metric(admin: SocketAddr, name: &str) -> f64 {
    let page = http::request(admin, "GET", "/metrics", &[], b"").text();
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values: Vec<f64> = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {name} in {page}");
    values.iter().sum()
}

fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.process.id())).unwrap().count()
}

/// KiB that the VMs hold without garbage: of as many as calls at once have brought into play, the largest.
fn heap_kib(program: &Program) -> f64 {
    (0..10).map(|_| program.text("/heap").parse::<f64>().unwrap()).fold(0.0, f64::max)
}

#[test]
fn back_ends_that_fail_leave_nothing_behind() {
    let failing = [
        ("nobody", nobody(), &["connect"][..]),
        ("hangs", back_end(hangs), &["timeout"]),
        ("closes", back_end(closes), &["closed"]),
        ("breaks_off", back_end(breaks_off), &["closed"]),
        ("nonsense", back_end(talks_nonsense), &["malformed"]),
        ("lies", back_end(lies), &["malformed"]),
        ("dawdles", back_end(dawdles), &["timeout"]),
    ];
    let define = |(name, at, _): &(&str, SocketAddr, &[&str])| {
        format!(
            "for name, calls in pairs {{ {name} = 1, {name}_shared = 4 }} do lf.upstream(name, {{ servers = {{ \"{at}\" }}, timeout = {}, \
             pipeline = calls, retries = 0, max_fails = 0, idle_timeout = 0.2 }}) end\n",
            TIME.as_secs_f64()
        )
    };
    let definitions: String = failing.iter().map(define).collect();
    let script = format!(
        r#"{definitions}
        lf.http {{ listen = "127.0.0.1:0" }}
            :get("/call/:name", function(req, res)
                local body, err, kind = lf.upstream(req.params.name):call("x", {{ log_id = 7 }})
                res:print(body or kind)
            end)
            :get("/heap", function(req, res)
                collectgarbage() collectgarbage()
                res:print(collectgarbage("count"))
            end)"#
    );
    let program = Program::with(&script, &["--workers", "1", "--admin", "127.0.0.1:0"]);
    let mut admin = None;
    until("the pages are there", || {
        admin = program.process.lines().iter().find_map(|line| Some(line.strip_prefix("admin ")?.parse().unwrap()));
        admin.is_some()
    });
    let admin: SocketAddr = admin.unwrap();
    let mut first = None;
    for round in 0..WARM_UP + ROUNDS {
        for (name, _, kinds) in &failing {
            thread::scope(|scope| {
                for client in 0..CLIENTS {
                    let program = &program;
                    scope.spawn(move || {
                        for _ in 0..CALLS {
                            let shared = client % 2 == 1;
                            let kind = program.text(&format!("/call/{name}{}", if shared { "_shared" } else { "" }));
                            // What one call brings upon a connection befalls those that share it.
                            let befalls = shared && ["timeout", "closed", "malformed"].contains(&kind.as_str());
                            assert!(kinds.contains(&kind.as_str()) || befalls, "{name}, shared {shared}: {kind}");
                        }
                    });
                }
            });
        }
        until("no call goes on", || {
            metric(admin, "lf_upstream_in_flight{") == 0.0 && metric(admin, "lf_handler_in_flight{") == 0.0
        });
        if round + 1 == WARM_UP {
            // Connections to a back end that only dawdles are kept until they have been idle for long.
            until("idle connections are closed", || metric(admin, "lf_upstream_connections{") == 0.0);
            first = Some((descriptors(&program), heap_kib(&program)));
        }
    }
    let (first_descriptors, first_kib) = first.unwrap();
    until("every descriptor is closed", || descriptors(&program) <= first_descriptors);
    let kib = heap_kib(&program);
    assert!(kib < first_kib + HEAP_KIB, "the heap has grown from {first_kib} to {kib} KiB");
}
