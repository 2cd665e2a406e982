//! What the tests of the program share: an lf-echo process, and one way to wait.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition, with a deadline.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program, with nothing of the caller's environment that would change its settings.
pub(crate) fn lf_echo() -> Command {
    quiet(Command::new(env!("CARGO_BIN_EXE_lf-echo")))
}

/// Takes out of a command's environment what lf-echo would read.
pub(crate) fn quiet(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LF_") {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a program is there to be run.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A running lf-echo, killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    /// The addresses that it said, in order: `listening ...`, then `admin ...`.
    pub(crate) said: Vec<String>,
    log: Option<std::thread::JoinHandle<String>>,
}

/// What is left of a program that has ended.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Program {
    /// Starts lf-echo on a port of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = lf_echo();
        command.args(["--listen", "127.0.0.1:0", "--groups", "1"]).args(arguments);
        Self::spawn(command, 1)
    }

    /// Starts a command that ends up as lf-echo, and waits until it has said that many addresses.
    pub(crate) fn spawn(mut command: Command, addresses: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut program = Self { child, said: Vec::new(), log: Some(log) };
        let mut lines = BufReader::new(program.child.stdout.take().unwrap()).lines();
        while program.said.len() < addresses {
            match lines.next() {
                Some(line) => program.said.push(line.unwrap()),
                None => panic!("it ended: {}", program.wait().log),
            }
        }
        program
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.said[0].strip_prefix("listening ").unwrap().parse().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }

    /// Waits for the end, and answers how it ended and what it logged.
    pub(crate) fn wait(&mut self) -> Left {
        let mut status = None;
        until("lf-echo ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Left { status: status.unwrap(), log: self.log.take().unwrap().join().unwrap() }
    }

    /// Asks it to end, and expects that nothing was left to cut.
    pub(crate) fn end(mut self) {
        self.signal("TERM");
        let left = self.wait();
        assert_eq!(left.status.code(), Some(0), "{}", left.log);
    }
}

pub(crate) fn send_signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(sent.success());
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer of a server.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn expect(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        self.stream.read_exact(&mut got).unwrap();
        assert!(got == expected, "{:?}", String::from_utf8_lossy(&got));
    }

    pub(crate) fn exchange(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// All that comes until the server ends the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server did not end the connection: {error}"),
        }
        bytes
    }
}
