//! Handlers that block: whoever shares their group, or their batch, is served all the same.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Gate, Host, Mode, any_port, in_every_mode, lines, numbered_lines, until, with_both_triggers};
use lf_core::codec::Line;
use lf_core::{Builder, Count, Outcome, Promotion};
use std::sync::Arc;
use std::time::Duration;

/// `gate` blocks until the gate opens, `announced` too but says so before, `first` waits at a gate of its own; then every
/// line is echoed.
fn serve(builder: Builder, gate: &Arc<Gate>, first: &Arc<Gate>) -> Host {
    let (gate, first) = (Arc::clone(gate), Arc::clone(first));
    let handler = lines(move |cx, line| -> Outcome {
        match line {
            "gate" => gate.pass(),
            "announced" => cx.blocking(|| gate.pass()),
            "first" => first.pass(),
            "short" => Gate::new().pass_for(Duration::from_millis(20)),
            _ => {}
        }
        Ok(cx.send(line.as_bytes())?)
    });
    Host::start(builder.listen(any_port(), Line::default(), handler))
}

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.line(), line);
}

fn assert_others_are_served(mode: Mode, how: &str, counted_as: Count) {
    let gate = Gate::new();
    let host = serve(mode.builder(), &gate, &Gate::new());
    let mut others: Vec<_> = (0..20).map(|_| host.connect()).collect();
    let mut blocked = host.connect();
    blocked.send(format!("{how}\nsecond\n").as_bytes());
    gate.until_waiting(1);
    for round in 0..20 {
        others.iter_mut().for_each(|other| say(other, &format!("round {round}")));
    }
    say(&mut host.connect(), "a new one, too");
    if mode.promotion == Promotion::Adaptive {
        assert!(host.count(counted_as) >= 1, "{counted_as:?}");
    }
    gate.open();
    assert_eq!([blocked.line(), blocked.line()], [how, "second"], "its own frames stay in order");
    say(&mut blocked, "and it goes on");
}

#[test]
fn a_handler_that_blocks_unannounced_does_not_keep_its_group() {
    in_every_mode(|mode| assert_others_are_served(mode, "gate", Count::Depositions));
}

#[test]
fn a_handler_that_announces_its_blocking_does_not_keep_its_group() {
    in_every_mode(|mode| assert_others_are_served(mode, "announced", Count::HandOvers));
}

/// Events gather while the only leader is held at the first gate; then they come to one worker as one batch.
/// Answers whether another worker took over the rest of the batch.
fn rest_of_batch_is_taken_over(mode: Mode, how: &str) -> bool {
    let (gate, first) = (Gate::new(), Gate::new());
    let host = serve(mode.builder().tick(Duration::from_millis(200)), &gate, &first);
    let mut holder = host.connect();
    let mut clients: Vec<_> = (0..30).map(|_| host.connect()).collect();
    holder.send(b"first\n");
    first.until_waiting(1);
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(if i == 0 { format!("{how}\n") } else { format!("number {i}\n") }.as_bytes());
    }
    first.open();
    for (i, client) in clients.iter_mut().enumerate().skip(1) {
        assert_eq!(client.line(), format!("number {i}"));
    }
    gate.until_waiting(1);
    assert_eq!(holder.line(), "first");
    let taken_over = host.count(Count::StolenEvents) > 0;
    gate.open();
    assert_eq!(clients[0].line(), how);
    taken_over
}

/// On a machine that is very busy the events may come one by one: then there is no batch to take over.
fn assert_batch_is_served(mode: Mode, how: &str) {
    let attempts = if mode.promotion == Promotion::Adaptive { 20 } else { 1 };
    let taken_over = (0..attempts).any(|_| rest_of_batch_is_taken_over(mode, how));
    assert!(taken_over || mode.promotion == Promotion::Kernel, "the rest of the batch was never taken over");
}

#[test]
fn a_handler_that_blocks_does_not_keep_the_rest_of_its_batch() {
    in_every_mode(|mode| {
        assert_batch_is_served(mode, "gate");
        assert_batch_is_served(mode, "announced");
    });
}

#[test]
fn several_in_one_batch_may_block() {
    in_every_mode(|mode| {
        let (gate, first) = (Gate::new(), Gate::new());
        let host = serve(mode.builder().workers(8), &gate, &first);
        let mut clients: Vec<_> = (0..30).map(|_| host.connect()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(if i % 5 == 0 { "gate\n".into() } else { format!("number {i}\n") }.as_bytes());
        }
        for (i, client) in clients.iter_mut().enumerate().filter(|(i, _)| i % 5 != 0) {
            assert_eq!(client.line(), format!("number {i}"));
        }
        gate.until_waiting(6);
        gate.open();
        clients.iter_mut().step_by(5).for_each(|client| assert_eq!(client.line(), "gate"));
    });
}

#[test]
fn a_pipeline_goes_on_while_others_block() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode.builder().workers(16), &gate, &Gate::new());
        let sent = numbered_lines(200_000);
        let mut pipeline = host.connect();
        let mut blocked: Vec<_> = (0..12).map(|_| host.connect()).collect();
        std::thread::scope(|scope| {
            let sent = &sent;
            let done = scope.spawn(move || pipeline.exchange(sent, sent));
            for (i, client) in blocked.iter_mut().enumerate() {
                // In the midst of it, each in another of its turns.
                host.until_count(Count::FramesReceived, 10_000 * (i as u64 + 1));
                client.send(b"gate\n");
            }
            gate.until_waiting(12);
            done.join().unwrap();
        });
        gate.open();
        blocked.iter_mut().for_each(|client| assert_eq!(client.line(), "gate"));
    });
}

