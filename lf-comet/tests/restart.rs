//! The program ends and starts again: what was promised is still there, what is not says so.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, line, position};
use common::ears::{Ear, Heard, Kind, STREAMS};
use common::process::Process;
use common::socket::{CLOSE, TEXT, close_payload};
use common::wire::Wire;
use common::{Program, http, lf_comet, refuses_to_start, until};
use lf_comet::Position;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use tempfile::TempDir;

const RESUMABLE: [Kind; 5] = [Kind::Events, Kind::EventsPlain, Kind::Ndjson, Kind::NdjsonPlain, Kind::SocketJson];

fn start(store: &TempDir, options: &[&str]) -> Program {
    Program::start(&[&["--store", path(store)], options].concat())
}

fn path(store: &TempDir) -> &str {
    store.path().to_str().unwrap()
}

/// Ends it as nobody would want to; answers what it logged.
fn kill(mut program: Program) -> String {
    program.signal("KILL");
    program.wait().log
}

/// Ends it in order.
fn stop(mut program: Program) -> String {
    program.signal("TERM");
    let left = program.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.log);
    left.log
}

/// Ends it in one of the two ways; answers whether it had found that the run before was cut short.
fn end(program: Program, kills: bool) -> bool {
    if kills { kill(program) } else { stop(program) }.contains("the subscriptions were not closed")
}

fn subscribers(program: &Program, id: &str) -> BTreeSet<String> {
    let page = program.ask("GET", &format!("/subscribers/{id}?limit=100000"), b"").json();
    assert_eq!(page["next"], serde_json::Value::Null);
    page["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Changes a subscription of each fan, as long as there is somebody who answers. Answers how many changes were acknowledged.
fn change_until_the_end(control: SocketAddr, method: &str, star: &str, fan: impl Fn(usize) -> String) -> usize {
    let mut stream = TcpStream::connect(control).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut answered = 0;
    loop {
        let body = format!("{} {star}\n", fan(answered));
        let request =
            format!("{method} /subscriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((request + &body).as_bytes()).is_err() {
            return answered;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"}\n") {
            let mut piece = [0; 1024];
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return answered,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
            }
            // It was told to stop.
            if answer.starts_with(b"HTTP/1.1 503 ") {
                return answered;
            }
            assert!(b"HTTP/1.1 200 OK\r\n".starts_with(&answer[..answer.len().min(17)]), "{}", answer.escape_ascii());
        }
        answered += 1;
    }
}

#[test]
fn subscriptions_that_were_acknowledged_survive_every_end() {
    const ROUNDS: usize = 8;
    let store = tempfile::tempdir().unwrap();
    let mut expected: BTreeSet<String> = BTreeSet::new();
    let mut killed_before = false;
    for round in 0..ROUNDS {
        let program = start(&store, &[]);
        assert_eq!(subscribers(&program, "star"), expected, "before round {round}");
        let (control, old) = (program.control(), Vec::from_iter(expected.clone()));
        let coming = |number: usize| format!("fan.{round}.{number}");
        // When all have left, strangers do.
        let leaving = |number: usize| old.get(number).cloned().unwrap_or_else(|| format!("stranger{number}"));
        let kills = round % 2 == 0;
        let [added, removed] = std::thread::scope(|scope| {
            let adds = scope.spawn(|| change_until_the_end(control, "PUT", "star", coming));
            let removes = scope.spawn(|| change_until_the_end(control, "DELETE", "star", leaving));
            // In the middle of the work.
            let before = program.metric("lf_comet_subscriptions");
            until("some come", || program.metric("lf_comet_subscriptions") != before);
            until("some more come", || subscribers(&program, "star").contains(&coming(20)));
            assert_eq!(end(program, kills), killed_before, "round {round}");
            [adds.join().unwrap(), removes.join().unwrap()]
        });
        assert!(added >= 20, "{added} came");
        (0..added).for_each(|number| assert!(expected.insert(coming(number))));
        (0..removed.min(old.len())).for_each(|number| assert!(expected.remove(&old[number])));
        // What was not answered may be done or not.
        let program = start(&store, &[]);
        let found = subscribers(&program, "star");
        let open = [coming(added), leaving(removed)];
        let strange: Vec<_> = found.symmetric_difference(&expected).filter(|id| !open.contains(id)).collect();
        assert!(strange.is_empty(), "after round {round} ({added} came, {removed} left): {strange:?}");
        expected = found;
        // They are read, and they work.
        let fan = expected.last().unwrap();
        let mut ear = Ear::open(program.public(), Kind::Stream, fan, None);
        assert_eq!(program.send("star", "hello"), 1);
        assert_eq!(ear.text(), "hello");
        drop(ear);
        assert_eq!(end(program, kills), kills, "round {round}");
        killed_before = kills;
    }
    assert_eq!(end(start(&store, &[]), false), killed_before);
}

#[test]
fn a_position_of_an_earlier_run_is_never_taken_for_one_of_this() {
    let store = tempfile::tempdir().unwrap();
    let mut positions: Vec<Position> = Vec::new();
    for run in 0..6 {
        let program = start(&store, &["--history", "100"]);
        if run == 0 {
            program.ask("PUT", "/subscriptions", b"fan star\n");
        }
        let here = position(&program);
        assert!(positions.iter().all(|before| before.epoch != here.epoch), "{here} after {positions:?}");
        // Offsets of this run come to where the earlier ones were.
        let texts: Vec<_> = (0..4).map(|number| format!("{run}.{number}")).collect();
        texts.iter().for_each(|text| assert_eq!(program.send("star", text), 0));
        for before in &positions {
            for kind in RESUMABLE {
                let mut ear = Ear::open(program.public(), kind, "fan", Some(*before));
                assert_eq!(ear.next(), Some(Heard::Lost), "{kind:?} after {before}");
                // All that is there follows, and nothing else.
                texts.iter().for_each(|text| assert_eq!(ear.text(), *text, "{kind:?} after {before}"));
                assert_eq!(ear.position.unwrap().epoch, here.epoch);
            }
            let mut poll = Ear::open(program.public(), Kind::Poll, "fan", Some(*before));
            assert_eq!(poll.poll(), [Heard::Lost]);
            assert_eq!(poll.position, Some(here), "what is there follows");
            texts.iter().for_each(|text| assert_eq!(poll.text(), *text));
        }
        let now = position(&program);
        assert_eq!(now.offset, here.offset + 4);
        positions.extend([here, Position { offset: now.offset - 1, ..now }, now]);
        end(program, run % 2 == 0);
    }
}

#[test]
fn a_store_in_use_is_refused_by_name_until_it_is_free() {
    let store = tempfile::tempdir().unwrap();
    let program = start(&store, &[]);
    program.ask("PUT", "/subscriptions", b"fan star\n");
    let said = refuses_to_start(&["--store", path(&store)]);
    assert!(said.contains(path(&store)) && said.contains("another process"), "{said}");
    // The first one did not notice.
    program.ask("PUT", "/subscriptions", b"fan2 star\n");
    kill(program);
    let program = start(&store, &[]);
    assert_eq!(subscribers(&program, "star"), ["fan", "fan2"].map(str::to_owned).into());
    stop(program);
}

#[test]
fn who_is_answered_while_it_starts_is_answered_with_everything() {
    const FANS: usize = 50_000;
    let store = tempfile::tempdir().unwrap();
    let program = start(&store, &[]);
    let lines: String = (0..FANS).map(|fan| format!("fan.{fan} star\n")).collect();
    program.ask("PUT", "/subscriptions", lines.as_bytes());
    kill(program);
    let control = store.path().join("control");
    let address = format!("unix:{}", control.display());
    let mut command = lf_comet();
    command.args(["--store", path(&store), "--listen", "127.0.0.1:0", "--control", &address, "--groups", "1"]);
    let process = Process::spawn(command);
    let mut first = None;
    until("somebody answers", || {
        first = UnixStream::connect(&control).ok();
        first.is_some()
    });
    let mut answers = String::new();
    let mut stream = first.unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let requests = request("/readyz", "") + &request("/subscribers/star?count=1", "Connection: close\r\n");
    stream.write_all(requests.as_bytes()).unwrap();
    stream.read_to_string(&mut answers).unwrap();
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("\r\n\r\nok\n"), "{answers}");
    assert!(answers.contains(&format!("\"count\":{FANS}")), "{answers}");
    drop(process);
}

