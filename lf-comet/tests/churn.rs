//! Logins by the thousand over every transport, and every way to end: nothing is left behind, and nobody hears what is for others.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, delivered, line};
use common::ears::{Ear, Kind};
use common::socket::CLOSE;
use common::wire::Wire;
use common::{Program, until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Logins; `LF_LOGINS` asks for more, as `make churn` does.
const LOGINS: usize = 20_000;
const CLIENTS: usize = 4;
/// Ids that come again and again, and that follow a star.
const FANS: usize = 64;
/// Descriptors that may be there or not: those of questions that were just answered, and what is opened with the first one.
const SPARE: usize = 8;
/// Lives around the one that a client lives now, to which messages are sent: some are over, some are yet to come.
const AROUND: [i64; 4] = [-1, 0, 0, 1];

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The subscriber closes it.
    Closed,
    Reset,
    /// By the handshake of WebSocket; others close it.
    Handshake,
    /// The subscriber says that it will say nothing more, and waits.
    HalfClosed,
    /// The operator closes it.
    Kicked,
    /// Before the head of the answer is read, or the request is whole.
    Unread,
    /// After bytes that mean nothing.
    Garbage,
    /// With another request waiting behind.
    Pipelined,
    /// Two polls, one after the other, end in their time.
    PollTimeout,
    /// Two polls at once end in their time.
    PollsTimeout,
}

const DEATHS: [Death; 10] = [
    Death::Closed,
    Death::Reset,
    Death::Handshake,
    Death::HalfClosed,
    Death::Kicked,
    Death::Unread,
    Death::Garbage,
    Death::Pipelined,
    Death::PollTimeout,
    Death::PollsTimeout,
];

/// A message says for whom it is.
fn body(id: &str) -> String {
    format!("[[{id}]]")
}

/// The ids whose messages are among these bytes, however they are framed.
fn heard(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    // The last one may have been cut off.
    text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]")).map(|(id, _)| id.to_owned()).collect()
}

/// One life of a subscriber.
#[derive(Debug)]
struct Life {
    number: usize,
    kind: Kind,
    death: Death,
    ids: Vec<String>,
}

impl Life {
    /// Combines every transport with every end, with one id or several.
    fn new(client: usize, number: usize) -> Self {
        let (kind, death) = (Kind::ALL[number % Kind::ALL.len()], DEATHS[number / Kind::ALL.len() % DEATHS.len()]);
        // To quiet ones nobody sends, so that a poll lasts until it is ended.
        let quiet = kind == Kind::Poll && matches!(death, Death::Kicked | Death::HalfClosed | Death::Garbage);
        let name = if quiet { "quiet" } else { "id" };
        let mut ids = vec![format!("{name}{client}.{number}")];
        match number % 4 {
            1 => ids.push(format!("{}b", ids[0])),
            // One of them twice is one login.
            2 if !quiet => ids.extend([format!("fan{}", number % FANS), ids[0].clone()]),
            _ => {}
        }
        Self { number, kind, death, ids }
    }

    fn check(&self, bytes: &[u8]) {
        let follows = self.ids.iter().any(|id| id.starts_with("fan"));
        for id in heard(bytes) {
            assert!(self.ids.contains(&id) || (follows && id == "star"), "{id} was heard by {self:?}");
        }
    }

    fn is_even(&self) -> bool {
        // The parity of the round, so that each pair of transport and end has both.
        (self.number / (Kind::ALL.len() * DEATHS.len())).is_multiple_of(2)
    }

    /// Logins that are certain to have happened.
    fn logins(&self) -> usize {
        let distinct = self.ids.iter().collect::<std::collections::HashSet<_>>().len();
        if matches!(self.death, Death::PollTimeout | Death::PollsTimeout) {
            return 2 * distinct;
        }
        // Whether a poll that is ended had come in is not known.
        let streams = self.kind != Kind::Poll || self.death == Death::Pipelined;
        if streams && self.death != Death::Unread { distinct } else { 0 }
    }

    fn live(&self, to: SocketAddr, desk: &mut Desk) {
        let wire = Wire::connect(to);
        match self.death {
            Death::Unread => self.leave_early(wire),
            Death::PollTimeout | Death::PollsTimeout => self.poll_in_vain(wire),
            Death::Pipelined => self.ask_for_more(wire),
            Death::Closed | Death::Reset | Death::Handshake | Death::HalfClosed | Death::Kicked | Death::Garbage => {
                self.listen(wire, desk);
            }
        }
    }

