//! The hazards of one-shot epoll, and where each has its test.
//!
//! | | hazard | test |
//! |---|---|---|
//! | 1 | A disarmed descriptor hears nothing, not even a hang-up; a re-arm must ask for the peer's end again | [`a_peer_that_leaves_while_its_handler_blocks_is_noticed_afterwards`], [`the_end_of_a_peer_is_heard_after_any_number_of_turns`], `deadlines::a_slow_handler_does_not_make_its_own_connection_expire` |
//! | 2 | A re-arm publishes the connection: nothing may be touched after it | [`two_threads_never_serve_one_connection_at_once`], `churn::not_one_byte_is_misdelivered_with_oneshot_and_adaptive`, the loom models of `outbox` |
//! | 3 | An event may name a connection that an earlier event of its batch closed | [`events_of_a_batch_for_connections_that_were_just_closed_harm_nobody`], `remote::a_closed_connection_is_gone_and_its_token_never_reaches_the_next_life_of_its_slot` |
//! | 4 | What was read into user space raises no event | `pipelining::more_frames_in_user_space_than_a_turn_takes_go_on_without_a_new_event`, `pipelining::a_pipeline_goes_on_after_a_slow_frame_in_any_of_its_turns` |
//! | 5 | An interest of nothing still reports errors and hang-ups | [`a_reset_is_noticed_while_nothing_is_read`], `half_close::a_peer_that_vanishes_behind_a_full_socket_is_noticed` |
//! | 6 | An event may come before the acceptor is done with the slot | [`peers_that_speak_leave_or_reset_before_they_are_accepted_are_served`], `listeners::a_handler_that_greets_speaks_before_its_peer_does` |
//! | 7 | A handler that blocks must not keep the rest of its batch | `blocking::a_handler_that_blocks_does_not_keep_the_rest_of_its_batch` |
//! | 8 | The wake-up is not one-shot: every waiter must see the shutdown | [`every_waiting_worker_hears_of_the_shutdown`], `lifecycle::starting_and_stopping_fifty_times_leaves_no_descriptor_and_no_thread` |
//! | 9 | A peer that half-closes still reads | `half_close::a_peer_that_finished_gets_every_answer`, `half_close::leftovers_behind_a_full_socket_still_go_out` |
//! | 10 | Descriptor numbers are used again at once | [`a_reused_descriptor_starts_from_nothing`], `churn` |
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, LineContext, any_port, echo_line, in_every_mode, lines, threads, until};
use lf_core::codec::{Len32, Line};
use lf_core::{CloseReason, Count, Handler, Outcome, OutputLimits, Peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_peer_that_leaves_while_its_handler_blocks_is_noticed_afterwards() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let inside = Arc::clone(&gate);
        let handler = lines(move |_, _| {
            inside.pass();
            Ok(())
        });
        let host = mode.serve(Line::default(), handler);
        let (mut finishes, mut resets) = (host.connect(), host.connect());
        finishes.send(b"x\n");
        resets.send(b"x\n");
        gate.until_waiting(2);
        drop(finishes);
        resets.reset();
        gate.open();
        host.until_closed(CloseReason::PeerClosed, 1);
        host.until_closed(CloseReason::PeerReset, 1);
    });
}

#[test]
fn the_end_of_a_peer_is_heard_after_any_number_of_turns() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        for turns in 0..20 {
            let mut client = host.connect();
            for _ in 0..turns {
                client.exchange(b"x\n", b"x\n");
            }
            client.expect_end_after_finishing();
        }
        host.until_closed(CloseReason::PeerClosed, 20);
    });
}

/// Notices if two threads are in it for one connection.
struct Alone;

impl Handler<Line> for Alone {
    type State = Arc<AtomicBool>;

    fn open(&self, _peer: &Peer) -> Arc<AtomicBool> {
        Arc::default()
    }

    fn frame(&self, cx: &mut lf_core::Context<'_, Line, Self::State>, line: &[u8]) -> Outcome {
        let inside = Arc::clone(cx.state);
        assert!(!inside.swap(true, Ordering::SeqCst), "somebody else is here");
        if line == b"token" {
            cx.send(cx.token().to_bits().to_string().as_bytes())?;
        } else {
            cx.send(line)?;
        }
        if line.ends_with(b"0") {
            std::thread::yield_now();
        }
        inside.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn message(&self, cx: &mut lf_core::Context<'_, Line, Self::State>, _message: &Arc<[u8]>) -> Outcome {
        let inside = Arc::clone(cx.state);
        assert!(!inside.swap(true, Ordering::SeqCst), "somebody else is here");
        std::thread::yield_now();
        inside.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn two_threads_never_serve_one_connection_at_once() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Alone);
        let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
        let tokens: Vec<_> = clients.iter_mut().map(Client::token).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        for token in &tokens {
                            let _ = host.running.remote().send(*token, *b"x");
                        }
                    }
                });
            }
            for i in 0..1500 {
                let line = format!("{i}\n");
                clients.iter_mut().for_each(|client| client.send(line.as_bytes()));
                clients.iter_mut().for_each(|client| client.expect(line.as_bytes()));
            }
        });
        assert_eq!(host.stats().closed(CloseReason::HandlerPanic), 0);
        assert!(host.count(Count::Notes) + host.count(Count::QueuedSends) > 0, "they did meet");
    });
}

/// Whoever says `all` closes everybody else; then it is held at the gate.
struct Closes {
    tokens: std::sync::Mutex<Vec<lf_core::Token>>,
    gate: Arc<Gate>,
}

