//! What the tests of the program share: an lf-comet process, one way to wait, a plain HTTP client.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

pub(crate) mod chromium;
pub(crate) mod desk;
pub(crate) mod ears;
pub(crate) mod http;
pub(crate) mod packages;
pub(crate) mod patience;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod wire;

use http::Answer;
pub(crate) use patience::{PATIENCE, comes_true, until};
use process::{Process, quiet};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};

/// The program, with nothing of the caller's environment that would change its settings.
pub(crate) fn lf_comet() -> Command {
    quiet(Command::new(env!("CARGO_BIN_EXE_lf-comet")))
}

/// What `start` adds to arguments that say nothing about it: free ports, nothing on disk, few threads.
const DEFAULTS: [[&str; 2]; 4] =
    [["--listen", "127.0.0.1:0"], ["--control", "127.0.0.1:0"], ["--store", "none"], ["--groups", "1"]];

/// A running lf-comet, killed when dropped.
pub(crate) struct Program {
    pub(crate) process: Process,
    /// The addresses that it said, in order: `listening ...`, then `control ...`.
    pub(crate) said: Vec<String>,
}

/// What is left of a program that has ended.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// The command that `Program::start` runs.
fn command(arguments: &[&str]) -> Command {
    let mut command = lf_comet();
    for [name, value] in DEFAULTS {
        if !arguments.contains(&name) {
            command.args([name, value]);
        }
    }
    command.args(arguments);
    command
}

/// Starts lf-comet, which has to refuse; answers what it said.
#[track_caller]
pub(crate) fn refuses_to_start(arguments: &[&str]) -> String {
    let mut process = Process::spawn(command(arguments));
    let status = process.wait();
    assert_eq!(status.code(), Some(1), "{arguments:?}: {}", process.errors());
    assert_eq!(process.output(), b"", "{arguments:?}: it listened before it gave up");
    process.errors()
}

impl Program {
    /// Starts lf-comet on ports of its own and without a store, unless the arguments say otherwise, and waits until it
    /// listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let given = |name: &str| arguments.iter().filter(|argument| **argument == name).count();
        let addresses = given("--listen").max(1) + given("--control").max(1) + given("--admin");
        Self::spawn(command(arguments), addresses)
    }

    /// Starts a command that ends up as lf-comet, and waits until it has said that many addresses.
    pub(crate) fn spawn(command: Command, addresses: usize) -> Self {
        let mut process = Process::spawn(command);
        until("lf-comet listens", || {
            if process.has_ended() && process.lines().len() < addresses {
                panic!("it ended: {}", process.errors());
            }
            process.lines().len() >= addresses
        });
        let said = process.lines();
        Self { process, said }
    }

    fn address_after(&self, word: &str) -> SocketAddr {
        self.said.iter().find_map(|line| line.strip_prefix(word)).unwrap().parse().unwrap()
    }

    /// Where subscribers connect.
    pub(crate) fn public(&self) -> SocketAddr {
        self.address_after("listening ")
    }

    /// Where publishers and operators connect.
    pub(crate) fn control(&self) -> SocketAddr {
        self.address_after("control ")
    }

    /// The URL of a path of the public listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public())
    }

    /// The URL of a WebSocket.
    pub(crate) fn socket_url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.public())
    }

    /// The URL of a path of the control listener.
    pub(crate) fn control_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control())
    }

    /// Asks the control listener, which has to agree.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let answer = http::request(self.control(), method, target, &[], body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
        answer
    }

    /// Sends a message to an id; answers how many connections it goes to.
    pub(crate) fn send(&self, id: &str, body: impl AsRef<[u8]>) -> u64 {
        self.ask("POST", &format!("/send/{id}"), body.as_ref()).json()["delivered"].as_u64().unwrap()
    }

    /// Disconnects all that are connected as `id`; answers how many.
    pub(crate) fn kick(&self, id: &str) -> u64 {
        self.ask("DELETE", &format!("/connections?id={id}"), b"").json()["closed"].as_u64().unwrap()
    }

    /// What the status page is drawn from.
    pub(crate) fn status(&self) -> serde_json::Value {
        self.ask("GET", "/status.json", b"").json()
    }

    /// A counter, by the name that the status page knows.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.status()["counters"][name].as_u64().unwrap_or_else(|| panic!("there is no counter {name}"))
    }

    /// A line of the metrics, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.ask("GET", "/metrics", b"").text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("there is no whole number {name} in {page}"))
    }

    /// How many subscribers are connected, as `id` if that is given.
    pub(crate) fn connected(&self, id: Option<&str>) -> usize {
        let target = id.map_or("/connections?limit=100000".into(), |id| format!("/connections?limit=100000&id={id}"));
        self.ask("GET", &target, b"").json()["connections"].as_array().unwrap().len()
    }

    /// Waits until exactly `count` are connected as `id`.
    pub(crate) fn await_connected(&self, id: &str, count: usize) {
        until(&format!("{count} are connected as {id}"), || self.connected(Some(id)) == count);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Memory that it has in RAM, in bytes.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// Waits for the end, and answers how it ended and what it logged.
    pub(crate) fn wait(&mut self) -> Left {
        let status = self.process.wait();
        Left { status, log: self.process.errors() }
    }

    /// Asks it to end, and expects that nothing was left to cut.
    pub(crate) fn end(mut self) {
        self.signal("TERM");
        let left = self.wait();
        assert_eq!(left.status.code(), Some(0), "{}", left.log);
    }
}
