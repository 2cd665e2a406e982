//! Real system calls that the kernel is made to fail, with `strace -e inject`.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Left, Program, is_installed, send_signal};
use std::process::Command;

/// lf-echo with faults injected into its system calls; `None` where strace cannot be had.
fn traced(injections: &[&str], arguments: &[&str]) -> Option<Program> {
    if !is_installed("strace") {
        return None;
    }
    let probe = Command::new("strace").args(["-f", "-e", "trace=none", "true"]).output().unwrap();
    if !probe.status.success() {
        println!("skipped: strace may not trace here");
        return None;
    }
    let mut command = common::quiet(Command::new("strace"));
    command.args(["-f", "-q", "-e", "signal=none"]);
    for injection in injections {
        let call = injection.split(':').next().unwrap();
        command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={injection}")]);
    }
    command.arg(env!("CARGO_BIN_EXE_lf-echo")).args(["--listen", "127.0.0.1:0", "--groups", "1"]).args(arguments);
    Some(Program::spawn(command, 1))
}

/// Ends the traced server in good order. strace passes its exit code on.
fn end(mut program: Program) -> Left {
    let children = format!("/proc/{0}/task/{0}/children", program.child.id());
    let child = std::fs::read_to_string(children).unwrap();
    send_signal("TERM", child.split_whitespace().next().unwrap().parse().unwrap());
    let left = program.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.log);
    left
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
    for call in ["epoll_wait", "recvfrom", "sendto", "accept4"] {
        let Some(program) = traced(&[&format!("{call}:error=EINTR:when=2+3")], &[]) else { return };
        assert_echoes(&program);
        let left = end(program);
        assert!(left.log.contains("(INJECTED)"), "{call} was never interrupted");
    }
}

#[test]
fn sockets_that_have_to_wait_are_served_when_they_are_ready() {
    for call in ["recvfrom", "sendto"] {
        let Some(program) = traced(&[&format!("{call}:error=EAGAIN:when=2+3")], &[]) else { return };
        assert_echoes(&program);
        assert!(end(program).log.contains("(INJECTED)"), "{call} never had to wait");
    }
}

#[test]
fn the_listener_pauses_while_descriptors_are_short_and_says_so() {
    let Some(program) = traced(&["accept4:error=EMFILE:when=2..4"], &[]) else { return };
    let mut first = program.connect();
    first.exchange(b"in\n");
    let mut second = program.connect();
    second.send(b"let me in\n");
    first.exchange(b"connected ones go on\n");
    second.expect(b"let me in\n");
    drop((first, second));
    let left = end(program);
    assert_eq!(left.log.matches("EMFILE").count(), 3, "no spin: {}", left.log);
    assert_eq!(left.log.matches("cannot accept").count(), 1, "logged once a second at most: {}", left.log);
}

#[test]
fn a_reset_ends_one_connection_and_the_server_goes_on() {
    for (call, error) in [("recvfrom", "ECONNRESET"), ("sendto", "EPIPE")] {
        let Some(program) = traced(&[&format!("{call}:error={error}:when=1")], &[]) else { return };
        let mut victim = program.connect();
        victim.send(b"hit\n");
        assert_eq!(victim.rest(), b"");
        assert_echoes(&program);
        end(program);
    }
}

#[test]
fn a_connection_that_cannot_be_armed_is_closed_and_the_server_goes_on() {
    // The first few calls register the server's own descriptors.
    let Some(program) = traced(&["epoll_ctl:error=ENOSPC:when=12..14"], &[]) else { return };
    let mut served = 0;
    for _ in 0..30 {
        let mut client = Client::connect(program.address());
        client.send(b"hi\n");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        served += usize::from(client.rest() == b"hi\n");
    }
    assert!(served >= 20, "{served} of 30 were served");
    let left = end(program);
    assert!(left.log.contains("(INJECTED)"), "{}", left.log);
}
