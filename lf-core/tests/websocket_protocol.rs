//! WebSocket without sockets: every split of the input tells the same, what is wrong is found with the byte that
//! shows it, and nothing the network sends panics.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod frames;
#[path = "../fuzz/harness/mod.rs"]
mod harness;

use frames::{BINARY, CLOSE, CONTINUATION, LAST, PING, PONG, TEXT, masked};
use harness::websocket::{Feed, small, told};
use lf_core::codec::FrameError;
use lf_core::codec::websocket::{
    CONTROL_BYTES_MAX, CloseCode, Event, Kind, Limits, State, Throttle, frame, write_binary, write_close, write_ping,
    write_pong, write_text,
};
use proptest::prelude::*;
use proptest::sample::Index;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn last(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(LAST | opcode, MASK, payload)
}

fn more(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, MASK, payload)
}

fn text(payload: &str) -> Event {
    Event::Message { kind: Kind::Text, payload: payload.into() }
}

fn binary(payload: &[u8]) -> Event {
    Event::Message { kind: Kind::Binary, payload: payload.into() }
}

/// Cuts `input` at the given places.
fn cut<'a>(input: &'a [u8], at: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|index| index.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

#[test]
fn every_split_tells_the_same() {
    let wire = [
        last(TEXT, "Grüße".as_bytes()),
        more(TEXT, b"\xe2\x82"),
        last(PING, b"are you there"),
        more(CONTINUATION, b""),
        more(CONTINUATION, b"\xac"),
        last(PONG, b""),
        last(CONTINUATION, b"!"),
        last(BINARY, b""),
        last(BINARY, &[0xff; 130]),
        last(CLOSE, b"\x03\xe8bye"),
        last(TEXT, b"after the close"),
    ]
    .concat();
    let expected = vec![
        text("Grüße"),
        Event::Ping(b"are you there".into()),
        Event::Pong(vec![]),
        text("€!"),
        binary(b""),
        binary(&[0xff; 130]),
        Event::Close { code: Some(CloseCode::NORMAL), reason: "bye".into() },
    ];
    for first in 0..=wire.len() {
        for second in first..=wire.len() {
            let pieces = [&wire[..first], &wire[first..second], &wire[second..]];
            assert_eq!(told(small(), &pieces), (expected.clone(), None), "split at {first} and {second}");
        }
    }
    assert_eq!(told(small(), &wire.chunks(1).collect::<Vec<_>>()), (expected, None));
}

