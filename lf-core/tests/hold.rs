//! A handler that holds further frames back until its answer is there.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Host, LineContext, Mode, PATIENCE, any_port, in_every_mode, until};
use lf_core::codec::Line;
use lf_core::{CloseReason, Context, Handler, Message, Outcome, Peer, Timeout, Timeouts, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Holds after every line; a message answers it and lets go.
#[derive(Default)]
struct Holds {
    token: AtomicU64,
    frames: AtomicU64,
    finished: AtomicU64,
    /// Answers by itself after so many milliseconds, if not 0.
    answers_after_ms: u64,
}

/// The handler of it.
struct Holding(Arc<Holds>);

impl Handler<Line> for Holding {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, _line: &[u8]) -> Outcome {
        cx.hold();
        if self.0.answers_after_ms > 0 {
            cx.set_timer(Duration::from_millis(self.0.answers_after_ms));
        }
        self.0.token.store(cx.token().to_bits(), Ordering::SeqCst);
        self.0.frames.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn message(&self, cx: &mut LineContext<'_>, message: &Message) -> Outcome {
        cx.send_shared(message);
        cx.release_hold();
        Ok(())
    }

    fn timeout(&self, cx: &mut LineContext<'_>, which: Timeout) -> Outcome {
        if which == Timeout::User {
            cx.send(b"at last")?;
            cx.release_hold();
        }
        Ok(())
    }

    fn peer_finished(&self, _cx: &mut LineContext<'_>) -> Outcome {
        self.0.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Holds {
    fn until_frames(&self, count: u64) -> Token {
        until(&format!("{count} frames came"), || self.frames.load(Ordering::SeqCst) == count);
        Token::from_bits(self.token.load(Ordering::SeqCst))
    }
}

fn serve(mode: Mode) -> (Arc<Holds>, Host) {
    let holds = Arc::new(Holds::default());
    let host = mode.serve(Line::default(), Holding(Arc::clone(&holds)));
    (holds, host)
}

#[test]
fn frames_that_are_held_back_come_one_by_one_as_they_are_released() {
    in_every_mode(|mode| {
        let (holds, host) = serve(mode);
        let mut client = host.connect();
        client.send(b"one\ntwo\nthr");
        for (count, answer) in [(1, "1\n"), (2, "2\n")] {
            let token = holds.until_frames(count);
            host.running.remote().send(token, answer.as_bytes()).unwrap();
            client.expect(answer.as_bytes());
        }
        client.send(b"ee\nfour\n");
        for (count, answer) in [(3, "3\n"), (4, "4\n")] {
            let token = holds.until_frames(count);
            host.running.remote().send(token, answer.as_bytes()).unwrap();
            client.expect(answer.as_bytes());
        }
        assert_eq!(holds.frames.load(Ordering::SeqCst), 4);
        client.expect_end_after_finishing();
        host.until_closed(CloseReason::PeerClosed, 1);
    });
}

#[test]
fn the_handler_hears_that_the_peer_has_finished_and_may_still_answer() {
    in_every_mode(|mode| {
        let (holds, host) = serve(mode);
        let mut client = host.connect();
        client.send(b"question\n");
        let token = holds.until_frames(1);
        client.finish();
        until("it is told", || holds.finished.load(Ordering::SeqCst) == 1);
        host.running.remote().send(token, *b"answer\n").unwrap();
        client.expect(b"answer\n");
        client.expect_end();
        assert_eq!(holds.finished.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_deadline_for_reading_runs_while_frames_are_held_back() {
    in_every_mode(|mode| {
        let short = Some(Duration::from_millis(30));
        let timeouts = Timeouts { first_byte: short, frame: short, idle: short, write_stall: short };
        let holds = Arc::new(Holds { answers_after_ms: 150, ..Holds::default() });
        let host = Host::start(mode.builder().timeouts(timeouts).listen(
            any_port(),
            Line::default(),
            Holding(Arc::clone(&holds)),
        ));
        let mut client = host.connect();
        client.send(b"question\nhalf");
        client.expect(b"at last\n");
        // Once it is read again, the half frame has its deadline.
        client.expect_end();
        host.until_closed(CloseReason::FrameTimeout, 1);
    });
}

#[test]
fn a_drain_waits_for_the_answer_that_is_owed() {
    in_every_mode(|mode| {
        let holds = Arc::new(Holds::default());
        let builder =
            mode.builder().drain_timeout(PATIENCE).listen(any_port(), Line::default(), Holding(Arc::clone(&holds)));
        let host = Host::start(builder);
        let mut client = host.connect();
        client.send(b"question\n");
        let token = holds.until_frames(1);
        let remote = host.running.remote();
        std::thread::scope(|scope| {
            let drained = scope.spawn(move || host.running.drain());
            until("it drains", || remote.is_draining());
            remote.send(token, *b"answer\n").unwrap();
            client.expect(b"answer\n");
            client.expect_end();
            let began = Instant::now();
            assert_eq!(drained.join().unwrap().cut, 0);
            assert!(began.elapsed() < PATIENCE / 2);
        });
    });
}

/// Says nothing until the peer has said all.
struct LastWord;

impl Handler<Line> for LastWord {
    type State = Vec<u8>;

    fn open(&self, _peer: &Peer) -> Vec<u8> {
        Vec::new()
    }

    fn frame(&self, cx: &mut Context<'_, Line, Vec<u8>>, line: &[u8]) -> Outcome {
        cx.state.extend_from_slice(line);
        Ok(())
    }

    fn input_ended(&self, cx: &mut Context<'_, Line, Vec<u8>>) -> Outcome {
        cx.hold();
        cx.set_timer(Duration::from_millis(5));
        Ok(())
    }

    fn timeout(&self, cx: &mut Context<'_, Line, Vec<u8>>, which: Timeout) -> Outcome {
        if which == Timeout::User {
            let said = std::mem::take(cx.state);
            cx.send(&said)?;
            cx.release_hold();
        }
        Ok(())
    }
}

#[test]
fn a_handler_may_have_the_last_word_after_a_peer_that_has_said_all() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), LastWord);
        let mut client = host.connect();
        client.send(b"one\ntwo\n");
        client.finish();
        client.expect(b"onetwo\n");
        client.expect_end();
    });
}
