//! Pages of the book, and running the scripts that are on them.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use crate::common::process::{Process, quiet};
use crate::common::{lf_lua, until};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

/// How a script begins that is run for each frame.
const COMPAT: &str = "-- lf-lua --compat";

/// A block of code on a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line on which its text begins.
    pub(crate) line: usize,
    /// `lua`, `console` ...
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn is_lua(&self) -> bool {
        self.kind == "lua"
    }

    /// Whether it is a whole script with servers, and not what a handler does.
    pub(crate) fn is_script(&self) -> bool {
        self.is_lua() && (self.text.contains("listen =") || self.text.starts_with(COMPAT))
    }
}

/// The blocks of a page, in their order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push(Block { line: number + 2, kind: kind.to_owned(), text: text.join("\n") });
        }
    }
    blocks
}

/// An address of loopback that nobody else uses, so that scripts can have the ports that the page says.
fn own_host() -> String {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [a, b, ..] = std::process::id().to_le_bytes();
    format!("127.{}.{}.{}", 1 + b % 254, 1 + a % 254, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A script of a page that runs, on an address of its own in place of `127.0.0.1`.
pub(crate) struct Stage {
    pub(crate) process: Process,
    directory: TempDir,
    host: String,
}

impl Stage {
    /// Runs a script, and waits until it listens.
    pub(crate) fn run(script: &str) -> Self {
        let (directory, host) = (tempfile::tempdir().unwrap(), own_host());
        std::fs::write(directory.path().join("script.lua"), script.replace("127.0.0.1", &host)).unwrap();
        let mut command = lf_lua();
        command.current_dir(directory.path()).args(["script.lua", "--groups", "1"]);
        let is_compat = script.starts_with(COMPAT);
        if is_compat {
            command.args(["--compat", "--listen", &format!("{host}:9876")]);
        }
        let mut process = Process::spawn(command);
        let servers = if is_compat { 1 } else { script.matches("listen =").count() };
        until("lf-lua listens", || {
            assert!(!process.has_ended(), "it ended: {}", process.errors());
            process.lines().iter().filter(|line| line.starts_with("listening ")).count() >= servers
        });
        Self { process, directory, host }
    }

    /// Where a port of the page is.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        format!("{}:{port}", self.host).parse().unwrap()
    }

    /// What a shell answers to a command that names `localhost`.
    pub(crate) fn shell(&self, command: &str) -> String {
        let command = command.replace("localhost", &self.host);
        let mut shell = quiet(Command::new("sh"));
        let output = shell.current_dir(self.directory.path()).args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types the commands of a transcript, and compares what it says with what comes.
    pub(crate) fn follow(&self, transcript: &Block) {
        let mut lines = transcript.text.lines().peekable();
        while let Some(line) = lines.next() {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("line {}: {line:?}", transcript.line));
            let mut expected = String::new();
            while let Some(said) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected = expected + said + "\n";
            }
            let found = self.shell(command);
            assert_eq!(found.trim_end(), expected.trim_end(), "{command}: {}", self.process.errors());
        }
    }
}