/// What is wrong, the bytes that show it, and the code of the close.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let begun = |rest: &[u8]| [&more(TEXT, b"so far")[..], rest].concat();
    let mut list = vec![
        ("a frame without a mask", vec![LAST | TEXT, 5], 1002),
        ("an empty frame without a mask", vec![LAST | TEXT, 0], 1002),
        ("a continuation of nothing", vec![LAST | CONTINUATION], 1002),
        ("a continuation after the last", [last(TEXT, b"x"), vec![CONTINUATION]].concat(), 1002),
        ("a text inside a message", begun(&[LAST | TEXT]), 1002),
        ("a binary inside a message", begun(&[BINARY]), 1002),
        ("a ping of 126 bytes", vec![LAST | PING, 0x80 | 126], 1002),
        ("a pong of 127 and more", vec![LAST | PONG, 0x80 | 127], 1002),
        ("a close of 126 bytes", vec![LAST | CLOSE, 0x80 | 126], 1002),
        ("a long ping inside a message", begun(&[LAST | PING, 0x80 | 126]), 1002),
        ("125 bytes in 16 bits", vec![LAST | TEXT, 0x80 | 126, 0, 125], 1002),
        ("nothing in 16 bits", vec![LAST | TEXT, 0x80 | 126, 0, 0], 1002),
        ("65535 bytes in 64 bits", [&[LAST | TEXT, 0x80 | 127][..], &0xffff_u64.to_be_bytes()].concat(), 1002),
        ("a length of 64 bits", [&[LAST | TEXT, 0x80 | 127][..], &u64::MAX.to_be_bytes()].concat(), 1002),
        ("a length of 63 bits", [&[LAST | TEXT, 0x80 | 127][..], &(u64::MAX >> 1).to_be_bytes()].concat(), 1009),
        ("a frame over the limit", vec![LAST | BINARY, 0x80 | 126, 0, 201], 1009),
        ("a message over the limit", more(BINARY, &[0; 200]).into_iter().chain(header(101)).collect(), 1009),
        ("a message in too many frames", [begun(&more(CONTINUATION, b"").repeat(7)), header(0)].concat(), 1008),
        ("a close of one byte", last(CLOSE, &[3]), 1002),
        ("a close with a reason that is not UTF-8", last(CLOSE, b"\x03\xe8\xce\xba\xff"), 1007),
        ("a close with half a character", last(CLOSE, b"\x03\xe8\xce"), 1007),
        ("a text that ends in half a character", last(TEXT, b"\xce"), 1007),
        ("a last frame that leaves half a character", [more(TEXT, b"\xce"), last(CONTINUATION, b"")].concat(), 1007),
    ];
    for bit in [0x40, 0x20, 0x10, 0x70] {
        list.push(("a reserved bit in a text", vec![LAST | bit | TEXT], 1002));
        list.push(("a reserved bit in a ping", vec![LAST | bit | PING], 1002));
        list.push(("a reserved bit in a continuation", begun(&[bit | CONTINUATION]), 1002));
    }
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        list.push(("a reserved opcode", vec![LAST | opcode], 1002));
        list.push(("a reserved opcode inside a message", begun(&[LAST | opcode]), 1002));
    }
    for control in [CLOSE, PING, PONG] {
        list.push(("a fragmented control frame", vec![control], 1002));
        list.push(("a fragmented control frame inside a message", begun(&[control]), 1002));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        list.push(("a close code that must not be sent", last(CLOSE, &code.to_be_bytes()), 1002));
    }
    // The byte that makes it wrong comes last, though the frame goes on.
    let begins = |bytes: &[u8]| last(TEXT, &[bytes, &[b'x'; 9]].concat())[..6 + bytes.len()].to_vec();
    for bytes in [
        &b"\xff"[..],
        b"ok\x80",
        b"\xc0",
        b"\xc3(",
        b"\xe0\x9f",
        b"\xed\xa0",
        b"\xe2\x82(",
        b"\xf0\x8f",
        b"\xf4\x90",
        b"\xf5",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90",
    ] {
        list.push(("text that is not UTF-8", begins(bytes), 1007));
        let (front, end) = bytes.split_at(bytes.len() - 1);
        list.push(("text that is not UTF-8 in two frames", [more(TEXT, front), begins_again(end)].concat(), 1007));
    }
    list
}

/// The header of a last frame that goes on with a message.
fn header(payload_bytes: u8) -> Vec<u8> {
    [&[LAST | CONTINUATION, 0x80 | payload_bytes][..], &MASK].concat()
}

/// The beginning of a frame that goes on with a message, up to the end of `bytes`.
fn begins_again(bytes: &[u8]) -> Vec<u8> {
    last(CONTINUATION, &[bytes, b"more"].concat())[..6 + bytes.len()].to_vec()
}

#[test]
fn a_violation_is_found_with_the_byte_that_shows_it_at_every_split() {
    for (what, wire, code) in violations() {
        let (events, violation) = told(small(), &[&wire]);
        assert_eq!(violation.map(|violation| violation.code.get()), Some(code), "{what}: {wire:x?}");
        assert_eq!(told(small(), &[&wire[..wire.len() - 1]]), (events.clone(), None), "{what}: {wire:x?}");
        for at in 0..=wire.len() {
            let outcome = told(small(), &[&wire[..at], &wire[at..]]);
            assert_eq!(outcome, (events.clone(), violation), "{what}: split at {at}");
        }
    }
}

#[test]
fn nothing_counts_after_a_violation_or_a_close() {
    let mut closed = Feed::default();
    closed.push(&last(CLOSE, b"")).unwrap();
    let mut broken = Feed::default();
    broken.push(&more(TEXT, b"begun")).unwrap();
    assert_eq!(broken.push(&[LAST | TEXT]).unwrap_err().code, CloseCode::PROTOCOL);
    broken.kept.clear();
    for feed in [&mut closed, &mut broken] {
        feed.events.clear();
        feed.push(&[&last(TEXT, b"late")[..], &[0xff; 9]].concat()).unwrap();
        assert_eq!(feed.events, []);
        assert!(feed.state.is_over() && feed.state.is_idle() && feed.kept.is_empty());
        assert_eq!(feed.state.message_bytes(), 0);
    }
}

