//! From bytes to events.

use super::header::{Header, Look, Opcode, look};
use super::message::{Message, unmask};
use super::{Event, Kind, Limits, Violation, close};

/// What is remembered between two calls of [`decode`]; 16 bytes, and no buffer, while no message is unfinished.
#[derive(Debug, Default)]
pub struct State(Phase);

#[derive(Debug, Default)]
enum Phase {
    /// Between two messages.
    #[default]
    Idle,
    /// Inside a message: in one of its frames, or between two.
    Message(Box<Message>),
    /// A close or a violation came, and nothing after it counts.
    Over,
}

impl State {
    /// Whether no message is unfinished.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self.0 {
            Phase::Idle | Phase::Over => true,
            Phase::Message(_) => false,
        }
    }

    /// Whether the peer has closed or broken the protocol, so that all further input is swallowed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.0 {
            Phase::Over => true,
            Phase::Idle | Phase::Message(_) => false,
        }
    }

    /// Payload of the unfinished message that has come, in bytes.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        match &self.0 {
            Phase::Message(message) => message.bytes(),
            Phase::Idle | Phase::Over => 0,
        }
    }
}

/// What [`decode`] made of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `consumed` bytes of the input, at least 1, are done with.
    Event {
        /// What they told.
        event: Event,
        /// How many they are.
        consumed: usize,
    },
    /// Nothing was consumed, and nothing can be before `needed` bytes are there: more than there were, at most 131 in all.
    Partial {
        /// Total bytes of input.
        needed: usize,
    },
}

/// Goes through `input`, the bytes that no earlier call consumed, up to the first event. Costs time in proportion to what it
/// consumes.
///
/// # Errors
/// If the peer broke the protocol or a limit. From then on `state` swallows all input.
pub fn decode(state: &mut State, limits: &Limits, input: &[u8]) -> Result<Step, Violation> {
    let step = advance(&mut state.0, limits, input);
    if step.is_err() {
        state.0 = Phase::Over;
    }
    step
}

fn advance(phase: &mut Phase, limits: &Limits, input: &[u8]) -> Result<Step, Violation> {
    let mut consumed = 0;
    loop {
        let rest = &input[consumed..];
        let (taken, event) = match phase {
            Phase::Over => return Ok(pause(input.len(), 1)),
            Phase::Message(message) if message.in_frame() => {
                let taken = message.fill(rest)?;
                if message.in_frame() {
                    return Ok(pause(input.len(), 1));
                }
                (taken, finished(phase))
            }
            Phase::Idle | Phase::Message(_) => {
                let header = match look(rest, !matches!(phase, Phase::Idle), limits)? {
                    Look::Whole(header) => header,
                    Look::Partial(needed) => return Ok(pause(consumed, needed)),
                };
                let (taken, event) = match header.opcode {
                    Opcode::Text => begin(phase, Kind::Text, &header, limits, rest)?,
                    Opcode::Binary => begin(phase, Kind::Binary, &header, limits, rest)?,
                    Opcode::Continuation => go_on(phase, &header, limits, rest)?,
                    Opcode::Close | Opcode::Ping | Opcode::Pong => {
                        let whole = header.bytes + header.payload_bytes;
                        let Some(frame) = rest.get(..whole) else { return Ok(pause(consumed, whole)) };
                        (whole, Some(control(phase, &header, &frame[header.bytes..])?))
                    }
                };
                (taken, event)
            }
        };
        consumed += taken;
        if let Some(event) = event {
            return Ok(Step::Event { event, consumed });
        }
    }
}

/// The input is used up, or what is left of it is too little.
fn pause(consumed: usize, needed: usize) -> Step {
    match consumed {
        0 => Step::Partial { needed },
        _ => Step::Event { event: Event::Progress, consumed },
    }
}

/// The first frame of a message, which is often the last: then nothing but the payload is allocated.
fn begin(
    phase: &mut Phase,
    kind: Kind,
    header: &Header,
    limits: &Limits,
    input: &[u8],
) -> Result<(usize, Option<Event>), Violation> {
    let mut message = Message::new(kind);
    let taken = message.read_frame(header, limits, input)?;
    if message.is_whole() {
        return Ok((taken, Some(message.into_event())));
    }
    *phase = Phase::Message(Box::new(message));
    Ok((taken, None))
}

/// A further frame of the message.
fn go_on(
    phase: &mut Phase,
    header: &Header,
    limits: &Limits,
    input: &[u8],
) -> Result<(usize, Option<Event>), Violation> {
    let taken = match phase {
        Phase::Message(message) => message.read_frame(header, limits, input)?,
        Phase::Idle | Phase::Over => return Err(Violation::protocol("a continuation of no message")),
    };
    Ok((taken, finished(phase)))
}

/// The message, if all of it has come.
fn finished(phase: &mut Phase) -> Option<Event> {
    match std::mem::take(phase) {
        Phase::Message(message) if message.is_whole() => Some(message.into_event()),
        other @ (Phase::Idle | Phase::Message(_) | Phase::Over) => {
            *phase = other;
            None
        }
    }
}

/// A control frame, which may come between the frames of a message.
fn control(phase: &mut Phase, header: &Header, masked: &[u8]) -> Result<Event, Violation> {
    let mut payload = masked.to_vec();
    unmask(&mut payload, header.mask);
    Ok(match header.opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            let (code, reason) = close::parse(&payload)?;
            *phase = Phase::Over;
            Event::Close { code, reason }
        }
    })
}
