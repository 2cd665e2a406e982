//! `SIGTERM` and `SIGINT`: what lf-echo finishes, what it cuts, and what it exits with.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Program, until};
use std::net::TcpStream;

/// Both ways to wait and to promote.
fn in_every_mode(test: impl Fn(&[&str])) {
    for trigger in ["oneshot", "edge"] {
        for promotion in ["adaptive", "kernel"] {
            println!("{trigger} {promotion}");
            test(&["--trigger", trigger, "--promotion", promotion]);
        }
    }
}

#[test]
fn a_first_signal_closes_who_is_idle_and_exits_with_0() {
    in_every_mode(|mode| {
        for signal in ["TERM", "INT"] {
            let mut program = Program::start(mode);
            let (mut silent, mut idle) = (program.connect(), program.connect());
            idle.exchange(b"hello\n");
            program.signal(signal);
            assert_eq!((silent.rest(), idle.rest()), (vec![], vec![]));
            let left = program.wait();
            assert_eq!(left.status.code(), Some(0), "{}", left.log);
            assert!(!left.log.contains("cut"), "{}", left.log);
        }
    });
}

#[test]
fn a_turn_in_progress_finishes_and_its_answer_arrives() {
    in_every_mode(|mode| {
        let mut program = Program::start(mode);
        let mut busy = program.connect();
        let mut idle = program.connect();
        busy.send(b"first\n@block=400000;second\nthird\n");
        busy.expect(b"first\n");
        idle.exchange(b"hello\n");
        program.signal("TERM");
        assert_eq!(idle.rest(), b"");
        assert_eq!(busy.rest(), b"@block=400000;second\nthird\n");
        assert_eq!(program.wait().status.code(), Some(0));
    });
}

#[test]
fn queued_output_goes_out_before_the_exit() {
    in_every_mode(|mode| {
        let mut program = Program::start(mode);
        let mut client = program.connect();
        let line = [vec![b'x'; 1_000_000], vec![b'\n']].concat();
        for _ in 0..6 {
            client.send(&line);
        }
        client.expect(&line);
        program.signal("TERM");
        assert!(client.rest() == line.repeat(5));
        assert_eq!(program.wait().status.code(), Some(0));
    });
}

#[test]
fn who_is_not_done_at_the_deadline_is_cut_with_exit_code_3_and_a_line_that_says_how_many() {
    in_every_mode(|mode| {
        let mut program = Program::start(&[mode, &["--drain", "300ms"]].concat());
        let mut halves: Vec<_> = (0..3).map(|_| program.connect()).collect();
        for half in &mut halves {
            half.exchange(b"whole\n");
            half.send(b"half");
        }
        // Served after them: the halves have come.
        program.connect().exchange(b"hello\n");
        program.signal("TERM");
        let left = program.wait();
        assert_eq!(left.status.code(), Some(3), "{}", left.log);
        assert!(left.log.contains("cut at the end of the drain") && left.log.contains("connections=3"), "{}", left.log);
        halves.iter_mut().for_each(|half| assert_eq!(half.rest(), b""));
    });
}

#[test]
fn a_second_signal_ends_at_once_with_128_and_its_number() {
    in_every_mode(|mode| {
        for (signal, code) in [("TERM", 143), ("INT", 130)] {
            let mut program = Program::start(&[mode, &["--drain", "1h"]].concat());
            let mut half = program.connect();
            half.exchange(b"whole\n");
            half.send(b"half");
            program.connect().exchange(b"hello\n");
            program.signal("TERM");
            let address = program.address();
            until("it drains", || TcpStream::connect(address).is_err());
            assert!(program.child.try_wait().unwrap().is_none(), "it waits for the half");
            program.signal(signal);
            let left = program.wait();
            assert_eq!(left.status.code(), Some(code), "{}", left.log);
            assert_eq!(half.rest(), b"");
        }
    });
}

#[test]
fn a_handler_that_is_stuck_does_not_hold_up_the_deadline() {
    in_every_mode(|mode| {
        let mut program = Program::start(&[mode, &["--drain", "200ms"]].concat());
        let mut stuck = program.connect();
        stuck.exchange(b"hello\n");
        stuck.send(b"@block=10000000;\n");
        // Served after it.
        program.connect().exchange(b"hello\n");
        program.signal("TERM");
        assert_eq!(program.wait().status.code(), Some(3));
    });
}
