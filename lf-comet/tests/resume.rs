//! Who comes back gets everything after its position, or is told that something is lost.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, line, position};
use common::ears::{Ear, Heard, Kind};
use common::wire::Wire;
use common::{Program, comes_true, until};
use fastrand::Rng;
use lf_comet::Position;
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The transports that can be resumed.
const RESUMABLE: [Kind; 6] =
    [Kind::Events, Kind::EventsPlain, Kind::Ndjson, Kind::NdjsonPlain, Kind::SocketJson, Kind::Poll];

fn open(program: &Program, kind: Kind, ids: &str, after: Position) -> Ear {
    Ear::open(program.public(), kind, ids, Some(after))
}

/// The positions of `count` messages to an id; each says its number.
fn send(program: &Program, id: &str, count: usize) -> Vec<Position> {
    let mut ear = Ear::open(program.public(), Kind::Ndjson, id, None);
    until("it listens", || program.connected(Some(id)) > 0);
    let mut desk = Desk::new(program);
    let one = |number: usize| {
        desk.publish("send", id, number.to_string().as_bytes());
        ear.message().0.unwrap()
    };
    (0..count).map(one).collect()
}

/// What there is for who comes back, up to a message that is sent now.
fn missed(program: &Program, kind: Kind, id: &str, after: Position) -> Vec<Heard> {
    let mut ear = open(program, kind, id, after);
    let mut heard = Vec::new();
    if kind == Kind::Poll {
        heard.push(ear.next().unwrap());
        // A poll that is told of a loss goes on from now.
        if heard == [Heard::Lost] {
            return heard;
        }
    }
    let connected = || program.connected(Some(id)) > 0;
    until("it listens", || kind == Kind::Poll || connected());
    program.send(id, "now");
    loop {
        match ear.next().unwrap() {
            Heard::Message(_, body) if body == b"now" => return heard,
            other @ (Heard::Message(..) | Heard::Lost | Heard::Beat) => heard.push(other),
        }
    }
}

fn numbers(heard: &[Heard]) -> Vec<String> {
    let text = |heard: &Heard| match heard {
        Heard::Message(_, body) => String::from_utf8(body.clone()).unwrap(),
        Heard::Lost => "lost".into(),
        Heard::Beat => "beat".into(),
    };
    heard.iter().map(text).collect()
}

fn counters(program: &Program) -> (u64, u64) {
    (program.counter("resumed"), program.counter("lost"))
}

#[test]
fn everything_after_the_position_comes_first_on_every_transport() {
    let program = Program::start(&["--history", "100"]);
    program.ask("PUT", "/subscriptions", b"me source\nme.too source\nme.too other\n");
    let begin = position(&program);
    let mut desk = Desk::new(&program);
    for (verb, id, body) in [
        ("send", "source", "1"),
        ("direct", "source", "not for its subscribers"),
        ("send", "me", "2"),
        ("send", "stranger", "not for me"),
        ("direct", "me", "3"),
        ("send", "other", "4"),
        ("send", "source", "5\nlines"),
        ("send", "me.too", "6"),
    ] {
        desk.publish(verb, id, body.as_bytes());
    }
    for kind in RESUMABLE {
        let mut one = open(&program, kind, "me", begin);
        assert_eq!([(); 4].map(|()| one.text()), ["1", "2", "3", "5\nlines"], "{kind:?}");
        // Several ids that follow the same: once.
        let mut both = open(&program, kind, "me,me.too", begin);
        let texts = [(); 6].map(|()| both.text());
        assert_eq!(texts, ["1", "2", "3", "4", "5\nlines", "6"], "{kind:?}");
        let at = |heard: &Ear| heard.position.unwrap().offset - begin.offset;
        assert_eq!((at(&one), at(&both)), (7, 8), "{kind:?}");
        // And from in between.
        let last = Position { offset: begin.offset + 6, ..begin };
        let mut later = open(&program, kind, "me.too", last);
        assert_eq!([later.text(), later.text()], ["5\nlines", "6"], "{kind:?}");
        drop((one, both, later));
        until("nobody is left", || program.connected(None) == 0);
        let end = position(&program);
        let mut up_to_date = open(&program, kind, "me", end);
        if kind == Kind::Poll {
            up_to_date.ask_poll();
        }
        program.await_connected("me", 1);
        desk.publish("direct", "me", b"now");
        let heard = if kind == Kind::Poll { Some(up_to_date.take_poll()) } else { up_to_date.next() };
        let next = Position { offset: end.offset + 1, ..end };
        assert_eq!(heard, Some(Heard::Message(Some(next), b"now".to_vec())), "{kind:?}");
        drop(up_to_date);
        until("nobody is left", || program.connected(None) == 0);
    }
    assert_eq!(counters(&program).1, 0);
    program.end();
}

