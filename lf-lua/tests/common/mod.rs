//! What the tests of the program share: an lf-lua process with a script of the test's own.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

#[path = "../../../lf-comet/tests/common/http.rs"]
pub(crate) mod http;
pub(crate) mod nshead;
#[path = "../../../lf-comet/tests/common/patience.rs"]
pub(crate) mod patience;
#[path = "../../../lf-comet/tests/common/process.rs"]
pub(crate) mod process;
#[path = "../../../lf-comet/tests/common/socket.rs"]
pub(crate) mod socket;
#[path = "../../../lf-comet/tests/common/wire.rs"]
pub(crate) mod wire;

use http::Answer;
pub(crate) use patience::{PATIENCE, comes_true, until};
use process::{Process, quiet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;
use tempfile::TempDir;
use wire::Wire;

/// The program, with nothing of the caller's environment that would change its settings.
pub(crate) fn lf_lua() -> Command {
    quiet(Command::new(env!("CARGO_BIN_EXE_lf-lua")))
}

/// A running lf-lua, killed when dropped.
pub(crate) struct Program {
    pub(crate) process: Process,
    directory: TempDir,
    /// Where its servers listen, in the order of the script.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Program {
    /// Runs a script whose servers listen on `127.0.0.1:0`, with one group. An argument may be such an address too.
    pub(crate) fn run(script: &str) -> Self {
        Self::with(script, &[])
    }

    /// The same with arguments.
    pub(crate) fn with(script: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script.lua");
        std::fs::write(&path, script).unwrap();
        let mut command = lf_lua();
        command.current_dir(directory.path()).arg("script.lua").args(arguments);
        if !arguments.contains(&"--groups") {
            command.args(["--groups", "1"]);
        }
        let mut process = Process::spawn(command);
        let listens = |line: &String| line.strip_prefix("listening ").map(|at| at.parse().unwrap());
        let by_argument = arguments.windows(2).filter(|pair| *pair == ["--listen", "127.0.0.1:0"]).count();
        let servers = script.matches("127.0.0.1:0").count() + by_argument;
        until("lf-lua listens", || {
            assert!(!process.has_ended(), "it ended: {}", process.errors());
            process.lines().iter().filter_map(listens).count() >= servers
        });
        let addresses = process.lines().iter().filter_map(listens).collect();
        Self { process, directory, addresses }
    }

    /// Where a file beside the script is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts another script in the place of this one, without loading it.
    pub(crate) fn rewrite(&self, script: &str) {
        std::fs::write(self.file("script.lua"), script).unwrap();
    }

    /// The first server.
    pub(crate) fn at(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Asks the first server, over a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Answer {
        http::request(self.at(), "GET", target, &[], b"")
    }

    /// The body of an answer, which has to be a good one.
    #[track_caller]
    pub(crate) fn text(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "GET {target}: {} {}", answer.text(), self.process.errors());
        answer.text()
    }

    /// Sends a body to the first server.
    pub(crate) fn post(&self, target: &str, body: &[u8]) -> Answer {
        http::request(self.at(), "POST", target, &[], body)
    }

    /// A connection to the first server.
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.at())
    }

    /// Waits until the log says something.
    pub(crate) fn awaits_log(&self, text: &str) {
        let said = comes_true(PATIENCE, || self.process.errors().contains(text));
        assert!(said, "the log does not say {text:?}: {}", self.process.errors());
    }
}

/// A script that runs `body` for a request, after `main` in the main chunk, where `server` is its server; it answers a line for
/// each `say(...)`.
pub(crate) fn saying(main: &str, body: &str) -> String {
    format!(
        r##"local server = lf.http {{ listen = "127.0.0.1:0" }}
        {main}
        server:get("/", function(req, res)
            local function say(...)
                local parts = {{}}
                for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
                res:say(table.concat(parts, " "))
            end
            {body}
        end)"##
    )
}

/// What such a script says.
pub(crate) fn said_by(main: &str, body: &str) -> String {
    Program::run(&saying(main, body)).text("/")
}

/// A server that talks to one client as it is told.
pub(crate) fn once(talk: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || talk(listener.accept().unwrap().0));
    (address, thread)
}

/// Runs a script that cannot be started; what the program says about it.
pub(crate) fn refuses_to_start(script: &str, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("script.lua"), script).unwrap();
    let mut command = lf_lua();
    command.current_dir(directory.path()).arg("script.lua").args(arguments);
    let mut process = Process::spawn(command);
    let status = process.wait();
    assert_eq!(status.code(), Some(1), "{}", process.errors());
    process.errors()
}
