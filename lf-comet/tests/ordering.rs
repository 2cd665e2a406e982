//! Every subscriber gets exactly what is for it, once, in the order in which each publisher sent it.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::Program;
use common::desk::{Desk, Flow, delivered, line, position};
use common::ears::{Ear, Kind};
use common::wire::Wire;
use fastrand::Rng;
use lf_comet::Position;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

const USERS: usize = 200;
/// How many users follow each topic: few are served by who publishes, many by the fan-out threads.
const FOLLOWERS: [usize; 12] = [USERS, 100, 60, 30, 20, 17, 16, 12, 8, 4, 2, 1];
const PUBLISHERS: usize = 6;
const MESSAGES: usize = 500;
/// Sent to the first topic, which everybody follows, when all else was sent.
const ENDS: [&str; 2] = ["the end", "really"];

fn user(number: usize) -> String {
    format!("u{}", number % USERS)
}

fn topic(number: usize) -> String {
    format!("topic.{number}")
}

fn follows(user: usize, topic: usize) -> bool {
    user < FOLLOWERS[topic]
}

/// To whom: an id, and whether to it alone.
#[derive(Clone, Copy, Debug)]
enum To {
    Topic { number: usize, direct: bool },
    User { number: usize, direct: bool },
}

impl To {
    fn verb(self) -> &'static str {
        let (Self::Topic { direct, .. } | Self::User { direct, .. }) = self;
        if direct { "direct" } else { "send" }
    }

    fn id(self) -> String {
        match self {
            Self::Topic { number, .. } => topic(number),
            Self::User { number, .. } => user(number),
        }
    }
}

/// A connection: its transport, the users that it is, and the topic that it listens to as itself.
#[derive(Clone, Debug)]
struct Guest {
    kind: Kind,
    users: Vec<usize>,
    topic: Option<usize>,
}

impl Guest {
    fn all() -> Vec<Self> {
        let one = |number: usize| {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            // Some are several users who follow the same, some follow what they also are.
            let users = if number.is_multiple_of(7) { vec![number, (number + 1) % USERS, 0] } else { vec![number] };
            let topic = number.is_multiple_of(11).then_some(number % FOLLOWERS.len());
            Self { kind, users, topic }
        };
        // Some users are there twice.
        (0..USERS).chain(0..USERS / 10).map(one).collect()
    }

    fn ids(&self) -> String {
        let ids = self.users.iter().map(|number| user(*number)).chain(self.topic.map(topic));
        ids.collect::<Vec<_>>().join(",")
    }

    fn gets(&self, to: To) -> bool {
        match to {
            To::User { number, .. } => self.users.contains(&number),
            To::Topic { number, direct } => {
                self.topic == Some(number) || !direct && self.users.iter().any(|user| follows(*user, number))
            }
        }
    }
}

/// What a publisher sends, which anybody can work out.
fn plan(publisher: usize) -> Vec<(To, Vec<u8>)> {
    let mut random = Rng::with_seed(publisher as u64);
    let one = |sequence: usize| {
        let direct = random.u32(..4) == 0;
        let to = match random.u32(..2) {
            0 => To::Topic { number: random.usize(..FOLLOWERS.len()), direct },
            _ => To::User { number: random.usize(..USERS), direct },
        };
        let mut body = format!("{publisher}.{sequence}:").into_bytes();
        match sequence % 6 {
            0 => {}
            1 => body.extend_from_slice(b"lines\r\nof\rmany\n\nkinds\r\n"),
            2 => body.extend((0..random.usize(..2000)).map(|_| random.u8(..))),
            3 => body.extend(std::iter::repeat_n(b'x', random.usize(..5000))),
            4 => body.extend_from_slice("\u{2603}\"\\\u{0}\t".repeat(random.usize(..100)).as_bytes()),
            _ if sequence.is_multiple_of(71) => body.resize(64 << 10, b'b'),
            _ => body.push(b'.'),
        }
        (to, body)
    };
    (0..MESSAGES).map(one).collect()
}

/// How many connections a message goes to: polls are now there and now not.
fn audience(guests: &[Guest], to: To) -> std::ops::RangeInclusive<u64> {
    let count = |polls: bool| {
        guests.iter().filter(|guest| guest.gets(to) && (polls || guest.kind != Kind::Poll)).count() as u64
    };
    count(false)..=count(true)
}

