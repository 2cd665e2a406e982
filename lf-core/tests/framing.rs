//! Frames over real sockets: in pieces, several at once, empty, at the limit, over it, and no frames at all.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Host, Mode, any_port, in_every_mode};
use lf_core::codec::{Codec, Len32, Line, Nshead, NsheadFrame, NsheadHeader, Raw};
use lf_core::{Address, CloseReason, Count};

/// A server that echoes with `codec` over TCP and over a unix socket, and a client of each.
fn over_both_sockets<C: Codec + Copy>(mode: Mode, codec: C, test: impl Fn(&Host, Client)) {
    let dir = tempfile::tempdir().unwrap();
    let path = Address::Unix(dir.path().join("socket"));
    let host = Host::start(mode.builder().listen(any_port(), codec, Echo).listen(path.clone(), codec, Echo));
    test(&host, host.connect());
    test(&host, Client::connect(&path));
}

fn len32(frames: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| Len32::default().encode(frame, &mut out).unwrap());
    out
}

fn nshead(frames: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for body in frames {
        let header = NsheadHeader { id: 7, log_id: 42, ..NsheadHeader::default() };
        Nshead::default().encode(NsheadFrame { header, body }, &mut out).unwrap();
    }
    out
}

fn byte_by_byte(client: &mut Client, bytes: &[u8]) {
    bytes.iter().for_each(|byte| client.send(&[*byte]));
    client.expect(bytes);
}

#[test]
fn frames_that_come_byte_by_byte_are_put_together() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Raw, |_, mut client| byte_by_byte(&mut client, b"no frames at all"));
        over_both_sockets(mode, Line::new(99), |_, mut client| byte_by_byte(&mut client, b"one\n\ntwo\n"));
        over_both_sockets(mode, Len32::new(99), |_, mut client| {
            byte_by_byte(&mut client, &len32(&[b"one", b"", b"two"]));
        });
        over_both_sockets(mode, Nshead::new(99), |_, mut client| {
            byte_by_byte(&mut client, &nshead(&[b"one", b"", b"two"]));
        });
    });
}

#[test]
fn several_frames_in_one_write_are_all_answered_in_order() {
    in_every_mode(|mode| {
        let frames: Vec<&[u8]> = vec![b"a", b"", b"", b"bcd", b"efghijklmnop", b""];
        over_both_sockets(mode, Line::new(99), |host, mut client| {
            client.exchange(b"a\n\n\nbcd\nefg\n", b"a\n\n\nbcd\nefg\n");
            assert!(host.count(Count::FramesReceived) >= 5);
        });
        over_both_sockets(mode, Len32::new(99), |_, mut client| client.exchange(&len32(&frames), &len32(&frames)));
        over_both_sockets(mode, Nshead::new(99), |_, mut client| client.exchange(&nshead(&frames), &nshead(&frames)));
    });
}

#[test]
fn a_frame_at_the_limit_is_answered_and_one_byte_more_closes_with_the_reason() {
    in_every_mode(|mode| {
        let (fits, over) = ([b'x'; 50], [b'x'; 51]);
        let line = |body: &[u8]| [body, b"\n"].concat();
        assert_limit(mode, Line::new(50), &line(&fits), &line(&over));
        assert_limit(mode, Len32::new(50), &len32(&[&fits]), &len32(&[&over]));
        assert_limit(mode, Nshead::new(50), &nshead(&[&fits]), &nshead(&[&over]));
    });
}

fn assert_limit<C: Codec + Copy>(mode: Mode, codec: C, fits: &[u8], over: &[u8]) {
    over_both_sockets(mode, codec, |host, mut client| {
        let before = host.stats().closed(CloseReason::FrameTooLarge);
        client.send(fits);
        client.expect(fits);
        client.send(over);
        client.expect_end();
        host.until_closed(CloseReason::FrameTooLarge, before + 1);
    });
}

#[test]
fn what_was_answered_before_a_frame_over_the_limit_still_arrives() {
    in_every_mode(|mode| {
        let host = mode.serve(Len32::new(50), Echo);
        let mut client = host.connect();
        client.send(&[len32(&[b"fine"]), len32(&[&[0; 51]]), vec![0; 100_000]].concat());
        assert_eq!(client.rest(), len32(&[b"fine"]));
        host.until_closed(CloseReason::FrameTooLarge, 1);
    });
}

fn mapped_pages() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_declared_length_of_four_gigabytes_allocates_nothing() {
    in_every_mode(|mode| {
        let host = mode.serve(Len32::new(usize::MAX / 2), Echo);
        let mut warm = host.connect();
        warm.exchange(&len32(&[b"x"]), &len32(&[b"x"]));
        let before = mapped_pages();
        let mut clients: Vec<_> = (0..8).map(|_| host.connect()).collect();
        for client in &mut clients {
            client.send(&[0xff; 4]);
            client.send(&[1; 1000]);
        }
        let wanted = 5 + 8 * 1004;
        host.until_count(Count::BytesReceived, wanted);
        let grown = mapped_pages().saturating_sub(before) * 4096;
        assert!(grown < 1 << 30, "{grown} bytes were mapped for lengths that were only declared");
    });
}

#[test]
fn a_declared_length_over_the_limit_closes_before_any_of_it_comes() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Len32::default(), |host, mut client| {
            let before = host.stats().closed(CloseReason::FrameTooLarge);
            client.send(&[0xff; 4]);
            client.expect_end();
            host.until_closed(CloseReason::FrameTooLarge, before + 1);
        });
    });
}

#[test]
fn an_nshead_header_with_the_wrong_magic_closes_as_malformed() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Nshead::default(), |host, mut client| {
            let before = host.stats().closed(CloseReason::Malformed);
            client.send(&[nshead(&[b"good"]), vec![b'G'; 36]].concat());
            assert_eq!(client.rest(), nshead(&[b"good"]));
            host.until_closed(CloseReason::Malformed, before + 1);
        });
    });
}

#[test]
fn a_last_line_without_its_ending_is_answered_when_the_peer_finishes() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Line::new(99), |host, mut client| {
            let before = host.stats().closed(CloseReason::PeerClosed);
            client.send(b"first\nlast");
            client.finish();
            assert_eq!(client.rest(), b"first\nlast\n");
            host.until_closed(CloseReason::PeerClosed, before + 1);
        });
    });
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_closed_as_truncated_after_its_answers() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Len32::new(99), |host, mut client| {
            let before = host.stats().closed(CloseReason::Truncated);
            client.send(&[&len32(&[b"whole"])[..], &[0, 0, 0, 9, b'h', b'a']].concat());
            client.finish();
            assert_eq!(client.rest(), len32(&[b"whole"]));
            host.until_closed(CloseReason::Truncated, before + 1);
        });
    });
}

#[test]
fn a_carriage_return_is_dropped_or_kept_as_the_codec_says() {
    in_every_mode(|mode| {
        over_both_sockets(mode, Line::new(99), |_, mut client| client.exchange(b"a\r\nb\rc\n\r\n", b"a\nb\rc\n\n"));
        over_both_sockets(mode, Line::new(99).keep_cr(), |_, mut client| {
            client.exchange(b"a\r\nb\rc\n\r\n", b"a\r\nb\rc\n\r\n");
        });
    });
}
