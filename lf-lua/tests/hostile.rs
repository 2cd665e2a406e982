//! Scripts that want out, or want everything for themselves: with `--untrusted` none gets it.
//!
//! The scripts are in `tests/hostile/`, by theme. Each is the body of a handler, behind a line `--# name`; with
//! `--# main: name` it is a main chunk instead. It is contained if it fails, or answers "contained".

#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::process::Process;
use common::{lf_lua, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a call may run.
const BUDGET: Duration = Duration::from_millis(200);
/// How much later it is over at the latest.
const LATE_MAX: Duration = Duration::from_millis(100);
/// A busy machine may hold up a script once or twice.
const TRIES: usize = 3;
/// What nobody may get to see.
const SECRET: &str = "the-canary-sings-42";

/// A script and the name of what it tries.
struct Hostile {
    name: &'static str,
    body: &'static str,
    is_main: bool,
}

fn scripts(text: &'static str) -> Vec<Hostile> {
    text.split("--# ")
        .skip(1)
        .map(|part| {
            let (name, body) = part.split_once('\n').unwrap();
            let main = name.strip_prefix("main: ");
            Hostile { name: main.unwrap_or(name), body, is_main: main.is_some() }
        })
        .collect()
}

/// A server that runs a hostile script, beside things that are none of its business.
struct Cage {
    process: Process,
    directory: TempDir,
    at: SocketAddr,
}

impl Cage {
    fn new(script: &Hostile) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("canary.txt"), SECRET).unwrap();
        std::fs::write(directory.path().join("canary.lua"), format!("return {SECRET:?}")).unwrap();
        let (main, handler) = if script.is_main { (script.body, "res:print('contained')") } else { ("", script.body) };
        let text = format!(
            "local app = lf.http {{ listen = \"127.0.0.1:0\" }}\n\
             app:get('/hello', function(req, res) res:print('hello') end)\n\
             {main}\n\
             app:get('/hostile', function(req, res)\n{handler}\nend)\n"
        );
        std::fs::write(directory.path().join("script.lua"), text).unwrap();
        let mut command = lf_lua();
        command.current_dir(directory.path()).env("CANARY", SECRET).arg("script.lua");
        command.args(["--untrusted", "--groups", "1", "--workers", "2", "--vm-bytes", "33554432"]);
        command.args(["--budget", &format!("{}ms", BUDGET.as_millis())]);
        let mut process = Process::spawn(command);
        let mut at = None;
        until(script.name, || {
            assert!(!process.has_ended(), "{}: it ended: {}", script.name, process.errors());
            at = process.lines().iter().find_map(|line| line.strip_prefix("listening ").map(|at| at.parse().unwrap()));
            at.is_some()
        });
        Self { process, directory, at: at.unwrap() }
    }

    /// The status and all that came; no status if the connection was closed without an answer.
    fn get(&self, path: &str) -> (Option<u16>, String) {
        self.timed(path).1
    }

    /// The same, and after how long it was over: with the end of the connection, or with an answer that says that the script was
    /// stopped, behind which its VM may be cleaned.
    fn timed(&self, path: &str) -> (Duration, (Option<u16>, String)) {
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let (mut answer, mut answered) = (Vec::new(), Duration::ZERO);
        let mut piece = [0; 4096];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    answer.extend_from_slice(&piece[..count]);
                    answered = began.elapsed();
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{path} is not answered: {error}");
                    break;
                }
            }
        }
        let ended = began.elapsed();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        (if status == Some(500) { answered } else { ended }, (status, answer))
    }

    /// What must hold whatever the script did.
    #[track_caller]
    fn check(&mut self, name: &str, answer: &(Option<u16>, String)) {
        let (status, text) = answer;
        assert!(!text.contains(SECRET), "{name}: it has the secret");
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.lines().any(|line| line.starts_with("X-Forged")), "{name}: it has forged a head: {text}");
        if *status == Some(200) {
            let contained = text.contains("contained") && !text.contains("escaped");
            assert!(contained, "{name}: {}", text.chars().take(2000).collect::<String>());
        }
        let (status, text) = self.get("/hello");
        assert!(status == Some(200) && text.ends_with("hello"), "{name}: its neighbour got {text}; {}", self.errors());
        assert!(!self.process.has_ended(), "{name}: the server has ended: {}", self.errors());
        assert!(!self.errors().contains("panicked"), "{name}: {}", self.errors());
        assert!(!self.errors().contains(SECRET), "{name}: the secret is in the log");
        let canary = std::fs::read_to_string(self.directory.path().join("canary.txt")).unwrap();
        assert_eq!(canary, SECRET, "{name}: it has changed a file");
        let files = std::fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(files, 3, "{name}: it has made or removed a file");
    }

    fn errors(&self) -> String {
        let errors = self.process.errors();
        errors.chars().take(4000).collect()
    }
}