fn publish(program: &Program, guests: &[Guest], publisher: usize) {
    let plan = plan(publisher);
    let check = |to: To, count: u64| {
        let audience = audience(guests, to);
        assert!(audience.contains(&count), "{to:?} reached {count}, not {audience:?}");
    };
    match publisher % 3 {
        0 => {
            let mut desk = Desk::new(program);
            for (to, body) in &plan {
                check(*to, desk.publish(to.verb(), &to.id(), body));
            }
        }
        1 => {
            let mut flow = Flow::begin(program);
            for some in plan.chunks(13) {
                let lines: String = some.iter().map(|(to, body)| line(to.verb(), &to.id(), body)).collect();
                // A line may come in pieces.
                let cut = (0..=lines.len() / 2).rev().find(|at| lines.is_char_boundary(*at)).unwrap();
                [&lines[..cut], &lines[cut..]]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .for_each(|part| flow.say(part));
                for (to, _) in some {
                    check(*to, delivered(&flow.answer()));
                }
            }
            flow.end();
        }
        _ => {
            // Pipelined.
            let mut desk = Desk::new(program);
            for some in plan.chunks(16) {
                for (to, body) in some {
                    desk.begin("POST", &format!("/{}/{}", to.verb(), to.id()), body);
                }
                for (to, _) in some {
                    check(*to, delivered(&desk.wire.answer().json()));
                }
            }
        }
    }
}

/// What a connection has still to get of each publisher, and where it was last.
struct Expected {
    kind: Kind,
    plans: Vec<std::vec::IntoIter<(usize, Vec<u8>)>>,
    position: Option<Position>,
}

impl Expected {
    fn of(guest: &Guest) -> Self {
        let of_one = |publisher| {
            let plan: Vec<_> = plan(publisher).into_iter().enumerate().collect();
            let mine = plan.into_iter().filter(|(_, (to, _))| guest.gets(*to));
            mine.map(|(sequence, (_, body))| (sequence, body)).collect::<Vec<_>>().into_iter()
        };
        Self { kind: guest.kind, plans: (0..PUBLISHERS).map(of_one).collect(), position: None }
    }

    fn check(&mut self, at: Option<Position>, body: &[u8]) {
        assert_eq!(at.is_some(), self.kind.has_positions());
        if let (Some(last), Some(at)) = (self.position, at) {
            assert!(at.epoch == last.epoch && at.offset > last.offset, "{at} after {last} on {:?}", self.kind);
        }
        self.position = at;
        let name = body.split(|byte| *byte == b':').next().unwrap();
        let name = std::str::from_utf8(name).unwrap();
        let (publisher, sequence) = name.split_once('.').unwrap();
        let next = self.plans[publisher.parse::<usize>().unwrap()].next();
        let (expected, whole) = next.unwrap_or_else(|| panic!("{name} on {:?} is one too many", self.kind));
        assert_eq!(sequence.parse(), Ok(expected), "of {publisher} on {:?}", self.kind);
        assert!(self.kind.heard(&whole).as_deref() == Some(body), "{name} is garbled on {:?}", self.kind);
    }
}

/// Listens until the end.
fn listen(mut ear: Ear, guest: &Guest) {
    let mut expected = Expected::of(guest);
    loop {
        let (at, body) = ear.message();
        if body == ENDS[0].as_bytes() {
            break;
        }
        expected.check(at, &body);
    }
    assert_eq!(ear.text(), ENDS[1], "on {:?}", guest.kind);
    for (publisher, plan) in expected.plans.iter_mut().enumerate() {
        assert_eq!(
            plan.next().map(|(sequence, _)| sequence),
            None,
            "of {publisher} on {:?} {}",
            guest.kind,
            guest.ids()
        );
    }
}

fn subscribe_users(program: &Program) {
    let mut lines = String::new();
    for (number, followers) in FOLLOWERS.iter().enumerate() {
        (0..*followers).for_each(|user| writeln!(lines, "u{user} {}", topic(number)).unwrap());
    }
    program.ask("PUT", "/subscriptions", lines.as_bytes());
}

/// Logins that streams make: a connection may name an id twice.
fn logins(guests: &[Guest]) -> usize {
    let streams = guests.iter().filter(|guest| guest.kind != Kind::Poll);
    streams.map(|guest| guest.ids().split(',').collect::<HashSet<_>>().len()).sum()
}

/// Everybody sends to everybody, over everything.
fn everybody_to_everybody(options: &[&str]) {
    let program = Program::start(&[&["--history", "100000"], options].concat());
    subscribe_users(&program);
    let guests = Guest::all();
    let begin = position(&program);
    let open = |guest: &Guest| {
        let after = (guest.kind == Kind::Poll).then_some(begin);
        Ear::open(program.public(), guest.kind, &guest.ids(), after)
    };
    let ears: Vec<_> = guests.iter().map(open).collect();
    common::until("all are connected", || program.connected(None) == logins(&guests));
    std::thread::scope(|scope| {
        for (ear, guest) in ears.into_iter().zip(&guests) {
            scope.spawn(move || listen(ear, guest));
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                scope.spawn({
                    let (program, guests) = (&program, &guests);
                    move || publish(program, guests, publisher)
                })
            })
            .collect();
        let well = publishers.into_iter().map(|thread| thread.join().is_ok()).filter(|well| *well).count();
        for end in ENDS {
            program.send(&topic(0), end);
        }
        assert_eq!(well, PUBLISHERS);
    });
    assert_eq!(program.counter("published"), (PUBLISHERS * MESSAGES + ENDS.len()) as u64);
    for dropped in ["dropped_full", "dropped_newest", "dropped_oldest", "dropped_disconnected"] {
        assert_eq!(program.counter(dropped), 0, "{dropped}");
    }
    program.end();
}

