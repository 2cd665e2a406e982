//! Many frames at once and big frames: all come back, in order, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Echo, Gate, Lines, Mode, echo_line, in_every_mode, lines, numbered_lines, pattern};
use lf_core::Count;
use lf_core::codec::{Codec, Len32, Line, Nshead, NsheadFrame, NsheadHeader, Raw};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn thousands_of_frames_in_one_write_come_back_in_order() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Echo);
        let sent = numbered_lines(50_000);
        host.connect().exchange(&sent, &sent);
        assert_eq!(host.count(Count::FramesReceived), 50_000);
        assert_eq!(host.count(Count::FramesSent), 50_000);
    });
}

#[test]
fn more_frames_in_user_space_than_a_turn_takes_go_on_without_a_new_event() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Echo);
        // One read takes them all: nothing is left in the socket that could raise an event.
        let sent = vec![b'\n'; 30_000];
        let mut client = host.connect();
        client.send(&sent);
        client.expect(&sent);
        assert!(host.count(Count::Requeues) > 0, "it took more than one turn");
    });
}

#[test]
fn several_pipelining_peers_share_a_group() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Echo);
        let sent = numbered_lines(20_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut client = host.connect();
                let sent = &sent;
                scope.spawn(move || client.exchange(sent, sent));
            }
        });
    });
}

/// Echoes; from frame `from` on, every `each`-th one takes longer than the monitor's patience.
fn slow_from(from: usize, each: usize) -> Lines<impl Fn(&mut common::LineContext<'_>, &str) -> lf_core::Outcome> {
    let seen = Arc::new(AtomicUsize::new(0));
    lines(move |cx, line| {
        let number = seen.fetch_add(1, Ordering::Relaxed);
        if number >= from && (number - from).is_multiple_of(each) {
            Gate::new().pass_for(Duration::from_millis(30));
        }
        echo_line(cx, line)
    })
}

/// A leader is deposed in the turn in which the queue is its only reminder of what is left.
fn assert_goes_on_after(mode: Mode, slow_frame: usize) {
    let host = mode.serve(Line::default(), slow_from(slow_frame, 1_000_000));
    let sent = vec![b'\n'; 6000];
    let mut client = host.connect();
    client.send(&sent);
    client.expect(&sent);
}

#[test]
fn a_pipeline_goes_on_after_a_slow_frame_in_any_of_its_turns() {
    in_every_mode(|mode| {
        for slow_frame in [0, 1023, 1024, 1025, 2047, 2048, 4100] {
            assert_goes_on_after(mode, slow_frame);
        }
    });
}

#[test]
fn a_pipeline_goes_on_when_every_turn_is_slow() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), slow_from(0, 512));
        let sent = numbered_lines(6000);
        host.connect().exchange(&sent, &sent);
    });
}

#[test]
fn frames_of_several_megabytes_go_in_and_out() {
    const BYTES: usize = 5_000_000;
    let body = pattern(BYTES);
    let mut len32 = Vec::new();
    Len32::new(BYTES).encode(&body, &mut len32).unwrap();
    let header = NsheadHeader { id: 3, log_id: 9, provider: [7; 16], ..NsheadHeader::default() };
    let mut nshead = Vec::new();
    Nshead::new(BYTES).encode(NsheadFrame { header, body: &body }, &mut nshead).unwrap();
    in_every_mode(|mode| {
        for _ in 0..2 {
            mode.serve(Len32::new(BYTES), Echo).connect().exchange(&len32, &len32);
            mode.serve(Nshead::new(BYTES), Echo).connect().exchange(&nshead, &nshead);
        }
    });
}

#[test]
fn big_and_small_frames_alternate_without_mixing() {
    const BYTES: usize = 300_000;
    let codec = Len32::new(BYTES);
    let mut sent = Vec::new();
    for i in 0..20 {
        codec.encode(&pattern(BYTES - i), &mut sent).unwrap();
        codec.encode(b"small", &mut sent).unwrap();
        codec.encode(b"", &mut sent).unwrap();
    }
    in_every_mode(|mode| mode.serve(codec, Echo).connect().exchange(&sent, &sent));
}

#[test]
fn a_raw_stream_of_many_megabytes_comes_back_as_it_went() {
    let sent = pattern(20_000_000);
    in_every_mode(|mode| mode.serve(Raw, Echo).connect().exchange(&sent, &sent));
}
