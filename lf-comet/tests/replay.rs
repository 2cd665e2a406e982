//! More is missed than fits into an answer or a queue, and readers who keep up only just.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, line, position};
use common::ears::{Ear, Heard, Kind};
use common::wire::Wire;
use common::{Program, until};
use lf_comet::Position;

const RESUMABLE: [Kind; 4] = [Kind::Events, Kind::Ndjson, Kind::SocketJson, Kind::Poll];

/// A message that tells its number, of about so many bytes.
fn body(number: usize, bytes: usize) -> String {
    format!("{number}.{}", "x".repeat(bytes))
}

fn number_of(body: &[u8]) -> usize {
    std::str::from_utf8(body).unwrap().split_once('.').unwrap().0.parse().unwrap()
}

fn publish(program: &Program, numbers: std::ops::Range<usize>, bytes: usize) {
    let mut desk = Desk::new(program);
    for number in numbers {
        let answer = desk.batch(&line("send", "123", body(number, bytes).as_bytes()));
        assert_eq!(answer["errors"], 0);
    }
}

/// Everything after a position comes, in its order.
fn hears_all(program: &Program, kind: Kind, after: Position, numbers: std::ops::Range<usize>) {
    let mut ear = Ear::on(Wire::with_little_room(program.public()), kind, "123", Some(after));
    for number in numbers {
        match ear.next() {
            Some(Heard::Message(_, body)) => assert_eq!(number_of(&body), number, "{kind:?}"),
            other => panic!("{other:?} instead of {number} on {kind:?}"),
        }
    }
}

#[test]
fn more_than_a_queue_takes_is_caught_up_with_on_every_transport() {
    // Whatever the policy is: who catches up is not slow.
    for slow in ["disconnect", "drop-newest", "drop-oldest"] {
        let program = Program::start(&["--history", "100000", "--slow", slow, "--queue-bytes", "65536"]);
        let begin = position(&program);
        publish(&program, 0..80, 50_000);
        publish(&program, 80..2000, 100);
        for kind in RESUMABLE {
            hears_all(&program, kind, begin, 0..2000);
        }
        assert_eq!((program.counter("lost"), program.counter("dropped_disconnected")), (0, 0), "{slow}");
        assert_eq!((program.counter("dropped_newest"), program.counter("dropped_oldest")), (0, 0), "{slow}");
        until("nobody listens", || program.connected(None) == 0);
        program.end();
    }
}

#[test]
fn what_comes_meanwhile_follows_what_was_missed() {
    let program = Program::start(&["--history", "100000"]);
    let begin = position(&program);
    publish(&program, 0..100, 50_000);
    let mut ears: Vec<_> = [Kind::Events, Kind::Ndjson, Kind::SocketJson]
        .map(|kind| Ear::on(Wire::with_little_room(program.public()), kind, "123", Some(begin)))
        .into();
    until("all are connected", || program.connected(Some("123")) == ears.len());
    publish(&program, 100..150, 100);
    for ear in &mut ears {
        for number in 0..150 {
            match ear.next() {
                Some(Heard::Message(_, body)) => assert_eq!(number_of(&body), number, "{:?}", ear.kind),
                other => panic!("{other:?} instead of {number} on {:?}", ear.kind),
            }
        }
    }
    program.end();
}

#[test]
fn what_history_forgets_while_somebody_catches_up_is_said_to_be_lost() {
    let program = Program::start(&["--history", "200", "--slow", "drop-newest", "--write-stall", "0s"]);
    let begin = position(&program);
    publish(&program, 0..200, 50_000);
    let mut ear = Ear::on(Wire::with_little_room(program.public()), Kind::Events, "123", Some(begin));
    program.await_connected("123", 1);
    // While it is in the middle of the first ones, these take the place of all of them.
    publish(&program, 200..400, 50_000);
    let mut heard = 0;
    loop {
        match ear.next() {
            Some(Heard::Message(_, body)) => {
                assert_eq!(number_of(&body), heard);
                heard += 1;
            }
            Some(Heard::Lost) => break,
            other => panic!("{other:?} after {heard}"),
        }
    }
    assert!((1..200).contains(&heard), "{heard} of 200");
    program.end();
}

#[test]
fn drop_oldest_drops_the_oldest_of_a_reader_who_keeps_up_only_just() {
    let program = Program::start(&["--slow", "drop-oldest", "--queue-bytes", "65536", "--send-buffer", "4608"]);
    let mut ear = Ear::on(Wire::with_little_room(program.public()), Kind::Ndjson, "123", None);
    program.await_connected("123", 1);
    let mut published = 0;
    let mut last = None;
    // It reads a little of what comes, all the time.
    while program.counter("dropped_oldest") < 1000 {
        publish(&program, published..published + 200, 200);
        published += 200;
        for _ in 0..20 {
            let Some(Heard::Message(_, body)) = ear.next() else { panic!("it is cut off") };
            assert!(last.is_none_or(|last| last < number_of(&body)));
            last = Some(number_of(&body));
        }
    }
    assert_eq!(program.counter("dropped_newest"), 0);
    // The freshest one comes in the end.
    while last != Some(published - 1) {
        let Some(Heard::Message(_, body)) = ear.next() else { panic!("it is cut off") };
        last = Some(number_of(&body));
    }
    program.end();
}

#[test]
fn nothing_is_kept_of_what_comes_behind_a_request_without_an_end() {
    const PEERS: usize = 300;
    let program = Program::start(&[]);
    let request = "GET /events/123 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let connect = |behind: usize| -> Vec<Wire> {
        let text = request.to_owned() + &"GET /junk".repeat(behind / 9);
        let say = |_| {
            let mut wire = Wire::connect(program.public());
            wire.say(&text);
            wire
        };
        (0..PEERS).map(say).collect()
    };
    let quiet = connect(0);
    program.await_connected("123", PEERS);
    let before = program.resident_bytes();
    let loud = connect(32 << 10);
    program.await_connected("123", 2 * PEERS);
    let grown = program.resident_bytes().saturating_sub(before);
    assert!(grown < PEERS * (16 << 10), "{grown} bytes more");
    program.send("123", "still there");
    for mut wire in quiet.into_iter().chain(loud) {
        assert_eq!(wire.head().status(), 200);
        while !wire.chunk().unwrap().ends_with(b"data: still there\n\n") {}
    }
    program.end();
}

#[test]
fn empty_messages_take_no_room() {
    let program = Program::start(&["--queue-bytes", "65536"]);
    let mut ear = Ear::on(Wire::with_little_room(program.public()), Kind::Stream, "123", None);
    program.await_connected("123", 1);
    let lines = line("send", "123", b"").repeat(100_000) + &line("send", "123", b"the end");
    assert_eq!(Desk::new(&program).batch(&lines)["delivered"], 100_001);
    assert_eq!(ear.text(), "the end");
    assert_eq!(program.counter("slow_disconnects"), 0);
    program.end();
}
