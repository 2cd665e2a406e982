//! Back ends that refuse, die, hang, answer late or answer nonsense: what a call is told, and who is asked instead.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod backends;
mod common;

use backends::{Backend, Caller, lines_to, refusing, timed};
use common::{silent_port, until};
use lf_core::upstream::{Balance, Call, CallError, Probe, Protocol, UpstreamConfig};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(60);

#[test]
fn a_refusal_is_told_with_what_the_system_said_and_another_server_is_asked() {
    let (caller, gone, backend) = (Caller::new(), refusing(), Backend::echo("b"));
    let be = caller.add(lines_to([gone]));
    let error = caller.ask(&be, "x").unwrap_err();
    assert!(matches!(error, CallError::Connect { error: Some(libc::ECONNREFUSED), .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("upstream be ({gone}): cannot connect: Connection refused")),
        "{error}"
    );
    let be = caller.add(UpstreamConfig { retries: 1, max_fails: 0, ..lines_to([gone, backend.at]) });
    for round in 0..6 {
        let answer = caller.call(&be, Call::new("x")).unwrap();
        assert_eq!((&*answer.server, answer.tries), (&*backend.at.to_string(), 1 + u32::from(round % 2 == 0)));
    }
}

#[test]
fn who_does_not_answer_a_connection_is_given_up_and_another_one_is_asked() {
    let (caller, (silent, _kept), backend) = (Caller::new(), silent_port(), Backend::echo("b"));
    let be = caller.add(UpstreamConfig { connect_timeout: SHORT, retries: 1, ..lines_to([silent, backend.at]) });
    let (answer, took) = timed(|| caller.ask(&be, "x"));
    assert_eq!(answer.unwrap(), "b:x");
    assert!(took >= SHORT, "{took:?}");
    let be = caller.add(UpstreamConfig { timeout: SHORT, ..lines_to([silent]) });
    assert!(matches!(caller.ask(&be, "x"), Err(CallError::Timeout { .. })));
}

#[test]
fn a_call_ends_at_its_deadline_and_not_before_and_its_late_answer_reaches_nobody() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let backend = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            while visit.answer_with(|line| {
                if line == "late" {
                    gate.pass();
                }
                Some(line.to_owned())
            }) {}
        })
    };
    let be = caller.add(lines_to([backend.at]));
    let (outcome, took) = timed(|| caller.call(&be, Call { timeout: Some(SHORT), ..Call::new("late") }));
    let Err(CallError::Timeout { after, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(after == SHORT && took >= SHORT, "{took:?}");
    gate.open();
    for n in 0..50 {
        assert_eq!(caller.ask(&be, &n.to_string()).unwrap(), n.to_string());
    }
}

#[test]
fn redis_swallows_late_answers_and_gives_a_stuck_connection_up() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let backend = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            while visit.line().is_some() {
                let rest: Vec<_> = (0..4).map_while(|_| visit.line()).collect();
                let Some(word) = rest.get(3) else { return };
                if word == "slow" {
                    gate.pass();
                }
                visit.say(format!("+{word}\r\n"));
            }
        })
    };
    let be = caller.add(UpstreamConfig { protocol: Protocol::Redis, ..lines_to([backend.at]) });
    let echo = |word: &str, timeout| Call { timeout, ..Call::redis(["ECHO", word]) };
    let slow = caller.begin(&be, echo("slow", Some(SHORT)));
    let behind = caller.begin(&be, echo("behind", None));
    assert!(matches!(slow.outcome(), Err(CallError::Timeout { .. })));
    // Nobody else is put behind those.
    let word = |call: Result<lf_core::upstream::Answer, CallError>| format!("{:?}", call.unwrap().value.unwrap());
    assert_eq!(word(caller.call(&be, echo("beside", None))), "Simple(\"beside\")");
    gate.open();
    assert_eq!(word(behind.outcome()), "Simple(\"behind\")");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_kept_connection_that_was_closed_costs_nobody_an_error() {
    let caller = Caller::new();
    // Each connection is good for one answer, and is closed with the next request unread.
    let backend = Backend::start(|visit| {
        visit.answer_with(|line| Some(line.to_owned()));
        visit.line();
    });
    let be = caller.add(lines_to([backend.at]));
    for n in 0..40 {
        assert_eq!(caller.ask(&be, &n.to_string()).unwrap(), n.to_string());
    }
    assert!(caller.count("stale") >= 1.0);
    assert_eq!((caller.count("retries"), caller.count("answers")), (0.0, 40.0));
}