/// Runs each script of a theme: it is stopped in time, the server lives on, and the next one is served.
fn contains_all(theme: &'static str) {
    let scripts = scripts(theme);
    assert!(!scripts.is_empty());
    // All are tried, so that one that fails does not hide the others.
    let failed: Vec<_> =
        scripts.iter().filter(|script| std::panic::catch_unwind(|| contains(script)).is_err()).collect();
    let names: Vec<_> = failed.iter().map(|script| script.name).collect();
    assert!(failed.is_empty(), "{} of {} are not contained: {names:#?}", failed.len(), scripts.len());
}

fn contains(script: &Hostile) {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let mut cage = Cage::new(script);
        let (took, answer) = cage.timed("/hostile");
        best = best.min(took);
        cage.check(script.name, &answer);
        if best <= BUDGET + LATE_MAX {
            break;
        }
    }
    println!("{best:>12.3?} {}", script.name);
    assert!(best <= BUDGET + LATE_MAX, "{}: stopped after {best:?}", script.name);
}

const ACCESS: &str = include_str!("hostile/access.lua");
const METATABLES: &str = include_str!("hostile/metatables.lua");
const INTERNALS: &str = include_str!("hostile/internals.lua");
const COROUTINES: &str = include_str!("hostile/coroutines.lua");
const MEMORY: &str = include_str!("hostile/memory.lua");
const TIME: &str = include_str!("hostile/time.lua");
const LIBRARY: &str = include_str!("hostile/library.lua");

#[test]
fn nothing_of_the_machine_is_reached() {
    contains_all(ACCESS);
}

#[test]
fn metatables_lead_nobody_astray() {
    contains_all(METATABLES);
}

#[test]
fn forged_connections_and_answers_do_no_harm() {
    contains_all(INTERNALS);
}

#[test]
fn coroutines_threads_and_timers_do_not_run_away() {
    contains_all(COROUTINES);
}

#[test]
fn memory_is_limited() {
    contains_all(MEMORY);
}

#[test]
fn time_is_limited() {
    contains_all(TIME);
}

#[test]
fn the_library_cannot_be_used_against_its_host() {
    contains_all(LIBRARY);
}

/// What is made when it is first needed may be needed when there is no memory left, in a server that has just started.
#[test]
fn a_server_survives_a_first_call_that_fills_its_memory() {
    let body = "while true do lf.thread.spawn(function() end) end";
    for round in 0..30 {
        let cage = Cage::new(&Hostile { name: "the first call", body, is_main: false });
        cage.get("/hostile");
        assert_eq!(cage.get("/hello").0, Some(200), "round {round}: {}", cage.errors());
    }
}

#[test]
fn there_are_a_hundred_hostile_scripts_and_each_has_a_name_of_its_own() {
    let all = [ACCESS, METATABLES, INTERNALS, COROUTINES, MEMORY, TIME, LIBRARY];
    let mut names: Vec<_> = all.into_iter().flat_map(scripts).map(|script| script.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two have the same name");
    assert!(count >= 100, "{count} scripts");
}
