//! Codecs, without sockets: every split of the input gives the same frames, and nothing the network sends panics.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use lf_core::codec::{Codec, Decoded, FrameError, Len32, Line, Nshead, NsheadFrame, NsheadHeader, Raw};
use proptest::prelude::*;

/// A frame as something that can be kept and compared.
trait Own: Codec {
    type Owned: PartialEq + std::fmt::Debug;
    fn own(frame: Self::Frame<'_>) -> Self::Owned;
}

macro_rules! own_bytes {
    ($($codec:ty)+) => {
        $(impl Own for $codec {
            type Owned = Vec<u8>;
            fn own(frame: &[u8]) -> Vec<u8> {
                frame.to_vec()
            }
        })+
    };
}

own_bytes!(Raw Line Len32);

impl Own for Nshead {
    type Owned = (NsheadHeader, Vec<u8>);
    fn own(frame: NsheadFrame<'_>) -> Self::Owned {
        (frame.header, frame.body.to_vec())
    }
}

/// Feeds a codec as a connection does: pieces come in, whole frames come out, the rest is kept.
struct Feed<C: Own> {
    codec: C,
    state: C::State,
    kept: Vec<u8>,
    examined: usize,
    frames: Vec<C::Owned>,
}

impl<C: Own> Feed<C> {
    fn new(codec: C) -> Self {
        Self { codec, state: C::State::default(), kept: Vec::new(), examined: 0, frames: Vec::new() }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        self.kept.extend_from_slice(piece);
        let mut used = 0;
        while used < self.kept.len() {
            match self.codec.decode(&mut self.state, &self.kept[used..], self.examined)? {
                Decoded::Frame { frame, consumed } => {
                    assert!((1..=self.kept.len() - used).contains(&consumed), "consumed {consumed}");
                    self.frames.push(C::own(frame));
                    used += consumed;
                    self.examined = 0;
                }
                Decoded::Partial { examined, needed } => {
                    let len = self.kept.len() - used;
                    assert!(examined <= len && needed > len, "examined {examined}, needed {needed} of {len}");
                    self.examined = examined;
                    break;
                }
            }
        }
        self.kept.drain(..used);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<C::Owned>, FrameError> {
        if !self.kept.is_empty() {
            self.frames.extend(self.codec.finish(&mut self.state, &self.kept)?.map(C::own));
        }
        Ok(self.frames)
    }
}

fn decode<C: Own>(codec: C, pieces: &[&[u8]]) -> Result<Vec<C::Owned>, FrameError> {
    let mut feed = Feed::new(codec);
    pieces.iter().try_for_each(|piece| feed.push(piece))?;
    feed.finish()
}

/// The outcome is the same however the input is cut in two or three.
fn assert_every_split_alike<C: Own + Copy>(codec: C, input: &[u8]) {
    let whole = decode(codec, &[input]);
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            assert_eq!(decode(codec, &pieces), whole, "split at {first} and {second}");
        }
    }
}

fn encoded<C: Codec>(codec: &C, frame: C::Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(frame, &mut out).unwrap();
    out
}

fn nshead(body: &[u8]) -> NsheadFrame<'_> {
    let header =
        NsheadHeader { id: 1, version: 2, log_id: 0xdead_beef, provider: *b"tester\0\0\0\0\0\0\0\0\0\0", reserved: 9 };
    NsheadFrame { header, body }
}

#[test]
fn lines_are_the_same_at_every_split() {
    assert_every_split_alike(Line::new(8), b"one\r\n\n\r\ntwo\nrest");
    assert_every_split_alike(Line::new(8), b"12345678\n12345678\r\n123456789\nx");
    assert_every_split_alike(Line::new(8).keep_cr(), b"\r\r\na\rb\n");
}

#[test]
fn len32_frames_are_the_same_at_every_split() {
    let codec = Len32::new(8);
    let frames: Vec<u8> = [&b"abc"[..], b"", b"12345678"].iter().flat_map(|frame| encoded(&codec, frame)).collect();
    assert_every_split_alike(codec, &frames);
    assert_every_split_alike(codec, &[&frames[..], &[0, 0, 0, 9]].concat());
    assert_every_split_alike(codec, &[&frames[..], &[0, 0, 0, 2, 1]].concat());
}

#[test]
fn nshead_frames_are_the_same_at_every_split() {
    let codec = Nshead::new(8);
    let frames = [encoded(&codec, nshead(b"x")), encoded(&codec, nshead(b""))].concat();
    assert_every_split_alike(codec, &frames);
    assert_every_split_alike(codec, &[&frames[..40], &[7; 40]].concat());
}

#[test]
fn a_carriage_return_belongs_to_the_ending_only_before_the_line_feed() {
    let input = b"a\r\nb\rc\n\r\nd\r";
    let stripped = decode(Line::new(9), &[input]).unwrap();
    assert_eq!(stripped, [&b"a"[..], b"b\rc", b"", b"d"]);
    let kept = decode(Line::new(9).keep_cr(), &[input]).unwrap();
    assert_eq!(kept, [&b"a\r"[..], b"b\rc", b"\r", b"d\r"]);
}