#[test]
fn everybody_gets_each_publishers_messages_once_and_in_order() {
    everybody_to_everybody(&["--groups", "2"]);
}

#[test]
fn order_holds_where_messages_wait_for_each_other() {
    everybody_to_everybody(&[
        "--groups",
        "1",
        "--coalesce-ms",
        "3",
        "--fanout-threads",
        "3",
        "--fanout-backlog",
        "500",
    ]);
}

#[test]
fn order_holds_with_edge_trigger_and_few_workers() {
    everybody_to_everybody(&["--groups", "3", "--workers", "1", "--trigger", "edge", "--fanout-threads", "1"]);
}

/// Bodies that some transport could trip over.
fn shapes() -> Vec<Vec<u8>> {
    let mut shapes: Vec<Vec<u8>> =
        ["", "x", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "a\rb\nc\r\nd\n", "\n: no\n\nid: 1\n\n", "0\r\n\r\n"]
            .map(|text| text.as_bytes().to_vec())
            .to_vec();
    shapes.extend(
        ["{\"lost\":true}", "\u{0}", "\u{feff}bom", "data: x\nevent: lost\n\n"].map(|text| text.as_bytes().to_vec()),
    );
    shapes.extend([b"\xff".to_vec(), b"\xff\n\r\n".to_vec(), b"text, then \xc3".to_vec(), (0..=u8::MAX).collect()]);
    // Where the length of a WebSocket's frame or a chunk gets longer, and what is shared rather than copied.
    for length in [15, 16, 125, 126, 127, 255, 256, 4095, 4096, 4097, 65_535, 65_536] {
        shapes.push(vec![b'l'; length]);
        shapes.push((0..length).map(|at| u8::try_from(at % 251).unwrap() | 0x80).collect());
    }
    shapes
}

#[test]
fn every_body_arrives_as_it_was_on_every_transport() {
    let program = Program::start(&["--history", "1000"]);
    let lines: String = (0..40).map(|number| format!("u{number} many\n")).collect();
    program.ask("PUT", "/subscriptions", lines.as_bytes());
    let begin = position(&program);
    let open = |kind: Kind, id: &str| Ear::open(program.public(), kind, id, (kind == Kind::Poll).then_some(begin));
    let mut few: Vec<_> = Kind::ALL.into_iter().map(|kind| open(kind, "few")).collect();
    let mut many: Vec<_> =
        (0..40).map(|number: usize| open(Kind::ALL[number % Kind::ALL.len()], &format!("u{number}"))).collect();
    let mut plain = Wire::connect(program.public());
    plain.ask("GET", "/stream/few", "1.0", "");
    assert_eq!(plain.head().status(), 200);
    let streams = few.iter().chain(&many).filter(|ear| ear.kind != Kind::Poll).count() + 1;
    common::until("all are connected", || program.connected(None) == streams);
    let mut desk = Desk::new(&program);
    for (number, shape) in shapes().into_iter().enumerate() {
        // One after the other, and a whole round at once.
        for ears in [&mut few, &mut many] {
            let id = if ears.len() < 16 { "few" } else { "many" };
            assert!(desk.publish("send", id, &shape) >= 8);
            let batch = line("send", id, &shape).repeat(3) + &line("send", id, b"mark");
            assert_eq!(desk.batch(&batch)["messages"], 4);
            for ear in ears {
                for copy in 0..4 {
                    if let Some(expected) = ear.kind.heard(&shape) {
                        let found = ear.message().1;
                        assert!(
                            found == expected,
                            "shape {number}, copy {copy}, on {:?}: {:?}",
                            ear.kind,
                            found.escape_ascii().to_string()
                        );
                    }
                }
                assert_eq!(ear.text(), "mark");
            }
        }
        plain.expect(shape.repeat(4));
        plain.expect("mark");
    }
    program.end();
}

#[test]
fn who_comes_under_several_ids_while_messages_flow_gets_each_once() {
    let program = Program::start(&[]);
    program.ask("PUT", "/subscriptions", b"a topic\nb topic\nc topic\nd topic\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut desk = Desk::new(&program);
                while !stop.load(Ordering::Relaxed) {
                    desk.publish("send", "topic", b"");
                }
            });
        }
        for _ in 0..600 {
            let mut ear = Ear::open(program.public(), Kind::Events, "a,b,c,d,topic", None);
            let mut last = 0;
            for _ in 0..5 {
                let at = ear.message().0.unwrap().offset;
                assert!(last == 0 || at == last + 1, "{at} after {last}");
                last = at;
            }
            ear.into_wire().reset();
        }
        stop.store(true, Ordering::Relaxed);
    });
    program.end();
}
