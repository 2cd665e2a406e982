//! `Remote`: reaching connections from any thread, in order, and never the wrong one.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, LineContext, Stop, any_port, echo_line, gated_echo, in_every_mode, lines, until};
use lf_core::codec::Line;
use lf_core::{CloseReason, Count, Delivery, Handler, Outcome, Peer, Remote, SendError, Token};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

#[test]
fn messages_of_each_thread_arrive_in_its_order() {
    const THREADS: usize = 4;
    const MESSAGES: usize = 2_000;
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        let mut client = host.connect();
        let token = client.token();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let remote = host.running.remote();
                scope.spawn(move || {
                    for i in 0..MESSAGES {
                        remote.send(token, format!("{thread} {i}\n").into_bytes()).unwrap();
                    }
                });
            }
            let mut next = [0; THREADS];
            for _ in 0..THREADS * MESSAGES {
                let line = client.line();
                let (thread, i) = line.split_once(' ').unwrap();
                let next = &mut next[thread.parse::<usize>().unwrap()];
                assert_eq!(i.parse::<usize>().unwrap(), *next, "thread {thread}");
                *next += 1;
            }
        });
        let stats = host.stats();
        let sends = stats.count(Count::DirectSends) + stats.count(Count::QueuedSends);
        assert_eq!(sends, (THREADS * MESSAGES) as u64);
        assert_eq!(stats.queued_bytes(), 0);
    });
}

#[test]
fn a_message_to_an_idle_connection_is_direct_and_one_to_a_busy_connection_is_queued() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = mode.serve(Line::default(), gated_echo(&gate));
        let mut client = host.connect();
        let token = client.token();
        until("the turn has ended", || host.running.remote().send(token, *b"d") == Ok(Delivery::Direct));
        client.send(b"answer\n");
        gate.until_waiting(1);
        assert_eq!(host.running.remote().send(token, *b"queued\n"), Ok(Delivery::Queued));
        assert!(host.count(Count::QueuedSends) >= 1);
        gate.open();
        // The turn that was in progress ends first.
        while client.read(1) == b"d" {}
        client.expect(b"nswer\nqueued\n");
    });
}

#[test]
fn a_handler_sends_to_its_own_connection_after_its_answer() {
    in_every_mode(|mode| {
        let handler = lines(|cx, line| {
            let delivery = cx.remote().send(cx.token(), *b"note to self\n")?;
            assert_eq!(delivery, Delivery::Queued);
            echo_line(cx, line)
        });
        let host = mode.serve(Line::default(), handler);
        let mut client = host.connect();
        for _ in 0..100 {
            client.send(b"answer\n");
            client.expect(b"answer\nnote to self\n");
        }
    });
}

/// Says with each message whether the thread of the test serves it.
struct Thread(std::thread::ThreadId);

impl Handler<Line> for Thread {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, _line: &[u8]) -> Outcome {
        Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?)
    }

    fn message(&self, cx: &mut LineContext<'_>, message: &Arc<[u8]>) -> Outcome {
        let here = if std::thread::current().id() == self.0 { "here" } else { "there" };
        Ok(cx.send(format!("{} {here}", String::from_utf8_lossy(message)).as_bytes())?)
    }
}

#[test]
fn a_posted_message_is_served_in_order_and_never_by_the_thread_that_leaves_it() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().listen(any_port(), Line::default(), Thread(std::thread::current().id())));
        let mut client = host.connect();
        let token = client.token();
        let remote = host.running.remote();
        until("the turn has ended", || remote.send(token, *b"0") == Ok(Delivery::Direct));
        while client.line() != "0 here" {}
        for number in 1..100 {
            remote.post(token, number.to_string().into_bytes()).unwrap();
            if number % 3 == 0 {
                client.expect(format!("{} there\n{} there\n{number} there\n", number - 2, number - 1).as_bytes());
            }
        }
        drop(client);
        until("it is gone", || remote.post(token, *b"nobody") == Err(SendError::Gone));
        assert_eq!(host.stats().queued_bytes(), 0);
    });
}

/// Passes every message on to the next connection of a ring.
struct Ring {
    members: Mutex<Vec<Token>>,
    remote: OnceLock<Remote>,
}

impl Ring {
    fn send(&self, place: usize, hops: usize) {
        let token = self.members.lock().unwrap()[place];
        self.remote.get().unwrap().send(token, format!("{place} {hops}").into_bytes()).unwrap();
    }
}

