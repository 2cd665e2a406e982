//! What the tests share: running `lf-bench`, and servers to run it against.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

pub(crate) mod lf;
pub(crate) mod push;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

/// Short enough for many runs, long enough for a request on a busy machine.
pub(crate) const BRIEFLY: [&str; 5] = ["--duration", "150ms", "--warmup", "50ms", "--json"];

pub(crate) fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lf-bench")).args(args).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The run's JSON, whatever its exit code.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", stdout(output), stderr(output)))
}

/// A short run in `mode` against `target`, with more options.
pub(crate) fn run(mode: &str, target: &str, more: &[&str]) -> Output {
    bench(&[&[mode, "--target", target][..], &BRIEFLY, more].concat())
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

pub(crate) fn assert_no_errors(outcome: &Value) {
    for (kind, count) in outcome["errors"].as_object().unwrap() {
        assert_eq!(count.as_u64(), Some(0), "{kind}: {outcome}");
    }
}

/// A reference server, as a process.
pub(crate) struct Reference {
    child: Child,
    pub(crate) target: String,
}

impl Reference {
    /// `None` where this kernel does not offer what the shape needs.
    pub(crate) fn start(shape: &str) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lf-bench"))
            .args(["serve", shape, "--listen", "127.0.0.1:0", "--die-with-parent"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.strip_prefix("listening ") {
            Some(target) => Some(Reference { child, target: target.trim().to_owned() }),
            None => {
                let mut words = String::new();
                child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
                child.wait().unwrap();
                assert!(words.contains("io_uring"), "only io_uring may be refused: {words}");
                None
            }
        }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in this process that treats every connection as `serve` says; it ends with the test.
pub(crate) fn serve_each(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads pieces and sends back what `change` makes of the n-th; ends where it makes nothing.
pub(crate) fn echo(mut stream: impl Read + Write, mut change: impl FnMut(usize, &mut Vec<u8>) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    for turn in 0.. {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        let mut bytes = buffer[..count].to_vec();
        if !change(turn, &mut bytes) || stream.write_all(&bytes).is_err() {
            return;
        }
    }
}
