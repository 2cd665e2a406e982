//! Peers that read slowly: they are read no further, nothing of theirs is lost, and what is kept for them has an end.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Gate, Host, Mode, any_port, in_every_mode, lines, numbered_lines, pattern, until};
use lf_core::codec::{Line, Raw};
use lf_core::{CloseReason, Count, Delivery, Outcome, OutputLimits, SendError, Timeouts};
use std::sync::Arc;
use std::time::Duration;

const LIMITS: OutputLimits =
    OutputLimits { high: 64 * 1024, low: 16 * 1024, max: 1024 * 1024, total_max: 64 * 1024 * 1024 };

/// `give N` is answered with N bytes, `block` waits at the gate; the rest is echoed.
fn giver(mode: Mode, limits: OutputLimits, gate: &Arc<Gate>) -> Host {
    let gate = Arc::clone(gate);
    let handler = lines(move |cx, line| -> Outcome {
        match line.split_once(' ') {
            Some(("give", count)) => cx.send_bytes(&vec![b'x'; count.parse()?]),
            _ if line == "block" => gate.pass(),
            _ => cx.send(line.as_bytes())?,
        }
        Ok(())
    });
    Host::start(mode.builder().output_limits(limits).listen(any_port(), Line::default(), handler))
}

#[test]
fn a_slow_reader_pauses_at_the_high_watermark_and_resumes_below_the_low_one() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().output_limits(LIMITS).listen(any_port(), Line::default(), Echo));
        let sent = numbered_lines(1_000_000);
        let mut client = Client::connect_slow(&host.address());
        let mut sender = client.duplicate();
        std::thread::scope(|scope| {
            let sent = &sent;
            scope.spawn(move || sender.send(sent));
            host.until_count(Count::ReadPauses, 1);
            let queued = host.stats().queued_bytes();
            assert!((1..LIMITS.max as u64).contains(&queued), "{queued} bytes are queued");
            assert!(host.count(Count::BytesReceived) < sent.len() as u64, "paused before all was read");
            client.expect(sent);
        });
        until("nothing is queued any more", || host.stats().queued_bytes() == 0);
        assert_eq!(host.stats().connections(), 1);
    });
}

#[test]
fn a_raw_stream_to_a_slow_reader_loses_nothing() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().output_limits(LIMITS).listen(any_port(), Raw, Echo));
        let sent = &pattern(12_000_000);
        let mut client = Client::connect_slow(&host.address());
        let mut sender = client.duplicate();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(sent));
            host.until_count(Count::ReadPauses, 1);
            client.expect(sent);
        });
    });
}

#[test]
fn an_answer_over_the_maximum_closes_with_output_overflow() {
    in_every_mode(|mode| {
        let host = giver(mode, LIMITS, &Gate::new());
        let mut client = Client::connect_slow(&host.address());
        client.send(b"give 9000000\n");
        host.until_closed(CloseReason::OutputOverflow, 1);
        host.until_connected(0);
        assert_eq!(host.stats().queued_bytes(), 0);
        host.assert_serves_lines();
    });
}

#[test]
fn answers_over_the_total_of_all_connections_close_with_output_overflow() {
    in_every_mode(|mode| {
        let limits = OutputLimits { max: 64 << 20, total_max: 10_000_000, ..LIMITS };
        let host = giver(mode, limits, &Gate::new());
        let mut clients: Vec<_> = (0..2).map(|_| Client::connect_slow(&host.address())).collect();
        clients[0].send(b"give 9000000\n");
        until("the first fills most of it", || host.stats().queued_bytes() > 1_000_000);
        clients[1].send(b"give 13000000\n");
        host.until_closed(CloseReason::OutputOverflow, 1);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_closed_at_the_write_stall_deadline() {
    in_every_mode(|mode| {
        let timeouts = Timeouts { write_stall: Some(Duration::from_millis(300)), ..Timeouts::default() };
        let handler = lines(|cx, _| {
            cx.send_bytes(&vec![b'x'; 9_000_000]);
            Ok(())
        });
        let host = Host::start(mode.builder().timeouts(timeouts).listen(any_port(), Line::default(), handler));
        let mut client = Client::connect_slow(&host.address());
        client.send(b"go\n");
        host.until_closed(CloseReason::WriteStall, 1);
        assert_eq!(host.stats().queued_bytes(), 0);
        assert!(client.rest().len() < 9_000_000);
    });
}

#[test]
fn messages_to_a_busy_connection_are_refused_when_its_queue_is_full() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = giver(mode, LIMITS, &gate);
        let mut client = host.connect();
        let token = client.token();
        client.send(b"block\n");
        gate.until_waiting(1);
        let message: Arc<[u8]> = pattern(100_000).into();
        let outcomes: Vec<_> = (0..12).map(|_| host.running.remote().send(token, Arc::clone(&message))).collect();
        assert_eq!(outcomes[..10], [Ok(Delivery::Queued); 10]);
        assert_eq!(outcomes[10..], [Err(SendError::Full); 2]);
        assert_eq!(host.stats().queued_bytes(), 1_000_000);
        assert_eq!((host.count(Count::QueuedSends), host.count(Count::RefusedSends)), (10, 2));
        gate.open();
        client.expect(&message.repeat(10));
        until("nothing is queued any more", || host.stats().queued_bytes() == 0);
    });
}

#[test]
fn messages_are_refused_when_all_queues_together_are_full() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = giver(mode, OutputLimits { total_max: 250_000, ..LIMITS }, &gate);
        let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
        let tokens: Vec<_> = clients.iter_mut().map(Client::token).collect();
        clients.iter_mut().for_each(|client| client.send(b"block\n"));
        gate.until_waiting(3);
        let outcomes: Vec<_> =
            tokens.iter().map(|token| host.running.remote().send(*token, pattern(100_000))).collect();
        assert_eq!(outcomes, [Ok(Delivery::Queued), Ok(Delivery::Queued), Err(SendError::ServerFull)]);
        gate.open();
        clients[..2].iter_mut().for_each(|client| client.expect(&pattern(100_000)));
        until("nothing is queued any more", || host.stats().queued_bytes() == 0);
        assert_eq!(host.running.remote().send(tokens[2], pattern(1000)).map(|_| ()), Ok(()));
        clients[2].expect(&pattern(1000));
    });
}

#[test]
fn messages_wait_behind_the_output_of_a_paused_connection() {
    in_every_mode(|mode| {
        let host = giver(mode, OutputLimits { max: 16 << 20, ..LIMITS }, &Gate::new());
        let mut client = Client::connect_slow(&host.address());
        let token = client.token();
        client.send(b"give 7000000\n");
        host.until_count(Count::ReadPauses, 1);
        for i in 0..100 {
            assert_eq!(host.running.remote().send(token, format!("{i:04}").into_bytes()), Ok(Delivery::Queued));
        }
        client.expect(&vec![b'x'; 7_000_000]);
        let expected: String = (0..100).map(|i| format!("{i:04}")).collect();
        client.expect(expected.as_bytes());
    });
}