#[test]
fn a_message_at_the_limits_is_taken() {
    let limits = small();
    assert_eq!(told(limits, &[&last(BINARY, &[1; 200])]), (vec![binary(&[1; 200])], None));
    let wire = [more(BINARY, &[1; 200]), last(CONTINUATION, &[1; 100])].concat();
    assert_eq!(told(limits, &[&wire]), (vec![binary(&[1; 300])], None));
    let wire = [more(BINARY, b""), more(CONTINUATION, b"").repeat(6), last(CONTINUATION, b"")].concat();
    assert_eq!(told(limits, &[&wire, &wire]), (vec![binary(b""), binary(b"")], None), "the count begins anew");
    let ping = last(PING, &[7; CONTROL_BYTES_MAX]);
    assert_eq!(told(Limits::new(0), &[&ping]), (vec![Event::Ping(vec![7; CONTROL_BYTES_MAX])], None));
    assert_eq!(Limits::new(0).fragments, 64);
    assert_eq!(Limits::default(), Limits::new(64 * 1024));
}

#[test]
fn lengths_of_all_three_encodings_are_understood_and_written() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; len];
        let expected = Event::Message { kind: Kind::Text, payload: payload.clone() };
        assert_eq!(told(Limits::new(len), &[&last(TEXT, &payload)]), (vec![expected], None), "{len}");

        let header = match len {
            0..=125 => vec![0x82, u8::try_from(len).unwrap()],
            126..=65_535 => [&[0x82, 126][..], &u16::try_from(len).unwrap().to_be_bytes()].concat(),
            _ => [&[0x82, 127][..], &(len as u64).to_be_bytes()].concat(),
        };
        assert_eq!(frame(Kind::Binary, &payload), [header, payload].concat(), "{len}");
    }
}

#[test]
fn an_idle_connection_costs_a_pointer_and_an_unfinished_message_what_has_come() {
    assert!(size_of::<State>() <= 8 && size_of::<Throttle>() <= 8, "{}", size_of::<State>());
    let mut feed = Feed::default();
    assert!(feed.state.is_idle());
    feed.push(&last(TEXT, b"hello")[..9]).unwrap();
    assert!(!feed.state.is_idle() && feed.kept.is_empty(), "payload is taken as it comes");
    assert_eq!(feed.state.message_bytes(), 3);
    feed.push(&last(TEXT, b"hello")[9..]).unwrap();
    assert_eq!(feed.events, [text("hello")]);
    assert!(feed.state.is_idle() && !feed.state.is_over());
}

#[test]
fn frames_are_written_as_the_rfc_shows_them() {
    let mut out = Vec::new();
    write_text(&mut out, "Hello");
    assert_eq!(out, b"\x81\x05Hello");
    out.clear();
    write_binary(&mut out, b"\0");
    write_ping(&mut out, b"Hello").unwrap();
    write_pong(&mut out, b"").unwrap();
    write_close(&mut out, CloseCode::GOING_AWAY, "later");
    assert_eq!(out, b"\x82\x01\0\x89\x05Hello\x8a\0\x88\x07\x03\xe9later");
    out.clear();
    let error = write_ping(&mut out, &[0; 126]).unwrap_err();
    assert_eq!(error, FrameError::TooLarge { bytes: 126, limit: 125 });
    assert!(write_pong(&mut out, &[0; 126]).is_err() && out.is_empty());
    write_pong(&mut out, &[0; 125]).unwrap();
    assert_eq!(out.len(), 2 + 125);
}

