//! A peer that has finished sending still reads: it gets all that it asked for before the connection is closed.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Gate, Host, any_port, gated_echo, in_every_mode, lines, numbered_lines};
use lf_core::codec::Line;
use lf_core::{Address, CloseReason, Count, Outcome, OutputLimits};

/// Answers `give N` with N bytes.
fn give(cx: &mut common::LineContext<'_>, line: &str) -> Outcome {
    let count = line.strip_prefix("give ").ok_or("what?")?.parse()?;
    cx.send_bytes(&vec![b'x'; count]);
    Ok(())
}

#[test]
fn a_peer_that_finished_gets_every_answer() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = Address::Unix(dir.path().join("socket"));
        let builder = mode.builder().listen(any_port(), Line::default(), Echo);
        let host = Host::start(builder.listen(path.clone(), Line::default(), Echo));
        let sent = numbered_lines(5_000);
        for mut client in [host.connect(), Client::connect(&path)] {
            client.send(&sent);
            client.finish();
            assert!(client.rest() == sent);
        }
        host.until_closed(CloseReason::PeerClosed, 2);
    });
}

#[test]
fn leftovers_behind_a_full_socket_still_go_out() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(give));
        let mut client = Client::connect_slow(&host.address());
        client.send(b"give 4000000\ngive 4000000\ngive 7\n");
        client.finish();
        common::until("output is queued", || host.stats().queued_bytes() > 0);
        assert_eq!(client.rest().len(), 8_000_007);
        host.until_closed(CloseReason::PeerClosed, 1);
        assert_eq!(host.stats().queued_bytes(), 0);
    });
}

#[test]
fn requests_that_were_unread_when_the_peer_finished_are_answered() {
    in_every_mode(|mode| {
        let limits = OutputLimits { high: 64 * 1024, low: 1024, ..OutputLimits::default() };
        let builder = mode.builder().output_limits(limits);
        let host = Host::start(builder.listen(any_port(), Line::default(), lines(give)));
        let mut client = Client::connect_slow(&host.address());
        // Paused by the first answer, the server leaves the other requests where they are.
        client.send(b"give 8000000\n");
        host.until_count(Count::ReadPauses, 1);
        client.send(&b"give 1000\n".repeat(1000));
        client.finish();
        assert_eq!(client.rest().len(), 9_000_000);
        host.until_closed(CloseReason::PeerClosed, 1);
    });
}

#[test]
fn a_peer_that_finishes_while_its_handler_blocks_gets_its_answer() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = mode.serve(Line::default(), gated_echo(&gate));
        let mut client = host.connect();
        client.send(b"one\n");
        gate.until_waiting(1);
        client.send(b"two\nthree");
        client.finish();
        gate.open();
        assert_eq!(client.rest(), b"one\ntwo\nthree\n");
        host.until_closed(CloseReason::PeerClosed, 1);
    });
}

#[test]
fn a_peer_that_says_nothing_and_leaves_is_let_go() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Echo);
        host.connect().expect_end_after_finishing();
        drop(host.connect());
        host.until_closed(CloseReason::PeerClosed, 2);
        host.until_connected(0);
    });
}

#[test]
fn a_peer_that_resets_is_counted_apart_from_one_that_finishes() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Echo);
        let mut client = host.connect();
        client.send(b"x\n");
        client.expect(b"x\n");
        client.reset();
        host.until_closed(CloseReason::PeerReset, 1);
        assert_eq!(host.stats().closed_total(), 1);
    });
}

#[test]
fn a_peer_that_vanishes_behind_a_full_socket_is_noticed() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(give));
        let mut client = Client::connect_slow(&host.address());
        client.send(b"give 8000000\n");
        host.until_count(Count::ReadPauses, 1);
        client.reset();
        host.until_closed(CloseReason::PeerReset, 1);
        assert_eq!(host.stats().queued_bytes(), 0);
    });
}
