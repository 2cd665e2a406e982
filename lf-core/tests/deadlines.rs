//! Deadlines: for the first byte, a frame, an idle peer, a stalled one, and the handler's own.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, LineContext, Mode, any_port, in_every_mode, lines, until};
use lf_core::codec::Line;
use lf_core::{CloseReason, Handler, Outcome, Peer, Timeout, Timeouts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NEVER: Timeouts = Timeouts { first_byte: None, frame: None, idle: None, write_stall: None };
const SOON: Option<Duration> = Some(Duration::from_millis(200));

/// `timer MS` sets the timer, `cancel` forgets it, `block MS` blocks for at most so long, `gate` until the gate opens, `on`
/// answers nothing; the rest is echoed.
fn serve(mode: Mode, timeouts: Timeouts, gate: &Arc<Gate>) -> Host {
    let gate = Arc::clone(gate);
    let handler = lines(move |cx, line| -> Outcome {
        match line.split_once(' ').unwrap_or((line, "0")) {
            ("timer", ms) => cx.set_timer(Duration::from_millis(ms.parse()?)),
            ("cancel", _) => cx.cancel_timer(),
            ("block", ms) => Gate::new().pass_for(Duration::from_millis(ms.parse()?)),
            ("gate", _) => gate.pass(),
            ("on", _) => {}
            _ => {}
        }
        if line == "on" { Ok(()) } else { Ok(cx.send(line.as_bytes())?) }
    });
    Host::start(mode.builder().timeouts(timeouts).listen(any_port(), Line::default(), handler))
}

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.line(), line);
}

#[test]
fn who_says_nothing_is_closed_at_the_first_byte_deadline() {
    in_every_mode(|mode| {
        let host = serve(mode, Timeouts { first_byte: SOON, ..NEVER }, &Gate::new());
        let mut speaks = host.connect();
        say(&mut speaks, "hello");
        let began = Instant::now();
        let mut silent = host.connect();
        silent.expect_end();
        assert!(began.elapsed() >= Duration::from_millis(199), "never early");
        host.until_closed(CloseReason::FirstByteTimeout, 1);
        say(&mut speaks, "still here");
    });
}

#[test]
fn a_frame_that_drips_in_is_closed_at_its_deadline_however_steadily_it_drips() {
    in_every_mode(|mode| {
        let host = serve(mode, Timeouts { frame: SOON, idle: SOON, first_byte: SOON, ..NEVER }, &Gate::new());
        let mut client = host.connect();
        until("the dripping peer is closed", || {
            client.try_send(b"x");
            host.stats().closed(CloseReason::FrameTimeout) == 1
        });
        assert_eq!(host.stats().closed_total(), 1);
    });
}

#[test]
fn every_frame_has_its_own_deadline() {
    in_every_mode(|mode| {
        let frame = Some(Duration::from_millis(1000));
        let host = serve(mode, Timeouts { frame, ..NEVER }, &Gate::new());
        let mut client = host.connect();
        let began = Instant::now();
        // There is an unfinished frame at any time, but never the same one for long.
        client.send(b"a");
        while began.elapsed() < Duration::from_millis(1500) {
            client.send(b"a\na");
            let line = client.line();
            assert!(line.bytes().all(|byte| byte == b'a'), "{line}");
        }
        assert_eq!(host.stats().closed_total(), 0);
        host.until_closed(CloseReason::FrameTimeout, 1);
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    in_every_mode(|mode| {
        let idle = Some(Duration::from_millis(600));
        let host = serve(mode, Timeouts { idle, ..NEVER }, &Gate::new());
        let (mut idler, mut busy) = (host.connect(), host.connect());
        say(&mut idler, "that was it");
        until("the idle peer is closed", || {
            say(&mut busy, "and on it goes");
            host.stats().closed(CloseReason::IdleTimeout) == 1
        });
        idler.expect_end();
        say(&mut busy, "still here");
    });
}

#[test]
fn a_peer_that_only_listens_is_not_idle_while_it_is_sent_to() {
    in_every_mode(|mode| {
        let idle = Some(Duration::from_millis(600));
        let host = serve(mode, Timeouts { idle, ..NEVER }, &Gate::new());
        let (mut idler, mut listener) = (host.connect(), host.connect());
        say(&mut idler, "that was it");
        let token = listener.token();
        until("the idle peer is closed", || {
            host.running.remote().send(token, *b"push").unwrap();
            listener.expect(b"push");
            host.stats().closed(CloseReason::IdleTimeout) == 1
        });
        say(&mut listener, "still here");
    });
}

#[test]
fn a_slow_handler_does_not_make_its_own_connection_expire() {
    in_every_mode(|mode| {
        let host = serve(mode, Timeouts { first_byte: SOON, frame: SOON, idle: SOON, write_stall: SOON }, &Gate::new());
        let mut client = host.connect();
        say(&mut client, "block 500");
        say(&mut client, "block 450");
        say(&mut client, "still here");
        host.until_closed(CloseReason::IdleTimeout, 1);
        client.expect_end();
    });
}

#[test]
fn deadlines_pass_while_a_handler_blocks() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode, Timeouts { first_byte: SOON, ..NEVER }, &gate);
        let mut blocked = host.connect();
        say(&mut blocked, "hello");
        // After this one no deadline is left for which anybody would wake.
        host.connect().expect_end();
        blocked.send(b"gate\n");
        gate.until_waiting(1);
        host.connect().expect_end();
        host.until_closed(CloseReason::FirstByteTimeout, 2);
        gate.open();
        assert_eq!(blocked.line(), "gate");
    });
}

