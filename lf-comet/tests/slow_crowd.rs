//! Half of the subscribers stop reading: memory stays bounded, and the other half gets everything.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, line};
use common::ears::{Ear, Kind};
use common::wire::Wire;
use common::{Program, until};

/// Subscribers; as many connections are open here, and in the program.
const CROWD: usize = 4000;
const HALF: usize = CROWD / 2;
const QUEUE_BYTES: usize = 16 << 10;
const QUEUE_TOTAL_BYTES: usize = 48 << 20;
/// What may be allocated beside queues while messages flow.
const SPARE_BYTES: usize = 48 << 20;
const KINDS: [Kind; 5] = [Kind::Events, Kind::Ndjson, Kind::Stream, Kind::Socket, Kind::SocketJson];
const ROUNDS: usize = 5;
/// To everybody, and to each alone, in each round.
const TO_ALL: usize = 32;
const TO_EACH: usize = 2;

fn body(round: usize, number: usize, id: &str) -> Vec<u8> {
    let mut body = format!("{round}.{number}.{id}").into_bytes();
    body.resize(2000, b'.');
    body
}

fn id(index: usize) -> String {
    format!("u{index}")
}

fn open(program: &Program, from: usize) -> Vec<Ear> {
    let one = |index: usize| {
        // Every other one will not read.
        let wire = if index.is_multiple_of(2) {
            Wire::with_little_room(program.public())
        } else {
            Wire::connect(program.public())
        };
        Ear::on(wire, KINDS[index % KINDS.len()], &id(index), None)
    };
    (from..CROWD).step_by(4).map(one).collect()
}

/// All that is sent in a round to who reads.
fn read(index: usize, ear: &mut Ear, round: usize) {
    for number in 0..TO_ALL + TO_EACH {
        let expected = body(round, number, &if number < TO_ALL { "all".into() } else { id(index) });
        assert!(ear.message().1 == expected, "message {number} of round {round} to {index}");
    }
}

#[test]
fn half_of_them_stop_reading_and_the_others_get_everything() {
    let queue = QUEUE_BYTES.to_string();
    let total = QUEUE_TOTAL_BYTES.to_string();
    let program = Program::start(&[
        "--slow",
        "drop-oldest",
        "--queue-bytes",
        &queue,
        "--queue-total-bytes",
        &total,
        "--write-stall",
        "0s",
        "--user-timeout",
        "0s",
    ]);
    let lines: String = (0..CROWD).map(|index| format!("{} all\n", id(index))).collect();
    program.ask("PUT", "/subscriptions", lines.as_bytes());
    let mut quarters: Vec<_> = std::thread::scope(|scope| {
        let quarters = [0, 1, 2, 3].map(|from| {
            scope.spawn({
                let program = &program;
                move || open(program, from)
            })
        });
        quarters.into_iter().map(|quarter| quarter.join().unwrap()).collect()
    });
    until("all are connected", || program.metric("lf_connections") == CROWD as u64);
    let before = program.resident_bytes();
    let mut highest = before;
    for round in 0..ROUNDS {
        let mut desk = Desk::new(&program);
        let to_all: String = (0..TO_ALL).map(|number| line("send", "all", &body(round, number, "all"))).collect();
        let expected = (TO_ALL * CROWD) as u64;
        assert_eq!(desk.batch(&to_all)["delivered"], expected);
        for number in TO_ALL..TO_ALL + TO_EACH {
            let to_each: String =
                (0..CROWD).map(|index| line("direct", &id(index), &body(round, number, &id(index)))).collect();
            assert_eq!(desk.batch(&to_each)["delivered"], CROWD as u64);
        }
        std::thread::scope(|scope| {
            for (from, quarter) in quarters.iter_mut().enumerate().filter(|(from, _)| from % 2 == 1) {
                scope.spawn(move || {
                    for (place, ear) in quarter.iter_mut().enumerate() {
                        read(from + 4 * place, ear, round);
                    }
                });
            }
        });
        let waiting = program.metric("lf_comet_waiting_bytes");
        assert!(waiting <= QUEUE_TOTAL_BYTES as u64, "{waiting} bytes wait");
        highest = highest.max(program.resident_bytes());
    }
    let grown = highest - before;
    println!("{CROWD} subscribers: {before} bytes before, {grown} more at most");
    assert!(grown <= QUEUE_TOTAL_BYTES + SPARE_BYTES, "memory has grown by {grown} bytes");
    // They do not read, indeed, and it was felt.
    let dropped = program.counter("dropped_oldest");
    assert!(dropped >= 10 * HALF as u64, "{dropped} were dropped");
    for other in ["dropped_full", "slow_disconnects"] {
        assert_eq!(program.counter(other), 0, "{other}");
    }
    // A kernel that makes room for who does not read takes some of what waits; behind the rest, which is on its way, nothing fits.
    let newest = program.counter("dropped_newest");
    assert!(newest <= dropped / 100, "{newest} of the newest were dropped, and {dropped} of the oldest");
    assert_eq!(program.connected(None), CROWD);
    drop(quarters);
    until("nothing waits", || program.metric("lf_comet_waiting_bytes") == 0);
    until("all are gone", || program.metric("lf_connections") == 0);
    program.end();
}