#[test]
fn a_kept_connection_that_was_closed_costs_none_of_those_who_share_it_an_error() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let visits = AtomicUsize::new(0);
    let backend = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            if visits.fetch_add(1, Ordering::Relaxed) == 0 {
                visit.answer_with(|line| Some(line.to_owned()));
                return gate.pass();
            }
            while visit.answer_with(|line| Some(line.to_owned())) {}
        })
    };
    let be = caller.add(UpstreamConfig { pipeline: Some(100), retries: 0, ..lines_to([backend.at]) });
    assert_eq!(caller.ask(&be, "first").unwrap(), "first");
    let calls = ["a", "b", "c"].map(|body| (body, caller.begin(&be, Call::new(body))));
    std::thread::park_timeout(SHORT);
    gate.open();
    for (body, call) in calls {
        assert_eq!(call.outcome().unwrap().body, body.as_bytes());
    }
}

#[test]
fn what_is_behind_an_answer_on_a_shared_connection_is_not_sent_again_by_itself() {
    let caller = Caller::new();
    let visits = AtomicUsize::new(0);
    let backend = Backend::start(move |visit| {
        if visits.fetch_add(1, Ordering::Relaxed) == 0 {
            visit.answer_with(|line| Some(line.to_owned()));
            // Has both of them when it answers one.
            let answered = visit.line();
            visit.line();
            return visit.say(format!("{}\n", answered.unwrap()));
        }
        while visit.answer_with(|line| Some(line.to_owned())) {}
    });
    let be = caller.add(UpstreamConfig { pipeline: Some(100), retries: 0, ..lines_to([backend.at]) });
    assert_eq!(caller.ask(&be, "first").unwrap(), "first");
    let [answered, lost] = ["answered", "lost"].map(|body| caller.begin(&be, Call::new(body)));
    assert_eq!(answered.outcome().unwrap().body, b"answered");
    let lost = lost.outcome();
    assert!(matches!(lost, Err(CallError::Closed { .. })), "{lost:?}");
}

#[test]
fn a_kept_connection_that_dies_idle_is_thrown_away() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        visit.answer_with(|line| Some(line.to_owned()));
    });
    let be = caller.add(lines_to([backend.at]));
    for n in 0..20 {
        assert_eq!(caller.ask(&be, &n.to_string()).unwrap(), n.to_string());
        until("only the tasks are left", || caller.host.stats().outgoing() == 2);
    }
    assert_eq!((caller.count("stale"), backend.connections()), (0.0, 20));
}

#[test]
fn what_was_sent_is_sent_again_only_if_the_call_or_the_upstream_says_so() {
    let caller = Caller::new();
    let deaf = Backend::start(|visit| drop(visit.line()));
    let backend = Backend::echo("b");
    let config = UpstreamConfig { retries: 1, max_fails: 0, ..lines_to([deaf.at, backend.at]) };
    let be = caller.add(config.clone());
    let error = caller.ask(&be, "x").unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
    assert_eq!(caller.ask(&be, "x").unwrap(), "b:x");
    let answer = caller.call(&be, Call { idempotent: true, ..Call::new("y") }).unwrap();
    assert_eq!((answer.body.as_slice(), answer.tries), (&b"b:y"[..], 2));
    let be = caller.add(UpstreamConfig { retry_sent: true, ..config });
    assert_eq!(caller.ask(&be, "z").unwrap(), "b:z");
}

