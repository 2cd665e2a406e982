//! Frames of a server: unmasked, and whole in themselves.

use super::header::{self, Control, Opcode};
use super::{CONTROL_BYTES_MAX, CloseCode, Event, Kind};
use crate::codec::{FrameError, too_large};

/// The longest header of an unmasked frame, in bytes.
const HEADER_BYTES_MAX: usize = 10;

/// Room for the reason in a close frame, behind the code, in bytes.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

impl Event {
    /// Appends what the protocol demands in return: a pong to a ping, and a close with the same code to a close, unless the
    /// server has sent a close before (then no answer is due). To anything else that is nothing.
    pub fn answer(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping(payload) => put(Opcode::Control(Control::Pong), payload, out),
            Self::Close { code: Some(code), .. } => write_close(out, *code, ""),
            Self::Close { code: None, .. } => put(Opcode::Control(Control::Close), b"", out),
            Self::Message { .. } | Self::Pong(_) | Self::Progress => {}
        }
    }
}

/// A message as a frame of its own, to be shared by many connections.
#[must_use]
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    put(Opcode::Message(kind), payload, &mut out);
    out
}

/// Appends a text message.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    put(Opcode::Message(Kind::Text), text.as_bytes(), out);
}

/// Appends a binary message.
pub fn write_binary(out: &mut Vec<u8>, payload: &[u8]) {
    put(Opcode::Message(Kind::Binary), payload, out);
}

/// Appends a ping.
///
/// # Errors
/// If the payload is of more than 125 bytes; `out` is unchanged then.
pub fn write_ping(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), FrameError> {
    write_control(Control::Ping, payload, out)
}

/// Appends a pong. One that answers a ping is written by [`Event::answer`].
///
/// # Errors
/// If the payload is of more than 125 bytes; `out` is unchanged then.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), FrameError> {
    write_control(Control::Pong, payload, out)
}

/// Appends a close. Of the reason, which is for people, at most 123 bytes have room; the rest is cut off between two
/// characters.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    header::write(Opcode::Control(Control::Close), 2 + end, out);
    out.extend_from_slice(&code.get().to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

fn write_control(control: Control, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    if payload.len() > CONTROL_BYTES_MAX {
        return Err(too_large(payload.len(), CONTROL_BYTES_MAX));
    }
    put(Opcode::Control(control), payload, out);
    Ok(())
}

fn put(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    header::write(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}