#[test]
fn a_position_is_taken_from_header_or_query_and_the_header_is_newer() {
    let program = Program::start(&["--history", "100"]);
    let sent = send(&program, "123", 4);
    let [zero, one, two, _] = sent.as_slice() else { unreachable!("four") };
    for (target, field, first) in [
        (format!("/events/123?last_event_id={one}"), String::new(), "2"),
        (format!("/events/123?after={one}"), String::new(), "2"),
        ("/events/123".into(), format!("Last-Event-ID: {two}\r\n"), "3"),
        (format!("/events/123?last_event_id={zero}"), format!("last-event-id:{two}\r\n"), "3"),
        (format!("/stream/123?format=ndjson&after={one}"), String::new(), "2"),
        (format!("/stream/123?format=ndjson&after={one}"), format!("Last-Event-ID: {two}\r\n"), "3"),
    ] {
        let mut wire = Wire::connect(program.public());
        wire.ask("GET", &target, "1.1", &field);
        assert_eq!(wire.head().status(), 200);
        let mut text = || String::from_utf8(wire.chunk().unwrap()).unwrap();
        let retry = target.starts_with("/events").then(&mut text);
        assert!(retry.is_none_or(|retry| retry.starts_with("retry: ")));
        let text = text();
        let events = text.starts_with("id: ");
        assert!(
            text.ends_with(&if events { format!("data: {first}\n\n") } else { format!("\"body\":\"{first}\"}}\n") }),
            "{target}: {text}"
        );
    }
    // An empty one is none: a browser that has not seen any event says nothing.
    let mut ear = Ear::open(program.public(), Kind::Events, "123", None);
    program.await_connected("123", 1);
    program.send("123", "new");
    assert_eq!(ear.text(), "new");
    program.end();
}

#[test]
fn what_is_no_longer_remembered_is_said_and_the_rest_follows() {
    let program = Program::start(&["--history", "3"]);
    for kind in RESUMABLE {
        let id = format!("{kind:?}");
        let sent = send(&program, &id, 5);
        until("nobody listens", || program.connected(None) == 0);
        // The last three are there: after the second one nothing is missing, after the first one something is.
        let (whole, part) = (missed(&program, kind, &id, sent[1]), {
            until("nobody listens", || program.connected(None) == 0);
            // One more message has come since.
            missed(&program, kind, &id, sent[1])
        });
        assert_eq!(numbers(&whole), ["2", "3", "4"], "{kind:?}");
        let rest: &[&str] = if kind == Kind::Poll { &["lost"] } else { &["lost", "3", "4"] };
        assert_eq!(numbers(&part), rest, "{kind:?}");
        until("nobody listens", || program.connected(None) == 0);
    }
    assert_eq!(counters(&program), (6 + 1, 6));
    program.end();
}

#[test]
fn without_history_it_is_said_whether_anything_was_sent_meanwhile() {
    let program = Program::start(&[]);
    for kind in RESUMABLE {
        let id = format!("{kind:?}");
        let sent = send(&program, &id, 2);
        until("nobody listens", || program.connected(None) == 0);
        program.send("somebody.else", "");
        if kind != Kind::Poll {
            assert_eq!(missed(&program, kind, &id, sent[1]), [], "{kind:?}");
            until("nobody listens", || program.connected(None) == 0);
        }
        assert_eq!(missed(&program, kind, &id, sent[0]), [Heard::Lost], "{kind:?}");
        until("nobody listens", || program.connected(None) == 0);
    }
    program.end();
}

#[test]
fn positions_of_other_runs_and_of_the_future_are_no_ground_to_go_on_from() {
    let program = Program::start(&["--history", "100"]);
    for kind in RESUMABLE {
        let id = format!("{kind:?}");
        let last = *send(&program, &id, 2).last().unwrap();
        let strange = [
            Position { epoch: last.epoch ^ 1, ..last },
            Position { epoch: last.epoch ^ 1, offset: 0 },
            Position { offset: last.offset + 1000, ..last },
            Position { offset: u64::MAX, ..last },
        ];
        for after in strange {
            until("nobody listens", || program.connected(None) == 0);
            // All that is there follows.
            let expected: &[&str] = if kind == Kind::Poll { &["lost"] } else { &["lost", "0", "1"] };
            assert_eq!(numbers(&missed(&program, kind, &id, after)), expected, "{kind:?} {after}");
        }
    }
    assert_eq!(counters(&program), (0, 24));
    program.end();
}