#[test]
fn half_a_frame_garbage_and_too_much_are_told_apart() {
    let caller = Caller::new();
    let outcome = |protocol, answer: &'static [u8]| {
        let backend = Backend::start(move |visit| {
            if protocol == Protocol::Http {
                drop(visit.http());
            } else {
                drop(visit.read(1));
            }
            visit.say(answer);
        });
        let config = UpstreamConfig { protocol, answer_max: 100, ..lines_to([backend.at]) };
        caller.call(&caller.add(config), Call::new("x")).unwrap_err().label()
    };
    assert_eq!(outcome(Protocol::Line, b"half a li"), "closed");
    assert_eq!(outcome(Protocol::Len32, b"\0\0\0\x09half"), "closed");
    assert_eq!(outcome(Protocol::Len32, b"\0\0\0\x65"), "too_large");
    assert_eq!(outcome(Protocol::Nshead, &[7; 36]), "malformed");
    assert_eq!(outcome(Protocol::Http, b"what is this\r\n\r\n"), "malformed");
    assert_eq!(outcome(Protocol::Http, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "closed");
    assert_eq!(outcome(Protocol::Http, b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"), "too_large");
    let command = Call::redis(["GET", "x"]);
    let backend = Backend::start(|visit| {
        visit.read(1);
        visit.say("hello\r\n");
    });
    let be = caller.add(UpstreamConfig { protocol: Protocol::Redis, ..lines_to([backend.at]) });
    assert_eq!(caller.call(&be, command).unwrap_err().label(), "malformed");
}

#[test]
fn an_nshead_answer_with_another_log_id_is_no_answer() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| {
        while let Some(mut head) = visit.read(36) {
            head[4] ^= 1;
            visit.say(head);
        }
    });
    let be = caller.add(UpstreamConfig { protocol: Protocol::Nshead, ..lines_to([backend.at]) });
    for _ in 0..3 {
        let error = caller.call(&be, Call::new("")).unwrap_err();
        assert!(matches!(error, CallError::Malformed { .. }), "{error}");
    }
    until("its connections are gone", || caller.host.stats().outgoing() == 2);
}