#[test]
fn a_group_grows_while_its_workers_block() {
    with_both_triggers(|mode| {
        for how in ["gate", "announced"] {
            let gate = Gate::new();
            let host = serve(mode.builder().workers(1).workers_max(8), &gate, &Gate::new());
            let mut blocked: Vec<_> = (0..7).map(|_| host.connect()).collect();
            blocked.iter_mut().for_each(|client| client.send(format!("{how}\n").as_bytes()));
            gate.until_waiting(7);
            say(&mut host.connect(), "the eighth worker serves");
            assert!(host.count(Count::WorkersSpawned) >= 7);
            gate.open();
            blocked.iter_mut().for_each(|client| assert_eq!(client.line(), how));
        }
    });
}

#[test]
fn when_every_worker_blocks_it_is_counted_and_service_goes_on_afterwards() {
    with_both_triggers(|mode| {
        for how in ["gate", "announced"] {
            let gate = Gate::new();
            let host = serve(mode.builder().workers(2).workers_max(3), &gate, &Gate::new());
            let mut blocked: Vec<_> = (0..3).map(|_| host.connect()).collect();
            blocked.iter_mut().for_each(|client| client.send(format!("{how}\n").as_bytes()));
            gate.until_waiting(3);
            host.until_count(Count::Starvations, 1);
            let mut waits: Vec<_> = (0..20).map(|_| host.connect()).collect();
            waits.iter_mut().for_each(|client| client.send(b"wait\n"));
            assert_eq!(host.count(Count::WorkersSpawned), 1);
            gate.open();
            waits.iter_mut().for_each(|client| assert_eq!(client.line(), "wait"));
            blocked.iter_mut().for_each(|client| assert_eq!(client.line(), how));
            host.assert_serves_lines();
        }
    });
}

#[test]
fn kernel_promotion_serves_when_every_worker_was_blocked() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode.builder().workers(3).workers_max(3), &gate, &Gate::new());
        let mut blocked: Vec<_> = (0..10).map(|_| host.connect()).collect();
        blocked.iter_mut().for_each(|client| client.send(b"gate\n"));
        gate.until_waiting(3);
        gate.open();
        blocked.iter_mut().for_each(|client| assert_eq!(client.line(), "gate"));
        host.assert_serves_lines();
    });
}

#[test]
fn a_connection_that_was_slow_is_promoted_for_up_front() {
    with_both_triggers(|mode| {
        let host = serve(mode.builder(), &Gate::new(), &Gate::new());
        let mut slow = host.connect();
        // A worker that has stepped down already may serve the next turn as well: then there is nothing to hand over.
        until("a turn hands over because of the one before it", || {
            say(&mut slow, "short");
            host.count(Count::LearnedHandOvers) > 0
        });
        // A quick turn makes up for it.
        say(&mut slow, "quick");
        let learned = host.count(Count::LearnedHandOvers);
        for _ in 0..50 {
            say(&mut slow, "quick");
        }
        assert!(host.count(Count::LearnedHandOvers) < learned + 50, "what was learned can be forgotten");
    });
}

#[test]
fn what_was_answered_before_a_blocking_call_does_not_wait_for_it() {
    in_every_mode(|mode| {
        let gate = Gate::new();
        let host = serve(mode.builder(), &gate, &Gate::new());
        let mut client = host.connect();
        client.send(b"before\nannounced\nafter\n");
        assert_eq!(client.line(), "before");
        gate.until_waiting(1);
        gate.open();
        assert_eq!([client.line(), client.line()], ["announced", "after"]);
    });
}

/// The slice that the scheduler gives this thread, in nanoseconds, where the kernel shows it.
fn own_slice_ns() -> Option<u64> {
    let shown = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
    shown.lines().find_map(|line| line.strip_prefix("se.slice")?.split_once(':')?.1.trim().parse().ok())
}

#[test]
fn who_computes_for_long_gives_way_until_it_is_back() {
    let Some(usual_ns) = own_slice_ns() else {
        return println!("skipped: this kernel does not show the slices of threads");
    };
    with_both_triggers(|mode| {
        let handler = lines(move |cx, line| -> Outcome {
            if line == "compute" {
                let until = std::time::Instant::now() + Duration::from_secs(5);
                while own_slice_ns() == Some(usual_ns) && std::time::Instant::now() < until {}
            }
            Ok(cx.send(own_slice_ns().unwrap().to_string().as_bytes())?)
        });
        let host = Host::start(mode.builder().listen(any_port(), Line::default(), handler));
        let slice_ns = |client: &mut Client, line: &str| {
            client.send(format!("{line}\n").as_bytes());
            client.line().parse::<u64>().unwrap()
        };
        let (mut computes, mut other) = (host.connect(), host.connect());
        assert_eq!(slice_ns(&mut computes, "ask"), usual_ns);
        for _ in 0..3 {
            let long_ns = slice_ns(&mut computes, "compute");
            if long_ns == usual_ns {
                return println!("skipped: this kernel does not let threads say how long they may run");
            }
            assert!(long_ns > 4 * usual_ns, "{long_ns} and {usual_ns}");
            // Who has computed may serve another turn before it rests.
            until("who leads is as quick as ever", || slice_ns(&mut other, "ask") == usual_ns);
        }
    });
}