impl Handler<Line> for &'static Ring {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        if line == b"start" {
            self.send(1, std::str::from_utf8(line).map(|_| 300)?);
            return Ok(());
        }
        self.members.lock().unwrap().push(cx.token());
        Ok(cx.send(b"joined")?)
    }

    fn message(&self, cx: &mut LineContext<'_>, message: &Arc<[u8]>) -> Outcome {
        let (place, hops) = std::str::from_utf8(message)?.split_once(' ').ok_or("what?")?;
        let (place, hops): (usize, usize) = (place.parse()?, hops.parse()?);
        cx.send(format!("passed {hops}").as_bytes())?;
        let members = self.members.lock().unwrap().len();
        if hops > 0 {
            self.send((place + 1) % members, hops - 1);
        }
        Ok(())
    }
}

#[test]
fn a_chain_of_sends_longer_than_the_nesting_limit_reaches_everybody() {
    in_every_mode(|mode| {
        let ring: &'static Ring = Box::leak(Box::new(Ring { members: Mutex::default(), remote: OnceLock::new() }));
        let host = Host::start(mode.builder().groups(2).listen(any_port(), Line::default(), ring));
        ring.remote.set(host.running.remote()).unwrap();
        let mut clients: Vec<_> = (0..7).map(|_| host.connect()).collect();
        for client in &mut clients {
            client.send(b"join\n");
            client.expect(b"joined\n");
        }
        clients[0].send(b"start\n");
        for hops in (0..=300).rev() {
            let place = (1 + 300 - hops) % clients.len();
            assert_eq!(clients[place].line(), format!("passed {hops}"));
        }
    });
}

/// A message `N path` is passed on along the path; at its end, a line is sent to the last of all.
struct Chain {
    members: Mutex<Vec<Token>>,
}

impl Handler<Line> for &'static Chain {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        if line == b"start" {
            let members = self.members.lock().unwrap().clone();
            let last = *members.last().ok_or("nobody")?;
            cx.remote().send(members[1], *b"1")?;
            cx.remote().send(last, *b"sent second\n")?;
            return Ok(());
        }
        self.members.lock().unwrap().push(cx.token());
        Ok(cx.send(b"joined")?)
    }

    fn message(&self, cx: &mut LineContext<'_>, message: &Arc<[u8]>) -> Outcome {
        let members = self.members.lock().unwrap().clone();
        match std::str::from_utf8(message)?.parse::<usize>() {
            Ok(place) if place + 2 < members.len() => {
                cx.remote().send(members[place + 1], (place + 1).to_string().into_bytes())?;
            }
            Ok(_) => {
                cx.remote().send(members[members.len() - 1], *b"sent first\n")?;
            }
            Err(_) => cx.send_shared(message),
        }
        Ok(())
    }
}

#[test]
fn messages_of_one_thread_stay_in_order_whatever_depth_they_were_sent_from() {
    in_every_mode(|mode| {
        // Longer ones are passed on by several threads.
        for length in 3..=6 {
            let chain: &'static Chain = Box::leak(Box::new(Chain { members: Mutex::default() }));
            let host = mode.serve(Line::default(), chain);
            let mut clients: Vec<_> = (0..length).map(|_| host.connect()).collect();
            for client in &mut clients {
                client.send(b"join\n");
                client.expect(b"joined\n");
            }
            // A hop to a connection that is still in its turn would be another thread's, in its own time.
            let remote = host.running.remote();
            let members = chain.members.lock().unwrap().clone();
            until("all turns are over", || members.iter().all(|token| remote.look_at(*token).is_some()));
            clients[0].send(b"start\n");
            let last = &mut clients[length - 1];
            assert_eq!([last.line(), last.line()], ["sent first", "sent second"], "over {length} connections");
        }
    });
}

#[test]
fn a_closed_connection_is_gone_and_its_token_never_reaches_the_next_life_of_its_slot() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        let remote = host.running.remote();
        let mut first = host.connect();
        let old = first.token();
        drop(first);
        host.until_connected(0);
        assert_eq!(remote.send(old, *b"for the first"), Err(SendError::Gone));
        assert!(!remote.close(old));
        let mut second = host.connect();
        let new = second.token();
        // The same slot, as the number's lower half says.
        assert_eq!(old.to_bits() << 32, new.to_bits() << 32);
        assert_ne!(old, new);
        assert_eq!(remote.send(old, *b"for the first"), Err(SendError::Gone));
        assert!(!remote.close(old));
        remote.send(new, *b"for the second").unwrap();
        second.expect(b"for the second");
        assert_eq!(host.count(Count::RefusedSends), 2);
    });
}

#[test]
fn a_token_that_never_was_is_gone() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        for bits in [0, 1, 1 << 32, u64::from(u32::MAX), u64::MAX, u64::MAX - 1] {
            assert_eq!(host.running.remote().send(Token::from_bits(bits), *b"x"), Err(SendError::Gone));
            assert!(!host.running.remote().close(Token::from_bits(bits)));
        }
    });
}

