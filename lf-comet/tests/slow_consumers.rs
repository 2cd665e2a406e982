//! Who does not read in time misses what the policy says, and nobody else misses anything.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::{Desk, line, position};
use common::ears::{Ear, Kind, STREAMS};
use common::wire::Wire;
use common::{Program, until};
use fastrand::Rng;
use std::sync::atomic::{AtomicUsize, Ordering};

const QUEUE_BYTES: usize = 30_000;
/// More than what both kernels take in for a stalled reader, so that something is dropped.
const DROPS: u64 = 40;

fn start(policy: &str, options: &[&str]) -> Program {
    let queue_bytes = QUEUE_BYTES.to_string();
    let mut arguments = vec!["--slow", policy, "--user-timeout", "0s", "--heartbeat", "0s"];
    for default in [["--queue-bytes", &queue_bytes], ["--write-stall", "0s"]] {
        if !options.contains(&default[0]) {
            arguments.extend(default);
        }
    }
    arguments.extend(options);
    Program::start(&arguments)
}

/// Somebody who listens and does not read.
fn stalled(program: &Program, kind: Kind, id: &str) -> Ear {
    Ear::on(Wire::with_little_room(program.public()), kind, id, None)
}

fn body(number: usize, length: usize) -> Vec<u8> {
    let mut body = format!("{number:06}").into_bytes();
    body.resize(length.max(body.len()), b'.');
    body
}

fn number(body: &[u8]) -> usize {
    std::str::from_utf8(&body[..6]).unwrap().parse().unwrap()
}

/// The numbers of the next `count` messages.
fn read(ear: &mut Ear, count: usize) -> Vec<usize> {
    (0..count).map(|_| number(&ear.message().1)).collect()
}

/// Sends messages of 1,000 bytes to `id` until so many were dropped; answers how many were sent.
///
/// `quick`, which reads them all, sets the pace: a server that cannot keep up would fill the queue before the kernel is full, and
/// find room again.
fn send_until_dropped(program: &Program, id: &str, quick: &mut Ear, counter: &str, drops: u64) -> usize {
    let mut desk = Desk::new(program);
    let limit = program.counter(counter) + drops;
    let mut sent = 0;
    while program.counter(counter) < limit {
        for number in sent..sent + 10 {
            desk.publish("send", id, &body(number, 1000));
        }
        assert_eq!(read(quick, 10), (sent..sent + 10).collect::<Vec<_>>(), "{:?}", quick.kind);
        until("all was handed over", || program.metric("lf_comet_backlog_deliveries") == 0);
        sent += 10;
        assert!(sent < 100_000, "{sent} messages of 1,000 bytes are nowhere");
    }
    sent
}

/// Sends one more when everything was read, and sees it arrive.
fn goes_on(program: &Program, ear: &mut Ear, id: &str, count: usize) {
    program.send(id, body(count, 1000));
    assert_eq!(number(&ear.message().1), count, "on {:?}", ear.kind);
}

/// What a stalled reader of `sent` messages finds later, of which `dropped` did not wait.
struct Stalled {
    kept: Vec<usize>,
    sent: usize,
    dropped: usize,
}

/// Stalls one reader of each transport and checks what it kept, in order.
///
/// Kernels make room for a stalled reader now and then (they probe its window): then there are more gaps than the policy's one,
/// and `expected` is tried again with another reader.
fn stalls(policy: &str, counter: &str, expected: impl Fn(&Stalled) -> Result<(), String>) {
    let program = start(policy, &[]);
    for kind in STREAMS {
        for attempt in 0.. {
            let id = format!("{kind:?}{attempt}");
            let (mut slow, mut quick) = (stalled(&program, kind, &id), Ear::open(program.public(), kind, &id, None));
            program.await_connected(&id, 2);
            let before = program.counter(counter);
            let sent = send_until_dropped(&program, &id, &mut quick, counter, DROPS);
            let dropped = usize::try_from(program.counter(counter) - before).unwrap();
            let kept = read(&mut slow, sent - dropped);
            assert!(kept[0] == 0 && kept.is_sorted_by(|one, other| one < other), "{kind:?}: {kept:?}");
            until("nothing waits", || program.metric("lf_comet_waiting_bytes") == 0);
            goes_on(&program, &mut slow, &id, sent);
            goes_on(&program, &mut quick, &id, sent);
            match expected(&Stalled { kept, sent, dropped }) {
                Ok(()) => break,
                Err(problem) => assert!(attempt < 10, "{kind:?}: {problem}"),
            }
        }
    }
    assert_eq!(dropped(&program) as u64, program.counter(counter));
    assert_eq!(program.counter("slow_disconnects"), 0);
    program.end();
}