#[test]
fn what_nobody_asked_for_ends_a_kept_connection() {
    let caller = Caller::new();
    let told = Arc::new(AtomicBool::new(false));
    let backend = {
        let told = Arc::clone(&told);
        Backend::start(move |visit| {
            visit.answer_with(|line| Some(line.to_owned()));
            if visit.number == 0 {
                visit.say("half of what nobody wants");
                told.store(true, Ordering::SeqCst);
            }
            while visit.answer_with(|line| Some(line.to_owned())) {}
        })
    };
    let be = caller.add(lines_to([backend.at]));
    assert_eq!(caller.ask(&be, "one").unwrap(), "one");
    until("it was said", || told.load(Ordering::SeqCst));
    until("it has been read", || caller.host.count(lf_core::Count::BytesReceived) >= 28);
    assert_eq!(caller.ask(&be, "two").unwrap(), "two");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_server_that_fails_is_out_until_a_trial_succeeds() {
    let caller = Caller::new();
    let (healthy, sick) = (Backend::echo("a"), Arc::new(AtomicBool::new(true)));
    let other =
        {
            let sick = Arc::clone(&sick);
            Backend::start(move |visit| {
                while visit.answer_with(|line| (!sick.load(Ordering::SeqCst)).then(|| format!("b:{line}"))) {}
            })
        };
    let config = UpstreamConfig {
        max_fails: 2,
        fail_timeout: Duration::from_millis(200),
        retries: 1,
        retry_sent: true,
        keepalive: 0,
        ..lines_to([healthy.at, other.at])
    };
    let be = caller.add(config);
    (0..20).for_each(|_| assert_eq!(caller.ask(&be, "x").unwrap(), "a:x"));
    let asked = other.requests();
    assert!((2..=4).contains(&asked), "{asked} requests to a server that is out");
    sick.store(false, Ordering::SeqCst);
    until("it is back", || caller.ask(&be, "x").unwrap() == "b:x");
    let both: Vec<_> = (0..10).map(|_| caller.ask(&be, "x").unwrap()).collect();
    assert_eq!(both.iter().filter(|answer| *answer == "b:x").count(), 5);
}

#[test]
fn if_all_are_out_one_is_asked_anyway() {
    let caller = Caller::new();
    let be = caller.add(UpstreamConfig { max_fails: 1, ..lines_to([refusing(), refusing()]) });
    for _ in 0..5 {
        assert!(matches!(caller.ask(&be, "x"), Err(CallError::Connect { .. })));
    }
    assert_eq!(caller.count("all_out"), 3.0);
}

#[test]
fn an_outage_is_not_multiplied_by_retries() {
    let caller = Caller::new();
    let config = UpstreamConfig { retries: 5, max_fails: 0, ..lines_to([refusing(), refusing()]) };
    let be = caller.add(config);
    let ((), took) = timed(|| (0..200).for_each(|_| drop(caller.ask(&be, "x").unwrap_err())));
    let (retries, over) = (caller.count("retries"), caller.count("over_budget"));
    let floor = 10.0 * (took.as_secs_f64().ceil() + 1.0);
    assert!(retries <= 40.0 + floor && retries >= 40.0, "{retries} retries in {took:?}");
    assert!(over > 0.0);
}

#[test]
fn a_backup_request_overtakes_a_server_that_hangs() {
    let (caller, hangs, backend) = (Caller::new(), Backend::silent(), Backend::echo("b"));
    let config = UpstreamConfig { backup_after: Some(SHORT), max_fails: 0, ..lines_to([hangs.at, backend.at]) };
    let be = caller.add(config);
    let (answer, took) = timed(|| caller.call(&be, Call::new("x")).unwrap());
    assert_eq!((answer.body.as_slice(), answer.by_backup, answer.tries), (&b"b:x"[..], true, 2));
    assert!(took >= SHORT, "{took:?}");
    assert_eq!((caller.count("backups"), caller.count("backups_won")), (1.0, 1.0));
    // The one that lost is not kept.
    until("one connection and the tasks are left", || caller.host.stats().outgoing() == 3);
    assert_eq!(be.in_flight(), 0);
}

#[test]
fn a_backup_request_overtakes_a_connection_that_is_not_answered() {
    let (caller, (silent, _kept), backend) = (Caller::new(), silent_port(), Backend::echo("b"));
    let config = UpstreamConfig {
        backup_after: Some(SHORT),
        connect_timeout: common::PATIENCE,
        ..lines_to([silent, backend.at])
    };
    let be = caller.add(config);
    let answer = caller.call(&be, Call::new("x")).unwrap();
    assert!(answer.by_backup && answer.body == b"b:x");
}

#[test]
fn the_first_answer_wins_also_if_it_is_not_the_backups() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let slow = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            while visit.answer_with(|line| {
                gate.pass();
                Some(format!("slow:{line}"))
            }) {}
        })
    };
    let hangs = Backend::silent();
    let config = UpstreamConfig { backup_after: Some(SHORT), ..lines_to([slow.at, hangs.at]) };
    let be = caller.add(config);
    let call = caller.begin(&be, Call::new("x"));
    until("the backup is there", || hangs.requests() == 1);
    gate.open();
    let answer = call.outcome().unwrap();
    assert_eq!((answer.body.as_slice(), answer.by_backup), (&b"slow:x"[..], false));
    assert_eq!((caller.count("backups"), caller.count("backups_won")), (1.0, 0.0));
}

