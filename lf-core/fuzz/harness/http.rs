//! The HTTP codec: however the input is cut, it says the same, and what it says adds up.

use super::chunked::{self, End, Reading};
use super::request::assert_framing_has_one_meaning;
use lf_core::CloseReason;
use lf_core::codec::http::{Incoming, Limits, Request, State};
use lf_core::codec::{Codec, Decoded, FrameError, Http};

/// Limits that short inputs reach.
pub(crate) const SMALL: Limits = Limits {
    head_bytes: 200,
    fields: 4,
    target_bytes: 20,
    body_bytes: 30,
    chunk_line_bytes: 12,
    extension_bytes: 16,
    trailer_bytes: 24,
    trailer_fields: 2,
};

/// Limits that leave room for a short head and nothing else.
const NONE: Limits = Limits {
    head_bytes: 60,
    fields: 2,
    target_bytes: 1,
    body_bytes: 0,
    chunk_line_bytes: 1,
    extension_bytes: 0,
    trailer_bytes: 0,
    trailer_fields: 0,
};

/// Limits that limit nothing.
const ALL: Limits = Limits {
    head_bytes: usize::MAX,
    fields: usize::MAX,
    target_bytes: usize::MAX,
    body_bytes: u64::MAX,
    chunk_line_bytes: usize::MAX,
    extension_bytes: usize::MAX,
    trailer_bytes: usize::MAX,
    trailer_fields: usize::MAX,
};

const LIMITS: [Limits; 4] = [Limits::DEFAULT, SMALL, NONE, ALL];

/// The first byte of `input` chooses the limits, three more the sizes of pieces, and what follows comes from a peer.
pub(crate) fn check(input: &[u8]) {
    let Some(([limits, sizes @ ..], wire)) = input.split_first_chunk::<4>() else { return };
    let limits = LIMITS[usize::from(*limits) % LIMITS.len()];
    let whole = decode(limits, [wire]);
    assert_eq!(decode(limits, super::pieces(wire, sizes)), whole, "in pieces of {sizes:?}");
    assert_eq!(decode(limits, wire.chunks(1)), whole, "byte by byte");
    whole.requests.iter().for_each(|request| request.assert_body_is_that_of(wire));
    decode(ALL, [wire]).assert_ends_where_it_must(wire);
}

/// All that a codec says of a peer that sends these pieces and finishes.
pub(crate) fn decode<'p>(limits: Limits, pieces: impl IntoIterator<Item = &'p [u8]>) -> Told {
    let mut feed = Feed::new(limits);
    pieces.into_iter().for_each(|piece| feed.push(piece));
    feed.finish();
    feed.told
}

/// A request as something that can be kept and compared; where its body was cut does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) declared_bytes: Option<u64>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) whole: bool,
    /// Where in the stream its head has ended, and its body if that has come whole.
    pub(crate) head_end: usize,
    pub(crate) body_end: usize,
}

impl Kept {
    pub(crate) fn of(request: &Request<'_>, end: usize) -> Self {
        Self {
            method: request.method().to_owned(),
            target: request.target().to_owned(),
            host: request.host().to_owned(),
            fields: request.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            declared_bytes: request.content_length(),
            body: request.has_body().then(Vec::new),
            whole: !request.has_body(),
            head_end: end,
            body_end: end,
        }
    }