    fn leave_early(&self, mut wire: Wire) {
        let ids = self.ids.join(",");
        match self.number % 3 {
            0 => wire.say(format!("GET /events/{ids} HTTP/1.1\r\nHo")),
            rest => wire.get(&format!("/{}/{ids}", if rest == 1 { "test" } else { "poll" })),
        }
        if self.is_even() {
            wire.reset();
        }
    }

    fn poll_in_vain(&self, mut wire: Wire) {
        let target = format!("/poll/{}?timeout=0.02", self.ids.join(","));
        let at_once = self.death == Death::PollsTimeout;
        if at_once {
            let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            wire.say(request.repeat(2));
        }
        for _ in 0..2 {
            if !at_once {
                wire.get(&target);
            }
            let answer = wire.answer();
            assert!(matches!(answer.status, 200 | 204), "{}: {}", answer.status, answer.text());
            self.check(&answer.body);
        }
    }

    /// The second request is never answered, because the first answer has no end.
    fn ask_for_more(&self, mut wire: Wire) {
        let ids = self.ids.join(",");
        wire.say(format!(
            "GET /events/{ids} HTTP/1.1\r\nHost: a\r\n\r\nGET /poll/other?timeout=0 HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        assert_eq!(wire.head().status(), 200);
        self.check(&wire.chunk().unwrap());
        if self.is_even() {
            wire.finish();
            let rest = wire.rest_or_reset();
            self.check(&rest);
            assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "a second answer came");
        }
    }

    fn listen(&self, wire: Wire, desk: &mut Desk) {
        let mut ear = Ear::on(wire, self.kind, &self.ids.join(","), None);
        if self.kind == Kind::Poll {
            ear.ask_poll();
        } else if self.number.is_multiple_of(2) {
            // Who has been answered is logged in.
            let own = body(&self.ids[0]) + "own";
            assert_eq!(desk.publish("direct", &self.ids[0], own.as_bytes()), 1);
            while {
                let (_, heard) = ear.message();
                self.check(&heard);
                heard != own.as_bytes()
            } {}
        }
        self.die(ear, desk);
    }

    fn die(&self, ear: Ear, desk: &mut Desk) {
        let is_socket = matches!(self.kind, Kind::Socket | Kind::SocketJson);
        match self.death {
            Death::Reset => ear.into_wire().reset(),
            Death::Handshake if is_socket => {
                let mut socket = ear.into_socket();
                socket.say(CLOSE, &1000u16.to_be_bytes());
                while {
                    let (kind, payload) = socket.message();
                    self.check(&payload);
                    kind != CLOSE
                } {}
                assert_eq!(socket.wire.rest(), b"");
            }
            Death::HalfClosed => {
                let mut wire = ear.into_wire();
                wire.finish();
                self.check(&wire.rest_or_reset());
            }
            Death::Kicked => {
                let target = format!("/connections?id={}", self.ids[0]);
                // A poll may not have come in yet.
                until("it is kicked", || desk.ask("DELETE", &target, b"").json()["closed"] == 1);
                self.check(&ear.into_wire().rest_or_reset());
            }
            Death::Garbage => {
                let mut wire = ear.into_wire();
                wire.say(b"\x00\xff\xfe garbage \r\n\r\n\r\n");
                if self.is_even() {
                    // A WebSocket is closed for it; the others do not look at what comes.
                    if !is_socket {
                        wire.finish();
                    }
                    self.check(&wire.rest_or_reset());
                }
            }
            Death::Closed
            | Death::Handshake
            | Death::Unread
            | Death::Pipelined
            | Death::PollTimeout
            | Death::PollsTimeout => drop(ear),
        }
    }
}

/// What the clients and the publisher share.
struct Churn<'a> {
    program: &'a Program,
    goal: usize,
    logins: AtomicUsize,
    lives: AtomicUsize,
    /// The life that each client lives now.
    now: [AtomicUsize; CLIENTS],
    delivered: AtomicU64,
}

