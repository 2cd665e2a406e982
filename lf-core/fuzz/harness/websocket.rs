//! The WebSocket decoder: however the input is cut, it tells the same, and it keeps no more than it may.

use lf_core::codec::websocket::{
    CONTROL_BYTES_MAX, CloseCode, Event, Kind, Limits, State, Step, Violation, decode, frame,
};

/// The first byte of `input` chooses the limits, three more the sizes of pieces, and what follows comes from a peer.
pub(crate) fn check(input: &[u8]) {
    let Some(([limits, sizes @ ..], wire)) = input.split_first_chunk::<4>() else { return };
    let limits = match limits % 4 {
        0 => Limits::default(),
        1 => small(),
        2 => Limits { frame_bytes: 0, message_bytes: 0, fragments: 0, ..Limits::default() },
        _ => Limits { frame_bytes: usize::MAX, message_bytes: usize::MAX, fragments: usize::MAX, ..Limits::default() },
    };
    let whole = told(limits, &[wire]);
    assert_eq!(told(limits, &super::pieces(wire, sizes)), whole, "in pieces of {sizes:?}");
    assert_eq!(told(limits, &wire.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
}

/// Limits that short inputs reach.
pub(crate) fn small() -> Limits {
    Limits { frame_bytes: 200, message_bytes: 300, fragments: 8, ..Limits::default() }
}

pub(crate) type Told = (Vec<Event>, Option<Violation>);

/// All that the decoder tells of a peer that sends these pieces.
pub(crate) fn told(limits: Limits, pieces: &[&[u8]]) -> Told {
    let mut feed = Feed { limits, ..Feed::default() };
    let violation = pieces.iter().try_for_each(|piece| feed.push(piece)).err();
    (feed.events, violation)
}

/// Feeds the decoder as a connection does: pieces come in, what is not consumed is kept.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) state: State,
    pub(crate) limits: Limits,
    pub(crate) kept: Vec<u8>,
    pub(crate) events: Vec<Event>,
    pushed: usize,
}

impl Feed {
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.kept.extend_from_slice(piece);
        self.pushed += piece.len();
        let mut used = 0;
        while used < self.kept.len() {
            let input = &self.kept[used..];
            let was_over = self.state.is_over();
            let step = decode(&mut self.state, &self.limits, input);
            assert!(self.state.message_bytes() <= self.limits.message_bytes.min(self.pushed));
            match step {
                Ok(Step::Event { event, consumed }) => {
                    assert!((1..=input.len()).contains(&consumed), "consumed {consumed} of {}", input.len());
                    assert!(
                        !was_over || (&event, consumed) == (&Event::Progress, input.len()),
                        "{event:?} after the end"
                    );
                    used += consumed;
                    self.tell(event);
                }
                Ok(Step::Partial { needed }) => {
                    assert!(input.len() < needed && needed <= 6 + CONTROL_BYTES_MAX, "{needed} of {}", input.len());
                    break;
                }
                Err(violation) => {
                    assert_is_over(&mut self.state, &self.limits, input);
                    assert_close_frame(|out| violation.write_close(out), Some(violation.code.get()));
                    return Err(violation);
                }
            }
        }
        self.kept.drain(..used);
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Message { kind, payload } => {
                assert!(payload.len() <= self.limits.message_bytes && payload.capacity() <= 2 * payload.len().max(8));
                assert!(*kind == Kind::Binary || std::str::from_utf8(payload).is_ok(), "{payload:?}");
                assert!(frame(*kind, payload).ends_with(payload));
            }
            Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= CONTROL_BYTES_MAX),
            Event::Close { code, .. } => {
                assert_close_frame(|out| event.answer(out), code.map(CloseCode::get));
                assert_is_over(&mut self.state, &self.limits, b"more");
            }
            Event::Progress => return,
        }
        self.events.push(event);
    }
}

/// All that comes after the end is swallowed, and costs nothing.
fn assert_is_over(state: &mut State, limits: &Limits, input: &[u8]) {
    assert!(state.is_over() && state.is_idle() && state.message_bytes() == 0);
    let swallowed = Step::Event { event: Event::Progress, consumed: input.len() };
    assert_eq!(decode(state, limits, input), Ok(swallowed));
}

/// One whole close frame of a server with that code.
fn assert_close_frame(write: impl FnOnce(&mut Vec<u8>), code: Option<u16>) {
    let mut out = Vec::new();
    write(&mut out);
    let payload = &out[2..];
    assert!(out[0] == 0x88 && usize::from(out[1]) == payload.len() && payload.len() <= CONTROL_BYTES_MAX, "{out:x?}");
    assert_eq!(payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)), code, "{out:x?}");
}