#[test]
fn the_protocol_is_answered_and_a_message_is_not() {
    let answer = |event: Event| {
        let mut out = Vec::new();
        event.answer(&mut out);
        out
    };
    assert_eq!(answer(Event::Ping(b"Hello".into())), b"\x8a\x05Hello");
    assert_eq!(answer(Event::Close { code: CloseCode::new(4321), reason: "me".into() }), b"\x88\x02\x10\xe1");
    assert_eq!(answer(Event::Close { code: None, reason: String::new() }), b"\x88\0");
    for event in [text("x"), binary(b"x"), Event::Pong(b"x".into()), Event::Progress] {
        assert_eq!(answer(event), b"");
    }
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    for (reason, kept) in [("x".repeat(200), 123), ("x".repeat(123), 123), ("€".repeat(50), 123), ("é".repeat(70), 122)]
    {
        let mut out = Vec::new();
        write_close(&mut out, CloseCode::NORMAL, &reason);
        assert_eq!(out.len(), 2 + 2 + kept);
        assert_eq!(usize::from(out[1]), 2 + kept);
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), &reason[..kept]);
    }
}

#[test]
fn every_violation_fits_into_a_close_frame_whole() {
    for (what, wire, code) in violations() {
        let violation = told(small(), &[&wire]).1.unwrap();
        let mut out = Vec::new();
        violation.write_close(&mut out);
        assert_eq!(&out[4..], violation.reason.as_bytes(), "{what}");
        assert_eq!(FrameError::from(violation), FrameError::Refused { code, reason: violation.reason });
    }
}

/// A message, the places where it is cut into fragments, and the pings before each.
type Script = Vec<(Event, Vec<Index>, Vec<Vec<u8>>)>;

fn script() -> impl Strategy<Value = Script> {
    let message = prop_oneof![
        "\\PC{0,60}".prop_map(|payload| text(&payload)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|payload| binary(&payload)),
    ];
    let cuts = prop::collection::vec(any::<Index>(), 0..4);
    let pings = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=CONTROL_BYTES_MAX), 0..3);
    prop::collection::vec((message, cuts, pings), 0..12)
}

/// What a client sends for it, and what it should tell.
fn wire_of(script: Script, masks: &[[u8; 4]]) -> (Vec<u8>, Vec<Event>) {
    let (mut wire, mut events) = (Vec::new(), Vec::new());
    let mut masks = masks.iter().cycle();
    for (message, cuts, pings) in script {
        let Event::Message { kind, payload } = &message else { unreachable!("a script is made of messages") };
        let pieces = cut(payload, &cuts);
        for (at, piece) in pieces.iter().enumerate() {
            let opcode = match (at, kind) {
                (0, Kind::Text) => TEXT,
                (0, Kind::Binary) => BINARY,
                _ => CONTINUATION,
            };
            let fin = if at + 1 == pieces.len() { LAST } else { 0 };
            if let Some(ping) = pings.get(at) {
                wire.extend(masked(LAST | PING, *masks.next().unwrap(), ping));
                events.push(Event::Ping(ping.clone()));
            }
            wire.extend(masked(fin | opcode, *masks.next().unwrap(), piece));
        }
        events.push(message);
    }
    (wire, events)
}

fn masks() -> impl Strategy<Value = Vec<[u8; 4]>> {
    prop::collection::vec(any::<[u8; 4]>(), 1..8)
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..20)
}

proptest! {
    #[test]
    fn any_messages_in_any_fragments_with_any_masks_arrive_however_they_are_cut(
        script in script(), masks in masks(), cuts in cuts()
    ) {
        let (wire, events) = wire_of(script, &masks);
        let limits = Limits::new(400);
        prop_assert_eq!(told(limits, &cut(&wire, &cuts)), (events.clone(), None));
        prop_assert_eq!(told(limits, &wire.chunks(1).collect::<Vec<_>>()), (events, None));
    }

    #[test]
    fn bytes_changed_on_the_way_never_panic_and_mean_the_same_at_every_cut(
        script in script(), masks in masks(), changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cuts in cuts()
    ) {
        let (mut wire, _) = wire_of(script, &masks);
        for (at, byte) in changes {
            let len = wire.len();
            if len > 0 {
                wire[at.index(len)] = byte;
            }
        }
        prop_assert_eq!(told(small(), &cut(&wire, &cuts)), told(small(), &[&wire]));
    }

    #[test]
    fn garbage_never_panics_and_means_the_same_at_every_cut(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80_u8..0x8b, Just(0x81), Just(0)], 0..300),
        cuts in cuts()
    ) {
        prop_assert_eq!(told(small(), &cut(&bytes, &cuts)), told(small(), &[&bytes]));
    }
}