#[test]
fn drop_newest_keeps_what_came_first() {
    stalls("drop-newest", "dropped_newest", |Stalled { kept, sent, dropped }| {
        let first = kept.iter().copied().eq(0..sent - dropped);
        first.then_some(()).ok_or_else(|| format!("{dropped} of {sent} dropped, kept {kept:?}"))
    });
}

#[test]
fn drop_oldest_keeps_what_came_last() {
    stalls("drop-oldest", "dropped_oldest", |Stalled { kept, sent, dropped }| {
        // What the kernels had taken in, then a gap, then the last ones.
        let gap = kept.iter().enumerate().position(|(index, number)| index != *number).unwrap();
        assert_eq!(kept.last(), Some(&(sent - 1)));
        let last =
            kept.iter().copied().eq((0..gap).chain(gap + dropped..*sent)) && sent - dropped - gap > QUEUE_BYTES / 1500;
        last.then_some(()).ok_or_else(|| format!("{dropped} of {sent} dropped, kept {kept:?}"))
    });
}

#[test]
fn disconnect_ends_the_slow_one_which_may_come_back() {
    let program = start("disconnect", &["--history", "100000"]);
    for (index, kind) in STREAMS.into_iter().enumerate() {
        let id = format!("{kind:?}");
        let begin = position(&program);
        let (slow, mut quick) = (stalled(&program, kind, &id), Ear::open(program.public(), kind, &id, None));
        program.await_connected(&id, 2);
        let sent = send_until_dropped(&program, &id, &mut quick, "slow_disconnects", 1);
        program.await_connected(&id, 1);
        assert_eq!(program.counter("slow_disconnects"), index as u64 + 1);
        // What the kernels had taken in may still be there; after that, it ends.
        let rest = slow.into_wire().rest_or_reset();
        let text = String::from_utf8_lossy(&rest);
        let numbers = (0..sent).take_while(|number| text.contains(&format!("{number:06}."))).count();
        assert!(numbers < sent && !text.contains(&format!("{:06}.", numbers + 1)), "{kind:?}: a gap after {numbers}");
        let mut again = Ear::open(program.public(), Kind::Ndjson, &id, Some(begin));
        assert_eq!(read(&mut again, sent), (0..sent).collect::<Vec<_>>(), "{kind:?}");
    }
    assert_eq!((program.counter("dropped_newest"), program.counter("dropped_oldest")), (0, 0));
    assert!(program.counter("dropped_disconnected") >= STREAMS.len() as u64);
    until("nothing waits", || program.metric("lf_comet_waiting_bytes") == 0);
    program.end();
}

/// Messages of all sizes, alone and many at once, while somebody reads a little now and then: in order, each once, and what is
/// missing was counted under the policy's name.
fn reads_now_and_then(policy: &str, counter: &str, coalesce_ms: &str) {
    let program = start(policy, &["--coalesce-ms", coalesce_ms]);
    for (kind, seed) in STREAMS.into_iter().zip(0..) {
        let (id, mut random) = (format!("{kind:?}"), Rng::with_seed(seed));
        let mut slow = stalled(&program, kind, &id);
        program.await_connected(&id, 1);
        let (before, mut desk) = (program.counter(counter), Desk::new(&program));
        let (mut sent, mut seen) = (0, Vec::new());
        while program.counter(counter) < before + DROPS {
            let count = random.usize(1..40);
            let bodies = (sent..sent + count).map(|number| body(number, random.usize(..8000)));
            let lines: String = bodies.map(|body| line("send", &id, &body)).collect();
            assert_eq!(desk.batch(&lines)["errors"], 0);
            sent += count;
            seen.extend(read(&mut slow, random.usize(..3)));
        }
        until("all was handed over", || program.metric("lf_comet_backlog_deliveries") == 0);
        let dropped = usize::try_from(program.counter(counter) - before).unwrap();
        seen.extend(read(&mut slow, sent - dropped - seen.len()));
        assert!(seen.is_sorted_by(|one, other| one < other), "{kind:?}: {seen:?}");
        if policy == "drop-oldest" {
            assert_eq!(seen.last(), Some(&(sent - 1)), "{kind:?}");
        }
        goes_on(&program, &mut slow, &id, sent);
    }
    assert_eq!(dropped(&program) as u64, program.counter(counter));
    program.end();
}

