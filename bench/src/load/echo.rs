//! The dialect of echo servers: what comes back is what was sent, byte for byte.

use super::dialect::{Answer, Dialect};
use super::payload::{Ask, Frame, Payload};
use super::tally::{Class, Fault};
use anyhow::Result;

/// Spreads the stamps of connections, so that an answer that went to the wrong one does not match.
const STAMP_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The two messages of a run.
#[derive(Clone)]
pub(crate) struct Echo {
    normal: Payload,
    slow: Payload,
}

/// The positions in the byte streams of a connection.
pub(crate) struct Position {
    class: Class,
    seed: u64,
    sent: u64,
    received: u64,
    /// Bytes of the current answer that are here.
    received_bytes: usize,
}

impl Echo {
    /// Messages of `size` bytes; those of slow connections ask for `ask`.
    ///
    /// # Errors
    /// If what they ask for does not fit.
    pub(crate) fn new(frame: Frame, size: usize, ask: Ask) -> Result<Self> {
        Ok(Echo { normal: Payload::new(frame, size, Ask::Nothing)?, slow: Payload::new(frame, size, ask)? })
    }

    fn payload(&mut self, class: Class) -> &mut Payload {
        match class {
            Class::Normal => &mut self.normal,
            Class::Slow => &mut self.slow,
        }
    }
}

impl Dialect for Echo {
    type Talk = Position;

    fn begin(&mut self, class: Class, serial: u64) -> Position {
        Position { class, seed: serial.wrapping_mul(STAMP_STRIDE), sent: 0, received: 0, received_bytes: 0 }
    }

    fn ask(&mut self, talk: &mut Position, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.payload(talk.class).stamped(talk.seed.wrapping_add(talk.sent)));
        talk.sent += 1;
        true
    }

    fn hear(&mut self, talk: &mut Position, mut bytes: &[u8], each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        let payload = self.payload(talk.class);
        while !bytes.is_empty() {
            if talk.received == talk.sent {
                return Err(Fault::Mismatch);
            }
            let expected = &payload.stamped(talk.seed.wrapping_add(talk.received))[talk.received_bytes..];
            let count = expected.len().min(bytes.len());
            if expected[..count] != bytes[..count] {
                return Err(Fault::Mismatch);
            }
            bytes = &bytes[count..];
            if count < expected.len() {
                talk.received_bytes += count;
                continue;
            }
            talk.received_bytes = 0;
            talk.received += 1;
            each(Answer::RIGHT);
        }
        Ok(())
    }

    /// An echo server has no reason to close.
    fn hear_end(&mut self, _talk: &mut Position, _each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        Err(Fault::Closed)
    }
}