#[test]
fn probes_take_a_server_out_and_bring_it_back() {
    let caller = Caller::new();
    let status = Arc::new(AtomicUsize::new(200));
    let backend = {
        let status = Arc::clone(&status);
        Backend::start(move |visit| {
            while let Some((head, _)) = visit.http() {
                let status = if head.starts_with("GET /health ") { status.load(Ordering::SeqCst) } else { 200 };
                visit.say(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
            }
        })
    };
    let probe = Probe { interval: Duration::from_millis(20), timeout: SHORT, path: Some("/health".into()) };
    let gone = refusing();
    let config = UpstreamConfig {
        protocol: Protocol::Http,
        probe: Some(probe),
        fail_timeout: Duration::from_secs(60),
        ..lines_to([backend.at, gone])
    };
    caller.add(config);
    caller.upstreams.bind(&caller.host.running.remote());
    let up = |at| caller.metric(&format!("lf_upstream_server_up{{upstream=\"be\",server=\"{at}\"}}"));
    until("who refuses is out", || up(gone) == 0.0);
    assert_eq!(up(backend.at), 1.0);
    status.store(503, Ordering::SeqCst);
    until("who is not well is out", || up(backend.at) == 0.0);
    status.store(204, Ordering::SeqCst);
    until("it is back", || up(backend.at) == 1.0);
    let _listens_again = Backend::on(TcpListener::bind(gone).unwrap(), |visit| {
        while visit.http().is_some() {
            visit.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    until("the other one is back", || up(gone) == 1.0);
}

#[test]
fn keys_stay_with_their_servers_when_another_one_dies() {
    let caller = Caller::new();
    let backends = [Backend::echo("a"), Backend::echo("b")];
    let gone = refusing();
    let config = UpstreamConfig {
        balance: Balance::Hash,
        retries: 1,
        max_fails: 1,
        fail_timeout: Duration::from_secs(60),
        ..lines_to([backends[0].at, backends[1].at, gone])
    };
    let be = caller.add(config);
    let ask = |key: u32| {
        let call = Call { key: Some(key.to_le_bytes().to_vec()), ..Call::new("x") };
        caller.call(&be, call).unwrap()
    };
    let first: Vec<_> = (0..100).map(ask).collect();
    let again: Vec<_> = (0..100).map(ask).collect();
    let servers = |answers: &[lf_core::upstream::Answer]| -> Vec<_> {
        answers.iter().map(|answer| Arc::clone(&answer.server)).collect()
    };
    assert_eq!(servers(&first), servers(&again));
    assert_eq!(first.iter().filter(|answer| answer.tries == 2).count(), 1, "then it was out");
    assert!(backends.iter().all(|backend| backend.requests() > 40));
}

#[test]
fn a_second_answer_to_one_request_does_not_meet_the_call_that_waits() {
    let caller = Caller::new();
    let backend = Backend::start(|visit| while visit.answer_with(|line| Some(format!("{line}\n{line} once more"))) {});
    let be = caller.add(UpstreamConfig { max_connections: 2, ..lines_to([backend.at]) });
    for round in 0..20 {
        let pending: Vec<_> = (0..3).map(|n| (n, caller.begin(&be, Call::new(format!("{round} {n}"))))).collect();
        for (n, call) in pending {
            assert_eq!(call.outcome().unwrap().body, format!("{round} {n}").into_bytes());
        }
    }
}

#[test]
fn who_waits_for_a_server_that_dies_is_served_by_another_one() {
    let caller = Caller::new();
    let gate = common::Gate::new();
    let dies = {
        let gate = Arc::clone(&gate);
        Backend::start(move |visit| {
            visit.line();
            gate.pass();
        })
    };
    let backend = Backend::echo("b");
    let config = UpstreamConfig {
        balance: Balance::Hash,
        max_connections: 2,
        max_fails: 1,
        fail_timeout: Duration::from_secs(60),
        ..lines_to([dies.at, backend.at])
    };
    let be = caller.add(config);
    let ask = |key: u32| caller.begin(&be, Call { key: Some(key.to_le_bytes().to_vec()), ..Call::new("x") });
    // A key of the server that dies: it takes the connection and keeps it.
    let (key, first) = (0..)
        .map(|key| (key, ask(key)))
        .find(|(_, call)| {
            until("it is somewhere", || dies.requests() == 1 || !call.has_none_yet());
            dies.requests() == 1
        })
        .unwrap();
    let waiting: Vec<_> = (0..5).map(|_| ask(key)).collect();
    gate.open();
    assert!(matches!(first.outcome(), Err(CallError::Closed { .. })));
    for call in waiting {
        assert_eq!(call.outcome().unwrap().body, b"b:x");
    }
}
