//! Back ends that misbehave at random under many calls at once: an answer is the answer to its own call, or there is none.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod backends;
mod common;

use backends::{Backend, Caller, Visit, lines_to};
use common::until;
use lf_core::upstream::{Balance, Call, Protocol, RespValue, UpstreamConfig};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Calls that every caller makes.
const CALLS: usize = 400;
const CALLERS: usize = 4;

/// A number that nobody expects.
fn dice() -> u64 {
    static WORD: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    let mut word = WORD.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Answers mostly; now and then it is late, dies before, dies in the middle, or dies behind the answer. `false`: it died.
fn misbehave(visit: &mut Visit, answer: &[u8]) -> bool {
    match dice() % 40 {
        0 => return false,
        1 => {
            visit.say(&answer[..answer.len() / 2]);
            return false;
        }
        2 => {
            visit.say(answer);
            return false;
        }
        // Late, and still said.
        3 | 4 => std::thread::park_timeout(Duration::from_millis(60)),
        // In two pieces.
        5..10 => {
            visit.say(&answer[..answer.len() / 2]);
            std::thread::yield_now();
            visit.say(&answer[answer.len() / 2..]);
            return true;
        }
        _ => {}
    }
    visit.say(answer);
    true
}

fn churn(
    config: UpstreamConfig,
    call: impl Fn(&str) -> Call + Sync,
    check: impl Fn(&str, &lf_core::upstream::Answer) + Sync,
) {
    let caller = Caller::new();
    let be = caller.add(UpstreamConfig {
        timeout: Duration::from_millis(30),
        retries: 2,
        retry_sent: true,
        max_fails: 0,
        max_connections: 16,
        ..config
    });
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..CALLERS {
            let (caller, be, call, check, answered) = (&caller, &be, &call, &check, &answered);
            scope.spawn(move || {
                for batch in 0..CALLS / 10 {
                    let bodies: Vec<_> = (0..10).map(|n| format!("unique {thread} {batch} {n}")).collect();
                    let pending: Vec<_> =
                        bodies.iter().map(|body| caller.begin_in(thread % 2, be, call(body))).collect();
                    for (body, pending) in bodies.iter().zip(pending) {
                        if let Ok(answer) = pending.outcome() {
                            check(body, &answer);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered > CALLS * CALLERS / 2, "{answered} were answered");
    assert_eq!(caller.count("calls"), (CALLS * CALLERS) as f64);
    assert_eq!(caller.count("answers"), answered as f64);
    assert_eq!(be.in_flight(), 0);
    assert!(caller.upstreams.remove("be"));
    until("nothing is left but the tasks", || caller.host.stats().outgoing() == 2);
}

fn line_backends() -> [Backend; 2] {
    std::array::from_fn(|_| {
        Backend::start(|visit| {
            while let Some(line) = visit.line() {
                if !misbehave(visit, format!("echo {line}\n").as_bytes()) {
                    return;
                }
            }
        })
    })
}

fn check_line(body: &str, answer: &lf_core::upstream::Answer) {
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("echo {body}"));
}

#[test]
fn an_answer_over_lines_is_that_of_its_call() {
    let backends = line_backends();
    churn(lines_to(backends.iter().map(|backend| backend.at)), |body| Call::new(body), check_line);
}

#[test]
fn an_answer_over_a_shared_connection_of_lines_is_that_of_its_call() {
    let backends = line_backends();
    let config = UpstreamConfig { pipeline: Some(8), ..lines_to(backends.iter().map(|backend| backend.at)) };
    churn(config, |body| Call::new(body), check_line);
}

#[test]
fn an_answer_is_that_of_its_call_also_when_two_servers_are_asked() {
    let backends = line_backends();
    let config = UpstreamConfig {
        backup_after: Some(Duration::from_millis(4)),
        balance: Balance::PowerOfTwo,
        ..lines_to(backends.iter().map(|backend| backend.at))
    };
    churn(config, |body| Call::new(body), check_line);
}

#[test]
fn an_answer_over_nshead_is_that_of_its_call() {
    over_nshead(None);
}

#[test]
fn an_answer_over_a_shared_connection_of_nshead_is_that_of_its_call() {
    over_nshead(Some(8));
}

fn over_nshead(pipeline: Option<usize>) {
    let backend = Backend::start(|visit| {
        while let Some(head) = visit.read(36) {
            let len = u32::from_le_bytes(head[32..36].try_into().unwrap()) as usize;
            let Some(body) = visit.read(len) else { return };
            if !misbehave(visit, &[head, body].concat()) {
                return;
            }
        }
    });
    let config = UpstreamConfig { protocol: Protocol::Nshead, pipeline, ..lines_to([backend.at]) };
    churn(config, |body| Call::new(body), |body, answer| assert_eq!(answer.body, body.as_bytes()));
}

#[test]
fn an_answer_over_a_shared_redis_connection_is_that_of_its_call() {
    let backend = Backend::start(|visit| {
        while visit.line().is_some() {
            let rest: Vec<_> = (0..4).map_while(|_| visit.line()).collect();
            let Some(word) = rest.get(3) else { return };
            if !misbehave(visit, format!("${}\r\n{word}\r\n", word.len()).as_bytes()) {
                return;
            }
        }
    });
    let config = UpstreamConfig { protocol: Protocol::Redis, pipeline: Some(8), ..lines_to([backend.at]) };
    churn(
        config,
        |body| Call::redis(["ECHO", body]),
        |body, answer| assert_eq!(answer.value, Some(RespValue::Bulk(body.as_bytes().to_vec()))),
    );
}
