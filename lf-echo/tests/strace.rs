//! Real system calls that the kernel is made to fail, with `strace -e inject`.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Left, Program, is_installed, send_signal};
use std::io::Write;
use std::net::Shutdown;
use std::process::Command;

/// An lf-echo that strace watches. strace alone is a child of this test; both end with it.
struct Traced {
    program: Program,
    server: u32,
}

impl Traced {
    /// Starts lf-echo with faults injected into its system calls; `None` where strace cannot be had. Threads are counted
    /// apart: `when=2` is the second call of each thread.
    fn start(injection: &str) -> Option<Self> {
        if !is_installed("strace") {
            return None;
        }
        let probe = Command::new("strace").args(["-f", "-e", "trace=none", "true"]).output().unwrap();
        if !probe.status.success() {
            println!("skipped: strace may not trace here");
            return None;
        }
        let mut command = common::quiet(Command::new("strace"));
        let calls = injection.split(':').next().unwrap();
        command.args(["-f", "-q", "-e", "signal=none", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={injection}"), env!("CARGO_BIN_EXE_lf-echo")]);
        command.args(["--listen", "127.0.0.1:0", "--groups", "1"]);
        let program = Program::spawn(command, 1);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", program.child.id())).unwrap();
        let server = children.split_whitespace().next().unwrap().parse().unwrap();
        Some(Self { program, server })
    }

    fn end_with(mut self, signal: &str) -> Left {
        send_signal(signal, self.server);
        let left = self.program.wait();
        self.server = 0;
        left
    }

    /// Ends the server where its signal thread meets the faults as well, so that it might not hear a wish to end.
    fn kill(self) -> Left {
        self.end_with("KILL")
    }

    /// Ends the server in good order. strace passes its exit code on.
    fn end(self) -> Left {
        let left = self.end_with("TERM");
        assert_eq!(left.status.code(), Some(0), "{}", left.log);
        left
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Without its tracer it would live on.
        if self.server != 0 {
            send_signal("KILL", self.server);
        }
    }
}

/// Echoes through a few connections.
fn assert_echoes(program: &Program) {
    let lines: Vec<u8> = (0..200).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    let mut clients: Vec<_> = (0..5).map(|_| program.connect()).collect();
    for _ in 0..5 {
        clients.iter_mut().for_each(|client| client.exchange(&lines));
    }
}

#[test]
fn interrupted_calls_are_made_again() {
    for call in ["epoll_wait,epoll_pwait", "recvfrom", "sendto", "accept4"] {
        let Some(traced) = Traced::start(&format!("{call}:error=EINTR:when=2+3")) else { return };
        assert_echoes(&traced.program);
        let left = if ["recvfrom", "sendto"].contains(&call) { traced.kill() } else { traced.end() };
        assert!(left.log.contains("(INJECTED)"), "{call} was never interrupted");
    }
}

#[test]
fn sockets_that_have_to_wait_are_served_when_they_are_ready() {
    for call in ["recvfrom", "sendto"] {
        let Some(traced) = Traced::start(&format!("{call}:error=EAGAIN:when=2+3")) else { return };
        assert_echoes(&traced.program);
        assert!(traced.kill().log.contains("(INJECTED)"), "{call} never had to wait");
    }
}

#[test]
fn the_listener_pauses_while_descriptors_are_short_and_says_so() {
    let Some(traced) = Traced::start("accept4:error=EMFILE:when=2..4") else { return };
    let mut first = traced.program.connect();
    first.exchange(b"in\n");
    let mut second = traced.program.connect();
    second.send(b"let me in\n");
    first.exchange(b"connected ones go on\n");
    second.expect(b"let me in\n");
    drop((first, second));
    let left = traced.end();
    assert_eq!(left.log.matches("EMFILE").count(), 3, "no spin: {}", left.log);
    assert_eq!(left.log.matches("cannot accept").count(), 1, "logged once a second at most: {}", left.log);
}

#[test]
fn a_reset_ends_one_connection_and_the_server_goes_on() {
    for (call, error) in [("recvfrom", "ECONNRESET"), ("sendto", "EPIPE")] {
        let Some(traced) = Traced::start(&format!("{call}:error={error}:when=1")) else { return };
        let mut victim = traced.program.connect();
        victim.send(b"hit\n");
        assert_eq!(victim.rest(), b"");
        // Each worker meets it once.
        common::until("the server echoes again", || {
            let mut client = traced.program.connect();
            client.send(b"hi\n");
            client.stream.shutdown(Shutdown::Write).unwrap();
            client.rest() == b"hi\n"
        });
        assert!(traced.kill().log.contains("(INJECTED)"));
    }
}

#[test]
fn a_connection_that_cannot_be_armed_is_closed_and_the_server_goes_on() {
    // The first few calls register the server's own descriptors.
    let Some(traced) = Traced::start("epoll_ctl:error=ENOSPC:when=12..14") else { return };
    let mut served = 0;
    for _ in 0..30 {
        let mut client = Client::connect(traced.program.address());
        // Some are closed before they can say anything.
        let _ = client.stream.write_all(b"hi\n").and_then(|()| client.stream.shutdown(Shutdown::Write));
        served += usize::from(client.rest() == b"hi\n");
    }
    assert!(served >= 20, "{served} of 30 were served");
    let left = traced.end();
    assert!(left.log.contains("(INJECTED)"), "{}", left.log);
}