/// Holds up the first deadline that passes until the gate opens.
struct HoldsTheFirst {
    gate: Arc<Gate>,
    passed: AtomicBool,
}

impl Handler<Line> for HoldsTheFirst {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, _cx: &mut LineContext<'_>, _line: &[u8]) -> Outcome {
        Ok(())
    }

    fn timeout(&self, _cx: &mut LineContext<'_>, _which: Timeout) -> Outcome {
        if !self.passed.swap(true, Ordering::Relaxed) {
            self.gate.pass();
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_blocks_over_a_deadline_does_not_keep_the_others_that_are_due() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let handler = HoldsTheFirst { gate: Arc::clone(&gate), passed: AtomicBool::new(false) };
        let builder = mode.builder().timeouts(Timeouts { first_byte: SOON, ..NEVER });
        let host = Host::start(builder.listen(any_port(), Line::default(), handler));
        let clients: Vec<_> = (0..20).map(|_| host.connect()).collect();
        gate.until_waiting(1);
        host.until_closed(CloseReason::FirstByteTimeout, 19);
        gate.open();
        host.until_closed(CloseReason::FirstByteTimeout, 20);
        drop(clients);
    });
}

/// A message sets a short timer; a line waits at the gate.
struct SetsOverMessages {
    gate: Arc<Gate>,
}

impl Handler<Line> for SetsOverMessages {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        if line == b"gate" {
            self.gate.pass();
        }
        Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?)
    }

    fn message(&self, cx: &mut LineContext<'_>, _message: &Arc<[u8]>) -> Outcome {
        cx.set_timer(Duration::from_millis(50));
        Ok(())
    }

    fn timeout(&self, cx: &mut LineContext<'_>, _which: Timeout) -> Outcome {
        Ok(cx.send(b"timer")?)
    }
}

#[test]
fn a_timer_that_another_thread_sets_fires_while_a_handler_blocks() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let handler = SetsOverMessages { gate: Arc::clone(&gate) };
        let host = Host::start(mode.builder().timeouts(NEVER).listen(any_port(), Line::default(), handler));
        let (mut blocked, mut other) = (host.connect(), host.connect());
        let token = other.token();
        blocked.send(b"gate\n");
        gate.until_waiting(1);
        for _ in 0..3 {
            host.running.remote().send(token, *b"set it").unwrap();
            assert_eq!(other.line(), "timer");
        }
        gate.open();
        blocked.line();
    });
}

#[test]
fn a_user_timer_fires_once_and_never_early() {
    in_every_mode(|mode| {
        let host = serve(mode, NEVER, &Gate::new());
        let mut client = host.connect();
        let began = Instant::now();
        say(&mut client, "timer 150");
        assert_eq!(client.line(), "timer");
        assert!(began.elapsed() >= Duration::from_millis(150), "after {:?}", began.elapsed());
        say(&mut client, "block 100");
        say(&mut client, "it did not fire again");
    });
}

#[test]
fn a_user_timer_that_is_set_again_moves_either_way() {
    in_every_mode(|mode| {
        let host = serve(mode, NEVER, &Gate::new());
        let mut client = host.connect();
        let began = Instant::now();
        say(&mut client, "timer 50");
        say(&mut client, "timer 300");
        assert_eq!(client.line(), "timer");
        assert!(began.elapsed() >= Duration::from_millis(300), "the later setting holds: {:?}", began.elapsed());
        say(&mut client, "timer 3600000");
        say(&mut client, "timer 10");
        assert_eq!(client.line(), "timer");
    });
}

#[test]
fn a_user_timer_that_is_cancelled_does_not_fire() {
    in_every_mode(|mode| {
        let host = serve(mode, NEVER, &Gate::new());
        let (mut cancels, mut keeps) = (host.connect(), host.connect());
        say(&mut cancels, "timer 100");
        say(&mut cancels, "cancel");
        say(&mut keeps, "timer 200");
        assert_eq!(keeps.line(), "timer", "a later one fires");
        say(&mut cancels, "nothing came before this");
    });
}

#[test]
fn many_timers_of_many_connections_all_fire() {
    in_every_mode(|mode| {
        let host = serve(mode, NEVER, &Gate::new());
        let mut clients: Vec<_> = (0..100).map(|_| host.connect()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            say(client, &format!("timer {}", 1 + (i * 7) % 300));
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.line(), "timer"));
    });
}