#[test]
fn a_remote_of_a_server_that_has_stopped_finds_nobody() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        let remote = host.running.remote();
        let token = host.connect().token();
        assert_eq!(host.running.stop().threads_left, 0);
        assert_eq!(remote.send(token, *b"x"), Err(SendError::Gone));
        assert!(!remote.close(token));
        assert_eq!(remote.broadcast([token], &Arc::from(*b"x")), 0);
    });
}

#[test]
fn a_connection_is_closed_by_its_token_also_while_its_handler_blocks() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = mode.serve(Line::default(), gated_echo(&gate));
        let mut idle = host.connect();
        let token = idle.token();
        assert!(host.running.remote().close(token));
        idle.expect_end();
        let mut busy = host.connect();
        let token = busy.token();
        busy.send(b"answer\n");
        gate.until_waiting(1);
        assert!(host.running.remote().close(token));
        gate.open();
        assert_eq!(busy.rest(), b"answer\n", "after the turn that it is in");
        host.until_closed(CloseReason::Requested, 2);
        host.until_connected(0);
        assert!(!host.running.remote().close(token));
    });
}

#[test]
fn a_broadcast_reaches_all_that_are_there_and_counts_them() {
    in_every_mode(|mode| {
        let host = Host::start(mode.builder().groups(3).listen(any_port(), Line::default(), lines(echo_line)));
        let mut clients: Vec<_> = (0..50).map(|_| host.connect()).collect();
        let tokens: Vec<_> = clients.iter_mut().map(Client::token).collect();
        let gone: Vec<_> = clients.drain(40..).collect();
        drop(gone);
        host.until_connected(40);
        let message: Arc<[u8]> = Arc::from(*b"to all\n");
        for _ in 0..20 {
            assert_eq!(host.running.remote().broadcast(tokens.iter().copied(), &message), 40);
        }
        clients.iter_mut().for_each(|client| client.expect(&b"to all\n".repeat(20)));
        assert_eq!(host.count(Count::RefusedSends), 200);
    });
}

/// Answers messages with what they say, spelt otherwise, and how many came before.
struct Counts;

impl Handler<Line> for Counts {
    type State = u32;

    fn open(&self, _peer: &Peer) -> u32 {
        0
    }

    fn frame(&self, cx: &mut lf_core::Context<'_, Line, u32>, _line: &[u8]) -> Outcome {
        Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?)
    }

    fn message(&self, cx: &mut lf_core::Context<'_, Line, u32>, message: &Arc<[u8]>) -> Outcome {
        *cx.state += 1;
        let text = format!("{} {}", *cx.state, String::from_utf8_lossy(message).to_uppercase());
        Ok(cx.send(text.as_bytes())?)
    }
}

#[test]
fn the_message_hook_has_the_state_of_its_connection() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Counts);
        let mut client = host.connect();
        let token = client.token();
        for i in 1..=100 {
            host.running.remote().send(token, *b"psst").unwrap();
            assert_eq!(client.line(), format!("{i} PSST"));
        }
    });
}

/// Takes messages and says nothing about them.
struct Swallows;

impl Handler<Line> for Swallows {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, _line: &[u8]) -> Outcome {
        Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?)
    }

    fn message(&self, _cx: &mut LineContext<'_>, _message: &Arc<[u8]>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_flood_of_messages_keeps_neither_a_connection_from_being_read_nor_a_sender_from_its_next_send() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Swallows);
        let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
        let tokens: Vec<_> = clients.iter_mut().map(Client::token).collect();
        let (stop, sends) = (Stop::default(), [AtomicU64::new(0), AtomicU64::new(0)]);
        std::thread::scope(|scope| {
            let _at_the_end = stop.at_the_end();
            for sends in &sends {
                let (stop, tokens, remote) = (&stop, &tokens, host.running.remote());
                scope.spawn(move || {
                    while !stop.is_set() {
                        for token in tokens {
                            let _ = remote.send(*token, *b"x");
                        }
                        sends.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..300 {
                clients.iter_mut().for_each(|client| client.send(b"answer\n"));
                clients.iter_mut().zip(&tokens).for_each(|(client, token)| {
                    assert_eq!(client.line(), token.to_bits().to_string());
                });
            }
            let seen = sends.each_ref().map(|sends| sends.load(Ordering::Relaxed));
            until("both senders come to their next send", || {
                sends.iter().zip(seen).all(|(sends, seen)| sends.load(Ordering::Relaxed) > seen)
            });
        });
    });
}