impl Churn<'_> {
    fn is_over(&self) -> bool {
        self.logins.load(Ordering::Relaxed) >= self.goal
    }

    fn client(&self, client: usize, to: SocketAddr) {
        let mut desk = Desk::new(self.program);
        for number in 0.. {
            if self.is_over() {
                return;
            }
            self.now[client].store(number, Ordering::Relaxed);
            let life = Life::new(client, number);
            life.live(to, &mut desk);
            self.logins.fetch_add(life.logins(), Ordering::Relaxed);
            self.lives.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends to those who live about now, and to all that follow the star.
    fn publisher(&self) {
        let mut desk = Desk::new(self.program);
        while !self.is_over() {
            let mut lines = line("send", "star", body("star").as_bytes());
            for (client, now) in self.now.iter().enumerate() {
                let now = i64::try_from(now.load(Ordering::Relaxed)).unwrap();
                for number in AROUND.map(|around| now + around) {
                    let id = format!("id{client}.{number}");
                    lines += &line("send", &id, body(&id).as_bytes());
                }
            }
            let answer = desk.batch(&lines);
            assert_eq!(answer["errors"], 0, "{answer}");
            self.delivered.fetch_add(delivered(&answer), Ordering::Relaxed);
        }
    }
}

/// The sum of a metric over its labels.
fn sum(program: &Program, name: &str) -> u64 {
    let page = program.ask("GET", "/metrics", b"").text();
    let values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// Waits until nothing of anybody is left, but `names` that have subscriptions.
fn is_empty(program: &Program, names: u64, descriptors: usize) {
    until("nobody is connected", || program.metric("lf_connections") == 0);
    until("nothing is under way", || program.metric("lf_comet_backlog_deliveries") == 0);
    assert_eq!(program.ask("GET", "/connections", b"").json(), serde_json::json!({ "connections": [], "total": 0 }));
    assert_eq!(sum(program, "lf_comet_connected"), 0);
    assert_eq!(program.counter("logins"), program.counter("logouts"));
    assert_eq!(program.metric("lf_comet_names"), names);
    assert_eq!((program.metric("lf_comet_waiting_bytes"), program.metric("lf_queued_bytes")), (0, 0));
    assert_eq!(sum(program, "lf_closed_total"), program.metric("lf_accepted_total"));
    assert_eq!(program.metric("lf_closed_total{reason=\"handler_panic\"}"), 0);
    until("the descriptors are back", || program.descriptors() <= descriptors + SPARE);
}

#[test]
fn however_thousands_come_and_go_nothing_is_left_behind() {
    let goal = std::env::var("LF_LOGINS").map_or(LOGINS, |count| count.parse().unwrap());
    // Several ports, so that there are enough at the clients' end.
    let program = Program::start(&["--listen", "127.0.0.1:0"].repeat(CLIENTS));
    let ports: Vec<SocketAddr> =
        program.said.iter().filter_map(|said| said.strip_prefix("listening ")?.parse().ok()).collect();
    assert_eq!(ports.len(), CLIENTS);
    let fans: String = (0..FANS).map(|fan| format!("fan{fan} star\n")).collect();
    program.ask("PUT", "/subscriptions", fans.as_bytes());
    let (descriptors, names) = (program.descriptors(), FANS as u64 + 1);
    let churn = Churn {
        program: &program,
        goal,
        logins: AtomicUsize::new(0),
        lives: AtomicUsize::new(0),
        now: Default::default(),
        delivered: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let churn = &churn;
        ports.iter().enumerate().for_each(|(client, to)| drop(scope.spawn(move || churn.client(client, *to))));
        scope.spawn(|| churn.publisher());
    });
    let (logins, delivered) = (program.counter("logins"), churn.delivered.into_inner());
    println!("{logins} logins in {} lives, to whom {delivered} messages went", churn.lives.into_inner());
    assert!(logins >= goal as u64 && delivered > 0, "{logins} logins, {delivered} deliveries");
    is_empty(&program, names, descriptors);

    // A number that was somebody else's brings nothing of theirs.
    let mut ear = Ear::open(ports[0], Kind::Events, "id0.0,fan0", None);
    assert_eq!((program.send("id1.1", "for nobody"), program.send("id0.0", "for one")), (0, 1));
    assert_eq!(ear.text(), "for one");
    drop(ear);
    program.ask("DELETE", "/subscriptions", fans.as_bytes());
    is_empty(&program, 0, descriptors);
    program.end();
}