    /// The body is what another reading of `wire` finds where it was.
    fn assert_body_is_that_of(&self, wire: &[u8]) {
        let Some(body) = &self.body else { return };
        let wire = &wire[self.head_end..];
        let end = self.body_end - self.head_end;
        if let Some(bytes) = self.declared_bytes {
            assert_eq!(self.whole, body.len() as u64 == bytes, "{self:?}");
            assert!(wire.starts_with(body) && (!self.whole || end == body.len()), "{self:?}");
        } else if self.whole {
            assert_eq!(chunked::read(wire), Reading { body: body.clone(), end: End::Whole(end) }, "{self:?}");
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) requests: Vec<Kept>,
    pub(crate) error: Option<FrameError>,
}

/// Feeds the codec as a connection does: pieces come in, frames come out, the rest is kept.
pub(crate) struct Feed {
    codec: Http,
    limits: Limits,
    state: State,
    pub(crate) kept: Vec<u8>,
    examined: usize,
    /// Bytes of the stream that are done with.
    consumed: usize,
    /// Bytes that the codec was asked to look at.
    pub(crate) looked_at: usize,
    pub(crate) told: Told,
}

impl Feed {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            codec: Http::new(limits),
            limits,
            state: State::default(),
            kept: Vec::new(),
            examined: 0,
            consumed: 0,
            looked_at: 0,
            told: Told::default(),
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.told.error.is_some() {
            return;
        }
        self.kept.extend_from_slice(piece);
        let mut used = 0;
        while used < self.kept.len() {
            let input = &self.kept[used..];
            self.looked_at += input.len() - self.examined;
            match self.codec.decode(&mut self.state, input, self.examined) {
                Ok(Decoded::Frame { frame, consumed }) => {
                    assert!((1..=input.len()).contains(&consumed), "consumed {consumed}");
                    self.consumed += consumed;
                    used += consumed;
                    self.examined = 0;
                    self.told.keep(&frame, self.consumed, &self.limits);
                    assert_eq!(self.codec.holds(&self.state), self.told.awaits_answer());
                }
                Ok(Decoded::Partial { examined, needed }) => {
                    assert!(examined <= input.len() && needed > input.len(), "{examined} {needed}");
                    assert!(input.len() <= unread_bytes_max(&self.limits), "{} bytes are kept", input.len());
                    self.examined = examined;
                    break;
                }
                Err(error) => {
                    let again = self.codec.decode(&mut self.state, input, self.examined).err();
                    assert_eq!(again.as_ref(), Some(&error), "what is refused stays refused");
                    self.refuse(error);
                    return;
                }
            }
        }
        self.kept.drain(..used);
    }

    /// The peer sends no more.
    pub(crate) fn finish(&mut self) {
        if self.told.error.is_some() || self.kept.is_empty() {
            return;
        }
        match self.codec.finish(&mut self.state, &self.kept) {
            Ok(None) => assert!(b"\r\n\r\n\r".starts_with(&self.kept), "{:?} is overlooked", self.kept),
            Ok(Some(frame)) => panic!("no end of a stream ends a request: {frame:?}"),
            Err(error) => {
                assert_eq!(error, FrameError::Truncated { bytes: self.kept.len() });
                self.refuse(error);
            }
        }
    }

    /// The last words name the status.
    fn refuse(&mut self, error: FrameError) {
        let code = if let FrameError::Refused { code, .. } = error { code } else { 400 };
        assert!((400..=505).contains(&code), "{error:?}");
        let mut words = Vec::new();
        self.codec.farewell(&mut self.state, CloseReason::Malformed, Some(&error), &mut words);
        assert!(words.starts_with(format!("HTTP/1.1 {code} ").as_bytes()), "{}", String::from_utf8_lossy(&words));
        self.told.error = Some(error);
    }
}

impl Told {
    fn keep(&mut self, frame: &Incoming<'_>, consumed: usize, limits: &Limits) {
        match frame {
            Incoming::Request(request) => {
                assert!(self.requests.last().is_none_or(|last| last.whole), "a request in the body of another one");
                assert_framing_has_one_meaning(request);
                self.requests.push(Kept::of(request, consumed));
            }
            Incoming::Body { bytes, last } => {
                let request = self.requests.last_mut().unwrap();
                assert!(!request.whole, "a piece of a body that has ended");
                let body = request.body.as_mut().unwrap();
                body.extend_from_slice(bytes);
                let bytes_max = request.declared_bytes.unwrap_or(u64::MAX).min(limits.body_bytes);
                assert!(body.len() as u64 <= bytes_max, "{} bytes of a body", body.len());
                request.whole = *last;
                if *last {
                    request.body_end = consumed;
                }
            }
            Incoming::Socket(event) => panic!("nobody has upgraded: {event:?}"),
        }
    }

    /// A chunked body that has not come whole is cut short or refused where another reading says so.
    fn assert_ends_where_it_must(&self, wire: &[u8]) {
        let Some(Kept { body: Some(body), declared_bytes: None, whole: false, head_end, .. }) = self.requests.last()
        else {
            return;
        };
        let end = match self.error {
            // The sum of sizes is more than any number can say.
            Some(FrameError::Refused { code: 413, .. }) => return,
            Some(FrameError::Refused { .. }) => End::Broken,
            Some(_) | None => End::Cut,
        };
        assert_eq!(chunked::read(&wire[*head_end..]), Reading { body: body.clone(), end }, "{self:?}");
    }

    /// Whether a request has come whole; nobody answers here.
    fn awaits_answer(&self) -> bool {
        self.requests.last().is_some_and(|last| last.whole)
    }
}

/// What may be left unread while more is waited for.
fn unread_bytes_max(limits: &Limits) -> usize {
    const LINE_ENDS: usize = 6;
    limits.head_bytes.max(limits.chunk_line_bytes.saturating_add(limits.trailer_bytes)).saturating_add(LINE_ENDS)
}