#[test]
fn a_stop_brings_everything_that_was_accepted_and_a_proper_end() {
    const MESSAGES: usize = 300;
    const EACH: usize = 3;
    let store = tempfile::tempdir().unwrap();
    let mut program = start(&store, &["--drain", "60s", "--queue-bytes", "10000000"]);
    program.ask("PUT", "/subscriptions", b"fan star\n");
    // With little room, so that much waits in the program when it is told to stop.
    let open = |index: usize| {
        let wire = Wire::with_little_room(program.public());
        Ear::on(wire, STREAMS[index / EACH], "fan", None)
    };
    let mut ears: Vec<_> = (0..STREAMS.len() * EACH).map(open).collect();
    let mut poll = Wire::connect(program.public());
    poll.get("/poll/quiet?timeout=100");
    program.await_connected("quiet", 1);
    let bodies: Vec<_> = (0..MESSAGES).map(|number| format!("{number:0>1000}")).collect();
    let lines: String = bodies.iter().map(|body| line("send", "star", body.as_bytes())).collect();
    assert_eq!(Desk::new(&program).batch(&lines)["delivered"], MESSAGES * ears.len());
    program.signal("TERM");
    let ready = || http::request(program.control(), "GET", "/readyz", &[], b"");
    until("it drains", || ready().status == 503);
    assert_eq!(ready().text(), "draining\n");
    assert_eq!(poll.answer().status, 204);
    for ear in &mut ears[EACH..] {
        bodies.iter().for_each(|body| assert_eq!(ear.text(), *body, "on {:?}", ear.kind));
    }
    for mut ear in ears.drain(EACH..) {
        let kind = ear.kind;
        if matches!(kind, Kind::Socket | Kind::SocketJson) {
            let mut socket = ear.into_socket();
            let (frame, payload) = socket.message();
            assert_ne!(frame, TEXT, "one more: {}", payload.escape_ascii());
            assert_eq!((frame, payload), (CLOSE, close_payload(1001, "the server stops")), "on {kind:?}");
            assert_eq!(socket.wire.rest(), b"");
        } else {
            assert_eq!(ear.next(), None, "on {kind:?}");
            assert_eq!(ear.into_wire().rest(), b"");
        }
    }
    // The last ones keep it until they are served as well.
    assert_eq!(ready().status, 503);
    for mut ear in ears {
        bodies.iter().for_each(|body| assert_eq!(ear.text(), *body));
        assert_eq!(ear.next(), None);
    }
    let left = program.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.log);
    let program = start(&store, &[]);
    assert_eq!(subscribers(&program, "star"), ["fan".to_owned()].into());
    assert!(!end(program, false), "the store was not closed");
}