#[test]
fn order_holds_where_the_oldest_are_dropped() {
    reads_now_and_then("drop-oldest", "dropped_oldest", "0");
}

#[test]
fn order_holds_where_the_newest_are_dropped() {
    reads_now_and_then("drop-newest", "dropped_newest", "0");
}

#[test]
fn the_last_ones_are_kept_where_messages_are_sent_together() {
    reads_now_and_then("drop-oldest", "dropped_oldest", "2");
}

#[test]
fn the_first_ones_are_kept_where_messages_are_sent_together() {
    reads_now_and_then("drop-newest", "dropped_newest", "2");
}

fn dropped(program: &Program) -> usize {
    let counters = ["dropped_newest", "dropped_oldest", "dropped_full", "dropped_disconnected"];
    counters.map(|counter| usize::try_from(program.counter(counter)).unwrap()).iter().sum()
}

/// Of `sent` messages to all readers together, those that were not dropped, and then what is sent anew.
fn read_what_was_kept(program: &Program, readers: &mut [Ear], sent: usize) {
    const LAST: usize = 999_999;
    let kept = sent - dropped(program);
    let (count, seen) = (readers.len(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for reader in readers {
            scope.spawn(|| {
                let numbers = std::iter::repeat_with(|| number(&reader.message().1));
                let mut last = None;
                for next in numbers.take_while(|next| *next != LAST) {
                    assert!(last.is_none_or(|last| last < next), "{next} after {last:?} on {:?}", reader.kind);
                    last = Some(next);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("all that was kept is read", || seen.load(Ordering::Relaxed) >= kept);
        (0..count).for_each(|reader| assert_eq!(program.send(&format!("r{reader}"), body(LAST, 0)), 1));
    });
    assert_eq!(seen.into_inner(), kept);
}

#[test]
fn what_waits_for_all_is_bounded_whatever_the_policy() {
    const TOTAL: u64 = 200_000;
    const READERS: usize = 20;
    for (policy, counter) in
        [("drop-newest", "dropped_newest"), ("drop-oldest", "dropped_oldest"), ("disconnect", "slow_disconnects")]
    {
        let total = TOTAL.to_string();
        let program = start(policy, &["--queue-bytes", "100000", "--queue-total-bytes", &total]);
        let open = |number: usize| stalled(&program, STREAMS[number % STREAMS.len()], &format!("r{number}"));
        let mut readers: Vec<_> = (0..READERS).map(open).collect();
        until("all are connected", || program.connected(None) == READERS);
        let mut desk = Desk::new(&program);
        let (mut sent, mut highest) = (0, 0);
        while program.counter(counter) < DROPS.min(READERS as u64 / 2) || sent < 400 {
            for reader in 0..READERS {
                desk.publish("send", &format!("r{reader}"), &body(sent, 1000));
            }
            sent += 1;
            if sent % 10 == 0 {
                let waiting = program.metric("lf_comet_waiting_bytes");
                assert!(waiting <= TOTAL, "{policy}: {waiting} bytes wait");
                assert!(program.metric("lf_queued_bytes") <= 2 * TOTAL, "{policy}");
                highest = highest.max(waiting);
            }
            assert!(sent < 10_000, "{policy}: {sent} messages for each are nowhere");
        }
        assert!(highest > TOTAL / 2, "{policy}: it was never full, {highest} bytes");
        if policy != "disconnect" {
            read_what_was_kept(&program, &mut readers, READERS * sent);
        }
        drop(readers);
        until("nothing waits", || program.metric("lf_comet_waiting_bytes") == 0);
        until("nothing is queued", || program.metric("lf_queued_bytes") == 0);
        program.end();
    }
}

#[test]
fn who_takes_nothing_for_too_long_is_disconnected_whatever_the_policy() {
    for policy in ["drop-newest", "drop-oldest"] {
        let program = start(policy, &["--write-stall", "1s"]);
        let (slow, mut quick) =
            (stalled(&program, Kind::Events, "123"), Ear::open(program.public(), Kind::Events, "123", None));
        program.await_connected("123", 2);
        let mut sent = 0;
        until("it is disconnected", || {
            program.send("123", body(sent, 1000));
            sent += 1;
            program.metric("lf_closed_total{reason=\"write_stall\"}") == 1
        });
        assert_eq!(read(&mut quick, sent), (0..sent).collect::<Vec<_>>(), "{policy}");
        slow.into_wire().rest_or_reset();
        program.await_connected("123", 1);
        program.end();
    }
}