#[test]
fn after_a_restart_everything_before_is_lost_and_said() {
    let before = Program::start(&["--history", "100"]);
    let last = *send(&before, "123", 3).last().unwrap();
    before.end();
    let program = Program::start(&["--history", "100"]);
    assert_ne!(position(&program).epoch, last.epoch);
    for kind in RESUMABLE {
        until("nobody listens", || program.connected(None) == 0);
        assert_eq!(missed(&program, kind, "123", last).first(), Some(&Heard::Lost), "{kind:?}");
    }
    program.end();
}

#[test]
fn history_is_bounded_in_bytes_and_the_oldest_go_first() {
    let program = Program::start(&["--history", "1000000", "--history-bytes", "1048576"]);
    let begin = position(&program);
    let body = "x".repeat(10_000);
    let lines: String = (0..300).map(|number| line("send", &format!("id.{number}"), body.as_bytes())).collect();
    for _ in 0..2 {
        assert_eq!(Desk::new(&program).batch(&lines)["messages"], 300);
        let bytes = program.metric("lf_comet_history_bytes");
        assert!((900_000..=1_048_576).contains(&bytes), "{bytes}");
    }
    let poll = |id: usize| open(&program, Kind::Poll, &format!("id.{id}"), begin).next().unwrap();
    assert_eq!(poll(0), Heard::Lost);
    // Of the first round, its message is gone too.
    assert_eq!(poll(299), Heard::Lost);
    // The last hundred are there.
    let last = Position { offset: begin.offset + 500, ..begin };
    for id in [200, 250, 299] {
        let first = open(&program, Kind::Poll, &format!("id.{id}"), last).next();
        assert_eq!(
            first,
            Some(Heard::Message(Some(Position { offset: begin.offset + 301 + id, ..begin }), body.clone().into()))
        );
    }
    program.end();
}

#[test]
fn a_message_with_a_time_to_live_is_given_until_then_and_not_missed_after_it() {
    let program = Program::start(&["--history", "100"]);
    let begin = position(&program);
    let mut live = Ear::open(program.public(), Kind::Events, "123", None);
    program.await_connected("123", 1);
    let (sent, ttl) = (Instant::now(), Duration::from_secs(1));
    let lines = [("short", ttl.as_secs_f64()), ("never", 0.0)]
        .map(|(body, ttl)| format!("{}\n", json!({ "send": "123", "body": body, "ttl": ttl })));
    let lines = lines.concat() + &line("send", "123", b"for ever");
    assert_eq!(Desk::new(&program).batch(&lines), json!({ "messages": 3, "delivered": 3, "errors": 0 }));
    // Who is there gets all.
    assert_eq!([(); 3].map(|()| live.text()), ["short", "never", "for ever"]);
    let there = || numbers(&open(&program, Kind::Poll, "123", begin).poll());
    let first = there();
    assert!(first == ["short", "for ever"] || sent.elapsed() >= ttl, "{first:?}");
    until("the short one is gone", || there() == ["for ever"]);
    assert!(sent.elapsed() >= ttl);
    assert_eq!(program.counter("lost"), 0);
    program.end();
}

#[test]
fn messages_older_than_the_history_time_are_said_to_be_lost() {
    let program = Program::start(&["--history-time", "1500ms"]);
    let (begin, sent) = (position(&program), Instant::now());
    let lines: String = (0..200).map(|number: usize| line("send", "123", number.to_string().as_bytes())).collect();
    assert_eq!(Desk::new(&program).batch(&lines)["messages"], 200);
    let there = numbers(&open(&program, Kind::Poll, "123", begin).poll());
    let all: Vec<_> = (0..200).map(|number: usize| number.to_string()).collect();
    assert!(there == all || sent.elapsed() >= Duration::from_millis(1500), "{there:?}");
    let lost = || open(&program, Kind::Ndjson, "123", begin).next() == Some(Heard::Lost);
    until("they are too old", lost);
    assert!(sent.elapsed() >= Duration::from_millis(1500));
    // What comes now is remembered again.
    let now = position(&program);
    let fresh = || {
        program.send("123", "fresh");
        let after = Position { offset: now.offset, ..now };
        open(&program, Kind::Poll, "123", after).next().is_some_and(|heard| heard != Heard::Lost)
    };
    assert!(comes_true(common::PATIENCE, fresh));
    program.end();
}

const SOURCES: [&str; 4] = ["s0", "s1", "s2", "s3"];
const PUBLISHERS: usize = 3;
const MESSAGES: usize = 3000;
/// Who is always there, so that the first source has a big audience.
const IDLERS: usize = 20;

/// Has the same seen by everybody: how far each publisher is, and where the stream is.
struct Union {
    kind: Kind,
    position: Position,
    next: HashMap<usize, usize>,
    count: usize,
}

