//! Ending an embedded server: what is finished, what is cut, and how long it may take.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, Mode, any_port, in_every_mode, lines, until};
use lf_core::codec::Line;
use lf_core::{Ended, Outcome};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// `give N` is answered with N bytes, `gate` waits for the gate; the rest is echoed.
fn serve(mode: Mode, drain: Duration, gate: &Arc<Gate>) -> Host {
    let gate = Arc::clone(gate);
    let handler = lines(move |cx, line| -> Outcome {
        match line.split_once(' ') {
            Some(("give", count)) => cx.send_bytes(&vec![b'x'; count.parse()?]),
            _ => {
                if line == "gate" {
                    gate.pass();
                }
                cx.send(line.as_bytes())?;
            }
        }
        Ok(())
    });
    Host::start(mode.builder().drain_timeout(drain).listen(any_port(), Line::default(), handler))
}

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.line(), line);
}

/// Drains while `meanwhile` runs.
fn drain_while(host: Host, meanwhile: impl FnOnce()) -> Ended {
    std::thread::scope(|scope| {
        let drained = scope.spawn(move || host.running.drain());
        meanwhile();
        drained.join().unwrap()
    })
}

#[test]
fn idle_connections_are_closed_at_once_and_nothing_is_cut() {
    in_every_mode(|mode| {
        let host = serve(mode, common::PATIENCE * 10, &Gate::new());
        let mut clients: Vec<_> = (0..50).map(|_| host.connect()).collect();
        clients.iter_mut().skip(1).for_each(|client| say(client, "here"));
        let ended = host.running.drain();
        assert_eq!((ended.cut, ended.threads_left, ended.forced_by), (0, 0, None));
        assert_eq!(ended.exit_code(), 0);
        clients.iter_mut().for_each(Client::expect_end);
    });
}

#[test]
fn a_turn_in_progress_finishes_and_its_answers_arrive() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, common::PATIENCE * 10, &gate);
        let (mut busy, mut idle) = (host.connect(), host.connect());
        say(&mut idle, "here");
        busy.send(b"gate\nand one more\n");
        gate.until_waiting(1);
        let ended = drain_while(host, || {
            idle.expect_end();
            gate.open();
            assert_eq!(busy.rest(), b"gate\nand one more\n");
        });
        assert_eq!((ended.cut, ended.threads_left), (0, 0));
    });
}

#[test]
fn queued_output_goes_out() {
    in_every_mode(|mode| {
        let host = serve(mode, common::PATIENCE * 10, &Gate::new());
        let mut client = Client::connect_slow(&host.address());
        client.send(b"give 9000000\n");
        until("output is queued", || host.stats().queued_bytes() > 0);
        let mut received = Vec::new();
        let ended = drain_while(host, || received = client.rest());
        assert_eq!(received.len(), 9_000_000);
        assert_eq!(ended.cut, 0);
    });
}

#[test]
fn who_is_not_done_at_the_deadline_is_cut_and_counted() {
    in_every_mode(|mode| {
        let host = serve(mode, Duration::from_millis(300), &Gate::new());
        let mut stalled = Client::connect_slow(&host.address());
        stalled.send(b"give 9000000\n");
        let mut half = host.connect();
        say(&mut half, "here");
        half.send(b"half a li");
        let mut idle = host.connect();
        say(&mut idle, "here");
        until("output is queued and the half line has come", || {
            host.stats().queued_bytes() > 0 && host.stats().count(lf_core::Count::BytesReceived) >= 32
        });
        let ended = host.running.drain();
        assert_eq!((ended.cut, ended.exit_code()), (2, 3));
        half.expect_end();
        idle.expect_end();
        assert!(stalled.rest().len() < 9_000_000);
    });
}

fn is_refused(host: &Host) -> impl Fn() -> bool + use<> {
    let lf_core::Address::Tcp(at) = host.address() else { panic!("it listens on TCP") };
    move || TcpStream::connect(at).is_err()
}

#[test]
fn nobody_gets_in_while_the_server_drains() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, common::PATIENCE * 10, &gate);
        let mut busy = host.connect();
        busy.send(b"gate\n");
        gate.until_waiting(1);
        let refused = is_refused(&host);
        let ended = drain_while(host, || {
            until("new connections are refused", refused);
            gate.open();
            assert_eq!(busy.rest(), b"gate\n");
        });
        assert_eq!(ended.cut, 0);
    });
}

#[test]
fn stopping_cuts_everybody_at_once() {
    in_every_mode(|mode| {
        let host = serve(mode, common::PATIENCE * 10, &Gate::new());
        let mut clients: Vec<_> = (0..20).map(|_| host.connect()).collect();
        clients.iter_mut().for_each(|client| say(client, "here"));
        let refused = is_refused(&host);
        let ended = host.running.stop();
        assert_eq!((ended.cut, ended.threads_left), (20, 0));
        clients.iter_mut().for_each(Client::expect_end);
        assert!(refused());
    });
}

#[test]
fn dropping_a_running_server_stops_it() {
    in_every_mode(|mode| {
        let host = serve(mode, common::PATIENCE * 10, &Gate::new());
        let mut client = host.connect();
        say(&mut client, "here");
        let refused = is_refused(&host);
        drop(host);
        client.expect_end();
        assert!(refused());
    });
}

#[test]
fn a_thread_that_is_stuck_in_a_handler_is_left_behind_and_counted() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, Duration::from_millis(50), &gate);
        let mut stuck = host.connect();
        stuck.send(b"gate\n");
        gate.until_waiting(1);
        let ended = host.running.drain();
        assert_eq!((ended.cut, ended.threads_left), (1, 1));
        gate.open();
        assert!(matches!(stuck.rest().as_slice(), b"" | b"gate\n"));
    });
}
