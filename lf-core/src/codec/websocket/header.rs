//! The header of a frame (RFC 6455, section 5.2), and everything that it alone can be wrong about.

use super::{CONTROL_BYTES_MAX, Kind, Limits, Violation};

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Bytes of the masking key.
const MASK_BYTES: usize = 4;

/// What the protocol's own frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Close,
    Ping,
    Pong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Message(Kind),
    Control(Control),
}

impl Opcode {
    fn new(byte: u8) -> Option<Self> {
        Some(match byte {
            0x0 => Self::Continuation,
            0x1 => Self::Message(Kind::Text),
            0x2 => Self::Message(Kind::Binary),
            0x8 => Self::Control(Control::Close),
            0x9 => Self::Control(Control::Ping),
            0xa => Self::Control(Control::Pong),
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Message(Kind::Text) => 0x1,
            Self::Message(Kind::Binary) => 0x2,
            Self::Control(Control::Close) => 0x8,
            Self::Control(Control::Ping) => 0x9,
            Self::Control(Control::Pong) => 0xa,
        }
    }

    fn is_control(self) -> bool {
        match self {
            Self::Control(_) => true,
            Self::Continuation | Self::Message(_) => false,
        }
    }
}

/// A continuation needs something that it continues.
pub(super) const NO_MESSAGE: Violation = Violation::protocol("a continuation of no message");

/// A header that allows what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last frame of its message.
    pub(super) last: bool,
    pub(super) mask: [u8; MASK_BYTES],
    pub(super) payload_bytes: usize,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

pub(super) enum Look {
    Whole(Header),
    /// At least this many bytes are needed.
    Partial(usize),
}

/// Looks for a header at the front of `input`. What is wrong is found with the byte that shows it.
pub(super) fn look(input: &[u8], in_message: bool, limits: &Limits) -> Result<Look, Violation> {
    let Some(&first) = input.first() else { return Ok(Look::Partial(2)) };
    let opcode = opcode(first, in_message)?;
    let Some(&second) = input.get(1) else { return Ok(Look::Partial(2)) };
    if second & MASKED == 0 {
        return Err(Violation::protocol("a frame of a client without a mask"));
    }
    let short = second & LENGTH;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Violation::protocol("a control frame of more than 125 bytes"));
    }
    let rest = &input[2..];
    let (length, length_bytes) = match short {
        126 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 2),
        127 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 8),
        _ => (Some(u64::from(short)), 0),
    };
    let bytes = 2 + length_bytes + MASK_BYTES;
    let Some(length) = length else { return Ok(Look::Partial(bytes)) };
    let payload_bytes = payload_bytes(length, length_bytes, opcode, limits)?;
    Ok(match rest[length_bytes..].first_chunk() {
        Some(&mask) => Look::Whole(Header { opcode, last: first & FIN != 0, mask, payload_bytes, bytes }),
        None => Look::Partial(bytes),
    })
}

fn opcode(first: u8, in_message: bool) -> Result<Opcode, Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::protocol("a reserved bit is set, and no extension was agreed on"));
    }
    let Some(opcode) = Opcode::new(first & OPCODE) else {
        return Err(Violation::protocol("a reserved opcode"));
    };
    match opcode {
        Opcode::Control(_) if first & FIN == 0 => Err(Violation::protocol("a fragmented control frame")),
        Opcode::Continuation if !in_message => Err(NO_MESSAGE),
        Opcode::Message(_) if in_message => Err(Violation::protocol("a new message before the end of the last")),
        Opcode::Control(_) | Opcode::Continuation | Opcode::Message(_) => Ok(opcode),
    }
}

fn payload_bytes(length: u64, length_bytes: usize, opcode: Opcode, limits: &Limits) -> Result<usize, Violation> {
    if length >> 63 != 0 {
        return Err(Violation::protocol("a frame length of more than 63 bits"));
    }
    let least = match length_bytes {
        0 => 0,
        2 => 126,
        _ => 1 << 16,
    };
    if length < least {
        return Err(Violation::protocol("a frame length in more bytes than it needs"));
    }
    let max = if opcode.is_control() { CONTROL_BYTES_MAX } else { limits.frame_bytes };
    match usize::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Violation::too_big("a frame over this server's limit")),
    }
}

/// Appends the header of an unmasked frame that is whole in itself.
pub(super) fn write(opcode: Opcode, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode.byte());
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}