impl Handler<Line> for Closes {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        match line {
            b"join" => self.tokens.lock().unwrap().push(cx.token()),
            b"gate" => self.gate.pass(),
            b"all" => {
                let tokens = self.tokens.lock().unwrap().clone();
                for token in tokens.into_iter().filter(|token| *token != cx.token()) {
                    assert!(cx.remote().close(token));
                }
            }
            _ => {}
        }
        Ok(cx.send(line)?)
    }
}

#[test]
fn events_of_a_batch_for_connections_that_were_just_closed_harm_nobody() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let handler = Closes { tokens: std::sync::Mutex::default(), gate: Arc::clone(&gate) };
        let builder = mode.builder().workers(1).workers_max(1).tick(std::time::Duration::from_secs(1));
        let host = Host::start(builder.listen(any_port(), Line::default(), handler));
        let mut holder = host.connect();
        let mut clients: Vec<_> = (0..30).map(|_| host.connect()).collect();
        for client in &mut clients {
            client.exchange(b"join\n", b"join\n");
        }
        // While the only worker is held, events gather: the first of them closes the subjects of all others.
        holder.send(b"gate\n");
        gate.until_waiting(1);
        clients[0].send(b"all\n");
        clients[1..].iter_mut().for_each(|client| client.send(b"too late\n"));
        gate.open();
        clients[0].expect(b"all\n");
        clients[1..].iter_mut().for_each(|client| assert_eq!(client.rest(), b""));
        host.until_closed(CloseReason::Requested, 29);
        holder.expect(b"gate\n");
        // Their slots and descriptors are in use again.
        let mut next: Vec<_> = (0..29).map(|_| host.connect()).collect();
        next.iter_mut().for_each(|client| client.exchange(b"x\n", b"x\n"));
        clients[0].exchange(b"still here\n", b"still here\n");
    });
}

#[test]
fn a_reset_is_noticed_while_nothing_is_read() {
    in_every_mode(|mode| {
        let limits = OutputLimits { high: 1000, low: 10, ..OutputLimits::default() };
        let handler = lines(|cx, _| {
            cx.send_bytes(&vec![b'x'; 8_000_000]);
            cx.close();
            Ok(())
        });
        let host = Host::start(mode.builder().output_limits(limits).listen(any_port(), Line::default(), handler));
        let mut client = Client::connect_slow(&host.address());
        client.send(b"go\n");
        until("output is queued", || host.stats().queued_bytes() > 0);
        client.reset();
        host.until_closed(CloseReason::PeerReset, 1);
        host.until_connected(0);
    });
}

#[test]
fn peers_that_speak_leave_or_reset_before_they_are_accepted_are_served() {
    in_every_mode(|mode| {
        let built = mode.builder().listen(any_port(), Line::default(), lines(echo_line)).build().unwrap();
        let address = built.addresses()[0].clone();
        let mut clients: Vec<_> = (0..90).map(|_| Client::connect(&address)).collect();
        clients.iter_mut().for_each(|client| client.send(b"early\n"));
        let resets = clients.split_off(60);
        resets.into_iter().for_each(Client::reset);
        clients.iter_mut().take(30).for_each(Client::finish);
        let host = Host { running: built.start().unwrap() };
        clients.iter_mut().for_each(|client| client.expect(b"early\n"));
        clients.iter_mut().take(30).for_each(Client::expect_end);
        host.until_closed(CloseReason::PeerClosed, 30);
        until("the resets are gone", || host.stats().connections() == 30);
        clients[30..].iter_mut().for_each(|client| client.exchange(b"x\n", b"x\n"));
    });
}

#[test]
fn every_waiting_worker_hears_of_the_shutdown() {
    in_every_mode(|mode| {
        let before = threads();
        let host =
            Host::start(mode.builder().groups(3).workers(9).listen(any_port(), Line::default(), lines(echo_line)));
        host.assert_serves_lines();
        until("all workers are there", || threads() >= before + 3 * 9 + 2);
        assert_eq!(host.running.stop().threads_left, 0);
        until("all threads have ended", || threads() == before);
    });
}

/// Counts what it remembers of a connection.
struct Remembers {
    alive: Arc<AtomicUsize>,
}

struct Memory {
    bytes: usize,
    alive: Arc<AtomicUsize>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler<Len32> for Remembers {
    type State = Memory;

    fn open(&self, _peer: &Peer) -> Memory {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Memory { bytes: 0, alive: Arc::clone(&self.alive) }
    }

    fn frame(&self, cx: &mut lf_core::Context<'_, Len32, Memory>, frame: &[u8]) -> Outcome {
        cx.state.bytes += frame.len();
        Ok(cx.send(cx.state.bytes.to_string().as_bytes())?)
    }
}

#[test]
fn a_reused_descriptor_starts_from_nothing() {
    in_every_mode(|mode| {
        let alive = Arc::new(AtomicUsize::new(0));
        let host = mode.serve(Len32::default(), Remembers { alive: Arc::clone(&alive) });
        for round in 0..200 {
            let mut client = host.connect();
            client.exchange(&[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 1, b'3']);
            // Half a frame is left behind, which the next one must not find.
            client.send(&[0, 0, 0, 9, 1, 2]);
            if round % 2 == 0 { client.reset() } else { drop(client) }
        }
        host.until_connected(0);
        until("nothing is remembered", || alive.load(Ordering::Relaxed) == 0);
    });
}
