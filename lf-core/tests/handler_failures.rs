//! Handlers that panic, fail or close: it ends their connection and nobody else's.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Host, any_port, in_every_mode, lines, until};
use lf_core::codec::Line;
use lf_core::{CloseReason, Closed, Context, Handler, Outcome, Peer, Timeout};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Ends = Arc<Mutex<Vec<CloseReason>>>;

/// Does what a line says, wherever it is said.
struct Clumsy {
    ends: Ends,
}

fn act(cx: &mut Context<'_, Line, Vec<u8>>, line: &[u8]) -> Outcome {
    match line {
        b"panic" => panic!("as asked"),
        b"fail" => Err("as asked".into()),
        b"close" => {
            cx.close();
            Ok(())
        }
        b"much" => {
            cx.send_bytes(&vec![b'x'; 8_000_000]);
            Ok(())
        }
        b"later" => {
            cx.set_timer(Duration::from_millis(1));
            Ok(())
        }
        b"block and panic" => cx.blocking(|| panic!("as asked")),
        _ => Ok(cx.send(line)?),
    }
}

impl Handler<Line> for Clumsy {
    type State = Vec<u8>;

    fn open(&self, _peer: &Peer) -> Vec<u8> {
        Vec::new()
    }

    fn frame(&self, cx: &mut Context<'_, Line, Vec<u8>>, line: &[u8]) -> Outcome {
        if line == b"token" {
            return Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?);
        }
        if let Some(at_the_end) = line.strip_prefix(b"at the end ") {
            *cx.state = at_the_end.to_vec();
        }
        act(cx, line)
    }

    fn message(&self, cx: &mut Context<'_, Line, Vec<u8>>, message: &Arc<[u8]>) -> Outcome {
        act(cx, message)
    }

    fn timeout(&self, _cx: &mut Context<'_, Line, Vec<u8>>, _which: Timeout) -> Outcome {
        panic!("in the timer")
    }

    fn closed(&self, state: &mut Vec<u8>, closed: &Closed) {
        self.ends.lock().unwrap().push(closed.why);
        assert!(state != b"panic", "as asked");
    }
}

fn in_every_mode_with(test: impl Fn(&Host, Client, &Ends)) {
    in_every_mode(|mode| {
        let ends = Ends::default();
        let host = mode.serve(Line::default(), Clumsy { ends: Arc::clone(&ends) });
        let mut neighbour = host.connect();
        neighbour.send(b"here\n");
        neighbour.expect(b"here\n");
        test(&host, host.connect(), &ends);
        neighbour.send(b"still here\n");
        neighbour.expect(b"still here\n");
        host.until_connected(1);
        host.assert_serves_lines();
    });
}

#[test]
fn a_handler_that_panics_closes_only_its_own_connection() {
    in_every_mode_with(|host, mut client, ends| {
        client.send(b"panic\nnot reached\n");
        client.expect_end();
        host.until_closed(CloseReason::HandlerPanic, 1);
        until("the handler heard of it", || *ends.lock().unwrap() == [CloseReason::HandlerPanic]);
    });
}

#[test]
fn panics_use_up_no_workers() {
    in_every_mode_with(|host, client, _| {
        drop(client);
        for line in [&b"panic\n"[..], b"block and panic\n"].repeat(20) {
            let mut client = host.connect();
            client.send(line);
            client.expect_end();
        }
        host.until_closed(CloseReason::HandlerPanic, 40);
    });
}

#[test]
fn a_handler_that_fails_closes_after_what_it_had_sent() {
    in_every_mode_with(|host, mut client, ends| {
        client.send(b"one\ntwo\nfail\nnot reached\n");
        assert_eq!(client.rest(), b"one\ntwo\n");
        drop(client);
        host.until_closed(CloseReason::HandlerError, 1);
        until("the handler heard of it", || *ends.lock().unwrap() == [CloseReason::HandlerError]);
    });
}

#[test]
fn a_handler_that_closes_lets_everything_out_first() {
    in_every_mode_with(|host, client, ends| {
        drop(client);
        let mut client = Client::connect_slow(&host.address());
        client.send(b"much\nclose\nnot reached\n");
        assert_eq!(client.rest().len(), 8_000_000);
        drop(client);
        host.until_closed(CloseReason::Handler, 1);
        until("the handler heard of both", || ends.lock().unwrap().len() == 2);
    });
}

#[test]
fn last_words_reach_a_peer_that_keeps_on_sending() {
    in_every_mode_with(|host, mut client, _| {
        client.send(b"last words\nclose\n");
        client.try_send(&vec![b'x'; 300_000]);
        client.expect(b"last words\n");
        drop(client);
        host.until_closed(CloseReason::Handler, 1);
    });
}

#[test]
fn a_peer_that_never_finishes_cannot_keep_a_closed_connection() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::new(100), lines(|_, _| Err("no".into())));
        let (mut failed, mut oversized) = (host.connect(), host.connect());
        failed.send(b"fail\nmore\n");
        oversized.send(&[b'x'; 70_000]);
        host.until_closed(CloseReason::FrameTooLarge, 1);
        host.until_closed(CloseReason::HandlerError, 1);
        host.until_connected(0);
    });
}

#[test]
fn a_panic_over_a_message_does_not_reach_its_sender() {
    in_every_mode_with(|host, mut client, _| {
        let token = client.token();
        host.running.remote().send(token, *b"panic").unwrap();
        client.expect_end();
        host.until_closed(CloseReason::HandlerPanic, 1);
    });
}

#[test]
fn a_failure_over_a_message_closes_after_what_was_sent() {
    in_every_mode_with(|host, mut client, _| {
        let token = client.token();
        host.running.remote().send(token, *b"first").unwrap();
        host.running.remote().send(token, *b"fail").unwrap();
        assert_eq!(client.rest(), b"first\n");
        drop(client);
        host.until_closed(CloseReason::HandlerError, 1);
    });
}

#[test]
fn a_panic_in_a_timer_closes_only_its_connection() {
    in_every_mode_with(|host, mut client, _| {
        client.send(b"later\n");
        client.expect_end();
        host.until_closed(CloseReason::HandlerPanic, 1);
    });
}

#[test]
fn a_panic_while_being_told_of_the_end_harms_nobody() {
    in_every_mode_with(|host, mut client, ends| {
        client.send(b"at the end panic\n");
        client.expect(b"at the end panic\n");
        drop(client);
        host.until_closed(CloseReason::PeerClosed, 1);
        until("the handler heard of it", || ends.lock().unwrap().len() == 1);
    });
}

#[test]
fn an_answer_that_the_codec_cannot_write_closes_the_connection() {
    in_every_mode(|mode| {
        let handler = lines(|cx, line| Ok(cx.send(if line == "bad" { b"a\nb" } else { b"fine" })?));
        let host = Host::start(mode.builder().listen(any_port(), Line::default(), handler));
        let mut client = host.connect();
        client.send(b"good\nbad\n");
        assert_eq!(client.rest(), b"fine\n");
        host.until_closed(CloseReason::HandlerError, 1);
    });
}