impl Union {
    fn add(&mut self, at: Option<Position>, body: &[u8]) {
        let (at, text) = (at.unwrap(), std::str::from_utf8(body).unwrap());
        let (before, kind) = (self.position, self.kind);
        assert!(at.epoch == before.epoch && at.offset > before.offset, "{kind:?}: {at} after {before}");
        let (publisher, number) = text.split_once('.').unwrap();
        let next = self.next.entry(publisher.parse().unwrap()).or_default();
        assert_eq!(number.parse(), Ok(*next), "{kind:?}: of publisher {publisher} at {at}");
        *next += 1;
        self.position = at;
        self.count += 1;
    }

    fn is_whole(&self) -> bool {
        self.count == PUBLISHERS * MESSAGES
    }
}

/// Comes and goes until it has everything.
fn come_and_go(program: &Program, kind: Kind, begin: Position, seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut union = Union { kind, position: begin, next: HashMap::new(), count: 0 };
    let mut visits = 0;
    let ids = if random.bool() { "reader" } else { "reader,reader.too" };
    let mut polled: Option<Wire> = None;
    while !union.is_whole() {
        visits += 1;
        // Polls and streams may have a connection after each other.
        let wire = polled.take().unwrap_or_else(|| Wire::connect(program.public()));
        let mut ear = Ear::on(wire, kind, ids, Some(union.position));
        for _ in 0..random.usize(..60) {
            if union.is_whole() {
                break;
            }
            match ear.next() {
                Some(Heard::Message(at, body)) => union.add(at, &body),
                Some(Heard::Beat) => {}
                other => panic!("{other:?} on {kind:?} after {}", union.position),
            }
        }
        // A stream without chunks has to have its connection for itself.
        let shares = matches!(kind, Kind::Events | Kind::Ndjson | Kind::SocketJson);
        if shares && random.bool() && !union.is_whole() {
            polled = Some(poll_once(program, ids, &mut union));
        }
        match random.u32(..3) {
            0 => ear.into_wire().reset(),
            1 => {
                let mut wire = ear.into_wire();
                wire.finish();
                wire.rest_or_reset();
            }
            _ => drop(ear),
        }
    }
    visits
}

/// Takes what some polls answer; answers the connection, on which more may be on its way.
fn poll_once(program: &Program, ids: &str, union: &mut Union) -> Wire {
    let mut ear = Ear::open(program.public(), Kind::Poll, ids, Some(union.position));
    for _ in 0..3 {
        // Whole polls only: the rest of one would be asked for again.
        let answers = ear.poll();
        for heard in answers {
            match heard {
                Heard::Message(at, body) => union.add(at, &body),
                Heard::Beat => {}
                Heard::Lost => panic!("lost after {}", union.position),
            }
        }
        if union.is_whole() {
            break;
        }
    }
    ear.into_wire()
}

#[test]
fn however_often_one_comes_and_goes_nothing_is_lost_or_doubled() {
    let program = Program::start(&["--history", "1000000", "--history-bytes", "1000000000", "--groups", "2"]);
    let mut lines: String = SOURCES.map(|source| format!("reader {source}\nreader.too {source}\n")).concat();
    (0..IDLERS).for_each(|number| lines += &format!("idler.{number} s0\n"));
    program.ask("PUT", "/subscriptions", lines.as_bytes());
    let idlers: Vec<_> =
        (0..IDLERS).map(|number| Ear::open(program.public(), Kind::Stream, &format!("idler.{number}"), None)).collect();
    let begin = position(&program);
    let visits: usize = std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let program = &program;
            scope.spawn(move || {
                let mut random = Rng::with_seed(publisher as u64);
                let mut desk = Desk::new(program);
                let mut number = 0;
                while number < MESSAGES {
                    // Now one message, now some at once.
                    let count = if random.bool() { 1 } else { random.usize(1..20).min(MESSAGES - number) };
                    let message = |number: usize, source: usize| {
                        line("send", SOURCES[source], format!("{publisher}.{number}").as_bytes())
                    };
                    let lines: String =
                        (number..number + count).map(|number| message(number, random.usize(..SOURCES.len()))).collect();
                    assert_eq!(desk.batch(&lines)["errors"], 0);
                    number += count;
                }
            });
        }
        let readers = RESUMABLE.iter().cycle().take(2 * RESUMABLE.len()).enumerate();
        let readers: Vec<_> = readers
            .map(|(seed, kind)| {
                let program = &program;
                scope.spawn(move || come_and_go(program, *kind, begin, seed as u64))
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(visits > 2 * RESUMABLE.len() * 10, "{visits} visits are hardly a test");
    assert_eq!(program.counter("lost"), 0);
    drop(idlers);
    program.end();
}
