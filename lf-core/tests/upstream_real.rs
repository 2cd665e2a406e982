//! Servers that others wrote: redis and nginx, where they are installed.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod backends;
mod common;

use backends::{Caller, lines_to, refusing};
use common::until;
use lf_core::upstream::{Call, HttpRequest, Protocol, RespValue, UpstreamConfig};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A program that is ended with the test.
struct Program(Child);

impl Program {
    /// Starts it and waits until it listens; `None` if it is not installed.
    fn start(command: &mut Command, at: SocketAddr) -> Option<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = started else {
            println!("skipped: {:?} is not installed; make setup-test", command.get_program());
            return None;
        };
        let program = Self(child);
        until("it listens", || TcpStream::connect(at).is_ok());
        Some(program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_itself_is_understood() {
    let (caller, at) = (Caller::new(), refusing());
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &at.port().to_string()]);
    let Some(_redis) = Program::start(command.current_dir(dir.path()), at) else { return };
    let be = caller.add(UpstreamConfig { protocol: Protocol::Redis, ..lines_to([at]) });
    let ask = |words: &[&str]| caller.call(&be, Call::redis(words)).unwrap().value.unwrap();
    assert_eq!(ask(&["SET", "key", "a value\r\nof two lines"]), RespValue::Simple("OK".into()));
    assert_eq!(ask(&["GET", "key"]), RespValue::Bulk(b"a value\r\nof two lines".to_vec()));
    assert_eq!(ask(&["GET", "none"]), RespValue::Nil);
    assert!(matches!(ask(&["INCR", "key"]), RespValue::Error(error) if error.starts_with("ERR")));
    let pending: Vec<_> = (0..2000).map(|_| caller.begin(&be, Call::redis(["INCR", "counter"]))).collect();
    let mut counts: Vec<_> = pending.into_iter().map(|call| call.outcome().unwrap().value.unwrap()).collect();
    counts.sort_by_key(|value| if let RespValue::Integer(number) = value { *number } else { 0 });
    assert_eq!(counts, (1..=2000).map(RespValue::Integer).collect::<Vec<_>>());
    ask(&["RPUSH", "list", "a", "b"]);
    let list = ["a", "b"].map(|text| RespValue::Bulk(text.into())).to_vec();
    assert_eq!(ask(&["LRANGE", "list", "0", "-1"]), RespValue::Array(list));
}

#[test]
fn nginx_itself_is_understood() {
    let (caller, at) = (Caller::new(), refusing());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    std::fs::write(dir.path().join("file"), common::pattern(300_000)).unwrap();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/log;\nevents {{}}\nhttp {{ access_log off; \
         keepalive_requests 7; client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c; \
         uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n server {{ listen {at}; root {path};\n\
         location /hello {{ return 200 \"hello $host $request_method\"; }}\n\
         location /none {{ return 204; }} }} }}\n"
    );
    std::fs::write(dir.path().join("conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-p", &path, "-c", &format!("{path}/conf"), "-e", &format!("{path}/log")]);
    let Some(_nginx) = Program::start(&mut command, at) else { return };
    let be = caller.add(UpstreamConfig { protocol: Protocol::Http, ..lines_to([at]) });
    let get = |method: &str, path: &str| {
        let head = HttpRequest { method: method.into(), path: path.into(), headers: Vec::new() };
        caller.call(&be, Call { http: Some(head), ..Call::default() }).unwrap()
    };
    for _ in 0..30 {
        let answer = get("GET", "/hello");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello be GET"[..]));
        assert_eq!((get("HEAD", "/hello").status, get("GET", "/none").status), (200, 204));
        assert_eq!(get("GET", "/file").body, common::pattern(300_000));
        assert_eq!(get("GET", "/missing").status, 404);
    }
    assert_eq!((caller.count("answers"), caller.count("calls")), (150.0, 150.0));
}