#[test]
fn a_frame_at_the_limit_is_taken_and_one_over_it_is_not() {
    for (len, ok) in [(0, true), (7, true), (8, true), (9, false), (10, false), (100, false)] {
        let body = vec![b'x'; len];
        let line = [&body[..], b"\n"].concat();
        assert_eq!(decode(Line::new(8), &[&line]).is_ok(), ok, "line of {len}");
        let line = [&body[..], b"\r\n"].concat();
        assert_eq!(decode(Line::new(8), &[&line]).is_ok(), ok, "line of {len} with CR");
        assert_eq!(decode(Line::new(8), &[&body]).is_ok(), ok, "line of {len} without ending");
        assert_eq!(decode(Len32::new(8), &[&encoded(&Len32::new(8), &body)]).is_ok(), ok, "len32 of {len}");
        assert_eq!(decode(Nshead::new(8), &[&encoded(&Nshead::new(8), nshead(&body))]).is_ok(), ok, "nshead of {len}");
    }
}

#[test]
fn a_declared_length_over_the_limit_is_refused_from_the_header_alone() {
    let error = decode(Len32::new(1000), &[&[0xff; 4]]).unwrap_err();
    assert_eq!(error, FrameError::TooLarge { bytes: 0xffff_ffff, limit: 1000 });
    let mut header = encoded(&Nshead::new(8), nshead(b""));
    header[32..].copy_from_slice(&[0xff; 4]);
    let error = decode(Nshead::new(1000), &[&header]).unwrap_err();
    assert_eq!(error, FrameError::TooLarge { bytes: 0xffff_ffff, limit: 1000 });
}

#[test]
fn a_header_with_another_magic_is_malformed() {
    let mut frame = encoded(&Nshead::new(8), nshead(b"x"));
    frame[24] ^= 1;
    assert!(matches!(decode(Nshead::new(8), &[&frame]), Err(FrameError::Malformed(_))));
}

#[test]
fn an_nshead_header_is_laid_out_as_its_readers_expect() {
    let frame = encoded(&Nshead::new(8), nshead(b"ab"));
    let expected = [
        &[1, 0, 2, 0, 0xef, 0xbe, 0xad, 0xde][..],
        b"tester\0\0\0\0\0\0\0\0\0\0",
        &[0x94, 0x93, 0x70, 0xfb],
        &[9, 0, 0, 0],
        &[2, 0, 0, 0],
        b"ab",
    ]
    .concat();
    assert_eq!(frame, expected);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated_unless_it_is_a_line() {
    assert_eq!(decode(Len32::new(8), &[&[0, 0]]), Err(FrameError::Truncated { bytes: 2 }));
    assert_eq!(decode(Nshead::new(8), &[&[1; 5]]), Err(FrameError::Truncated { bytes: 5 }));
    assert_eq!(decode(Line::new(8), &[b"last"]).unwrap(), [b"last"]);
}

#[test]
fn a_line_with_a_line_feed_in_it_cannot_be_written_and_leaves_the_output_alone() {
    let mut out = b"before".to_vec();
    assert!(matches!(Line::new(8).encode(b"a\nb", &mut out), Err(FrameError::Unwritable(_))));
    assert_eq!(out, b"before");
}

/// Cuts `input` at the given places.
fn cut<'a>(input: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|index| index.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..20)
}

proptest! {
    #[test]
    fn len32_round_trips(bodies in bodies(), cuts in cuts()) {
        let codec = Len32::new(200);
        let wire: Vec<u8> = bodies.iter().flat_map(|body| encoded(&codec, body)).collect();
        prop_assert_eq!(decode(codec, &cut(&wire, &cuts)).unwrap(), bodies);
    }

    #[test]
    fn lines_round_trip(mut bodies in bodies(), cuts in cuts()) {
        bodies.iter_mut().for_each(|body| body.retain(|byte| *byte != b'\n'));
        let codec = Line::new(200).keep_cr();
        let wire: Vec<u8> = bodies.iter().flat_map(|body| encoded(&codec, body)).collect();
        prop_assert_eq!(decode(codec, &cut(&wire, &cuts)).unwrap(), bodies);
    }

    #[test]
    fn nshead_round_trips(
        bodies in bodies(), id: u16, version: u16, log_id: u32, provider: [u8; 16], reserved: u32, cuts in cuts()
    ) {
        let codec = Nshead::new(200);
        let header = NsheadHeader { id, version, log_id, provider, reserved };
        let wire: Vec<u8> = bodies.iter().flat_map(|body| encoded(&codec, NsheadFrame { header, body })).collect();
        let expected: Vec<_> = bodies.into_iter().map(|body| (header, body)).collect();
        prop_assert_eq!(decode(codec, &cut(&wire, &cuts)).unwrap(), expected);
    }

    #[test]
    fn raw_bytes_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..500), cuts in cuts()) {
        prop_assert_eq!(decode(Raw, &cut(&bytes, &cuts)).unwrap().concat(), bytes);
    }

    #[test]
    fn garbage_never_panics_and_means_the_same_at_every_cut(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0)], 0..300), cuts in cuts()
    ) {
        let pieces = cut(&bytes, &cuts);
        prop_assert_eq!(decode(Len32::new(100), &pieces), decode(Len32::new(100), &[&bytes]));
        prop_assert_eq!(decode(Nshead::new(100), &pieces), decode(Nshead::new(100), &[&bytes]));
        // How far an endless line had come when it was refused depends on the pieces, whether it is refused does not.
        let kind = |outcome: Result<Vec<Vec<u8>>, FrameError>| outcome.map_err(|_| ());
        prop_assert_eq!(kind(decode(Line::new(100), &pieces)), kind(decode(Line::new(100), &[&bytes])));
    }
}
