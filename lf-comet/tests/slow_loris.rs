//! Thousands of connections that send a request drop by drop: all are cut at the deadline, and nobody else notices.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::Desk;
use common::ears::{Ear, Kind};
use common::process::{Process, is_installed, quiet};
use common::wire::Wire;
use common::{PATIENCE, Program, http, until};
use std::process::Command;
use std::time::{Duration, Instant};

/// Connections of the attack; as many are open in the attacker, and in the program.
const CROWD: usize = 5000;
/// Connections that an attack on the control listener opens: it takes 1,024.
const DESKS: usize = 500;
/// After it a head has to be whole.
const FRAME_TIME: &str = "4s";
/// How long the attacker goes on when it is not cut off, in seconds: far beyond the deadline.
const ATTACK_S: &str = "60";
/// Between drops of an attack, in seconds: each is well within any deadline for silence.
const DROP_S: &str = "1";
/// Descriptors that may be there or not: those of questions that were just answered, and what is opened with the first one.
const SPARE: usize = 8;
const KINDS: [Kind; 4] = [Kind::Test, Kind::Ndjson, Kind::Events, Kind::SocketJson];

fn attack(url: &str, connections: usize, arguments: &[&str]) -> Process {
    let (connections, rate) = (connections.to_string(), (connections / 2).to_string());
    let mut command = quiet(Command::new("slowhttptest"));
    command.args(["-u", url, "-c", &connections, "-r", &rate, "-l", ATTACK_S, "-i", DROP_S, "-x", "8"]);
    command.args(arguments);
    Process::spawn(command)
}

fn closed(program: &Program, reason: &str) -> u64 {
    program.metric(&format!("lf_closed_total{{reason=\"{reason}\"}}"))
}

/// People who go about their business.
struct Guests<'a> {
    program: &'a Program,
    desk: Desk,
    ears: Vec<Ear>,
    rounds: usize,
    longest: Duration,
}

impl<'a> Guests<'a> {
    fn new(program: &'a Program) -> Self {
        let ears: Vec<_> = KINDS.map(|kind| Ear::open(program.public(), kind, "guest", None)).into();
        program.await_connected("guest", ears.len());
        Self { program, desk: Desk::new(program), ears, rounds: 0, longest: Duration::ZERO }
    }

    /// Somebody new comes, a message is sent, and everybody hears it.
    fn round(&mut self) {
        let begin = Instant::now();
        let kind = KINDS[self.rounds % KINDS.len()];
        let mut newcomer = Ear::open(self.program.public(), kind, "guest", None);
        let text = format!("message {}", self.rounds);
        let delivered = self.desk.publish("send", "guest", text.as_bytes());
        // Those who came in earlier rounds may not have left yet.
        assert!(delivered > self.ears.len() as u64, "{delivered} were reached");
        for ear in self.ears.iter_mut().chain([&mut newcomer]) {
            assert_eq!(ear.text(), text, "{:?}", ear.kind);
        }
        assert_eq!(http::request(self.program.public(), "GET", "/healthz", &[], b"").status, 200);
        let took = begin.elapsed();
        assert!(took < PATIENCE, "a round took {took:?}");
        self.longest = self.longest.max(took);
        self.rounds += 1;
    }

    /// Goes on until a condition is fulfilled.
    fn go_on_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        until(what, || {
            self.round();
            holds()
        });
    }

    fn leave(self, attack: &str) {
        println!("during {attack}: {} rounds, the longest took {:?}", self.rounds, self.longest);
        let program = self.program;
        drop(self.ears);
        drop(self.desk);
        until("everybody has left", || program.metric("lf_connections") == 0);
        assert_eq!(program.counter("logins"), program.counter("logouts"));
        assert_eq!(program.metric("lf_comet_names"), 0);
    }
}

#[test]
fn heads_that_drip_are_cut_at_the_deadline_while_others_are_served() {
    if !is_installed("slowhttptest") {
        return;
    }
    let program = Program::start(&["--frame-time", FRAME_TIME]);
    let before = program.descriptors();
    let mut guests = Guests::new(&program);
    let guests_here = guests.ears.len() as u64;
    let mut attacker = attack(&program.url("/healthz"), CROWD, &["-H"]);
    let mut most = 0;
    guests.go_on_until("all drips have been cut", || {
        most = most.max(program.metric("lf_connections") - guests_here);
        closed(&program, "frame_timeout") >= CROWD as u64
    });
    println!("{most} connections dripped at a time");
    assert!(most > 0, "the attack was not seen");
    // It has nothing left to drip on, long before its time.
    attacker.wait();
    let said = String::from_utf8_lossy(&attacker.output()).into_owned() + &attacker.errors();
    assert!(said.contains("No open connections left"), "{said}");
    assert_eq!(closed(&program, "frame_timeout"), CROWD as u64);
    // Each is told why.
    let mut drip = Wire::connect(program.public());
    drip.say("GET /events/guest HTTP/1.1\r\nHost: a\r\n");
    let answer = drip.answer();
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")), "{}", answer.text());
    assert_eq!(drip.rest(), b"");
    guests.leave("slow heads");
    until("the descriptors are back", || program.descriptors() <= before + SPARE);
    program.end();
}

#[test]
fn bodies_that_drip_are_refused_at_once_where_nothing_takes_a_body() {
    if !is_installed("slowhttptest") {
        return;
    }
    let program = Program::start(&["--frame-time", FRAME_TIME]);
    let before = program.descriptors();
    let mut guests = Guests::new(&program);
    let mut attacker = attack(&program.url("/healthz"), CROWD, &["-B"]);
    guests.go_on_until("all are refused", || closed(&program, "malformed") >= CROWD as u64);
    attacker.wait();
    let said = String::from_utf8_lossy(&attacker.output()).into_owned() + &attacker.errors();
    assert!(said.contains("No open connections left"), "{said}");
    assert_eq!((closed(&program, "malformed"), closed(&program, "frame_timeout")), (CROWD as u64, 0));
    guests.leave("slow bodies");
    until("the descriptors are back", || program.descriptors() <= before + SPARE);
    program.end();
}

#[test]
fn bodies_that_drip_at_the_control_listener_keep_nobody_from_publishing() {
    if !is_installed("slowhttptest") {
        return;
    }
    let program = Program::start(&[]);
    let before = program.descriptors();
    let mut guests = Guests::new(&program);
    let attacker = attack(&program.control_url("/send/guest"), DESKS, &["-B", "-s", "60000"]);
    guests.go_on_until("all of them drip", || program.descriptors() >= before + DESKS);
    let rounds = guests.rounds;
    let drops = Instant::now() + Duration::from_secs(3);
    guests.go_on_until("some drops have fallen", || Instant::now() > drops);
    assert!(guests.rounds > rounds && program.descriptors() >= before + DESKS, "they do not drip any more");
    // What is not whole is not published.
    drop(attacker);
    until("they are gone", || program.descriptors() <= before + KINDS.len() + SPARE);
    assert_eq!(program.counter("published"), guests.rounds as u64);
    guests.leave("slow bodies at the control listener");
    until("the descriptors are back", || program.descriptors() <= before + SPARE);
    program.end();
}
